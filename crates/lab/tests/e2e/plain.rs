//! `--plain`: what UDP does without help, and that the report of it is true.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use framing::CHUNK_LEN;
use lab::Transport;
use lab::process::{LIMIT, Output};
use serde_json::Value;

use crate::relay::{Relay, Weather};
use crate::scene::{Scene, noise, objects};

const MB: usize = 1_000_000;

fn scene() -> Scene {
    Scene::new(Transport::Udp)
}

/// What became of the only file.
fn file(output: &Output) -> Value {
    objects(&output.stdout).into_iter().find(|object| object["event"] == "file").unwrap()
}

/// The chunks that a field of it names.
fn chunks(file: &Value, field: &str) -> BTreeSet<usize> {
    let mut chunks = BTreeSet::new();
    for range in file[field].as_str().unwrap().split(',').filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        chunks.extend(first.parse().unwrap()..=last.parse::<usize>().unwrap());
    }
    chunks
}

/// Chunks that are not the same in two files, of equal length.
fn different(one: &Path, other: &Path) -> BTreeSet<usize> {
    let (one, other) = (fs::read(one).unwrap(), fs::read(other).unwrap());
    assert_eq!(one.len(), other.len());
    let pairs = one.chunks(CHUNK_LEN).zip(other.chunks(CHUNK_LEN)).enumerate();
    pairs.filter(|(_, (one, other))| one != other).map(|(chunk, _)| chunk).collect()
}

#[test]
fn without_faults_a_file_comes_whole_and_verified() {
    let scene = scene();
    scene.write("song.mp3", &noise(1, 2 * MB));
    let server = scene.serve(&["--once"]);
    let output = scene.run(&server, &["--plain", "song.mp3"]);
    assert_eq!((output.code(), output.stderr.as_str()), (Some(0), ""), "{}", output.stdout);
    assert!(output.stdout.contains("   same\n"), "{}", output.stdout);
    let server = server.wait(LIMIT).unwrap();
    assert_eq!((server.code(), server.stderr.as_str()), (Some(0), ""));
    let received = scene.received();
    assert_eq!(received.keys().collect::<Vec<_>>(), ["received-song.mp3"]);
    assert!(received["received-song.mp3"] == noise(1, 2 * MB));
}

#[test]
fn the_report_names_exactly_the_chunks_that_differ_on_both_sides() {
    let weathers = [
        Weather { lost: 50, ..Weather::default() },
        Weather { damaged: 50, ..Weather::default() },
        Weather { lost: 100, doubled: 100, damaged: 20, overtaken: 100 },
    ];
    for weather in weathers {
        let scene = scene();
        scene.write("film.mp4", &noise(2, 4 * MB + 5));
        let server = scene.serve(&["--json", "--once"]);
        let relay = Relay::new(server.address(), weather);
        let client = scene.start(relay.address(), &["--json", "--plain", "film.mp4"]).wait(LIMIT).unwrap();
        let server = server.wait(LIMIT).unwrap();
        assert_eq!((client.code(), server.code()), (Some(4), Some(4)), "{} {}", client.stderr, server.stderr);
        assert!(scene.parts().is_empty(), "{:?}", scene.parts());
        let received = scene.received();
        assert_eq!(received.keys().collect::<Vec<_>>(), ["received-film.damaged.mp4"]);
        let bad = different(&scene.from("film.mp4"), &scene.to("received-film.damaged.mp4"));
        let (here, there) = (file(&client), file(&server));
        for report in [&here, &there] {
            assert_eq!(report["outcome"], "damaged");
            assert_eq!(report["name"], "received-film.damaged.mp4");
            assert_eq!((&report["same"], &report["chunks"]), (&false.into(), &977.into()));
            let (lost, damaged) = (chunks(report, "lost"), chunks(report, "damaged"));
            assert!(lost.is_disjoint(&damaged), "{report}");
            assert_eq!(lost.union(&damaged).copied().collect::<BTreeSet<_>>(), bad, "{report}");
            // Damage to a header is as good as a loss.
            assert!(!lost.is_empty() || weather.lost == 0, "{report}");
            assert_eq!(damaged.is_empty(), weather.damaged == 0, "{report}");
            assert_eq!(chunks(report, "duplicated").is_empty(), weather.doubled == 0, "{report}");
            assert_eq!(chunks(report, "reordered").is_empty(), weather.overtaken == 0, "{report}");
        }
        for field in ["lost", "damaged", "duplicated", "reordered", "here", "there"] {
            let other = match field {
                "here" => "there",
                "there" => "here",
                _ => field,
            };
            assert_eq!(here[field], there[other], "{field}");
        }
        // The share of chunks is that of datagrams here: nothing cuts them into fragments.
        let share = 1000 * bad.len() as u64 / 977;
        let expected = weather.lost + weather.damaged;
        assert!((expected / 2..=expected * 2).contains(&share), "{share} of a thousand, not {expected}");
    }
}

