// SPDX-License-Identifier: Apache-2.0
//! What changes with every scrape: our own process, the scrapes themselves, and what the doors, the feeding of guests and pushing count.
//!
//! Reads `/proc/self` at scrape time, below a root that is an argument. The prometheus crate's own process collector is
//! not used because its CPU counter has whole seconds only, too coarse for the "observer is observed". A file that
//! cannot be read costs its own metrics.

use crate::clocks;
use crate::cpuinfo::{self, Cpu};
use crate::kept::Kept;
use crate::page::Epoch;
use crate::passthrough::Health;
use crate::push;
use crate::reloads::Reloads;
use crate::security::health::Health as Doors;
use crate::text::metric::{Kind, Metric};
use crate::text::writer::{Decimal, Family, Format, Labels, Sheet};
use prometheus::proto::MetricFamily;
use prometheus::{Histogram, HistogramOpts, Registry};
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Upper bounds of the scrape histogram in seconds. A scrape of a page that is already rendered takes microseconds, a
/// first one of ten thousand series some milliseconds, on a throttled core ten times that.
const BUCKETS: [f64; 9] = [0.000_1, 0.000_5, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0];

/// Counts scrapes and looks at our own process.
#[derive(Debug)]
pub(crate) struct Observer {
    proc_root: PathBuf,
    /// Computed once: it does not change, and `/proc/stat` is long on large machines.
    start_time: OnceLock<Option<Decimal>>,
    /// Read once, where somebody needs it.
    cpus: OnceLock<Vec<Cpu>>,
    registry: Registry,
    duration: Histogram,
    passthrough: Arc<Health>,
    push: Arc<push::Health>,
    doors: Arc<Doors>,
    reloads: Arc<Reloads>,
    kept: Arc<Kept>,
    clocks: clocks::Watched,
}

impl Observer {
    /// An observer that reads below `proc_root` (`/proc`).
    pub(crate) fn new(proc_root: PathBuf) -> Self {
        let options = HistogramOpts::new(
            SCRAPE_DURATION,
            "Time to answer a scrape, from the request to the whole body.",
        );
        let duration = Histogram::with_opts(options.buckets(BUCKETS.to_vec()))
            .expect("the name is valid and the buckets rise");
        let registry = Registry::new();
        registry
            .register(Box::new(duration.clone()))
            .expect("a new registry holds no metric of that name");
        Self {
            proc_root,
            start_time: OnceLock::new(),
            cpus: OnceLock::new(),
            registry,
            duration,
            passthrough: Arc::default(),
            push: Arc::default(),
            doors: Arc::default(),
            reloads: Arc::default(),
            kept: Arc::default(),
            clocks: clocks::Watched::default(),
        }
    }

    /// What the feeding of guests counts into.
    pub(crate) fn passthrough(&self) -> Arc<Health> {
        Arc::clone(&self.passthrough)
    }

    /// What pushing counts into.
    pub(crate) fn push(&self) -> Arc<push::Health> {
        Arc::clone(&self.push)
    }

    /// What the doors count into.
    pub(crate) fn doors(&self) -> Arc<Doors> {
        Arc::clone(&self.doors)
    }

    /// How the configuration fares.
    pub(crate) const fn reloads(&self) -> &Arc<Reloads> {
        &self.reloads
    }

    /// How what is kept from run to run fares.
    pub(crate) const fn kept(&self) -> &Arc<Kept> {
        &self.kept
    }

    /// What happened to the machine's clocks.
    pub(crate) const fn clocks(&self) -> &clocks::Watched {
        &self.clocks
    }

    /// A scrape was answered.
    pub(crate) fn scraped(&self, duration: Duration) {
        self.duration.observe(duration.as_secs_f64());
    }

    /// What goes behind a page of `page_bytes` in `format`, to the end.
    pub(crate) fn lines(&self, page_bytes: usize, format: Format, epoch: Option<Epoch>) -> String {
        let mut sheet = Sheet::new(format, epoch.map(Epoch::start));
        self.write_process(&mut sheet);
        let size = Decimal::whole(u64::try_from(page_bytes).unwrap_or(u64::MAX));
        gauge(&mut sheet, SCRAPE_BYTES, size);
        self.clocks.write(&mut sheet);
        self.reloads.write(&mut sheet);
        self.kept.write(&mut sheet);
        self.doors.write(&mut sheet);
        self.passthrough.write(&mut sheet);
        self.push.write(&mut sheet);
        for family in self.registry.gather() {
            write_histogram(&mut sheet, &family);
        }
        if format == Format::OpenMetrics {
            sheet.push("# EOF\n");
        }
        // Some thousand bytes, so one piece.
        String::from_utf8(sheet.into_pieces().concat()).unwrap_or_default()
    }

