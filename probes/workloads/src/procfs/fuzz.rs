// SPDX-License-Identifier: Apache-2.0
//! What holds for every file of `/proc`, for `integration-tests/fuzz`. In no build of the daemon.

use super::load::{switches, threads};
use super::{CgroupLine, CpuTimes, PidStat, status};

/// `/proc/PID/stat`: the name is what stands between the first and the last bracket, and moves no field.
pub fn stat(bytes: &[u8]) {
    let Some(stat) = PidStat::parse(bytes) else {
        return;
    };
    let name = |byte: u8| bytes.iter().position(|of| *of == byte).unwrap_or_default();
    let close = bytes.iter().rposition(|of| *of == b')').unwrap_or_default();
    let head = bytes.get(..=name(b'(')).unwrap_or_default();
    let tail = bytes.get(close..).unwrap_or_default();
    for other in [b"".as_slice(), b") R 1 (", b"\n", b"((", b"\xff"] {
        let renamed = PidStat::parse(&[head, other, tail].concat()).map(|renamed| PidStat {
            comm: stat.comm,
            ..renamed
        });
        assert_eq!(renamed, Some(stat), "{other:?}");
    }
}

/// `/proc/PID/status`: no name says whose process it is.
pub fn status(bytes: &[u8]) {
    let user = status::real_user(bytes);
    let name: Vec<u8> = bytes.iter().copied().filter(|byte| *byte != b'\n').collect();
    let named = [b"Name:\t", name.as_slice(), b"\n", bytes].concat();
    assert_eq!(status::real_user(&named), user);
}

/// The `cpuN` lines of `/proc/stat`, its `ctxt`, and `/proc/loadavg`.
pub fn system(bytes: &[u8]) {
    let mut lines = Vec::new();
    if CpuTimes::parse_all(bytes, &mut lines).is_some() {
        assert!(!lines.is_empty() && lines.len() <= bytes.len() / 16 + 1);
    }
    let text = String::from_utf8_lossy(bytes);
    let (slow, fast) = (switches(&text, "90.71 1.00"), switches(&text, "0.20 0.00"));
    assert!(slow <= fast, "a longer time makes a mean smaller");
    let _any = threads(&text);
}

/// `/proc/PID/cgroup`: paths are absolute, and what is written back is read as the same.
pub fn cgroup(bytes: &[u8]) {
    let lines = CgroupLine::parse_all(bytes);
    for line in &lines {
        assert!(line.path.starts_with('/') && !line.path.contains('\n'));
        assert!(!line.is_gone || line.unified());
    }
    let written = lines.iter().map(|line| {
        let mark = if line.is_gone { " (deleted)" } else { "" };
        format!("{}:{}:{}{mark}\n", line.hierarchy, line.controllers, line.path)
    });
    assert_eq!(
        CgroupLine::parse_all(written.collect::<String>().as_bytes()),
        lines
    );
}
