//! The program as a person or a script meets it, without a transfer.

use std::io::Write as _;
use std::net::TcpStream;
use std::path::Path;

use lab::process::{LIMIT, Output, Server, run};

fn server(args: &[&str]) -> Output {
    run("tcp-server", args, Path::new("."), LIMIT).expect("it runs")
}

#[test]
fn it_says_its_version() {
    let output = server(&["--version"]);
    assert_eq!((output.code(), output.stdout.as_str()), (Some(0), "tcp-server 0.1.0\n"));
}

#[test]
fn help_names_every_flag_and_exit_code() {
    let long = server(&["--help"]);
    assert_eq!(long.code(), Some(0));
    let flags = [
        "--listen <ADDR:PORT>",
        "--dir <DIR>",
        "--prefix <P>",
        "--if-exists <WHAT>",
        "--once",
        "--read-only",
        "--write-only",
        "--max-file-size <SIZE>",
        "--max-total <SIZE>",
        "--min-free <SIZE>",
        "--max-stream-count <N>",
        "--max-stream-rate <RATE>",
        "--max-clients <N>",
        "--max-per-address <N>",
        "--handshake-timeout <TIME>",
        "--idle-timeout <TIME>",
        "--raw",
        "--save <NAME>",
        "--congestion <NAME>",
        "--insecure",
        "--key-file <FILE>",
        "--key",
        "--json",
        "-q, --quiet",
        "-v, --verbose",
        "[default: 127.0.0.1:8120]",
        "[default: received-]",
        "Examples:",
        "Exit codes:",
        "\n  130  interrupted",
    ];
    for flag in flags {
        assert!(long.stdout.contains(flag), "{flag} is missing in\n{}", long.stdout);
    }
    let short = server(&["-h"]);
    assert_eq!(short.code(), Some(0));
    assert!(short.stdout.contains("Examples:") && short.stdout.len() < long.stdout.len());
}

#[test]
fn wrong_usage_ends_with_2() {
    for args in [
        &["--nonsense"][..],
        &["somewhere"],
        &["--read-only", "--write-only"],
        &["--write-only", "--if-exists", "skip"],
        &["--max-stream-rate", "1gbit"],
        &["--max-file-size", "99999999TiB"],
        &["--listen", "8120"],
        &["--congestion", "no-such-control"],
    ] {
        let output = server(&[args, &["--dir", "."]].concat());
        assert_eq!(output.code(), Some(2), "{args:?}: {}", output.stderr);
        assert!(output.stderr.starts_with("tcp-server: "), "{args:?}: {}", output.stderr);
        assert_eq!(output.stdout, "", "{args:?}");
    }
}

#[test]
fn it_does_not_leave_loopback_unasked() {
    let output = server(&["--listen", "0.0.0.0:0"]);
    assert_eq!(output.code(), Some(2));
    assert!(output.stderr.starts_with("tcp-server: refusing to listen on 0.0.0.0:0: "), "{}", output.stderr);
    assert!(output.stderr.contains("add --insecure"), "{}", output.stderr);
    assert_eq!(output.stderr.lines().count(), 1);

    let insecure =
        Server::start("tcp-server", ["--listen=0.0.0.0:0", "--insecure", "-q"], Path::new(".")).unwrap();
    let output = insecure.stop().unwrap();
    assert!(output.stderr.starts_with("warning: --insecure: there is no key"), "{}", output.stderr);
    assert_eq!(output.code(), Some(0));
}

#[test]
fn a_port_in_use_is_explained() {
    let first = Server::start("tcp-server", [""; 0], Path::new(".")).unwrap();
    let address = first.address();
    let second = server(&["--listen", &address.to_string()]);
    assert_eq!(second.code(), Some(1));
    assert_eq!(
        second.stderr,
        format!(
            "tcp-server: cannot listen on {address}: address already in use; another server may be running there, or \
             choose another port with --listen 127.0.0.1:0\n"
        )
    );
}

#[test]
fn a_missing_directory_ends_with_6() {
    let output = server(&["--listen", "127.0.0.1:0", "--dir", "/no/such/directory"]);
    assert_eq!((output.code(), output.stdout.as_str()), (Some(6), ""));
    assert!(output.stderr.contains("/no/such/directory"), "{}", output.stderr);
    assert_eq!(output.stderr.lines().count(), 1);
}

#[test]
fn it_says_when_it_is_ready_and_when_it_stops() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start("tcp-server", [""; 0], dir.path()).unwrap();
    let ready = format!("ready  tcp-server 0.1.0 on {}, directory .\n", server.address());
    let output = server.stop().unwrap();
    assert_eq!((output.code(), output.stdout), (Some(0), format!("{ready}stopped\n")));
    assert_eq!(output.stderr, "");
}

#[test]
fn a_quiet_server_still_says_when_it_is_ready() {
    let server = Server::start("tcp-server", ["-q"], Path::new(".")).unwrap();
    server.process().interrupt().unwrap();
    let output = server.wait(LIMIT).unwrap();
    assert_eq!((output.code(), output.stdout.lines().count()), (Some(0), 1));
}

#[test]
fn json_lines_are_objects() {
    let server = Server::start("tcp-server", ["--json"], Path::new(".")).unwrap();
    let address = server.address();
    let output = server.stop().unwrap();
    let ready = format!(
        r#"{{"event":"ready","program":"tcp-server","version":"0.1.0","address":"{address}","dir":"."}}"#
    );
    assert_eq!(output.stdout, ready + "\n{\"event\":\"stopped\"}\n");
}

#[test]
fn a_stranger_is_one_line_and_harms_nobody() {
    let server = Server::start("tcp-server", ["--once"], Path::new(".")).unwrap();
    let mut stranger = TcpStream::connect(server.address()).unwrap();
    stranger.write_all(b"GET / HTTP/1.1\r\nHost: \x1b[2J\r\n\r\n").unwrap();
    let peer = stranger.local_addr().unwrap();
    let line = server.process().wait_for_error_line(LIMIT, |line| Some(line.to_owned())).unwrap();
    assert!(line.starts_with(&format!("tcp-server: {peer}: ")), "{line}");
    assert!(line.contains("does not speak Tandem's protocol"), "{line}");
    // A connection and nothing else is no transfer.
    drop(TcpStream::connect(server.address()).unwrap());
    let output = server.stop().unwrap();
    assert_eq!(output.code(), Some(130));
    assert_eq!(output.stderr.lines().count(), 1, "{}", output.stderr);
}

#[test]
fn a_silent_client_does_not_hold_up_the_end() {
    let server = Server::start("tcp-server", [""; 0], Path::new(".")).unwrap();
    let silent = TcpStream::connect(server.address()).unwrap();
    // The next client is served, so the silent one was taken before.
    let mut second = TcpStream::connect(server.address()).unwrap();
    second.write_all(b"hello, is anybody there?\r\n\r\n\r\n\r\n").unwrap();
    server.process().wait_for_error_line(LIMIT, |_| Some(())).unwrap();
    let output = server.stop().unwrap();
    assert_eq!(output.code(), Some(0));
    assert!(output.stdout.ends_with("\nstopped\n"), "{}", output.stdout);
    drop(silent);
}
