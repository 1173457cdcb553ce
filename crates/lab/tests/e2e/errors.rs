//! What goes wrong: the exit code, one line that says why, and nothing lost by it.
//!
//! What needs no transfer to go wrong is tested beside the programs: a file, a server or a directory that is not there, a
//! port in use, peers that speak something else.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use lab::Transport;
use lab::process::{LIMIT, Output, Process, Server, program};

use crate::extent::{halfway, held, held_of, until, written};
use crate::scene::{Scene, moved, noise, stranger};
use crate::valve::Valve;

const MB: usize = 1_000_000;

over_each_transport!(
    a_file_that_may_not_be_read_ends_with_6,
    a_directory_that_the_server_may_not_write_to_is_its_refusal,
    what_the_server_does_not_allow_ends_with_5,
    a_server_that_goes_for_good_ends_with_3_and_a_new_one_goes_on,
    a_client_that_died_silently_goes_on_the_next_time,
    an_interrupted_client_ends_with_130_and_goes_on_the_next_time,
    a_server_that_is_told_to_end_keeps_what_arrived_and_a_new_one_goes_on,
    a_source_that_changes_while_it_is_sent_is_not_stored,
    two_files_of_the_same_name_are_an_error_before_anything_is_sent,
    names_that_would_steer_a_terminal_are_printed_escaped,
    a_file_that_does_not_fit_on_the_disk_is_refused_before_it_is_sent,
    a_disk_that_fills_up_meanwhile_ends_with_5_and_with_room_again_it_goes_on,
    two_files_that_only_fit_one_at_a_time_do_not_spoil_each_other,
    a_full_disk_on_the_client_ends_with_6,
);

