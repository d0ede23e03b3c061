// SPDX-License-Identifier: Apache-2.0
//! `kepler snapshot`: what a daemon says now, once, as a table, as CSV or as JSON.
//!
//! Owns what is asked for and how it is ordered; `table` and `csv` own how it looks. Figures are the daemon's own.

mod csv;
mod json;
mod table;

use crate::client::{About, Client, ClientError, Connection, Level, Others, Row, Update};
use clap::{Args, ValueEnum};
use std::cmp::Ordering;
use std::io::{IsTerminal as _, Write};

/// Columns where nobody says how wide the output is, as for a pipe.
const PLAIN_COLUMNS: usize = 120;

/// What stands below the options.
pub const EXAMPLES: &str = "\
Examples:
  kepler snapshot                                     the containers of this machine that draw most
  kepler snapshot --level processes --sort energy --limit 10
  kepler snapshot --csv --level pods > pods.csv
  kepler snapshot --json | jq '.node.dynamic_uw / 1e6'
  kepler snapshot --from https://node7:28282 --ca-file ca.pem --user ops --password-file pw
  kepler snapshot --from unix:/run/kepler/kepler.sock

Exit codes: 0 printed; 2 wrong usage; 3 no daemon answers; 4 the daemon refuses; all of them: kepler help exit-codes.";

/// What is to be printed, and how.
#[derive(Clone, Debug, Args)]
pub struct SnapshotOptions {
    /// Where to ask.
    #[command(flatten)]
    pub connection: Connection,
    /// Print JSON: whole microwatts and microjoules, fields as in docs/page.md.
    #[arg(long, group = "form")]
    pub json: bool,
    /// Print CSV (RFC 4180) with units in the head.
    #[arg(long, group = "form")]
    pub csv: bool,
    /// Print a table that fits the terminal (the default).
    #[arg(long, group = "form")]
    pub table: bool,
    /// Whose energy is listed.
    #[arg(long, value_enum, default_value_t)]
    pub level: Level,
    /// What comes first.
    #[arg(long, value_enum, default_value_t)]
    pub sort: Sort,
    /// Rows at most; what is left out is one sum.
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
}

/// An order of rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Sort {
    /// The most power now first.
    #[default]
    Power,
    /// The most dynamic power now first.
    Dynamic,
    /// The most idle power now first.
    Idle,
    /// The most energy so far first.
    Energy,
    /// By name.
    Name,
}

impl Sort {
    /// All, in the order in which they are offered.
    pub const ALL: [Self; 5] = [Self::Power, Self::Dynamic, Self::Idle, Self::Energy, Self::Name];

    /// Puts rows in this order. Equal ones go by name and id, so that they stand still.
    pub fn order(self, rows: &mut [Row]) {
        let by = |one: &Row, other: &Row| -> Ordering {
            match self {
                Self::Power => other.power().cmp(&one.power()),
                Self::Dynamic => other.dynamic_uw.cmp(&one.dynamic_uw),
                Self::Idle => other.idle_uw.cmp(&one.idle_uw),
                Self::Energy => other.energy().cmp(&one.energy()),
                Self::Name => Ordering::Equal,
            }
        };
        rows.sort_by(|one, other| {
            by(one, other)
                .then_with(|| one.title().cmp(&other.title()))
                .then_with(|| one.id.cmp(&other.id))
        });
    }
}

/// What was asked for, ordered and cut.
#[derive(Clone, Debug)]
pub struct Picture {
    about: About,
    update: Update,
    level: Level,
    /// Where it was asked.
    from: String,
}

impl Picture {
    /// Orders the rows of `update` and sums what is beyond `limit`.
    #[must_use]
    pub fn new(about: About, update: Update, options: &SnapshotOptions, from: String) -> Self {
        let mut update = update;
        options.sort.order(&mut update.rows);
        let limit = options.limit.unwrap_or(usize::MAX).min(update.rows.len());
        let beyond = update.rows.split_off(limit);
        update.others = beyond.iter().fold(update.others, add);
        Self {
            about,
            update,
            level: options.level,
            from,
        }
    }
}

fn add(sum: Others, row: &Row) -> Others {
    Others {
        rows: sum.rows.saturating_add(1),
        dynamic_uw: sum.dynamic_uw.saturating_add(row.dynamic_uw.unwrap_or(0)),
        idle_uw: sum.idle_uw.saturating_add(row.idle_uw.unwrap_or(0)),
        dynamic_uj: sum.dynamic_uj.saturating_add(row.dynamic_uj),
        idle_uj: sum.idle_uj.saturating_add(row.idle_uj),
    }
}

