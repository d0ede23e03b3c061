// SPDX-License-Identifier: Apache-2.0
//! Models of files in the place of the built-in one's figures: owns how they add up. Predicts nothing itself.
//!
//! A file's model is of the whole machine, and each socket has run at a load of its own: it is asked for a machine at that load,
//! and the socket has its threads' share of the answer. What no file says is the built-in model's, but for one thing: where a file
//! says the platform, what the other files leave of it is shared out as the built-in model would share its own figure, so that
//! package and memory never exceed the platform.

use super::super::parts::{Busy, Errors, MachinePower, Parts, Power};
use super::FileModels;
use super::Part;
use super::model::{FileModel, Socket};
use attribution::model::{Microwatts, Permille};
use std::cell::Cell;

/// What is said of a foreign model's error: nobody has told it, and on other machines than those that they were trained on
/// such models were wrong by 30 % to several hundred per cent (docs/model-files.md). The order of magnitude.
pub(in super::super) const UNKNOWN_ERROR: Permille = Permille(1_000);

/// The built-in model with some of its figures taken from files.
pub(in super::super) struct Overlaid {
    base: Box<dyn MachinePower>,
    models: FileModels,
    /// Threads of each socket.
    sockets: Vec<u32>,
    complaint: Cell<Option<&'static str>>,
    /// The largest error of what the files of package, memory and platform were asked since their errors were.
    asked: [Cell<Option<Permille>>; 3],
}

/// Idle and dynamic power of one figure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Figure {
    idle: u64,
    dynamic: u64,
}

impl Figure {
    const fn total(self) -> u64 {
        self.idle.saturating_add(self.dynamic)
    }

    const fn and(self, other: Self) -> Self {
        Self {
            idle: self.idle.saturating_add(other.idle),
            dynamic: self.dynamic.saturating_add(other.dynamic),
        }
    }

    /// What is left of this without that: nothing is below zero, and both together are what is left of the total.
    fn without(self, used: Self) -> Self {
        let left = self.total().saturating_sub(used.total());
        let idle = self.idle.saturating_sub(used.idle).min(left);
        Self {
            idle,
            dynamic: left - idle,
        }
    }

    /// `part` of `whole` of this.
    fn share(self, part: Self, whole: Self) -> Self {
        Self {
            idle: share(self.idle, part.idle, whole.idle),
            dynamic: share(self.dynamic, part.dynamic, whole.dynamic),
        }
    }
}

/// `amount x part / whole`, rounded down; nothing of nothing.
fn share(amount: u64, part: u64, whole: u64) -> u64 {
    let product = u128::from(amount) * u128::from(part);
    let share = product.checked_div(u128::from(whole)).unwrap_or(0);
    u64::try_from(share).unwrap_or(u64::MAX).min(amount)
}

impl Overlaid {
    /// `base` with the figures of `models`, on sockets of so many threads.
    pub(in super::super) fn new(base: Box<dyn MachinePower>, models: FileModels, sockets: Vec<u32>) -> Self {
        Self {
            base,
            models,
            sockets,
            complaint: Cell::new(None),
            asked: Default::default(),
        }
    }

    fn ask(&self, model: Option<&FileModel>, socket: Socket, load: f64) -> Option<Figure> {
        let model = model?;
        let answer = model.socket(socket, load);
        if let Some(asked) = self.asked.get(place(model.part())) {
            asked.set(answer.error.max(asked.get()));
        }
        if answer.mended.is_some() {
            self.complaint.set(answer.mended);
        }
        Some(Figure {
            idle: answer.idle.as_micro(),
            dynamic: answer.dynamic.as_micro(),
        })
    }
}

/// Where a figure's errors are.
const fn place(part: Part) -> usize {
    match part {
        Part::Package => 0,
        Part::Dram => 1,
        Part::Platform => 2,
    }
}

impl MachinePower for Overlaid {
    fn power(&self, socket: usize, busy: Busy) -> Power {
        let Some(threads) = self.sockets.get(socket).copied() else {
            return Power::default();
        };
        let base = self.base.power(socket, busy);
        let load = f64::from(busy.ppm()) / 1e6;
        let socket = Socket {
            index: socket,
            threads,
            of: self
                .sockets
                .iter()
                .fold(0, |sum, threads| sum.saturating_add(*threads)),
        };
        let models = &self.models;
        let ask = |model: &Option<FileModel>| self.ask(model.as_ref(), socket, load);
        let (package, dram, platform) = (ask(&models.package), ask(&models.dram), ask(&models.platform));
        let built_in = |of: fn(&Parts) -> Microwatts| Figure {
            idle: of(&base.idle).as_micro(),
            dynamic: of(&base.dynamic).as_micro(),
        };
        let guess = [
            built_in(|parts| parts.package),
            built_in(|parts| parts.dram),
            built_in(|parts| parts.rest),
        ];
        join([package, dram], platform, guess)
    }

    fn errors(&self) -> Errors {
        let base = self.base.errors();
        // What is made out of a file's figure and the built-in model's is as wrong as the worse of both.
        let asked = self.asked.each_ref().map(Cell::take);
        let error = |file: &FileModel| {
            let asked = asked.get(place(file.part())).copied().flatten();
            asked.unwrap_or_else(|| file.error())
        };
        let with = |files: &[&Option<FileModel>], built_in: Permille| {
            let files = files.iter().filter_map(|file| file.as_ref());
            files.map(error).fold(built_in, Permille::max)
        };
        let FileModels {
            package,
            dram,
            platform,
        } = &self.models;
        let of = |file: &Option<FileModel>, others: &[&Option<FileModel>], built_in: Permille| {
            file.as_ref().map_or_else(|| with(others, built_in), error)
        };
        Errors {
            package: of(package, &[platform], base.package),
            dram: of(dram, &[platform], base.dram),
            platform: of(platform, &[package, dram], base.platform),
        }
    }

