//! What a server allows: each limit refuses by its name, and the rest goes on.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::time::UNIX_EPOCH;

use lab::Transport;
use lab::process::{LIMIT, Output, Server};

use crate::errors::Tight;
use crate::extent::{halfway, held, until, written};
use crate::scene::{Scene, moved, noise, objects};
use crate::valve::Valve;

const MB: usize = 1_000_000;

over_each_transport!(
    a_file_that_is_too_much_is_refused_and_the_others_arrive,
    the_total_is_over_all_clients_and_to_the_byte,
    what_is_promised_to_one_client_is_not_promised_to_another,
    a_crowd_at_once_gets_the_total_and_not_a_byte_more,
    what_leaves_nothing_is_given_back,
    a_disk_that_would_be_too_full_is_not_written_to,
    a_disk_that_others_fill_meanwhile_is_left_alone_and_with_room_again_it_goes_on,
    a_drop_box_keeps_everything_and_tells_nothing,
    a_drop_box_goes_on_where_it_was_cut_off,
    a_drop_box_shows_nothing,
    streams_and_made_up_files_have_their_limits,
    what_comes_without_a_protocol_has_its_limits_too,
);

/// The reason that a client gives for a refusal, which ends it with 5.
fn refused(output: &Output) -> &str {
    assert_eq!(output.code(), Some(5), "{} {}", output.stdout, output.stderr);
    assert_eq!(output.stderr.lines().count(), 1, "{}", output.stderr);
    output.stderr.trim_end()
}

fn a_file_that_is_too_much_is_refused_and_the_others_arrive(transport: Transport) {
    for (flags, limit) in [
        (["--max-file-size", "50k"], "(--max-file-size)"),
        (["--max-total", "50k"], "(--max-total)"),
        (["--max-total", "50000"], "(--max-total)"),
    ] {
        let scene = Scene::new(transport);
        for (name, len) in [("a", 20_000), ("b", 60_000), ("c", 30_000)] {
            scene.write(name, &noise(len as u64, len));
        }
        let server = scene.serve(&[&flags[..], &["--json"]].concat());
        let output = scene.run(&server, &["--json", "a", "b", "c"]);
        let line = refused(&output);
        assert!(line.contains("did not store b: ") && line.ends_with(limit), "{line}");
        let events = objects(&output.stdout);
        let files: Vec<_> = events.iter().filter(|object| object["event"] == "file").collect();
        assert_eq!(files.len(), 3);
        for file in files {
            let is_b = file["path"] == "b";
            assert_eq!(file["outcome"], if is_b { "refused" } else { "verified" }, "{file}");
            assert!(!is_b || file["reason"].as_str().unwrap().ends_with(limit), "{file}");
        }
        let done = events.iter().find(|object| object["event"] == "done").unwrap();
        assert_eq!(
            (&done["refused"], &done["verified"], &done["exit_code"]),
            (&1.into(), &2.into(), &5.into())
        );
        assert_eq!(scene.received().keys().collect::<Vec<_>>(), ["received-a", "received-c"]);
        assert!(scene.parts().is_empty());
        // The server tells and counts it too.
        let told = objects(&server.stop().unwrap().stdout);
        let done = told.iter().find(|object| object["event"] == "done").unwrap();
        assert_eq!(done["refused"], 1);
        let is_told =
            |object: &&serde_json::Value| object["event"] == "file" && object["outcome"] == "refused";
        assert!(told.iter().find(is_told).unwrap()["reason"].as_str().unwrap().ends_with(limit));
    }
}

fn the_total_is_over_all_clients_and_to_the_byte(transport: Transport) {
    let scene = Scene::new(transport);
    for (name, len) in [("a", 70_000), ("b", 30_000), ("c", 1), ("empty", 0)] {
        scene.write(name, &noise(1 + len as u64, len));
    }
    let server = scene.serve(&["--max-total", "100k"]);
    for name in ["a", "b", "empty", "a"] {
        let output = scene.run(&server, &[name]);
        assert_eq!(output.code(), Some(0), "{name}: {}", output.stderr);
    }
    assert!(refused(&scene.run(&server, &["c"])).contains("100000 bytes that are taken in altogether"));
    assert_eq!(scene.received().len(), 3);
}

