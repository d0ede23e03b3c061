// SPDX-License-Identifier: Apache-2.0
//! One snapshot and its written forms, each written at the first request for it and then shared by all.
//!
//! A page that nobody asks for costs nothing. It refuses to know who asks: what differs from scrape to scrape is
//! appended by the routes.

use crate::config::{ExporterConfig, Level, PageConfig, Schema};
use crate::error::ExporterError;
use crate::forms::{Encoding, Forms, Renders};
use crate::naming::Naming;
use crate::observer::Observer;
use crate::rows::Row;
use crate::text::writer::{Decimal, Format};
use crate::view::{View, Viewer};
use crate::{json, text};
use attribution::model::{MonotonicNanos, Snapshot};
use bytes::Bytes;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

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

/// How moments of the snapshot's clock are told to people.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Epoch {
    /// Unix time at the clock's zero, looked at once: what is told must not move when somebody sets the time.
    zero: Duration,
    started: MonotonicNanos,
}

impl Epoch {
    /// Unix time of a moment, in milliseconds; nothing began before the daemon did.
    pub(crate) fn unix(self, moment: MonotonicNanos) -> Decimal {
        let since = Duration::from_nanos(moment.max(self.started).as_nanos());
        let millis = self.zero.saturating_add(since).as_millis();
        Decimal::milli(u64::try_from(millis).unwrap_or(u64::MAX))
    }

    /// When the daemon began.
    pub(crate) fn start(self) -> Decimal {
        self.unix(self.started)
    }
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
    pub(crate) observer: Arc<Observer>,
    /// When counters began, for OpenMetrics; `None` where it is not told.
    pub(crate) epoch: Option<Epoch>,
    /// The same, also where the configuration does not want it told.
    pub(crate) begun: Option<Epoch>,
    pub(crate) tells_since: bool,
    /// Period of the windows; `None` where nobody says.
    pub(crate) tick: Option<Duration>,
    /// Whether a request may reload the configuration.
    pub(crate) reload: bool,
    pub(crate) naming: Naming,
    pub(crate) viewer: Mutex<Viewer>,
}

impl RenderSettings {
    /// What `config` asks for. Our own process is looked at below `/proc`.
    #[must_use]
    pub fn new(config: &ExporterConfig, build: BuildInfo) -> Self {
        let is_today = config.schemas.contains(&Schema::Kepler011);
        let naming = Naming {
            drop: config.drop.clone(),
            pod_labels: config.pod_labels.clone(),
            namespaces: config.namespaces.clone(),
            node: is_today.then(String::new),
        };
        Self {
            viewer: Mutex::new(Viewer::new(&config.schemas, &config.levels, &naming)),
            naming,
            epoch: None,
            begun: None,
            tells_since: config.created,
            tick: None,
            reload: config.reload,
            schemas: config.schemas.clone(),
            levels: config.levels.clone(),
            build,
            os: std::env::consts::OS,
            arch: std::env::consts::ARCH,
            cpu_architecture: "unknown".to_owned(),
            page: config.page.clone(),
            observer: Arc::new(Observer::new(PathBuf::from("/proc"))),
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

    /// The `node_name` of schema `kepler-0.11`; empty where this is not called.
    #[must_use]
    pub fn with_node_name(mut self, node_name: &str) -> Self {
        if let Some(name) = &mut self.naming.node {
            node_name.clone_into(name);
        }
        let viewer = Viewer::new(&self.schemas, &self.levels, &self.naming);
        Self {
            viewer: Mutex::new(viewer),
            ..self
        }
    }

    /// The Unix time `unix` and the moment `now` on the clock of the snapshots, both of the start, so that OpenMetrics can say
    /// since when counters count. Where this is not called, or the configuration does not want it, it says nothing of it.
    #[must_use]
    pub fn with_start(self, unix: Duration, now: MonotonicNanos) -> Self {
        let epoch = Epoch {
            zero: unix.saturating_sub(Duration::from_nanos(now.as_nanos())),
            started: now,
        };
        self.begun_with(Some(epoch))
    }

    fn begun_with(self, begun: Option<Epoch>) -> Self {
        Self {
            begun,
            epoch: begun.filter(|_| self.tells_since),
            ..self
        }
    }

    /// Windows come every `tick`.
    #[must_use]
    pub fn with_tick(self, tick: Duration) -> Self {
        Self {
            tick: Some(tick),
            ..self
        }
    }

    /// Takes the place of `before`, whose newest snapshot was `shown`: counts of scrapes, sums of rows and the start go on.
    fn after(self, before: &Self, shown: &Snapshot) -> Self {
        let viewer = std::mem::take(&mut *before.viewer());
        let viewer = viewer.under_others(&before.naming, shown, &self);
        Self {
            viewer: Mutex::new(viewer),
            observer: Arc::clone(&before.observer),
            ..self.begun_with(before.begun)
        }
    }

    pub(crate) fn node_name(&self) -> &str {
        self.naming.node.as_deref().unwrap_or_default()
    }

    /// The rows of a level, as they are to be written.
    pub(crate) fn rows<'a>(&self, level: Level, view: &'a View) -> Vec<Row<'a>> {
        self.viewer().wardrobe.rows(level, &view.moment, &self.naming)
    }

