//! A server that is attacked by way of its files, and what the attack cost it.

use std::net::SocketAddr;
use std::ops::{ControlFlow, Range};
use std::time::{Duration, Instant};

use framing::{
    CHUNK_LEN, Checksum, ChunkSet, Digest, Entry, EntryKind, Hello, Message, Offer, PageBuilder, Part, Sent,
    SentOutcome, Sums, crc32c,
};
use lab::Transport;
use lab::attack::{Meter, Row};
use lab::process::{LIMIT, Server};
use link::{ChunkRun, ChunkSource, Filled, Link, LinkError, Talk, TcpLink, TcpOptions, UdpLink, UdpOptions};

use crate::scene::{Scene, noise};
use crate::table::judge;

/// A server under attack.
pub(crate) struct Siege {
    pub(crate) scene: Scene,
    server: Server,
    meter: Meter,
    lost: Vec<String>,
}

impl Siege {
    /// Starts a server with these flags, has it do its work once, and begins to measure.
    pub(crate) fn new(transport: Transport, flags: &[&str]) -> Self {
        let scene = Scene::new(transport);
        let server = scene.serve(flags);
        let meter = Meter::start(server.process().id()).unwrap();
        let mut siege = Self { scene, server, meter, lost: Vec::new() };
        siege.transfer("before.bin");
        siege.meter = Meter::start(siege.id()).unwrap();
        siege
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    /// The server's process id.
    pub(crate) fn id(&self) -> u32 {
        self.server.process().id()
    }

    /// Somebody who talks to the server by hand.
    pub(crate) fn peer(&self) -> Peer {
        Peer::connect(self.scene.transport(), self.address())
    }

    /// Says that something was lost unless `is_so`.
    pub(crate) fn demand(&mut self, is_so: bool, what: impl Into<String>) {
        if !is_so {
            self.lost.push(what.into());
        }
    }

    /// Sends a file and fetches it back, as somebody does who means no harm.
    pub(crate) fn transfer(&mut self, name: &str) {
        let bytes = noise(name.len() as u64, 300_000);
        self.scene.write(name, &bytes);
        for args in [&[name][..], &["get", &format!("received-{name}"), "--prefix=back-"]] {
            let client = self.scene.run(&self.server, args);
            let what = format!("a client failed: {} {}", args.join(" "), client.stderr.trim_end());
            self.demand(client.code() == Some(0), what);
        }
        let back = std::fs::read(self.scene.from(&format!("back-received-{name}")));
        self.demand(back.is_ok_and(|back| back == bytes), "what the server gives is not what it got");
    }

    /// How many files the server has open.
    pub(crate) fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.id())).unwrap().count()
    }

    /// Whether a thread of the server lets others go first.
    pub(crate) fn has_yielding_thread(&self) -> bool {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.id())).unwrap();
        tasks.flatten().any(|task| {
            // A thread may end meanwhile.
            let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            let nice = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(16));
            nice.is_some_and(|nice| nice == "10")
        })
    }

    /// Waits until the server does nothing any more.
    pub(crate) fn wait_until_idle(&mut self) {
        let (began, mut last) = (Instant::now(), self.meter.cost().unwrap().cpu);
        loop {
            std::thread::sleep(Duration::from_millis(500));
            let now = self.meter.cost().unwrap().cpu;
            if now - last <= Duration::from_millis(20) {
                return;
            }
            if began.elapsed() > LIMIT {
                self.demand(false, "the server goes on working for nobody");
                return;
            }
            last = now;
        }
    }

    /// Ends the attack: the server must not have grown by more than so many MiB, and still do its work.
    pub(crate) fn judge(mut self, attack: &str, tried: u64, most_growth: u64, note: impl Into<String>) {
        let cost = self.meter.cost().unwrap();
        let grown = cost.growth / 1024;
        self.demand(grown <= most_growth, format!("memory: {grown} MiB more, not {most_growth} at most"));
        self.transfer("after-all.bin");
        let (attack, over) = (attack.to_owned(), self.scene.transport().to_string());
        judge(&Row { attack, over, tried, lost: self.lost, cost, note: note.into() });
    }
}

/// What ranges of chunks are sent for.
#[derive(Clone, Copy)]
pub(crate) enum Ranges {
    Holes,
    Want,
    Compare,
}

/// Somebody who holds the conversation by hand, and expects that it may end.
pub(crate) struct Peer {
    link: Box<dyn Link>,
}

impl Peer {
    fn connect(transport: Transport, server: SocketAddr) -> Self {
        let server = server.to_string();
        let mut link: Box<dyn Link> = match transport {
            Transport::Tcp => Box::new(TcpLink::connect(&server, &TcpOptions::default()).unwrap()),
            Transport::Udp => Box::new(UdpLink::connect(&server, &UdpOptions::default()).unwrap()),
        };
        link.send(&Message::Hello(Hello { features: 0, software: "peer 1" })).unwrap();
        Self { link }
    }

    /// Says something; when nobody listens any more, that is heard.
    pub(crate) fn say(&mut self, message: &Message<'_>) {
        let _ = self.link.send(message);
    }

