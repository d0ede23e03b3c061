// SPDX-License-Identifier: Apache-2.0
//! `kepler estimate`: what a machine draws, without a daemon. Owns the form of questions and answers.
//!
//! A question is a line, an answer is a line, in the same order: a line that cannot be answered has an answer that says why. Nothing is kept
//! from line to line, so a file of any length takes no memory, and what was asked so far is answered when the asker waits.

use anyhow::Context as _;
use clap::Args;
use power_sources::estimator::{Given, Prediction, predict};
use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};

/// The longest question. A description has ten short fields; what is longer is none, and is read over.
const LONGEST: usize = 16 * 1_024;
/// The longest text in one.
const LONGEST_TEXT: usize = 256;

/// A machine in flags; without any, questions are read from standard input.
#[derive(Clone, Debug, Default, Args)]
pub struct EstimateOptions {
    /// `intel` or `amd`.
    #[arg(long)]
    pub vendor: Option<String>,
    /// The CPU's name, such as "AMD EPYC 7763".
    #[arg(long)]
    pub cpu: Option<String>,
    /// The year of the hardware; counts where the CPU's generation is not known.
    #[arg(long)]
    pub year: Option<f64>,
    /// Sockets.
    #[arg(long)]
    pub chips: Option<f64>,
    /// Cores of all sockets.
    #[arg(long)]
    pub cores: Option<f64>,
    /// Hardware threads of all sockets.
    #[arg(long)]
    pub threads: Option<f64>,
    /// Nominal clock in MHz.
    #[arg(long, value_name = "MHZ")]
    pub base_mhz: Option<f64>,
    /// Thermal design power of one socket.
    #[arg(long, value_name = "WATTS")]
    pub tdp_watts_per_chip: Option<f64>,
    /// Memory of the machine.
    #[arg(long, value_name = "GIB")]
    pub memory_gib: Option<f64>,
    /// How busy its CPUs are, 0 to 1; several, separated by commas, are answered in this order.
    #[arg(long, value_name = "SHARES", value_delimiter = ',')]
    pub busy: Vec<f64>,
}

impl EstimateOptions {
    /// The questions that the flags ask; `None` when there are no flags.
    fn questions(&self) -> Option<Vec<Question>> {
        let machine = Question {
            vendor: self.vendor.clone(),
            cpu: self.cpu.clone(),
            year: self.year,
            chips: self.chips,
            cores: self.cores,
            threads: self.threads,
            base_mhz: self.base_mhz,
            tdp_watts_per_chip: self.tdp_watts_per_chip,
            memory_gib: self.memory_gib,
            busy: None,
        };
        if machine == Question::default() && self.busy.is_empty() {
            return None;
        }
        let loads: Vec<_> = self.busy.iter().map(|busy| Some(*busy)).collect();
        let loads = if loads.is_empty() { vec![None] } else { loads };
        let each = loads.into_iter().map(|busy| Question {
            busy,
            ..machine.clone()
        });
        Some(each.collect())
    }
}

/// A question as it is written.
#[derive(Clone, Debug, Default, PartialEq)]
struct Question {
    vendor: Option<String>,
    cpu: Option<String>,
    year: Option<f64>,
    chips: Option<f64>,
    cores: Option<f64>,
    threads: Option<f64>,
    base_mhz: Option<f64>,
    tdp_watts_per_chip: Option<f64>,
    memory_gib: Option<f64>,
    busy: Option<f64>,
}

/// Every field, as the table of published results calls them.
const FIELDS: [&str; 10] = [
    "vendor",
    "cpu",
    "year",
    "chips",
    "cores",
    "threads",
    "base_mhz",
    "tdp_watts_per_chip",
    "memory_gib",
    "busy",
];

impl<'de> Deserialize<'de> for Question {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Question;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object that describes a machine, such as {\"cpu\":\"AMD EPYC 7763\",\"chips\":2,\"busy\":0.5}")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Question, A::Error> {
                let mut question = Question::default();
                let mut seen = Vec::with_capacity(FIELDS.len());
                while let Some(name) = map.next_key::<String>()? {
                    let Some(known) = FIELDS.into_iter().find(|field| *field == name) else {
                        map.next_value::<IgnoredAny>()?;
                        return Err(A::Error::custom(unknown(&name)));
                    };
                    if seen.contains(&known) {
                        return Err(A::Error::custom(format!("{known} is there twice")));
                    }
                    seen.push(known);
                    question.take(known, &mut map)?;
                }
                Ok(question)
            }
        }
        from.deserialize_map(Fields)
    }
}

