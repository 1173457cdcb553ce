//! A directory to send from and one to receive in, and the real programs between them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use lab::process::{Output, Server, run_client};
use serde_json::Value;
use tempfile::TempDir;

pub(crate) struct Scene {
    dir: TempDir,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("from")).unwrap();
        fs::create_dir(dir.path().join("to")).unwrap();
        Self { dir }
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
        Server::start("tcp-server", [&["--dir", "to"], args].concat(), self.dir.path()).unwrap()
    }

    /// Runs a client to its end.
    pub(crate) fn run(&self, server: &Server, args: &[&str]) -> Output {
        run_client("tcp-client", server.address(), args, &self.from("")).unwrap()
    }

    /// Writes a file to send.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        fs::create_dir_all(self.from(name).parent().unwrap()).unwrap();
        fs::write(self.from(name), bytes).unwrap();
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
