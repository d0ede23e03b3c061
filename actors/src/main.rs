// SPDX-License-Identifier: Apache-2.0
//! The `kepler` command: owns exit codes and what is printed, nothing else.

use actors::calibrate::{self, Calibrated, Load};
use actors::cli::{
    self, CalibrateOptions, Cli, Command, ConfigAction, Options, RecordOptions, ReplayOptions,
};
use actors::estimate::{self, EstimateOptions};
use actors::recorder::{self, Names, Serve, Wanted};
use actors::replay::{self, Every, Replay};
use actors::settings::Log;
use actors::{check, harden, logging, run};
use clap::Parser;
use config::{Loaded, Problems};
use exporter::ExporterError;
use power_sources::estimator::RefusedModels;
use std::io::{BufReader, BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

/// Wrong configuration; clap exits with the same for wrong usage.
const EXIT_CONFIG: u8 = 2;

fn main() -> ExitCode {
    let Cli { options, command } = Cli::parse();
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
        return replay(&options, wanted);
    }
    if let Some(Command::Estimate(wanted)) = &command {
        return estimate(wanted);
    }
    if let Some(Command::Calibrate(wanted)) = &command
        && let Some(file) = &wanted.from
    {
        return calibrate_recording(&options, wanted, file);
    }
    let loaded = match cli::load(&options, std::env::vars_os().collect()) {
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
        // A replay and an estimate have gone their own way: they do not ask this machine for its configuration.
        Some(Command::Run | Command::Replay(_) | Command::Estimate(_)) | None => daemon(options, &loaded),
    }
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
    // A reader that went away (`kepler config show | head`) is no failure of ours.
    drop(std::io::stdout().write_all(text.as_bytes()));
    ExitCode::SUCCESS
}

fn refuse(problems: &Problems) -> ExitCode {
    drop(writeln!(std::io::stderr(), "{problems}"));
    ExitCode::from(EXIT_CONFIG)
}

fn usage(words: &str) -> ExitCode {
    drop(writeln!(std::io::stderr(), "kepler: {words}"));
    ExitCode::from(EXIT_CONFIG)
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
        return ExitCode::from(EXIT_CONFIG);
    }
    ExitCode::FAILURE
}
