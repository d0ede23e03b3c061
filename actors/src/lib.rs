// SPDX-License-Identifier: Apache-2.0
//! When: the actors, their messages and wiring, and the kepler command.
