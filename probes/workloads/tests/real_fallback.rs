// SPDX-License-Identifier: Apache-2.0
//! The fallback against the kernel's own accounting: storms of short lives, and one that never stops.

#[cfg(test)]
mod common;

#[cfg(test)]
mod tests {
    use super::common::{Fresh, Killed, id_of, is_root, nanos};
    use attribution::model::{CgroupId, MonotonicNanos, TickId, Usage};
    use probe_workloads::procfs::{KernelClock, ProcFs};
    use probe_workloads::{Machine, ProcReader, Roots};
    use std::fs;
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::path::Path;
    use std::process::{ChildStdout, Command, Stdio};

    /// 2,000 short lives, a line after each 100; then it lives on until it gets a line.
    const STORM: &str = "i=0; while [ $i -lt 2000 ]; do i=$((i+1)); /bin/true; \
        [ $((i % 100)) -ne 0 ] || echo; done; echo done; read line";

    /// A reader of this machine that counts its ticks.
    struct Reader(ProcReader, u64);

    impl Reader {
        fn open() -> Self {
            let roots = Roots::detect(Path::new("/proc")).unwrap();
            let machine = Machine::read(Path::new("/proc"), Path::new("/sys"));
            let reader = ProcReader::open(&roots, &machine).unwrap();
            assert_eq!(reader.no_clock(), None);
            Self(reader, 0)
        }

        fn drain(&mut self) -> Usage {
            self.1 += 1;
            let mut now = || MonotonicNanos::from_nanos(self.1);
            // Nothing is acknowledged, so that the dead stay in the sum.
            let drained = self.0.drain(TickId(self.1), TickId(0), &mut now, Vec::new());
            drained.unwrap().1
        }
    }

    /// Lets a storm pass, with a drain at each of its lines, and then ends it.
    fn weather(mut storm: Command, reader: &mut Reader, after: impl FnOnce(&mut Reader, u32)) {
        let mut storm = Killed(
            storm
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap(),
        );
        for line in lines(storm.0.stdout.take().unwrap()) {
            reader.drain();
            if line == "done" {
                break;
            }
        }
        after(reader, storm.0.id());
        storm.0.stdin.take().unwrap().write_all(b"\n").unwrap();
        assert!(storm.0.wait().unwrap().success());
    }

    fn lines(stdout: ChildStdout) -> impl Iterator<Item = String> {
        BufReader::new(stdout).lines().map(Result::unwrap)
    }

    fn percent(part: u64, whole: u64) -> f64 {
        let parts = u32::try_from(u128::from(part) * 100_000 / u128::from(whole)).unwrap();
        f64::from(parts) / 1_000.0
    }

    #[test]
    fn a_storm_in_a_cgroup_is_charged_to_that_cgroup_to_98_percent_and_not_twice() {
        if !is_root() {
            return;
        }
        let roots = Roots::detect(Path::new("/proc")).unwrap();
        let Some(mount) = roots.cgroup_mounts.unified else {
            eprintln!("skipped: no unified hierarchy is mounted");
            return;
        };
        let mut reader = Reader::open();
        let Some(fresh) = Fresh::new(&mount, "probe-workloads-storm") else {
            return;
        };
        let id = id_of(&mount, &fresh.path);
        weather(fresh.run(STORM), &mut reader, |reader, storm| {
            let before = fresh.usage_nanos();
            let usage = reader.drain();
            let after = fresh.usage_nanos();
            let charged = nanos(&usage, |row| row.cgroup == id);
            let shell = nanos(&usage, |row| {
                row.cgroup == id && row.task.is_some_and(|task| task.tgid == storm)
            });
            eprintln!(
                "charged to the cgroup: {:.2} % of its own count of {} ms, {} ms of it to the shell by name",
                percent(charged, after),
                after / 1_000_000,
                shell / 1_000_000
            );
            assert!(before > 0 && shell > 0);
            assert!(charged >= before / 100 * 98, "{charged} of {before} ns");
            // The shell ran a moment before it entered, and its clock knows no cgroup.
            assert!(charged <= after / 100 * 101, "{charged} of {after} ns");
        });
    }

