//! Whole-file digests on threads of their own, beside the transfer.
//!
//! Files whose chunks come (or go) in order from the first to the last are hashed from the very blocks that cross the
//! link, by the *stream* thread; it is never far behind, and holds the link up when it is slower. All others are hashed by
//! the *follower* thread, which reads the file behind its contiguous frontier and holds up nobody.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;

use framing::{CHUNK_LEN, Checksum, ChunkSet, Digest, Hasher, chunks_in};
use link::ChunkRun;

use crate::content::Content;
use crate::queue::{Consumer, Producer, queue};

/// Bytes of the longest run that TCP makes.
pub(crate) const RUN_LEN: u64 = 64 * CHUNK_LEN as u64;
/// What may wait for the stream thread, by its [`weight`].
const STREAM_QUEUE: u64 = 8 * RUN_LEN;
/// What something that holds no bytes counts in such a queue.
pub(crate) const ORDER_WEIGHT: u64 = 1 << 14;
/// Bytes that are hashed at a time: enough for BLAKE3's widest arm, and small enough for a core's cache.
const STEP: usize = 128 * 1024;

/// Zeros that the follower hashes like anything else. A hole costs its sender nothing, so what is more makes way for the work
/// of others, where the machine has such.
const FREE_ZEROS: u64 = 1 << 30;

/// Is told each digest.
pub(crate) type Report = Arc<dyn Fn(u32, io::Result<Digest>) + Send + Sync>;

/// The two threads. Dropping it stops them.
#[derive(Debug)]
pub(crate) struct Hashing {
    stream: Option<Producer<ToStream>>,
    follower: Option<Sender<ToFollower>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
enum ToStream {
    Run { file: u32, run: ChunkRun },
    Finish { file: u32 },
    Detach { file: u32 },
    Forget { file: u32 },
}

enum ToFollower {
    Follow {
        file: u32,
        job: Job,
    },
    /// What the stream thread has of a file that is followed from now on.
    HandOver {
        file: u32,
        hasher: Hasher,
        at: u64,
    },
    Written {
        file: u32,
        chunks: std::ops::Range<u64>,
    },
    Forget {
        file: u32,
    },
}

impl Hashing {
    /// Starts the threads.
    pub(crate) fn start(checksum: Checksum, report: &Report) -> io::Result<Self> {
        let (stream, to_stream) = queue(STREAM_QUEUE);
        let (follower, to_follower) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let (report, follower) = (Arc::clone(report), follower.clone());
            std::thread::Builder::new().name("hash".into()).spawn(move || {
                Stream { checksum, hashers: BTreeMap::new(), report, follower }.run(&to_stream);
            })?
        };
        let mut hashing = Self {
            stream: Some(stream),
            follower: Some(follower),
            stop: Arc::clone(&stop),
            threads: vec![thread],
        };
        let report = Arc::clone(report);
        hashing.threads.push(std::thread::Builder::new().name("hash-follow".into()).spawn(move || {
            Follower { jobs: BTreeMap::new(), zeros: 0, report, stop }.run(&to_follower);
        })?);
        Ok(hashing)
    }

    /// The next chunks of a file whose chunks come in order. Waits while the thread is behind.
    pub(crate) fn stream(&self, file: u32, run: ChunkRun) {
        self.to_stream(ToStream::Run { file, run });
    }

    /// All chunks of such a file have come. Also for a file without any.
    pub(crate) fn finish_stream(&self, file: u32) {
        self.to_stream(ToStream::Finish { file });
    }

    /// Such a file's chunks don't come in order any more: the follower goes on with it.
    pub(crate) fn detach(&self, file: u32, from: Content, len: u64, present: ChunkSet) {
        // The follower knows of the file before it hears of more chunks, and before the stream thread lets go of it.
        let job = Job { from, len, at: 0, present, hasher: None };
        self.to_follower(ToFollower::Follow { file, job });
        self.to_stream(ToStream::Detach { file });
    }

