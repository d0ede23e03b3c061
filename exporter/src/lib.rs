// SPDX-License-Identifier: Apache-2.0
//! Who is told: Prometheus text, JSON and HTTP routes over the newest snapshot.
