//! Two sides of a conversation over a real loopback connection of either kind, or a loose link, each in a directory of its own.

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::loose::{Loose, Manners};
use framing::Checksum;
use link::{Link, Listener, TcpEndpoint, TcpLink, TcpOptions, UdpEndpoint, UdpLink, UdpOptions};
use session::{
    Caller, Conversation, Event, GetJob, IfExists, Limits, Observer, PutJob, Service, SessionError, Sources,
    Store, StoreOptions, StreamLimits, Summary,
};

/// Remembers what happened, as text.
#[derive(Default, Debug)]
pub(crate) struct Diary(Mutex<Vec<String>>);

impl Observer for Diary {
    fn event(&self, event: &Event<'_>) {
        self.0.lock().unwrap().push(format!("{event:?}"));
    }
}

impl Diary {
    pub(crate) fn count(&self, what: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|line| line.contains(what)).count()
    }

    pub(crate) fn has(&self, what: &str) -> bool {
        self.0.lock().unwrap().iter().any(|line| line.contains(what))
    }
}

pub(crate) struct Pair {
    dir: tempfile::TempDir,
    pub(crate) if_exists: IfExists,
    pub(crate) limits: Limits,
    pub(crate) prefix: &'static str,
    pub(crate) checksum: Checksum,
    pub(crate) diary: Arc<Diary>,
    /// How the link behaves; TCP's unless told.
    pub(crate) manners: Option<Manners>,
    pub(crate) over_udp: bool,
    pub(crate) plain: bool,
}

impl Pair {
    /// Two sides that talk over a link that keeps no order.
    pub(crate) fn loose(manners: Manners) -> Self {
        Self { manners: Some(manners), ..Self::new() }
    }

    /// Two sides that talk over UDP.
    pub(crate) fn udp() -> Self {
        Self { over_udp: true, ..Self::new() }
    }

