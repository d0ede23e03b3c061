// SPDX-License-Identifier: Apache-2.0
//! What the name of a CPU tells: owns the reading of names (of `/proc/cpuinfo`, of data sheets, of people) and refuses to read more
//! into one than it says. Vendors number their products by generation; how is in their public naming schemes.

use super::generations::{Generation, Made, Vendor};

/// What a name tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Named {
    /// Whose CPU.
    pub(super) vendor: Option<Vendor>,
    /// Which generation.
    pub(super) generation: Option<&'static Generation>,
    /// Whether it is a client's die.
    pub(super) made: Option<Made>,
}

/// Words that are in names and tell no model.
const NOISE: [&str; 14] = [
    "intel",
    "amd",
    "xeon",
    "processor",
    "processors",
    "cpu",
    "quad",
    "six",
    "eight",
    "dual",
    "core",
    "with",
    "genuine",
    "ghz",
];

/// The words of a name that tell its model, lower case: `["epyc", "7763"]`, `["e5", "2699", "v4"]`.
fn words(name: &str) -> Vec<String> {
    let lower = name.to_lowercase().replace("(r)", " ").replace("(tm)", " ");
    let end = lower.find(['@', ',', '(']).unwrap_or(lower.len());
    let clean = lower.get(..end).unwrap_or_default();
    let of_a_model = |word: &&str| {
        let clock = word.contains('.') || word.ends_with("ghz");
        let cores = word.strip_suffix("-core").is_some();
        !word.is_empty() && !clock && !cores && !NOISE.contains(word)
    };
    clean
        .split_ascii_whitespace()
        .filter(of_a_model)
        .flat_map(|word| word.split('-'))
        .filter(of_a_model)
        .map(str::to_owned)
        .collect()
}

/// One spelling for every way to write a model: `Intel(R) Xeon(R) CPU E5-2699 v4 @ 2.20GHz` and `Intel Xeon E5-2699V4` are
/// `e52699v4`. Empty where the name tells no model.
#[must_use]
pub fn canonical(name: &str) -> String {
    words(name).concat()
}

/// Names that hypervisors invent; the signature beside them is as invented.
#[must_use]
pub(super) fn invented(name: &str) -> bool {
    [
        "QEMU Virtual CPU",
        "Common KVM processor",
        "Common 32-bit KVM processor",
    ]
    .iter()
    .any(|invented| name.starts_with(invented))
}

/// What a name tells.
#[must_use]
pub(super) fn read(name: &str) -> Named {
    let lower = name.to_lowercase();
    let words = words(name);
    let joined = words.concat();
    let told = |generation: Option<&'static str>, made: Made| {
        let generation = generation.and_then(Generation::named);
        Named {
            vendor: generation.map(|generation| generation.vendor),
            generation,
            made: Some(made),
        }
    };
    let by_number = if let Some(number) = joined.strip_prefix("epyc") {
        told(epyc(number), Made::Server)
    } else if let Some(number) = joined.strip_prefix("ryzen") {
        told(ryzen(number), Made::Client)
    } else if let Some(number) = joined.strip_prefix("opteron") {
        told(opteron(number), Made::Server)
    } else if joined.starts_with("pentiumd") {
        told(Some("NetBurst"), Made::Client)
    } else if joined.starts_with("ampereone") {
        told(Some("AmpereOne"), Made::Server)
    } else {
        intel(&lower, &words, &joined)
            .map_or_else(Named::default, |(generation, made)| told(generation, made))
    };
    let named = if by_number.generation.is_some() {
        by_number
    } else {
        spelled_out(&lower, by_number)
    };
    Named {
        vendor: named.vendor.or_else(|| vendor(&lower)),
        ..named
    }
}

/// Whose CPU by the vendor's own name, also as CPUID spells it.
#[must_use]
pub(super) fn vendor(text: &str) -> Option<Vendor> {
    let lower = text.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    if has(&["intel", "xeon"]) {
        Some(Vendor::Intel)
    } else if has(&["amd", "hygon", "epyc", "opteron", "ryzen"]) {
        Some(Vendor::Amd)
    } else if has(&[
        "arm",
        "ampere",
        "neoverse",
        "cavium",
        "hisilicon",
        "fujitsu",
        "apple",
        "graviton",
        "qualcomm",
        "nvidia",
    ]) {
        Some(Vendor::Arm)
    } else {
        None
    }
}

