//! What a person or a script is told while files are on their way.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use framing::{ChunkSet, Digest, Refusal};
use link::LinkStats;

use crate::stream::{StreamPacket, StreamPlan};

/// Takes note of what happens. Called from several threads; must be quick.
pub trait Observer: Send + Sync {
    /// Something happened.
    fn event(&self, event: &Event<'_>);

    /// A server's conversation is there now: whether it may go on. If not, its client is told that somebody else needs its
    /// place.
    fn may_go_on(&self, turn: Turn) -> bool {
        let _ = turn;
        true
    }
}

/// Where a server's conversation is, between what its client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It waits for a request.
    Waits,
    /// A request has come.
    Asked,
    /// It has only a farewell to say.
    Leaves,
}

/// The side that this program is on in a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// It sends files.
    Sender,
    /// It receives files.
    Receiver,
}

/// Something that happened.
#[derive(Debug)]
pub enum Event<'a> {
    /// The other side has greeted.
    Met {
        /// Its address.
        peer: SocketAddr,
        /// Its name and version: its own words, not to be trusted.
        software: &'a str,
    },
    /// A file is left out of the transfer.
    Skipped {
        /// Its path on the side that has it.
        path: &'a OsStr,
        /// Why.
        why: &'a str,
    },
    /// It is known what is to be transferred.
    Planned {
        /// Which side this is.
        side: Side,
        /// Number of files.
        files: u64,
        /// Number of directories.
        directories: u64,
        /// Bytes of all files.
        bytes: u64,
        /// The name to call it all by: the only file, or the first of several things.
        name: &'a OsStr,
    },
    /// So many more bytes, of those that are on both sides already, were compared by their chunk sums.
    Compared {
        /// Bytes.
        bytes: u64,
    },
    /// It is known what must cross the link.
    Wanted {
        /// Bytes that are to cross it now.
        bytes: u64,
        /// Bytes that need not, because the receiver has them (verified chunk by chunk). Holes don't count.
        held: u64,
        /// 0 at first; higher when something is asked for again.
        round: u32,
    },
    /// So many more bytes of files have crossed the link, now those of this file.
    Moved {
        /// Bytes.
        bytes: u64,
        /// The file's path in the transfer.
        path: &'a OsStr,
    },
    /// So many chunks came damaged or not at all and are asked for again.
    AskedAgain {
        /// Chunks.
        chunks: u64,
    },
    /// What the link sees of its path. Told now and then while chunks are on their way, over UDP.
    Path {
        /// Its numbers so far.
        stats: &'a LinkStats,
    },
    /// It is known what has become of a file or directory.
    File(&'a FileReport<'a>),
    /// A server is making a text up, which is then transferred.
    Making {
        /// Characters of it.
        length: u64,
        /// What it follows from.
        seed: u64,
    },
    /// A server's client has asked for something. What becomes of it is told by [`Event::Transferred`], [`Event::Answered`] or
    /// [`Event::Declined`]; by nothing when the conversation ends first.
    Asked(Request<'a>),
    /// It is known what a server's client wants to put, whether it will be taken or not.
    Offered {
        /// Number of files and directories.
        entries: u64,
        /// The path of the first, as the sender named it.
        path: &'a OsStr,
    },
    /// A transfer that a client asked for has come to its end, on the server's side.
    Transferred {
        /// What has become of it.
        summary: &'a Summary,
    },
    /// A server has done something that its client asked for, and that is no transfer.
    Answered(Answer<'a>),
    /// A server does not do what its client asked for.
    Declined {
        /// The kind of reason.
        refusal: Refusal,
        /// The reason, as the client was told.
        why: &'a str,
    },
    /// A server has begun to send a stream.
    Streaming {
        /// Its packets.
        plan: StreamPlan,
    },
    /// A packet of a stream has come.
    Packet(&'a StreamPacket),
    /// The link was lost; a new one is tried.
    Retrying {
        /// Why it was lost, or why the last attempt failed.
        error: &'a str,
        /// How long until the next attempt.
        wait: Duration,
    },
}

/// What a server's client asks for: its own words, not to be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request<'a> {
    /// To take files. [`Event::Offered`] tells which.
    Put,
    /// To give files and trees.
    Get {
        /// How many names.
        names: u64,
        /// The first of them.
        first: &'a OsStr,
    },
    /// To make a text up, and give it.
    Generate {
        /// Characters of it.
        length: u64,
        /// What it follows from.
        seed: u64,
    },
    /// To send a stream.
    Stream {
        /// What it is to be.
        plan: StreamPlan,
    },
    /// To send something back.
    Echo {
        /// Bytes of it.
        bytes: u64,
    },
    /// To tell what files there are.
    List {
        /// Where; empty for the served directory.
        path: &'a OsStr,
    },
    /// To go to another directory.
    Chdir {
        /// Which; empty for the served one.
        path: &'a OsStr,
    },
}

/// What a server has done besides transfers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer<'a> {
    /// It sent back what it was sent.
    Echo {
        /// Bytes.
        bytes: u64,
    },
    /// It told what files it has.
    List {
        /// The directory or file, below the served directory; empty for that one.
        path: &'a OsStr,
        /// How many files and directories.
        entries: u64,
    },
    /// It sent a stream.
    Stream {
        /// What it was to be.
        plan: StreamPlan,
        /// How many packets were sent.
        sent: u64,
    },
    /// It went to another directory with its client.
    Chdir {
        /// That directory, below the served one; empty for that one.
        path: &'a OsStr,
    },
}

