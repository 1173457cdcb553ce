//! Names that a person, or another file system, takes for the same.

use std::path::Path;
use std::process::Command;

use framing::{Checksum, Hasher};
use lab::Transport;
use lab::process::Server;

use super::siege::Siege;
use crate::scene::Scene;

over_each_transport!(names_that_look_the_same, names_that_are_the_same);

/// Names of which each is another one by its bytes, and the same as its neighbours to somebody.
const NAMES: [&str; 18] = [
    "A",
    "a",
    // The letter with its accent, and the letter and its accent.
    "caf\u{e9}",
    "cafe\u{301}",
    // A ligature, a sharp s, a dotless i, a long s and a Kelvin sign.
    "\u{fb01}le",
    "file",
    "stra\u{df}e",
    "strasse",
    "\u{131}",
    "i",
    "\u{17f}",
    "s",
    "\u{212a}",
    "k",
    // What some systems leave out or cut off.
    "x\u{200b}y",
    "xy",
    "dot.",
    "dot",
];

/// What a file of this name holds: its name, so that no two are the same.
fn content(name: &str) -> Vec<u8> {
    name.as_bytes().repeat(2000)
}

fn names_that_look_the_same(transport: Transport) {
    let mut siege = Siege::new(transport, &["--if-exists", "overwrite"]);
    for name in NAMES {
        siege.scene.write(&format!("names/{name}"), &content(name));
        siege.scene.write(name, &content(name));
    }
    // In one transfer, one after the other, and with a space behind.
    let args: Vec<&str> = NAMES.into_iter().collect();
    for args in std::iter::once(vec!["names"]).chain(args.iter().map(|name| vec!["--", *name])) {
        let client = siege.scene.run(siege.server(), &args);
        siege.demand(client.code() == Some(0), format!("{args:?}: {}", client.stderr));
    }
    for name in NAMES {
        for path in [format!("received-names/{name}"), format!("received-{name}")] {
            let there = std::fs::read(siege.scene.to(&path));
            siege.demand(there.is_ok_and(|there| there == content(name)), format!("{path} is another file"));
        }
    }
    siege.judge("names that differ by case or form", 2 * NAMES.len() as u64, 64, "");
}

/// The same where the file system takes them for the same: none may be lost for another.
fn names_that_are_the_same(transport: Transport) {
    let scene = Scene::new(transport);
    let dir = scene.to("");
    let Some(_mount) = Folding::mount(&dir) else {
        eprintln!("SKIPPED: no file system here takes A and a for the same, or it may not be mounted");
        return;
    };
    for if_exists in ["rename", "overwrite"] {
        let server = scene.serve(&["--if-exists", if_exists, "--prefix", if_exists]);
        check_folding(&scene, &server, if_exists);
    }
}

fn check_folding(scene: &Scene, server: &Server, prefix: &str) {
    for name in ["A", "a", "Dir/X", "dir/x"] {
        scene.write(&format!("folded/{name}"), &content(name));
    }
    let client = scene.run(server, &["folded"]);
    assert_eq!(client.code(), Some(0), "{}", client.stderr);
    let there: Vec<_> =
        scene.received().into_values().map(|bytes| Hasher::digest(Checksum::Md5, &bytes)).collect();
    for name in ["A", "a", "Dir/X", "dir/x"] {
        let digest = Hasher::digest(Checksum::Md5, &content(name));
        assert!(there.contains(&digest), "{prefix}: {name} is lost");
    }
}

/// A directory that knows no case. It is unmounted when this is dropped.
struct Folding<'a>(&'a Path);

impl<'a> Folding<'a> {
    fn mount(dir: &'a Path) -> Option<Self> {
        let run = |program: &str, args: &[&str]| {
            Command::new(program).args(args).output().is_ok_and(|output| output.status.success())
        };
        let path = dir.to_str().unwrap();
        if !run("mount", &["-t", "tmpfs", "-o", "casefold", "tmpfs", path]) {
            return None;
        }
        let mounted = Self(dir);
        run("chattr", &["+F", path]).then_some(mounted)
    }
}

impl Drop for Folding<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0).output();
    }
}