fn unknown(name: &str) -> String {
    let short: String = name.chars().take(64).collect();
    match config::nearest(name, FIELDS) {
        Some(nearest) => format!("there is no field {short:?}; the nearest is {nearest}"),
        None => format!("there is no field {short:?}; there are {}", FIELDS.join(", ")),
    }
}

impl Question {
    fn take<'de, A: MapAccess<'de>>(&mut self, field: &'static str, map: &mut A) -> Result<(), A::Error> {
        let named = |what: &str| A::Error::custom(format!("{field} is no {what}"));
        let text = match field {
            "vendor" => Some(&mut self.vendor),
            "cpu" => Some(&mut self.cpu),
            _ => None,
        };
        if let Some(text) = text {
            *text = match map.next_value::<serde_json::Value>()? {
                serde_json::Value::Null => None,
                serde_json::Value::String(text) => Some(text),
                _ => return Err(named("text")),
            };
            return Ok(());
        }
        let number = match map.next_value::<serde_json::Value>()? {
            serde_json::Value::Null => None,
            serde_json::Value::Number(number) => number.as_f64(),
            _ => return Err(named("number")),
        };
        let to = match field {
            "year" => &mut self.year,
            "chips" => &mut self.chips,
            "cores" => &mut self.cores,
            "threads" => &mut self.threads,
            "base_mhz" => &mut self.base_mhz,
            "tdp_watts_per_chip" => &mut self.tdp_watts_per_chip,
            "memory_gib" => &mut self.memory_gib,
            _ => &mut self.busy,
        };
        *to = number;
        Ok(())
    }

    /// The machine and its load, or what about them cannot be.
    fn check(self) -> Result<(Given, f64), String> {
        let busy = self
            .busy
            .ok_or("busy is missing: how busy the CPUs are, 0 to 1")?;
        if !(0.0..=1.0).contains(&busy) {
            return Err(format!("busy is {busy}; it is a share from 0 to 1"));
        }
        let given = Given {
            vendor: text("vendor", self.vendor)?,
            cpu: text("cpu", self.cpu)?,
            signature: None,
            year: whole("year", self.year, 1_990, 2_100)?,
            chips: whole("chips", self.chips, 1, 256)?,
            cores: whole("cores", self.cores, 1, 65_536)?,
            threads: whole("threads", self.threads, 1, 65_536)?,
            base_mhz: whole("base_mhz", self.base_mhz, 100, 10_000)?,
            tdp_watts_per_chip: number("tdp_watts_per_chip", self.tdp_watts_per_chip, 1.0, 5_000.0)?,
            memory_gib: number("memory_gib", self.memory_gib, 0.001, 1_048_576.0)?,
        };
        let fewer =
            |one: Option<u32>, other: Option<u32>| one.zip(other).is_some_and(|(one, other)| one < other);
        if fewer(given.cores, given.chips) {
            return Err(
                "cores are fewer than chips; cores and threads are those of all chips together".to_owned(),
            );
        }
        if fewer(given.threads, given.cores) || fewer(given.threads, given.chips) {
            return Err(
                "threads are fewer than cores or chips; they are those of all chips together".to_owned(),
            );
        }
        Ok((given, busy))
    }
}

fn text(field: &str, given: Option<String>) -> Result<Option<String>, String> {
    match given {
        Some(text) if text.len() > LONGEST_TEXT => {
            Err(format!("{field} is longer than {LONGEST_TEXT} bytes"))
        }
        given => Ok(given.filter(|text| !text.trim().is_empty())),
    }
}

fn number(field: &str, given: Option<f64>, least: f64, most: f64) -> Result<Option<f64>, String> {
    match given {
        Some(number) if !(least..=most).contains(&number) => {
            Err(format!("{field} is {number}; allowed are {least} to {most}"))
        }
        given => Ok(given),
    }
}

/// A whole number that may be written with a fraction of nothing, as tables do.
fn whole<T: TryFrom<u32>>(
    field: &str,
    given: Option<f64>,
    least: u32,
    most: u32,
) -> Result<Option<T>, String> {
    let Some(given) = given else { return Ok(None) };
    let whole = (given.fract() == 0.0 && (f64::from(least)..=f64::from(most)).contains(&given))
        .then(|| format!("{given:.0}").parse::<u32>().ok())
        .flatten()
        .and_then(|whole| T::try_from(whole).ok());
    let allowed = || format!("{field} is {given}; allowed are whole numbers from {least} to {most}");
    whole.map(Some).ok_or_else(allowed)
}

