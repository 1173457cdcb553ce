//! What `--json` prints: objects with the fields that are documented, and the exit code that the program has.

use std::time::Duration;

use lab::Transport;
use lab::process::{LIMIT, Output, Process, Server};
use serde_json::Value;

use crate::rogue::Rogue;
use crate::scene::{Scene, noise, objects};
use crate::valve::Valve;

/// The documented fields of each event, and the kind of value each has: text, number, flag. What may be missing has a
/// question mark.
const FIELDS: [(&str, &str); 10] = [
    ("ready", "program:t version:t address:t dir:t"),
    ("start", "program:t version:t side:t peer:t software:t name:t files:n directories:n bytes:n"),
    (
        "progress",
        "peer:t bytes:n wanted:n held:n compared:n path:t seconds:n bytes_per_second:n loss:n? rtt_ms:n?",
    ),
    (
        "file",
        "peer:t side:t path:t name:t bytes:n moved:n held:n seconds:n outcome:t reason:t? checksum:t? here:t? there:t? same:f? \
         chunks:n? lost:t? damaged:t? duplicated:t? reordered:t?",
    ),
    ("retry", "peer:t reason:t wait_seconds:n"),
    ("note", "text:t path:t?"),
    (
        "done",
        "peer:t side:t name:t complete:f verified:n already_there:n directories:n kept:n differs:n damaged:n changed:n \
         unreadable:n refused:n skipped:n bytes:n moved:n seconds:n bytes_per_second:n exit_code:n packets:n? lost:n? \
         parts:n? sent_again:n? wire_bytes:n? rtt_min_ms:n? rtt_avg_ms:n? datagram:n? limiter:t?",
    ),
    (
        "audit",
        "time:t peer:t key:null action:t path:t name:t? entries:n bytes:n moved:n verdict:t outcomes:o? why:t?",
    ),
    ("error", "message:t exit_code:n peer:t?"),
    ("stopped", ""),
];

/// The objects of an output, each of which has its fields and no others.
fn checked(output: &str) -> Vec<Value> {
    let objects = objects(output);
    for object in &objects {
        let event = object["event"].as_str().unwrap();
        let fields = FIELDS.iter().find(|(known, _)| *known == event).map(|(_, fields)| *fields);
        let fields = fields.unwrap_or_else(|| panic!("an unknown event: {object}"));
        let mut known = vec!["event"];
        for field in fields.split_whitespace() {
            let (name, kind) = field.split_once(':').unwrap();
            known.push(name);
            let value = object.get(name);
            let fits = match (value, kind.trim_end_matches('?')) {
                (None, _) => kind.ends_with('?'),
                (Some(value), "t") => value.is_string(),
                (Some(value), "n") => value.is_number(),
                (Some(value), "o") => value.is_object(),
                (Some(value), "null") => value.is_null(),
                (Some(value), _) => value.is_boolean(),
            };
            assert!(fits, "{name} in {object}");
        }
        for name in object.as_object().unwrap().keys() {
            assert!(known.contains(&name.as_str()), "{name} in {object}");
        }
    }
    objects
}

fn events(objects: &[Value]) -> Vec<&str> {
    objects.iter().map(|object| object["event"].as_str().unwrap()).collect()
}

/// The objects of a client that has ended, the last of which tells its exit code.
fn ended(output: &Output, code: i32) -> Vec<Value> {
    assert_eq!(output.code(), Some(code), "{} {}", output.stdout, output.stderr);
    let objects = checked(&output.stdout);
    let told = objects.iter().rev().find_map(|object| object.get("exit_code"));
    assert_eq!(told, Some(&code.into()), "{}", output.stdout);
    objects
}

over_each_transport!(
    a_transfer_is_told_from_start_to_done_on_both_sides,
    every_way_to_fail_is_an_error_with_the_exit_code_of_the_program,
    retries_and_interrupts_are_told_too,
    an_end_with_once_has_the_exit_code_of_its_transfer,
);