/// Names of generations inside a name, as in QEMU's `Intel Xeon Processor (Skylake, IBRS)` and `AMD EPYC-Rome Processor`. The longer
/// ones come first.
const SPELLED: [(&str, &str); 27] = [
    ("sapphire", "Sapphire Rapids"),
    ("emerald", "Emerald Rapids"),
    ("granite", "Granite Rapids"),
    ("sierraforest", "Sierra Forest"),
    ("clearwater", "Clearwater Forest"),
    ("cascade", "Cascade Lake"),
    ("cooper", "Cooper Lake"),
    ("icelake", "Ice Lake"),
    ("skylake", "Skylake"),
    ("broadwell", "Broadwell"),
    ("haswell", "Haswell"),
    ("ivybridge", "Ivy Bridge"),
    ("ivy bridge", "Ivy Bridge"),
    ("sandybridge", "Sandy Bridge"),
    ("e312xx", "Sandy Bridge"),
    ("westmere", "Westmere"),
    ("nehalem", "Nehalem"),
    ("turin", "Zen 5"),
    ("genoa", "Zen 4"),
    ("milan", "Zen 3"),
    ("rome", "Zen 2"),
    ("neoverse-n1", "Neoverse N1"),
    ("neoverse-v1", "Neoverse V1"),
    ("neoverse-n2", "Neoverse N2"),
    ("neoverse-v2", "Neoverse V2"),
    ("altra", "Neoverse N1"),
    ("graviton2", "Neoverse N1"),
];

fn spelled_out(lower: &str, otherwise: Named) -> Named {
    let found = SPELLED.iter().find(|(word, _)| lower.contains(word));
    found
        .and_then(|(_, name)| Generation::named(name))
        .map_or(otherwise, |generation| Named {
            vendor: Some(generation.vendor),
            generation: Some(generation),
            made: otherwise.made.or(Some(generation.made)),
        })
}

/// The leading digits.
fn digits(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.get(..end).unwrap_or_default()
}

/// EPYC: four places, the last one is the generation; clouds have letters in the second (`7R13`).
fn epyc(number: &str) -> Option<&'static str> {
    let mut places = number.chars();
    if !places.next()?.is_ascii_digit() {
        return None;
    }
    match places.nth(2)? {
        '1' => Some("Zen"),
        '2' => Some("Zen 2"),
        '3' => Some("Zen 3"),
        '4' => Some("Zen 4"),
        '5' => Some("Zen 5"),
        _ => None,
    }
}

fn ryzen(number: &str) -> Option<&'static str> {
    // `ryzen 7 5800x` is one word here; the first digit is the class.
    let number = number.strip_prefix(['3', '5', '7', '9']).unwrap_or(number);
    match digits(number).chars().next()? {
        '1' => Some("Zen"),
        '2' => Some("Zen+"),
        '3' => Some("Zen 2"),
        '5' => Some("Zen 3"),
        '7' | '8' => Some("Zen 4"),
        '9' => Some("Zen 5"),
        _ => None,
    }
}

fn opteron(number: &str) -> Option<&'static str> {
    let digits = digits(number);
    let at = |index: usize| digits.chars().nth(index);
    if digits.len() != 4 {
        return None;
    }
    Some(match (at(0)?, at(1)?) {
        ('1' | '2' | '8', '2') => "K8",
        ('1' | '2' | '8', '3' | '4') | ('4' | '6', '1') => "K10",
        ('3' | '4' | '6', '2') => "Bulldozer",
        ('3' | '4' | '6', '3') => "Piledriver",
        _ => return None,
    })
}

/// Xeon and Core.
fn intel(lower: &str, words: &[String], joined: &str) -> Option<(Option<&'static str>, Made)> {
    let version = words.iter().rev().find_map(|word| {
        let at = word.rfind('v')?;
        word.get(at + 1..)?.parse::<u32>().ok()
    });
    let first = words.first().map(String::as_str)?;
    if let Some(class) = ["platinum", "gold", "silver", "bronze"]
        .into_iter()
        .find(|class| first == *class)
    {
        return Some((scalable(joined.strip_prefix(class)?), Made::Server));
    }
    if matches!(first, "e3" | "e5" | "e7") && words.len() > 1 {
        let made = if first == "e3" { Made::Client } else { Made::Server };
        let generation = match version {
            None if first == "e7" => "Westmere",
            None => "Sandy Bridge",
            Some(2) => "Ivy Bridge",
            Some(3) => "Haswell",
            Some(4) => "Broadwell",
            Some(5) => "Skylake",
            Some(_) => "Kaby Lake",
        };
        return Some((Some(generation), made));
    }
    if first == "e" && words.len() > 1 {
        let generation = match joined.chars().nth(2)? {
            '1' | '2' => "Coffee Lake",
            '3' => "Rocket Lake",
            _ => "Raptor Lake",
        };
        return Some((Some(generation), Made::Client));
    }
    if matches!(first, "i3" | "i5" | "i7" | "i9") && lower.contains("core") {
        return Some((core(joined.get(2..)?), Made::Client));
    }
    older(joined)
}

