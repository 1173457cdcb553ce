//! Plain transfers: each chunk once, nothing repaired, and an honest report.

use std::sync::Mutex;

use crate::loose::{Fates, Manners};
use crate::pair::{Diary, Pair, get, noise, put, write};
use framing::{CHUNK_LEN, ChunkSet};
use link::LinkError;
use session::{
    Caller, Event, Faults, GetJob, IfExists, Observer, Outcome, PutJob, SessionError, Sources, Summary,
};

fn plain(fates: Fates) -> Pair {
    let mut pair = Pair::loose(Manners { plain: Some(fates), ..Manners::new(1) });
    pair.plain = true;
    pair
}

fn set<const N: usize>(chunks: [u64; N]) -> ChunkSet {
    chunks.into_iter().map(|chunk| chunk..chunk + 1).collect()
}

/// What a side says of one file.
#[derive(Debug, Clone, PartialEq)]
struct Said {
    path: String,
    name: String,
    outcome: String,
    faults: Option<Faults>,
}

/// Takes down what is said of files.
#[derive(Default)]
struct Notes(Mutex<Vec<Said>>);

impl Observer for Notes {
    fn event(&self, event: &Event<'_>) {
        let Event::File(report) = event else { return };
        let outcome = match report.outcome {
            Outcome::Damaged { here, there, report: faults } => {
                assert_eq!(report.faults, Some(faults));
                assert_ne!(here, there);
                "damaged".to_owned()
            }
            other => format!("{other:?}").split('(').next().unwrap().to_owned(),
        };
        let text = |name: &std::ffi::OsStr| name.to_str().unwrap().to_owned();
        let faults = report.faults.cloned();
        let said = Said { path: text(report.path), name: text(report.name), outcome, faults };
        self.0.lock().unwrap().push(said);
    }
}

impl Notes {
    fn of(&self, path: &str) -> Said {
        self.0.lock().unwrap().iter().find(|said| said.path == path).unwrap().clone()
    }
}

/// Puts or gets with both sides' notes.
fn transfer(pair: &Pair, name: &str, puts: bool) -> (Summary, Notes, Notes) {
    let (here, there) = (Notes::default(), Notes::default());
    let service = pair.service(if puts { "to" } else { "from" });
    let caller = Caller { software: "test-client", observer: &here };
    let (summary, served) = if puts {
        let sources = Sources::local(&[pair.from(name)], false, &Diary::default()).unwrap();
        let mut job = PutJob::new(sources, pair.checksum).plain();
        pair.talk(|link| put(link, &mut job, caller), |link| session::serve(link, &service, &there))
    } else {
        let mut job = GetJob::new(vec![name.into()], pair.checksum, false).plain();
        let store = pair.store("to");
        pair.talk(|link| get(link, &mut job, &store, caller), |link| session::serve(link, &service, &there))
    };
    let (summary, served) = (summary.unwrap(), served.unwrap().unwrap());
    assert_eq!((summary.verified, summary.damaged), (served.verified, served.damaged));
    (summary, here, there)
}

#[test]
fn without_a_fault_everything_arrives_whole_and_verified() {
    let udp = || {
        let mut pair = Pair::udp();
        pair.plain = true;
        pair
    };
    let loose = || plain(Fates::default());
    for (puts, pair) in [(true, loose()), (false, loose()), (true, udp()), (false, udp())] {
        for len in [0, 1, 4096, 4097, 300_000] {
            write(pair.from(&format!("tree/{len}")), &noise(len as u64, len));
        }
        let (summary, here, there) = transfer(&pair, "tree", puts);
        assert_eq!((summary.verified, summary.is_complete()), (5, true));
        pair.assert_same("tree/300000", "tree/300000");
        assert!(pair.parts().is_empty());
        for notes in [here, there] {
            let said = notes.of("tree/300000");
            assert_eq!(said.faults, Some(Faults { chunks: 74, ..Faults::default() }));
            assert_eq!(said.outcome, "Verified");
        }
    }
}