    /// Two sides that talk over TCP.
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("from")).unwrap();
        std::fs::create_dir(dir.path().join("to")).unwrap();
        Self {
            dir,
            if_exists: IfExists::Rename,
            limits: Limits::default(),
            prefix: "",
            checksum: Checksum::Md5,
            diary: Arc::default(),
            manners: None,
            over_udp: false,
            plain: false,
        }
    }

    /// Where files come from.
    pub(crate) fn from(&self, name: &str) -> PathBuf {
        self.dir.path().join("from").join(name)
    }

    /// Where files go to.
    pub(crate) fn to(&self, name: &str) -> PathBuf {
        self.dir.path().join("to").join(name)
    }

    pub(crate) fn store(&self, dir: &str) -> Store {
        Store::open(StoreOptions {
            dir: self.dir.path().join(dir),
            prefix: self.prefix.into(),
            if_exists: self.if_exists,
            limits: self.limits,
        })
        .unwrap()
    }

    /// Runs both sides: the client's result and the server's.
    pub(crate) fn talk<C, S>(
        &self,
        client: impl FnOnce(Box<dyn Link>) -> C,
        server: impl FnOnce(&mut dyn Link) -> S + Send,
    ) -> (C, S)
    where
        S: Send,
    {
        if let Some(manners) = &self.manners {
            let (near, mut far) = Loose::pair(manners);
            return std::thread::scope(|scope| {
                let server = scope.spawn(move || server(&mut far));
                let client = client(Box::new(near));
                (client, server.join().unwrap())
            });
        }
        let near = "127.0.0.1:0".parse().unwrap();
        let mut endpoint: Box<dyn Listener> = if self.over_udp {
            Box::new(UdpEndpoint::bind(near, &UdpOptions::default()).unwrap())
        } else {
            Box::new(TcpEndpoint::bind(near, &TcpOptions::default()).unwrap())
        };
        let address = endpoint.local_addr().to_string();
        std::thread::scope(|scope| {
            let server = scope.spawn(move || {
                let (wake, _keep) = UnixStream::pair().unwrap();
                let mut link = endpoint.accept(wake.as_fd()).unwrap().unwrap();
                server(link.as_mut())
            });
            let link: Box<dyn Link> = if self.over_udp {
                Box::new(UdpLink::connect(&address, &UdpOptions::default()).unwrap())
            } else {
                Box::new(TcpLink::connect(&address, &TcpOptions::default()).unwrap())
            };
            let client = client(link);
            (client, server.join().unwrap())
        })
    }

    pub(crate) fn service(&self, dir: &str) -> Service {
        Service {
            store: self.store(dir),
            software: "test-server".into(),
            takes: true,
            gives: true,
            max_generate: 123_456_789,
            streams: StreamLimits::default(),
            patience: session::Patience::default(),
        }
    }

    pub(crate) fn put(&self, names: &[&str]) -> Result<Summary, SessionError> {
        let paths: Vec<PathBuf> = names.iter().map(|name| self.from(name)).collect();
        self.put_sources(Sources::local(&paths, false, &*self.diary)?)
    }

    pub(crate) fn put_sources(&self, sources: Sources) -> Result<Summary, SessionError> {
        self.put_to(&self.service("to"), sources)
    }

    /// Sends files to this server.
    pub(crate) fn put_to(&self, service: &Service, sources: Sources) -> Result<Summary, SessionError> {
        let job = PutJob::new(sources, self.checksum);
        let mut job = if self.plain { job.plain() } else { job };
        let caller = Caller { software: "test-client", observer: &*self.diary };
        let (put, served) = self.talk(
            |link| put(link, &mut job, caller),
            |link| session::serve(link, service, &Diary::default()),
        );
        if let Err(error) = &served {
            eprintln!("the server's side ended with: {error}");
        }
        if let (Ok(put), Ok(served)) = (&put, &served) {
            let served = served.as_ref().unwrap();
            assert_eq!((put.verified, put.already_there), (served.verified, served.already_there));
        }
        put
    }

    pub(crate) fn get(&self, names: &[&str]) -> Result<Summary, SessionError> {
        let names = names.iter().map(OsString::from).collect();
        let job = GetJob::new(names, self.checksum, false);
        let mut job = if self.plain { job.plain() } else { job };
        let caller = Caller { software: "test-client", observer: &*self.diary };
        let (store, service) = (self.store("to"), self.service("from"));
        let (got, _) = self.talk(
            |link| get(link, &mut job, &store, caller),
            |link| session::serve(link, &service, &Diary::default()),
        );
        got
    }

    pub(crate) fn assert_same(&self, from: &str, to: &str) {
        let (sent, received) = (std::fs::read(self.from(from)).unwrap(), std::fs::read(self.to(to)).unwrap());
        assert!(sent == received, "{from} and {to} differ");
        let (sent, received) = (self.from(from).metadata().unwrap(), self.to(to).metadata().unwrap());
        assert_eq!(sent.modified().unwrap(), received.modified().unwrap(), "times differ");
        assert_eq!(sent.permissions(), received.permissions());
    }

    /// Names of all partial files below the receiving directory.
    pub(crate) fn parts(&self) -> Vec<PathBuf> {
        let mut parts = Vec::new();
        let mut dirs = vec![self.to("")];
        while let Some(dir) = dirs.pop() {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    dirs.push(path);
                } else if session::store::is_part_name(path.file_name().unwrap()) {
                    parts.push(path);
                }
            }
        }
        parts
    }
}

/// A conversation of one transfer.
pub(crate) fn put(
    link: Box<dyn Link>,
    job: &mut PutJob,
    caller: Caller<'_>,
) -> Result<Summary, SessionError> {
    let mut conversation = Conversation::begin(link, caller)?;
    let summary = conversation.put(job, caller)?;
    conversation.finish();
    Ok(summary)
}

/// The same the other way.
pub(crate) fn get(
    link: Box<dyn Link>,
    job: &mut GetJob,
    store: &Store,
    caller: Caller<'_>,
) -> Result<Summary, SessionError> {
    let mut conversation = Conversation::begin(link, caller)?;
    let summary = conversation.get(job, store, caller)?;
    conversation.finish();
    Ok(summary)
}

/// Bytes that repeat nowhere, the same for the same seed.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

pub(crate) fn write(path: impl AsRef<Path>, bytes: &[u8]) {
    std::fs::create_dir_all(path.as_ref().parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}