/// The one line that a client says when it fails.
fn complaint(output: &Output, code: i32) -> &str {
    assert_eq!(output.code(), Some(code), "{} {}", output.stdout, output.stderr);
    assert_eq!(output.stderr.lines().count(), 1, "{}", output.stderr);
    let line = Transport::ALL.iter().find_map(|over| output.stderr.strip_prefix(over.client()));
    line.and_then(|line| line.strip_prefix(": ")?.strip_suffix('\n')).unwrap()
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Sends a file that was interrupted, and expects that only the rest of it is sent.
fn assert_goes_on(scene: &Scene, server: &Server, name: &str) {
    let held = held(scene, name).unwrap();
    assert!(held > 0);
    let output = scene.run(server, &["--json", name]);
    assert_eq!(output.code(), Some(0), "{}", output.stderr);
    let film = fs::read(scene.from(name)).unwrap();
    assert!(moved(&output) <= film.len() as u64 - held, "{held} were held: {}", output.stdout);
    assert!(scene.received()[&format!("received-{name}")] == film);
    assert!(scene.parts().is_empty());
}

fn a_file_that_may_not_be_read_ends_with_6(transport: Transport) {
    let scene = Scene::new(transport);
    scene.write("secret.mp3", b"secret");
    set_mode(&scene.from("secret.mp3"), 0);
    set_mode(scene.root(), 0o755);
    let server = scene.serve(&[]);
    let Some(mut client) = stranger(transport.client()) else { return };
    client.args(["--server", &server.address().to_string(), "secret.mp3"]).current_dir(scene.from(""));
    let output = Process::spawn(&mut client).unwrap().wait(LIMIT).unwrap();
    let line = complaint(&output, 6);
    assert!(line.contains("secret.mp3") && line.contains("permission denied"), "{line}");
    assert!(scene.received().is_empty() && scene.parts().is_empty());
}

fn a_directory_that_the_server_may_not_write_to_is_its_refusal(transport: Transport) {
    let scene = Scene::new(transport);
    scene.write("song.mp3", b"song");
    fs::write(scene.to("there.mp3"), b"there").unwrap();
    set_mode(&scene.to(""), 0o555);
    set_mode(scene.root(), 0o755);
    let Some(mut server) = stranger(transport.server()) else { return };
    server.args(["--listen", "127.0.0.1:0", "--dir", "to"]).current_dir(scene.root());
    let (server, address) = ready(Process::spawn(&mut server).unwrap());
    let client = |args: &[&str]| scene.start(address, args).wait(LIMIT).unwrap();
    let output = client(&["song.mp3"]);
    let line = complaint(&output, 5);
    assert!(line.contains("song.mp3") && line.contains("permission denied"), "{line}");
    let output = client(&["get", "there.mp3"]);
    assert_eq!(output.code(), Some(0), "the server lives: {}", output.stderr);
    server.terminate().unwrap();
    assert_eq!(server.wait(LIMIT).unwrap().code(), Some(0));
    set_mode(&scene.to(""), 0o755);
}

fn what_the_server_does_not_allow_ends_with_5(transport: Transport) {
    let cases: [(&[&str], &[&str], &str); 6] = [
        (&["--read-only"], &["song.mp3"], "does not allow taking files"),
        (&["--write-only"], &["get", "there.mp3"], "does not allow giving files"),
        (&[], &["get", "nothing.mp3"], "nothing.mp3: no such file or directory"),
        (&[], &["get", "../from/song.mp3"], "a part that is . or .."),
        (
            &["--max-file-size", "1k"],
            &["song.mp3"],
            "it has 100000 bytes, and a file may have at most 1000 here (--max-file-size)",
        ),
        (
            &["--if-exists", "fail", "--prefix", "th"],
            &["ere.mp3"],
            "did not store ere.mp3: a file of its name is there already",
        ),
    ];
    for (allowed, wanted, why) in cases {
        let scene = Scene::new(transport);
        scene.write("song.mp3", &noise(1, 100_000));
        scene.write("ere.mp3", b"not the same");
        fs::write(scene.to("there.mp3"), b"there").unwrap();
        let server = scene.serve(allowed);
        let output = scene.run(&server, wanted);
        let line = complaint(&output, 5);
        assert!(line.contains(why), "{line}");
        assert_eq!(output.stdout, "");
        let received = scene.received();
        assert_eq!(received.keys().collect::<Vec<_>>(), ["there.mp3"]);
        assert_eq!(received["there.mp3"], b"there");
        assert!(scene.parts().is_empty());
        let output = server.stop().unwrap();
        assert_eq!(output.code(), Some(0));
        assert!(output.stderr.lines().count() <= 1, "{}", output.stderr);
    }
}

fn a_server_that_goes_for_good_ends_with_3_and_a_new_one_goes_on(transport: Transport) {
    let scene = Scene::new(transport);
    scene.write("film.mp4", &noise(2, 16 * MB));
    let server = scene.serve(&[]);
    let (client, valve) = halfway(&scene, &server, 4 * MB, &["-q", "--retry", "1s", "film.mp4"]);
    server.kill().unwrap();
    // What is sent now meets a closed port.
    valve.open(u64::MAX);
    let output = client.wait(LIMIT).unwrap();
    let line = complaint(&output, 3);
    assert!(line.ends_with("; run the same command again to go on where it stopped"), "{line}");
    assert!(scene.received().is_empty());
    assert_goes_on(&scene, &scene.serve(&[]), "film.mp4");
}

/// Its power failed, or its cable: the server hears nothing of its end, and another run must not wait for that.
fn a_client_that_died_silently_goes_on_the_next_time(transport: Transport) {
    let scene = Scene::new(transport);
    scene.write("film.mp4", &noise(4, 16 * MB));
    let server = scene.serve(&[]);
    let (client, valve) = halfway(&scene, &server, 8 * MB, &["film.mp4"]);
    client.kill().unwrap();
    assert_goes_on(&scene, &server, "film.mp4");
    drop(valve);
}

fn an_interrupted_client_ends_with_130_and_goes_on_the_next_time(transport: Transport) {
    let scene = Scene::new(transport);
    scene.write("film.mp4", &noise(3, 16 * MB));
    let server = scene.serve(&[]);
    let (client, valve) = halfway(&scene, &server, 4 * MB, &["film.mp4"]);
    client.interrupt().unwrap();
    let output = client.wait(LIMIT).unwrap();
    assert_eq!(complaint(&output, 130), "interrupted; run the same command again to go on");
    match transport {
        // What was under way arrives, and that the client is gone.
        Transport::Tcp => valve.open(u64::MAX),
        // Its port is closed, as that of a client on the way there is.
        Transport::Udp => drop(valve),
    }
    let broke_off = |line: &str| line.contains("receiving film.mp4 broke off").then_some(());
    server.process().wait_for_error_line(LIMIT, broke_off).unwrap();
    assert!(scene.received().is_empty());
    assert_goes_on(&scene, &server, "film.mp4");
}

fn a_server_that_is_told_to_end_keeps_what_arrived_and_a_new_one_goes_on(transport: Transport) {
    let scene = Scene::new(transport);
    scene.write("film.mp4", &noise(4, 16 * MB));
    let server = scene.serve(&[]);
    let (client, _valve) = halfway(&scene, &server, 4 * MB, &["--retry", "0", "film.mp4"]);
    let output = server.stop().unwrap();
    assert_eq!(output.code(), Some(0), "{}", output.stderr);
    assert!(output.stdout.ends_with("\nstopped\n"), "{}", output.stdout);
    assert_eq!(output.stderr.lines().count(), 1, "{}", output.stderr);
    assert!(output.stderr.contains("film.mp4 broke off: this server is being stopped"), "{}", output.stderr);
    complaint(&client.wait(LIMIT).unwrap(), 3);
    assert!(scene.received().is_empty());
    assert_goes_on(&scene, &scene.serve(&[]), "film.mp4");
}

/// Something that is done to a file.
type Change = fn(&Path);

fn opened(path: &Path) -> fs::File {
    fs::File::options().write(true).open(path).unwrap()
}

fn a_source_that_changes_while_it_is_sent_is_not_stored(transport: Transport) {
    let changes: [(&str, Change); 3] = [
        ("grows", |path| opened(path).write_all_at(b"more", 16 * MB as u64).unwrap()),
        ("shrinks", |path| opened(path).set_len(5 * MB as u64).unwrap()),
        ("is written to", |path| opened(path).write_all_at(b"new", 10).unwrap()),
    ];
    for (what, change) in changes {
        let scene = Scene::new(transport);
        scene.write("take.wav", &noise(5, 16 * MB));
        let server = scene.serve(&[]);
        let (client, valve) = halfway(&scene, &server, MB, &["take.wav"]);
        change(&scene.from("take.wav"));
        valve.open(u64::MAX);
        let output = client.wait(LIMIT).unwrap();
        let line = complaint(&output, 6);
        assert!(line.starts_with("take.wav: it changed while it was read"), "it {what}: {line}");
        assert!(scene.received().is_empty(), "it {what}");
        until("what came is of no use and goes", || scene.parts().is_empty().then_some(()));
        let output = scene.run(&server, &["take.wav"]);
        assert_eq!(output.code(), Some(0), "it {what}: {}", output.stderr);
        assert!(scene.received()["received-take.wav"] == fs::read(scene.from("take.wav")).unwrap());
    }
}

fn two_files_of_the_same_name_are_an_error_before_anything_is_sent(transport: Transport) {
    let scene = Scene::new(transport);
    scene.write("one/song.mp3", b"one");
    scene.write("two/song.mp3", b"two");
    let server = scene.serve(&[]);
    let output = scene.run(&server, &["one/song.mp3", "two/song.mp3"]);
    assert_eq!(
        complaint(&output, 6),
        "one/song.mp3 and two/song.mp3 would have the same name on the other side; send them one after the other"
    );
    assert!(scene.received().is_empty());
}

fn names_that_would_steer_a_terminal_are_printed_escaped(transport: Transport) {
    const NAME: &str = "evil\u{1b}[2J\n\u{9b}31m.mp3";
    let scene = Scene::new(transport);
    let server = scene.serve(&["-v"]);
    let harmless = |text: &str| assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
    for (args, code) in [(&[NAME][..], 6), (&["get", NAME], 5), (&["-v", "get", NAME], 5)] {
        let output = scene.run(&server, args);
        assert_eq!(output.code(), Some(code), "{}", output.stderr);
        let line = output.stderr.lines().last().unwrap();
        assert!(line.contains("evil\\u{1b}[2J\\n") || line.contains("evil\\x1b[2J\\n"), "{line}");
        harmless(&output.stdout);
        harmless(&output.stderr);
    }
    scene.write(NAME, b"x");
    let output = scene.run(&server, &[NAME]);
    let line = complaint(&output, 5);
    assert!(line.contains("did not store evil\\u{1b}[2J\\n\\u{9b}31m.mp3"), "{line}");
    assert!(line.contains("control character"), "{line}");
    harmless(line);
    let output = server.stop().unwrap();
    assert!(output.stderr.contains("evil"), "{}", output.stderr);
    harmless(&output.stdout);
    harmless(&output.stderr);
    assert!(scene.received().is_empty());
}

/// The address of a server, once it is ready.
pub(crate) fn ready(process: Process) -> (Process, SocketAddr) {
    let address = process
        .wait_for_line(LIMIT, |line| line.split_once(" on ")?.1.split_once(',')?.0.parse().ok())
        .unwrap();
    (process, address)
}

/// A command that has a file system of 8 MiB of its own in the directory `to` of its scene; `None`, and said so, when this
/// machine does not allow that.
pub(crate) fn on_small_disk(scene: &Scene, name: &str) -> Option<Command> {
    const SCRIPT: &str = "mount -t tmpfs -o size=8m none \"$1\" && shift && exec \"$@\"";
    let command = |program: &Path| {
        let mut command = Command::new("unshare");
        command.arg(if rustix::process::geteuid().is_root() { "-m" } else { "-rm" });
        command.args(["sh", "-c", SCRIPT, "sh"]).arg(scene.to("")).arg(program).current_dir(scene.root());
        command
    };
    let works = command(Path::new("true")).output().is_ok_and(|output| output.status.success());
    if !works {
        eprintln!("SKIPPED: no file system of its own can be mounted here");
    }
    works.then(|| command(&program(name).unwrap()))
}

/// A server on a small disk.
pub(crate) struct Tight {
    pub(crate) scene: Scene,
    server: Process,
    pub(crate) address: SocketAddr,
}

impl Tight {
    fn new(transport: Transport) -> Option<Self> {
        Self::with(transport, &[])
    }

    pub(crate) fn with(transport: Transport, args: &[&str]) -> Option<Self> {
        let scene = Scene::new(transport);
        let mut server = on_small_disk(&scene, transport.server())?;
        server.args(["--listen", "127.0.0.1:0", "--dir", "to"]).args(args);
        let (server, address) = ready(Process::spawn(&mut server).unwrap());
        Some(Self { scene, server, address })
    }

    pub(crate) fn start(&self, server: SocketAddr, args: &[&str]) -> Process {
        self.scene.start(server, args)
    }

    pub(crate) fn send(&self, name: &str) -> Output {
        self.start(self.address, &[name]).wait(LIMIT).unwrap()
    }

    /// A file or directory on the small disk.
    pub(crate) fn to(&self, name: &str) -> PathBuf {
        let to = self.scene.to(name);
        Path::new("/proc").join(self.server.id().to_string()).join("root").join(to.strip_prefix("/").unwrap())
    }

    /// Everything that has a final name must be whole.
    fn assert_nothing_wrong(&self) {
        for entry in fs::read_dir(self.to("")).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if let Some(sent) = name.strip_prefix("received-") {
                assert!(
                    fs::read(self.to(&name)).unwrap() == fs::read(self.scene.from(sent)).unwrap(),
                    "{name}"
                );
            }
        }
    }
}