#[test]
fn chunks_out_of_order_and_doubled_do_no_harm_and_are_told() {
    let pair = plain(Fates { doubled: set([0, 9]), late: set([3, 4, 98]), ..Fates::default() });
    write(pair.from("x"), &noise(1, 99 * CHUNK_LEN));
    let (summary, here, there) = transfer(&pair, "x", true);
    assert_eq!((summary.verified, summary.damaged), (1, 0));
    pair.assert_same("x", "x");
    let faults = Faults { chunks: 99, duplicated: set([0, 9]), reordered: set([3, 4]), ..Faults::default() };
    assert_eq!(here.of("x").faults.as_ref(), Some(&faults));
    assert_eq!(there.of("x"), here.of("x"));
}

#[test]
fn the_report_names_exactly_the_chunks_that_differ() {
    for puts in [true, false] {
        let lost = set([0, 7, 8, 9, 40, 98]);
        let (damaged, late) = (set([5, 60]), set([20]));
        let fates =
            Fates { lost: lost.clone(), damaged: damaged.clone(), late, doubled: set([30]), broken_at: None };
        let mut pair = plain(fates);
        pair.prefix = "received-";
        let bytes = noise(1, 98 * CHUNK_LEN + 100);
        write(pair.from("song.mp3"), &bytes);
        let (summary, here, there) = transfer(&pair, "song.mp3", puts);
        assert_eq!((summary.damaged, summary.verified, summary.is_complete()), (1, 0, false));
        let said = here.of("song.mp3");
        assert_eq!(said, there.of("song.mp3"));
        assert_eq!((&*said.outcome, &*said.name), ("damaged", "received-song.damaged.mp3"));
        let faults = said.faults.unwrap();
        assert_eq!((faults.chunks, faults.is_whole()), (99, false));
        assert_eq!((faults.duplicated, faults.reordered), (set([30]), set([20])));
        let kept = std::fs::read(pair.to("received-song.damaged.mp3")).unwrap();
        assert_eq!(kept.len(), bytes.len());
        let mut differ = ChunkSet::new();
        for (chunk, (kept, sent)) in (0..).zip(kept.chunks(CHUNK_LEN).zip(bytes.chunks(CHUNK_LEN))) {
            if kept != sent {
                differ.insert(chunk..chunk + 1);
                assert!(damaged.contains(chunk) || kept.iter().all(|byte| *byte == 0));
            }
        }
        assert_eq!((&faults.lost, &faults.damaged), (&lost, &damaged));
        let told: ChunkSet = lost.ranges().chain(damaged.ranges()).collect();
        assert_eq!(told, differ);
        assert!(pair.parts().is_empty() && !pair.to("received-song.mp3").exists());
    }
}

#[test]
fn each_file_is_whole_or_not_by_itself() {
    // The chunks of 0, 1 and 2 are 0, 1..4 and 4..7.
    let pair = plain(Fates { lost: set([0, 4, 6]), damaged: set([5]), ..Fates::default() });
    for (number, len) in [(0, 10), (1, 3 * CHUNK_LEN), (2, 3 * CHUNK_LEN), (3, 0)] {
        write(pair.from(&format!("tree/d/{number}")), &noise(number, len));
    }
    let (summary, here, there) = transfer(&pair, "tree", true);
    assert_eq!((summary.verified, summary.damaged, summary.directories), (2, 2, 2));
    for notes in [here, there] {
        assert_eq!(notes.of("tree/d/0").faults.unwrap().lost, set([0]));
        let second = notes.of("tree/d/2").faults.unwrap();
        assert_eq!((second.lost, second.damaged), (set([0, 2]), set([1])));
        assert_eq!(notes.of("tree/d/3").outcome, "Verified");
    }
    assert_eq!(std::fs::read(pair.to("tree/d/0.damaged")).unwrap(), [0; 10]);
    pair.assert_same("tree/d/1", "tree/d/1");
    assert!(pair.parts().is_empty());
}