/// Asks once.
///
/// # Errors
/// When there is no answer.
pub async fn ask(client: &Client, options: &SnapshotOptions) -> Result<Picture, ClientError> {
    let about = client.about().await?;
    let update = client.stream(options.level).await?.first().await?;
    Ok(Picture::new(
        about,
        update,
        options,
        client.endpoint().to_string(),
    ))
}

/// Asks once, on a runtime of its own.
///
/// # Errors
/// When there is no answer.
pub fn ask_now(client: &Client, options: &SnapshotOptions) -> Result<Picture, ClientError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| ClientError::Setup(format!("cannot start: {error}")))?;
    runtime.block_on(ask(client, options))
}

/// Writes it as it was asked for.
///
/// # Errors
/// When the output takes no more.
pub fn print(picture: &Picture, options: &SnapshotOptions, to: &mut impl Write) -> anyhow::Result<()> {
    if options.json {
        writeln!(to, "{}", json::text(picture)?)?;
    } else if options.csv {
        csv::write(picture, to)?;
    } else {
        to.write_all(table::text(picture, width()).as_bytes())?;
    }
    Ok(())
}

/// Columns of the terminal that it is written to.
fn width() -> usize {
    let stdout = std::io::stdout();
    let size = stdout
        .is_terminal()
        .then(|| rustix::termios::tcgetwinsize(stdout).ok());
    size.flatten()
        .map(|size| usize::from(size.ws_col))
        .filter(|columns| *columns > 0)
        .unwrap_or(PLAIN_COLUMNS)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::client::{ComponentNow, Node, Power};

    /// Two containers, one estimated in part and with a name that means harm.
    pub(crate) fn update() -> Update {
        let row = |id: &str, name: &str, uw: u64, uj: u64, estimated: u64| Row {
            id: id.to_owned(),
            name: name.to_owned(),
            group: "shop".to_owned(),
            detail: "web:1".to_owned(),
            dynamic_uw: Some(uw),
            idle_uw: Some(uw / 2),
            dynamic_uj: uj,
            idle_uj: uj / 4,
            estimated_permille: estimated,
            error_permille: estimated / 5,
            ..Row::default()
        };
        Update {
            now_ms: 61_000,
            began_ms: Some(1_000),
            node: Node {
                dynamic_uw: Some(9_000_000),
                idle_uw: Some(21_000_000),
                error_permille: Some(150),
                estimated_permille: 500,
                dynamic_uj: 3_600_000_000,
                idle_uj: 7_200_000_000,
                ..Node::default()
            },
            components: vec![ComponentNow {
                component: "package".to_owned(),
                in_total: true,
                power: Some(Power {
                    dynamic_uw: 9_000_000,
                    idle_uw: 21_000_000,
                    error_permille: None,
                    ended_ms: 60_000,
                }),
                dynamic_uj: 3_600_000_000,
                idle_uj: 7_200_000_000,
            }],
            level: "container".to_owned(),
            rows: vec![
                row("1", "small", 1_000_000, 900_000_000, 0),
                row("2", "evil\x1b[2J,\"\n=1+1", 5_000_000, 50_000_000, 1000),
                row("3", "東京", 2_000_000, 400_000_000, 0),
            ],
            ..Update::default()
        }
    }

    pub(crate) fn options(sort: Sort, limit: Option<usize>) -> SnapshotOptions {
        SnapshotOptions {
            connection: Connection::default(),
            json: false,
            csv: false,
            table: false,
            level: Level::Containers,
            sort,
            limit,
        }
    }

    pub(crate) fn picture(sort: Sort, limit: Option<usize>) -> Picture {
        let about = About {
            price_per_kwh: Some(0.31),
            currency: "EUR".to_owned(),
            grams_co2e_per_kwh: Some(380.0),
            ..About::default()
        };
        Picture::new(
            about,
            update(),
            &options(sort, limit),
            "http://node7:28282".to_owned(),
        )
    }

    #[test]
    fn rows_stand_in_the_order_that_was_asked_for() {
        let order = |sort| {
            let picture = picture(sort, None);
            picture
                .update
                .rows
                .iter()
                .map(|row| row.id.clone())
                .collect::<String>()
        };
        assert_eq!(Sort::ALL.map(order), ["231", "231", "231", "132", "213"]);
    }

    #[test]
    fn what_is_beyond_the_limit_is_one_sum_and_nothing_is_lost() {
        let all = picture(Sort::Power, None).update;
        assert_eq!((all.rows.len(), all.others.rows), (3, 0));
        let one = picture(Sort::Power, Some(1)).update;
        assert_eq!((one.rows.len(), one.others.rows), (1, 2));
        assert_eq!(one.others.dynamic_uw, 3_000_000);
        assert_eq!(one.others.dynamic_uj + one.rows[0].dynamic_uj, 1_350_000_000);
        assert_eq!(picture(Sort::Power, Some(0)).update.others.rows, 3);
    }
}
