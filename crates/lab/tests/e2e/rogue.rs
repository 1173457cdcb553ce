//! A client that holds the conversation by hand, and says what no client should.

use std::io::IoSliceMut;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use framing::{Checksum, ChunkSet, Entry, EntryKind, Get, Hello, Message, Name, Offer, PageBuilder, Part};
use lab::Transport;
use lab::process::LIMIT;
use link::{ChunkRun, ChunkSource, Filled, Link, LinkError, Talk, TcpLink, TcpOptions, UdpLink, UdpOptions};

/// Between two words of who has nothing to say.
const PAUSE: Duration = Duration::from_millis(20);

pub(crate) struct Rogue {
    link: Box<dyn Link>,
}

impl Rogue {
    /// Connects and greets.
    pub(crate) fn connect(transport: Transport, server: SocketAddr) -> Self {
        let mut rogue = Self::silent(transport, server);
        rogue.say(&Message::Hello(Hello { features: 0, software: "rogue 1" }));
        rogue
    }

    /// Connects and says nothing.
    pub(crate) fn silent(transport: Transport, server: SocketAddr) -> Self {
        let server = server.to_string();
        let link: Box<dyn Link> = match transport {
            Transport::Tcp => Box::new(TcpLink::connect(&server, &TcpOptions::default()).unwrap()),
            Transport::Udp => Box::new(UdpLink::connect(&server, &UdpOptions::default()).unwrap()),
        };
        Self { link }
    }

    /// Says something; when nobody listens any more, that is heard.
    pub(crate) fn say(&mut self, message: &Message<'_>) {
        let _ = self.link.send(message);
    }

    /// Listens until `find` makes something of a message.
    pub(crate) fn hear<T>(&mut self, mut find: impl FnMut(&Message<'_>) -> Option<T>) -> T {
        loop {
            if let Some(found) = find(&self.link.recv(LIMIT).unwrap()) {
                return found;
            }
        }
    }

    /// Has the server give a file, and does not say what of it is wanted: so it goes on.
    pub(crate) fn keep_busy(&mut self, name: &str) {
        let mut names = PageBuilder::default();
        names.push(&Name(name.as_bytes()));
        let get = Get { checksum: Checksum::Md5, follow: false, plain: false, names: names.page() };
        self.say(&Message::Get(get));
        self.hear(|message| matches!(message, Message::Offer(_)).then_some(()));
    }

    /// Sends a directory, and hears that it is there.
    pub(crate) fn put_directory(&mut self, path: &str) {
        self.offer_one(path, EntryKind::Directory);
        self.hear(|message| matches!(message, Message::End(Part::Want)).then_some(()));
        self.say(&Message::End(Part::Chunks));
        self.hear(|message| matches!(message, Message::End(Part::Transfer)).then_some(()));
    }

    /// Offers a file or directory.
    pub(crate) fn offer_one(&mut self, path: &str, kind: EntryKind) {
        let entry = Entry { kind, mode: 0o755, mtime: 1, mtime_nanos: 0, path: path.as_bytes() };
        let (checksum, bytes) = (Checksum::Md5, entry.len());
        self.say(&Message::Put(Offer { checksum, plain: false, entries: 1, bytes }));
        let mut page = PageBuilder::default();
        page.push(&entry);
        self.say(&Message::Entries(page.page()));
        self.say(&Message::End(Part::Manifest));
    }

    /// Says all the time that it works, until the end: how it ended.
    pub(crate) fn pester(&mut self) -> LinkError {
        let began = Instant::now();
        loop {
            self.say(&Message::Working);
            match self.link.recv(PAUSE) {
                Ok(_) => {}
                Err(LinkError::Silent(_)) => assert!(began.elapsed() < LIMIT, "it is still listened to"),
                Err(error) => return error,
            }
        }
    }

    /// Listens until the end: how it ended.
    pub(crate) fn end(&mut self) -> LinkError {
        loop {
            if let Err(error) = self.link.recv(LIMIT) {
                return error;
            }
        }
    }

    /// Sends chunks, whatever is in them; `hear` is told what is said meanwhile.
    pub(crate) fn send_chunks<'a>(
        &mut self,
        wanted: &ChunkSet,
        chunk: &'a dyn Fn(u64) -> &'a [u8],
        hear: &'a mut dyn FnMut(&Message<'_>),
    ) {
        self.link.send_chunks(wanted, &mut Chunks { chunk, hear }).unwrap();
    }
}

struct Chunks<'a> {
    chunk: &'a dyn Fn(u64) -> &'a [u8],
    hear: &'a mut dyn FnMut(&Message<'_>),
}

impl Talk for Chunks<'_> {
    fn outgoing(
        &mut self,
        _send: &mut dyn FnMut(&Message<'_>) -> Result<(), LinkError>,
    ) -> Result<(), LinkError> {
        Ok(())
    }

    fn incoming(&mut self, message: Message<'_>) -> Result<ControlFlow<()>, LinkError> {
        (self.hear)(&message);
        Ok(ControlFlow::Continue(()))
    }
}

impl ChunkSource for Chunks<'_> {
    fn chunk_len(&self, chunk: u64) -> usize {
        (self.chunk)(chunk).len()
    }

    fn read(&mut self, first: u64, slots: &mut [IoSliceMut<'_>]) -> Filled {
        slots.iter_mut().zip(first..).for_each(|(slot, chunk)| slot.copy_from_slice((self.chunk)(chunk)));
        Filled::Slots(slots.len())
    }

    fn sent(&mut self, _run: ChunkRun) {}

    fn reread(&mut self, chunk: u64, buffer: &mut [u8]) -> bool {
        buffer.copy_from_slice((self.chunk)(chunk));
        true
    }
}
