// SPDX-License-Identifier: Apache-2.0
//! Panels as Grafana stores them, in one style. A panel knows its size; where it stands is the board's business.

use serde_json::{Value, json};

/// The data source of everything: what the reader chose at the top of the board.
pub(super) fn datasource() -> Value {
    json!({"type": "prometheus", "uid": "${datasource}"})
}

/// One panel.
pub(super) struct Panel {
    pub(super) json: Value,
    pub(super) width: u64,
    pub(super) height: u64,
    /// Whether its queries are about now (a number, a table) or about the whole time (lines).
    is_instant: bool,
    columns: Vec<(String, String)>,
}

impl Panel {
    fn new(kind: &str, title: &str, about: &str, unit: &str) -> Self {
        Self {
            json: json!({
                "type": kind, "title": title, "description": about, "datasource": datasource(), "targets": [],
                "fieldConfig": {"defaults": {"unit": unit, "noValue": "no data"}, "overrides": []}, "options": {},
            }),
            width: 8,
            height: 8,
            is_instant: true,
            columns: Vec::new(),
        }
    }

    /// A number that is true now, or over the time that is shown.
    pub(super) fn number(title: &str, about: &str, unit: &str) -> Self {
        let mut panel = Self::new("stat", title, about, unit);
        panel.json["options"] = json!({
            "colorMode": "none", "graphMode": "none", "justifyMode": "auto", "textMode": "auto", "orientation": "auto",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": false},
        });
        panel.size(4, 4)
    }

