//! The receiving side of a transfer.

mod booking;
mod decide;
mod hear;
mod open;
mod plain;
mod settle;
mod state;
mod verdicts;

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use framing::{Checksum, ChunkSet, EntryKind, Manifest, Message, Part, Refusal};
use link::{ChunkRun, ChunkSink, IDLE_LIMIT, Link, LinkError, LinkStats, Talk};

use crate::allowance::Allowance;
use crate::content::Made;
use crate::crowd::Share;
use crate::events::{Event, Faults, Observer, PathTeller, Side, Summary};
use crate::hello::{misbehaved, out_of_place};
use crate::history::History;
use crate::intake::{Happened, Intake};
use crate::sets::{SetOf, bytes_of, cut_file, send_set};
use crate::store::{Committed, Holder, Store, StoreError};
use crate::{Caller, GetJob, How, SessionError, Wish};
use booking::Booking;
pub(crate) use hear::hear_offer;
use state::Active;
use verdicts::Verdicts;

/// How often a file is repaired before it is given up.
const MAX_ROUNDS: u32 = 16;

impl GetJob {
    /// Prepares to fetch these files and trees, proving each with this checksum.
    #[must_use]
    pub fn new(names: Vec<OsString>, checksum: Checksum, follow: bool) -> Self {
        Self::of(Wish::Names(names), checksum, follow)
    }

    /// Prepares to fetch a text of so many characters that the server makes up from this seed. When it breaks off, the same
    /// length and seed go on with it.
    #[must_use]
    pub fn generate(length: u64, seed: u64, checksum: Checksum) -> Self {
        Self::of(Wish::Made(Made { length, seed }), checksum, false)
    }

    fn of(wish: Wish, checksum: Checksum, follow: bool) -> Self {
        let how = How { checksum, plain: false };
        Self { wish, how, follow, history: History::default(), began: None, summary: Summary::default() }
    }

    /// Has each chunk sent once and nothing repaired: a demonstration of what a path does to what is sent over it. Only over
    /// UDP.
    #[must_use]
    pub const fn plain(mut self) -> Self {
        self.how.plain = true;
        self
    }
}

/// A manifest that was heard, and how its files are transferred.
pub(crate) struct Offered {
    how: How,
    manifest: Manifest,
    holes: ChunkSet,
    /// Whether it is a text that was made up, just now.
    is_made: bool,
    /// Where it counts while it lasts.
    share: Share,
    /// How long its sender may say that it works while it brings nothing, its disk's work not counted: `None` for ever.
    patience: Option<Duration>,
}

impl Offered {
    /// Tells whoever wants to know that this was offered.
    pub(crate) fn tell(&self, observer: &dyn Observer) {
        let path = OsStr::from_bytes(self.manifest.get(0).map(|entry| entry.path).unwrap_or_default());
        observer.event(&Event::Offered { entries: self.manifest.len().into(), path });
    }

    /// The same, when it must be this text.
    pub(crate) fn check_made(self, made: Made) -> Result<Self, LinkError> {
        let kinds: Vec<EntryKind> = self.manifest.iter().map(|(_, entry)| entry.kind).collect();
        if kinds == [EntryKind::File { len: made.length }] {
            Ok(Self { is_made: true, ..self })
        } else {
            Err(misbehaved("it offers another file than it was to make"))
        }
    }
}

/// Why a transfer failed on the receiving side.
#[derive(Debug)]
pub(crate) struct Failure {
    error: SessionError,
    /// Whether the sender waits for what is wanted, and nothing was asked for: then the conversation can go on.
    at_rest: bool,
}

impl<E: Into<SessionError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { error: error.into(), at_rest: false }
    }
}

