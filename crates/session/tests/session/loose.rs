//! A link in memory with none of TCP's total order, as one over UDP may be: chunks come in parts of any length, out of order
//! and not in order with the messages.

use std::collections::{BTreeMap, VecDeque};
use std::io::IoSliceMut;
use std::net::SocketAddr;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use framing::{CHUNK_LEN, ChunkSet, Message, Part};
use link::{
    ChunkRun, ChunkSink, ChunkSource, Closer, Filled, Limiter, Link, LinkError, LinkStats, PlainReport, Talk,
};

/// What the length of a part is a multiple of, unless a chunk ends before.
const UNIT: usize = 128;
/// How long nothing may happen before a test has failed.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a side looks whether it has something to say.
const TALK: Duration = Duration::from_millis(2);

/// What a link says of its path.
pub(crate) const STATS: LinkStats = LinkStats {
    packets_sent: 1000,
    packets_lost: 50,
    parts_sent: 900,
    parts_sent_again: 60,
    bytes_sent: 1_200_000,
    min_rtt: Duration::from_millis(20),
    mean_rtt: Duration::from_millis(25),
    smoothed_rtt: Duration::from_millis(22),
    datagram_len: 1452,
    loss: 0.05,
    limiter: Limiter::Link,
};

/// How a link behaves.
#[derive(Debug, Clone)]
pub(crate) struct Manners {
    pub(crate) seed: u64,
    /// Parts that may overtake each other.
    pub(crate) window: usize,
    /// The most units of a part.
    pub(crate) units: usize,
    /// How many parts in a hundred are lost, and read and sent again.
    pub(crate) lost: u64,
    /// A chunk that is spoiled the first time that it is sent.
    pub(crate) spoiled: Option<u64>,
    /// The receiver never hears that the chunks are over.
    pub(crate) endless: bool,
    /// The sender never hears that its chunks were taken.
    pub(crate) deaf: bool,
    /// What is lost is sent again only when everything else was sent.
    pub(crate) repairs_last: bool,
    /// The link breaks after so many parts.
    pub(crate) cut_after: Option<u64>,
    /// What becomes of chunks that are sent plain; nothing of all others. Without it they can't be.
    pub(crate) plain: Option<Fates>,
}

/// What becomes of chunks that are sent plain.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fates {
    pub(crate) lost: ChunkSet,
    pub(crate) damaged: ChunkSet,
    pub(crate) doubled: ChunkSet,
    /// Chunks that come after the three that follow.
    pub(crate) late: ChunkSet,
    /// The link breaks before this chunk.
    pub(crate) broken_at: Option<u64>,
}

impl Manners {
    pub(crate) const fn new(seed: u64) -> Self {
        Self {
            seed,
            window: 1 + (seed % 64) as usize,
            units: 1 + (seed / 3 % 40) as usize,
            lost: seed % 4 * 5,
            spoiled: None,
            endless: false,
            deaf: false,
            repairs_last: false,
            cut_after: None,
            plain: None,
        }
    }
}

/// A seeded choice.
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }

    fn pick<T>(&mut self, from: &mut Vec<T>) -> Option<T> {
        if from.is_empty() {
            return None;
        }
        let at = self.below(from.len() as u64) as usize;
        Some(from.swap_remove(at))
    }
}

#[derive(Debug)]
enum Letter {
    Message(Vec<u8>),
    Part(Piece),
    Plain {
        chunk: u64,
        bytes: Vec<u8>,
        intact: bool,
    },
    /// A part was taken.
    Taken,
}

/// Bytes in a row, of one chunk or of several whose all but the last are of full length.
#[derive(Debug, Clone)]
struct Piece {
    chunk: u64,
    skip: usize,
    bytes: Vec<u8>,
}

impl Piece {
    /// The bytes of it that each chunk has.
    fn chunks(&self) -> impl Iterator<Item = (u64, Range<usize>)> {
        let (mut at, mut chunk, mut skip, end) = (0, self.chunk, self.skip, self.bytes.len());
        std::iter::from_fn(move || {
            let len = (CHUNK_LEN - skip).min(end - at);
            let own = (chunk, at..at + len);
            (at, chunk, skip) = (at + len, chunk + 1, 0);
            (len > 0).then_some(own)
        })
    }
}

