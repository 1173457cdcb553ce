//! A directory to send from and one to receive in, and the real programs of a transport between them.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command};

use lab::Transport;
use lab::process::{LIMIT, Output, Process, Server, program, start_client};
use serde_json::Value;
use tempfile::TempDir;

/// The user that owns nothing.
const NOBODY: u32 = 65534;

pub(crate) struct Scene {
    transport: Transport,
    dir: TempDir,
}

impl Scene {
    pub(crate) fn new(transport: Transport) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("from")).unwrap();
        fs::create_dir(dir.path().join("to")).unwrap();
        Self { transport, dir }
    }

    pub(crate) fn transport(&self) -> Transport {
        self.transport
    }

    pub(crate) fn root(&self) -> &Path {
        self.dir.path()
    }

    /// Where files come from, and where the clients run.
    pub(crate) fn from(&self, name: &str) -> PathBuf {
        self.dir.path().join("from").join(name)
    }

    /// Where files go to.
    pub(crate) fn to(&self, name: &str) -> PathBuf {
        self.dir.path().join("to").join(name)
    }

    /// Starts a server that receives in [`to`](Self::to).
    pub(crate) fn serve(&self, args: &[&str]) -> Server {
        Server::start(self.transport.server(), [&["--dir", "to"], args].concat(), self.dir.path()).unwrap()
    }

    /// Starts a client.
    pub(crate) fn start(&self, server: SocketAddr, args: &[&str]) -> Process {
        start_client(self.transport.client(), server, args, &self.from("")).unwrap()
    }

    /// Runs a client to its end.
    pub(crate) fn run(&self, server: &Server, args: &[&str]) -> Output {
        self.start(server.address(), args).wait(LIMIT).unwrap()
    }

    /// Runs a client that reads these lines.
    pub(crate) fn say(&self, server: &Server, lines: impl AsRef<[u8]>) -> Output {
        self.say_with(server, &[], lines)
    }

    /// Runs a client with these flags that reads these lines.
    pub(crate) fn say_with(&self, server: &Server, args: &[&str], lines: impl AsRef<[u8]>) -> Output {
        let (client, mut pipe) = self.start_talk(server.address(), args);
        // It may leave before it has read all.
        let _ = pipe.write_all(lines.as_ref());
        drop(pipe);
        client.wait(LIMIT).unwrap()
    }

    /// Starts a client that reads lines.
    pub(crate) fn start_talk(&self, server: SocketAddr, args: &[&str]) -> (Process, ChildStdin) {
        let mut command = Command::new(program(self.transport.client()).unwrap());
        command.args(["--server", &server.to_string()]).args(args).current_dir(self.from(""));
        Process::spawn_with_pipe(&mut command).unwrap()
    }

    /// Writes a file to send.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        fs::create_dir_all(self.from(name).parent().unwrap()).unwrap();
        fs::write(self.from(name), bytes).unwrap();
    }

    /// What is in the directory that clients run in, in order.
    pub(crate) fn sent_names(&self) -> Vec<String> {
        let names = fs::read_dir(self.from(""))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    /// What was received under final names, by its path.
    pub(crate) fn received(&self) -> BTreeMap<String, Vec<u8>> {
        let paths = files(&self.to(""));
        let paths = paths.iter().filter(|path| !is_part(path));
        paths
            .map(|path| {
                let name = path.strip_prefix(self.to("")).unwrap().to_str().unwrap().to_owned();
                (name, fs::read(path).unwrap())
            })
            .collect()
    }

    /// Files that are not complete.
    pub(crate) fn parts(&self) -> Vec<PathBuf> {
        files(&self.to("")).into_iter().filter(|path| is_part(path)).collect()
    }
}

fn is_part(path: &Path) -> bool {
    let name = path.file_name().unwrap().to_str().unwrap();
    name.starts_with('.') && name.ends_with(".part")
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else {
            files.push(path);
        }
    }
    files
}

/// Bytes that repeat nowhere, the same for the same seed.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = vec![0; len];
    for word in bytes.chunks_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        word.copy_from_slice(&state.to_le_bytes()[..word.len()]);
    }
    bytes
}

/// Numbers that nobody can foresee, the same for the same seed.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        let mut dice = Self(seed);
        dice.below(1);
        dice
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// The objects of a program that was told to print them.
pub(crate) fn objects(output: &str) -> Vec<Value> {
    output.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Bytes of files that crossed the link, by the account of a client that came to its end.
pub(crate) fn moved(client: &Output) -> u64 {
    let objects = objects(&client.stdout);
    let done = objects.iter().find(|object| object["event"] == "done").unwrap();
    done["moved"].as_u64().unwrap()
}

/// A command for somebody who may not do everything; `None`, and said so, when that can't be arranged.
pub(crate) fn stranger(name: &str) -> Option<Command> {
    let command = || {
        let mut command = Command::new(program(name).unwrap());
        if rustix::process::geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    };
    let works = command().arg("--version").output().is_ok_and(|output| output.status.success());
    if !works {
        eprintln!("SKIPPED: root is above all permissions, and {name} cannot be run as somebody else");
    }
    works.then(command)
}
