// SPDX-License-Identifier: Apache-2.0
//! The recorder's thread: takes entries and writes them into the file, a frame for each window, so that a process that is
//! killed loses the window that is open and nothing before it.

use super::tap::{Tap, WAITING};
use crate::health::Drops;
use attribution::recording::{Encoder, Entry, Mask};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::fs::{File, OpenOptions};
use std::hash::RandomState;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::Builder;
use std::time::Duration;
use tokio::sync::oneshot;

/// A frame that has grown to this is written although its window is still open.
const FRAME: usize = 4 << 20;
/// How long the end of a recording may wait for what is before it.
const LAST_WORD: Duration = Duration::from_secs(10);

/// What became of a recording.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Windows that were closed.
    pub windows: u64,
    /// Entries that are missing.
    pub missing: u64,
    /// Bytes in the file.
    pub bytes: u64,
}

/// Why a recording ended too early, and what it has until then.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {problem}; {}", recorded(*written))]
pub struct RecordError {
    path: String,
    problem: String,
    written: Written,
}

/// What a recording is good for that ended too early.
fn recorded(written: Written) -> String {
    match written.windows {
        0 => "nothing can be replayed".to_owned(),
        windows => format!("{windows} window(s) were recorded until then and can be replayed"),
    }
}

/// A recording that is being written.
pub struct Recording {
    path: PathBuf,
    entries: Sender<Entry>,
    done: Receiver<Result<Written, RecordError>>,
    /// What is missing at the end: nothing came after it that could have told.
    missing: Arc<AtomicU64>,
    broken: Option<oneshot::Receiver<()>>,
}

/// Whether names are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// As they are.
    Kept,
    /// As hashes.
    Hashed,
}

