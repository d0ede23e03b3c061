// SPDX-License-Identifier: Apache-2.0
//! What kind of CPU this is, in the words of weight files (`cpu_architecture`): owns the names that Kepler had of its own.
//! Which microarchitecture a CPU has is [`super::super::MachineDescription`]'s matter.

/// Microarchitectures that kepler 0.8's `data/cpus.yaml` called by the name of their cores.
const CORES: [(&str, &str); 5] = [
    ("Ice Lake", "Sunny Cove"),
    ("Tiger Lake", "Willow Cove"),
    ("Rocket Lake", "Cypress Cove"),
    ("Alder Lake", "Golden Cove"),
    ("Raptor Lake", "Raptor Cove"),
];

/// All names of a microarchitecture; none of one that is not known.
pub(in super::super) fn kinds(microarchitecture: Option<&str>) -> Vec<String> {
    let cores = CORES.iter().filter(|(name, _)| Some(*name) == microarchitecture);
    let names = microarchitecture.into_iter().chain(cores.map(|(_, core)| *core));
    names.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_microarchitecture_has_its_own_name_and_the_one_that_kepler_had_for_it() {
        assert_eq!(kinds(Some("Zen 3")), ["Zen 3"]);
        assert_eq!(kinds(Some("Ice Lake")), ["Ice Lake", "Sunny Cove"]);
        assert!(kinds(None).is_empty());
    }
}