fn a_file_that_does_not_fit_on_the_disk_is_refused_before_it_is_sent(transport: Transport) {
    let Some(tight) = Tight::new(transport) else { return };
    tight.scene.write("film.mp4", &noise(6, 9 * MB));
    tight.scene.write("song.mp3", &noise(7, MB));
    let output = tight.send("film.mp4");
    let line = complaint(&output, 5);
    assert!(line.contains("not enough room: 9000000 bytes are needed, 8388608 are free"), "{line}");
    assert_eq!(fs::read_dir(tight.to("")).unwrap().count(), 0);
    assert_eq!(tight.send("song.mp3").code(), Some(0), "the server lives");
    tight.assert_nothing_wrong();
}

fn a_disk_that_fills_up_meanwhile_ends_with_5_and_with_room_again_it_goes_on(transport: Transport) {
    let Some(tight) = Tight::new(transport) else { return };
    tight.scene.write("film.mp4", &noise(8, 6 * MB));
    let valve = Valve::new(transport, tight.address, MB as u64);
    let client = tight.start(valve.address(), &["film.mp4"]);
    valve.wait_until_shut();
    let part = until("there is a partial file", || {
        let mut there = fs::read_dir(tight.to("")).unwrap().map(|entry| entry.unwrap().path());
        there.find(|path| written(path) > Some(500_000))
    });
    fs::write(tight.to("other"), noise(9, 5 * MB)).unwrap();
    valve.open(u64::MAX);
    let output = client.wait(LIMIT).unwrap();
    let line = complaint(&output, 5);
    assert!(line.contains("film.mp4: cannot be written: no space left on device"), "{line}");
    assert!(!tight.to("received-film.mp4").exists());
    let held = held_of(&part, &fs::read(tight.scene.from("film.mp4")).unwrap()).unwrap();
    fs::remove_file(tight.to("other")).unwrap();
    let output = tight.start(tight.address, &["--json", "film.mp4"]).wait(LIMIT).unwrap();
    assert_eq!(output.code(), Some(0), "the server lives: {}", output.stderr);
    assert!(moved(&output) <= (6 * MB) as u64 - held, "{held} were held: {}", output.stdout);
    assert!(tight.to("received-film.mp4").exists() && !part.exists());
    tight.assert_nothing_wrong();
}