    #[test]
    fn a_storm_in_the_root_cgroup_is_charged_through_the_child_time_of_its_parent() {
        if std::process::id() != 1 {
            // Others' storms are in the root, too. In a pid namespace of its own there is only this one.
            in_a_pid_namespace(
                "a_storm_in_the_root_cgroup_is_charged_through_the_child_time_of_its_parent",
                &["--mount-proc"],
            );
            return;
        }
        let mut reader = Reader::open();
        let mut storm = Command::new("sh");
        storm.args(["-c", STORM]);
        weather(storm, &mut reader, |reader, storm| {
            let usage = reader.drain();
            let unseen = nanos(&usage, |row| row.task.is_none());
            let known = nanos(&usage, |row| {
                row.task.is_some_and(|task| ![1, storm].contains(&task.tgid))
            });
            let root = |row: &attribution::model::TaskUsage| row.cgroup != CgroupId::ROOT;
            assert_eq!(nanos(&usage, root), 0, "all is in the root");
            let stat = ProcFs::new(Path::new("/proc")).stat(storm).unwrap().unwrap();
            let ran = stat.child_ticks() * 10_000_000;
            eprintln!(
                "charged of {} ms of children: {:.2} %, {} ms of it by name",
                ran / 1_000_000,
                percent(unseen + known, ran),
                known / 1_000_000
            );
            assert!(unseen + known >= ran / 100 * 98, "{unseen} + {known} of {ran} ns");
            // Ticks cut two sums of the kernel.
            assert!(
                unseen + known <= ran + 20_000_000,
                "{unseen} + {known} of {ran} ns"
            );
        });
    }

    #[test]
    fn a_proc_mount_of_another_pid_namespace_has_no_clocks() {
        if std::process::id() != 1 {
            in_a_pid_namespace("a_proc_mount_of_another_pid_namespace_has_no_clocks", &[]);
            return;
        }
        let reason = KernelClock::of(Path::new("/proc")).unwrap_err();
        assert!(reason.contains("pid namespace"), "{reason}");
    }

    /// Runs a test of this file again as the init of a new pid namespace, in the root cgroup.
    fn in_a_pid_namespace(test: &str, options: &[&str]) {
        if !is_root() {
            return;
        }
        let Some(accounting) = Roots::detect(Path::new("/proc"))
            .unwrap()
            .cgroup_mounts
            .accounting()
        else {
            eprintln!("skipped: no cgroup hierarchy is mounted");
            return;
        };
        let procs = accounting.mount.point.join("cgroup.procs");
        let script = format!("echo $$ > {} && exec unshare \"$@\"", procs.display());
        let again = Command::new("sh")
            .args(["-c", &script, "sh", "--pid", "--fork"])
            .args(options)
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", &format!("tests::{test}")])
            .output()
            .unwrap();
        let (out, err) = (
            String::from_utf8_lossy(&again.stdout),
            String::from_utf8_lossy(&again.stderr),
        );
        if err.contains("unshare failed") {
            eprintln!("skipped: {err}");
            return;
        }
        eprintln!("{err}");
        assert!(again.status.success() && out.contains("1 passed"), "{out}{err}");
    }

    #[test]
    fn a_pinned_burner_is_charged_its_own_schedstat_to_one_percent_in_every_second() {
        const WINDOWS: usize = 5;
        let script = "while :; do i=0; while [ $i -lt 50000 ]; do i=$((i+1)); done; echo; done";
        let cpu = rustix::thread::sched_getcpu().to_string();
        let mut reader = Reader::open();
        let burner = Command::new("taskset")
            .args(["-c", &cpu, "sh", "-c", script])
            .stdout(Stdio::piped())
            .spawn();
        let Ok(burner) = burner else {
            eprintln!("skipped: needs taskset");
            return;
        };
        let mut burner = Killed(burner);
        let pid = burner.0.id();
        let ran = || {
            let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap();
            text.split(' ').next().unwrap().parse::<u64>().unwrap()
        };
        let mut windows = Vec::new();
        let mut last: Option<(u64, u64, u64)> = None;
        for _ in lines(burner.0.stdout.take().unwrap()) {
            let before = ran();
            if last.is_some_and(|(_, then, _)| before < then + 1_000_000_000) {
                continue;
            }
            let usage = reader.drain();
            let after = ran();
            let charged = nanos(&usage, |row| row.task.is_some_and(|task| task.tgid == pid));
            if let Some((then_before, then_after, then_charged)) = last {
                let rise = charged - then_charged;
                assert!(
                    rise >= (before - then_after) / 100 * 99,
                    "{rise} of {}",
                    before - then_after
                );
                assert!(
                    rise <= (after - then_before) / 100 * 101,
                    "{rise} of {}",
                    after - then_before
                );
                windows.push(percent(rise, after - then_after));
            }
            if windows.len() == WINDOWS {
                break;
            }
            last = Some((before, after, charged));
        }
        eprintln!("charged of what it ran in each second, in percent: {windows:.3?}");
        assert_eq!(windows.len(), WINDOWS, "the burner ended early");
    }
}
