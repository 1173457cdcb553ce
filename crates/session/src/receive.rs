//! The receiving side of a transfer.

mod decide;
mod settle;
mod state;

use std::collections::{BTreeMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::Instant;

use framing::{
    Checksum, ChunkSet, EntryKind, Feature, Get, MAX_PATH_LEN, MAX_RANGES, Manifest, Message, Name, Offer,
    PageBuilder, Part, Refusal,
};
use link::{ChunkRun, ChunkSink, IDLE_LIMIT, Link, LinkError, Talk};

use crate::events::{Event, Side, Summary};
use crate::hello::{greet, meet, misbehaved, out_of_place};
use crate::intake::Intake;
use crate::sets::{SetOf, bytes_of, send_set};
use crate::store::{Holder, Store, StoreError};
use crate::{Caller, GetJob, SessionError};
use state::Active;

/// How often a file is repaired before it is given up.
const MAX_ROUNDS: u32 = 16;

impl GetJob {
    /// Prepares to fetch these files and trees, proving each with this checksum.
    #[must_use]
    pub fn new(names: Vec<OsString>, checksum: Checksum, follow: bool) -> Self {
        Self { names, checksum, follow, done: HashSet::new(), summary: Summary::default() }
    }
}

/// Fetches files. After an error that [may pass](SessionError::is_passing) it can be called again with a new link, and goes
/// on with what is not done.
pub fn get(
    link: &mut dyn Link,
    job: &mut GetJob,
    store: &Store,
    caller: Caller<'_>,
) -> Result<Summary, SessionError> {
    let began = Instant::now();
    greet(link, caller.software, &[Feature::Blake3])?;
    let mut names = PageBuilder::default();
    for name in &job.names {
        if name.len() > MAX_PATH_LEN || names.is_full() {
            return Err(SessionError::TooManyNames);
        }
        names.push(&Name(name.as_bytes()));
    }
    let asked =
        link.send(&Message::Get(Get { checksum: job.checksum, follow: job.follow, names: names.page() }));
    let greeting = meet(link, caller.observer)?;
    asked?;
    greeting.must_have(Feature::Get)?;
    if job.checksum == Checksum::Blake3 {
        greeting.must_have(Feature::Blake3)?;
    }
    let offer = match link.recv(IDLE_LIMIT)? {
        Message::Offer(offer) if offer.checksum == job.checksum => offer,
        other => return Err(out_of_place(&other).into()),
    };
    let received = receive(link, offer, store, caller, &mut job.done, &mut job.summary);
    job.summary.elapsed += began.elapsed();
    received?;
    link.finish();
    Ok(job.summary.clone())
}

/// Takes what the other side offers, all but what is `done`. On an error of its own it tells the other side why before it
/// gives up.
pub(crate) fn receive(
    link: &mut dyn Link,
    offer: Offer,
    store: &Store,
    caller: Caller<'_>,
    done: &mut HashSet<Vec<u8>>,
    summary: &mut Summary,
) -> Result<(), SessionError> {
    let received = hear_manifest(link, offer).and_then(|(manifest, holes)| {
        // Without a closer this session can't make way for another, which only costs the other some time.
        let holder = link.closer().ok().map(|closer| Arc::new(Holder::new(closer)));
        let mut receiving = Receiving::new(manifest, holes, offer.checksum, store, holder, caller, done)?;
        let received = receiving.run(link);
        summary.add(&receiving.summary);
        received
    });
    let (refusal, text) = match received {
        Err(SessionError::Manifest(error)) => (Refusal::Policy, error.to_string()),
        Err(SessionError::Store(error)) => {
            let refusal = if error.is_no_space() { Refusal::NoSpace } else { Refusal::Storage };
            // When the link is gone too, the other side knows that something is wrong.
            let _ = link.send(&Message::Refuse { refusal, text: &error.to_string() });
            link.finish();
            return Err(error.into());
        }
        other => return other,
    };
    link.send(&Message::Refuse { refusal, text: &text })?;
    link.finish();
    Err(SessionError::Declined { refusal, text })
}

fn hear_manifest(link: &mut dyn Link, offer: Offer) -> Result<(Manifest, ChunkSet), SessionError> {
    if u64::from(offer.entries) > framing::MAX_ENTRIES {
        return Err(framing::ManifestError::TooManyEntries.into());
    }
    let mut manifest = Manifest::new();
    let mut holes = ChunkSet::new();
    loop {
        match link.recv(IDLE_LIMIT)? {
            Message::Entries(page) => {
                for entry in page.iter() {
                    if manifest.len() == offer.entries {
                        return Err(misbehaved("it sent more entries than it offered").into());
                    }
                    manifest.push(entry)?;
                }
            }
            Message::Holes(page) => {
                holes.extend(page.iter());
                if holes.end() > manifest.chunks() || holes.range_count() > MAX_RANGES {
                    return Err(misbehaved("it told of holes outside the manifest").into());
                }
            }
            Message::End(Part::Manifest) => break,
            Message::Working => {}
            other => return Err(out_of_place(&other).into()),
        }
    }
    if manifest.len() != offer.entries || manifest.bytes() != offer.bytes {
        return Err(misbehaved("its manifest is not what it offered").into());
    }
    Ok((manifest, holes))
}

struct Receiving<'a> {
    manifest: Manifest,
    /// Chunks that are zero and never sent.
    holes: ChunkSet,
    store: Store,
    /// Tells others that the peer is alive.
    holder: Option<Arc<Holder>>,
    caller: Caller<'a>,
    intake: Intake,
    /// Files that have no verdict yet.
    active: BTreeMap<u32, Active>,
    /// Files of those whose partial file is open.
    open_parts: usize,
    /// The next entry that may have to be verified where it lies, and those that are being verified.
    next_verified: u32,
    verifying: HashSet<u32>,
    /// Directories whose permissions and times are set at the end.
    directories: Vec<u32>,
    verdicts: PageBuilder,
    full_pages: Vec<PageBuilder>,
    /// Paths that have had their verdict on an earlier connection, and this one.
    done: &'a mut HashSet<Vec<u8>>,
    /// What stopped the whole transfer.
    failure: Option<StoreError>,
    /// Whether the sender has said that this round's chunks are over.
    chunks_over: bool,
    began: Instant,
    summary: Summary,
}