    fn detail(&self) -> String {
        let FileModels {
            package,
            dram,
            platform,
        } = &self.models;
        let files = [package, dram, platform].into_iter().flatten();
        let said = files.map(|model| format!("{} from {}", model.part().name(), model.describe()));
        let rest = format!("what no file says from the {}", self.base.detail());
        said.chain([rest]).collect::<Vec<_>>().join("; ")
    }

    fn complaint(&self) -> Option<&'static str> {
        self.complaint.take()
    }
}

/// Package, memory and the rest out of what files say of them and of the platform, and of what the built-in model guesses.
fn join(files: [Option<Figure>; 2], platform: Option<Figure>, guess: [Figure; 3]) -> Power {
    let [package_guess, dram_guess, rest_guess] = guess;
    let [package, dram] = files;
    let parts = match platform {
        None => [
            package.unwrap_or(package_guess),
            dram.unwrap_or(dram_guess),
            rest_guess,
        ],
        Some(platform) => {
            let told = package.unwrap_or_default().and(dram.unwrap_or_default());
            let left = platform.without(told);
            // Only those whom no file has told share in what is left.
            let package_guess = if package.is_some() {
                Figure::default()
            } else {
                package_guess
            };
            let dram_guess = if dram.is_some() {
                Figure::default()
            } else {
                dram_guess
            };
            let whole = package_guess.and(dram_guess).and(rest_guess);
            let (package_left, dram_left) = (left.share(package_guess, whole), left.share(dram_guess, whole));
            let rest = Figure {
                idle: left.idle - package_left.idle - dram_left.idle,
                dynamic: left.dynamic - package_left.dynamic - dram_left.dynamic,
            };
            [package.unwrap_or(package_left), dram.unwrap_or(dram_left), rest]
        }
    };
    let [package, dram, rest] = parts;
    let of = |figure: fn(&Figure) -> u64| Parts {
        package: Microwatts::from_micro(figure(&package)),
        dram: Microwatts::from_micro(figure(&dram)),
        rest: Microwatts::from_micro(figure(&rest)),
    };
    Power {
        idle: of(|figure| figure.idle),
        dynamic: of(|figure| figure.dynamic),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(idle: u64, dynamic: u64) -> Figure {
        Figure { idle, dynamic }
    }

    /// Package, DRAM and rest, idle and dynamic.
    fn rows(power: &Power) -> [(u64, u64); 3] {
        let Power { idle, dynamic } = power;
        [
            (idle.package.as_micro(), dynamic.package.as_micro()),
            (idle.dram.as_micro(), dynamic.dram.as_micro()),
            (idle.rest.as_micro(), dynamic.rest.as_micro()),
        ]
    }

    const GUESS: [Figure; 3] = [
        Figure {
            idle: 50,
            dynamic: 60,
        },
        Figure {
            idle: 20,
            dynamic: 20,
        },
        Figure {
            idle: 30,
            dynamic: 20,
        },
    ];

    #[test]
    fn what_no_file_says_stays_as_it_was_guessed() {
        assert_eq!(
            rows(&join([None, None], None, GUESS)),
            [(50, 60), (20, 20), (30, 20)]
        );
        assert_eq!(
            rows(&join([Some(figure(7, 8)), None], None, GUESS)),
            [(7, 8), (20, 20), (30, 20)]
        );
        assert_eq!(
            rows(&join([None, Some(figure(7, 8))], None, GUESS)),
            [(50, 60), (7, 8), (30, 20)]
        );
    }

    #[test]
    fn a_platform_is_shared_out_as_the_built_in_model_shares_its_own_and_adds_up_to_the_microwatt() {
        assert_eq!(
            rows(&join([None, None], Some(figure(11, 205)), GUESS)),
            [(5, 123), (2, 41), (4, 41)]
        );
        // 200 - 60 of package; memory and the rest are as 20 to 30 and 20 to 20.
        let power = join([Some(figure(40, 20)), None], Some(figure(100, 100)), GUESS);
        assert_eq!(rows(&power), [(40, 20), (24, 40), (36, 40)]);
        // More dynamic power of the package than of the platform, and less idle power: the total holds.
        let power = join(
            [Some(figure(10, 45)), Some(figure(0, 0))],
            Some(figure(50, 10)),
            GUESS,
        );
        assert_eq!(rows(&power), [(10, 45), (0, 0), (5, 0)]);
        // More idle power of the package than of the platform: the total holds.
        let power = join(
            [Some(figure(90, 0)), Some(figure(5, 0))],
            Some(figure(30, 70)),
            GUESS,
        );
        assert_eq!(rows(&power), [(90, 0), (5, 0), (0, 5)]);
    }

    #[test]
    fn parts_that_exceed_the_platform_leave_nothing_and_never_less() {
        let power = join([Some(figure(90, 30)), None], Some(figure(60, 10)), GUESS);
        assert_eq!(rows(&power), [(90, 30), (0, 0), (0, 0)]);
    }
}
