// SPDX-License-Identifier: Apache-2.0
//! Real processes in a real, fresh cgroup of version 2.

#[cfg(test)]
mod common;

#[cfg(test)]
mod tests {
    use super::common::{Fresh, Killed, boot_now, id_of, is_root, key_of, nanos, report};
    use attribution::model::{MonotonicNanos, TickId, Usage};
    use probe_workloads::cgroup::CgroupMount;
    use probe_workloads::{Machine, ProcReader, Resolver, Roots};
    use std::path::Path;
    use std::time::{Duration, Instant};

    fn roots() -> Option<(Roots, CgroupMount)> {
        let roots = Roots::detect(Path::new("/proc")).unwrap();
        let mount = roots.cgroup_mounts.unified.clone();
        if mount.is_none() {
            eprintln!("skipped: no unified hierarchy is mounted");
        }
        Some((roots, mount?))
    }

    #[test]
    fn a_real_cgroup_is_found_by_its_id_and_dropped_when_nobody_asks() {
        if !is_root() {
            return;
        }
        let Some((roots, mount)) = roots() else { return };
        let Some(fresh) = Fresh::new(&mount, "probe-workloads-resolve") else {
            return;
        };
        let child = Killed(fresh.run("exec sleep 60").spawn().unwrap());
        let id = id_of(&mount, &fresh.path);
        let usage = report(key_of(child.0.id()), id);
        let asked = u64::from(roots.cgroup_mounts.is_hybrid());
        let mut resolver = Resolver::new(roots);
        let identity = resolver.resolve(&usage, boot_now());
        let owner = &identity.cgroups[&id];
        assert_eq!(owner.path, fresh.path);
        assert_eq!(owner.unit.as_deref(), fresh.path.strip_prefix('/'));
        assert_eq!(
            (resolver.counters().walks, resolver.counters().tasks_read),
            (1, asked)
        );
        assert!(identity.tasks.is_empty());
        assert!(resolver.resolve(&Usage::default(), boot_now()).cgroups.is_empty());
    }

    #[test]
    fn a_container_of_version_1_is_found_though_version_2_has_its_process_in_a_service() {
        if !is_root() {
            return;
        }
        let Some((roots, unified)) = roots() else { return };
        let Some(version1) = roots.cgroup_mounts.version1_of("cpuacct").cloned() else {
            return eprintln!("skipped: no hierarchy of version 1 counts CPU time");
        };
        let Some(service) = Fresh::new(&unified, "probe-workloads-hybrid") else {
            return;
        };
        let hex = format!("{:064x}", std::process::id());
        let container = Fresh::at(&version1, format!("/docker-{hex}.scope")).unwrap();
        let child = Killed(service.run("exec sleep 60").spawn().unwrap());
        container.take(child.0.id());
        let start = Instant::now();
        let id = id_of(&unified, &service.path);
        let usage = report(key_of(child.0.id()), id);
        let mut resolver = Resolver::new(roots);
        loop {
            let identity = resolver.resolve(&usage, boot_now());
            let owner = identity.owner(usage.tasks[0].task, id).unwrap();
            if let Some(found) = &owner.container {
                assert_eq!(found.as_str(), hex);
                break;
            }
            assert!(start.elapsed() < Duration::from_secs(60), "{owner:?}");
            std::thread::yield_now();
        }
    }

    #[test]
    fn real_cpu_time_lands_in_the_cgroup_and_what_lived_between_two_scans_is_its_residue() {
        if !is_root() {
            return;
        }
        let Some((roots, mount)) = roots() else { return };
        let machine = Machine::read(Path::new("/proc"), Path::new("/sys"));
        let mut reader = ProcReader::open(&roots, &machine).unwrap();
        let Some(fresh) = Fresh::new(&mount, "probe-workloads-drain") else {
            return;
        };
        let id = id_of(&mount, &fresh.path);
        let mut tick = 0;
        let mut drain = |reader: &mut ProcReader| {
            tick += 1;
            let mut now = || MonotonicNanos::from_nanos(tick);
            let drained = reader.drain(TickId(tick), TickId(tick - 1), &mut now, Vec::new());
            drained.unwrap().1
        };
        let child = Killed(fresh.run("while :; do :; done").spawn().unwrap());
        let start = Instant::now();
        let own = |usage: &Usage| {
            nanos(usage, |row| {
                row.cgroup == id && row.task.is_some_and(|task| task.tgid == child.0.id())
            })
        };
        while own(&drain(&mut reader)) < 100_000_000 {
            assert!(start.elapsed() < Duration::from_secs(120), "the child never ran");
        }
        // Lives and dies without any scan: a quarter of a second of work, more or less, whatever the machine is.
        let before = fresh.usage_nanos();
        let busy = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done";
        assert!(fresh.run(busy).status().unwrap().success());
        let usage = drain(&mut reader);
        let after = fresh.usage_nanos();
        let residue = nanos(&usage, |row| row.cgroup == id && row.task.is_none());
        let all = nanos(&usage, |row| row.cgroup == id);
        assert!(after > before);
        assert!(
            residue > 0,
            "{} of the cgroup's {after} ns are known",
            own(&usage)
        );
        // What a shell ran before it had moved into the cgroup is the process's and not the cgroup's: a start, some
        // milliseconds of CPU time at most.
        let start = 10_000_000;
        assert!(all <= after + start, "{all} reported of {after} ns");
    }
}