    /// Hashes a file by reading it, as far as its chunks (counted from its start) are present.
    pub(crate) fn follow(&self, file: u32, from: Content, len: u64, present: ChunkSet, checksum: Checksum) {
        let job = Job { from, len, at: 0, present, hasher: Some(Hasher::new(checksum)) };
        self.to_follower(ToFollower::Follow { file, job });
    }

    /// More chunks of a followed file are present.
    pub(crate) fn written(&self, file: u32, chunks: std::ops::Range<u64>) {
        self.to_follower(ToFollower::Written { file, chunks });
    }

    /// A file's digest is not needed any more.
    pub(crate) fn forget(&self, file: u32) {
        self.to_stream(ToStream::Forget { file });
        self.to_follower(ToFollower::Forget { file });
    }

    // A thread that has ended can't be told anything; that it reports nothing any more is noticed by who waits for it.
    fn to_stream(&self, what: ToStream) {
        let weight = match &what {
            ToStream::Run { run, .. } => weight(run),
            ToStream::Finish { .. } | ToStream::Detach { .. } | ToStream::Forget { .. } => ORDER_WEIGHT,
        };
        if let Some(stream) = &self.stream {
            stream.put(what, weight);
        }
    }

    fn to_follower(&self, what: ToFollower) {
        if let Some(follower) = &self.follower {
            let _ = follower.send(what);
        }
    }
}

/// What a run counts in a queue. Over TCP each holds a block of its own, which is mostly full, and always counts as full
/// from one half on; over UDP many small ones share one.
pub(crate) fn weight(run: &ChunkRun) -> u64 {
    (2 * run.len()).clamp(ORDER_WEIGHT, RUN_LEN)
}

impl Drop for Hashing {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.stream = None;
        self.follower = None;
        for thread in self.threads.drain(..) {
            // A thread that panicked has printed why; there is nothing to add.
            let _ = thread.join();
        }
    }
}

struct Stream {
    checksum: Checksum,
    hashers: BTreeMap<u32, (Hasher, u64)>,
    report: Report,
    follower: Sender<ToFollower>,
}

impl Stream {
    fn run(mut self, jobs: &Consumer<ToStream>) {
        let mut scratch = Vec::with_capacity(STEP);
        for job in jobs {
            match job {
                ToStream::Run { file, run } => {
                    let checksum = self.checksum;
                    let (hasher, at) = self.hashers.entry(file).or_insert_with(|| (Hasher::new(checksum), 0));
                    *at += run.len();
                    hash_run(hasher, checksum, &run, &mut scratch);
                }
                ToStream::Finish { file } => {
                    let (hasher, _) = self.take(file);
                    (self.report)(file, Ok(hasher.finish()));
                }
                ToStream::Forget { file } => {
                    self.hashers.remove(&file);
                }
                ToStream::Detach { file } => {
                    let (hasher, at) = self.take(file);
                    let _ = self.follower.send(ToFollower::HandOver { file, hasher, at });
                }
            }
        }
    }

    fn take(&mut self, file: u32) -> (Hasher, u64) {
        self.hashers.remove(&file).unwrap_or_else(|| (Hasher::new(self.checksum), 0))
    }
}

/// MD5 takes the chunks as they lie; BLAKE3 is three times as fast on them once they lie side by side.
fn hash_run(hasher: &mut Hasher, checksum: Checksum, run: &ChunkRun, scratch: &mut Vec<u8>) {
    match checksum {
        Checksum::Md5 => run.payloads().for_each(|payload| hasher.update(payload)),
        Checksum::Blake3 => {
            for payload in run.payloads() {
                if scratch.len() + payload.len() > STEP {
                    hasher.update(scratch);
                    scratch.clear();
                }
                scratch.extend_from_slice(payload);
            }
            hasher.update(scratch);
            scratch.clear();
        }
    }
}

