//! A real server with a directory of its own, which is attacked and then asked whether it is well.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use seal::Key;
use tempfile::TempDir;

use super::{MOST_MEMORY, Meter, Row};
use crate::Transport;
use crate::process::{LIMIT, Output, Process, Server, run, start_client};

/// What names of received files begin with.
const PREFIX: &str = "received-";

/// Whether who comes needs a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// The server has a key.
    Key,
    /// Everybody is let in.
    Open,
}

/// A server under attack. Its directory is removed in the end.
#[derive(Debug)]
pub struct Target {
    transport: Transport,
    key: Option<Key>,
    server: Server,
    meter: Meter,
    /// What its directory must hold in the end, by name.
    expected: BTreeMap<String, Vec<u8>>,
    /// What has gone wrong so far.
    lost: Vec<String>,
    /// How much more memory it may take, in KiB.
    most_growth: u64,
    dir: TempDir,
}

impl Target {
    /// Starts a server with these flags, lets it do its work once, and begins to measure.
    pub fn new(transport: Transport, guard: Guard, flags: &[&str]) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir().context("no directory")?;
        for name in ["from", "to"] {
            fs::create_dir(dir.path().join(name))?;
        }
        let mut args = vec!["--dir=to"];
        args.extend_from_slice(flags);
        let mut key = None;
        if guard == Guard::Key {
            let made = run(transport.server(), ["keygen", "key"], dir.path(), LIMIT)?;
            ensure!(made.code() == Some(0), "no key: {}", made.stderr);
            let text = fs::read_to_string(dir.path().join("key"))?;
            key = Some(Key::parse(text.lines().last().unwrap_or_default())?);
            args.push("--key-file=key");
        }
        let server = Server::start(transport.server(), args, dir.path())?;
        let meter = Meter::start(server.process().id())?;
        let (expected, lost) = (BTreeMap::new(), Vec::new());
        let mut target =
            Self { transport, key, server, meter, expected, lost, most_growth: MOST_MEMORY, dir };
        target.put("before.bin", &noise(1, 300_000))?;
        target.meter = Meter::start(target.id())?;
        Ok(target)
    }

    /// The same, but it may grow by so many KiB at most.
    #[must_use]
    pub const fn with_most_growth(mut self, kib: u64) -> Self {
        self.most_growth = kib;
        self
    }

    /// What it is attacked over.
    #[must_use]
    pub const fn transport(&self) -> Transport {
        self.transport
    }

    /// Where the server listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// The server's process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.server.process().id()
    }

    /// The key, where there is one. It is not for who plays a stranger.
    #[must_use]
    pub const fn key(&self) -> Option<&Key> {
        self.key.as_ref()
    }

    /// A path in the directory that clients run in.
    #[must_use]
    pub fn from(&self, name: &str) -> PathBuf {
        self.dir.path().join("from").join(name)
    }

    /// A path in the directory of the server.
    #[must_use]
    pub fn to(&self, name: &str) -> PathBuf {
        self.dir.path().join("to").join(name)
    }

    /// Says that something was lost.
    pub fn lose(&mut self, what: impl Into<String>) {
        self.lost.push(what.into());
    }

    /// Says that something was lost unless `is_so`.
    pub fn demand(&mut self, is_so: bool, what: impl Into<String>) {
        if !is_so {
            self.lose(what);
        }
    }

    /// Starts a client of whom the server takes things, by way of `address`.
    pub fn start(&self, address: SocketAddr, args: &[&str]) -> anyhow::Result<Process> {
        let key = self.dir.path().join("key");
        let key = self.key.as_ref().map(|_| format!("--key-file={}", key.display()));
        let args = key.as_deref().into_iter().chain(args.iter().copied());
        Ok(start_client(self.transport.client(), address, args, &self.from(""))?)
    }

    /// Starts to send a file by way of `address`. The server must have it, whole, in the end.
    pub fn start_put(
        &mut self,
        address: SocketAddr,
        flags: &[&str],
        name: &str,
        bytes: &[u8],
    ) -> anyhow::Result<Process> {
        fs::write(self.from(name), bytes)?;
        self.expected.insert(format!("{PREFIX}{name}"), bytes.to_vec());
        self.start(address, &[flags, &[name]].concat())
    }

    /// Sends a file, and judges what the client says of it.
    pub fn put(&mut self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let client = self.start_put(self.address(), &[], name, bytes)?;
        self.finish(client)
    }

    /// Waits for a client that is to succeed.
    pub fn finish(&mut self, client: Process) -> anyhow::Result<()> {
        match client.wait(LIMIT) {
            Ok(Output { status, stderr, .. }) if !status.success() => {
                self.lose(format!("a client failed: {}", stderr.trim_end()));
            }
            Ok(_) => {}
            Err(error) => self.lose(format!("a client: {error}")),
        }
        Ok(())
    }

    /// Ends the attack: looks at the directory, sends a file and fetches it back. What was done, how often, and what else is
    /// worth knowing.
    pub fn judge(mut self, attack: &str, tried: u64, note: impl Into<String>) -> anyhow::Result<Row> {
        // A server that has ended has no cost any more, and that is what is lost then.
        let cost = self.meter.cost().unwrap_or_else(|error| {
            self.lost.push(format!("the server: {error}"));
            super::Cost::default()
        });
        self.demand(cost.peak <= MOST_MEMORY, format!("memory: {} KiB, more than {MOST_MEMORY}", cost.peak));
        let most = self.most_growth;
        self.demand(cost.growth <= most, format!("memory: {} KiB more, not {most} at most", cost.growth));
        let sound = noise(2, 300_000);
        self.put("after.bin", &sound)?;
        let back = self.start(self.address(), &["get", "received-after.bin", "--prefix=back-"])?;
        self.finish(back)?;
        let same = fs::read(self.from("back-received-after.bin")).is_ok_and(|back| back == sound);
        self.demand(same, "what the server gives is not what it got");
        self.compare()?;
        let Self { transport, lost, .. } = self;
        let (attack, over, note) = (attack.to_owned(), transport.to_string(), note.into());
        Ok(Row { attack, over, tried, lost, cost, note })
    }

    /// Whether the directory holds what it is to hold, and nothing else.
    fn compare(&mut self) -> anyhow::Result<()> {
        let mut found = BTreeMap::new();
        read_all(&self.to(""), &self.to(""), &mut found)?;
        let names = |map: &BTreeMap<String, Vec<u8>>| map.keys().cloned().collect::<Vec<_>>().join(" ");
        if found.keys().ne(self.expected.keys()) {
            self.lost.push(format!("there is {}, not {}", names(&found), names(&self.expected)));
        }
        for (name, bytes) in &self.expected {
            if found.get(name).is_some_and(|found| found != bytes) {
                self.lost.push(format!("{name} has another content"));
            }
        }
        Ok(())
    }
}

/// Reads what is below a directory, by the path from `root`.
fn read_all(root: &Path, dir: &Path, found: &mut BTreeMap<String, Vec<u8>>) -> anyhow::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            read_all(root, &path, found)?;
        } else {
            let name = path.strip_prefix(root)?.to_string_lossy().into_owned();
            found.insert(name, fs::read(&path)?);
        }
    }
    Ok(())
}

/// Bytes that repeat nowhere, the same for the same seed.
#[must_use]
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut dice = Dice::new(seed);
    let mut bytes = vec![0; len];
    bytes.chunks_mut(8).for_each(|word| {
        let drawn = dice.next().to_le_bytes();
        word.copy_from_slice(&drawn[..word.len()]);
    });
    bytes
}

/// Numbers that look like chance, the same for the same seed (SplitMix64).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// New ones.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not 0.
    pub const fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}
