//! Directories and files are swapped for links that lead out, as fast as that can be done, during a thousand transfers.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use framing::{Checksum, Digest, Hasher};
use lab::Transport;
use lab::attack::{Meter, Row};
use link::{Closer, Link, TcpLink, TcpOptions, UdpLink, UdpOptions};
use session::{
    Caller, Conversation, Event, GetJob, IfExists, Limits, Observer, Outcome, PutJob, Sources, Store,
    StoreOptions,
};

use super::canary::{CANARY, Outside};
use super::racer::Racer;
use crate::scene::{Scene, noise};
use crate::table::judge;

/// Clients at a time.
const CLIENTS: u64 = 4;
/// The directories of a client's tree that are there from the start.
const DIRECTORIES: [&str; 4] = ["", "a", "a/b", "a/b/c"];

over_each_transport!(race);

fn race(transport: Transport) {
    // What a path leads to is the same whatever it came over.
    let transfers = if transport == Transport::Tcp { 1000 } else { 200 };
    let scene = Scene::new(transport);
    let overwriting = scene.serve(&["--if-exists", "overwrite"]);
    let renaming = scene.serve(&["--if-exists", "rename"]);
    let (outside, linked) = (scene.root().join("outside"), scene.root().join("linked"));
    let files =
        ["canary", "a/canary", "a/b/canary", "a/b/c/canary", "same", "a/same", "a/b/same", "a/b/c/same"];
    let outside = Outside::new(&outside, files);
    fs::write(&linked, CANARY).unwrap();
    let mut victims = Vec::new();
    for client in 0..CLIENTS {
        for directory in DIRECTORIES {
            let victim = scene.to(&format!("received-t{client}")).join(directory);
            fs::create_dir(&victim).unwrap();
            victims.push(victim.components().collect());
        }
    }
    let racer = Racer::start(&victims, &scene.to("traps"), outside.dir(), &linked);
    let notes = Notes::default();
    let meter = Meter::start(renaming.process().id()).unwrap();
    std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            let server = if number % 2 == 0 { &overwriting } else { &renaming }.address();
            let client = Client {
                scene: &scene,
                transport,
                server,
                number,
                notes: &notes,
                rounds: transfers / CLIENTS,
            };
            scope.spawn(move || client.run());
        }
    });
    let swaps = racer.finish();
    let cost = meter.cost().unwrap();
    for server in [overwriting, renaming] {
        assert_eq!(server.stop().unwrap().code(), Some(0));
    }
    let mut lost: Vec<String> =
        outside.touched().into_iter().map(|touched| format!("outside: {touched}")).collect();
    let mut demand = |is_so: bool, what: &str| lost.extend((!is_so).then(|| what.to_owned()));
    demand(outside.is_unchanged(), "something outside is not what it was");
    demand(fs::read(&linked).unwrap() == CANARY, "a file was changed by its second name");
    let verified = notes.verified.into_inner().unwrap();
    let refused = notes.refused.into_inner();
    // Both must have happened, or there was no race.
    demand(refused >= 20 && verified.len() >= 20, "nothing was hit, or nothing got through");
    lost.append(&mut check_verified(&scene, &verified));
    let note = format!("{swaps} swaps, {refused} times refused, {} files verified", verified.len());
    let (attack, over) = ("directories swapped for links".to_owned(), transport.to_string());
    judge(&Row { attack, over, tried: notes.transfers.into_inner(), lost, cost, note });
}

/// Which files that were called verified are not there under their names. The directory that one is in may be another, which
/// was in the place of its own then.
fn check_verified(scene: &Scene, verified: &BTreeMap<PathBuf, Digest>) -> Vec<String> {
    let known =
        |path: &Path, digest: Digest| (path.file_name().unwrap().to_owned(), digest.as_bytes().to_vec());
    let there: BTreeSet<_> = files(&scene.to(""))
        .iter()
        .map(|path| known(path, Hasher::digest(Checksum::Md5, &fs::read(path).unwrap())))
        .collect();
    let gone = verified.iter().filter(|(path, digest)| !there.contains(&known(path, **digest)));
    gone.map(|(path, _)| format!("{} was verified and is not there", path.display())).collect()
}

/// The files below a directory; links lead nowhere.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            files.extend(self::files(&entry.path()));
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
    files
}

/// What the clients were told.
#[derive(Default)]
struct Notes {
    transfers: AtomicU64,
    /// The last word on each path.
    verified: Mutex<BTreeMap<PathBuf, Digest>>,
    refused: AtomicU64,
}

impl Notes {
    fn refuse(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }
}

/// One connection's ear: it may cut it in the middle of a file.
struct Ear<'a> {
    notes: &'a Notes,
    cut: Option<Closer>,
}

impl Observer for Ear<'_> {
    fn event(&self, event: &Event<'_>) {
        match event {
            Event::File(report) => match report.outcome {
                Outcome::Verified(digest) | Outcome::AlreadyThere(digest) => {
                    self.notes.verified.lock().unwrap().insert(report.name.into(), digest);
                }
                Outcome::Refused(_) | Outcome::Failed(_) | Outcome::Unreadable(_) => {
                    self.notes.refuse();
                    // Something that was swapped for its partial file may have got the name.
                    let mut name = OsString::from("received-");
                    name.push(report.path);
                    self.notes.verified.lock().unwrap().remove(Path::new(&name));
                }
                _ => {}
            },
            Event::Moved { .. } => {
                if let Some(closer) = &self.cut {
                    closer.close();
                }
            }
            _ => {}
        }
    }
}

