// SPDX-License-Identifier: Apache-2.0
//! What holds for every value of sysfs and procfs that a meter reads, for `integration-tests/fuzz`. In no build of the daemon.

use crate::cpus::{parse_identity, parse_list};
use crate::files::{parse_number, parse_signed, parse_text};
use crate::sensors::pattern::matches;
use crate::{amd_gpu, drm, rapl, rapl_perf};

/// One small file, as every one that is read: numbers have digits and nothing else, texts no control characters.
pub fn sysfs(bytes: &[u8]) {
    let body = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    if let Some(number) = parse_number(bytes) {
        assert!(!body.is_empty() && body.iter().all(u8::is_ascii_digit));
        assert_eq!(parse_number(number.to_string().as_bytes()), Some(number));
        assert_eq!(parse_signed(bytes), Some(i128::from(number)));
    }
    if let Some(signed) = parse_signed(bytes) {
        assert_eq!(parse_signed(signed.to_string().as_bytes()), Some(signed));
    }
    if let Some(text) = parse_text(bytes) {
        assert!(!text.chars().any(char::is_control) && text.len() <= bytes.len());
    }
    if let Some(cpus) = parse_list(bytes) {
        assert!(cpus.is_sorted_by(|one, next| one < next) && cpus.len() <= 65_536);
    }
    let _identity = parse_identity(bytes);
    rapl::fuzz_name(bytes);
    rapl_perf::fuzz_event(bytes);
    amd_gpu::fuzz_metrics(bytes);
    if let Some((pattern, name)) = str::from_utf8(bytes).ok().and_then(|text| text.split_once('\n')) {
        assert!(matches("*", name));
        assert!(!matches(pattern, name) || pattern.contains('*') || pattern == name);
    }
}

/// `/proc/PID/fdinfo/FD` of a GPU.
pub fn fdinfo(bytes: &[u8]) {
    drm::fuzz::fdinfo(bytes);
}
