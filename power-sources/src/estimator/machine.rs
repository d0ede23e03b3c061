// SPDX-License-Identifier: Apache-2.0
//! What is known of a machine: as a daemon finds it, and as somebody says it. Owns the two forms and the way from one to the other;
//! fills in nothing (see `complete.rs`).

use super::config::MachineConfig;
use super::generations::{Generation, Made, Signature};
use super::names;
use attribution::model::{Microwatts, PackageId};
use std::collections::BTreeMap;

/// What the model needs to know of the machine; everything a daemon can find out by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MachineDescription {
    /// Online hardware threads, or vCPUs of a guest. Used when `packages` is empty; everything is then package 0.
    pub threads: u32,
    /// Packages with their hardware threads, as the kernel numbers them.
    pub packages: Vec<(PackageId, u32)>,
    /// Cores with at least one online thread; 0: not known.
    pub cores: u32,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Whether this is a virtual machine: it then pays a share of a host instead of a machine of its own.
    pub guest: bool,
    /// CPU vendor, for people.
    pub vendor: Option<String>,
    /// CPU model name.
    pub model_name: Option<String>,
    /// CPUID's signature, or MIDR.
    pub signature: Option<Signature>,
    /// Nominal clock.
    pub base_mhz: Option<u32>,
    /// Thermal design power of one package, where firmware says it.
    pub tdp: Option<Microwatts>,
}

impl MachineDescription {
    /// Packages with at least one thread each; never empty.
    pub(super) fn sockets(&self) -> BTreeMap<PackageId, u32> {
        let mut sockets = BTreeMap::new();
        for (package, threads) in &self.packages {
            let sum = sockets.entry(*package).or_insert(0_u32);
            *sum = sum.saturating_add((*threads).max(1));
        }
        if sockets.is_empty() {
            sockets.insert(PackageId(0), self.threads.max(1));
        }
        sockets
    }

    /// Hardware threads of all packages.
    pub(super) fn all_threads(&self) -> u32 {
        self.sockets()
            .values()
            .fold(0, |sum, threads| sum.saturating_add(*threads))
    }

    /// Memory in GiB; `None` where it is not known.
    pub(super) fn gib(&self) -> Option<f64> {
        // Whole MiB: below 2^32 for every machine up to 4 EiB.
        let mib = u32::try_from(self.memory_bytes >> 20).unwrap_or(u32::MAX);
        (mib > 0).then(|| f64::from(mib) / 1_024.0)
    }

    /// What this machine says of itself. Of a guest: only what it sees of its host, which is the CPU.
    pub(super) fn given(&self) -> Given {
        let cpu = Given {
            vendor: self.vendor.clone(),
            cpu: self.model_name.clone(),
            signature: self.signature,
            base_mhz: self.base_mhz,
            tdp_watts_per_chip: self.tdp.map(watts),
            ..Given::default()
        };
        if self.guest {
            return cpu;
        }
        Given {
            chips: u32::try_from(self.sockets().len()).ok(),
            cores: (self.cores > 0).then_some(self.cores),
            threads: Some(self.all_threads()),
            memory_gib: self.gib(),
            ..cpu
        }
    }

    /// The name of the CPU's microarchitecture, such as `Zen 3`.
    #[must_use]
    pub fn microarchitecture(&self) -> Option<&'static str> {
        self.given().generation().0.map(|generation| generation.name)
    }
}

fn watts(power: Microwatts) -> f64 {
    // Whole milliwatts: below 2^32 up to 4 MW.
    f64::from(u32::try_from(power.as_micro() / 1_000).unwrap_or(u32::MAX)) / 1_000.0
}

/// What somebody says of a machine: any part of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Given {
    /// Whose CPU, in any spelling.
    pub vendor: Option<String>,
    /// Its name.
    pub cpu: Option<String>,
    /// Its signature.
    pub signature: Option<Signature>,
    /// When it was sold. Counts where its generation is not known.
    pub year: Option<u16>,
    /// Sockets.
    pub chips: Option<u32>,
    /// Cores of all sockets.
    pub cores: Option<u32>,
    /// Hardware threads of all sockets.
    pub threads: Option<u32>,
    /// Nominal clock.
    pub base_mhz: Option<u32>,
    /// Thermal design power of one socket.
    pub tdp_watts_per_chip: Option<f64>,
    /// Memory.
    pub memory_gib: Option<f64>,
}

impl Given {
    /// The generation of its CPU, and what it is made for. The signature comes first: names are changed by clouds, and numbers are not.
    pub(super) fn generation(&self) -> (Option<&'static Generation>, Option<Made>) {
        let name = self.cpu.as_deref().unwrap_or_default();
        if names::invented(name) {
            return (None, None);
        }
        let named = names::read(name);
        match self.signature.and_then(Generation::of) {
            // Dies of clients are in small servers, too, and there the name says which of the two it is.
            Some((generation, made)) => (Some(generation), Some(named.made.unwrap_or(made))),
            None => (
                named.generation,
                named
                    .made
                    .or_else(|| named.generation.map(|generation| generation.made)),
            ),
        }
    }

    /// This, with what is said in the configuration over it. Who names another CPU says that what this one tells is not about it.
    pub(super) fn with(self, said: &MachineConfig) -> Self {
        let own = if said.cpu.is_empty() {
            self
        } else {
            Self {
                vendor: None,
                cpu: Some(said.cpu.clone()),
                signature: None,
                base_mhz: None,
                tdp_watts_per_chip: None,
                ..self
            }
        };
        let text = |text: &String| (!text.is_empty()).then(|| text.clone());
        let count = |count: u32| (count > 0).then_some(count);
        let number = |number: f64| (number > 0.0).then_some(number);
        Self {
            vendor: text(&said.vendor).or(own.vendor),
            year: (said.year > 0).then_some(said.year).or(own.year),
            chips: count(said.chips).or(own.chips),
            cores: count(said.cores).or(own.cores),
            threads: count(said.threads).or(own.threads),
            base_mhz: count(said.base_mhz).or(own.base_mhz),
            tdp_watts_per_chip: number(said.tdp_watts_per_chip).or(own.tdp_watts_per_chip),
            memory_gib: number(said.memory_gib).or(own.memory_gib),
            ..own
        }
    }
}
