//! Somebody else may write in the store's directory too, and puts things where others are expected.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use framing::{Entry, EntryKind};
use session::IfExists;
use session::store::{Claim, Committed, Finished, PartFile, Placed, Plan, commit};

use crate::pair::{Pair, noise, write};

fn pair_that(if_exists: IfExists) -> Pair {
    let mut pair = Pair::new();
    pair.if_exists = if_exists;
    pair
}

/// A complete partial file in a store, and its path.
fn finished(pair: &Pair, name: &str, bytes: &[u8]) -> (Finished, PathBuf) {
    let kind = EntryKind::File { len: bytes.len() as u64 };
    let entry = Entry { kind, mode: 0o644, mtime: 1, mtime_nanos: 0, path: name.as_bytes() };
    let Plan::Take { target, .. } = pair.store("to").plan(&entry, false) else { panic!("it is refused") };
    let dir = Arc::new(Dir::open_ambient_dir(pair.to(""), ambient_authority()).unwrap());
    let part = PartFile::open(&dir, name.as_ref(), target.part, entry.len(), &Claim::default()).unwrap();
    part.write(0, &mut [std::io::IoSlice::new(bytes)]).unwrap();
    let path = pair.parts().pop().unwrap();
    (Finished::new(0, Arc::new(part), target, &entry), path)
}

fn swap(path: &Path, other: &Path) {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    renameat_with(CWD, path, CWD, other, RenameFlags::EXCHANGE).unwrap();
}

#[test]
fn what_took_the_partial_files_place_is_not_called_stored() {
    for if_exists in [IfExists::Rename, IfExists::Overwrite, IfExists::Skip, IfExists::Fail] {
        let pair = pair_that(if_exists);
        write(pair.from("outside"), b"outside");
        let (finished, part) = finished(&pair, "x", b"content");
        symlink(pair.from("outside"), pair.to("link")).unwrap();
        swap(&part, &pair.to("link"));
        let committed = commit(&[finished], if_exists, &mut Placed::default());
        assert!(matches!(committed[..], [Committed::Failed(_)]), "{if_exists:?} {committed:?}");
        assert_eq!(std::fs::read(pair.from("outside")).unwrap(), b"outside");
        assert_eq!(std::fs::read(pair.to("link")).unwrap(), b"content");
    }
}

#[test]
fn a_file_with_a_second_name_is_not_written_to() {
    let pair = Pair::new();
    write(pair.from("x"), &noise(1, 50_000));
    write(pair.from("elsewhere"), &noise(2, 50_000));
    let before = std::fs::read(pair.from("elsewhere")).unwrap();
    let sources = session::Sources::local(&[pair.from("x")], false, &*pair.diary).unwrap();
    // Where its partial file will be.
    let mtime = pair.from("x").metadata().unwrap();
    let entry = Entry {
        kind: EntryKind::File { len: 50_000 },
        mode: 0o644,
        mtime: std::os::unix::fs::MetadataExt::mtime(&mtime),
        mtime_nanos: std::os::unix::fs::MetadataExt::mtime_nsec(&mtime) as u32,
        path: b"x",
    };
    let Plan::Take { target, .. } = pair.store("to").plan(&entry, false) else { panic!("it is refused") };
    let dir = Arc::new(Dir::open_ambient_dir(pair.to(""), ambient_authority()).unwrap());
    drop(PartFile::open(&dir, "x".as_ref(), target.part, 0, &Claim::default()).unwrap());
    let part = pair.parts().pop().unwrap();
    std::fs::remove_file(&part).unwrap();
    std::fs::hard_link(pair.from("elsewhere"), &part).unwrap();
    assert_eq!(pair.put_sources(sources).unwrap().verified, 1);
    pair.assert_same("x", "x");
    assert!(std::fs::read(pair.from("elsewhere")).unwrap() == before);
    assert!(part.exists());
}

#[test]
fn two_files_of_a_transfer_with_the_same_place_are_both_kept() {
    for if_exists in [IfExists::Overwrite, IfExists::Update, IfExists::Rename] {
        let pair = pair_that(if_exists);
        write(pair.from("tree/one/x.mp3"), &noise(1, 5000));
        write(pair.from("tree/two/x.mp3"), &noise(2, 5000));
        // To the file system they are one name, as `X` and `x` are to some.
        std::fs::create_dir_all(pair.to("tree/one")).unwrap();
        symlink("one", pair.to("tree/two")).unwrap();
        assert_eq!(pair.put(&["tree"]).unwrap().verified, 2, "{if_exists:?}");
        let mut there =
            [pair.to("tree/one/x.mp3"), pair.to("tree/one/x-1.mp3")].map(std::fs::read).map(Result::unwrap);
        let mut sent = [noise(1, 5000), noise(2, 5000)];
        there.sort();
        sent.sort();
        assert!(there == sent, "{if_exists:?}");
    }
}

#[test]
fn a_pipe_in_a_files_place_holds_nobody_up() {
    let pair = pair_that(IfExists::Overwrite);
    write(pair.from("tree/x"), &noise(1, 5000));
    assert_eq!(pair.put(&["tree"]).unwrap().verified, 1);
    std::fs::remove_dir_all(pair.to("tree")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        pair.to("tree"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o644),
        0,
    )
    .unwrap();
    // The directory is refused, and the file in it fails.
    assert_eq!(pair.put(&["tree"]).unwrap().refused, 2);
}

#[test]
fn a_free_number_is_found_behind_thousands_that_are_taken() {
    let pair = Pair::new();
    write(pair.to("x.txt"), b"other");
    (1..3000).for_each(|number| write(pair.to(&format!("x-{number}.txt")), b"other"));
    write(pair.from("x.txt"), b"content");
    assert_eq!(pair.put(&["x.txt"]).unwrap().verified, 1);
    pair.assert_same("x.txt", "x-3000.txt");
}
