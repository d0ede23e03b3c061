// SPDX-License-Identifier: Apache-2.0
//! The `kepler` command: owns exit codes and what is printed, nothing else.

use actors::calibrate::{self, Calibrated, Load};
use actors::cli::{
    self, CalibrateOptions, Cli, Command, ConfigAction, Options, RecordOptions, ReplayOptions,
};
use actors::client::ClientError;
use actors::estimate::{self, EstimateOptions};
use actors::measure::MeasureOptions;
use actors::recorder::{self, Names, Serve, Wanted};
use actors::replay::{self, Every, Replay};
use actors::settings::Log;
use actors::shell::ManOptions;
use actors::snapshot::SnapshotOptions;
use actors::top::TopOptions;
use actors::{check, exit, harden, logging, measure, remote, run, shell, snapshot, top};
use clap::Parser;
use config::{Loaded, Problems};
use exporter::ExporterError;
use power_sources::estimator::RefusedModels;
use std::io::{BufReader, BufWriter, ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

fn main() -> ExitCode {
    // What `kepler run` becomes on its way to the command; nothing else of the command line is for it.
    if let Some(code) = measure::enter(std::env::args_os()) {
        return ExitCode::from(code);
    }
    let Cli { options, command } = Cli::parse();
    match command {
        Some(Command::ExitCodes) => say(&exit::page()),
        Some(Command::Completions(wanted)) => write(&shell::completions(wanted.shell)),
        Some(Command::Man(wanted)) => man(&wanted),
        Some(Command::Snapshot(wanted)) => snapshot(&options, &wanted),
        Some(Command::Top(wanted)) => top(&options, &wanted),
        Some(Command::Run(wanted)) if !wanted.command.is_empty() => measure_command(options, &wanted),
        Some(Command::Run(wanted)) if let Some(flag) = wanted.not_for_the_daemon() => {
            usage(&format!("{flag}: is for a command behind --, and none was given"))
        }
        command => local(&options, command),
    }
}

/// Commands that concern this machine alone.
fn local(options: &Options, command: Option<Command>) -> ExitCode {
    if let Some(Command::Config {
        action: ConfigAction::Check { file },
    }) = &command
    {
        return match cli::load_file(file) {
            Ok(_) => say(&format!("{}: valid\n", file.display())),
            Err(problems) => refuse(&problems),
        };
    }
    if let Some(Command::Replay(wanted)) = &command {
        return replay(options, wanted);
    }
    if let Some(Command::Estimate(wanted)) = &command {
        return estimate(wanted);
    }
    if let Some(Command::Calibrate(wanted)) = &command
        && let Some(file) = &wanted.from
    {
        return calibrate_recording(options, wanted, file);
    }
    let loaded = match cli::load(options, std::env::vars_os().collect()) {
        Ok(loaded) => loaded,
        Err(problems) => return refuse(&problems),
    };
    match command {
        Some(Command::Config { .. }) => say(&config::render_effective(&loaded.effective())),
        Some(Command::Check) => {
            let report = check::inspect(&loaded);
            say(&report.to_string());
            ExitCode::from(u8::from(!report.can_run()))
        }
        Some(Command::Record(wanted)) => record(&loaded, &wanted),
        Some(Command::Calibrate(wanted)) => calibrate(&loaded, &wanted),
        // All others have gone their own way: they do not ask this machine for its configuration.
        _ => daemon(options.clone(), &loaded),
    }
}

fn man(wanted: &ManOptions) -> ExitCode {
    let done = match &wanted.out {
        Some(folder) => shell::write_pages(folder).map(|_| ExitCode::SUCCESS),
        None => shell::pages()
            .map(|pages| write(pages.first().map_or(&[], |(_, text)| text)))
            .map_err(Into::into),
    };
    done.unwrap_or_else(|error| fail(&error))
}

fn snapshot(options: &Options, wanted: &SnapshotOptions) -> ExitCode {
    let asked = remote::client(&wanted.connection, options, std::env::vars_os().collect())
        .and_then(|client| snapshot::ask_now(&client, wanted));
    let picture = match asked {
        Ok(picture) => picture,
        Err(error) => return unanswered(&error),
    };
    let mut text = Vec::new();
    match snapshot::print(&picture, wanted, &mut text) {
        Ok(()) => write(&text),
        Err(error) => fail(&error),
    }
}

fn top(options: &Options, wanted: &TopOptions) -> ExitCode {
    match remote::client(&wanted.connection, options, std::env::vars_os().collect()) {
        Ok(client) => top::run(client, wanted).map_or_else(|error| fail(&error), |()| ExitCode::SUCCESS),
        Err(error) => unanswered(&error),
    }
}

fn measure_command(mut options: Options, wanted: &MeasureOptions) -> ExitCode {
    // The tick of the environment and of the file is the daemon's.
    options.tick.get_or_insert_with(|| measure::TICK.to_owned());
    match cli::load(&options, std::env::vars_os().collect()) {
        Ok(loaded) => ExitCode::from(measure::run(&loaded, &options, wanted)),
        Err(problems) => {
            refuse(&problems);
            ExitCode::from(exit::NOT_RUN)
        }
    }
}

fn unanswered(error: &ClientError) -> ExitCode {
    drop(writeln!(std::io::stderr(), "kepler: {error}"));
    ExitCode::from(error.code())
}

fn daemon(options: Options, loaded: &Loaded) -> ExitCode {
    let again = move || cli::load(&options, std::env::vars_os().collect());
    let ran = start_log(loaded)
        .and_then(|()| harden::daemon(loaded))
        .and_then(|()| run::run(loaded, Arc::new(again)));
    match ran {
        Ok(outcome) => ExitCode::from(outcome.code()),
        Err(error) => fail(&error),
    }
}

fn record(loaded: &Loaded, options: &RecordOptions) -> ExitCode {
    let RecordOptions {
        file,
        lasts,
        anonymise,
        serve,
        json,
    } = options;
    let wanted = Wanted {
        file,
        lasts: *lasts,
        names: if *anonymise { Names::Hashed } else { Names::Kept },
        serve: if *serve { Serve::Yes } else { Serve::No },
    };
    let recorded = match start_log(loaded).and_then(|()| recorder::record(loaded, &wanted)) {
        Ok(recorded) => recorded,
        Err(error) => return fail(&error),
    };
    if *json {
        match replay::text(&recorded.last) {
            Ok(text) => say(&format!("{text}\n")),
            Err(error) => return fail(&error),
        };
    }
    ExitCode::from(recorded.outcome.code())
}

fn replay(options: &Options, wanted: &ReplayOptions) -> ExitCode {
    if let Some(flag) = options.not_for_a_replay() {
        return usage(&format!(
            "{flag}: replay takes its settings from the recording; change them with --set"
        ));
    }
    let opened = match Replay::open(&wanted.file) {
        Ok(opened) => opened,
        Err(error) => return fail(&error),
    };
    let loaded = match opened.settings(options) {
        Ok(loaded) => loaded,
        Err(problems) => return refuse(&problems),
    };
    let every = wanted.every.map_or(Every::Never, Every::Windows);
    let printed = opened
        .run(&loaded, every, &mut std::io::stdout())
        .and_then(|replayed| {
            for remark in replayed.remarks() {
                drop(writeln!(std::io::stderr(), "kepler: {remark}"));
            }
            Ok(match (wanted.json, every) {
                (true, _) => format!("{}\n", replay::json(&replayed.snapshot)?),
                (false, Every::Windows(_)) => String::new(),
                (false, Every::Never) => replayed.to_string(),
            })
        });
    match printed {
        Ok(text) => say(&text),
        Err(error) => fail(&error),
    }
}

fn estimate(wanted: &EstimateOptions) -> ExitCode {
    let mut output = BufWriter::new(std::io::stdout().lock());
    let mut input = BufReader::new(std::io::stdin().lock());
    match estimate::estimate(wanted, &mut input, &mut output) {
        Ok(asked) if asked.refused > 0 => {
            let words = format!(
                "{} of {} questions have no answer",
                asked.refused, asked.questions
            );
            drop(writeln!(
                std::io::stderr(),
                "kepler: {words}; each says why in its place"
            ));
            ExitCode::FAILURE
        }
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn calibrate(loaded: &Loaded, options: &CalibrateOptions) -> ExitCode {
    let wanted = calibrate::Wanted {
        out: &options.out,
        lasts: options.lasts,
        load: if options.stress { Load::Walked } else { Load::Found },
    };
    let calibrated = start_log(loaded).and_then(|()| calibrate::live(loaded, &wanted));
    calibrated.map_or_else(|error| fail(&error), |calibrated| say_calibrated(&calibrated))
}

fn calibrate_recording(options: &Options, wanted: &CalibrateOptions, file: &Path) -> ExitCode {
    if let Some(flag) = options.not_for_a_recording() {
        return usage(&format!(
            "{flag}: --from takes load and watts as they were recorded, and nothing of this machine's settings"
        ));
    }
    let calibrated = calibrate::recorded(file, &wanted.out, wanted.cpu.as_deref());
    calibrated.map_or_else(|error| fail(&error), |calibrated| say_calibrated(&calibrated))
}

fn say_calibrated(calibrated: &Calibrated) -> ExitCode {
    for remark in &calibrated.remarks {
        drop(writeln!(std::io::stderr(), "kepler: {remark}"));
    }
    say(&calibrated.to_string());
    ExitCode::from(calibrated.outcome.code())
}

fn start_log(loaded: &Loaded) -> anyhow::Result<()> {
    logging::start(&loaded.section::<Log>("log")?);
    logging::end_on_panic();
    Ok(())
}

fn say(text: &str) -> ExitCode {
    write(text.as_bytes())
}

fn write(text: &[u8]) -> ExitCode {
    // A reader that went away (`kepler config show | head`) is no failure of ours; a full disk is one.
    match std::io::stdout().write_all(text) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => fail(&error.into()),
        _ => ExitCode::SUCCESS,
    }
}

fn refuse(problems: &Problems) -> ExitCode {
    drop(writeln!(std::io::stderr(), "{problems}"));
    ExitCode::from(exit::USAGE)
}

fn usage(words: &str) -> ExitCode {
    drop(writeln!(std::io::stderr(), "kepler: {words}"));
    ExitCode::from(exit::USAGE)
}

fn fail(error: &anyhow::Error) -> ExitCode {
    drop(writeln!(std::io::stderr(), "kepler: {error:#}"));
    // A file of the configuration that cannot be used is as wrong as a key: a restart does not mend it.
    let is_model = error.downcast_ref::<RefusedModels>().is_some();
    let is_web = matches!(
        error.downcast_ref::<ExporterError>(),
        Some(ExporterError::WebConfig { .. } | ExporterError::Tokens { .. })
    );
    if is_model || is_web {
        return ExitCode::from(exit::USAGE);
    }
    ExitCode::FAILURE
}