fn start(scene: &Scene, server: &Server, args: &[&str]) -> Process {
    scene.start(server.address(), args)
}

fn a_transfer_is_told_from_start_to_done_on_both_sides(transport: Transport) {
    let scene = Scene::new(transport);
    scene.write("film.mp4", &noise(1, 32_000_000));
    let server = scene.serve(&["--json"]);
    let valve = Valve::new(transport, server.address(), 1_000_000);
    let client = match transport {
        Transport::Tcp => scene.start(valve.address(), &["--json", "film.mp4"]),
        // What the valve holds up would be lost, and take its time.
        Transport::Udp => scene.start(server.address(), &["--json", "--rate", "100mbit", "film.mp4"]),
    };
    let progress = |line: &str| line.contains(r#""event":"progress""#).then_some(());
    // Slowly, until there is some progress to tell of.
    let pace = Duration::from_millis(20);
    while client.wait_for_line(pace, progress).is_err()
        || server.process().wait_for_line(pace, progress).is_err()
    {
        valve.open(250_000);
        assert!(!client.stdout().contains(r#""event":"done""#), "no progress: {}", client.stdout());
    }
    valve.open(u64::MAX);
    let client = ended(&client.wait(LIMIT).unwrap(), 0);
    let server = checked(&server.stop().unwrap().stdout);
    let without_progress = |objects: &[Value]| {
        let kept = |object: &&Value| object["event"] != "progress";
        objects.iter().filter(kept).cloned().collect::<Vec<_>>()
    };
    assert_eq!(events(&without_progress(&client)), ["start", "file", "done"]);
    assert_eq!(events(&without_progress(&server)), ["ready", "start", "file", "done", "audit", "stopped"]);

    for (objects, side, other) in
        [(&client, "sender", transport.server()), (&server, "receiver", transport.client())]
    {
        let of = |event: &str| objects.iter().find(|object| object["event"] == event).unwrap();
        let start = of("start");
        assert_eq!((&start["side"], &start["files"]), (&side.into(), &1.into()));
        assert!(start["software"].as_str().unwrap().starts_with(other), "{start}");
        let progress = of("progress");
        assert_eq!((&progress["wanted"], &progress["held"]), (&32_000_000.into(), &0.into()), "{progress}");
        assert!((1..=32_000_000).contains(&progress["bytes"].as_u64().unwrap()), "{progress}");
        assert_eq!(progress["path"], "film.mp4");
        let is_udp = transport == Transport::Udp;
        assert_eq!((progress.get("loss").is_some(), progress.get("rtt_ms").is_some()), (is_udp, is_udp));
        let file = of("file");
        assert_eq!((&file["outcome"], &file["same"]), (&"verified".into(), &true.into()));
        assert_eq!((&file["path"], &file["name"]), (&"film.mp4".into(), &"received-film.mp4".into()));
        assert_eq!((&file["bytes"], &file["moved"]), (&32_000_000.into(), &32_000_000.into()));
        let done = of("done");
        assert_eq!((&done["verified"], &done["complete"]), (&1.into(), &true.into()));
        let of_path = [
            "packets",
            "lost",
            "parts",
            "sent_again",
            "wire_bytes",
            "rtt_min_ms",
            "rtt_avg_ms",
            "datagram",
            "limiter",
        ];
        for field in of_path {
            assert_eq!(done.get(field).is_some(), is_udp, "{field} in {done}");
        }
    }
    let digest = |objects: &[Value], key: &str| {
        objects.iter().find(|object| object["event"] == "file").unwrap()[key].as_str().unwrap().to_owned()
    };
    assert_eq!(digest(&client, "here"), digest(&server, "here"));
    assert_eq!(digest(&client, "there"), digest(&client, "here"));
}

fn every_way_to_fail_is_an_error_with_the_exit_code_of_the_program(transport: Transport) {
    let scene = Scene::new(transport);
    scene.write("song.mp3", &noise(2, 100_000));
    let server = scene.serve(&["--json", "--max-file-size", "1k"]);
    for (args, code) in [
        (&["--json", "--nonsense"][..], 2),
        (&["--json", "--server", "127.0.0.1:1", "song.mp3"], 3),
        (&["--json", "song.mp3"], 5),
        (&["--json", "get", "nothing.mp3"], 5),
        (&["--json", "nothing.mp3"], 6),
    ] {
        let output = start(&scene, &server, args).wait(LIMIT).unwrap();
        let objects = ended(&output, code);
        let error = objects.iter().find(|object| object["event"] == "error").unwrap();
        assert_eq!(error["exit_code"], code);
        let line = output
            .stderr
            .strip_prefix(transport.client())
            .unwrap()
            .strip_prefix(": ")
            .unwrap()
            .lines()
            .next()
            .unwrap();
        assert_eq!(error["message"], line, "{args:?}");
    }
    let output = start(&scene, &server, &["--json", "song.mp3"]).wait(LIMIT).unwrap();
    let objects = ended(&output, 5);
    let of = |event: &str| objects.iter().find(|object| object["event"] == event).unwrap();
    assert_eq!(of("file")["outcome"], "refused");
    assert!(of("file")["reason"].as_str().unwrap().contains("at most 1000"), "{}", of("file"));
    assert_eq!((&of("done")["refused"], &of("done")["complete"]), (&1.into(), &false.into()));

    let output = server.stop().unwrap();
    let objects = checked(&output.stdout);
    let errors: Vec<&Value> = objects.iter().filter(|object| object["event"] == "error").collect();
    assert_eq!(errors.len(), 3, "{}", output.stdout);
    assert_eq!(output.stderr.lines().count(), 3, "{}", output.stderr);
    assert!(errors.iter().all(|error| error["peer"].is_string()));
}

fn retries_and_interrupts_are_told_too(transport: Transport) {
    let scene = Scene::new(transport);
    scene.write("song.mp3", &noise(3, 100_000));
    scene.write("album/song.mp3", b"song");
    std::os::unix::fs::symlink("song.mp3", scene.from("album/link")).unwrap();
    std::fs::write(scene.to("there.mp3"), b"there").unwrap();
    let server = scene.serve(&["--json", "--max-clients", "1"]);
    let mut first = Rogue::connect(transport, server.address());
    first.keep_busy("there.mp3");
    let client = start(&scene, &server, &["--json", "album"]);
    client.wait_for_line(LIMIT, |line| line.contains(r#""event":"retry""#).then_some(())).unwrap();
    client.interrupt().unwrap();
    let objects = ended(&client.wait(LIMIT).unwrap(), 130);
    let events = events(&objects);
    // Whether it is told what was to be sent depends on how soon the server said no.
    assert!(["note", "retry", "error"].iter().all(|event| events.contains(event)), "{events:?}");
    let note = objects.iter().find(|object| object["event"] == "note").unwrap();
    assert_eq!(note["path"], "album/link");
}

fn an_end_with_once_has_the_exit_code_of_its_transfer(transport: Transport) {
    let scene = Scene::new(transport);
    scene.write("song.mp3", &noise(4, 100_000));
    for (args, code) in [(&["--json", "--once"][..], 0), (&["--json", "--once", "--max-file-size", "1k"], 5)]
    {
        let server = scene.serve(args);
        start(&scene, &server, &["song.mp3"]).wait(LIMIT).unwrap();
        let output = server.wait(LIMIT).unwrap();
        assert_eq!(output.code(), Some(code), "{}", output.stdout);
        let objects = checked(&output.stdout);
        let done = objects.iter().find(|object| object["event"] == "done").unwrap();
        assert_eq!(done["exit_code"], code);
        assert_eq!(objects.last().unwrap()["event"], "stopped");
    }
}
