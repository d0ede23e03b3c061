// SPDX-License-Identifier: Apache-2.0
//! Who ran: the eBPF programs, their loader and the drain.