/// A file that is hashed by reading it.
struct Job {
    from: Content,
    len: u64,
    /// Bytes hashed so far.
    at: u64,
    present: ChunkSet,
    /// Still with the stream thread when `None`.
    hasher: Option<Hasher>,
}

impl Job {
    /// Whether something can be done about it now.
    fn is_ready(&self) -> bool {
        self.hasher.is_some() && (self.at == self.len || self.ready() > 0)
    }

    /// Bytes behind the frontier that are present.
    fn ready(&self) -> u64 {
        let chunk = self.at / CHUNK_LEN as u64;
        let end = self.present.range_at(chunk).map_or(0, |range| range.end.saturating_mul(CHUNK_LEN as u64));
        end.min(self.len).saturating_sub(self.at)
    }

    /// Hashes what is present, as far as that fits: so many bytes.
    fn step(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = self.ready().min(buffer.len() as u64) as usize;
        match self.from.read_at(&mut buffer[..want], self.at) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                if let Some(hasher) = &mut self.hasher {
                    hasher.update(&buffer[..read]);
                }
                self.at += read as u64;
                Ok(read)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            Err(error) => Err(error),
        }
    }
}

struct Follower {
    jobs: BTreeMap<u32, Job>,
    /// Bytes of zeros that it has hashed.
    zeros: u64,
    report: Report,
    stop: Arc<AtomicBool>,
}

impl Follower {
    fn run(mut self, commands: &Receiver<ToFollower>) {
        let mut buffer = vec![0; STEP];
        loop {
            let ready = self.jobs.iter().find(|(_, job)| job.is_ready()).map(|(file, _)| *file);
            let command = match ready {
                Some(_) => commands.try_recv(),
                None => commands.recv().map_err(|_| TryRecvError::Disconnected),
            };
            match command {
                Ok(command) => self.obey(command),
                Err(TryRecvError::Disconnected) => return,
                Err(TryRecvError::Empty) => {
                    if let Some(file) = ready {
                        self.advance(file, &mut buffer);
                    }
                }
            }
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
        }
    }

    fn obey(&mut self, command: ToFollower) {
        match command {
            ToFollower::Follow { file, job } => {
                self.jobs.insert(file, job);
            }
            ToFollower::HandOver { file, hasher, at } => {
                if let Some(job) = self.jobs.get_mut(&file) {
                    job.hasher = Some(hasher);
                    job.at = at;
                }
            }
            ToFollower::Written { file, chunks } => {
                if let Some(job) = self.jobs.get_mut(&file) {
                    job.present.insert(chunks.start..chunks.end.min(chunks_in(job.len)));
                }
            }
            ToFollower::Forget { file } => {
                self.jobs.remove(&file);
            }
        }
    }

    fn advance(&mut self, file: u32, buffer: &mut [u8]) {
        let Some(job) = self.jobs.get_mut(&file) else { return };
        let stepped = if job.at < job.len { job.step(buffer) } else { Ok(0) };
        if let Ok(read) = &stepped
            && buffer[..*read].iter().all(|byte| *byte == 0)
        {
            let before = self.zeros;
            self.zeros += *read as u64;
            if before < FREE_ZEROS && self.zeros >= FREE_ZEROS {
                make_way();
            }
        }
        match stepped {
            Ok(_) if job.at < job.len => {}
            Ok(_) => {
                if let Some(hasher) = self.jobs.remove(&file).and_then(|job| job.hasher) {
                    (self.report)(file, Ok(hasher.finish()));
                }
            }
            Err(error) => {
                self.jobs.remove(&file);
                (self.report)(file, Err(error));
            }
        }
    }
}

/// Lets the threads of others go first from now on. Elsewhere than on Linux that would hold up the whole process.
fn make_way() {
    #[cfg(target_os = "linux")]
    // Where it may not be, it goes on as before.
    let _ = rustix::process::setpriority_process(None, 10);
}
