// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Does nothing at each context switch. What the kernel's statistics say of it is what they cost
// themselves; every other program is compared with it.
#include "../kepler.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

SEC("tp_btf/sched_switch")
int sched_switch(void)
{
	return 0;
}
