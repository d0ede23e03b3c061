// SPDX-License-Identifier: Apache-2.0
//! The library on a thread of its own: owns that thread, the waiting for it, and the end of it.
//!
//! For two reasons. What the library gives (handles of devices, samples of counters) borrows from it, so all of it lives
//! in one function's stack frame for as long as the library is initialised. And a call may not return at all, when a GPU has
//! fallen off the bus or a driver hangs: the asker waits for [`PATIENCE`] and goes on without.

use super::calls;
use super::driver::{Broken, Connected, Driver, Listing, Look, Question, Session};
use crate::files::Fault;
use attribution::model::ErrorReason;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

/// Longest wait for answers: the documentation promises nothing, healthy GPUs take 1 to 20 ms a call, and a machine has 16.
const PATIENCE: Duration = Duration::from_secs(3);

/// Longest wait for the library to initialise: without persistence mode the driver wakes every GPU first, which takes seconds.
const FIRST_PATIENCE: Duration = Duration::from_secs(20);

/// Longest wait for it to shut down. The daemon has two seconds to end in.
const LAST_PATIENCE: Duration = Duration::from_millis(500);

/// What the thread says.
enum Said {
    Ready(Listing),
    NotReady(Fault),
    Seen(Result<Vec<Result<Look, Fault>>, Broken>),
}

/// The way to the real library.
pub(super) struct Nvidia {
    library: PathBuf,
    root: PathBuf,
    /// A thread that has not initialised the library in time. There is never a second one beside it.
    starting: Option<Link>,
}

/// The asker's ends. One question and one answer at most are on their way.
struct Link {
    questions: SyncSender<Vec<Question>>,
    answers: Receiver<Said>,
    /// Whether an answer is still to come.
    owes: bool,
}

impl Nvidia {
    pub(super) const fn new(library: PathBuf, root: PathBuf) -> Self {
        Self {
            library,
            root,
            starting: None,
        }
    }

    fn spawn(&self) -> Result<Link, Fault> {
        let (questions, inbox) = sync_channel(1);
        let (outbox, answers) = sync_channel(1);
        let (library, root) = (self.library.clone(), self.root.clone());
        let spawned = std::thread::Builder::new()
            .name("nvml".to_owned())
            .spawn(move || serve(library, root, &inbox, &outbox));
        match spawned {
            Ok(_) => Ok(Link {
                questions,
                answers,
                owes: true,
            }),
            Err(error) => Err(Fault {
                reason: ErrorReason::Io,
                words: format!("no thread for NVIDIA's library: {error}"),
            }),
        }
    }
}

impl Driver for Nvidia {
    fn connect(&mut self) -> Result<Connected, Fault> {
        let mut link = match self.starting.take() {
            Some(link) => link,
            None => self.spawn()?,
        };
        match link.answers.recv_timeout(FIRST_PATIENCE) {
            Ok(Said::Ready(listing)) => {
                link.owes = false;
                Ok(Connected {
                    session: Box::new(link),
                    listing,
                })
            }
            Ok(Said::NotReady(fault)) => Err(fault),
            Err(RecvTimeoutError::Timeout) => {
                self.starting = Some(link);
                Err(late("has not initialised", FIRST_PATIENCE))
            }
            Ok(Said::Seen(_)) | Err(RecvTimeoutError::Disconnected) => Err(ended()),
        }
    }
}

impl Session for Link {
    fn look(&mut self, questions: &[Question]) -> Result<Vec<Result<Look, Fault>>, Broken> {
        if self.owes {
            // The answer to an older question: its moment is over.
            self.hear()?;
        }
        if self.questions.try_send(questions.to_vec()).is_err() {
            return Err(Broken::Dead(ended()));
        }
        self.owes = true;
        match self.hear()? {
            Said::Seen(seen) => seen,
            Said::Ready(_) | Said::NotReady(_) => Err(Broken::Dead(ended())),
        }
    }
}

impl Link {
    fn hear(&mut self) -> Result<Said, Broken> {
        match self.answers.recv_timeout(PATIENCE) {
            Ok(said) => {
                self.owes = false;
                Ok(said)
            }
            Err(RecvTimeoutError::Timeout) => Err(Broken::Late(late("has not answered", PATIENCE))),
            Err(RecvTimeoutError::Disconnected) => Err(Broken::Dead(ended())),
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // Hanging up ends the thread; the library is shut down before its end of the channel goes.
        let (nobody, _) = sync_channel(0);
        drop(std::mem::replace(&mut self.questions, nobody));
        if !self.owes {
            drop(self.answers.recv_timeout(LAST_PATIENCE));
        }
    }
}

fn late(what: &str, waited: Duration) -> Fault {
    Fault {
        reason: ErrorReason::Timeout,
        words: format!("NVIDIA's library {what} for {} s", waited.as_secs()),
    }
}

fn ended() -> Fault {
    Fault {
        reason: ErrorReason::Io,
        words: "the thread of NVIDIA's library has ended".to_owned(),
    }
}

/// The thread: until the asker hangs up, or the library is of no use any more.
fn serve(library: PathBuf, root: PathBuf, inbox: &Receiver<Vec<Question>>, outbox: &SyncSender<Said>) {
    let nvml = match calls::initialise(&library) {
        Ok(nvml) => nvml,
        Err(fault) => return drop(outbox.send(Said::NotReady(fault))),
    };
    let (mut devices, listing) = match calls::Devices::list(&nvml, root) {
        Ok(found) => found,
        Err(fault) => {
            drop(outbox.send(Said::NotReady(fault)));
            return;
        }
    };
    if outbox.send(Said::Ready(listing)).is_err() {
        return;
    }
    while let Ok(questions) = inbox.recv() {
        let seen = devices.look(&questions);
        if outbox.send(Said::Seen(seen)).is_err() {
            return;
        }
    }
}