pub(crate) struct Loose {
    manners: Manners,
    dice: Dice,
    to: Sender<Letter>,
    from: Receiver<Letter>,
    closed: Arc<AtomicBool>,
    /// Messages that are not on their way yet.
    held: VecDeque<Vec<u8>>,
    /// Messages that have come.
    heard: VecDeque<Vec<u8>>,
    /// The message that was heard last.
    message: Vec<u8>,
    /// Parts that have come and were not asked for yet.
    parts: VecDeque<Piece>,
    /// Chunks that have come plain.
    plain: VecDeque<(u64, Vec<u8>, bool)>,
    /// How many bytes have come of chunks that are not whole.
    partly: BTreeMap<u64, usize>,
    /// Parts that are on their way.
    under_way: usize,
    chunks_are_spoiled: bool,
    /// Bytes that it was told to expect.
    expected: Option<u64>,
}

impl Loose {
    /// Both ends of a link.
    pub(crate) fn pair(manners: &Manners) -> (Self, Self) {
        let (to_far, from_near) = channel();
        let (to_near, from_far) = channel();
        let closed = Arc::new(AtomicBool::new(false));
        let end = |to, from, salt| Self {
            manners: manners.clone(),
            dice: Dice(manners.seed ^ salt),
            to,
            from,
            closed: Arc::clone(&closed),
            held: VecDeque::new(),
            heard: VecDeque::new(),
            message: Vec::new(),
            parts: VecDeque::new(),
            plain: VecDeque::new(),
            partly: BTreeMap::new(),
            under_way: 0,
            chunks_are_spoiled: false,
            expected: None,
        };
        (end(to_far, from_far, 0), end(to_near, from_near, 1 << 63))
    }

    fn hold(&mut self, message: &Message<'_>) {
        if let Message::Put(offer) | Message::Offer(offer) = message {
            assert!(self.expected.is_some_and(|expected| expected <= offer.bytes), "told beforehand");
        }
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        if !(self.manners.endless && *message == Message::End(Part::Chunks)) {
            self.held.push_back(bytes);
        }
    }

    fn flush(&mut self) -> Result<(), LinkError> {
        while let Some(message) = self.held.pop_front() {
            self.to.send(Letter::Message(message)).map_err(|_| LinkError::Closed)?;
        }
        Ok(())
    }

    /// Takes a letter in: `false` when there was none for so long.
    fn take(&mut self, wait: Duration) -> Result<bool, LinkError> {
        if self.closed.load(Ordering::SeqCst) {
            return Err(LinkError::Closed);
        }
        match self.from.recv_timeout(wait) {
            Ok(Letter::Message(message)) => self.heard.push_back(message),
            Ok(Letter::Part(piece)) => self.parts.push_back(piece),
            Ok(Letter::Plain { chunk, bytes, intact }) => self.plain.push_back((chunk, bytes, intact)),
            Ok(Letter::Taken) => self.under_way -= 1,
            Err(RecvTimeoutError::Timeout) => return Ok(false),
            Err(RecvTimeoutError::Disconnected) => return Err(LinkError::Closed),
        }
        Ok(true)
    }

    /// Takes in what is there. A peer that has gone is noticed when all that it said was heard.
    fn take_all(&mut self, wait: Duration) -> Result<(), LinkError> {
        match self.take(wait) {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(error) if self.heard.is_empty() && self.parts.is_empty() => return Err(error),
            Err(_) => return Ok(()),
        }
        while let Ok(true) = self.take(Duration::ZERO) {}
        Ok(())
    }