    fn viewer(&self) -> MutexGuard<'_, Viewer> {
        // Whoever panicked with it left at worst faces out that are made again.
        self.viewer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at our own process below another root than `/proc`.
    #[must_use]
    pub fn with_proc_root(self, proc_root: PathBuf) -> Self {
        Self {
            observer: Arc::new(Observer::new(proc_root)),
            ..self
        }
    }
}

/// One snapshot with its written forms.
pub struct Page {
    view: View,
    settings: Arc<RenderSettings>,
    forms: Forms,
    json: OnceLock<Result<Bytes, ExporterError>>,
    num_json: AtomicU32,
}

impl Page {
    /// A page; nothing is written yet. Before the first window, publish one of `Snapshot::default()`. To be called once for
    /// each snapshot, in their order: what is summed over rows that left, and power, is taken from one to the next.
    #[must_use]
    pub fn new(snapshot: Arc<Snapshot>, settings: Arc<RenderSettings>) -> Self {
        let view = settings.viewer().next(snapshot, &settings.naming);
        Self {
            view,
            settings,
            forms: Forms::default(),
            json: OnceLock::new(),
            num_json: AtomicU32::new(0),
        }
    }

    /// The same snapshot once more: what stands beside it is told anew.
    #[must_use]
    pub fn again(&self) -> Self {
        Self::new(Arc::clone(&self.view.moment.snapshot), Arc::clone(&self.settings))
    }

    /// The same snapshot under other settings, for this page and all that follow.
    #[must_use]
    pub fn under(&self, settings: RenderSettings) -> (Self, Arc<RenderSettings>) {
        let shown = Arc::clone(&self.view.moment.snapshot);
        let settings = Arc::new(settings.after(&self.settings, &shown));
        (Self::new(shown, Arc::clone(&settings)), settings)
    }

    /// What it shows.
    #[must_use]
    pub fn snapshot(&self) -> &Snapshot {
        &self.view.moment.snapshot
    }

    /// As Prometheus text, without what belongs to a single scrape, in pieces that follow each other.
    #[must_use]
    pub fn text(&self) -> &[Bytes] {
        self.pieces(Format::Text)
    }

    /// As OpenMetrics, without what belongs to a single scrape and without the line that ends it.
    #[must_use]
    pub fn openmetrics(&self) -> &[Bytes] {
        self.pieces(Format::OpenMetrics)
    }

    pub(crate) fn pieces(&self, format: Format) -> &[Bytes] {
        self.forms.plain(format, || self.render(format))
    }

    fn render(&self, format: Format) -> Vec<Bytes> {
        text::render(&self.view, &self.settings, format)
    }

    /// As JSON.
    ///
    /// # Errors
    ///
    /// Where serialising fails, which no snapshot is known to make it do.
    pub fn json(&self) -> Result<Bytes, &ExporterError> {
        let write = || {
            self.num_json.fetch_add(1, Ordering::Relaxed);
            json::render(self.snapshot(), self.settings.observer.reloads()).map(Bytes::from)
        };
        match self.json.get_or_init(write) {
            Ok(json) => Ok(json.clone()),
            Err(error) => Err(error),
        }
    }

