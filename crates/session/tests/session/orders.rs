//! What TCP keeps in order and another link need not: parts before and after the messages that belong to them, the end before
//! the sender knows of it, files that change or go while what was lost of them is still to be sent again.

use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::loose::{Manners, STATS};
use crate::pair::{Diary, Pair, noise, put, write};
use framing::CHUNK_LEN;
use session::{Caller, Event, IfExists, Observer, PutJob, Sources, Summary};

fn lossy() -> Manners {
    Manners { lost: 10, window: 20, units: 24, ..Manners::new(7) }
}

/// A tree with files of many lengths: how many files, and the bytes of them all.
fn plant(pair: &Pair, seed: u64) -> (u64, u64) {
    let lens = [0, 1, 127, 128, 129, 4095, 4096, 4097, 8192, 12_289, 40_000, 65_536, 200_001, 400_000];
    for (number, len) in lens.iter().enumerate() {
        write(pair.from(&format!("tree/{number}")), &noise(seed + number as u64, *len));
    }
    (lens.len() as u64, lens.iter().sum::<usize>() as u64)
}

fn assert_planted(pair: &Pair, files: u64) {
    for number in 0..files {
        pair.assert_same(&format!("tree/{number}"), &format!("tree/{number}"));
    }
    assert!(pair.parts().is_empty());
}

#[test]
fn a_tree_arrives_whatever_the_order_of_its_parts() {
    for seed in 0..40 {
        let pair = Pair::loose(Manners::new(seed));
        let (files, bytes) = plant(&pair, seed);
        let summary = if seed % 2 == 0 { pair.put(&["tree"]) } else { pair.get(&["tree"]) }.unwrap();
        assert_eq!((summary.verified, summary.moved), (files, bytes), "seed {seed}");
        assert_planted(&pair, files);
    }
}

#[test]
fn the_receiver_ends_it_without_hearing_that_the_chunks_are_over() {
    for seed in 0..10 {
        let pair = Pair::loose(Manners { endless: true, ..Manners::new(seed) });
        let (files, _) = plant(&pair, seed);
        assert_eq!(pair.put(&["tree"]).unwrap().verified, files, "put");
        assert_planted(&pair, files);
        assert_eq!(pair.put(&["tree"]).unwrap().already_there, files, "nothing is wanted");
        let pair = Pair::loose(Manners { endless: true, ..Manners::new(seed) });
        let (files, _) = plant(&pair, seed);
        assert_eq!(pair.get(&["tree"]).unwrap().verified, files, "get");
    }
}

#[test]
fn the_sender_hears_the_end_while_it_still_waits_for_its_chunks_to_be_taken() {
    for seed in 0..10 {
        let pair = Pair::loose(Manners { deaf: true, ..Manners::new(seed) });
        let (files, bytes) = plant(&pair, seed);
        let summary = pair.put(&["tree"]).unwrap();
        assert_eq!((summary.verified, summary.moved), (files, bytes));
        assert_planted(&pair, files);
    }
}

#[test]
fn what_the_link_sees_of_its_path_is_told() {
    let pair = Pair::loose(lossy());
    write(pair.from("x"), &noise(1, 100_000));
    for summary in [pair.put(&["x"]).unwrap(), pair.get(&["x"]).unwrap()] {
        assert_eq!(summary.link, Some(STATS));
        assert!(pair.diary.has("Path { stats: LinkStats { packets_sent: 1000"));
    }
    let pair = Pair::new();
    write(pair.from("x"), b"x");
    assert_eq!(pair.put(&["x"]).unwrap().link, None);
}

#[test]
fn a_spoiled_part_is_repaired_in_the_next_round() {
    let pair = Pair::loose(Manners { spoiled: Some(30), ..lossy() });
    write(pair.from("x"), &noise(1, 100 * CHUNK_LEN));
    let summary = pair.put(&["x"]).unwrap();
    assert_eq!((summary.verified, summary.moved), (1, 101 * CHUNK_LEN as u64));
    assert!(pair.diary.has("AskedAgain { chunks: 1 }"));
    pair.assert_same("x", "x");
}

