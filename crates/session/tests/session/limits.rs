//! What a server takes in at most, over both transports and a link that keeps no order.

use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use framing::frame::Kind;
use framing::{CHUNK_LEN, Checksum, Message, Part, Sums, crc32c};
use session::{IfExists, Limits, Service, Sources, Summary};

use crate::hostile::attack_on;
use crate::loose::Manners;
use crate::pair::{Pair, noise, write};
use crate::transfer::interrupt;

/// Two sides of every kind, of which the receiving one has these limits.
fn pairs(limits: Limits) -> [Pair; 3] {
    [Pair::new(), Pair::udp(), Pair::loose(Manners::new(9))].map(|mut pair| {
        pair.limits = limits;
        pair
    })
}

/// Sends files to a server that goes on.
fn put(pair: &Pair, service: &Service, names: &[&str]) -> Summary {
    let paths: Vec<PathBuf> = names.iter().map(|name| pair.from(name)).collect();
    pair.put_to(service, Sources::local(&paths, false, &*pair.diary).unwrap()).unwrap()
}

#[test]
fn the_total_is_counted_to_the_byte_over_all_clients() {
    for pair in pairs(Limits { max_total: Some(10_000), ..Limits::default() }) {
        let service = pair.service("to");
        for (name, len) in [("a", 6000), ("b", 4001), ("c", 4000), ("d", 1), ("empty", 0)] {
            write(pair.from(name), &noise(len as u64, len));
        }
        assert_eq!(put(&pair, &service, &["a"]).verified, 1);
        assert_eq!(put(&pair, &service, &["b"]).refused, 1);
        assert!(pair.diary.has("left of the 10000 bytes that are taken in altogether here (--max-total)"));
        // The rest of what is asked for is done, and what is there already counts nothing.
        let summary = put(&pair, &service, &["a", "b", "c", "empty"]);
        assert_eq!((summary.already_there, summary.refused, summary.verified), (1, 1, 2));
        assert_eq!(put(&pair, &service, &["d"]).refused, 1);
        assert_eq!(put(&pair, &service, &["a", "c", "empty"]).already_there, 3);
        assert!(pair.parts().is_empty());
        // Another server of the same directory begins anew.
        assert_eq!(put(&pair, &pair.service("to"), &["d"]).verified, 1);
    }
}

#[test]
fn what_was_there_in_part_counts_once_and_as_a_whole() {
    for pair in pairs(Limits { max_total: Some(100 * CHUNK_LEN as u64), ..Limits::default() }) {
        let service = pair.service("to");
        write(pair.from("x"), &noise(1, 100 * CHUNK_LEN));
        write(pair.from("y"), b"y");
        interrupt(&pair, "x");
        assert_eq!(put(&pair, &service, &["x"]).verified, 1);
        assert_eq!(put(&pair, &service, &["y"]).refused, 1);
    }
}

#[test]
fn a_file_that_only_changed_counts_again_and_is_not_begun_when_it_is_too_much() {
    for mut pair in pairs(Limits { max_total: Some(10 * CHUNK_LEN as u64), ..Limits::default() }) {
        pair.if_exists = IfExists::Update;
        let service = pair.service("to");
        let mut bytes = noise(1, 8 * CHUNK_LEN);
        write(pair.from("x"), &bytes);
        assert_eq!(put(&pair, &service, &["x"]).verified, 1);
        bytes[0] ^= 1;
        write(pair.from("x"), &bytes);
        // All but one of its chunks could be copied from the old one.
        assert_eq!(put(&pair, &service, &["x"]).refused, 1);
        assert!(pair.parts().is_empty(), "nothing of it was copied");
    }
}

#[test]
fn a_plain_transfer_is_limited_too() {
    let mut pair = Pair::udp();
    (pair.plain, pair.checksum) = (true, Checksum::Blake3);
    pair.limits.max_total = Some(CHUNK_LEN as u64);
    let service = pair.service("to");
    for name in ["x", "y"] {
        write(pair.from(name), &noise(1, CHUNK_LEN));
    }
    let summary = put(&pair, &service, &["x", "y"]);
    assert_eq!((summary.verified + summary.damaged, summary.refused), (1, 1));
}

#[test]
fn what_would_leave_too_little_of_the_disk_is_refused_by_its_name() {
    let text = "bytes of the disk would stay free here (--min-free)";
    for pair in pairs(Limits { min_free: Some(1 << 60), ..Limits::default() }) {
        write(pair.from("t/x"), &noise(1, 10));
        write(pair.from("t/empty"), b"");
        let summary = put(&pair, &pair.service("to"), &["t"]);
        assert_eq!((summary.verified, summary.directories, summary.refused), (0, 0, 3));
        assert!(pair.diary.has(text));
        assert_eq!(fs::read_dir(pair.to("")).unwrap().count(), 0);
    }
    for pair in pairs(Limits { min_free: Some(1), ..Limits::default() }) {
        write(pair.from("x"), &noise(1, 10 << 20));
        assert_eq!(put(&pair, &pair.service("to"), &["x"]).verified, 1);
    }
}

#[test]
fn a_file_is_not_copied_from_another_one_where_too_little_of_the_disk_would_stay_free() {
    for mut pair in pairs(Limits { min_free: Some(1 << 60), ..Limits::default() }) {
        pair.if_exists = IfExists::Update;
        write(pair.from("x"), &noise(1, 100 * CHUNK_LEN));
        // Two chunks of it came once, and all others are in the old one.
        let part = interrupt(&pair, "x");
        let file = fs::File::options().write(true).open(&part).unwrap();
        file.set_len(2 * CHUNK_LEN as u64).unwrap();
        file.set_len(100 * CHUNK_LEN as u64).unwrap();
        let mut old = noise(1, 100 * CHUNK_LEN);
        old[0] ^= 1;
        write(pair.to("x"), &old);
        let old = fs::File::options().write(true).open(pair.to("x")).unwrap();
        old.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(put(&pair, &pair.service("to"), &["x"]).refused, 1);
        assert!(fs::read(part).unwrap()[2 * CHUNK_LEN..].iter().all(|byte| *byte == 0), "it was copied");
    }
}

#[test]
fn a_partial_file_that_is_removed_as_the_whole_one_is_there_no_longer_counts() {
    let len = 2 * CHUNK_LEN;
    let mut pair = Pair::new();
    pair.limits.max_total = Some(len as u64);
    let service = pair.service("to");
    let x = noise(1, len);
    let (_, _) = attack_on(&service, |rogue| {
        rogue.put(&[(b"x", len as u64)]);
        rogue.frame(Kind::Chunk, 0, &x[..CHUNK_LEN]);
    });
    assert_eq!(pair.parts().len(), 1);
    write(pair.to("x"), &x);
    // Whoever asks for that leaves before the two are proved to be the same.
    let (heard, _) = attack_on(&service, |rogue| {
        rogue.put(&[(b"x", len as u64)]);
        let sums: Vec<u8> = x.chunks(CHUNK_LEN).flat_map(|chunk| crc32c(chunk).to_be_bytes()).collect();
        rogue.say(&Message::Sums(Sums::new(0, &sums).unwrap()));
        rogue.say(&Message::End(Part::Sums));
    });
    assert!(heard.contains("Verify"), "{heard}");
    assert!(pair.parts().is_empty());
    write(pair.from("y"), &noise(2, len));
    assert_eq!(put(&pair, &service, &["y"]).verified, 1);
}
