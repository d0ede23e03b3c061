#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Tests that go through the crate's unsafe code on the running kernel, under valgrind's memcheck: an access beyond what is allocated or
# mapped, or a decision by what nobody wrote, fails. As root, for they load programs. A minute of CPU time.
set -euo pipefail
cd "$(dirname "$0")/../.."

# Batches that read and delete, arrays in our memory, values by CPU; perf events that are opened, and refused.
tests=(tasks:: the_dead_leave_the_hash counters_that_a_machine_lacks)
# rustix would call the vDSO, which valgrind takes out of the program.
build=(cargo test --locked -q -p probe-ebpf --features rustix/use-libc --test kernel --no-run)

"${build[@]}"
program=$("${build[@]}" --message-format=json | sed -n 's/.*"executable":"\([^"]*\/kernel-[^"]*\)".*/\1/p' | tail -1)
# Batches are newer than valgrind's list of calls: their buffers are initialised before, so nothing of theirs counts as unwritten.
valgrind --tool=memcheck --error-exitcode=9 "$program" --test-threads=1 "${tests[@]}" 2> >(grep -v 'unhandled eBPF command' >&2)
