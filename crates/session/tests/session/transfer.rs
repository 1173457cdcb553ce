//! Whole transfers, over real loopback connections and over a link that keeps no order.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};

use crate::loose::Manners;
use crate::pair::{Pair, noise, write};
use framing::{CHUNK_LEN, Checksum};
use session::store::{Claim, PartFile};
use session::{IfExists, SessionError, SourceError, Sources};

/// Makes the two sides of a scenario.
type New<'a> = &'a dyn Fn() -> Pair;

macro_rules! over_every_link {
    ($($scenario:ident)*) => {
        mod over_tcp {
            use super::*;

            $(#[test]
            fn $scenario() {
                super::$scenario(&Pair::new);
            })*
        }

        mod over_udp {
            use super::*;

            $(#[test]
            fn $scenario() {
                super::$scenario(&Pair::udp);
            })*
        }

        mod over_a_loose_link {
            use super::*;

            $(#[test]
            fn $scenario() {
                let seed = stringify!($scenario).bytes().map(u64::from).sum();
                super::$scenario(&|| Pair::loose(Manners::new(seed)));
            })*
        }
    };
}

over_every_link! {
    files_of_every_awkward_length_arrive
    a_tree_arrives_with_modes_times_and_empty_directories
    get_fetches_files_and_trees
    the_same_file_is_not_stored_twice_and_another_one_gets_a_number
    an_empty_file_is_not_stored_twice_either
    a_tree_that_is_there_already_is_verified_where_it_lies
    if_exists_does_what_it_says
    a_flipped_byte_in_the_partial_file_is_found_and_only_its_chunk_sent_again
    a_partial_file_with_a_hole_goes_on_from_there
    a_partial_file_of_another_version_is_not_mistaken
    a_sparse_file_arrives_equal_and_sparse
    a_hole_in_the_source_is_zero_in_the_target_whatever_the_partial_file_held
    what_may_not_be_is_refused_and_the_rest_arrives
    a_link_out_of_the_directory_is_not_followed
    sources_that_cannot_be_sent_are_named
    thousands_of_tiny_files_arrive_over_one_connection
    files_that_were_there_and_changed_meanwhile_do_not_stop_the_others
    what_cannot_be_read_is_told_to_who_gets_it
    many_files_in_a_row_that_cannot_be_read_stop_nothing
    a_partial_file_with_its_final_permissions_goes_on
    a_refused_file_leaves_no_partial_file
}

fn files_of_every_awkward_length_arrive(new: New<'_>) {
    for checksum in [Checksum::Md5, Checksum::Blake3] {
        let mut pair = new();
        pair.checksum = checksum;
        let lens =
            [0, 1, CHUNK_LEN - 1, CHUNK_LEN, CHUNK_LEN + 1, 64 * CHUNK_LEN, 64 * CHUNK_LEN + 1, 3_000_001];
        let names: Vec<String> = lens.iter().map(|len| format!("f{len}")).collect();
        for (name, len) in names.iter().zip(lens) {
            write(pair.from(name), &noise(len as u64, len));
        }
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let summary = pair.put(&names).unwrap();
        assert_eq!(summary.verified, lens.len() as u64);
        assert!(summary.is_complete());
        names.iter().for_each(|name| pair.assert_same(name, name));
        assert!(pair.parts().is_empty());
    }
}