impl Failure {
    /// Tells the other side why the conversation ends with this, where that is this side's doing.
    pub(crate) fn tell(self, link: &mut dyn Link) -> SessionError {
        let (refusal, text) = match &self.error {
            SessionError::Manifest(error) => (Refusal::Policy, error.to_string()),
            SessionError::Crowded(error) => (Refusal::Busy, error.to_string()),
            SessionError::Store(error) => (refusal_of(error), error.to_string()),
            _ => return self.error,
        };
        // When the link is gone too, the other side knows that something is wrong.
        let told = link.send(&Message::Refuse { refusal, text: &text });
        link.finish();
        match (self.error, told) {
            (SessionError::Manifest(_), Err(error)) => error.into(),
            (SessionError::Manifest(_), Ok(())) => SessionError::Declined { refusal, text },
            (error, _) => error,
        }
    }

    /// What to answer so that the conversation goes on, if it can.
    pub(crate) fn as_declined(&self) -> Option<(Refusal, String)> {
        match &self.error {
            SessionError::Store(error) if self.at_rest => Some((refusal_of(error), error.to_string())),
            _ => None,
        }
    }
}

fn refusal_of(error: &StoreError) -> Refusal {
    if error.is_no_space() { Refusal::NoSpace } else { Refusal::Storage }
}

/// Takes what the other side offers, all but what is done by `history`.
pub(crate) fn receive(
    link: &mut dyn Link,
    offered: Offered,
    store: &Store,
    caller: Caller<'_>,
    history: &mut History,
    summary: &mut Summary,
) -> Result<(), Failure> {
    // Without a closer this session can't make way for another, which only costs the other some time.
    let holder = link.closer().ok().map(|closer| Arc::new(Holder::new(closer)));
    let is_plain = offered.how.plain;
    let mut receiving = Receiving::new(offered, store, holder, caller, history)?;
    let received = receiving.run(link);
    receiving.keep_history();
    if received.is_err() && is_plain {
        receiving.remove_parts();
    }
    receiving.end_intake();
    summary.add(&receiving.summary);
    let at_rest = receiving.is_at_rest;
    received.map_err(|error| Failure { error, at_rest })
}

struct Receiving<'a> {
    manifest: Manifest,
    /// Where it counts while it lasts.
    _share: Share,
    /// Chunks that are zero and never sent.
    holes: ChunkSet,
    plain: bool,
    /// Whether its time is that of its arrival.
    is_made: bool,
    store: Store,
    /// Tells others that the peer is alive.
    holder: Option<Arc<Holder>>,
    caller: Caller<'a>,
    intake: Intake,
    /// What the store has promised to take.
    booking: Booking,
    /// Files that have no verdict yet.
    active: BTreeMap<u32, Box<Active>>,
    /// Files of those whose partial file is open.
    open_parts: usize,
    /// Files of those that still wait for chunks.
    unfinished: BTreeSet<u32>,
    /// Partial files that hold something and are kept open for what is missing.
    held_parts: usize,
    /// The next entry that may have to be verified where it lies, and those that are being verified.
    next_verified: u32,
    verifying: HashSet<u32>,
    /// Directories whose permissions and times are set at the end.
    directories: Vec<u32>,
    verdicts: Verdicts,
    history: &'a mut History,
    /// What stopped the whole transfer.
    failure: Option<StoreError>,
    /// Whether it stopped where the sender waits and nothing was asked for.
    is_at_rest: bool,
    /// What became of the chunks of a plain transfer, once it is known.
    faults: Option<Faults>,
    /// Files of which nothing more will come, and that are not open: to be opened one after the other.
    waiting: VecDeque<u32>,
    /// Those of them that were opened and go on to their verdicts by themselves.
    begun: HashSet<u32>,
    /// Whether the sender has said that this round's chunks are over.
    chunks_over: bool,
    /// How long the sender may bring nothing: in all, and from now on.
    patience: Option<Duration>,
    allowance: Allowance,
    /// Since when it is waited for.
    heard: Instant,
    began: Instant,
    path: PathTeller,
    summary: Summary,
}