/// Xeon Scalable: the second digit is the generation.
fn scalable(number: &str) -> Option<&'static str> {
    let of_four_sockets = number.contains('h');
    match digits(number).chars().nth(1)? {
        '1' => Some("Skylake"),
        '2' => Some("Cascade Lake"),
        '3' if of_four_sockets => Some("Cooper Lake"),
        '3' => Some("Ice Lake"),
        '4' => Some("Sapphire Rapids"),
        '5' => Some("Emerald Rapids"),
        _ => None,
    }
}

fn core(number: &str) -> Option<&'static str> {
    let digits = digits(number);
    let generation: u32 = match digits.len() {
        3 => 1,
        4 => digits.get(..1)?.parse().ok()?,
        5 => digits.get(..2)?.parse().ok()?,
        _ => return None,
    };
    // A four-digit number of the tenth and eleventh generation (`1065G7`, `1165G7`).
    Some(match generation {
        1 if digits.starts_with("10") => "Ice Lake",
        1 if digits.starts_with("11") => "Tiger Lake",
        1 => "Nehalem",
        2 => "Sandy Bridge",
        3 => "Ivy Bridge",
        4 => "Haswell",
        5 => "Broadwell",
        6 => "Skylake",
        7 => "Kaby Lake",
        8 | 9 => "Coffee Lake",
        10 => "Comet Lake",
        11 => "Rocket Lake",
        12 => "Alder Lake",
        13 | 14 => "Raptor Lake",
        _ => return None,
    })
}

