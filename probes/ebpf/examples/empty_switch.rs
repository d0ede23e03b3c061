// SPDX-License-Identifier: Apache-2.0
//! Runs an empty program at each context switch until its standard input ends. What the kernel's BPF statistics say of
//! it (`/proc/PID/fdinfo`) is what they cost themselves, under whatever runs beside: benchmarks subtract it.

use aya::programs::BtfTracePoint;
use aya::{Btf, Ebpf};
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    const OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/empty.bpf.o"));
    if OBJECT.is_empty() {
        return Err("built without clang, and this object is not committed".into());
    }
    let mut ebpf = Ebpf::load(OBJECT)?;
    let program = ebpf
        .program_mut("sched_switch")
        .ok_or("the object has no program sched_switch")?;
    let program: &mut BtfTracePoint = program.try_into()?;
    program.load("sched_switch", &Btf::from_sys_fs()?)?;
    program.attach()?;
    std::io::stdin().lines().for_each(drop);
    Ok(())
}
