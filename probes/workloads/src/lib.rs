// SPDX-License-Identifier: Apache-2.0
//! Who is who: procfs and cgroup readers, container ids, and CPU time without eBPF.
