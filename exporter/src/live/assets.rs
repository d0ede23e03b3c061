// SPDX-License-Identifier: Apache-2.0
//! The page's files, built into the binary: nothing is read from disk, and nothing is fetched from elsewhere.

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::sync::OnceLock;

/// One file.
pub(super) struct Asset {
    /// Its path below `/page/`; empty for the page itself.
    pub(super) path: &'static str,
    pub(super) kind: &'static str,
    pub(super) bytes: &'static [u8],
    tag: OnceLock<String>,
    packed: OnceLock<Bytes>,
}

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

macro_rules! asset {
    ($path:literal, $kind:expr) => {
        asset!($path, $kind, $path)
    };
    ($path:literal, $kind:expr, $file:literal) => {
        Asset {
            path: $path,
            kind: $kind,
            bytes: include_bytes!(concat!("../../page/", $file)),
            tag: OnceLock::new(),
            packed: OnceLock::new(),
        }
    };
}

static ASSETS: [Asset; 16] = [
    asset!("", HTML, "index.html"),
    asset!("app.js", SCRIPT),
    asset!("api.js", SCRIPT),
    asset!("chart.js", SCRIPT),
    asset!("cost.js", SCRIPT),
    asset!("format.js", SCRIPT),
    asset!("health.js", SCRIPT),
    asset!("node.js", SCRIPT),
    asset!("record.js", SCRIPT),
    asset!("theme.js", SCRIPT),
    asset!("workload.js", SCRIPT),
    asset!("workloads.js", SCRIPT),
    asset!("style.css", STYLE),
    asset!("icon.svg", "image/svg+xml"),
    asset!("vendor/uPlot.esm.js", SCRIPT),
    asset!("vendor/uPlot.min.css", STYLE),
];

/// The file at this path of a URL.
pub(super) fn find(path: &str) -> Option<&'static Asset> {
    let name = match path {
        "/" => "",
        path => path.strip_prefix("/page/").filter(|name| !name.is_empty())?,
    };
    ASSETS.iter().find(|asset| asset.path == name)
}

impl Asset {
    /// Changes when the file does, with another build.
    pub(super) fn tag(&self) -> &str {
        self.tag.get_or_init(|| {
            let mut hasher = DefaultHasher::new();
            self.bytes.hash(&mut hasher);
            format!("\"{:016x}\"", hasher.finish())
        })
    }

    /// Compressed, at the first request that wants it so.
    pub(super) fn packed(&self) -> Bytes {
        let pack = || {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
            let written = encoder.write_all(self.bytes).and_then(|()| encoder.finish());
            Bytes::from(written.expect("writing into memory does not fail"))
        };
        self.packed.get_or_init(pack).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_page_is_served_and_no_other() {
        let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("page");
        let mut files: Vec<String> = [page.clone(), page.join("vendor")]
            .iter()
            .flat_map(|folder| std::fs::read_dir(folder).unwrap())
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_file())
            .map(|path| path.strip_prefix(&page).unwrap().to_str().unwrap().to_owned())
            // For people who look at the sources.
            .filter(|name| !name.ends_with("LICENSE") && !name.ends_with(".md"))
            .collect();
        let mut served: Vec<_> = ASSETS
            .iter()
            .map(|asset| {
                if asset.path.is_empty() {
                    "index.html"
                } else {
                    asset.path
                }
            })
            .collect();
        files.sort();
        served.sort_unstable();
        assert_eq!(served, files);
        assert!(find("/page/").is_none() && find("/page/../Cargo.toml").is_none());
    }

    #[test]
    fn nothing_of_the_page_names_another_host() {
        for asset in ASSETS.iter().filter(|asset| !asset.path.starts_with("vendor/")) {
            let text = std::str::from_utf8(asset.bytes).unwrap();
            // Names of XML namespaces are never asked.
            let text = text.replace("http://www.w3.org/2000/svg", "");
            assert!(!text.contains("://"), "{}", asset.path);
        }
    }

    #[test]
    fn what_others_wrote_asks_nobody() {
        let vendored = ASSETS.iter().filter(|asset| asset.path.starts_with("vendor/"));
        for asset in vendored {
            let text = std::str::from_utf8(asset.bytes).unwrap();
            for way in [
                "fetch(",
                "XMLHttpRequest",
                "WebSocket",
                "EventSource",
                "sendBeacon",
                "import(",
                "url(",
                "@import",
            ] {
                assert!(!text.contains(way), "{}: {way}", asset.path);
            }
        }
    }

    #[test]
    fn no_file_builds_markup_out_of_text() {
        for asset in &ASSETS {
            let text = std::str::from_utf8(asset.bytes).unwrap();
            for way in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "style=",
            ] {
                assert!(!text.contains(way), "{}: {way}", asset.path);
            }
        }
    }
}
