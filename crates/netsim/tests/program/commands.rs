//! Exit codes, and that nothing is left behind.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{User, netsim, setting, settings, stderr};

fn code(arguments: &[&str]) -> (i32, String) {
    let output = netsim(User::Myself).args(arguments).stdin(Stdio::null()).output().unwrap();
    (output.status.code().unwrap(), stderr(&output))
}

#[track_caller]
fn assert_code(arguments: &[&str], expected: i32, says: &str) {
    let (code, said) = code(arguments);
    assert!(code == expected && said.contains(says), "{arguments:?}: {code}, {said}");
}

#[test]
fn what_is_typed_wrong() {
    assert_code(&["run", "--loss", "120%", "--", "true"], 2, "loss: 1.2 is no probability");
    assert_code(&["run", "--delay", "-20ms", "--", "true"], 2, "a time is written like 20ms");
    assert_code(&["run", "--up", "los=5%", "--", "true"], 2, "--los is no fault");
    assert_code(&["run", "--preset", "tin-can", "--", "true"], 2, "there are wifi, 3g");
    assert_code(&["run", "--queue", "64k", "--", "true"], 2, "without a rate");
    assert_code(
        &["run", "--backend", "packet", "--mtu", "9000", "--", "true"],
        125,
        "packets of 1920 bytes at most",
    );
    assert_code(&["run", "--mtu", "99", "--", "true"], 2, "576..=65535");
    assert_code(&["run", "--loss", "5%"], 2, "CMD");
    assert_code(&["preset", "show", "tin-can"], 125, "there is no preset");
}

#[test]
fn presets_and_doctor_speak() {
    let output = netsim(User::Myself).args(["preset", "show", "lte"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("--rate 12mbit") && text.contains("WebPageTest"), "{text}");
    let output = netsim(User::Myself).args(["doctor"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("relay      ok"), "{text}");
    assert_eq!(output.status.success(), text.contains("netsim shell will use the"), "{text}");
    let output = netsim(User::Myself).args(["doctor", "--print-apparmor"]).output().unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().contains("userns,"));
}

#[test]
fn the_exit_code_is_the_commands() {
    let Some((_, backend)) = setting() else { return };
    let run = |words: &[&str]| {
        let mut all = vec!["run", "--backend", backend, "--"];
        all.extend(words);
        code(&all)
    };
    assert_eq!(run(&["true"]).0, 0);
    assert_eq!(run(&["sh", "-c", "exit 7"]).0, 7);
    assert_eq!(run(&["sh", "-c", "kill -9 $$"]).0, 137);
    assert_eq!(run(&["/no/such/program"]).0, 127);
    assert_eq!(run(&["/etc/passwd"]).0, 126);
    let (code, said) = run(&["sh", "-c", "echo \"at $NETSIM_CLIENT, to $NETSIM_SERVER\" >&2"]);
    assert!(code == 0 && said.contains("at 10.77.0.1, to 10.77.0.2") && said.contains(", seed "), "{said}");
}

#[test]
fn the_output_is_the_commands() {
    let Some((user, backend)) = setting() else { return };
    let output = netsim(user)
        .args([
            "run",
            "--backend",
            backend,
            "--wait",
            "0.2",
            "--server",
            "echo of the server; exec sleep 60",
            "--",
            "echo",
            "of the client",
        ])
        .output()
        .unwrap();
    assert_eq!(output.stdout, b"of the client\n");
    assert!(stderr(&output).contains("of the server") && stderr(&output).contains("does not listen"));
}

#[test]
fn a_server_that_ends_at_once() {
    let Some((_, backend)) = setting() else { return };
    let (code, said) = code(&["run", "--backend", backend, "--server", "exit 3", "--", "true"]);
    assert!(code == 125 && said.contains("the server ended before it listened (exit code 3)"), "{said}");
}

/// Whether a process runs that was started with this argument.
fn runs(mark: &str) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok());
    processes.into_iter().any(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        line.split(|&byte| byte == 0).any(|word| word == mark.as_bytes())
    })
}

#[track_caller]
fn assert_gone(mark: &str) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while runs(mark) {
        assert!(Instant::now() < deadline, "{mark} still runs");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A number of seconds that no one else sleeps for.
fn mark(case: u32) -> String {
    format!("{}{case:02}", 1_000_000 + std::process::id())
}

#[test]
fn nothing_is_left_behind_by_commands_that_stay() {
    for (place, (user, backend)) in settings().into_iter().enumerate() {
        let (server, client) = (mark(place as u32), mark(10 + place as u32));
        let output = netsim(user)
            .args(["run", "--backend", backend, "--wait", "0.2", "--server"])
            .arg(format!("trap '' TERM; (setsid sleep {server} &); exit 0"))
            .args(["--", "sh", "-c", &format!("trap '' TERM HUP; (setsid sleep {client} &); exit 4")])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
        assert!(!runs(&server) && !runs(&client), "gone before netsim is");
    }
}

/// Starts a run whose commands sleep and ignore what they can, and gives it when both sleep.
fn sleepers(user: User, backend: &str, server: &str, client: &str) -> std::process::Child {
    let mut child = netsim(user)
        .args([
            "run",
            "--backend",
            backend,
            "--wait",
            "0.2",
            "--server",
            &format!("trap '' TERM INT HUP; sleep {server} & sleep {server}"),
        ])
        .args(["--", "sh", "-c", &format!("trap '' TERM INT HUP; echo up; sleep {client}; sleep {client}")])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut byte = [0];
    child.stdout.as_mut().unwrap().read_exact(&mut byte).unwrap();
    child
}

#[test]
fn nothing_is_left_behind_after_a_signal() {
    for (place, (user, backend)) in settings().into_iter().enumerate() {
        for (signal, expected) in
            [("INT", Some(130)), ("TERM", Some(143)), ("HUP", Some(129)), ("KILL", None)]
        {
            let case = 20 + place as u32 * 10;
            let (server, client) = (mark(case), mark(case + 1));
            let mut child = sleepers(user, backend, &server, &client);
            assert!(runs(&server), "the server's sleep");
            let killed = Command::new("kill").args(["-s", signal, &child.id().to_string()]).status().unwrap();
            assert!(killed.success());
            assert_eq!(child.wait().unwrap().code(), expected, "{signal} {user:?} {backend}");
            assert_gone(&server);
            assert_gone(&client);
        }
    }
}

#[test]
fn a_signal_while_the_server_is_waited_for() {
    let Some((user, backend)) = setting() else { return };
    let server = mark(70);
    let mut child = netsim(user)
        .args(["run", "--backend", backend, "--wait", "600", "--server"])
        .args([&format!("echo up >&2; sleep {server}"), "--", "true"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let up = lines.map_while(|line| line.ok()).any(|line| line == "up");
    assert!(up, "the server was started");
    let killed = Command::new("kill").args(["-s", "TERM", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert_gone(&server);
}

#[test]
fn the_host_keeps_its_network() {
    let Some((user, backend)) = setting() else { return };
    let devices = || std::fs::read_to_string("/proc/net/dev").unwrap().lines().count();
    let before = devices();
    let output =
        netsim(user).args(["run", "--backend", backend, "--", "cat", "/proc/net/dev"]).output().unwrap();
    let inside = String::from_utf8(output.stdout).unwrap();
    assert_eq!(inside.lines().count(), 4, "two lines of heading, lo and net0: {inside}");
    assert_eq!(devices(), before);
}