#[derive(Serialize)]
struct Answer {
    platform_watts: f64,
    p10: f64,
    p90: f64,
    package_watts: f64,
    dram_watts: f64,
}

#[derive(Serialize)]
struct Refusal {
    error: Reason,
}

#[derive(Serialize)]
struct Reason {
    line: u64,
    message: String,
}

impl From<Prediction> for Answer {
    fn from(prediction: Prediction) -> Self {
        // To the milliwatt, which is far below the error; a model's figure is far below 2^32 mW.
        let watts = |power: attribution::model::Microwatts| {
            f64::from(u32::try_from(power.as_micro() / 1_000).unwrap_or(u32::MAX)) / 1_000.0
        };
        Self {
            platform_watts: watts(prediction.platform),
            p10: watts(prediction.p10),
            p90: watts(prediction.p90),
            package_watts: watts(prediction.package),
            dram_watts: watts(prediction.dram),
        }
    }
}

/// How many questions there were, and how many of them have no answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// All.
    pub questions: u64,
    /// Those that could not be answered.
    pub refused: u64,
}

/// Answers what the flags ask, or else each line of `input`.
///
/// # Errors
/// When input or output fails; a question that cannot be answered is no such failure.
pub fn estimate(
    options: &EstimateOptions,
    input: &mut BufReader<impl Read>,
    output: &mut impl Write,
) -> anyhow::Result<Asked> {
    let mut asked = Asked::default();
    if let Some(questions) = options.questions() {
        for question in questions {
            asked.answer(Ok(question), output)?;
        }
        return output.flush().context("cannot write").map(|()| asked);
    }
    let mut line = Vec::with_capacity(LONGEST);
    while let Some(question) = next(&mut line, input)? {
        asked.answer(question, output)?;
        // Whoever asks line by line waits for the answer before he asks again.
        if !input.buffer().contains(&b'\n') {
            output.flush().context("cannot write")?;
        }
    }
    output.flush().context("cannot write").map(|()| asked)
}

/// The next line as a question; `None` at the end. A line ends with a newline and with nothing else.
fn next(line: &mut Vec<u8>, input: &mut impl BufRead) -> anyhow::Result<Option<Result<Question, String>>> {
    line.clear();
    let limit = u64::try_from(LONGEST).unwrap_or(u64::MAX);
    let length = input
        .take(limit)
        .read_until(b'\n', line)
        .context("cannot read standard input")?;
    if length == 0 {
        return Ok(None);
    }
    if length == LONGEST && line.last() != Some(&b'\n') {
        skip_line(input)?;
        return Ok(Some(Err(format!("the line is longer than {LONGEST} bytes"))));
    }
    Ok(Some(serde_json::from_slice(line).map_err(|error| words(&error))))
}

/// Reads over the rest of a line.
fn skip_line(input: &mut impl BufRead) -> anyhow::Result<()> {
    loop {
        let waiting = input.fill_buf().context("cannot read standard input")?;
        let end = waiting.iter().position(|byte| *byte == b'\n');
        let used = end.map_or(waiting.len(), |end| end + 1);
        input.consume(used);
        if end.is_some() || used == 0 {
            return Ok(());
        }
    }
}

/// The parser's words without its line, which is always the first.
fn words(error: &serde_json::Error) -> String {
    let words = error.to_string();
    match words.rsplit_once(" at line ") {
        Some((what, _)) if error.is_data() => what.to_owned(),
        Some((what, _)) => format!("{what} at column {}", error.column()),
        None => words,
    }
}