#[test]
fn what_seemed_to_be_there_is_sent_after_the_end_was_heard() {
    // A file of the same sums and another digest can't be made; one that goes away while it is verified can.
    let mut pair = Pair::loose(Manners { endless: false, ..lossy() });
    pair.if_exists = IfExists::Overwrite;
    let (files, _) = plant(&pair, 1);
    pair.put(&["tree"]).unwrap();
    let bytes = std::fs::read(pair.to("tree/13")).unwrap();
    write(pair.from("tree/13"), &[&bytes[..], b"more"].concat());
    let again = pair.put(&["tree"]).unwrap();
    assert_eq!((again.verified, again.already_there), (1, files - 1));
    assert_planted(&pair, files);
}

#[test]
fn thousands_of_files_wait_for_a_part_at_the_same_time() {
    let manners = Manners { lost: 50, units: 16, repairs_last: true, ..lossy() };
    let pair = Pair::loose(manners);
    for number in 0..3000 {
        write(pair.from(&format!("tree/{number}")), &noise(number, CHUNK_LEN + 700));
    }
    let summary = pair.put(&["tree"]).unwrap();
    assert_eq!((summary.verified, summary.moved), (3000, 3000 * (CHUNK_LEN as u64 + 700)));
    (0..3000)
        .step_by(100)
        .for_each(|number| pair.assert_same(&format!("tree/{number}"), &format!("tree/{number}")));
    assert!(pair.parts().is_empty());
}

/// Does something once when so many bytes have crossed the link.
struct At<F> {
    bytes: u64,
    moved: AtomicU64,
    act: F,
}

impl<F: Fn()> At<F> {
    const fn new(bytes: u64, act: F) -> Self {
        Self { bytes, moved: AtomicU64::new(0), act }
    }
}

impl<F: Fn() + Send + Sync> Observer for At<F> {
    fn event(&self, event: &Event<'_>) {
        if let Event::Moved { bytes, .. } = event {
            let before = self.moved.fetch_add(*bytes, Ordering::SeqCst);
            if before < self.bytes && before + bytes >= self.bytes {
                (self.act)();
            }
        }
    }
}

/// Puts a file or tree under the eyes of two observers: what both sides say of it.
fn put_under(pair: &Pair, name: &str, here: &dyn Observer, there: &dyn Observer) -> (Summary, Summary) {
    let sources = Sources::local(&[pair.from(name)], false, &Diary::default()).unwrap();
    let mut job = PutJob::new(sources, pair.checksum);
    let service = pair.service("to");
    let caller = Caller { software: "test-client", observer: here };
    let (put, served) =
        pair.talk(|link| put(link, &mut job, caller), |link| session::serve(link, &service, there));
    (put.unwrap(), served.unwrap().unwrap())
}

#[test]
fn a_source_that_shrinks_is_told_as_changed_whenever_that_is_found() {
    let len = 100 * CHUNK_LEN as u64;
    // While it is read for the first time, and when only what was lost is still to be sent again: before its digest is known
    // and after it was told.
    for bytes in [1, len / 2, len] {
        for seed in 0..8 {
            let manners = Manners { lost: 20, repairs_last: seed % 2 == 0, seed, ..lossy() };
            let pair = Pair::loose(manners);
            write(pair.from("x"), &noise(seed, len as usize));
            let shrink = At::new(bytes, || {
                std::fs::File::options().write(true).open(pair.from("x")).unwrap().set_len(10).unwrap();
                if seed % 4 < 2 {
                    // Now its digest is known, or told.
                    std::thread::sleep(std::time::Duration::from_millis(20));
                }
            });
            let (put, served) = put_under(&pair, "x", &shrink, &Diary::default());
            assert_eq!((put.changed, served.changed), (1, 1), "{bytes} bytes, seed {seed}");
            assert!(!pair.to("x").exists());
            assert!(pair.parts().is_empty(), "{bytes} bytes, seed {seed}");
        }
    }
}