struct Client<'a> {
    scene: &'a Scene,
    transport: Transport,
    server: SocketAddr,
    number: u64,
    notes: &'a Notes,
    rounds: u64,
}

impl Client<'_> {
    fn run(&self) {
        let mut talk = None;
        for round in 0..self.rounds {
            let tree = self.scene.from(&format!("{}-{round}/t{}", self.number, self.number));
            self.plant(&tree, round);
            let sources = || Sources::local(std::slice::from_ref(&tree), false, &self.deaf()).unwrap();
            let mut job = PutJob::new(sources(), Checksum::Md5);
            if round % 10 == 7 {
                self.break_off(&mut job);
            }
            talk = self.put(talk, &mut job);
            self.notes.transfers.fetch_add(1, Ordering::Relaxed);
            if round % 10 == 9 {
                talk = self.look_around(talk, round);
            }
            fs::remove_dir_all(tree.parent().unwrap()).unwrap();
        }
        talk.map(Conversation::finish);
    }

    fn deaf(&self) -> Ear<'_> {
        Ear { notes: self.notes, cut: None }
    }

    /// Makes what is sent in this round.
    fn plant(&self, tree: &Path, round: u64) {
        // Files of two clients may meet in a directory that was in the place of both of theirs.
        let seed = self.number * 1000 + round;
        let write = |path: &str, len: usize, salt: u64| {
            let path = tree.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, noise(seed * 100 + salt, len)).unwrap();
        };
        match round % 5 {
            // One at the bottom.
            0 => write(&format!("a/b/c/file-{seed}"), 9000, 0),
            // Many, so that the whole file system is flushed at once; and new directories.
            1 => {
                for (number, directory) in (0..12).zip(["a", "a/b", "a/b/c", "new"].iter().cycle()) {
                    write(&format!("{directory}/many-{seed}-{number}"), 3000, number);
                }
                fs::create_dir_all(tree.join(format!("a/d-{seed}/e"))).unwrap();
            }
            // A longer one, which is broken off now and then.
            2 => write(&format!("a/long-{seed}"), 400_000, 1),
            // Of the same names every time, and of those outside: what is there is looked into.
            3 => {
                for directory in ["", "a/", "a/b/", "a/b/c/"] {
                    fs::create_dir_all(tree.join(directory)).unwrap();
                    fs::write(tree.join(format!("{directory}same")), CANARY).unwrap();
                }
                write(&format!("a/b/other-{}", self.number), 5000, 2);
            }
            // Nothing much.
            _ => {
                write(&format!("a/b/empty-{seed}"), 0, 0);
                write(&format!("top-{seed}"), 100, 0);
            }
        }
    }

    fn connect(&self) -> Box<dyn Link> {
        let server = self.server.to_string();
        match self.transport {
            Transport::Tcp => Box::new(TcpLink::connect(&server, &TcpOptions::default()).unwrap()),
            Transport::Udp => Box::new(UdpLink::connect(&server, &UdpOptions::default()).unwrap()),
        }
    }

    fn begin(&self, talk: Option<Conversation>) -> Conversation {
        let caller = Caller { software: "racer 1", observer: &self.deaf() };
        talk.unwrap_or_else(|| Conversation::begin(self.connect(), caller).unwrap())
    }

    /// Begins a transfer on a connection of its own that is lost at its first chunks.
    fn break_off(&self, job: &mut PutJob) {
        let link = self.connect();
        let ear = Ear { notes: self.notes, cut: Some(link.closer().unwrap()) };
        let caller = Caller { software: "racer 1", observer: &ear };
        let _ = Conversation::begin(link, caller).unwrap().put(job, caller);
    }

    fn put(&self, talk: Option<Conversation>, job: &mut PutJob) -> Option<Conversation> {
        let mut talk = self.begin(talk);
        if talk.put(job, Caller { software: "racer 1", observer: &self.deaf() }).is_err() {
            self.notes.refuse();
        }
        talk.is_open().then_some(talk)
    }

    /// Fetches all that there is of this client, and has everything listed: nothing of it may come from outside.
    fn look_around(&self, talk: Option<Conversation>, round: u64) -> Option<Conversation> {
        let back = self.scene.root().join(format!("back-{}-{round}", self.number));
        fs::create_dir(&back).unwrap();
        let options = StoreOptions {
            dir: back.clone(),
            prefix: "".into(),
            if_exists: IfExists::Fail,
            limits: Limits::default(),
        };
        let store = Store::open(options).unwrap();
        let name = format!("received-t{}", self.number);
        let mut job = GetJob::new(vec![name.clone().into()], Checksum::Md5, round % 20 == 9);
        let ear = Ear { notes: &Notes::default(), cut: None };
        let caller = Caller { software: "racer 1", observer: &ear };
        let mut talk = self.begin(talk);
        if talk.get(&mut job, &store, caller).is_err() {
            self.notes.refuse();
        }
        for directory in DIRECTORIES {
            let path = Path::new(&name).join(directory);
            if !talk.is_open() {
                break;
            }
            match talk.list(path.to_str().unwrap().trim_end_matches('/').as_bytes(), caller) {
                Ok(listed) => assert!(listed.iter().all(|listed| listed.name != "canary")),
                Err(_) => self.notes.refuse(),
            }
        }
        for file in files(&back) {
            assert_ne!(file.file_name().unwrap(), "canary", "something came from outside");
        }
        fs::remove_dir_all(back).unwrap();
        talk.is_open().then_some(talk)
    }
}
