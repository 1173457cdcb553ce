//! Directories that a server may not do everything with.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use framing::frame::Kind;
use framing::{
    CHUNK_LEN, Checksum, Entry, EntryKind, Hello, Message, Offer, PageBuilder, Part, Sent, SentOutcome,
};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use session::{Limits, Sources};

use crate::hostile::attack_on;
use crate::pair::{Pair, noise, write};

const LEN: usize = 2 * CHUNK_LEN;

/// Has permissions hold for this thread and those that it starts, whoever runs the tests.
fn obey() {
    let mut sets = capabilities(None).unwrap();
    sets.effective &= !(CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH);
    set_capabilities(None, sets).unwrap();
}

fn pair() -> Pair {
    obey();
    let mut pair = Pair::new();
    pair.limits = Limits { max_total: Some(LEN as u64), ..Limits::default() };
    for (seed, name) in ["x", "y"].into_iter().enumerate() {
        write(pair.from(name), &noise(seed as u64, LEN));
    }
    pair
}

fn allow(path: PathBuf, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_file_in_a_directory_that_cannot_be_flushed_counts() {
    let pair = pair();
    let service = pair.service("to");
    allow(pair.to(""), 0o300);
    let sources = |name| Sources::local(&[pair.from(name)], false, &*pair.diary).unwrap();
    let first = pair.put_to(&service, sources("x")).unwrap();
    let second = pair.put_to(&service, sources("y")).unwrap();
    allow(pair.to(""), 0o700);
    assert_eq!((first.verified, second.verified), (0, 0));
    assert!(pair.to("x").exists() && !pair.to("y").exists());
    assert!(pair.diary.has("(--max-total)"));
}

#[test]
fn a_partial_file_in_a_directory_that_its_sender_has_closed_counts() {
    let pair = pair();
    let service = pair.service("to");
    let (heard, _) = attack_on(&service, |rogue| {
        let kinds = [(EntryKind::Directory, &b"d"[..]), (EntryKind::File { len: LEN as u64 }, b"d/f")];
        let mut page = PageBuilder::default();
        for (kind, path) in kinds {
            page.push(&Entry { kind, mode: 0, mtime: 0, mtime_nanos: 0, path });
        }
        rogue.say(&Message::Hello(Hello { features: 0, software: "rogue 1" }));
        let bytes = LEN as u64;
        rogue.say(&Message::Put(Offer { checksum: Checksum::Md5, plain: false, entries: 2, bytes }));
        rogue.say(&Message::Entries(page.page()));
        rogue.say(&Message::End(Part::Manifest));
        rogue.frame(Kind::Chunk, 0, &[7; CHUNK_LEN]);
        while pair.parts().is_empty() {
            std::thread::yield_now();
        }
        let mut page = PageBuilder::default();
        page.push(&Sent { index: 1, outcome: SentOutcome::Unreadable("no") });
        rogue.say(&Message::Sent(page.page()));
        rogue.say(&Message::End(Part::Chunks));
    });
    assert!(heard.contains("End(Transfer)"), "{heard}");
    assert_eq!(pair.to("d").metadata().unwrap().permissions().mode() & 0o777, 0);
    let sources = Sources::local(&[pair.from("y")], false, &*pair.diary).unwrap();
    let summary = pair.put_to(&service, sources).unwrap();
    allow(pair.to("d"), 0o700);
    assert_eq!((summary.refused, pair.parts().len()), (1, 1));
}