#[test]
fn thousands_of_sources_that_shrink_leave_nothing_behind() {
    let manners = Manners { lost: 50, units: 16, repairs_last: true, ..lossy() };
    let pair = Pair::loose(manners);
    for number in 0..2500 {
        write(pair.from(&format!("tree/{number}")), &noise(number, CHUNK_LEN + 700));
    }
    let shrink = At::new(2500 * (CHUNK_LEN as u64 + 700), || {
        for number in 0..2500 {
            let file =
                std::fs::File::options().write(true).open(pair.from(&format!("tree/{number}"))).unwrap();
            file.set_len(10).unwrap();
        }
    });
    let (put, served) = put_under(&pair, "tree", &shrink, &Diary::default());
    assert_eq!((put.verified, put.changed), (served.verified, served.changed));
    assert_eq!((put.verified + put.changed, put.changed > 1000), (2500, true), "{put:?}");
    assert!(pair.parts().is_empty());
}

#[test]
fn sources_that_go_away_are_told_as_unreadable_and_the_others_arrive() {
    for seed in 0..8 {
        let manners = Manners { lost: 20, repairs_last: true, seed, units: 8, ..lossy() };
        let pair = Pair::loose(manners);
        let contents: Vec<Vec<u8>> = (0..200).map(|number| noise(number, 5000)).collect();
        for (number, bytes) in contents.iter().enumerate() {
            write(pair.from(&format!("tree/{number}")), bytes);
        }
        let tree = pair.from("tree");
        let vanish = At::new(200 * 5000, || std::fs::remove_dir_all(&tree).unwrap());
        let (put, served) = put_under(&pair, "tree", &vanish, &Diary::default());
        assert_eq!((put.verified, put.unreadable), (served.verified, served.unreadable));
        assert_eq!((put.verified + put.unreadable, put.unreadable > 0), (200, true), "{put:?}");
        for (number, bytes) in contents.iter().enumerate() {
            let path = pair.to(&format!("tree/{number}"));
            assert!(!path.exists() || std::fs::read(path).unwrap() == *bytes);
        }
    }
}

#[test]
fn a_file_that_the_receiver_gives_up_does_not_stop_the_others() {
    for seed in 0..8 {
        let pair = Pair::loose(Manners { seed, ..lossy() });
        for number in 0..100 {
            write(pair.from(&format!("tree/a/{number}")), &noise(number, 10_000));
            write(pair.from(&format!("tree/b/{number}")), &noise(number, 10_000));
        }
        let lost = pair.to("tree/a");
        // Its files can't be opened any more, or get no final name.
        let spoil = At::new(300_000, || std::fs::rename(&lost, pair.to("elsewhere")).unwrap());
        let (put, served) = put_under(&pair, "tree", &Diary::default(), &spoil);
        assert_eq!((put.verified, put.refused), (served.verified, served.refused));
        assert!(put.verified >= 100 && !put.is_complete() || put.verified == 200, "{put:?}");
        (0..100)
            .for_each(|number| pair.assert_same(&format!("tree/b/{number}"), &format!("tree/b/{number}")));
    }
}

#[test]
fn a_link_that_breaks_costs_only_what_was_under_way() {
    for seed in 0..8 {
        let mut pair = Pair::loose(Manners { cut_after: Some(400), units: 8, seed, ..lossy() });
        let len = 300 * CHUNK_LEN;
        write(pair.from("x"), &noise(seed, len));
        let sources = Sources::local(&[pair.from("x")], false, &Diary::default()).unwrap();
        let mut job = PutJob::new(sources, pair.checksum);
        let service = pair.service("to");
        let caller = Caller { software: "test-client", observer: &Diary::default() };
        let (sent, served) = pair.talk(
            |link| put(link, &mut job, caller),
            |link| session::serve(link, &service, &Diary::default()),
        );
        assert!(sent.unwrap_err().is_passing() && served.unwrap_err().is_passing());
        let part = std::fs::File::open(&pair.parts()[0]).unwrap();
        let mut byte = [0];
        part.read_exact_at(&mut byte, 0).unwrap();
        pair.manners = Some(Manners { seed, ..lossy() });
        let (sent, _) = pair.talk(
            |link| put(link, &mut job, caller),
            |link| session::serve(link, &service, &Diary::default()),
        );
        let sent = sent.unwrap();
        assert_eq!(sent.verified, 1);
        let again = sent.moved - len as u64;
        assert!(again < 150 * CHUNK_LEN as u64, "{again} bytes were sent again");
        pair.assert_same("x", "x");
    }
}