#[test]
fn a_damaged_file_takes_a_free_name_and_replaces_only_what_it_may() {
    let mut pair = plain(Fates { lost: set([1]), ..Fates::default() });
    write(pair.from("x.bin"), &noise(1, 3 * CHUNK_LEN));
    let said = |pair: &Pair| transfer(pair, "x.bin", true).1.of("x.bin");
    assert_eq!(said(&pair).name, "x.damaged.bin");
    assert_eq!(said(&pair).name, "x.damaged-1.bin");
    pair.if_exists = IfExists::Fail;
    assert_eq!(said(&pair).name, "x.damaged-2.bin", "its own name was free");
    pair.if_exists = IfExists::Overwrite;
    assert_eq!(said(&pair).name, "x.damaged.bin");
    assert_eq!(std::fs::read_dir(pair.to("")).unwrap().count(), 3);
    write(pair.to("x.bin"), b"mine");
    assert_eq!(said(&pair).name, "x.damaged.bin");
    pair.if_exists = IfExists::Skip;
    assert_eq!(said(&pair).outcome, "Kept");
    pair.if_exists = IfExists::Fail;
    assert_eq!(said(&pair).outcome, "Refused");
    assert_eq!(std::fs::read(pair.to("x.bin")).unwrap(), b"mine");
}

#[test]
fn what_is_there_already_is_sent_all_the_same_and_nothing_is_gone_on_with() {
    let pair = plain(Fates::default());
    write(pair.from("x"), &noise(1, 50 * CHUNK_LEN));
    assert_eq!(pair.put(&["x"]).unwrap().moved, 50 * CHUNK_LEN as u64);
    let again = pair.put(&["x"]).unwrap();
    assert_eq!((again.verified, again.already_there, again.moved), (1, 0, 50 * CHUNK_LEN as u64));
    pair.assert_same("x", "x-1");
}

#[test]
fn thousands_of_small_files_are_plain_too() {
    let every_tenth: ChunkSet = (0..3000).step_by(10).map(|chunk| chunk..chunk + 1).collect();
    let pair = plain(Fates { lost: every_tenth, late: set([5, 55, 555]), ..Fates::default() });
    for number in 0..3000 {
        write(pair.from(&format!("tree/{number:04}")), &noise(number, 100));
    }
    let summary = pair.put(&["tree"]).unwrap();
    assert_eq!((summary.verified, summary.damaged), (2700, 300));
    assert_eq!(std::fs::read(pair.to("tree/0010.damaged")).unwrap(), [0; 100]);
    pair.assert_same("tree/0555", "tree/0555");
    assert!(pair.parts().is_empty());
}

#[test]
fn a_source_that_changes_is_not_kept_as_damaged() {
    let pair = plain(Fates { lost: set([1]), ..Fates::default() });
    write(pair.from("x"), &noise(1, 50 * CHUNK_LEN));
    let sources = Sources::local(&[pair.from("x")], false, &Diary::default()).unwrap();
    write(pair.from("x"), &noise(1, 50 * CHUNK_LEN + 1));
    let summary = pair.put_sources(sources).unwrap();
    assert_eq!((summary.changed, summary.damaged), (1, 0));
    assert_eq!(std::fs::read_dir(pair.to("")).unwrap().count(), 0);
}

#[test]
fn a_plain_transfer_that_breaks_leaves_an_ordinary_one_its_part() {
    let mut pair = Pair::loose(Manners { cut_after: Some(400), ..Manners::new(1) });
    write(pair.from("x"), &noise(1, 300 * CHUNK_LEN));
    assert!(pair.put(&["x"]).unwrap_err().is_passing());
    let parts = pair.parts();
    assert_eq!(parts.len(), 1);
    // The server gets half of it, and then nothing but the end of the link.
    let fates = Fates { broken_at: Some(150), ..Fates::default() };
    pair.manners = Some(Manners { plain: Some(fates), ..Manners::new(1) });
    pair.plain = true;
    assert!(pair.put(&["x"]).unwrap_err().is_passing());
    assert_eq!(pair.parts(), parts, "its own part is gone");
    pair.manners = Some(Manners::new(1));
    pair.plain = false;
    assert!(pair.put(&["x"]).unwrap().moved < 300 * CHUNK_LEN as u64);
    pair.assert_same("x", "x");
}

#[test]
fn a_link_that_cannot_do_it_says_so_before_anything_is_sent() {
    let mut pair = Pair::new();
    pair.plain = true;
    write(pair.from("x"), b"x");
    for error in [pair.put(&["x"]).unwrap_err(), pair.get(&["x"]).unwrap_err()] {
        assert!(matches!(error, SessionError::Link(LinkError::NotPlain)), "{error}");
        assert!(error.to_string().contains("only possible over UDP"));
    }
}