fn what_is_promised_to_one_client_is_not_promised_to_another(transport: Transport) {
    let scene = Scene::new(transport);
    scene.write("film.mp4", &noise(2, 8 * MB));
    scene.write("song.mp3", &noise(3, 3 * MB));
    let server = scene.serve(&["--max-total", "10MB"]);
    let (client, valve) = halfway(&scene, &server, 2 * MB, &["-q", "film.mp4"]);
    assert!(refused(&scene.run(&server, &["song.mp3"])).ends_with("(--max-total)"));
    valve.open(u64::MAX);
    assert_eq!(client.wait(LIMIT).unwrap().code(), Some(0));
    // What is cut off stays promised to who goes on with it.
    let server = scene.serve(&["--max-total", "10MB"]);
    scene.write("more.mp4", &noise(4, 8 * MB));
    let (client, _valve) = halfway(&scene, &server, 4 * MB, &["-q", "more.mp4"]);
    client.kill().unwrap();
    assert!(refused(&scene.run(&server, &["song.mp3"])).ends_with("(--max-total)"));
    let held = held(&scene, "more.mp4").unwrap();
    let output = scene.run(&server, &["--json", "more.mp4"]);
    assert_eq!(output.code(), Some(0), "{}", output.stderr);
    assert!(held > 0 && moved(&output) <= 8 * MB as u64 - held);
    scene.write("rest", &noise(5, 2 * MB));
    assert_eq!(scene.run(&server, &["rest"]).code(), Some(0));
    assert!(refused(&scene.run(&server, &["song.mp3"])).ends_with("(--max-total)"));
}

fn a_crowd_at_once_gets_the_total_and_not_a_byte_more(transport: Transport) {
    const CLIENTS: usize = 12;
    let scene = Scene::new(transport);
    let server = scene.serve(&["--max-total", "60k"]);
    let names: Vec<String> = (0..CLIENTS).map(|number| format!("song{number}.mp3")).collect();
    names.iter().zip(1..).for_each(|(name, seed)| scene.write(name, &noise(seed, 10_000)));
    let clients: Vec<_> = names.iter().map(|name| scene.start(server.address(), &[name])).collect();
    let outputs: Vec<Output> = clients.into_iter().map(|client| client.wait(LIMIT).unwrap()).collect();
    let (stored, others): (Vec<_>, Vec<_>) = outputs.iter().partition(|output| output.status.success());
    assert_eq!(stored.len(), 6);
    assert!(others.iter().all(|output| refused(output).ends_with("(--max-total)")));
    assert_eq!(scene.received().values().map(Vec::len).sum::<usize>(), 60_000);
    assert!(scene.parts().is_empty());
}

/// A file that changes on its way leaves no partial file, and its place is another's.
fn what_leaves_nothing_is_given_back(transport: Transport) {
    let scene = Scene::new(transport);
    scene.write("film.mp4", &noise(2, 8 * MB));
    scene.write("song.mp3", &noise(3, 3 * MB));
    let server = scene.serve(&["--max-total", "10MB"]);
    let (client, valve) = halfway(&scene, &server, 2 * MB, &["-q", "film.mp4"]);
    let file = fs::File::options().write(true).open(scene.from("film.mp4")).unwrap();
    file.set_modified(UNIX_EPOCH).unwrap();
    valve.open(u64::MAX);
    assert_eq!(client.wait(LIMIT).unwrap().code(), Some(6));
    assert!(scene.parts().is_empty());
    let output = scene.run(&server, &["song.mp3"]);
    assert_eq!(output.code(), Some(0), "{}", output.stderr);
}

fn a_disk_that_would_be_too_full_is_not_written_to(transport: Transport) {
    let scene = Scene::new(transport);
    scene.write("tree/song.mp3", b"song");
    scene.write("tree/empty", b"");
    let server = scene.serve(&["--min-free", "1000000TB"]);
    let output = scene.run(&server, &["--json", "tree"]);
    assert_eq!(output.code(), Some(5));
    let events = objects(&output.stdout);
    let files: Vec<_> = events.iter().filter(|object| object["event"] == "file").collect();
    assert_eq!(files.len(), 3);
    assert!(files.iter().all(|file| file["reason"].as_str().unwrap().ends_with("(--min-free)")), "{files:?}");
    assert_eq!(fs::read_dir(scene.to("")).unwrap().count(), 0);
    // What is there is given nevertheless.
    fs::write(scene.to("there"), b"there").unwrap();
    assert_eq!(scene.run(&server, &["get", "there"]).code(), Some(0));
    let server = scene.serve(&["--min-free", "1"]);
    assert_eq!(scene.run(&server, &["tree"]).code(), Some(0));
}