impl<'a> Receiving<'a> {
    fn new(
        manifest: Manifest,
        holes: ChunkSet,
        checksum: Checksum,
        store: &Store,
        holder: Option<Arc<Holder>>,
        caller: Caller<'a>,
        done: &'a mut HashSet<Vec<u8>>,
    ) -> Result<Self, SessionError> {
        let store = store.for_transfer(holder.clone());
        let intake = Intake::start(&store, checksum).map_err(SessionError::Thread)?;
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
            holes,
            store,
            holder,
            caller,
            intake,
            active: BTreeMap::new(),
            open_parts: 0,
            next_verified: 0,
            verifying: HashSet::new(),
            directories: Vec::new(),
            verdicts: PageBuilder::default(),
            full_pages: Vec::new(),
            done,
            failure: None,
            chunks_over: false,
            began: Instant::now(),
            summary: Summary::default(),
        })
    }

    fn run(&mut self, link: &mut dyn Link) -> Result<(), SessionError> {
        let mut wanted = self.decide_all(link)?;
        let bytes = bytes_of(&self.manifest, &wanted);
        self.store.check_room(bytes)?;
        let held = self.active.values().map(|active| active.held_bytes).sum();
        self.caller.observer.event(&Event::Wanted { bytes, held, round: 0 });
        for round in 1..=MAX_ROUNDS {
            send_set(link, &wanted, SetOf::Want)?;
            link.send(&Message::End(Part::Want))?;
            self.receive_chunks(link, &mut wanted)?;
            self.settle(link)?;
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
        self.finish_directories();
        self.tell(&mut |message| link.send(message))?;
        link.send(&Message::End(Part::Transfer))?;
        Ok(())
    }

    fn receive_chunks(&mut self, link: &mut dyn Link, wanted: &mut ChunkSet) -> Result<(), SessionError> {
        self.chunks_over = false;
        let received = link.recv_chunks(wanted, self);
        if let Some(failure) = self.failure.take() {
            return Err(failure.into());
        }
        received?;
        while !self.chunks_over {
            let message = link.recv(IDLE_LIMIT)?;
            // The pass is over when it breaks off.
            let _ = self.incoming(message)?;
            self.absorb();
        }
        Ok(())
    }
}

impl Receiving<'_> {
    fn hear(&self) {
        if let Some(holder) = &self.holder {
            holder.hear();
        }
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
        self.hear();
        match message {
            Message::Sent(page) => {
                for sent in page.iter() {
                    self.hear_sent(&sent)?;
                }
            }
            Message::Working => {}
            Message::End(Part::Chunks) => {
                self.chunks_over = true;
                return Ok(ControlFlow::Break(()));
            }
            other => return Err(out_of_place(&other)),
        }
        Ok(ControlFlow::Continue(()))
    }
}

impl ChunkSink for Receiving<'_> {
    fn chunk_len(&self, chunk: u64) -> usize {
        self.manifest.chunk_len(chunk)
    }

    fn write(&mut self, run: ChunkRun) -> Result<(), LinkError> {
        self.hear();
        let mut rest = run;
        while !rest.is_empty() {
            if self.failure.is_some() {
                return Err(LinkError::Stopped);
            }
            let chunks = rest.chunks();
            let Some(file) = self.manifest.file_of(chunks.start) else { return Ok(()) };
            let own = self.manifest.chunks_of(file);
            let (run, after) = rest.split_at((own.end.min(chunks.end) - chunks.start) as usize);
            self.write_file(file, run)?;
            rest = after;
        }
        Ok(())
    }
}