impl<'a> Receiving<'a> {
    fn new(
        offered: Offered,
        store: &Store,
        holder: Option<Arc<Holder>>,
        caller: Caller<'a>,
        history: &'a mut History,
    ) -> Result<Self, SessionError> {
        let Offered { how, manifest, holes, is_made, share, patience } = offered;
        let allowance = Allowance::new(patience, manifest.bytes(), manifest.len());
        let store = store.for_transfer(holder.clone());
        let intake = Intake::start(&store, how.checksum).map_err(SessionError::Thread)?;
        let booking = Booking::new(&store);
        let directories =
            manifest.iter().filter(|(_, entry)| entry.kind == EntryKind::Directory).count() as u64;
        let top = manifest.get(0).map(|entry| entry.path).unwrap_or_default();
        caller.observer.event(&Event::Planned {
            side: Side::Receiver,
            files: u64::from(manifest.len()) - directories,
            directories,
            bytes: manifest.bytes(),
            name: OsStr::from_bytes(top.split(|byte| *byte == b'/').next().unwrap_or_default()),
        });
        Ok(Self {
            manifest,
            _share: share,
            holes,
            plain: how.plain,
            is_made,
            store,
            holder,
            caller,
            intake,
            booking,
            active: BTreeMap::new(),
            open_parts: 0,
            unfinished: BTreeSet::new(),
            held_parts: 0,
            next_verified: 0,
            verifying: HashSet::new(),
            directories: Vec::new(),
            verdicts: Verdicts::default(),
            history,
            failure: None,
            is_at_rest: false,
            faults: None,
            waiting: VecDeque::new(),
            begun: HashSet::new(),
            chunks_over: false,
            patience,
            allowance,
            heard: Instant::now(),
            began: Instant::now(),
            path: PathTeller::default(),
            summary: Summary::default(),
        })
    }

    fn run(&mut self, link: &mut dyn Link) -> Result<(), SessionError> {
        let wanted = self.decide_all(link)?;
        let bytes = bytes_of(&self.manifest, &wanted);
        let reserved: u64 = self.active.values().map(|active| active.reserved()).sum();
        if let Err(error) = self.store.check_room(bytes.saturating_sub(reserved)) {
            self.is_at_rest = true;
            return Err(error.into());
        }
        let held = self.active.values().map(|active| active.held_bytes).sum();
        self.caller.observer.event(&Event::Wanted { bytes, held, round: 0 });
        if self.plain {
            self.receive_plain(link, wanted)?;
        } else {
            self.receive_rounds(link, wanted)?;
        }
        self.finish_directories(link)?;
        self.tell(&mut |message| link.send(message))?;
        link.send(&Message::End(Part::Transfer))?;
        Ok(())
    }

    /// Receives what is wanted, and again what did not come well, until every file has its verdict.
    fn receive_rounds(&mut self, link: &mut dyn Link, mut wanted: ChunkSet) -> Result<(), SessionError> {
        for round in 1..=MAX_ROUNDS {
            send_set(link, &wanted, SetOf::Want)?;
            link.send(&Message::End(Part::Want))?;
            self.receive_chunks(link, &mut wanted)?;
            self.settle(link)?;
            if !self.active.is_empty() {
                // The sender takes no wishes before it has said that these chunks are over.
                self.hear_chunks_end(link)?;
                self.settle(link)?;
            }
            if self.active.is_empty() {
                break;
            }
            if round == MAX_ROUNDS {
                self.give_up();
                break;
            }
            wanted = self.wanted_again(link, &wanted)?;
            self.caller.observer.event(&Event::AskedAgain { chunks: wanted.len() });
            let bytes = bytes_of(&self.manifest, &wanted);
            self.caller.observer.event(&Event::Wanted { bytes, held: 0, round });
        }
        Ok(())
    }

    /// Ends the threads, and takes note of what they have stored since they were last looked at.
    fn end_intake(&mut self) {
        self.intake.end();
        while let Some(happened) = self.intake.happened() {
            if let Happened::Committed { file, committed: Committed::Stored(_) | Committed::Unflushed(_) } =
                happened
            {
                self.booking.stored(file);
            }
        }
    }

    /// Remembers what was moved of files that have no verdict yet.
    fn keep_history(&mut self) {
        for (file, active) in &self.active {
            if let (Some(entry), Some(progress)) = (self.manifest.get(*file), active.moved) {
                self.history.keep(entry.path, progress);
            }
        }
    }

