//! The program as a person or a script meets it, without a transfer.

use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::thread;

use lab::process::{LIMIT, Output, run, start_client};

/// A file that is there wherever the tests run.
const FILE: &str = "Cargo.toml";

fn client(args: &[&str]) -> Output {
    run("udp-client", args, Path::new(env!("CARGO_MANIFEST_DIR")), LIMIT).expect("it runs")
}

/// An address where nobody listens.
fn nobody() -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    socket.local_addr().expect("an address").to_string()
}

#[test]
fn it_says_its_version() {
    let output = client(&["--version"]);
    assert_eq!((output.code(), output.stdout.as_str()), (Some(0), "udp-client 0.1.0\n"));
}

#[test]
fn help_names_every_flag_and_exit_code() {
    let long = client(&["--help"]);
    assert_eq!(long.code(), Some(0));
    let flags = [
        "--server <HOST:PORT>",
        "TANDEM_SERVER",
        "[default: 127.0.0.1:8121]",
        "--checksum <NAME>",
        "md5:",
        "blake3:",
        "--retry <TIME>",
        "--raw",
        "[default: 30s]",
        "--follow",
        "--congestion <NAME>",
        "bbr:",
        "cubic:",
        "fixed:",
        "--rate <RATE>",
        "--mtu <BYTES>",
        "--plain",
        "--insecure",
        "--key-file <FILE>",
        "--key",
        "--json",
        "-q, --quiet",
        "-v, --verbose",
        "--to <DIR>",
        "--prefix <P>",
        "--if-exists <WHAT>",
        "Examples:",
        "Exit codes:",
        "\n  130  interrupted",
    ];
    for flag in flags {
        assert!(long.stdout.contains(flag), "{flag} is missing in\n{}", long.stdout);
    }
    let short = client(&["-h"]);
    assert_eq!(short.code(), Some(0));
    assert!(short.stdout.contains("Examples:") && short.stdout.len() < long.stdout.len());
    let get = client(&["get", "--help"]).stdout;
    for flag in
        ["--to <DIR>", "--prefix <P>", "--if-exists <WHAT>", "[default: received-]", "--server <HOST:PORT>"]
    {
        assert!(get.contains(flag), "{flag} is missing in\n{get}");
    }
}

#[test]
fn wrong_usage_ends_with_2() {
    for args in [
        &["--nonsense"][..],
        &["get"],
        &["put"],
        &["--retry", "soon", FILE],
        &["--checksum", "crc", FILE],
        &["--server", "http://nas", FILE],
        &["-q", "-v", FILE],
        &["--congestion", "reno", FILE],
        &["--congestion", "fixed", FILE],
        &["--rate", "20", FILE],
        &["--rate", "20MB", FILE],
        &["--mtu", "1279", FILE],
        &["--plain", "--congestion", "bbr", FILE],
        &[FILE, "-v", "get", "x"],
    ] {
        let output = client(args);
        assert_eq!(output.code(), Some(2), "{args:?}: {}", output.stderr);
        assert!(output.stderr.starts_with("udp-client: "), "{args:?}: {}", output.stderr);
        assert_eq!(output.stdout, "", "{args:?}");
    }
}

#[test]
fn no_words_at_all_are_commands_from_standard_input() {
    // At its end at once: nothing is asked for, and nobody is asked.
    let output = client(&["--server", &nobody()]);
    assert_eq!((output.code(), output.stdout.as_str(), output.stderr.as_str()), (Some(0), "", ""));
}

#[test]
fn a_missing_file_ends_with_6() {
    let output = client(&["--server", &nobody(), "no-such-file.mp3"]);
    assert_eq!((output.code(), output.stdout.as_str()), (Some(6), ""));
    assert!(output.stderr.starts_with("udp-client: "), "{}", output.stderr);
    assert!(output.stderr.contains("no-such-file.mp3"), "{}", output.stderr);
    assert_eq!(output.stderr.lines().count(), 1, "{}", output.stderr);
}

#[test]
fn a_directory_that_cannot_be_made_ends_with_6() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    let server = nobody();
    let args = ["get", "song.mp3", "--to", "file/in", "--server", &server];
    let output = run("udp-client", args, dir.path(), LIMIT).unwrap();
    assert_eq!(output.code(), Some(6));
    assert!(
        output.stderr.starts_with("udp-client: cannot create the directory file/in: "),
        "{}",
        output.stderr
    );
    assert_eq!(output.stderr.lines().count(), 1, "{}", output.stderr);
}

