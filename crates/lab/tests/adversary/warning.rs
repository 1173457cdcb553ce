//! Without a key and off loopback both ends say so, in a network namespace of their own.

use std::process::Command;

use lab::Transport;
use lab::process::{LIMIT, Process, program};

/// An address that is not loopback, in a namespace where nobody else is.
const ADDRESS: &str = "10.9.8.7";

/// Starts a server there. `None`, and said so, when that can't be done here.
fn serve(transport: Transport, dir: &std::path::Path) -> Option<Process> {
    let ready = format!("ip link set lo up && ip addr add {ADDRESS}/32 dev lo");
    let works = Command::new("unshare").args(["-n", "sh", "-c", &ready]).output();
    if !works.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: no network namespace can be made here: not root, or no unshare or ip");
        return None;
    }
    let listen = format!("--listen={ADDRESS}:8120");
    let mut command = Command::new("unshare");
    command.args(["-n", "sh", "-c", &format!("{ready} && exec \"$@\""), "sh"]);
    command.arg(program(transport.server()).unwrap()).args([&listen, "--insecure"]).current_dir(dir);
    Some(Process::spawn(&mut command).unwrap())
}

fn both_ends_warn(transport: Transport) {
    let dir = tempfile::tempdir().unwrap();
    let Some(server) = serve(transport, dir.path()) else { return };
    server.wait_for_line(LIMIT, |line| line.starts_with("ready  ").then_some(())).unwrap();
    server.wait_for_error_line(LIMIT, |line| line.contains("nothing is encrypted").then_some(())).unwrap();
    for (flags, is_silent) in [(&[][..], false), (&["--insecure"], true)] {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", server.id()));
        command.arg(program(transport.client()).unwrap()).args(["--server", &format!("{ADDRESS}:8120")]);
        let client = Process::spawn(command.args(flags).args(["echo", "here"])).unwrap();
        let output = client.wait(LIMIT).unwrap();
        assert_eq!(output.code(), Some(0), "{}", output.stderr);
        let warns = output.stderr.contains("nothing on the way to 10.9.8.7:8120 is encrypted");
        assert_eq!(warns, !is_silent, "{}", output.stderr);
    }
}

#[test]
fn tcp() {
    both_ends_warn(Transport::Tcp);
}

#[test]
fn udp() {
    both_ends_warn(Transport::Udp);
}