    fn hear(&mut self, talk: &mut (impl Talk + ?Sized)) -> Result<ControlFlow<()>, LinkError> {
        while let Some(message) = self.heard.pop_front() {
            if talk.incoming(decode(&message)?)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Reads some chunks in a row and cuts them into parts: `false` when there are no more.
    fn read_more(
        &mut self,
        wanted: &ChunkSet,
        next: &mut u64,
        source: &mut dyn ChunkSource,
        parts: &mut Vec<Piece>,
    ) -> bool {
        let most = 1 + self.dice.below(16);
        let (mut first, mut bytes) = (None, Vec::new());
        while bytes.len() < most as usize * CHUNK_LEN && bytes.len().is_multiple_of(CHUNK_LEN) {
            let Some(range) = wanted.next_from(*next) else { break };
            if first.is_some() && range.start != *next {
                break;
            }
            *next = range.start;
            let lens: Vec<usize> = (range.start..range.end.min(range.start + most))
                .map(|chunk| source.chunk_len(chunk))
                .collect();
            let mut buffers: Vec<Vec<u8>> = lens.iter().map(|len| vec![0; *len]).collect();
            let mut slots: Vec<IoSliceMut<'_>> =
                buffers.iter_mut().map(|buffer| IoSliceMut::new(buffer)).collect();
            match source.read(*next, &mut slots) {
                Filled::Slots(filled) => {
                    first.get_or_insert(*next);
                    *next += filled as u64;
                    buffers[..filled].iter().for_each(|buffer| bytes.extend(buffer));
                }
                Filled::Skip(after) => {
                    *next = after;
                    break;
                }
                Filled::Pause => break,
            }
        }
        if let Some(first) = first {
            self.hand_on(first, &bytes, source);
            self.cut(first, &bytes, parts);
        }
        wanted.next_from(*next).is_some()
    }

    /// Tells the source what was sent, in runs that begin and end anywhere.
    fn hand_on(&mut self, first: u64, bytes: &[u8], source: &mut dyn ChunkSource) {
        let mut at = 0;
        while at < bytes.len() {
            let end = bytes.len().min(at + 1 + self.dice.below(3 * CHUNK_LEN as u64) as usize);
            let whole = if end == bytes.len() { end.div_ceil(CHUNK_LEN) } else { end / CHUNK_LEN };
            let chunk = first + (at / CHUNK_LEN) as u64;
            let run = ChunkRun::of_bytes(
                bytes[at..end].to_vec(),
                chunk,
                (at % CHUNK_LEN) as u32,
                chunk..first + whole as u64,
            );
            source.sent(run);
            at = end;
        }
    }

    fn cut(&mut self, first: u64, bytes: &[u8], parts: &mut Vec<Piece>) {
        let mut at = 0;
        while at < bytes.len() {
            let len = UNIT * (1 + self.dice.below(self.manners.units as u64) as usize);
            let end = bytes.len().min(at + len);
            let (chunk, skip) = (first + (at / CHUNK_LEN) as u64, at % CHUNK_LEN);
            parts.push(Piece { chunk, skip, bytes: bytes[at..end].to_vec() });
            at = end;
        }
    }

    /// Puts a part on its way, or loses it.
    fn deliver(&mut self, mut piece: Piece, lost: &mut Vec<Piece>) -> Result<(), LinkError> {
        if self.dice.below(100) < self.manners.lost {
            lost.push(piece);
            return Ok(());
        }
        if self.manners.spoiled.is_some_and(|chunk| piece.chunk == chunk) && !self.chunks_are_spoiled {
            self.chunks_are_spoiled = true;
            piece.bytes[0] ^= 1;
        }
        if self
            .manners
            .cut_after
            .as_mut()
            .is_some_and(|left| std::mem::replace(left, left.saturating_sub(1)) == 0)
        {
            return Err(LinkError::Closed);
        }
        self.under_way += 1;
        self.to.send(Letter::Part(piece)).map_err(|_| LinkError::Closed)
    }

    /// Reads what was lost again and sends what can be had of it.
    fn repair(
        &mut self,
        piece: &Piece,
        source: &mut dyn ChunkSource,
        lost: &mut Vec<Piece>,
    ) -> Result<(), LinkError> {
        for (chunk, own) in piece.chunks() {
            let mut buffer = vec![0; source.chunk_len(chunk)];
            if source.reread(chunk, &mut buffer) {
                let skip = if chunk == piece.chunk { piece.skip } else { 0 };
                let bytes = buffer[skip..skip + own.len()].to_vec();
                self.deliver(Piece { chunk, skip, bytes }, lost)?;
            }
        }
        Ok(())
    }

    /// Hands a part to the sink, as far as it is wanted.
    fn hand_over(
        &mut self,
        piece: Piece,
        wanted: &mut ChunkSet,
        sink: &mut dyn ChunkSink,
    ) -> Result<(), LinkError> {
        let all_wanted = piece.chunks().all(|(chunk, _)| wanted.contains(chunk));
        let pieces: Vec<Piece> = if all_wanted {
            vec![piece]
        } else {
            let wanted = piece.chunks().filter(|(chunk, _)| wanted.contains(*chunk));
            let cut = wanted.map(|(chunk, own)| {
                let skip = if chunk == piece.chunk { piece.skip } else { 0 };
                Piece { chunk, skip, bytes: piece.bytes[own].to_vec() }
            });
            cut.collect()
        };
        for piece in pieces {
            let mut complete = ChunkSet::new();
            for (chunk, own) in piece.chunks() {
                let came = self.partly.entry(chunk).or_default();
                *came += own.len();
                assert!(*came <= sink.chunk_len(chunk), "chunk {chunk} came twice");
                if *came == sink.chunk_len(chunk) {
                    self.partly.remove(&chunk);
                    complete.insert(chunk..chunk + 1);
                }
            }
            assert!(complete.range_count() <= 1);
            let complete = complete.first().unwrap_or_default();
            wanted.remove(complete.clone());
            sink.write(ChunkRun::of_bytes(piece.bytes, piece.chunk, piece.skip as u32, complete))?;
        }
        Ok(())
    }
}

fn decode(bytes: &[u8]) -> Result<Message<'_>, LinkError> {
    match Message::decode(bytes)? {
        Message::Refuse { refusal, text } => Err(LinkError::Refused { refusal, text: text.to_owned() }),
        message => Ok(message),
    }
}

impl Link for Loose {
    fn peer(&self) -> SocketAddr {
        ([127, 0, 0, 1], 1).into()
    }