    /// Lines over time.
    pub(super) fn lines(title: &str, about: &str, unit: &str) -> Self {
        let mut panel = Self::new("timeseries", title, about, unit);
        panel.is_instant = false;
        panel.json["fieldConfig"]["defaults"]["custom"] = json!({
            "drawStyle": "line", "lineInterpolation": "linear", "lineWidth": 1, "fillOpacity": 10, "showPoints": "never",
            "spanNulls": false, "stacking": {"mode": "none", "group": "A"}, "axisSoftMin": 0,
        });
        // What is estimated looks so wherever it is drawn: its legend has the word, and its line is dashed.
        panel.json["fieldConfig"]["overrides"] = json!([{
            "matcher": {"id": "byRegexp", "options": "/estimated/"},
            "properties": [{"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [8, 6]}}],
        }]);
        panel.json["options"] = json!({
            "legend": {"displayMode": "table", "placement": "bottom", "showLegend": true, "calcs": ["lastNotNull", "mean"]},
            "tooltip": {"mode": "multi", "sort": "desc"},
        });
        panel.size(12, 9)
    }

    /// Areas over time that add up.
    pub(super) fn areas(title: &str, about: &str, unit: &str) -> Self {
        let mut panel = Self::lines(title, about, unit);
        let custom = &mut panel.json["fieldConfig"]["defaults"]["custom"];
        custom["stacking"]["mode"] = json!("normal");
        custom["fillOpacity"] = json!(40);
        panel
    }

    /// Bars of now, the longest first.
    pub(super) fn bars(title: &str, about: &str, unit: &str) -> Self {
        let mut panel = Self::new("bargauge", title, about, unit);
        panel.json["fieldConfig"]["defaults"]["min"] = json!(0);
        panel.json["options"] = json!({
            "displayMode": "basic", "orientation": "horizontal", "showUnfilled": true, "valueMode": "color",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": false},
        });
        panel.size(12, 9)
    }

    /// A table with a row for each set of labels, and a column for each query.
    pub(super) fn table(title: &str, about: &str) -> Self {
        let mut panel = Self::new("table", title, about, "none");
        panel.json["options"] = json!({"cellHeight": "sm", "showHeader": true, "footer": {"show": false}});
        panel.size(12, 9)
    }

    /// Its size, in 24ths of the width and in rows of 30 pixels.
    pub(super) fn size(mut self, width: u64, height: u64) -> Self {
        self.width = width;
        self.height = height;
        self
    }

    /// A query, and what its series are called.
    pub(super) fn query(mut self, expression: &str, legend: &str) -> Self {
        let instant = self.is_instant;
        self.push(json!({"expr": expression, "legendFormat": legend, "instant": instant, "range": !instant}));
        self
    }

    /// A column of a table: what it is called, its unit, and the query.
    pub(super) fn column(mut self, name: &str, unit: &str, expression: &str) -> Self {
        self.push(json!({"expr": expression, "format": "table", "instant": true, "range": false}));
        self.columns.push((name.to_owned(), unit.to_owned()));
        self
    }

    /// Draws between two series, which are named, as between the ends of an error bar.
    pub(super) fn band(mut self, low: &str, high: &str) -> Self {
        let by_name = |name: &str, properties: Value| json!({"matcher": {"id": "byName", "options": name}, "properties": properties});
        let faint = json!({"id": "custom.lineWidth", "value": 0});
        self.override_with(by_name(
            high,
            json!([faint, {"id": "custom.fillBelowTo", "value": low}, {"id": "custom.fillOpacity", "value": 20}]),
        ));
        self.override_with(by_name(
            low,
            json!([faint, {"id": "custom.fillOpacity", "value": 0}]),
        ));
        self
    }

    /// Green, then yellow from here, then red from there.
    pub(super) fn steps(mut self, yellow: f64, red: f64) -> Self {
        self.json["fieldConfig"]["defaults"]["thresholds"] = json!({"mode": "absolute", "steps": [
            {"color": "green", "value": null}, {"color": "yellow", "value": yellow}, {"color": "red", "value": red},
        ]});
        if self.json["options"]["colorMode"] == "none" {
            self.json["options"]["colorMode"] = json!("value");
        }
        self
    }

    /// A link from a value to another board about what it names: `variable` is set to `label` there.
    pub(super) fn link(mut self, title: &str, board: &str, variable: &str, label: &str) -> Self {
        let field = if self.json["type"] == "table" {
            format!("${{__data.fields.{label}}}")
        } else {
            format!("${{__field.labels.{label}}}")
        };
        let url = format!(
            "/d/{board}/{board}?${{datasource:queryparam}}&${{job:queryparam}}&var-{variable}={field}&${{__url_time_range}}"
        );
        self.json["fieldConfig"]["defaults"]["links"] = json!([{"title": title, "url": url}]);
        self
    }

    fn push(&mut self, mut target: Value) {
        let targets = self.json["targets"].as_array_mut().expect("made above");
        let letters = ["A", "B", "C", "D", "E", "F", "G", "H"];
        target["refId"] = json!(letters[targets.len()]);
        target["datasource"] = datasource();
        target["editorMode"] = json!("code");
        targets.push(target);
    }

    fn override_with(&mut self, one: Value) {
        let all = self.json["fieldConfig"]["overrides"]
            .as_array_mut()
            .expect("made above");
        all.push(one);
    }

    /// What Grafana stores, with the columns of a table put together.
    pub(super) fn finish(mut self) -> Self {
        if self.columns.is_empty() {
            return self;
        }
        let columns = std::mem::take(&mut self.columns);
        let value = |index: usize| {
            let reference = &self.json["targets"][index]["refId"];
            let alone = columns.len() == 1;
            if alone {
                "Value".to_owned()
            } else {
                format!("Value #{}", reference.as_str().expect("a letter"))
            }
        };
        let renamed: serde_json::Map<String, Value> = columns
            .iter()
            .enumerate()
            .map(|(index, (name, _))| (value(index), json!(name)))
            .collect();
        self.json["transformations"] = json!([
            {"id": "merge", "options": {}},
            {"id": "organize", "options": {"excludeByName": {"Time": true}, "renameByName": renamed}},
        ]);
        if let Some((first, _)) = columns.first() {
            self.json["options"]["sortBy"] = json!([{"displayName": first, "desc": true}]);
        }
        for (name, unit) in &columns {
            let decimals = json!({"id": "decimals", "value": 2});
            self.override_with(json!({
                "matcher": {"id": "byName", "options": name}, "properties": [{"id": "unit", "value": unit}, decimals],
            }));
        }
        self
    }
}
