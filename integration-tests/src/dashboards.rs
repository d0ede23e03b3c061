// SPDX-License-Identifier: Apache-2.0
//! The Grafana dashboards of `deploy/grafana`, written from here so that four boards have one style, one set of variables and
//! one way to ask. `make deploy-files` writes the files; a test holds them to this.
//!
//! Nothing here knows a number of anybody's: price and carbon intensity are variables of the board.

mod cluster;
mod exporter;
mod namespaces;
mod node;
mod panel;
mod query;

use panel::{Panel, datasource};
use serde_json::{Value, json};

/// A board and the name of its file.
pub struct Dashboard {
    /// Without a folder.
    pub file: &'static str,
    /// As Grafana imports it.
    pub json: Value,
}

impl Dashboard {
    /// The file's text.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{:#}\n", self.json)
    }
}

/// All of them.
#[must_use]
pub fn all() -> Vec<Dashboard> {
    vec![
        cluster::cluster(),
        node::node(),
        namespaces::namespaces(),
        exporter::exporter(),
    ]
}

/// Widest line of panels that Grafana has.
const COLUMNS: u64 = 24;

/// A headline and what stands below it, from left to right.
struct Section {
    title: &'static str,
    panels: Vec<Panel>,
}

/// Who a board is.
struct About {
    uid: &'static str,
    title: &'static str,
    description: &'static str,
    /// Beside the data source and the job.
    variables: Vec<Value>,
}

fn board(about: About, sections: Vec<Section>) -> Dashboard {
    let mut variables = vec![
        json!({
            "name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "refresh": 1,
            "hide": 0, "includeAll": false, "multi": false, "options": [], "regex": "",
            "description": "The Prometheus that scrapes Kepler.",
        }),
        choice(
            "job",
            "Job",
            "label_values(kepler_node_info, job)",
            Choice::One,
            "The scrape job. One at a time: a node that two jobs scrape would count twice.",
        ),
    ];
    variables.extend(about.variables);
    Dashboard {
        file: about.uid,
        json: json!({
            "uid": about.uid, "title": about.title, "description": about.description, "tags": ["kepler", "energy"],
            "schemaVersion": 39, "version": 1, "editable": true, "graphTooltip": 1, "timezone": "browser", "refresh": "1m",
            "time": {"from": "now-6h", "to": "now"}, "annotations": {"list": []}, "templating": {"list": variables},
            "links": [{
                "title": "Kepler", "type": "dashboards", "tags": ["kepler"], "asDropdown": true, "includeVars": true,
                "keepTime": true, "targetBlank": false, "icon": "external link", "tooltip": "The other boards, with the same choices", "url": "",
            }],
            "panels": lay_out(sections),
        }),
    }
}

/// Rows of panels, each as high as its highest.
fn lay_out(sections: Vec<Section>) -> Vec<Value> {
    let mut panels = Vec::new();
    let mut y = 0;
    for section in sections {
        let row = json!({
            "type": "row", "title": section.title, "collapsed": false, "panels": [], "gridPos": {"x": 0, "y": y, "w": COLUMNS, "h": 1},
        });
        panels.push(row);
        y += 1;
        let (mut x, mut height) = (0, 0);
        for panel in section.panels.into_iter().map(Panel::finish) {
            if x + panel.width > COLUMNS {
                (x, y, height) = (0, y + height, 0);
            }
            let mut json = panel.json;
            json["gridPos"] = json!({"x": x, "y": y, "w": panel.width, "h": panel.height});
            panels.push(json);
            x += panel.width;
            height = height.max(panel.height);
        }
        y += height;
    }
    for (id, panel) in (1_u64..).zip(&mut panels) {
        panel["id"] = json!(id);
    }
    panels
}

/// How much of a variable can be chosen.
#[derive(Clone, Copy, PartialEq)]
enum Choice {
    One,
    Several,
}

/// A variable whose values Prometheus knows.
fn choice(name: &str, label: &str, query: &str, choice: Choice, about: &str) -> Value {
    let several = choice == Choice::Several;
    let mut variable = json!({
        "name": name, "label": label, "type": "query", "datasource": datasource(),
        "query": {"query": query, "refId": "variable"}, "refresh": 2, "sort": 1, "hide": 0, "regex": "", "options": [],
        "includeAll": several, "multi": several, "description": about,
    });
    if several {
        variable["allValue"] = json!(".*");
        variable["current"] = json!({"text": ["All"], "value": ["$__all"]});
    }
    variable
}

/// A variable that the reader types.
fn text(name: &str, label: &str, value: &str, about: &str) -> Value {
    let current = json!({"text": value, "value": value, "selected": true});
    json!({
        "name": name, "label": label, "type": "textbox", "query": value, "hide": 0, "current": current, "options": [current],
        "description": about,
    })
}

/// What energy costs, to be typed by who knows.
fn prices() -> [Value; 3] {
    [
        text(
            "price",
            "Price per kWh",
            "0.30",
            "What a kilowatt-hour costs. An example: type yours.",
        ),
        text("currency", "Currency", "EUR", "What the price is in; only shown."),
        text(
            "intensity",
            "g CO2e per kWh",
            "400",
            "Carbon intensity of the electricity in grams of CO2 equivalent per kilowatt-hour. An example: type your grid's.",
        ),
    ]
}