/// What has become of a file or directory.
#[derive(Debug, Clone)]
pub struct FileReport<'a> {
    /// Which side this is.
    pub side: Side,
    /// Its path in the transfer, relative, as the sender named it.
    pub path: &'a OsStr,
    /// Its path below the receiver's directory; empty where there is none.
    pub name: &'a OsStr,
    /// Bytes of the file.
    pub len: u64,
    /// Bytes of it that crossed the link for this.
    pub moved: u64,
    /// Bytes of it that the receiver had already, of an earlier attempt or an older version; holes don't count.
    pub held: u64,
    /// Time since its transfer began.
    pub elapsed: Duration,
    /// What has become of it.
    pub outcome: Outcome<'a>,
    /// What became of its chunks, in a plain transfer of a file that was taken; `None` in any other.
    pub faults: Option<&'a Faults>,
}

/// What became of a file's chunks that were sent once and not repaired. All sets count from the file's start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults {
    /// How many chunks the file has.
    pub chunks: u64,
    /// Chunks that did not come: zeros in the file.
    pub lost: ChunkSet,
    /// Chunks that came with other bytes than were sent, and lie so in the file.
    pub damaged: ChunkSet,
    /// Chunks that came more than once.
    pub duplicated: ChunkSet,
    /// Chunks that came after one with a higher number.
    pub reordered: ChunkSet,
}

impl Faults {
    /// Whether every chunk came as it was sent.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.lost.is_empty() && self.damaged.is_empty()
    }
}

/// How a file or directory ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// Stored under its final name; both sides computed this digest.
    Verified(Digest),
    /// The receiver had it already; both sides computed this digest.
    AlreadyThere(Digest),
    /// A directory is there.
    Directory,
    /// The receiver had something of that name and keeps it, as it was told to.
    Kept,
    /// The digests differ; nothing is under the final name.
    Differs {
        /// What this side computed.
        here: Digest,
        /// What the other side computed.
        there: Digest,
    },
    /// It was sent plain and did not come whole. What came of it is kept under a name that says so.
    Damaged {
        /// What this side computed.
        here: Digest,
        /// What the other side computed.
        there: Digest,
        /// What became of its chunks.
        report: &'a Faults,
    },
    /// It changed on the sender's side while it was read; nothing is under the final name.
    Changed,
    /// The sender could not read it.
    Unreadable(&'a str),
    /// The receiver would not store it; or could not, as its sender sees it.
    Refused(&'a str),
    /// This side is the receiver and could not store it.
    Failed(&'a str),
}

impl Outcome<'_> {
    /// Whether it is an outcome that what became of the chunks in a plain transfer belongs to.
    pub(crate) const fn has_faults(&self) -> bool {
        matches!(self, Self::Verified(_) | Self::Damaged { .. })
    }
}

/// What has become of a whole transfer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Summary {
    /// Files that were stored and verified.
    pub verified: u64,
    /// Files that the receiver had already, verified.
    pub already_there: u64,
    /// Directories.
    pub directories: u64,
    /// Directories that were not there before. Only on the receiver's side.
    pub made: u64,
    /// Files that the receiver kept its own of.
    pub kept: u64,
    /// Files whose digests differ.
    pub differs: u64,
    /// Files that were sent plain and are kept as damaged.
    pub damaged: u64,
    /// Files that changed on the sender's side while they were read.
    pub changed: u64,
    /// Files that the sender could not read.
    pub unreadable: u64,
    /// Files or directories that the receiver refused, or could not store.
    pub refused: u64,
    /// Links and special files that were left out.
    pub skipped: u64,
    /// Bytes of all verified files, whether they had to cross the link or not.
    pub bytes: u64,
    /// Bytes of files that crossed the link, those that had to go again included.
    pub moved: u64,
    /// Time from the first greeting to the last verdict, over all connections.
    pub elapsed: Duration,
    /// What the last connection saw of its path. Only over UDP.
    pub link: Option<LinkStats>,
}

impl Summary {
    /// Whether every file is on the receiver's side, verified or kept there as it was told to.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.differs == 0
            && self.damaged == 0
            && self.changed == 0
            && self.unreadable == 0
            && self.refused == 0
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.verified += other.verified;
        self.already_there += other.already_there;
        self.directories += other.directories;
        self.made += other.made;
        self.kept += other.kept;
        self.differs += other.differs;
        self.damaged += other.damaged;
        self.changed += other.changed;
        self.unreadable += other.unreadable;
        self.refused += other.refused;
        self.skipped += other.skipped;
        self.bytes += other.bytes;
        self.moved += other.moved;
    }

    pub(crate) const fn count(&mut self, report: &FileReport<'_>) {
        match report.outcome {
            Outcome::Verified(_) => self.verified += 1,
            Outcome::AlreadyThere(_) => self.already_there += 1,
            Outcome::Directory => self.directories += 1,
            Outcome::Kept => self.kept += 1,
            Outcome::Differs { .. } => self.differs += 1,
            Outcome::Damaged { .. } => self.damaged += 1,
            Outcome::Changed => self.changed += 1,
            Outcome::Unreadable(_) => self.unreadable += 1,
            Outcome::Refused(_) | Outcome::Failed(_) => self.refused += 1,
        }
        if matches!(report.outcome, Outcome::Verified(_) | Outcome::AlreadyThere(_)) {
            self.bytes += report.len;
        }
    }
}

/// How often an observer is told what the link sees of its path.
const PATH_INTERVAL: Duration = Duration::from_millis(200);

/// Tells an observer what the link sees of its path, and not too often.
#[derive(Debug, Default)]
pub(crate) struct PathTeller {
    told: Option<Instant>,
}

impl PathTeller {
    pub(crate) fn tell(&mut self, observer: &dyn Observer, stats: &LinkStats) {
        if self.told.is_none_or(|told| told.elapsed() >= PATH_INTERVAL) {
            self.told = Some(Instant::now());
            observer.event(&Event::Path { stats });
        }
    }
}
