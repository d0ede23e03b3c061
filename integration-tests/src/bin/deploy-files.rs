// SPDX-License-Identifier: Apache-2.0
//! `deploy-files DEPLOY` writes what is made of something else in that folder: the Grafana dashboards, and the Prometheus rules
//! as the Prometheus operator takes them. Tests hold the committed files to this.

use integration_tests::{dashboards, manifests};
use std::fs;
use std::io;
use std::path::Path;

fn main() -> io::Result<()> {
    let Some(folder) = std::env::args_os().nth(1) else {
        return Err(io::Error::other("usage: deploy-files DEPLOY"));
    };
    let folder = Path::new(&folder);
    for board in dashboards::all() {
        let file = folder.join("grafana").join(format!("{}.json", board.file));
        fs::write(file, board.text())?;
    }
    let rules = manifests::prometheus_rule(&folder.join("prometheus"))?;
    fs::write(folder.join(manifests::PROMETHEUS_RULE), rules)
}
