//! The log and the capture, and that a seed means what it says.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

use super::{Run, settings};

/// What became of each packet of the direction, by its number; without times, which are the kernel's.
fn verdicts(log: &str, direction: &str) -> BTreeMap<u64, (u64, String)> {
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines
        .filter(|line| line["dir"] == direction)
        .map(|line| {
            let faults = ["verdict", "why", "duplicated", "reordered", "corrupted", "undamageable", "change"];
            let words = faults.map(|fault| line[fault].to_string()).join(" ");
            (line["n"].as_u64().unwrap(), (line["len"].as_u64().unwrap(), words))
        })
        .collect()
}

#[test]
fn the_same_seed_means_the_same_verdicts() {
    let mut runs = Vec::new();
    for setting in settings() {
        for _ in 0..2 {
            let run = Run::new(setting).with([
                "--seed",
                "99",
                "--loss",
                "5%",
                "--loss-burst",
                "3",
                "--dup",
                "3%",
                "--reorder",
                "3%:1ms-5ms",
                "--corrupt",
                "3%:neutral",
                "--log",
            ]);
            let path = run.path("log.json");
            let result = run.with([&path]).play("udp-server", "small-udp-client");
            let log = std::fs::read_to_string(result.room.path().join("log.json")).unwrap();
            let verdicts = verdicts(&log, "up");
            assert_eq!(verdicts.len() as u64, result.stats["up"]["entered"].as_u64().unwrap());
            assert!(verdicts.len() > 3000);
            runs.push((setting, verdicts));
        }
    }
    let Some((first, others)) = runs.split_first() else { return };
    for (setting, verdicts) in others {
        // The last ones mark the end, as often as it takes.
        for (number, verdict) in first.1.iter().take(3000) {
            assert_eq!(
                Some(verdict),
                verdicts.get(number),
                "packet {number} of {:?} and {setting:?}",
                first.0
            );
        }
    }
}

#[test]
fn the_log_agrees_with_the_statistics_and_with_what_arrived() {
    for setting in settings() {
        let run = Run::new(setting).with(["--up", "loss=5% dup=3%", "--seed", "5", "--log"]);
        let path = run.path("log.json");
        let result = run.with([&path]).play("udp-server", "small-udp-client");
        let log = std::fs::read_to_string(result.room.path().join("log.json")).unwrap();
        let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect::<Vec<_>>();
        let count = |of: &dyn Fn(&Value) -> bool| {
            lines.iter().filter(|line| line["dir"] == "up" && of(line)).count() as u64
        };
        let data = |line: &Value| line["len"] == 128 && line["proto"] == "udp";
        assert_eq!(count(&data), 3000);
        assert_eq!(count(&|line| line["why"] == "loss"), result.stats["up"]["lost"]);
        assert_eq!(count(&|line| line["duplicated"] == true), result.stats["up"]["duplicated"]);
        if result.server["overflows"] == 0 {
            assert_eq!(count(&|line| data(line) && line["verdict"] == "delivered"), result.server["arrived"]);
            assert_eq!(count(&|line| data(line) && line["duplicated"] == true), result.server["twice"]);
        }
        let said = super::stderr(&result.output);
        assert!(said.contains("loss     asked     5 %   given") && said.contains("99 %:"), "{said}");
    }
}

#[test]
fn the_capture_opens_in_tshark() {
    if Command::new("tshark").arg("--version").output().is_err() {
        eprintln!("SKIPPED: there is no tshark here");
        return;
    }
    for setting in settings() {
        let run =
            Run::new(setting).with(["--loss", "5%", "--corrupt", "5%:bits", "--delay", "3ms", "--pcap"]);
        let path = run.path("run.pcapng");
        let result = run.with([&path]).play("udp-server", "udp-client");
        let output = Command::new("tshark")
            .arg("-r")
            .arg(result.room.path().join("run.pcapng"))
            .args([
                "-T",
                "fields",
                "-e",
                "frame.interface_name",
                "-e",
                "frame.comment",
                "-e",
                "frame.time_epoch",
                "-e",
                "ip.src",
            ])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", super::stderr(&output));
        let text = String::from_utf8(output.stdout).unwrap();
        let up = text.lines().filter(|line| line.starts_with("up\tup ")).collect::<Vec<_>>();
        assert_eq!(up.len() as u64, result.stats["up"]["entered"].as_u64().unwrap(), "{text}");
        assert!(up.iter().all(|line| line.ends_with("\t10.77.0.1")), "{text}");
        let dropped = up.iter().filter(|line| line.contains(": dropped: loss")).count() as u64;
        assert_eq!(dropped, result.stats["up"]["lost"]);
        let damaged =
            up.iter().filter(|line| line.contains("delivered after 3.000 ms, damaged (bit ")).count() as u64;
        assert_eq!(damaged, result.stats["up"]["corrupted"]);
    }
}
