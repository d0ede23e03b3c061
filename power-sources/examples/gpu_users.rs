// SPDX-License-Identifier: Apache-2.0
//! What it costs to look for users of GPUs among this machine's processes: a card that is only files, a `/proc` that is
//! real, and readings a simulated second apart.
//!
//!     cargo run -p power-sources --example gpu_users -- 1000 30
//!
//! starts 1000 processes with 30 open files each (none by default) and prints microseconds per reading: the first, which
//! does the work of four seconds, and of the others the least, the median and the most.

#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use attribution::model::{Component, MonotonicNanos};
use power_sources::{Ask, Opened, amd_gpu};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Simulated seconds.
const SECONDS: u64 = 60;

fn card(root: &Path) -> std::io::Result<()> {
    let device = root.join("devices/0000:0b:00.0");
    fs::create_dir_all(device.join("hwmon/hwmon0"))?;
    fs::create_dir_all(device.join("drm/card0"))?;
    fs::create_dir_all(root.join("drivers/amdgpu"))?;
    fs::create_dir_all(root.join("drm"))?;
    symlink(root.join("drivers/amdgpu"), device.join("driver"))?;
    symlink("../..", device.join("drm/card0/device"))?;
    symlink(device.join("drm/card0"), root.join("drm/card0"))?;
    fs::write(device.join("hwmon/hwmon0/name"), "amdgpu\n")?;
    fs::write(device.join("hwmon/hwmon0/power1_average"), "30000000\n")
}

fn crowd(processes: u32, files: u32) -> std::io::Result<Vec<Child>> {
    // A shell that reads from a pipe which nobody writes to: no timer, and its end comes with its parent's.
    let open: String = (0..files)
        .map(|file| format!("exec {{fd{file}}}</dev/null; "))
        .collect();
    (0..processes)
        .map(|_| {
            Command::new("bash")
                .arg("-c")
                .arg(format!("{open} read line"))
                .stdin(Stdio::piped())
                .spawn()
        })
        .collect()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut argument = || arguments.next().map_or(Ok(0), |text| text.parse::<u32>());
    let mut children = crowd(argument()?, argument()?)?;
    let dir = tempfile::TempDir::new()?;
    card(dir.path())?;
    let section = serde_json::json!({ "root": dir.path().join("drm") });
    let ask = Ask {
        section: &section,
        wanted: &[Component::Gpu],
        clock: || MonotonicNanos::ZERO,
        slept: || Duration::ZERO,
    };
    let mut source = match amd_gpu::open(&ask)? {
        Opened::Source(source) => source,
        Opened::Absent { reason } => return Err(reason.into()),
    };
    let processes = fs::read_dir("/proc")?
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().parse::<u32>().is_ok());
    println!("processes: {}", processes.count());
    let mut costs = Vec::new();
    for second in 0..SECONDS {
        let began = Instant::now();
        source.read(MonotonicNanos::ZERO.after(Duration::from_secs(second)));
        costs.push(began.elapsed().as_micros());
    }
    let first = costs.remove(0);
    costs.sort_unstable();
    let (least, most) = (costs.first(), costs.last());
    println!(
        "first {first} us; then least, median, most: {least:?}, {:?}, {most:?}",
        costs.get(costs.len() / 2)
    );
    for child in &mut children {
        child.kill()?;
        child.wait()?;
    }
    Ok(())
}