fn two_files_that_only_fit_one_at_a_time_do_not_spoil_each_other(transport: Transport) {
    let Some(tight) = Tight::new(transport) else { return };
    let names = ["left.wav", "right.wav"];
    let both = [10, 11].map(|seed| noise(seed, 5 * MB));
    names.iter().zip(&both).for_each(|(name, bytes)| tight.scene.write(name, bytes));
    // Each is begun while there is room for it.
    let started = names.map(|name| {
        let valve = Valve::new(transport, tight.address, MB as u64);
        let client = tight.start(valve.address(), &[name]);
        valve.wait_until_shut();
        (client, valve)
    });
    started.iter().for_each(|(_, valve)| valve.open(u64::MAX));
    let mut full = 0;
    for (client, _) in started {
        let output = client.wait(LIMIT).unwrap();
        if output.code() != Some(0) {
            let line = complaint(&output, 5);
            assert!(line.contains("no space left on device"), "{line}");
            full += 1;
        }
    }
    assert!(full > 0, "they do not fit together");
    tight.assert_nothing_wrong();
    tight.scene.write("song.mp3", b"song");
    for entry in fs::read_dir(tight.to("")).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    assert_eq!(tight.send("song.mp3").code(), Some(0), "the server lives");
}

fn a_full_disk_on_the_client_ends_with_6(transport: Transport) {
    let scene = Scene::new(transport);
    let Some(mut client) = on_small_disk(&scene, transport.client()) else { return };
    fs::write(scene.to("film.mp4"), noise(12, 9 * MB)).unwrap();
    let server = scene.serve(&[]);
    client.args(["--server", &server.address().to_string(), "get", "film.mp4", "--to", "to"]);
    let output = Process::spawn(&mut client).unwrap().wait(LIMIT).unwrap();
    let line = complaint(&output, 6);
    assert!(line.contains("not enough room: 9000000 bytes are needed, 8388608 are free"), "{line}");
    let output = server.stop().unwrap();
    assert_eq!((output.code(), output.stderr.lines().count()), (Some(0), 1), "{}", output.stderr);
}
