//! The program as a person or a script meets it, without a transfer.

use std::net::UdpSocket;
use std::path::Path;
use std::time::Duration;

use lab::process::{LIMIT, Output, Server, run};
use link::{UdpLink, UdpOptions};

fn server(args: &[&str]) -> Output {
    run("udp-server", args, Path::new("."), LIMIT).expect("it runs")
}

#[test]
fn it_says_its_version() {
    let output = server(&["--version"]);
    assert_eq!((output.code(), output.stdout.as_str()), (Some(0), "udp-server 0.1.0\n"));
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
        "bbr:",
        "cubic:",
        "fixed:",
        "--rate <RATE>",
        "--mtu <BYTES>",
        "--insecure",
        "--key-file <FILE>",
        "--key",
        "--json",
        "-q, --quiet",
        "-v, --verbose",
        "[default: 127.0.0.1:8121]",
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
        &["--congestion", "fixed"],
        &["--rate", "20"],
        &["--rate", "20MB"],
        &["--mtu", "1279"],
        &["--plain"],
    ] {
        let output = server(&[args, &["--dir", "."]].concat());
        assert_eq!(output.code(), Some(2), "{args:?}: {}", output.stderr);
        assert!(output.stderr.starts_with("udp-server: "), "{args:?}: {}", output.stderr);
        assert_eq!(output.stdout, "", "{args:?}");
    }
}

#[test]
fn it_does_not_leave_loopback_unasked() {
    let output = server(&["--listen", "0.0.0.0:0"]);
    assert_eq!(output.code(), Some(2));
    assert!(output.stderr.starts_with("udp-server: refusing to listen on 0.0.0.0:0: "), "{}", output.stderr);
    assert!(output.stderr.contains("add --insecure"), "{}", output.stderr);
    assert_eq!(output.stderr.lines().count(), 1);

    let insecure =
        Server::start("udp-server", ["--listen=0.0.0.0:0", "--insecure", "-q"], Path::new(".")).unwrap();
    let output = insecure.stop().unwrap();
    assert!(output.stderr.starts_with("warning: --insecure: there is no key"), "{}", output.stderr);
    assert_eq!(output.code(), Some(0));
}

#[test]
fn a_port_in_use_is_explained() {
    let first = Server::start("udp-server", [""; 0], Path::new(".")).unwrap();
    let address = first.address();
    let second = server(&["--listen", &address.to_string()]);
    assert_eq!(second.code(), Some(1));
    assert_eq!(
        second.stderr,
        format!(
            "udp-server: cannot listen on {address}: address already in use; another server may be running there, or \
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
    let server = Server::start("udp-server", [""; 0], dir.path()).unwrap();
    let ready = format!("ready  udp-server 0.1.0 on {}, directory .\n", server.address());
    let output = server.stop().unwrap();
    assert_eq!((output.code(), output.stdout), (Some(0), format!("{ready}stopped\n")));
    assert_eq!(output.stderr, "");
}

#[test]
fn a_quiet_server_still_says_when_it_is_ready() {
    let server = Server::start("udp-server", ["-q"], Path::new(".")).unwrap();
    server.process().interrupt().unwrap();
    let output = server.wait(LIMIT).unwrap();
    assert_eq!((output.code(), output.stdout.lines().count()), (Some(0), 1));
}

#[test]
fn json_lines_are_objects() {
    let server = Server::start("udp-server", ["--json"], Path::new(".")).unwrap();
    let address = server.address();
    let output = server.stop().unwrap();
    let ready = format!(
        r#"{{"event":"ready","program":"udp-server","version":"0.1.0","address":"{address}","dir":"."}}"#
    );
    assert_eq!(output.stdout, ready + "\n{\"event\":\"stopped\"}\n");
}

#[test]
fn strangers_are_not_even_mentioned() {
    let server = Server::start("udp-server", ["--once", "-v"], Path::new(".")).unwrap();
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    for datagram in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"", b"\xc1", &[0xc1; 64], &[0xc4; 1200], &[0; 65_000]] {
        stranger.send_to(datagram, server.address()).unwrap();
    }
    // No answer to what is no packet.
    stranger.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert!(stranger.recv(&mut [0; 64]).is_err());
    let output = server.stop().unwrap();
    assert_eq!((output.code(), output.stderr.as_str()), (Some(130), ""));
}

#[test]
fn a_silent_client_does_not_hold_up_the_end() {
    let server = Server::start("udp-server", [""; 0], Path::new(".")).unwrap();
    let silent = UdpLink::connect(&server.address().to_string(), &UdpOptions::default()).unwrap();
    let output = server.stop().unwrap();
    assert_eq!((output.code(), output.stderr.as_str()), (Some(0), ""));
    assert!(output.stdout.ends_with("\nstopped\n"), "{}", output.stdout);
    drop(silent);
}