    fn receive_chunks(&mut self, link: &mut dyn Link, wanted: &mut ChunkSet) -> Result<(), SessionError> {
        self.chunks_over = false;
        self.brought();
        self.set_waiting(true);
        let received = link.recv_chunks(wanted, self);
        if let Some(failure) = self.failure.take() {
            return Err(failure.into());
        }
        received?;
        // Once all chunks are here and it is known how each file ended, the verdicts need not wait for the sender to say that
        // the chunks are over: that would cost a round trip.
        while self.active.values().any(|active| active.is_untold()) {
            if self.chunks_over {
                return Err(misbehaved("it did not send the digest of each file").into());
            }
            self.hear(link)?;
        }
        self.set_waiting(false);
        Ok(())
    }

    /// Waits for the sender to say that this round's chunks are over, if it has not.
    fn hear_chunks_end(&mut self, link: &mut dyn Link) -> Result<(), LinkError> {
        self.brought();
        while !self.chunks_over {
            self.hear(link)?;
        }
        self.set_waiting(false);
        Ok(())
    }

    fn hear(&mut self, link: &mut dyn Link) -> Result<(), LinkError> {
        self.set_waiting(true);
        let message = link.recv(IDLE_LIMIT)?;
        // The pass is over when it breaks off.
        let _ = self.incoming(message)?;
        self.absorb();
        Ok(())
    }
}

impl Receiving<'_> {
    /// Says whether this session waits for its peer, or is busy itself.
    fn set_waiting(&self, waiting: bool) {
        match &self.holder {
            Some(holder) if waiting => holder.wait(),
            Some(holder) => holder.work(),
            None => {}
        }
    }

    /// Takes note that the sender brought something, or could not while this side was busy.
    fn brought(&mut self) {
        self.allowance.renew();
        self.heard = Instant::now();
    }

    /// Takes note that it said something: whether that is of any use.
    fn spend(&mut self, is_of_use: bool) -> Result<(), LinkError> {
        if is_of_use {
            self.brought();
            return Ok(());
        }
        let now = Instant::now();
        let waited = now.saturating_duration_since(std::mem::replace(&mut self.heard, now));
        self.allowance.spend(waited)
    }
}

impl Talk for Receiving<'_> {
    fn outgoing(
        &mut self,
        send: &mut dyn FnMut(&Message<'_>) -> Result<(), LinkError>,
    ) -> Result<(), LinkError> {
        self.absorb();
        self.tell(send)
    }

    fn incoming(&mut self, message: Message<'_>) -> Result<ControlFlow<()>, LinkError> {
        self.set_waiting(true);
        match message {
            Message::Sent(page) => {
                self.spend(page.iter().any(|sent| self.active.contains_key(&sent.index)))?;
                for sent in page.iter() {
                    self.hear_sent(&sent)?;
                }
            }
            Message::Working => self.spend(false)?,
            Message::End(Part::Chunks) => {
                self.chunks_over = true;
                return Ok(ControlFlow::Break(()));
            }
            other => return Err(out_of_place(&other)),
        }
        Ok(ControlFlow::Continue(()))
    }

    fn stats(&mut self, stats: &LinkStats) {
        self.path.tell(self.caller.observer, stats);
    }
}

impl ChunkSink for Receiving<'_> {
    fn chunk_len(&self, chunk: u64) -> usize {
        self.manifest.chunk_len(chunk)
    }

    fn write(&mut self, run: ChunkRun) -> Result<(), LinkError> {
        // A slow disk is no silence of the peer.
        self.set_waiting(false);
        let mut rest = Some(run);
        while let Some(run) = rest {
            if self.failure.is_some() {
                return Err(LinkError::Stopped);
            }
            let Some((file, run, after)) = cut_file(&self.manifest, run) else { return Ok(()) };
            self.write_file(file, run)?;
            rest = after;
        }
        self.brought();
        self.set_waiting(true);
        Ok(())
    }
}