#[test]
fn what_a_person_reads_has_numbers_a_strip_and_a_place() {
    let scene = scene();
    scene.write("film.mp4", &noise(3, 4 * MB));
    let server = scene.serve(&["--once"]);
    let relay = Relay::new(server.address(), Weather { lost: 50, ..Weather::default() });
    let client = scene.start(relay.address(), &["--plain", "film.mp4"]).wait(LIMIT).unwrap();
    let server = server.wait(LIMIT).unwrap();
    let bad = different(&scene.from("film.mp4"), &scene.to("received-film.damaged.mp4")).len();
    for (output, word, place) in
        [(&client, "sent", "which keeps what came as"), (&server, "received", "what came is kept as")]
    {
        assert_eq!(output.code(), Some(4));
        assert!(output.stdout.contains(&format!("{word}  ")), "{}", output.stdout);
        assert!(output.stdout.contains("   DIFFERS\n"), "{}", output.stdout);
        assert!(output.stdout.contains(&format!("\nlost        {bad} of 977 chunks: ")), "{}", output.stdout);
        let legend = output.stdout.lines().position(|line| line.contains("partly lost")).unwrap();
        let strip = output.stdout.lines().nth(legend - 1).unwrap();
        assert_eq!(strip.chars().count(), 64, "{}", output.stdout);
        assert_eq!(output.stderr.lines().count(), 1, "{}", output.stderr);
        let complaint = format!("film.mp4: {bad} of 977 chunks were lost on the way");
        assert!(output.stderr.contains(&complaint), "{}", output.stderr);
        assert!(output.stderr.contains(&format!("{place} received-film.damaged.mp4")), "{}", output.stderr);
    }
}

#[test]
fn what_is_fetched_is_reported_likewise() {
    let scene = scene();
    fs::write(scene.to("film.mp4"), noise(4, 4 * MB)).unwrap();
    let server = scene.serve(&["--json", "--once"]);
    let relay = Relay::new(server.address(), Weather { lost: 50, ..Weather::default() });
    let client = scene.start(relay.address(), &["--json", "--plain", "get", "film.mp4"]).wait(LIMIT).unwrap();
    let server = server.wait(LIMIT).unwrap();
    assert_eq!((client.code(), server.code()), (Some(4), Some(4)), "{} {}", client.stderr, server.stderr);
    let bad = different(&scene.to("film.mp4"), &scene.from("received-film.damaged.mp4"));
    assert!(!bad.is_empty());
    assert_eq!(chunks(&file(&client), "lost"), bad);
    assert_eq!(chunks(&file(&server), "lost"), bad);
}

#[test]
fn after_a_plain_attempt_the_file_can_still_be_sent() {
    let scene = scene();
    scene.write("film.mp4", &noise(5, 2 * MB));
    let server = scene.serve(&[]);
    let relay = Relay::new(server.address(), Weather { lost: 100, ..Weather::default() });
    for _ in 0..2 {
        let output = scene.start(relay.address(), &["--plain", "film.mp4"]).wait(LIMIT).unwrap();
        assert_eq!(output.code(), Some(4), "{} {}", output.stdout, output.stderr);
    }
    let output = scene.start(relay.address(), &["film.mp4"]).wait(LIMIT).unwrap();
    assert_eq!(output.code(), Some(0), "{} {}", output.stdout, output.stderr);
    let received = scene.received();
    assert!(received["received-film.mp4"] == noise(5, 2 * MB));
    // Nothing that is there is overwritten unasked.
    assert_eq!(received.len(), 3, "{:?}", received.keys());
}

#[test]
fn the_rate_is_kept() {
    let scene = scene();
    scene.write("song.mp3", &noise(6, 2 * MB));
    let server = scene.serve(&[]);
    let output = scene.run(&server, &["--plain", "--rate", "16mbit", "song.mp3"]);
    assert_eq!(output.code(), Some(0), "{}", output.stderr);
    let least = Duration::from_millis(850);
    assert!(output.elapsed > least && output.elapsed < 3 * least, "{:?}", output.elapsed);
}

#[test]
fn a_tree_is_reported_file_by_file() {
    let scene = scene();
    for number in 0..4 {
        scene.write(&format!("album/track {number}.wav"), &noise(number, MB));
    }
    scene.write("album/empty", b"");
    let server = scene.serve(&[]);
    let relay = Relay::new(server.address(), Weather { lost: 50, ..Weather::default() });
    let output = scene.start(relay.address(), &["--json", "--plain", "album"]).wait(LIMIT).unwrap();
    assert_eq!(output.code(), Some(4), "{}", output.stderr);
    let objects = objects(&output.stdout);
    let files = objects.iter().filter(|object| object["event"] == "file" && object["outcome"] != "directory");
    let mut damaged = 0;
    for file in files {
        let (path, name) = (file["path"].as_str().unwrap(), file["name"].as_str().unwrap());
        let bad = different(&scene.from(path), &scene.to(name));
        assert_eq!(file["outcome"] == "damaged", !bad.is_empty(), "{file}");
        assert_eq!(chunks(file, "lost"), bad, "{file}");
        assert_eq!(name.contains(".damaged"), !bad.is_empty(), "{file}");
        damaged += u64::from(!bad.is_empty());
    }
    let done = objects.iter().find(|object| object["event"] == "done").unwrap();
    assert_eq!((&done["damaged"], &done["verified"]), (&damaged.into(), &(5 - damaged).into()), "{done}");
}