impl Asked {
    fn answer(&mut self, question: Result<Question, String>, output: &mut impl Write) -> anyhow::Result<()> {
        self.questions += 1;
        let written = match question.and_then(Question::check) {
            Ok((given, busy)) => serde_json::to_writer(&mut *output, &Answer::from(predict(&given, busy))),
            Err(message) => {
                self.refused += 1;
                let line = self.questions;
                serde_json::to_writer(
                    &mut *output,
                    &Refusal {
                        error: Reason { line, message },
                    },
                )
            }
        };
        written.context("cannot write")?;
        output.write_all(b"\n").context("cannot write")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn ask(lines: &[u8]) -> (Vec<Value>, Asked) {
        let mut output = Vec::new();
        let asked = estimate(
            &EstimateOptions::default(),
            &mut BufReader::new(lines),
            &mut output,
        )
        .unwrap();
        let answers = String::from_utf8(output).unwrap();
        assert!(answers.is_empty() || answers.ends_with('\n'));
        (
            answers
                .lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect(),
            asked,
        )
    }

    fn refusal(line: &str) -> String {
        let (answers, asked) = ask(format!("{line}\n").as_bytes());
        assert_eq!(
            (answers.len(), asked),
            (
                1,
                Asked {
                    questions: 1,
                    refused: 1
                }
            ),
            "{line}"
        );
        assert_eq!(answers[0]["error"]["line"], 1);
        answers[0]["error"]["message"].as_str().unwrap().to_owned()
    }

    #[test]
    fn every_line_has_one_answer_in_its_place_and_bad_ones_say_why() {
        let lines = b"{\"cpu\":\"AMD EPYC 7763\",\"chips\":2,\"busy\":0.5}\n\n\x0b\n \t\r\n\xff\xfe\n{\"busy\":1}\r\n\xc2\x85\n{\"busy\":0}";
        let (answers, asked) = ask(lines);
        assert_eq!(
            asked,
            Asked {
                questions: 8,
                refused: 5
            }
        );
        let refused: Vec<_> = answers
            .iter()
            .map(|answer| answer["error"]["line"].as_u64())
            .collect();
        assert_eq!(
            refused,
            [None, Some(2), Some(3), Some(4), Some(5), None, Some(7), None]
        );
        for index in [0, 5, 7] {
            let of = |field: &str| answers[index][field].as_f64().unwrap();
            assert!(
                0.0 < of("p10") && of("p10") <= of("platform_watts") && of("platform_watts") <= of("p90")
            );
            assert!(of("package_watts") > 0.0 && of("dram_watts") > 0.0);
            assert!(of("package_watts") + of("dram_watts") <= of("platform_watts"));
        }
        assert!(answers[5]["platform_watts"].as_f64() > answers[7]["platform_watts"].as_f64());
        assert_eq!(ask(b"").0.len(), 0);
    }

    #[test]
    fn an_unknown_field_is_refused_by_name_with_the_nearest() {
        assert_eq!(
            refusal("{\"bsuy\":1}"),
            "there is no field \"bsuy\"; the nearest is busy"
        );
        let message = refusal("{\"colour\":\"red\",\"busy\":1}");
        assert!(
            message.starts_with("there is no field \"colour\"; there are vendor, cpu, year"),
            "{message}"
        );
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_is_allowed() {
        for (line, message) in [
            ("{}", "busy is missing: how busy the CPUs are, 0 to 1"),
            (
                "{\"busy\":null}",
                "busy is missing: how busy the CPUs are, 0 to 1",
            ),
            ("{\"busy\":1.5}", "busy is 1.5; it is a share from 0 to 1"),
            ("{\"busy\":-0.1}", "busy is -0.1; it is a share from 0 to 1"),
            ("{\"busy\":\"1\"}", "busy is no number"),
            ("{\"busy\":1,\"busy\":1}", "busy is there twice"),
            ("{\"busy\":1,\"cpu\":7763}", "cpu is no text"),
            (
                "{\"busy\":1,\"chips\":0}",
                "chips is 0; allowed are whole numbers from 1 to 256",
            ),
            (
                "{\"busy\":1,\"chips\":1.5}",
                "chips is 1.5; allowed are whole numbers from 1 to 256",
            ),
            (
                "{\"busy\":1,\"threads\":65537}",
                "threads is 65537; allowed are whole numbers from 1 to 65536",
            ),
            (
                "{\"busy\":1,\"year\":1989}",
                "year is 1989; allowed are whole numbers from 1990 to 2100",
            ),
            (
                "{\"busy\":1,\"memory_gib\":-1}",
                "memory_gib is -1; allowed are 0.001 to 1048576",
            ),
            (
                "{\"busy\":1,\"tdp_watts_per_chip\":0}",
                "tdp_watts_per_chip is 0; allowed are 1 to 5000",
            ),
            (
                "{\"busy\":1,\"chips\":2,\"cores\":1}",
                "cores are fewer than chips; cores and threads are those of all chips together",
            ),
            (
                "{\"busy\":1,\"cores\":8,\"threads\":4}",
                "threads are fewer than cores or chips; they are those of all chips together",
            ),
            ("{\"busy\":1} {\"busy\":1}", "trailing characters at column 12"),
        ] {
            assert_eq!(refusal(line), message, "{line}");
        }
        assert!(refusal("[1]").contains("an object that describes a machine"));
        let long = "x".repeat(LONGEST_TEXT + 1);
        assert_eq!(
            refusal(&format!("{{\"busy\":1,\"cpu\":\"{long}\"}}")),
            "cpu is longer than 256 bytes"
        );
    }

    #[test]
    fn nothing_said_and_null_are_the_same_and_whole_numbers_may_have_a_fraction_of_nothing() {
        let (answers, _) =
            ask(b"{\"busy\":0.3,\"chips\":2.0,\"cpu\":null,\"vendor\":\"\"}\n{\"chips\":2,\"busy\":0.3}\n");
        assert_eq!(answers[0], answers[1]);
    }

    #[test]
    fn a_line_without_end_is_read_over_and_the_next_one_is_answered() {
        let (answers, asked) = ask(format!("{}\n{{\"busy\":1}}\n", "x".repeat(3 * LONGEST)).as_bytes());
        assert_eq!((answers.len(), asked.refused), (2, 1));
        assert_eq!(
            answers[0]["error"]["message"],
            "the line is longer than 16384 bytes"
        );
        assert!(answers[1]["platform_watts"].is_f64());
        // The longest line that is read at all.
        let padded = format!("{{\"busy\":1}}{}\n", " ".repeat(LONGEST - 11));
        assert_eq!(
            ask(padded.as_bytes()).1,
            Asked {
                questions: 1,
                refused: 0
            }
        );
    }

    /// Gives one question, and then looks whether it was answered before more is asked of it.
    struct Asker {
        asked: Option<&'static [u8]>,
        answers: std::rc::Rc<std::cell::RefCell<Vec<u8>>>,
        answered_before_the_next: std::rc::Rc<std::cell::Cell<bool>>,
    }

    impl Read for Asker {
        fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
            let Some(question) = self.asked.take() else {
                self.answered_before_the_next
                    .set(self.answers.borrow().ends_with(b"}\n"));
                return Ok(0);
            };
            to[..question.len()].copy_from_slice(question);
            Ok(question.len())
        }
    }

    #[derive(Clone)]
    struct Shared(std::rc::Rc<std::cell::RefCell<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.borrow_mut().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn who_asks_line_by_line_has_the_answer_before_more_is_read() {
        let answers = Shared(std::rc::Rc::default());
        let answered = std::rc::Rc::new(std::cell::Cell::new(false));
        let asker = Asker {
            asked: Some(b"{\"busy\":1}\n"),
            answers: std::rc::Rc::clone(&answers.0),
            answered_before_the_next: std::rc::Rc::clone(&answered),
        };
        let mut output = std::io::BufWriter::new(answers);
        estimate(
            &EstimateOptions::default(),
            &mut BufReader::new(asker),
            &mut output,
        )
        .unwrap();
        assert!(answered.get());
    }

    #[test]
    fn flags_ask_for_one_machine_at_each_load() {
        let options = EstimateOptions {
            chips: Some(2.0),
            busy: vec![0.0, 1.0],
            ..EstimateOptions::default()
        };
        let mut output = Vec::new();
        let asked = estimate(&options, &mut BufReader::new(&b"{\"busy\":1}\n"[..]), &mut output).unwrap();
        assert_eq!(
            asked,
            Asked {
                questions: 2,
                refused: 0
            }
        );
        assert_eq!(output, {
            let mut lines = Vec::new();
            let same = b"{\"chips\":2,\"busy\":0}\n{\"chips\":2,\"busy\":1}\n";
            estimate(
                &EstimateOptions::default(),
                &mut BufReader::new(&same[..]),
                &mut lines,
            )
            .unwrap();
            lines
        });
        let no_load = EstimateOptions {
            busy: Vec::new(),
            ..options
        };
        let asked = estimate(&no_load, &mut BufReader::new(&b""[..]), &mut Vec::new()).unwrap();
        assert_eq!(
            asked,
            Asked {
                questions: 1,
                refused: 1
            }
        );
    }
}
