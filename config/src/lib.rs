// SPDX-License-Identifier: Apache-2.0
//! How it is set: layers of configuration, strict, with the origin of every value.