fn a_tree_arrives_with_modes_times_and_empty_directories(new: New<'_>) {
    let pair = new();
    for number in 0..300 {
        write(
            pair.from(&format!("tree/d{}/f {number}'\"", number % 7)),
            &noise(number, number as usize * 37),
        );
    }
    std::fs::create_dir_all(pair.from("tree/empty/inner")).unwrap();
    write(pair.from("tree/ünï\\code:x"), b"odd");
    write(pair.from("tree").join(std::ffi::OsStr::from_bytes(b"not-utf8-\xff\xfe")), b"bytes");
    write(pair.from("tree/script"), b"#!/bin/sh\n");
    std::fs::set_permissions(pair.from("tree/script"), PermissionsExt::from_mode(0o751)).unwrap();
    std::fs::set_permissions(pair.from("tree/empty"), PermissionsExt::from_mode(0o555)).unwrap();
    std::os::unix::fs::symlink("script", pair.from("tree/link")).unwrap();

    let summary = pair.put(&["tree"]).unwrap();
    assert_eq!((summary.verified, summary.directories, summary.skipped), (303, 10, 1));
    assert!(pair.diary.has("a symbolic link"));
    let output = std::process::Command::new("diff")
        .args(["-r", "--exclude=link"])
        .args([pair.from("tree"), pair.to("tree")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    for path in ["tree", "tree/empty", "tree/empty/inner", "tree/script", "tree/d3"] {
        let (from, to) = (pair.from(path).metadata().unwrap(), pair.to(path).metadata().unwrap());
        assert_eq!(from.mode(), to.mode(), "{path}");
        assert_eq!((from.mtime(), from.mtime_nsec()), (to.mtime(), to.mtime_nsec()), "{path}");
    }
}

fn get_fetches_files_and_trees(new: New<'_>) {
    let pair = new();
    write(pair.from("a/b/song"), &noise(1, 100_000));
    write(pair.from("top"), &noise(2, 10));
    let summary = pair.get(&["a", "top", "a/b/song"]).unwrap();
    assert_eq!((summary.verified, summary.directories), (3, 2));
    pair.assert_same("a/b/song", "a/b/song");
    pair.assert_same("a/b/song", "song");
    pair.assert_same("top", "top");
    let refused = pair.get(&["nothing"]).unwrap_err();
    assert!(refused.to_string().contains("nothing: no such file"), "{refused}");
    let refused = pair.get(&["../to/top"]).unwrap_err();
    assert!(refused.to_string().contains(".."), "{refused}");
}

fn the_same_file_is_not_stored_twice_and_another_one_gets_a_number(new: New<'_>) {
    let pair = new();
    write(pair.from("x.bin"), &noise(1, 50_000));
    assert_eq!(pair.put(&["x.bin"]).unwrap().verified, 1);
    let again = pair.put(&["x.bin"]).unwrap();
    assert_eq!((again.verified, again.already_there, again.moved), (0, 1, 0));
    write(pair.from("x.bin"), &noise(2, 50_000));
    assert_eq!(pair.put(&["x.bin"]).unwrap().verified, 1);
    pair.assert_same("x.bin", "x-1.bin");
    let again = pair.put(&["x.bin"]).unwrap();
    assert_eq!((again.verified, again.already_there), (0, 1), "found under its number");
    assert_eq!(std::fs::read_dir(pair.to("")).unwrap().count(), 2);
}

fn an_empty_file_is_not_stored_twice_either(new: New<'_>) {
    let pair = new();
    write(pair.from("empty"), b"");
    assert_eq!(pair.put(&["empty"]).unwrap().verified, 1);
    assert_eq!(pair.put(&["empty"]).unwrap().already_there, 1);
    assert_eq!(std::fs::read_dir(pair.to("")).unwrap().count(), 1);
}

fn a_tree_that_is_there_already_is_verified_where_it_lies(new: New<'_>) {
    let pair = new();
    for number in 0..200 {
        write(pair.from(&format!("tree/{number}")), &noise(number, number as usize * 100));
    }
    assert_eq!(pair.put(&["tree"]).unwrap().verified, 200);
    let again = pair.put(&["tree"]).unwrap();
    assert_eq!((again.verified, again.already_there, again.moved), (0, 200, 0));
    assert_eq!(std::fs::read_dir(pair.to("tree")).unwrap().count(), 200);
}

fn if_exists_does_what_it_says(new: New<'_>) {
    let mut pair = new();
    let old = noise(1, 100 * CHUNK_LEN);
    let mut new = old.clone();
    new[5 * CHUNK_LEN + 17] ^= 1;
    new.extend_from_slice(b"longer");
    write(pair.to("x"), &old);
    write(pair.from("x"), &new);

    pair.if_exists = IfExists::Skip;
    assert_eq!(pair.put(&["x"]).unwrap().kept, 1);
    pair.if_exists = IfExists::Fail;
    assert_eq!(pair.put(&["x"]).unwrap().refused, 1);
    assert_eq!(std::fs::read(pair.to("x")).unwrap(), old);
    pair.if_exists = IfExists::Update;
    let updated = pair.put(&["x"]).unwrap();
    assert_eq!((updated.verified, updated.moved), (1, CHUNK_LEN as u64 + 6), "only what differs is sent");
    pair.assert_same("x", "x");
    write(pair.from("x"), b"short");
    let past = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1);
    std::fs::File::options().write(true).open(pair.from("x")).unwrap().set_modified(past).unwrap();
    assert_eq!(pair.put(&["x"]).unwrap().kept, 1, "an older file does not replace a newer one");
    pair.if_exists = IfExists::Overwrite;
    assert_eq!(pair.put(&["x"]).unwrap().verified, 1);
    pair.assert_same("x", "x");
    assert_eq!(std::fs::read_dir(pair.to("")).unwrap().count(), 1);
}

/// Leaves a partial file behind as an interrupted transfer would: the whole file, under its partial name.
pub(crate) fn interrupt(pair: &Pair, name: &str) -> std::path::PathBuf {
    let about = pair.from(name).metadata().unwrap();
    let entry = framing::Entry {
        kind: framing::EntryKind::File { len: about.len() },
        mode: 0o644,
        mtime: about.mtime(),
        mtime_nanos: about.mtime_nsec() as u32,
        path: name.as_bytes(),
    };
    let dir = cap_std::fs::Dir::open_ambient_dir(pair.to(""), cap_std::ambient_authority()).unwrap();
    let id = session::store::PartId::of(&entry);
    let part =
        PartFile::open(&std::sync::Arc::new(dir), name.as_ref(), id, about.len(), &Claim::default()).unwrap();
    part.file().write_all_at(&std::fs::read(pair.from(name)).unwrap(), 0).unwrap();
    let parts = pair.parts();
    assert_eq!(parts.len(), 1);
    parts[0].clone()
}

fn a_flipped_byte_in_the_partial_file_is_found_and_only_its_chunk_sent_again(new: New<'_>) {
    let pair = new();
    write(pair.from("x"), &noise(9, 1000 * CHUNK_LEN + 100));
    let part = interrupt(&pair, "x");
    let file = std::fs::File::options().write(true).open(part).unwrap();
    file.write_all_at(b"?", 777 * CHUNK_LEN as u64 + 5).unwrap();
    let summary = pair.put(&["x"]).unwrap();
    assert_eq!((summary.verified, summary.moved), (1, CHUNK_LEN as u64));
    pair.assert_same("x", "x");
    assert!(pair.parts().is_empty());
}

fn a_partial_file_with_a_hole_goes_on_from_there(new: New<'_>) {
    let pair = new();
    write(pair.from("x"), &noise(9, 1000 * CHUNK_LEN));
    let part = interrupt(&pair, "x");
    let file = std::fs::File::options().write(true).open(part).unwrap();
    file.set_len(600 * CHUNK_LEN as u64).unwrap();
    file.set_len(1000 * CHUNK_LEN as u64).unwrap();
    let summary = pair.put(&["x"]).unwrap();
    assert_eq!((summary.verified, summary.moved), (1, 400 * CHUNK_LEN as u64));
    pair.assert_same("x", "x");
}

fn a_partial_file_of_another_version_is_not_mistaken(new: New<'_>) {
    let pair = new();
    write(pair.from("x"), &noise(9, 100 * CHUNK_LEN));
    interrupt(&pair, "x");
    write(pair.from("x"), &noise(10, 100 * CHUNK_LEN));
    let summary = pair.put(&["x"]).unwrap();
    assert_eq!((summary.verified, summary.moved), (1, 100 * CHUNK_LEN as u64));
    pair.assert_same("x", "x");
    assert_eq!(pair.parts().len(), 1, "the other version's partial file is left alone");
}

fn a_sparse_file_arrives_equal_and_sparse(new: New<'_>) {
    let pair = new();
    let file = std::fs::File::create(pair.from("x")).unwrap();
    file.write_all_at(&noise(1, 10_000), 3 << 20).unwrap();
    file.write_all_at(&noise(2, 10_000), (40 << 20) + 123).unwrap();
    file.set_len((64 << 20) + 7).unwrap();
    drop(file);
    let summary = pair.put(&["x"]).unwrap();
    assert_eq!(summary.verified, 1);
    assert!(summary.moved < 100_000, "{}", summary.moved);
    pair.assert_same("x", "x");
    let again = pair.put(&["x"]).unwrap();
    assert_eq!(again.already_there, 1);
}

fn a_hole_in_the_source_is_zero_in_the_target_whatever_the_partial_file_held(new: New<'_>) {
    let pair = new();
    let file = std::fs::File::create(pair.from("x")).unwrap();
    file.write_all_at(&noise(1, 10_000), 0).unwrap();
    file.set_len(1 << 20).unwrap();
    drop(file);
    let part = interrupt(&pair, "x");
    std::fs::File::options().write(true).open(part).unwrap().write_all_at(b"stale", 1 << 19).unwrap();
    assert_eq!(pair.put(&["x"]).unwrap().verified, 1);
    pair.assert_same("x", "x");
}

fn what_may_not_be_is_refused_and_the_rest_arrives(new: New<'_>) {
    let mut pair = new();
    pair.limits.max_file_len = Some(1000);
    write(pair.from("t/big"), &noise(1, 1001));
    write(pair.from("t/small"), &noise(1, 1000));
    write(pair.from("t/nul.txt"), b"device");
    write(pair.from("t/new\nline"), b"control");
    let summary = pair.put(&["t"]).unwrap();
    assert_eq!((summary.verified, summary.refused), (1, 3));
    assert!(!summary.is_complete());
    pair.assert_same("t/small", "t/small");
    assert_eq!(std::fs::read_dir(pair.to("t")).unwrap().count(), 1);
}

fn a_link_out_of_the_directory_is_not_followed(new: New<'_>) {
    let pair = new();
    let outside = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(outside.path(), pair.to("t")).unwrap();
    write(pair.from("t/x"), b"escape");
    let summary = pair.put(&["t"]).unwrap();
    assert_eq!(summary.verified, 0);
    assert!(summary.refused > 0);
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
}

fn sources_that_cannot_be_sent_are_named(new: New<'_>) {
    let pair = new();
    assert!(matches!(pair.put(&["nothing"]), Err(SessionError::Source(SourceError::NotFound(_)))));
    write(pair.from("a/x"), b"1");
    write(pair.from("b/x"), b"2");
    assert!(matches!(pair.put(&["a/x", "b/x"]), Err(SessionError::Source(SourceError::SameName { .. }))));
    assert_eq!(pair.put(&["a/x", "a/x"]).unwrap().verified, 1);
    assert!(pair.diary.has("named twice"));
}

fn thousands_of_tiny_files_arrive_over_one_connection(new: New<'_>) {
    for len in [0, 2, 100] {
        let pair = new();
        for number in 0..3000 {
            write(pair.from(&format!("tree/{number}")), &noise(number, len));
        }
        let summary = pair.put(&["tree"]).unwrap();
        assert_eq!((summary.verified, summary.moved), (3000, 3000 * len as u64), "of {len} bytes");
        assert!(pair.parts().is_empty());
    }
}

#[test]
fn thousands_of_sparse_files_arrive_over_one_connection() {
    let pair = Pair::new();
    std::fs::create_dir(pair.from("tree")).unwrap();
    for number in 0..2000 {
        let file = std::fs::File::create(pair.from(&format!("tree/{number}"))).unwrap();
        file.write_all_at(&noise(number, CHUNK_LEN), 1 << 16).unwrap();
        file.set_len(1 << 18).unwrap();
    }
    assert_eq!(pair.put(&["tree"]).unwrap().verified, 2000);
    pair.assert_same("tree/1999", "tree/1999");
    assert!(pair.parts().is_empty());
}

#[test]
fn thousands_of_files_are_updated_over_one_connection() {
    let mut pair = Pair::new();
    pair.if_exists = IfExists::Update;
    for number in 0..1500 {
        let mut bytes = noise(number, 3 * CHUNK_LEN);
        write(pair.to(&format!("tree/{number}")), &bytes);
        bytes[CHUNK_LEN] ^= 1;
        write(pair.from(&format!("tree/{number}")), &bytes);
    }
    let summary = pair.put(&["tree"]).unwrap();
    assert_eq!((summary.verified, summary.moved), (1500, 1500 * CHUNK_LEN as u64));
    pair.assert_same("tree/7", "tree/7");
}

fn files_that_were_there_and_changed_meanwhile_do_not_stop_the_others(new: New<'_>) {
    let pair = new();
    for number in 0..100 {
        write(pair.from(&format!("tree/{number}")), &noise(number, 5000));
    }
    assert_eq!(pair.put(&["tree"]).unwrap().verified, 100);
    let sources = Sources::local(&[pair.from("tree")], false, &*pair.diary).unwrap();
    for number in 0..60 {
        write(pair.from(&format!("tree/{number}")), &noise(number, 6000));
    }
    let summary = pair.put_sources(sources).unwrap();
    assert_eq!((summary.changed, summary.already_there), (60, 40));
}

fn what_cannot_be_read_is_told_to_who_gets_it(new: New<'_>) {
    let pair = new();
    write(pair.from("tree/good"), b"good");
    // A directory in the place of a file that was found, as one that can't be read looks like.
    write(pair.from("tree/gone"), b"gone");
    let sources = Sources::local(&[pair.from("tree")], false, &*pair.diary).unwrap();
    std::fs::remove_file(pair.from("tree/gone")).unwrap();
    let summary = pair.put_sources(sources).unwrap();
    assert_eq!((summary.verified, summary.unreadable), (1, 1));
    assert!(!summary.is_complete());
}

fn many_files_in_a_row_that_cannot_be_read_stop_nothing(new: New<'_>) {
    let pair = new();
    let name = |number: u64| pair.from(&format!("all/{number:03}"));
    (0..300).for_each(|number| write(name(number), &noise(number, 100)));
    let sources = Sources::local(&[pair.from("all")], false, &*pair.diary).unwrap();
    (0..299).for_each(|number| std::fs::remove_file(name(number)).unwrap());
    let summary = pair.put_sources(sources).unwrap();
    assert_eq!((summary.verified, summary.unreadable), (1, 299));
    pair.assert_same("all/299", "all/299");
}

fn a_partial_file_with_its_final_permissions_goes_on(new: New<'_>) {
    let pair = new();
    write(pair.from("x"), &noise(9, 10 * CHUNK_LEN));
    let part = interrupt(&pair, "x");
    std::fs::set_permissions(&part, PermissionsExt::from_mode(0o400)).unwrap();
    let summary = pair.put(&["x"]).unwrap();
    assert_eq!((summary.verified, summary.moved), (1, 0));
    pair.assert_same("x", "x");
}

fn a_refused_file_leaves_no_partial_file(new: New<'_>) {
    let mut pair = new();
    pair.if_exists = IfExists::Fail;
    let old = noise(1, 100 * CHUNK_LEN);
    let mut new = old.clone();
    new[0] ^= 1;
    write(pair.to("x"), &old);
    write(pair.from("x"), &new);
    assert_eq!(pair.put(&["x"]).unwrap().refused, 1);
    assert!(pair.parts().is_empty());
}
