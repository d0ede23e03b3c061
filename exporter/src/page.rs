// SPDX-License-Identifier: Apache-2.0
//! One snapshot and its written forms, each written at the first request for it and then shared by all.
//!
//! A page that nobody asks for costs nothing. It refuses to know who asks: what differs from scrape to scrape is
//! appended by the routes.

use crate::config::{ExporterConfig, Level, PageConfig, Schema};
use crate::error::ExporterError;
use crate::gzip::OpenGzip;
use crate::observer::Observer;
use crate::{json, text};
use attribution::model::Snapshot;
use bytes::Bytes;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

/// Labels of `kepler_exporter_build_info`; `os` and `arch` are those this crate was compiled for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BuildInfo {
    /// Version of the release.
    pub version: &'static str,
    /// Commit that it was built from.
    pub revision: &'static str,
    /// Branch that it was built from.
    pub branch: &'static str,
}

/// What all pages of a run have in common, and the scrape counters that outlive each page.
#[derive(Debug)]
pub struct RenderSettings {
    pub(crate) schemas: Vec<Schema>,
    pub(crate) levels: Vec<Level>,
    pub(crate) build: BuildInfo,
    pub(crate) os: &'static str,
    pub(crate) arch: &'static str,
    pub(crate) cpu_architecture: String,
    pub(crate) page: PageConfig,
    pub(crate) observer: Observer,
}

impl RenderSettings {
    /// What `config` asks for. Our own process is looked at below `/proc`.
    #[must_use]
    pub fn new(config: &ExporterConfig, build: BuildInfo) -> Self {
        Self {
            schemas: config.schemas.clone(),
            levels: config.levels.clone(),
            build,
            os: std::env::consts::OS,
            arch: std::env::consts::ARCH,
            cpu_architecture: "unknown".to_owned(),
            page: config.page.clone(),
            observer: Observer::new(PathBuf::from("/proc")),
        }
    }

    /// The processor's family in words, for `kepler_node_info`; `unknown` where this is not called.
    #[must_use]
    pub fn with_cpu_architecture(self, cpu_architecture: &str) -> Self {
        Self {
            cpu_architecture: cpu_architecture.to_owned(),
            ..self
        }
    }

    /// Looks at our own process below another root than `/proc`.
    #[must_use]
    pub fn with_proc_root(self, proc_root: PathBuf) -> Self {
        Self {
            observer: Observer::new(proc_root),
            ..self
        }
    }
}

/// How often each form of a page was written: 0 or 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Renders {
    /// Prometheus text.
    pub text: u32,
    /// The same, compressed.
    pub gzip: u32,
    /// JSON.
    pub json: u32,
}

/// One snapshot with its written forms.
pub struct Page {
    snapshot: Arc<Snapshot>,
    settings: Arc<RenderSettings>,
    text: OnceLock<Bytes>,
    gzip: OnceLock<io::Result<OpenGzip>>,
    json: OnceLock<Result<Bytes, ExporterError>>,
    num_text: AtomicU32,
    num_gzip: AtomicU32,
    num_json: AtomicU32,
}

impl Page {
    /// A page; nothing is written yet. Before the first window, publish one of `Snapshot::default()`.
    #[must_use]
    pub const fn new(snapshot: Arc<Snapshot>, settings: Arc<RenderSettings>) -> Self {
        Self {
            snapshot,
            settings,
            text: OnceLock::new(),
            gzip: OnceLock::new(),
            json: OnceLock::new(),
            num_text: AtomicU32::new(0),
            num_gzip: AtomicU32::new(0),
            num_json: AtomicU32::new(0),
        }
    }

    /// What it shows.
    #[must_use]
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// As Prometheus text, without what belongs to a single scrape.
    #[must_use]
    pub fn text(&self) -> Bytes {
        let write = || {
            self.num_text.fetch_add(1, Ordering::Relaxed);
            Bytes::from(text::render(&self.snapshot, &self.settings))
        };
        self.text.get_or_init(write).clone()
    }

    /// As JSON.
    ///
    /// # Errors
    ///
    /// Where serialising fails, which no snapshot is known to make it do.
    pub fn json(&self) -> Result<Bytes, &ExporterError> {
        let write = || {
            self.num_json.fetch_add(1, Ordering::Relaxed);
            json::render(&self.snapshot).map(Bytes::from)
        };
        match self.json.get_or_init(write) {
            Ok(json) => Ok(json.clone()),
            Err(error) => Err(error),
        }
    }

    /// The text compressed, with `tail` behind it in the same stream.
    pub(crate) fn gzip_with(&self, tail: &[u8]) -> Option<[Bytes; 2]> {
        let write = || {
            self.num_gzip.fetch_add(1, Ordering::Relaxed);
            OpenGzip::begin(&self.text())
        };
        // Writing into memory does not fail; if it ever did, the plain text would still be an answer.
        let open = self.gzip.get_or_init(write).as_ref().ok()?;
        open.finish(tail).ok()
    }

    pub(crate) fn settings(&self) -> &RenderSettings {
        &self.settings
    }

    pub(crate) fn observer(&self) -> &Observer {
        &self.settings.observer
    }

    /// How often each form was written.
    #[must_use]
    pub fn renders(&self) -> Renders {
        Renders {
            text: self.num_text.load(Ordering::Relaxed),
            gzip: self.num_gzip.load(Ordering::Relaxed),
            json: self.num_json.load(Ordering::Relaxed),
        }
    }
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Page")
            .field("tick", &self.snapshot.tick)
            .field("renders", &self.renders())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use flate2::read::GzDecoder;
    use std::io::Read;

    #[test]
    fn gzip_holds_the_same_text() {
        let page = sample::page();
        let packed = page.gzip_with(b"tail 1\n").unwrap().concat();
        let mut unpacked = Vec::new();
        GzDecoder::new(packed.as_slice())
            .read_to_end(&mut unpacked)
            .unwrap();
        assert_eq!(unpacked, [page.text().as_ref(), b"tail 1\n"].concat());
    }

    #[test]
    fn every_form_is_written_once_and_only_when_asked_for() {
        let page = sample::page();
        assert_eq!(page.renders(), Renders::default());
        std::thread::scope(|scope| {
            for _ in 0..50 {
                scope.spawn(|| (page.text(), page.gzip_with(b""), page.json().is_ok()));
            }
        });
        let once = Renders {
            text: 1,
            gzip: 1,
            json: 1,
        };
        assert_eq!(page.renders(), once);
    }

    #[test]
    fn all_readers_share_the_same_bytes() {
        let page = sample::page();
        assert_eq!(page.text().as_ptr(), page.text().as_ptr());
        let heads = [page.gzip_with(b"a").unwrap(), page.gzip_with(b"b").unwrap()];
        assert_eq!(heads[0][0].as_ptr(), heads[1][0].as_ptr());
        assert_eq!(page.json().unwrap().as_ptr(), page.json().unwrap().as_ptr());
    }

    #[test]
    fn settings_come_from_the_configuration() {
        let config = ExporterConfig {
            levels: vec![Level::Pod],
            ..ExporterConfig::default()
        };
        let settings = RenderSettings::new(&config, BuildInfo::default()).with_cpu_architecture("Zen 4");
        let text = text::render(&sample::snapshot(), &settings);
        assert!(text.contains("kepler_pod_joules_total{") && !text.contains("kepler_node_joules_total{"));
        assert!(text.contains("cpu_architecture=\"Zen 4\""));
        let elsewhere = settings.with_proc_root("/nonexistent".into());
        assert!(!elsewhere.observer.lines(0).contains("process_"));
    }
}
