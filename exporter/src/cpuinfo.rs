// SPDX-License-Identifier: Apache-2.0
//! Logical CPUs as `/proc/cpuinfo` describes them, for the one metric of schema `kepler-0.11` that needs it.

/// One logical CPU; what the architecture does not tell is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cpu {
    pub(crate) processor: String,
    pub(crate) vendor_id: String,
    pub(crate) model_name: String,
    pub(crate) physical_id: String,
    pub(crate) core_id: String,
}

/// Most CPUs that are listed: the most that Linux can be built for.
const MOST: usize = 8_192;

/// proc_cpuinfo(5): a block of `key : value` lines for each CPU, blank lines between them.
pub(crate) fn parse(text: &str) -> Vec<Cpu> {
    let mut cpus: Vec<Cpu> = Vec::new();
    for line in text.lines() {
        let Some((key, value)) = line.split_once(':') else {
            continue;
        };
        let value = value.trim();
        // The key that begins a block. Some architectures have lines of the whole machine behind the last one.
        if key.trim() == "processor" && cpus.len() < MOST {
            cpus.push(Cpu {
                processor: value.to_owned(),
                ..Cpu::default()
            });
            continue;
        }
        let Some(cpu) = cpus.last_mut() else { continue };
        let field = match key.trim() {
            "vendor_id" => &mut cpu.vendor_id,
            "model name" => &mut cpu.model_name,
            "physical id" => &mut cpu.physical_id,
            "core id" => &mut cpu.core_id,
            _ => continue,
        };
        value.clone_into(field);
    }
    cpus
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_block_is_a_cpu_and_what_is_not_told_is_empty() {
        let text = "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel name\t: AMD EPYC 9R14\nphysical id\t: 1\ncore id\t\t: 3\nflags\t: a: b\n\n\
                    processor : 1\nBogoMIPS : 50.00\n\nHardware : board\n";
        let cpu = |processor: &str, rest: [&str; 4]| Cpu {
            processor: processor.into(),
            vendor_id: rest[0].into(),
            model_name: rest[1].into(),
            physical_id: rest[2].into(),
            core_id: rest[3].into(),
        };
        let expected = [
            cpu("0", ["AuthenticAMD", "AMD EPYC 9R14", "1", "3"]),
            cpu("1", [""; 4]),
        ];
        assert_eq!(parse(text), expected);
        assert_eq!(parse("vendor_id : x\n\0\u{fffd}"), []);
    }
}
