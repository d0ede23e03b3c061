// SPDX-License-Identifier: Apache-2.0
//! What it cost: one folder per energy meter, and the estimator where there is none.