/// On a disk of 8 MiB.
fn a_disk_that_others_fill_meanwhile_is_left_alone_and_with_room_again_it_goes_on(transport: Transport) {
    let Some(tight) = Tight::with(transport, &["--min-free", "2MB"]) else { return };
    tight.scene.write("long.mp4", &noise(6, 7 * MB));
    tight.scene.write("film.mp4", &noise(8, 6 * MB));
    assert!(refused(&tight.send("long.mp4")).ends_with("(--min-free)"));
    assert_eq!(fs::read_dir(tight.to("")).unwrap().count(), 0);
    let valve = Valve::new(transport, tight.address, MB as u64);
    let client = tight.start(valve.address(), &["film.mp4"]);
    valve.wait_until_shut();
    let part = until("there is a partial file", || {
        let mut there = fs::read_dir(tight.to("")).unwrap().map(|entry| entry.unwrap().path());
        there.find(|path| written(path) > Some(500_000))
    });
    fs::write(tight.to("other"), noise(9, 3 * MB)).unwrap();
    valve.open(u64::MAX);
    let output = client.wait(LIMIT).unwrap();
    assert!(refused(&output).contains("2000000 bytes of the disk would stay free here (--min-free)"));
    // It ended where it looked, and not where the disk was full.
    assert!(written(&part).unwrap() < 5 * MB as u64);
    fs::remove_file(tight.to("other")).unwrap();
    let output = tight.send("film.mp4");
    assert_eq!(output.code(), Some(0), "{}", output.stderr);
    assert!(fs::read(tight.to("received-film.mp4")).unwrap() == noise(8, 6 * MB));
}

fn a_drop_box_keeps_everything_and_tells_nothing(transport: Transport) {
    let scene = Scene::new(transport);
    fs::write(scene.to("received-song.mp3"), noise(1, 50_000)).unwrap();
    let server = scene.serve(&["--write-only"]);
    // The same content under the same name, another one, and a name that nobody has.
    scene.write("song.mp3", &noise(1, 50_000));
    let same = scene.run(&server, &["--json", "song.mp3"]);
    scene.write("song.mp3", &noise(2, 50_000));
    let other = scene.run(&server, &["--json", "song.mp3"]);
    scene.write("new.mp3", &noise(1, 50_000));
    let new = scene.run(&server, &["--json", "new.mp3"]);
    for output in [&same, &other, &new] {
        assert_eq!(output.code(), Some(0), "{}", output.stderr);
        assert_eq!(moved(output), 50_000);
        assert!(!output.stdout.contains("-1") && !output.stdout.contains("-2"), "{}", output.stdout);
        let events = objects(&output.stdout);
        let file = events.iter().find(|object| object["event"] == "file").unwrap();
        assert_eq!(file["outcome"], "verified");
        assert_eq!(file["name"], format!("received-{}", file["path"].as_str().unwrap()));
    }
    let received = scene.received();
    let names = ["received-new.mp3", "received-song-1.mp3", "received-song-2.mp3", "received-song.mp3"];
    assert_eq!(received.keys().collect::<Vec<_>>(), names);
    assert!(received["received-song-2.mp3"] == noise(2, 50_000));
    // Who runs the server knows.
    assert!(server.stop().unwrap().stdout.contains("received-song-2.mp3"));
}

