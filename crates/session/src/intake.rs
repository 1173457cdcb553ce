//! The receiving side's threads: one writes what comes, two hash it, one commits what is good.
//!
//! The thread that holds the link hands runs of chunks to the writer and hears through [`Happened`] what became of each
//! file. Every queue that holds blocks is short, so a slow disk or hasher slows the link down instead of filling memory.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use framing::{CHUNK_LEN, Checksum, ChunkSet, Digest, chunks_in};
use link::ChunkRun;

use crate::hashing::{Hashing, ORDER_WEIGHT, RUN_LEN, Report, weight};
use crate::queue::{Consumer, Producer, queue};
use crate::store::{Committed, Finished, Lookout, PartFile, Placed, Store, Target, commit, room_for};

/// What may wait for the writer, by its [`weight`].
const WRITE_QUEUE: u64 = 8 * RUN_LEN;
/// Files that may wait for their commit.
const COMMIT_QUEUE: usize = 64;

/// Where a file's chunks go, and what is there of it already.
#[derive(Debug)]
pub(crate) struct Destination {
    pub(crate) target: Target,
    pub(crate) len: u64,
    /// Its partial file, if it is open already.
    pub(crate) part: Option<Arc<PartFile>>,
    /// Chunks, counted from its start, that are good as they are.
    pub(crate) held: ChunkSet,
    /// Whether it is hashed only when it is complete: more of it is there than `held` says.
    pub(crate) hashed_last: bool,
    /// Whether what an earlier attempt left is thrown away.
    pub(crate) anew: bool,
}

/// What became of a file.
#[derive(Debug)]
pub(crate) enum Happened {
    /// All of its chunks are in its partial file.
    Written { file: u32, part: Arc<PartFile> },
    /// What its content comes to.
    Hashed { file: u32, digest: Digest },
    /// It can't be written or read.
    Failed { file: u32, error: io::Error },
    /// Its commit is over.
    Committed { file: u32, committed: Committed },
}

#[derive(Debug)]
enum ToWriter {
    Open { file: u32, destination: Box<Destination> },
    Run { file: u32, first: u64, run: ChunkRun },
    LeaveRest { file: u32 },
    Complete { file: u32 },
    Drop { file: u32, remove: bool },
    Remove { target: Target },
    Sweep { target: Target },
}

/// The threads. Dropping it ends them and unlocks every partial file.
#[derive(Debug)]
pub(crate) struct Intake {
    to_writer: Option<Producer<ToWriter>>,
    to_committer: Option<SyncSender<Finished>>,
    happened: Receiver<Happened>,
    hashing: Arc<Hashing>,
    checksum: Checksum,
    threads: Vec<JoinHandle<()>>,
}

impl Intake {
    /// Starts the threads.
    pub(crate) fn start(store: &Store, checksum: Checksum) -> io::Result<Self> {
        let (happen, happened) = channel();
        let hashed = happen.clone();
        let report: Report = Arc::new(move |file, digest: io::Result<Digest>| {
            let happened = match digest {
                Ok(digest) => Happened::Hashed { file, digest },
                Err(error) => Happened::Failed { file, error },
            };
            // Nobody listens any more when the session is over.
            let _ = hashed.send(happened);
        });
        let hashing = Arc::new(Hashing::start(checksum, &report)?);
        let (to_writer, for_writer) = queue(WRITE_QUEUE);
        let (to_committer, for_committer) = sync_channel(COMMIT_QUEUE);
        let writer = Writer {
            store: store.clone(),
            hashing: Arc::clone(&hashing),
            happen: happen.clone(),
            files: BTreeMap::new(),
            checksum,
            lookout: Lookout::default(),
        };
        let if_exists = store.options().if_exists;
        let threads = vec![
            std::thread::Builder::new().name("write".into()).spawn(move || writer.run(&for_writer))?,
            std::thread::Builder::new().name("commit".into()).spawn(move || {
                let mut placed = Placed::default();
                while let Ok(first) = for_committer.recv() {
                    let batch: Vec<Finished> =
                        std::iter::once(first).chain(for_committer.try_iter()).collect();
                    for (file, committed) in
                        batch.iter().map(|file| file.index).zip(commit(&batch, if_exists, &mut placed))
                    {
                        let _ = happen.send(Happened::Committed { file, committed });
                    }
                }
            })?,
        ];
        Ok(Self {
            to_writer: Some(to_writer),
            to_committer: Some(to_committer),
            happened,
            hashing,
            checksum,
            threads,
        })
    }