    /// Listens until `find` makes something of a message, or the server has enough.
    pub(crate) fn hear<T>(
        &mut self,
        mut find: impl FnMut(&Message<'_>) -> Option<T>,
    ) -> Result<T, LinkError> {
        loop {
            if let Some(found) = find(&self.link.recv(LIMIT)?) {
                return Ok(found);
            }
        }
    }

    /// How the server ends the conversation.
    pub(crate) fn end(&mut self) -> LinkError {
        self.hear(|_| None::<()>).unwrap_err()
    }

    /// Offers files.
    pub(crate) fn offer<'a>(&mut self, files: impl Iterator<Item = (&'a [u8], u64)> + Clone) {
        let (entries, bytes) = (files.clone().count() as u32, files.clone().map(|(_, len)| len).sum());
        self.put(entries, bytes);
        self.entries(files);
        self.say(&Message::End(Part::Manifest));
    }

    /// Says that files will be offered.
    pub(crate) fn put(&mut self, entries: u32, bytes: u64) {
        self.say(&Message::Put(Offer { checksum: Checksum::Md5, plain: false, entries, bytes }));
    }

    /// Says what files they are.
    pub(crate) fn entries<'a>(&mut self, files: impl Iterator<Item = (&'a [u8], u64)>) {
        let mut page = PageBuilder::default();
        for (path, len) in files {
            page.push(&Entry { kind: EntryKind::File { len }, mode: 0o644, mtime: 1, mtime_nanos: 0, path });
            if page.is_full() {
                self.say(&Message::Entries(page.page()));
                page.clear();
            }
        }
        self.say(&Message::Entries(page.page()));
    }

    /// Sends ranges of chunks, page after page.
    pub(crate) fn ranges(&mut self, of: Ranges, ranges: impl Iterator<Item = Range<u64>>) {
        let mut page = PageBuilder::default();
        for range in ranges {
            page.push(&range);
            if page.is_full() {
                self.say_ranges(of, &page);
                page.clear();
            }
        }
        self.say_ranges(of, &page);
    }

    fn say_ranges(&mut self, of: Ranges, page: &PageBuilder) {
        self.say(&match of {
            Ranges::Holes => Message::Holes(page.page()),
            Ranges::Want => Message::Want(page.page()),
            Ranges::Compare => Message::Compare(page.page()),
        });
    }

    /// Says what so many files come to.
    pub(crate) fn digests(&mut self, files: Range<u32>, digest: Digest) {
        let mut page = PageBuilder::default();
        for index in files {
            page.push(&Sent { index, outcome: SentOutcome::Digest(digest) });
            if page.is_full() {
                self.say(&Message::Sent(page.page()));
                page.clear();
            }
        }
        self.say(&Message::Sent(page.page()));
    }

    /// Sends these chunks, full of one byte.
    pub(crate) fn send_chunks(&mut self, chunks: &ChunkSet) -> Result<(), LinkError> {
        self.link.send_chunks(chunks, &mut Filling)
    }

    /// Waits until the server says what it wants, after it was told the sums of chunks that it may have.
    pub(crate) fn wait_for_want(&mut self) -> Result<ChunkSet, LinkError> {
        let (mut wanted, mut compared) = (ChunkSet::new(), ChunkSet::new());
        loop {
            let end = self.hear(|message| match message {
                Message::Want(page) => {
                    wanted.extend(page.iter());
                    None
                }
                Message::Compare(page) => {
                    compared.extend(page.iter());
                    None
                }
                Message::End(part) => Some(*part),
                _ => None,
            })?;
            match end {
                Part::Want => return Ok(wanted),
                Part::Compare => self.tell_sums(&compared),
                _ => {}
            }
        }
    }

    fn tell_sums(&mut self, chunks: &ChunkSet) {
        let sum = crc32c(&FILLING).to_be_bytes();
        for range in chunks.ranges() {
            let sums = sum.repeat((range.end - range.start) as usize);
            self.say(&Message::Sums(Sums::new(range.start, &sums).unwrap()));
        }
        self.say(&Message::End(Part::Sums));
    }
}

/// What is in every chunk.
const FILLING: [u8; CHUNK_LEN] = [7; CHUNK_LEN];

/// Chunks that are all the same.
struct Filling;

impl Talk for Filling {
    fn outgoing(
        &mut self,
        _send: &mut dyn FnMut(&Message<'_>) -> Result<(), LinkError>,
    ) -> Result<(), LinkError> {
        Ok(())
    }

    fn incoming(&mut self, _message: Message<'_>) -> Result<ControlFlow<()>, LinkError> {
        Ok(ControlFlow::Continue(()))
    }
}

impl ChunkSource for Filling {
    fn chunk_len(&self, _chunk: u64) -> usize {
        CHUNK_LEN
    }

    fn read(&mut self, _first: u64, slots: &mut [std::io::IoSliceMut<'_>]) -> Filled {
        slots.iter_mut().for_each(|slot| slot.copy_from_slice(&FILLING));
        Filled::Slots(slots.len())
    }

    fn sent(&mut self, _run: ChunkRun) {}

    fn reread(&mut self, _chunk: u64, buffer: &mut [u8]) -> bool {
        buffer.copy_from_slice(&FILLING);
        true
    }
}