impl Recording {
    /// Makes the file, which must not be there yet and which only its owner may read, and begins to write.
    ///
    /// # Errors
    /// When the file cannot be made, or there is no thread.
    pub fn create(path: &Path, names: Names) -> anyhow::Result<(Self, Tap)> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(|error| anyhow::anyhow!("{}: {}", path.display(), cannot_create(&error)))?;
        let (entries, inbox) = bounded(WAITING);
        let (tell, done) = bounded(1);
        let (breaks, broken) = oneshot::channel();
        let writer = Writer {
            path: path.to_owned(),
            file,
            encoder: Encoder::new(),
            mask: (names == Names::Hashed).then(|| Mask::new(RandomState::new())),
            bytes: Encoder::head(),
            written: Written::default(),
        };
        let work = move || {
            let outcome = writer.run(&inbox);
            if outcome.is_err() {
                // Whoever does not wait any more is stopping already.
                let _ = breaks.send(());
            }
            let _ = tell.send(outcome);
        };
        Builder::new().name("recorder".to_owned()).spawn(work)?;
        let missing = Arc::<AtomicU64>::default();
        let recording = Self {
            path: path.to_owned(),
            entries: entries.clone(),
            done,
            missing: Arc::clone(&missing),
            broken: Some(broken),
        };
        Ok((recording, Tap::new(entries, Drops::default(), missing)))
    }

    /// Done when nothing can be written any more. Asked for once.
    pub fn broken(&mut self) -> impl Future<Output = ()> + use<> {
        let broken = self.broken.take();
        async move {
            let is_broken = match broken {
                Some(broken) => broken.await.is_ok(),
                None => false,
            };
            // A writer that ended in order says nothing, and then nothing is broken.
            if !is_broken {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Writes the end, and says what was written.
    ///
    /// # Errors
    /// When not all of it could be written.
    pub fn finish(self) -> anyhow::Result<Written> {
        let missing = self.missing.swap(0, Ordering::Relaxed);
        let gap = (missing > 0).then_some(Entry::Gap { missing });
        for entry in gap.into_iter().chain([Entry::End]) {
            // A writer that is gone has told why, and one whose disk stands still has had its time.
            if self.entries.send_timeout(entry, LAST_WORD).is_err() {
                break;
            }
        }
        match self.done.recv_timeout(LAST_WORD) {
            Ok(outcome) => Ok(outcome?),
            Err(_) => anyhow::bail!(
                "{}: the disk takes nothing any more; what was written until now can be replayed",
                self.path.display()
            ),
        }
    }
}

/// Why there is no file, with what to do.
fn cannot_create(error: &io::Error) -> String {
    let hint = match error.kind() {
        io::ErrorKind::AlreadyExists => "; name another file, or remove it first",
        io::ErrorKind::PermissionDenied => "; this user may not write there",
        io::ErrorKind::NotFound => "; is there such a folder?",
        _ => "",
    };
    format!("{error}{hint}")
}

struct Writer<W> {
    path: PathBuf,
    file: W,
    encoder: Encoder,
    mask: Option<Mask<RandomState>>,
    /// What is to be written next.
    bytes: Vec<u8>,
    written: Written,
}

/// A file that can be brought to the disk.
trait Sink: Write {
    /// Waits until it is there.
    fn sync(&mut self) -> io::Result<()>;
}

impl Sink for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

impl<W: Sink> Writer<W> {
    fn run(mut self, inbox: &Receiver<Entry>) -> Result<Written, RecordError> {
        let outcome = self.write_all(inbox);
        let written = self.written;
        outcome.map(|()| written).map_err(|problem| RecordError {
            path: self.path.display().to_string(),
            problem,
            written,
        })
    }

    /// Until the end of the recording, or until nobody can say anything any more.
    fn write_all(&mut self, inbox: &Receiver<Entry>) -> Result<(), String> {
        self.flush()?;
        for entry in inbox {
            let entry = match &mut self.mask {
                Some(mask) => mask.entry(entry),
                None => entry,
            };
            self.encoder.write(&entry).map_err(|much| much.to_string())?;
            let (windows, missing) = match entry {
                Entry::Close { .. } => (1, 0),
                Entry::Gap { missing } => (0, missing),
                _ => (0, 0),
            };
            let is_last = matches!(entry, Entry::End);
            let is_whole = windows > 0 || is_last || matches!(entry, Entry::Begin(_));
            if is_whole || self.encoder.pending() > FRAME {
                self.encoder
                    .finish_frame(&mut self.bytes)
                    .map_err(|much| much.to_string())?;
                self.flush()?;
            }
            self.written.windows += windows;
            self.written.missing += missing;
            if is_last {
                break;
            }
        }
        self.file.sync().map_err(|error| cannot_write(&error))
    }

    fn flush(&mut self) -> Result<(), String> {
        self.file
            .write_all(&self.bytes)
            .map_err(|error| cannot_write(&error))?;
        self.written.bytes += u64::try_from(self.bytes.len()).unwrap_or(u64::MAX);
        self.bytes.clear();
        Ok(())
    }
}

/// Why nothing more is written, with what to do.
fn cannot_write(error: &io::Error) -> String {
    let hint = match error.kind() {
        io::ErrorKind::StorageFull => "; make room, or record to another disk",
        io::ErrorKind::QuotaExceeded => "; this user's quota is used up",
        _ => "",
    };
    format!("{error}{hint}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use attribution::model::{MonotonicNanos, TickId};
    use attribution::recording::{Beginning, Ending, Reader};
    use std::os::unix::fs::PermissionsExt as _;
    use tempfile::TempDir;

    fn window(tick: u64) -> [Entry; 2] {
        let at = MonotonicNanos::from_nanos(tick);
        [
            Entry::Open {
                tick: TickId(tick),
                at,
                deadline: at,
            },
            Entry::Close {
                at,
                dropped: Vec::new(),
            },
        ]
    }

    fn begin() -> Entry {
        Entry::Begin(Arc::new(Beginning::default()))
    }

    /// A disk of so many bytes.
    struct Disk(usize, Vec<u8>);

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let room = self.0 - self.1.len();
            if room == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let taken = room.min(bytes.len());
            self.1.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Sink for &mut Disk {
        fn sync(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn writer(disk: &mut Disk) -> Writer<&mut Disk> {
        Writer {
            path: PathBuf::from("/full/a"),
            file: disk,
            encoder: Encoder::new(),
            mask: None,
            bytes: Encoder::head(),
            written: Written::default(),
        }
    }

    #[test]
    fn a_recording_is_for_its_owner_alone_and_ends_with_its_end() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("a.keplrec");
        let (recording, mut tap) = Recording::create(&path, Names::Kept).unwrap();
        tap.hear(&begin());
        (1..=3).flat_map(window).for_each(|entry| tap.hear(&entry));
        let written = recording.finish().unwrap();
        let facts = std::fs::metadata(&path).unwrap();
        assert_eq!((written.windows, written.missing), (3, 0));
        assert_eq!(
            (facts.len(), facts.permissions().mode() & 0o777),
            (written.bytes, 0o600)
        );
        let mut reader = Reader::new(File::open(&path).unwrap()).unwrap();
        while reader.next_entry().unwrap().is_some() {}
        assert_eq!(reader.ending(), Some(Ending::Complete));
        let error = Recording::create(&path, Names::Kept).err().unwrap().to_string();
        assert!(
            error.contains("a.keplrec") && error.contains("name another file"),
            "{error}"
        );
        let error = Recording::create(&folder.path().join("no/such"), Names::Kept)
            .err()
            .unwrap();
        assert!(error.to_string().contains("is there such a folder?"), "{error}");
    }

    #[test]
    fn what_is_missing_at_the_end_is_told_before_the_end() {
        let (entries, inbox) = bounded(4);
        let (tell, done) = bounded(1);
        let missing = Arc::<AtomicU64>::default();
        let mut tap = Tap::new(entries.clone(), Drops::default(), Arc::clone(&missing));
        (1..=4).flat_map(window).for_each(|entry| tap.hear(&entry));
        let recording = Recording {
            path: PathBuf::new(),
            entries,
            done,
            missing,
            broken: None,
        };
        let slow = std::thread::spawn(move || {
            let until_the_end = |entry: &Entry| !matches!(entry, Entry::End);
            let heard: Vec<_> = inbox.iter().take_while(until_the_end).collect();
            tell.send(Ok(Written::default())).unwrap();
            heard
        });
        recording.finish().unwrap();
        let heard = slow.join().unwrap();
        assert!(
            matches!(heard.as_slice(), [_, _, _, _, Entry::Gap { missing: 4 }]),
            "{heard:?}"
        );
    }

    #[test]
    fn a_disk_that_was_full_before_the_first_window_leaves_nothing_to_replay() {
        let mut disk = Disk(3, Vec::new());
        let (_entries, inbox) = bounded(1);
        let words = writer(&mut disk).run(&inbox).unwrap_err().to_string();
        assert!(words.ends_with("; nothing can be replayed"), "{words}");
    }

    #[test]
    fn a_full_disk_ends_the_recording_with_words_and_what_was_written_can_be_read() {
        let mut disk = Disk(100, Vec::new());
        let (entries, inbox) = bounded(1000);
        let all = std::iter::once(begin()).chain((1..=20).flat_map(window));
        all.for_each(|entry| entries.send(entry).unwrap());
        let error = writer(&mut disk).run(&inbox).unwrap_err();
        let words = error.to_string();
        assert!(
            words.starts_with("/full/a: ") && words.contains("make room"),
            "{words}"
        );
        assert!(words.contains("can be replayed"), "{words}");
        let mut reader = Reader::new(disk.1.as_slice()).unwrap();
        let mut windows = 0;
        while let Some(entry) = reader.next_entry().unwrap() {
            windows += u64::from(matches!(entry, Entry::Close { .. }));
        }
        assert_eq!(windows, error.written.windows);
        assert!(windows > 0);
        assert!(matches!(reader.ending(), Some(Ending::Torn { .. })));
    }
}