    fn send(&mut self, message: &Message<'_>) -> Result<(), LinkError> {
        self.hold(message);
        self.flush()
    }

    fn recv(&mut self, wait: Duration) -> Result<Message<'_>, LinkError> {
        let deadline = Instant::now() + wait.min(PATIENCE);
        while self.heard.is_empty() {
            self.take_all(TALK)?;
            if Instant::now() > deadline {
                return Err(LinkError::Silent(wait));
            }
        }
        self.message = self.heard.pop_front().unwrap();
        decode(&self.message)
    }

    fn expect_to_send(&mut self, bytes: u64) {
        assert_eq!(self.expected.replace(bytes), None);
    }

    fn stats(&self) -> Option<LinkStats> {
        Some(STATS)
    }

    fn send_chunks(&mut self, wanted: &ChunkSet, source: &mut dyn ChunkSource) -> Result<(), LinkError> {
        let bytes: usize = wanted.ranges().flatten().map(|chunk| source.chunk_len(chunk)).sum();
        assert!(bytes as u64 <= self.expected.unwrap());
        source.stats(&STATS);
        let (mut window, mut lost) = (Vec::new(), Vec::new());
        let (mut next, mut reading) = (0, true);
        loop {
            source.outgoing(&mut |message| {
                self.hold(message);
                Ok(())
            })?;
            // What is said waits for some parts, or overtakes those in the window.
            if self.dice.below(4) == 0 {
                self.flush()?;
            }
            let idle = !reading && window.is_empty() && lost.is_empty();
            if idle && self.under_way == 0 && !self.manners.deaf {
                return self.flush();
            }
            if idle {
                self.flush()?;
            }
            self.take_all(if idle { TALK } else { Duration::ZERO })?;
            if self.hear(source)?.is_break() {
                return Ok(());
            }
            if reading && window.len() < self.manners.window {
                reading = self.read_more(wanted, &mut next, source, &mut window);
            }
            if !reading || window.len() >= self.manners.window {
                let repair = self.dice.below(2) == 0 && !self.manners.repairs_last || window.is_empty();
                if repair && let Some(piece) = self.dice.pick(&mut lost) {
                    self.repair(&piece, source, &mut lost)?;
                } else if let Some(piece) = self.dice.pick(&mut window) {
                    self.deliver(piece, &mut lost)?;
                }
            }
        }
    }