    /// The logical CPUs of `/proc/cpuinfo`.
    pub(crate) fn cpus(&self) -> &[Cpu] {
        self.cpus.get_or_init(|| {
            self.read("cpuinfo")
                .map(|text| cpuinfo::parse(&text))
                .unwrap_or_default()
        })
    }

    fn write_process(&self, sheet: &mut Sheet) {
        let stat = self.read("self/stat").and_then(|text| parse_stat(&text));
        if let Some(stat) = stat {
            let metric = Metric::new(Kind::Counter, CPU_SECONDS.0, CPU_SECONDS.1);
            Family::new(sheet, &metric).sample(&Labels::none(), Decimal::centi(stat.cpu_ticks));
            let started = self.start_time.get_or_init(|| {
                let boot = self.read("stat").and_then(|text| parse_boot_seconds(&text))?;
                Some(Decimal::centi(
                    boot.checked_mul(100)?.checked_add(stat.start_ticks)?,
                ))
            });
            if let Some(started) = started {
                gauge(sheet, START_TIME, *started);
            }
        }
        if let Some(status) = self.read("self/status") {
            for (key, metric) in [("VmRSS:", RESIDENT), ("VmSize:", VIRTUAL)] {
                if let Some(kibibytes) = parse_kibibytes(&status, key) {
                    gauge(sheet, metric, Decimal::whole(kibibytes.saturating_mul(1024)));
                }
            }
        }
        if let Ok(entries) = fs::read_dir(self.proc_root.join("self/fd")) {
            // One of them is this directory, open for as long as we count.
            let count = u64::try_from(entries.count().saturating_sub(1)).unwrap_or(u64::MAX);
            gauge(sheet, OPEN_FDS, Decimal::whole(count));
        }
        let limits = self.read("self/limits");
        if let Some(most) = limits.and_then(|text| parse_max_fds(&text)) {
            gauge(sheet, MAX_FDS, Decimal::whole(most));
        }
    }

    fn read(&self, path: &str) -> Option<String> {
        // A process may choose a command name that is no UTF-8, and `stat` shows it.
        fs::read(self.proc_root.join(path))
            .ok()
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// Names and helps of what is written at each scrape.
const CPU_SECONDS: (&str, &str) = (
    "process_cpu_seconds_total",
    "User and system CPU time of this process.",
);
const START_TIME: (&str, &str) = (
    "process_start_time_seconds",
    "Start of this process since the Unix epoch.",
);
const RESIDENT: (&str, &str) = (
    "process_resident_memory_bytes",
    "Resident memory of this process.",
);
const VIRTUAL: (&str, &str) = ("process_virtual_memory_bytes", "Virtual memory of this process.");
const OPEN_FDS: (&str, &str) = ("process_open_fds", "Open file descriptors of this process.");
const MAX_FDS: (&str, &str) = (
    "process_max_fds",
    "Most file descriptors that this process may open.",
);
const SCRAPE_BYTES: (&str, &str) = (
    "kepler_scrape_bytes",
    "Size of the newest page as text, without the lines that are added at each scrape.",
);
const SCRAPE_DURATION: &str = "kepler_scrape_duration_seconds";

fn gauge(sheet: &mut Sheet, (name, help): (&'static str, &'static str), value: Decimal) {
    let metric = Metric::new(Kind::Gauge, name, help);
    Family::new(sheet, &metric).sample(&Labels::none(), value);
}

/// A histogram of the prometheus crate, whose own encoder knows no OpenMetrics.
fn write_histogram(sheet: &mut Sheet, family: &MetricFamily) {
    let metric = Metric::new(
        Kind::Histogram,
        family.name().to_owned(),
        family.help().to_owned(),
    );
    let mut written = Family::new(sheet, &metric);
    for sample in family.get_metric() {
        let histogram = sample.get_histogram();
        let buckets = histogram.get_bucket().iter();
        // With a point also where it is whole, as OpenMetrics wants it.
        let buckets =
            buckets.map(|bucket| (format!("{:?}", bucket.upper_bound()), bucket.cumulative_count()));
        let nanos = Duration::try_from_secs_f64(histogram.get_sample_sum())
            .map_or(u64::MAX, |sum| u64::try_from(sum.as_nanos()).unwrap_or(u64::MAX));
        written.histogram(buckets, Decimal::nano(nanos), histogram.get_sample_count());
    }
}

/// What is written at each scrape, for the reference.
pub(crate) fn metrics() -> Vec<Metric> {
    let gauge = |(name, help)| Metric::new(Kind::Gauge, name, help);
    let mut metrics = vec![Metric::new(Kind::Counter, CPU_SECONDS.0, CPU_SECONDS.1)];
    let gauges = [START_TIME, RESIDENT, VIRTUAL, OPEN_FDS, MAX_FDS, SCRAPE_BYTES];
    metrics.extend(gauges.into_iter().map(gauge));
    let observer = Observer::new(PathBuf::new());
    for family in observer.registry.gather() {
        let (name, help) = (family.name().to_owned(), family.help().to_owned());
        metrics.push(Metric::new(Kind::Histogram, name, help).with(&["le"]));
    }
    metrics
}

/// What we need of `/proc/PID/stat`, in clock ticks of 1/100 s (`USER_HZ`, the same on all our architectures).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    /// User and system time.
    cpu_ticks: u64,
    /// Start after boot.
    start_ticks: u64,
}

/// Fields 14, 15 and 22 of proc_pid_stat(5). The command name (field 2) may hold blanks and brackets, so counting begins
/// behind its last bracket.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, fields) = text.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    // The first of these is field 3; `nth` counts on from where it stopped.
    let user: u64 = fields.nth(11)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    let start_ticks = fields.nth(6)?.parse().ok()?;
    Some(Stat {
        cpu_ticks: user.checked_add(system)?,
        start_ticks,
    })
}

