//! A store that hides what it has from who sends to it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use framing::{CHUNK_LEN, Entry, EntryKind, Message, Part, Sums, crc32c};
use session::IfExists;
use session::store::{Claim, PartFile, PartId};

use crate::hostile::attack;
use crate::loose::Manners;
use crate::pair::{Pair, noise, write};
use crate::transfer::interrupt;

fn pairs() -> [Pair; 3] {
    [Pair::new(), Pair::udp(), Pair::loose(Manners::new(5))].map(|mut pair| {
        pair.if_exists = IfExists::Hide;
        pair
    })
}

#[test]
fn the_same_content_and_the_same_name_are_kept_again_and_nobody_is_told() {
    for pair in pairs() {
        write(pair.from("x"), &noise(1, 10_000));
        write(pair.from("e"), b"");
        for number in 0..3 {
            let summary = pair.put(&["x", "e"]).unwrap();
            assert_eq!((summary.verified, summary.already_there, summary.moved), (2, 0, 10_000));
            let name = if number == 0 { "x".to_owned() } else { format!("x-{number}") };
            pair.assert_same("x", &name);
        }
        write(pair.from("x"), &noise(2, 5));
        assert_eq!(pair.put(&["x"]).unwrap().verified, 1);
        assert_eq!(fs::read(pair.to("x-3")).unwrap(), noise(2, 5));
        // What the client was told.
        assert!(pair.diary.has(r#"name: "x""#) && !pair.diary.has("x-1") && !pair.diary.has("e-2"));
    }
}

#[test]
fn files_and_directories_of_the_same_name_are_not_in_each_others_way() {
    for pair in pairs() {
        write(pair.from("a/b"), b"file b in a");
        assert_eq!(pair.put(&["a"]).unwrap().verified, 1);
        // Now b is a directory in a.
        fs::remove_file(pair.from("a/b")).unwrap();
        write(pair.from("a/b/c"), b"file c in b in a");
        fs::create_dir(pair.from("a/b/empty")).unwrap();
        let summary = pair.put(&["a"]).unwrap();
        assert_eq!((summary.verified, summary.directories, summary.refused), (1, 3, 0));
        assert_eq!(fs::read(pair.to("a/b-1/c")).unwrap(), b"file c in b in a");
        assert!(pair.to("a/b-1/empty").is_dir());
        // And a is a file.
        fs::remove_dir_all(pair.from("a")).unwrap();
        write(pair.from("a"), b"file a");
        assert_eq!(pair.put(&["a"]).unwrap().verified, 1);
        assert_eq!(fs::read(pair.to("a-1")).unwrap(), b"file a");
        assert!(!pair.diary.has("-1"), "what the client was told");
    }
}

#[test]
fn a_directory_of_somebody_else_stays_as_it_is() {
    for pair in pairs() {
        write(pair.from("t/x"), b"x");
        assert_eq!(pair.put(&["t"]).unwrap().directories, 1);
        let before = pair.to("t").metadata().unwrap();
        fs::set_permissions(pair.from("t"), fs::Permissions::from_mode(0o500)).unwrap();
        assert_eq!(pair.put(&["t"]).unwrap().directories, 1);
        assert_eq!(pair.to("t").metadata().unwrap().mode(), before.mode());
        fs::set_permissions(pair.from("t"), fs::Permissions::from_mode(0o700)).unwrap();
    }
}

#[test]
fn what_was_cut_off_goes_on() {
    for pair in pairs() {
        write(pair.from("x"), &noise(9, 1000 * CHUNK_LEN));
        let part = interrupt(&pair, "x");
        let file = fs::File::options().write(true).open(part).unwrap();
        file.set_len(600 * CHUNK_LEN as u64).unwrap();
        file.set_len(1000 * CHUNK_LEN as u64).unwrap();
        let summary = pair.put(&["x"]).unwrap();
        assert_eq!((summary.verified, summary.moved), (1, 400 * CHUNK_LEN as u64));
        pair.assert_same("x", "x");
        assert!(pair.parts().is_empty());
    }
}

const CHUNKS: u64 = 8;

/// What a client hears that knows all of a partial file but its content, and of that so many chunks.
fn heard_knowing(if_exists: IfExists, known: usize) -> String {
    let mut pair = Pair::new();
    pair.if_exists = if_exists;
    let content = noise(4, CHUNKS as usize * CHUNK_LEN);
    let len = content.len() as u64;
    let entry =
        Entry { kind: EntryKind::File { len }, mode: 0o644, mtime: 0, mtime_nanos: 0, path: b"secret" };
    let dir = Arc::new(Dir::open_ambient_dir(pair.to(""), ambient_authority()).unwrap());
    let part =
        PartFile::open(&dir, OsStr::new("secret"), PartId::of(&entry), len, &Claim::default()).unwrap();
    part.write(0, &mut [std::io::IoSlice::new(&content)]).unwrap();
    drop(part);
    let sums: Vec<u8> = content
        .chunks(CHUNK_LEN)
        .enumerate()
        .flat_map(|(at, chunk)| (crc32c(chunk) ^ u32::from(at >= known)).to_be_bytes())
        .collect();
    let (heard, _) = attack(&pair, |rogue| {
        rogue.put(&[(b"secret", len)]);
        rogue.say(&Message::Sums(Sums::new(0, &sums).unwrap()));
        rogue.say(&Message::End(Part::Sums));
    });
    assert!(heard.contains("End(Want)"), "{heard}");
    assert!(Path::new(&pair.parts()[0]).exists());
    heard
}

#[test]
fn who_does_not_know_most_of_a_partial_file_learns_nothing_of_its_content() {
    let ignorant = heard_knowing(IfExists::Hide, 0);
    for known in 1..CHUNKS as usize - 1 {
        assert_eq!(heard_knowing(IfExists::Hide, known), ignorant, "{known}");
    }
    assert_ne!(heard_knowing(IfExists::Hide, CHUNKS as usize - 1), ignorant, "who knows it goes on with it");
    assert_ne!(heard_knowing(IfExists::Rename, 1), ignorant, "without hiding every chunk tells");
}
