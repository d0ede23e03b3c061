// SPDX-License-Identifier: Apache-2.0
//! The probe on the running kernel, compared with what the kernel itself accounts. Needs root; says so and passes when
//! it is not. One test at a time holds the machine, so that no test's load is another's noise.

#[cfg(test)]
mod burn;
#[cfg(test)]
mod events;
#[cfg(test)]
mod figures;
#[cfg(test)]
mod left;
#[cfg(test)]
mod machine;
#[cfg(test)]
mod objects;
#[cfg(test)]
mod packages;
#[cfg(test)]
mod rights;
#[cfg(test)]
mod scheduler;
#[cfg(test)]
mod storm;
#[cfg(test)]
mod support;
#[cfg(test)]
mod tasks;
#[cfg(test)]
mod unnamed;