/// `btime` of proc_stat(5): the boot in seconds since the Unix epoch.
fn parse_boot_seconds(text: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix("btime "))?
        .trim()
        .parse()
        .ok()
}

/// A size out of proc_pid_status(5); its "kB" are 1024 bytes.
fn parse_kibibytes(text: &str, key: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(key))?;
    value.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// The soft limit out of `/proc/PID/limits`; `None` also for `unlimited`.
fn parse_max_fds(text: &str) -> Option<u64> {
    let limits = text
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    limits.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    const STAT: &str = "42 (a) R (b) S 1 42 42 0 -1 4194560 900 0 3 0 150 7 0 0 20 0 9 0 12345 2 3 4";

    fn fake_proc() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("stat", "cpu 1 2 3\nbtime 1700000000\nprocesses 9\n");
        write("self/stat", STAT);
        write(
            "self/status",
            "Name:\tkepler\nVmSize:\t  2048 kB\nVmRSS:\t  1024 kB\n",
        );
        write(
            "self/limits",
            "Limit  Soft Hard Units\nMax open files            1024    4096    files\n",
        );
        for fd in 0..4 {
            write(&format!("self/fd/{fd}"), "");
        }
        root
    }

    #[test]
    fn our_own_process_is_read_from_the_given_root() {
        let root = fake_proc();
        let lines = Observer::new(root.path().to_owned()).lines(77, Format::Text, None);
        for expected in [
            "process_cpu_seconds_total 1.57\n",
            "process_start_time_seconds 1700000123.45\n",
            "process_resident_memory_bytes 1048576\n",
            "process_virtual_memory_bytes 2097152\n",
            "process_open_fds 3\n",
            "process_max_fds 1024\n",
            "kepler_scrape_bytes 77\n",
        ] {
            assert!(lines.contains(expected), "{expected} is not in\n{lines}");
        }
    }

    #[test]
    fn a_command_name_full_of_brackets_moves_no_field() {
        let expected = Stat {
            cpu_ticks: 157,
            start_ticks: 12_345,
        };
        assert_eq!(parse_stat(STAT), Some(expected));
        assert_eq!(parse_stat("42 (short) S 1"), None);
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn a_proc_that_is_not_there_costs_only_its_own_lines() {
        let lines = Observer::new("/nonexistent".into()).lines(0, Format::Text, None);
        assert!(!lines.contains("process_"));
        assert!(lines.contains("kepler_scrape_duration_seconds_count 0\n"));
    }

    #[test]
    fn the_real_proc_answers_all_of_them() {
        let lines = Observer::new(Path::new("/proc").to_owned()).lines(0, Format::Text, None);
        let samples = lines.lines().filter(|line| line.starts_with("process_"));
        assert_eq!(samples.count(), 6, "{lines}");
    }

    #[test]
    fn scrapes_are_counted_with_their_duration() {
        let observer = Observer::new("/nonexistent".into());
        observer.scraped(Duration::from_millis(2));
        let lines = observer.lines(0, Format::Text, None);
        for expected in [
            "kepler_scrape_duration_seconds_bucket{le=\"0.001\"} 0\n",
            "kepler_scrape_duration_seconds_bucket{le=\"0.005\"} 1\n",
            "kepler_scrape_duration_seconds_sum 0.002\n",
            "kepler_scrape_duration_seconds_count 1\n",
        ] {
            assert!(lines.contains(expected), "{expected} is not in\n{lines}");
        }
    }
}
