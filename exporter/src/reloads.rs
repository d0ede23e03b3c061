// SPDX-License-Identifier: Apache-2.0
//! Whether the configuration that runs is the one that was asked for last: who reloads says so here, and every scrape tells it.

use crate::page::RenderSettings;
use crate::text::metric::{Kind, Metric};
use crate::text::writer::{Decimal, Family, Labels, Sheet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// See the module's head. Nothing is told before the first configuration was taken over.
#[derive(Debug, Default)]
pub struct Reloads {
    succeeded: AtomicBool,
    /// Unix time of the last success in milliseconds; 0 while there was none.
    at: AtomicU64,
}

impl Reloads {
    /// A configuration is in force since `unix`; the one of the start is the first.
    pub fn succeeded(&self, unix: Duration) {
        let millis = u64::try_from(unix.as_millis()).unwrap_or(u64::MAX);
        self.at.store(millis.max(1), Ordering::Relaxed);
        self.succeeded.store(true, Ordering::Relaxed);
    }

    /// One was refused; the one before it is still in force.
    pub fn failed(&self) {
        self.succeeded.store(false, Ordering::Relaxed);
    }

    /// Whether the last one was taken over, and when (Unix time, in milliseconds) one was the last time.
    pub(crate) fn state(&self) -> Option<(bool, u64)> {
        let at = self.at.load(Ordering::Relaxed);
        (at > 0).then(|| (self.succeeded.load(Ordering::Relaxed), at))
    }

    pub(crate) fn write(&self, sheet: &mut Sheet) {
        let Some((succeeded, at)) = self.state() else {
            return;
        };
        let [successful, timestamp] = metrics();
        Family::new(sheet, &successful).sample(&Labels::none(), Decimal::whole(u64::from(succeeded)));
        Family::new(sheet, &timestamp).sample(&Labels::none(), Decimal::milli(at));
    }
}

impl RenderSettings {
    /// Where is written down how the configuration fares.
    #[must_use]
    pub fn reloads(&self) -> Arc<Reloads> {
        Arc::clone(self.observer.reloads())
    }
}

/// What is written, also for the reference.
pub(crate) fn metrics() -> [Metric; 2] {
    [
        Metric::new(
            Kind::Gauge,
            "kepler_config_last_reload_successful",
            "Whether the last attempt to take over a configuration succeeded; 0 while an older one stays in force.",
        ),
        Metric::new(
            Kind::Gauge,
            "kepler_config_last_reload_success_timestamp_seconds",
            "When a configuration was taken over the last time (Unix time); at first the start.",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::writer::Format;

    fn lines(reloads: &Reloads) -> String {
        let mut sheet = Sheet::new(Format::Text, None);
        reloads.write(&mut sheet);
        String::from_utf8(sheet.into_pieces().concat()).unwrap()
    }

    #[test]
    fn a_refusal_is_told_and_leaves_the_time_of_the_last_success() {
        let reloads = Reloads::default();
        reloads.failed();
        assert_eq!(lines(&reloads), "");
        reloads.succeeded(Duration::from_millis(1_700_000_000_250));
        let told = |successful: u8| {
            let text = lines(&reloads);
            assert!(
                text.contains("kepler_config_last_reload_success_timestamp_seconds 1700000000.25\n"),
                "{text}"
            );
            text.contains(&format!("kepler_config_last_reload_successful {successful}\n"))
        };
        assert!(told(1));
        reloads.failed();
        assert!(told(0));
        reloads.succeeded(Duration::from_millis(1_700_000_000_250));
        assert!(told(1));
    }
}
