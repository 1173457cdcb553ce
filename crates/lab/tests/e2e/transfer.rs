//! Files and trees that arrive as they were, and of which nothing is sent that is there already.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use lab::Transport;
use lab::process::{LIMIT, Output};

use crate::extent::{halfway, held, written};
use crate::scene::{Scene, moved, noise};

const MB: usize = 1_000_000;

over_each_transport!(
    a_tree_arrives_equal_and_comes_back_equal,
    many_small_files_are_one_transfer,
    a_sparse_file_stays_sparse,
    a_byte_that_went_bad_meanwhile_is_repaired,
    an_update_sends_only_what_differs,
    the_other_checksum_proves_it_too,
);

fn assert_done(output: &Output) {
    assert_eq!(output.code(), Some(0), "{} {}", output.stdout, output.stderr);
}

/// What there is below a directory: permissions, time of the last change and content; directories have none.
type Picture = BTreeMap<PathBuf, (u32, SystemTime, Option<Vec<u8>>)>;

fn picture(dir: &Path) -> Picture {
    let mut picture = Picture::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(open) = dirs.pop() {
        for entry in fs::read_dir(&open).unwrap() {
            let path = entry.unwrap().path();
            let about = path.symlink_metadata().unwrap();
            let content = about.is_file().then(|| fs::read(&path).unwrap());
            if about.is_dir() {
                dirs.push(path.clone());
            }
            let name = path.strip_prefix(dir).unwrap().to_owned();
            picture.insert(name, (about.permissions().mode(), about.modified().unwrap(), content));
        }
    }
    picture
}

fn a_tree_arrives_equal_and_comes_back_equal(transport: Transport) {
    let scene = Scene::new(transport);
    let names = [
        "a b",
        "-q",
        "it's",
        "star*",
        "\u{fc}n\u{ef} c\u{f6}d\u{e9}",
        "\u{65e5}\u{672c}.wav",
        "deep/er/and/deeper/x",
    ];
    for (name, number) in names.iter().zip(0_u64..) {
        let path = format!("album/{name}");
        scene.write(&path, &noise(number, 3000 * number as usize * number as usize));
        let file = fs::File::open(scene.from(&path)).unwrap();
        file.set_permissions(fs::Permissions::from_mode(0o600 | number as u32)).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000 + number, 123_456_789))
            .unwrap();
    }
    let odd = scene.from("album").join(OsStr::from_bytes(b"caf\xe9.mp3"));
    fs::write(odd, b"not UTF-8").unwrap();
    fs::create_dir_all(scene.from("album/empty/inside")).unwrap();
    fs::set_permissions(scene.from("album/empty"), fs::Permissions::from_mode(0o750)).unwrap();
    let server = scene.serve(&[]);
    assert_done(&scene.run(&server, &["album"]));
    let sent = picture(&scene.from("album"));
    assert!(picture(&scene.to("received-album")) == sent);
    assert_done(&scene.run(&server, &["get", "received-album", "--prefix", "", "--to", "back"]));
    assert!(picture(&scene.from("back/received-album")) == sent);
    // All of it is there, and nothing needs to go again.
    let output = scene.run(&server, &["--json", "album"]);
    assert_done(&output);
    assert_eq!(moved(&output), 0, "{}", output.stdout);
}

fn many_small_files_are_one_transfer(transport: Transport) {
    let scene = Scene::new(transport);
    for number in 0..2000 {
        scene.write(&format!("tree/{}/{number}", number % 17), &noise(number, number as usize % 5000));
    }
    let server = scene.serve(&[]);
    assert_done(&scene.run(&server, &["tree"]));
    assert!(picture(&scene.from("tree")) == picture(&scene.to("received-tree")));
    assert!(scene.parts().is_empty());
}

fn a_sparse_file_stays_sparse(transport: Transport) {
    let scene = Scene::new(transport);
    let file = fs::File::create(scene.from("disk.img")).unwrap();
    file.set_len(300 * MB as u64).unwrap();
    file.write_all_at(&noise(1, MB), 40 * MB as u64).unwrap();
    file.write_all_at(b"end", 300 * MB as u64 - 3).unwrap();
    let server = scene.serve(&[]);
    let output = scene.run(&server, &["--json", "disk.img"]);
    assert_done(&output);
    let there = scene.to("received-disk.img");
    if written(&scene.from("disk.img")).unwrap() < 2 * MB as u64 {
        assert!(moved(&output) < 2 * MB as u64, "{}", output.stdout);
        assert!(there.metadata().unwrap().blocks() * 512 < 3 * MB as u64, "{:?}", there.metadata());
    }
    assert!(fs::read(there).unwrap() == fs::read(scene.from("disk.img")).unwrap());
}

fn a_byte_that_went_bad_meanwhile_is_repaired(transport: Transport) {
    let scene = Scene::new(transport);
    let film = noise(2, 8 * MB);
    scene.write("film.mp4", &film);
    let server = scene.serve(&[]);
    let (client, valve) = halfway(&scene, &server, 4 * MB, &["film.mp4"]);
    client.kill().unwrap();
    server.kill().unwrap();
    drop(valve);
    let part = fs::File::options().write(true).open(scene.parts().first().unwrap()).unwrap();
    part.write_all_at(&[film[500_000] ^ 1], 500_000).unwrap();
    let missing = film.len() as u64 - held(&scene, "film.mp4").unwrap();
    let server = scene.serve(&[]);
    let output = scene.run(&server, &["--json", "film.mp4"]);
    assert_done(&output);
    assert!(scene.received()["received-film.mp4"] == film);
    assert!(moved(&output) <= missing + 4096, "{missing} were missing: {}", output.stdout);
}

fn an_update_sends_only_what_differs(transport: Transport) {
    let scene = Scene::new(transport);
    scene.write("take.wav", &noise(3, 8 * MB));
    let server = scene.serve(&["--if-exists", "update"]);
    assert_done(&scene.run(&server, &["take.wav"]));
    let file = fs::File::options().write(true).open(scene.from("take.wav")).unwrap();
    file.write_all_at(b"another beginning", 0).unwrap();
    file.write_all_at(b"and another middle", 4 * MB as u64).unwrap();
    file.set_modified(SystemTime::now() + Duration::from_secs(1)).unwrap();
    let output = scene.start(server.address(), &["--json", "take.wav"]).wait(LIMIT).unwrap();
    assert_done(&output);
    assert_eq!(moved(&output), 2 * 4096, "{}", output.stdout);
    assert!(scene.received()["received-take.wav"] == fs::read(scene.from("take.wav")).unwrap());
}

fn the_other_checksum_proves_it_too(transport: Transport) {
    let scene = Scene::new(transport);
    scene.write("song.mp3", &noise(4, MB));
    let server = scene.serve(&[]);
    for args in
        [&["--checksum", "blake3", "song.mp3"][..], &["--checksum", "blake3", "get", "received-song.mp3"]]
    {
        let output = scene.run(&server, args);
        assert_done(&output);
        assert_eq!(output.stdout.matches("\nblake3  ").count(), 2, "{}", output.stdout);
    }
}