fn a_drop_box_goes_on_where_it_was_cut_off(transport: Transport) {
    let scene = Scene::new(transport);
    scene.write("film.mp4", &noise(2, 8 * MB));
    fs::write(scene.to("received-film.mp4"), b"another").unwrap();
    let server = scene.serve(&["--write-only", "--max-total", "8MB"]);
    let (client, _valve) = halfway(&scene, &server, 4 * MB, &["-q", "film.mp4"]);
    client.kill().unwrap();
    let held = held(&scene, "film.mp4").unwrap();
    let output = scene.run(&server, &["--json", "film.mp4"]);
    assert_eq!(output.code(), Some(0), "{}", output.stderr);
    assert!(held > 0 && moved(&output) <= 8 * MB as u64 - held, "{held}: {}", output.stdout);
    assert!(scene.received()["received-film-1.mp4"] == noise(2, 8 * MB));
    assert_eq!(fs::metadata(scene.to("received-film.mp4")).unwrap().size(), 7);
    assert!(scene.parts().is_empty());
}

fn a_drop_box_shows_nothing(transport: Transport) {
    let scene = Scene::new(transport);
    fs::create_dir(scene.to("album")).unwrap();
    let server = scene.serve(&["--write-only"]);
    for (words, why) in [
        (&["ls"][..], "does not allow listing files"),
        (&["get", "album"], "does not allow giving files"),
        (&["generate", "10"], "does not allow generated files"),
    ] {
        let output = scene.run(&server, words);
        assert!(refused(&output).contains(why), "{}", output.stderr);
    }
    for line in ["cd album\n", "chdir album\n", "cd nothing\n", "ls\n", "dl x\n", "5\n"] {
        let output = scene.say(&server, line);
        let why = refused(&output);
        assert!(!line.starts_with('c') || why.contains("shows no directories to go to"), "{line}: {why}");
    }
    let output = server.stop().unwrap();
    assert_eq!(output.code(), Some(0));
}

fn streams_and_made_up_files_have_their_limits(transport: Transport) {
    let scene = Scene::new(transport);
    let server =
        scene.serve(&["--max-stream-count", "10", "--max-stream-rate", "64kbit", "--max-generate", "100"]);
    let count = scene.run(&server, &["stream", "--count", "11", "--interval", "50ms", "--size", "100"]);
    assert!(refused(&count).contains("the most are 10 here (--max-stream-count)"), "{}", count.stderr);
    let rate =
        scene.run(&server, &["--json", "stream", "--count", "10", "--interval", "1ms", "--size", "100"]);
    assert!(refused(&rate).contains("more than 64 kbit/s here (--max-stream-rate)"), "{}", rate.stderr);
    let errors = objects(&rate.stdout);
    let error = errors.iter().find(|object| object["event"] == "error").unwrap();
    assert_eq!(error["exit_code"], 5);
    let fine = scene.run(&server, &["stream", "--count", "10", "--interval", "20ms", "--size", "100"]);
    assert_eq!(fine.code(), Some(0), "{}", fine.stderr);
    let made = scene.run(&server, &["generate", "101"]);
    assert!(refused(&made).contains("limit of 100 characters here (--max-generate)"), "{}", made.stderr);
    let none = scene.serve(&["--max-stream-count", "0"]);
    assert!(refused(&scene.run(&none, &["stream"])).contains("does not allow streams"));
}

fn what_comes_without_a_protocol_has_its_limits_too(transport: Transport) {
    let scene = Scene::new(transport);
    scene.write("song.mp3", &noise(1, 60_000));
    scene.write("rest.mp3", &noise(2, 40_000));
    // It says what has become of one before the next one comes.
    let send = |server: &Server, name: &str| scene.run(server, &["--raw", name]);
    let server = scene.serve(&["--raw", "--save", "x", "--max-total", "100k"]);
    send(&server, "song.mp3");
    send(&server, "song.mp3");
    server.process().wait_for_error_line(LIMIT, |line| line.contains("(--max-total)").then_some(())).unwrap();
    // What was not kept was given back.
    send(&server, "rest.mp3");
    until("all of the rest is kept", || (scene.received().len() == 2).then_some(()));
    server.stop().unwrap();
    assert!(scene.received()["received-x-1"] == noise(2, 40_000));
    assert!(scene.parts().is_empty());
    let server = scene.serve(&["--raw", "--save", "y", "--min-free", "1000000TB"]);
    send(&server, "rest.mp3");
    server.process().wait_for_error_line(LIMIT, |line| line.contains("(--min-free)").then_some(())).unwrap();
    server.stop().unwrap();
    assert_eq!(scene.received().len(), 2);
}