    /// What one scrape gets, in pieces, and how it is encoded.
    pub(crate) fn scrape(&self, format: Format, encoding: Encoding) -> (Vec<Bytes>, Encoding) {
        let size = self.pieces(format).iter().map(Bytes::len).sum();
        let tail = self.settings.observer.lines(size, format, self.settings.epoch);
        self.forms
            .body((format, encoding), tail.into_bytes(), || self.render(format))
    }

    /// Whether a scrape of that form only shares what is there.
    pub(crate) fn is_written(&self, format: Format, encoding: Encoding) -> bool {
        self.forms.are_written(format, encoding)
    }

    pub(crate) fn is_json_written(&self) -> bool {
        self.json.get().is_some()
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
            json: self.num_json.load(Ordering::Relaxed),
            ..self.forms.renders()
        }
    }
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Page")
            .field("tick", &self.snapshot().tick)
            .field("renders", &self.renders())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn every_form_is_written_once_and_only_when_asked_for_however_many_ask_at_once() {
        let page = sample::page();
        assert_eq!(page.renders(), Renders::default());
        std::thread::scope(|scope| {
            for number in 0..50_usize {
                let page = &page;
                scope.spawn(move || {
                    let format = [Format::Text, Format::OpenMetrics][number % 2];
                    let encodings = [Encoding::Identity, Encoding::Gzip, Encoding::Zstd];
                    page.scrape(format, encodings[number % 3]);
                    assert!(page.json().is_ok());
                });
            }
        });
        let once = Renders {
            text: 1,
            openmetrics: 1,
            gzip: 2,
            zstd: 2,
            json: 1,
        };
        assert_eq!(page.renders(), once);
    }

    #[test]
    fn all_readers_share_the_same_bytes() {
        let page = sample::page();
        assert_eq!(page.text()[0].as_ptr(), page.text()[0].as_ptr());
        for encoding in [Encoding::Identity, Encoding::Gzip, Encoding::Zstd] {
            let twice = [(); 2].map(|()| page.scrape(Format::Text, encoding));
            assert_eq!(twice[0].1, encoding);
            assert_eq!(twice[0].0[0].as_ptr(), twice[1].0[0].as_ptr(), "{encoding:?}");
        }
        assert_eq!(page.json().unwrap().as_ptr(), page.json().unwrap().as_ptr());
    }

    #[test]
    fn settings_come_from_the_configuration() {
        let config = ExporterConfig {
            levels: vec![Level::Pod],
            ..ExporterConfig::default()
        };
        let settings = RenderSettings::new(&config, BuildInfo::default()).with_cpu_architecture("Zen 4");
        let page = Page::new(Arc::new(sample::snapshot()), Arc::new(settings));
        let text = String::from_utf8(page.text().concat()).unwrap();
        assert!(text.contains("kepler_pod_joules_total{") && !text.contains("kepler_node_joules_total{"));
        assert!(text.contains("cpu_architecture=\"Zen 4\""));
        let settings =
            RenderSettings::new(&config, BuildInfo::default()).with_proc_root("/nonexistent".into());
        assert!(
            !settings
                .observer
                .lines(0, Format::Text, None)
                .contains("process_")
        );
    }

    #[test]
    fn what_began_before_the_daemon_began_with_it() {
        let at = |seconds: u64| MonotonicNanos::from_nanos(seconds * 1_000_000_000);
        let settings = RenderSettings::new(&ExporterConfig::default(), BuildInfo::default());
        let settings = settings.with_start(Duration::from_secs(1_700_000_100), at(100));
        let epoch = settings.epoch.unwrap();
        assert_eq!(epoch.unix(at(50)), epoch.start());
        assert_eq!(epoch.unix(at(101)), Decimal::milli(1_700_000_101_000));
        let config = ExporterConfig {
            created: false,
            ..ExporterConfig::default()
        };
        let silent = RenderSettings::new(&config, BuildInfo::default());
        assert!(silent.with_start(Duration::ZERO, at(1)).epoch.is_none());
    }
}