/// Four digits, perhaps with a letter before them: before 2011; and the Xeon 6.
fn older(joined: &str) -> Option<(Option<&'static str>, Made)> {
    let number = joined.strip_prefix(['x', 'e', 'l', 'w']).unwrap_or(joined);
    if let Some(six) = joined.strip_prefix('6').filter(|_| joined.len() >= 5) {
        let kind = if six.ends_with('e') {
            "Sierra Forest"
        } else {
            "Granite Rapids"
        };
        return (joined.ends_with('e') || joined.ends_with('p')).then_some((Some(kind), Made::Server));
    }
    if number.len() != 4 || digits(number) != number {
        return None;
    }
    let client = if number.starts_with('3') {
        Made::Client
    } else {
        Made::Server
    };
    Some(match (number.get(..1)?, number.get(1..2)?) {
        ("3", "0" | "1" | "2" | "3") => (Some("Core"), client),
        ("5", "0") | ("7", "0" | "1") => (Some("NetBurst"), client),
        ("5", "1" | "2" | "3" | "4") | ("7", "2" | "3" | "4") => (Some("Core"), client),
        ("3", "4") => (Some("Nehalem"), client),
        ("5" | "3", "5") | ("7" | "6", "5") => (Some("Nehalem"), Made::Server),
        ("5" | "3", "6") => (Some("Westmere"), Made::Server),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_model_has_one_spelling() {
        for (name, spelling) in [
            ("Intel(R) Xeon(R) CPU E5-2699 v4 @ 2.20GHz", "e52699v4"),
            (
                "Intel Xeon E5-2660 2.20 GHz (Intel Turbo Boost Technology up to 3.00 GHz)",
                "e52660",
            ),
            ("AMD EPYC 7763 64-Core Processor", "epyc7763"),
            ("AMD EPYC 7742 2.25Ghz", "epyc7742"),
            ("AMD EPYC 7601 2.20 GHz, Dell SKU [338-BNCG]", "epyc7601"),
            ("2.6 GHz AMD Opteron 2435", "opteron2435"),
            ("Quad-Core AMD Opteron(r) Processor 8376 HE", "opteron8376he"),
            ("Intel(R) Xeon(R) E-2388G CPU 3.20GHz", "e2388g"),
            ("Intel(R) Xeon(R) Processor", ""),
            ("", ""),
        ] {
            assert_eq!(canonical(name), spelling, "{name}");
        }
    }

    #[test]
    fn the_number_of_a_product_tells_its_generation() {
        for (name, generation, made) in [
            ("AMD EPYC 7601 32-Core Processor", "Zen", Made::Server),
            ("AMD EPYC 7R13 48-Core Processor", "Zen 3", Made::Server),
            ("AMD EPYC 9654 96-Core Processor", "Zen 4", Made::Server),
            ("AMD EPYC 9965 192-Core Processor", "Zen 5", Made::Server),
            ("AMD EPYC-Rome Processor", "Zen 2", Made::Server),
            ("AMD Ryzen 7 5800X 8-Core Processor", "Zen 3", Made::Client),
            ("AMD Ryzen 9 7950X 16-Core Processor", "Zen 4", Made::Client),
            ("AMD Opteron(tm) Processor 6276", "Bulldozer", Made::Server),
            ("AMD Opteron 6380", "Piledriver", Made::Server),
            ("AMD Opteron 2216HE", "K8", Made::Server),
            ("Six-Core AMD Opteron(r) Processor 8425 HE", "K10", Made::Server),
            (
                "Intel(R) Xeon(R) Platinum 8175M CPU @ 2.50GHz",
                "Skylake",
                Made::Server,
            ),
            (
                "Intel(R) Xeon(R) Gold 6252 CPU @ 2.10GHz",
                "Cascade Lake",
                Made::Server,
            ),
            (
                "Intel(R) Xeon(R) Platinum 8380HL CPU @ 2.90GHz",
                "Cooper Lake",
                Made::Server,
            ),
            (
                "Intel(R) Xeon(R) Platinum 8380 CPU @ 2.30GHz",
                "Ice Lake",
                Made::Server,
            ),
            (
                "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz",
                "Sapphire Rapids",
                Made::Server,
            ),
            (
                "INTEL(R) XEON(R) PLATINUM 8581C CPU @ 2.30GHz",
                "Emerald Rapids",
                Made::Server,
            ),
            ("Intel(R) Xeon(R) 6975P", "Granite Rapids", Made::Server),
            ("Intel(R) Xeon(R) 6780E", "Sierra Forest", Made::Server),
            ("Intel Xeon Processor (Skylake, IBRS)", "Skylake", Made::Server),
            (
                "Intel(R) Xeon(R) CPU E5-2670 0 @ 2.60GHz",
                "Sandy Bridge",
                Made::Server,
            ),
            (
                "Intel(R) Xeon(R) CPU E5-2699 v3 @ 2.30GHz",
                "Haswell",
                Made::Server,
            ),
            ("Intel Xeon E7-4870", "Westmere", Made::Server),
            ("Intel Xeon E3-1265LV2", "Ivy Bridge", Made::Client),
            ("Intel Xeon E-2176G", "Coffee Lake", Made::Client),
            ("Intel Xeon E-2356G", "Rocket Lake", Made::Client),
            ("Intel Xeon X5670", "Westmere", Made::Server),
            ("Intel Xeon X5570, 2.933 GHz", "Nehalem", Made::Server),
            ("Intel Xeon X3470", "Nehalem", Made::Client),
            ("Intel Xeon L5420 (2.5GHz)", "Core", Made::Server),
            ("Intel Xeon Processor E7330", "Core", Made::Server),
            ("Intel Xeon Processor 7020", "NetBurst", Made::Server),
            (
                "Intel(R) Core(TM) i7-1165G7 @ 2.80GHz",
                "Tiger Lake",
                Made::Client,
            ),
            (
                "Intel(R) Core(TM) i5-8250U CPU @ 1.60GHz",
                "Coffee Lake",
                Made::Client,
            ),
            ("Intel(R) Core(TM) i9-14900K", "Raptor Lake", Made::Client),
            ("Intel Core i3-540", "Nehalem", Made::Client),
            ("Neoverse-N1", "Neoverse N1", Made::Server),
        ] {
            let named = read(name);
            assert_eq!(
                named.generation.map(|generation| generation.name),
                Some(generation),
                "{name}"
            );
            assert_eq!(named.made, Some(made), "{name}");
            assert_eq!(
                named.vendor,
                Generation::named(generation).map(|generation| generation.vendor),
                "{name}"
            );
        }
    }

    #[test]
    fn a_name_that_tells_no_model_tells_at_most_whose_it_is() {
        for (name, whose) in [
            ("Intel(R) Xeon(R) Processor", Some(Vendor::Intel)),
            ("Intel(R) Xeon(R) CPU @ 2.20GHz", Some(Vendor::Intel)),
            ("Intel Xeon Processor 3.4 GHz", Some(Vendor::Intel)),
            ("AMD EPYC Processor", Some(Vendor::Amd)),
            ("AMD Opteron 12", Some(Vendor::Amd)),
            ("Virtual CPU a7769a6388d5", None),
            ("v", None),
            ("e-", None),
            ("\u{130}\u{130}e5-\u{e9}v\u{e9}", None),
            ("", None),
        ] {
            let named = read(name);
            assert_eq!((named.generation, named.vendor), (None, whose), "{name}");
        }
        assert!(invented("QEMU Virtual CPU version 2.5+") && !invented("AMD EPYC Processor"));
    }
}
