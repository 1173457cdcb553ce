//! The program `lab` along a few paths, as a script would read it.
#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use lab::process::{Process, program};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(240);
const CHUNK: usize = 4096;
/// 512 KiB in as many chunks.
const CHUNKS: u64 = 128;

const MATRIX: &str = r#"
base = "--rate 50mbit --delay 5ms --queue 250ms"
limit = 60
[[case]]
name = "clean"
[[case]]
name = "loss"
faults = "--loss 5%"
[[case]]
name = "bits"
faults = "--corrupt 3%:bits"
[[case]]
name = "neutral"
up = "--corrupt 3%:neutral"
"#;

/// What the lab says of a file of 512 KiB: `None` where no packet-level backend works.
fn rows(args: &[&str]) -> Option<Vec<Value>> {
    let dir = tempfile::tempdir().unwrap();
    let file: Vec<u8> = (0..CHUNKS as usize * CHUNK).map(|at| (at * 31 + at / CHUNK * 7) as u8).collect();
    fs::write(dir.path().join("film.mp4"), file).unwrap();
    fs::write(dir.path().join("matrix.toml"), MATRIX).unwrap();
    let mut command = Command::new(program("lab").unwrap());
    // Under cargo it builds the programs first; here they are there.
    command.args(["--matrix", "matrix.toml"]).args(args).arg("film.mp4").env_remove("CARGO");
    command.current_dir(dir.path()).stdin(Stdio::null());
    let output = Process::spawn(&mut command).unwrap().wait(LIMIT).unwrap();
    assert_eq!(output.code(), Some(0), "{}{}", output.stdout, output.stderr);
    let rows: Vec<Value> = output.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let start = rows.iter().find(|row| row["event"] == "start").unwrap();
    if start["backend"] == "relay" {
        eprintln!("SKIPPED: no packet-level backend works here; netsim doctor says why");
        return None;
    }
    Some(rows)
}

/// The lesson of 4096 bytes in a datagram, and of sums that see or miss damage.
#[test]
fn each_fault_does_to_each_transport_what_it_should() {
    let Some(rows) = rows(&["--json", "--seed", "7"]) else { return };
    let row = |case: &str, over: &str| {
        rows.iter()
            .find(|row| row["case"] == case && row["over"] == over)
            .unwrap_or_else(|| panic!("{case} {over}"))
    };
    for case in ["clean", "loss", "bits", "neutral"] {
        for over in ["tcp", "udp"] {
            let row = row(case, over);
            assert_eq!((&row["arrived"], &row["md5_same"]), (&"whole".into(), &true.into()), "{row}");
        }
    }
    let count = |case: &str, over: &str, field: &str| row(case, over)[field].as_u64().unwrap();
    for over in ["tcp", "plain", "udp"] {
        assert_eq!(count("clean", over, "packets_lost"), 0);
        assert_eq!(row("clean", over)["arrived"], "whole");
    }
    // TCP's segments that were lost went again, and nobody above it saw that.
    assert!(count("loss", "tcp", "sent_again") > 0);
    assert_eq!(count("loss", "tcp", "chunks_repaired"), 0);
    // A chunk in a datagram is three packets, and is lost with any of them.
    let lost = count("loss", "plain", "chunks_lost");
    let packets = count("loss", "plain", "packets_lost");
    assert!((1..=packets).contains(&lost), "{lost} chunks, {packets} packets");
    assert_eq!(row("loss", "plain")["arrived"], "damaged");
    // Damage that the kernel sees is loss to a program.
    assert!(count("bits", "tcp", "sent_again") > 0);
    assert_eq!(count("bits", "tcp", "chunks_repaired"), 0);
    assert!(count("bits", "plain", "chunks_lost") > 0);
    assert_eq!(count("bits", "plain", "chunks_wrong"), 0);
    // Damage that it does not see reaches the program, whose own sums find it.
    assert!(count("neutral", "plain", "chunks_wrong") > 0);
    assert_eq!(count("neutral", "plain", "chunks_lost"), 0);
    assert!(count("neutral", "udp", "sent_again") > 0);
    assert!(
        rows.iter()
            .filter(|row| row["event"] == "row")
            .all(|row| row["explanation"].as_str().unwrap().len() > 20)
    );
}

#[test]
fn values_are_separated_by_commas() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.bin"), vec![1; 100_000]).unwrap();
    let matrix = "ways = ['udp']\n[[case]]\nname = 'a, \"b\"'\nfaults = '--delay 1ms'\n";
    fs::write(dir.path().join("matrix.toml"), matrix).unwrap();
    let mut command = Command::new(program("lab").unwrap());
    command.args(["--csv", "--matrix", "matrix.toml", "--repeat", "2", "a.bin"]).env_remove("CARGO");
    let output = Process::spawn(command.current_dir(dir.path())).unwrap().wait(LIMIT).unwrap();
    assert_eq!(output.code(), Some(0), "{}", output.stderr);
    let lines: Vec<&str> = output.stdout.lines().collect();
    assert_eq!(lines.len(), 2, "{}", output.stdout);
    assert!(lines[0].starts_with("case,over,arrived,"));
    assert!(lines[1].starts_with("\"a, \"\"b\"\"\",\"udp\",\"whole\",true,"), "{}", lines[1]);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.bin"), b"a").unwrap();
    fs::write(dir.path().join("matrix.toml"), "[[case]]\nname = 'a'\nfaults = '--loss 120%'\n").unwrap();
    for args in [
        &["--matrix", "matrix.toml", "a.bin"][..],
        &["--matrix", "none.toml", "a.bin"],
        &["--repeat", "0", "a.bin"],
        &["no-such-file"],
    ] {
        let mut command = Command::new(program("lab").unwrap());
        command.args(args).env_remove("CARGO").current_dir(dir.path());
        let output = Process::spawn(&mut command).unwrap().wait(LIMIT).unwrap();
        assert_ne!(output.code(), Some(0), "{args:?} {}", output.stdout);
        assert!(!output.stderr.is_empty(), "{args:?}");
    }
}