    /// Says where a file goes, before its first chunk.
    pub(crate) fn open(&self, file: u32, destination: Destination) {
        self.to_writer(ToWriter::Open { file, destination: Box::new(destination) });
    }

    /// Writes bytes of a file whose first chunk in the transfer is `first`.
    pub(crate) fn write(&self, file: u32, first: u64, run: ChunkRun) {
        self.to_writer(ToWriter::Run { file, first, run });
    }

    /// Says that what has not come of a file will not: zeros stand for it.
    pub(crate) fn leave_rest(&self, file: u32) {
        self.to_writer(ToWriter::LeaveRest { file });
    }

    /// Says that all chunks of a file have come.
    pub(crate) fn complete(&self, file: u32) {
        self.to_writer(ToWriter::Complete { file });
    }

    /// Says that nothing more comes for a file, and whether its partial file is of no use any more.
    pub(crate) fn drop_file(&self, file: u32, remove: bool) {
        self.to_writer(ToWriter::Drop { file, remove });
    }

    /// Removes the partial file of a file that was opened and is not open.
    pub(crate) fn remove(&self, target: Target) {
        self.to_writer(ToWriter::Remove { target });
    }

    /// Removes what interrupted transfers left of a file that turned out to be in place.
    pub(crate) fn sweep(&self, target: Target) {
        self.to_writer(ToWriter::Sweep { target });
    }

    /// Hashes a file that is there already.
    pub(crate) fn verify(&self, file: u32, there: std::fs::File, len: u64) {
        let all = ChunkSet::from(0..chunks_in(len));
        self.hashing.follow(file, (&Arc::new(there)).into(), len, all, self.checksum);
    }

    /// Commits a file. Waits while many others are being committed.
    pub(crate) fn commit(&self, finished: Finished) {
        if let Some(committer) = &self.to_committer {
            let _ = committer.send(finished);
        }
    }

    /// What happened since the last time.
    pub(crate) fn happened(&self) -> Option<Happened> {
        self.happened.try_recv().ok()
    }

    /// Waits for something to happen, at most so long.
    pub(crate) fn wait(&self, limit: Duration) -> Option<Happened> {
        self.happened.recv_timeout(limit).ok()
    }

    /// Whether a thread has ended that should not have.
    pub(crate) fn is_broken(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
    }

    fn to_writer(&self, what: ToWriter) {
        let weight = match &what {
            ToWriter::Run { run, .. } => weight(run),
            _ => ORDER_WEIGHT,
        };
        if let Some(writer) = &self.to_writer {
            // A writer that has ended has panicked; then nothing happens any more, and the session ends of that.
            writer.put(what, weight);
        }
    }
}

impl Intake {
    /// Ends the threads, once they have done what they were told to.
    pub(crate) fn end(&mut self) {
        self.to_writer = None;
        self.to_committer = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        self.end();
    }
}

struct Writer {
    store: Store,
    hashing: Arc<Hashing>,
    happen: Sender<Happened>,
    files: BTreeMap<u32, OpenFile>,
    checksum: Checksum,
    lookout: Lookout,
}

struct OpenFile {
    part: Arc<PartFile>,
    progress: Progress,
}

/// How a file is hashed.
enum Progress {
    /// Its bytes have come in order so far; this one is next.
    InOrder { next: u64 },
    /// They have not: the follower reads them.
    Followed,
    /// It is not known which of them are there: the follower reads them when all are.
    Last,
}