#[test]
fn a_missing_server_ends_with_3() {
    let server = nobody();
    for args in [&[FILE][..], &["put", FILE], &["get", "song.mp3"]] {
        let output = client(&[&["--server", &server], args].concat());
        assert_eq!((output.code(), output.stdout.as_str()), (Some(3), ""), "{args:?}");
        assert_eq!(
            output.stderr,
            format!(
                "udp-client: cannot connect to {server}: connection refused; is udp-server running there, and does no firewall stop UDP \
                 on the way?\n"
            ),
            "{args:?}"
        );
    }
}

#[test]
fn the_server_can_come_from_the_environment() {
    let server = nobody();
    let program = lab::process::program("udp-client").unwrap();
    let mut command = std::process::Command::new(program);
    command.arg(FILE).current_dir(env!("CARGO_MANIFEST_DIR")).env("TANDEM_SERVER", &server);
    let output = lab::process::Process::spawn(&mut command).unwrap().wait(LIMIT).unwrap();
    assert_eq!(output.code(), Some(3));
    assert!(output.stderr.contains(&server), "{}", output.stderr);
}

#[test]
fn errors_are_in_the_json_too() {
    let output = client(&["--json", "--server", &nobody(), FILE]);
    assert_eq!(output.code(), Some(3));
    assert_eq!(output.stdout.lines().count(), 1, "{}", output.stdout);
    assert!(
        output.stdout.starts_with(r#"{"event":"error","message":"cannot connect to "#),
        "{}",
        output.stdout
    );
    assert!(output.stdout.ends_with("\"exit_code\":3}\n"), "{}", output.stdout);
    assert_eq!(output.stderr.lines().count(), 1);

    let output = client(&["--json", "--nonsense"]);
    assert_eq!(output.code(), Some(2));
    assert!(output.stdout.ends_with("\"exit_code\":2}\n"), "{}", output.stdout);
}

#[test]
fn the_right_way_to_say_it_is_in_the_line() {
    for (args, right) in [
        (&["--congestion", "fixed", FILE][..], "add --rate, such as --rate 20mbit"),
        (&["--rate", "20M", FILE], "write it like 20mbit, 1.5gbit, 800kbit or 2500000, in bits a second"),
        (&["--mtu", "100", FILE], "1280..=65535"),
    ] {
        let output = client(args);
        let line = output.stderr.lines().next().unwrap();
        assert!(line.contains(right), "{line}");
    }
}

/// The client gives up after some seconds, and what came to the stranger was little.
#[test]
fn a_stranger_in_the_servers_place_is_as_good_as_nobody() {
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = stranger.local_addr().unwrap();
    let answering = thread::spawn(move || {
        let mut buffer = [0; 2048];
        let mut heard = 0;
        stranger.set_read_timeout(Some(LIMIT)).unwrap();
        while let Ok((len, client)) = stranger.recv_from(&mut buffer) {
            if len == 0 {
                break;
            }
            heard += len;
            stranger.send_to(b"HTTP/1.1 400 Bad Request\r\n\r\n", client).unwrap();
        }
        heard
    });
    let output = client(&["--server", &address.to_string(), FILE]);
    UdpSocket::bind("127.0.0.1:0").unwrap().send_to(&[], address).unwrap();
    assert_eq!((output.code(), output.stdout.as_str()), (Some(3), ""));
    let line = format!("udp-client: cannot connect to {address}: ");
    assert!(output.stderr.starts_with(&line), "{}", output.stderr);
    assert!(
        output.stderr.contains("; is udp-server running there, and does no firewall"),
        "{}",
        output.stderr
    );
    assert_eq!(output.stderr.lines().count(), 1, "{}", output.stderr);
    let heard = answering.join().unwrap();
    assert!((64..16_384).contains(&heard), "{heard}");
}

#[test]
fn it_can_be_interrupted() {
    // A server that says nothing.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let client = start_client("udp-client", address, [FILE], Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
    silent.recv(&mut [0; 64]).unwrap();
    client.interrupt().unwrap();
    let output = client.wait(LIMIT).unwrap();
    assert_eq!(output.code(), Some(130));
    assert_eq!(output.stderr, "udp-client: interrupted; run the same command again to go on\n");
}
