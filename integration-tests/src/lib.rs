// SPDX-License-Identifier: Apache-2.0
//! Does it: the real binary against real counterparts.