    fn recv_chunks(&mut self, wanted: &mut ChunkSet, sink: &mut dyn ChunkSink) -> Result<(), LinkError> {
        self.partly.clear();
        sink.stats(&STATS);
        while !wanted.is_empty() {
            sink.outgoing(&mut |message| {
                self.hold(message);
                Ok(())
            })?;
            self.flush()?;
            self.take_all(TALK)?;
            // Either may come first of what has come.
            let talk_first = self.dice.below(2) == 0;
            if talk_first && self.hear(sink)?.is_break() {
                return Ok(());
            }
            while let Some(piece) = self.parts.pop_front() {
                self.hand_over(piece, wanted, sink)?;
                // A sender that has gone does not care.
                let _ = self.to.send(Letter::Taken);
            }
            if !talk_first && !wanted.is_empty() && self.hear(sink)?.is_break() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn is_plain_capable(&self) -> bool {
        self.manners.plain.is_some()
    }

    fn send_plain(&mut self, wanted: &ChunkSet, source: &mut dyn ChunkSource) -> Result<(), LinkError> {
        let fates = self.manners.plain.clone().unwrap();
        let mut late: VecDeque<(u64, Letter)> = VecDeque::new();
        let mut next = 0;
        while let Some(range) = wanted.next_from(next) {
            source.outgoing(&mut |message| {
                self.hold(message);
                Ok(())
            })?;
            self.flush()?;
            if fates.broken_at.is_some_and(|chunk| chunk <= range.start) {
                return Err(LinkError::Closed);
            }
            let mut bytes = vec![0; source.chunk_len(range.start)];
            match source.read(range.start, &mut [IoSliceMut::new(&mut bytes)]) {
                Filled::Slots(_) => next = range.start + 1,
                Filled::Skip(after) => {
                    next = after;
                    continue;
                }
                Filled::Pause => continue,
            }
            let chunk = range.start;
            source.sent(ChunkRun::of_bytes(bytes.clone(), chunk, 0, chunk..chunk + 1));
            let intact = !fates.damaged.contains(chunk);
            if !intact {
                bytes[0] ^= 1;
            }
            for _ in 0..1 + u64::from(fates.doubled.contains(chunk)) {
                let letter = Letter::Plain { chunk, bytes: bytes.clone(), intact };
                if fates.late.contains(chunk) {
                    late.push_back((chunk + 3, letter));
                } else if !fates.lost.contains(chunk) {
                    self.to.send(letter).map_err(|_| LinkError::Closed)?;
                }
            }
            while let Some((_, letter)) = late.pop_front_if(|(until, _)| *until <= chunk) {
                self.to.send(letter).map_err(|_| LinkError::Closed)?;
            }
            self.take_all(Duration::ZERO)?;
            if self.hear(source)?.is_break() {
                return Ok(());
            }
        }
        for (_, letter) in late {
            self.to.send(letter).map_err(|_| LinkError::Closed)?;
        }
        Ok(())
    }

    fn recv_plain(
        &mut self,
        wanted: &mut ChunkSet,
        sink: &mut dyn ChunkSink,
    ) -> Result<PlainReport, LinkError> {
        let mut report = PlainReport::default();
        let (mut came, mut highest) = (ChunkSet::new(), 0);
        loop {
            sink.outgoing(&mut |message| {
                self.hold(message);
                Ok(())
            })?;
            self.flush()?;
            self.take_all(TALK)?;
            while let Some((chunk, bytes, intact)) = self.plain.pop_front() {
                let this = chunk..chunk + 1;
                if came.contains(chunk) {
                    report.duplicated.insert(this);
                    continue;
                }
                came.insert(this.clone());
                if chunk < highest {
                    report.reordered.insert(this.clone());
                }
                highest = highest.max(chunk);
                if !intact {
                    report.damaged.insert(this.clone());
                }
                wanted.remove(this.clone());
                sink.write(ChunkRun::of_bytes(bytes, chunk, 0, this))?;
            }
            if self.hear(sink)?.is_break() {
                return Ok(report);
            }
        }
    }

    /// It does not wait: what the peer says after this meets nobody.
    fn finish(&mut self) {}

    fn closer(&self) -> std::io::Result<Closer> {
        let closed = Arc::clone(&self.closed);
        Ok(Closer::new(move || closed.store(true, Ordering::SeqCst)))
    }
}