impl Writer {
    fn run(mut self, jobs: &Consumer<ToWriter>) {
        for job in jobs {
            match job {
                ToWriter::Open { file, destination } => match self.open(file, *destination) {
                    Ok(open) => {
                        self.files.insert(file, open);
                    }
                    Err(error) => self.fail(file, error),
                },
                ToWriter::Run { file, first, run } => self.write(file, first, run),
                ToWriter::LeaveRest { file } => self.leave_rest(file),
                ToWriter::Complete { file } => {
                    if let Some(OpenFile { part, progress }) = self.files.remove(&file) {
                        match progress {
                            Progress::InOrder { .. } => self.hashing.finish_stream(file),
                            Progress::Followed => {}
                            Progress::Last => {
                                let all = ChunkSet::from(0..chunks_in(part.len()));
                                self.hashing.follow(file, part.file().into(), part.len(), all, self.checksum);
                            }
                        }
                        let _ = self.happen.send(Happened::Written { file, part });
                    }
                }
                ToWriter::Drop { file, remove } => {
                    self.hashing.forget(file);
                    if let Some(open) = self.files.remove(&file)
                        && remove
                    {
                        // It is only left over, then.
                        let _ = open.part.remove();
                    }
                }
                ToWriter::Remove { target } => {
                    if let Ok(Some(part)) = self.find(&target) {
                        let _ = part.remove();
                    }
                }
                ToWriter::Sweep { target } => {
                    if let Ok(dir) = self.store.parent_of(&target.path, false) {
                        let twins = self.store.claim().twins();
                        PartFile::remove_leftovers(&dir, target.path.name(), target.part, twins);
                    }
                }
            }
        }
    }

    fn open(&self, file: u32, destination: Destination) -> io::Result<OpenFile> {
        let Destination { target, len, part, held, hashed_last, anew } = destination;
        let part = match part {
            Some(part) => part,
            None => {
                // The directories above it take room too, and there may be many.
                self.store.check_spare_room(0)?;
                let dir = self.store.parent_of(&target.path, true)?;
                Arc::new(PartFile::open(&dir, target.path.name(), target.part, len, self.store.claim())?)
            }
        };
        if anew {
            part.wipe()?;
        }
        if !hashed_last && held.is_empty() {
            self.store.set_aside(&part)?;
            return Ok(OpenFile { part, progress: Progress::InOrder { next: 0 } });
        }
        self.store.check_spare_room(room_for(len, part.room_taken()))?;
        let progress = if hashed_last {
            Progress::Last
        } else {
            self.hashing.follow(file, part.file().into(), len, held, self.checksum);
            Progress::Followed
        };
        Ok(OpenFile { part, progress })
    }

    fn find(&self, target: &Target) -> io::Result<Option<PartFile>> {
        let dir = self.store.parent_of(&target.path, false)?;
        // It is as long as it will be; whoever removes it does not care.
        PartFile::find(&dir, target.path.name(), target.part, 0, self.store.claim())
    }

    fn write(&mut self, file: u32, first: u64, run: ChunkRun) {
        // A file that failed is gone from the list; what still comes for it is thrown away.
        let Some(open) = self.files.get_mut(&file) else { return };
        let offset = run.offset_from(first);
        let mut payloads: Vec<IoSlice<'_>> = run.payloads().map(IoSlice::new).collect();
        let written =
            self.lookout.pass(&self.store, run.len()).and_then(|()| open.part.write(offset, &mut payloads));
        if let Err(error) = written {
            self.files.remove(&file);
            self.hashing.forget(file);
            self.fail(file, error);
            return;
        }
        drop(payloads);
        let complete = run.completes();
        let complete = complete.start.saturating_sub(first)..complete.end.saturating_sub(first);
        match &mut open.progress {
            Progress::InOrder { next } if *next == offset => {
                *next += run.len();
                self.hashing.stream(file, run);
            }
            Progress::InOrder { next } => {
                // What came of the chunk that is cut off there was hashed; the follower goes on once all of it is here.
                let mut present = ChunkSet::from(0..*next / CHUNK_LEN as u64);
                present.insert(complete);
                self.hashing.detach(file, open.part.file().into(), open.part.len(), present);
                open.progress = Progress::Followed;
            }
            Progress::Last => {}
            Progress::Followed if complete.is_empty() => {}
            Progress::Followed => self.hashing.written(file, complete),
        }
    }

    fn leave_rest(&mut self, file: u32) {
        let Some(open) = self.files.get_mut(&file) else { return };
        let all = 0..chunks_in(open.part.len());
        match open.progress {
            Progress::InOrder { next } if next < open.part.len() => {
                self.hashing.detach(file, open.part.file().into(), open.part.len(), all.into());
                open.progress = Progress::Followed;
            }
            Progress::Followed => self.hashing.written(file, all),
            Progress::InOrder { .. } | Progress::Last => {}
        }
    }

    fn fail(&self, file: u32, error: io::Error) {
        let _ = self.happen.send(Happened::Failed { file, error });
    }
}
