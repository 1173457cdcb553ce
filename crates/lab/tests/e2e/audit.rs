//! The audit: who did what, how much of it, and how it ended, whatever it was.

use std::cell::Cell;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::time::Instant;

use framing::{EntryKind, Message, Part};
use lab::Transport;
use lab::process::{LIMIT, Output, Process, Server, run};
use serde_json::Value;

use crate::errors::{on_small_disk, ready};
use crate::extent::{halfway, until};
use crate::rogue::Rogue;
use crate::scene::{Scene, noise, objects};

over_each_transport!(
    each_thing_that_a_client_does_has_a_line,
    json_and_the_file_have_the_same,
    what_is_refused_is_told_with_its_reason,
    a_client_that_is_killed_broke_off,
    a_server_that_is_stopped_interrupts,
    who_has_another_key_is_turned_away,
    who_finds_no_room_is_turned_away,
    who_loses_its_place_while_it_is_shown_out_keeps_its_reason,
    a_flood_of_requests_is_counted_and_not_told,
    files_that_are_refused_are_counted_and_not_all_told,
    what_moves_and_stores_nothing_is_counted_and_not_told,
    no_name_forges_a_line,
    a_file_that_cannot_be_kept_safe_is_refused,
    a_full_disk_of_the_audit_stops_nobody,
    what_comes_raw_has_a_line_too,
);

/// The fields of each line behind the time, the port left out.
fn lines(output: &str) -> Vec<String> {
    let lines = output.lines().filter_map(|line| line.strip_prefix("audit  "));
    lines
        .map(|line| {
            let fields: Vec<&str> = line.split("   ").collect();
            assert_eq!(fields.len(), 7, "{line}");
            let (time, peer) = (fields[0], fields[1]);
            assert!(time.len() == 20 && time.ends_with('Z') && &time[10..11] == "T", "{line}");
            assert!(peer == "-" || peer.starts_with("127.0.0.1:"), "{line}");
            fields[2..].join(" | ")
        })
        .collect()
}

/// That these are the lines, in any order: a client may have left before the line on it is there.
fn assert_lines(output: &Output, expected: &[&str]) {
    let (mut lines, mut expected) = (lines(&output.stdout), expected.to_vec());
    lines.sort_unstable();
    expected.sort_unstable();
    assert_eq!(lines, expected, "{}", output.stdout);
}

fn audits(objects: &[Value]) -> Vec<&Value> {
    objects.iter().filter(|object| object["event"] == "audit").collect()
}

fn well(output: &Output) {
    assert_eq!(output.code(), Some(0), "{}", output.stderr);
}

fn each_thing_that_a_client_does_has_a_line(transport: Transport) {
    let scene = Scene::new(transport);
    scene.write("song.mp3", &noise(1, 100_000));
    scene.write("tree/a", b"1");
    scene.write("tree/b", b"22");
    let server = scene.serve(&[]);
    well(&scene.run(&server, &["song.mp3"]));
    well(&scene.run(&server, &["song.mp3"]));
    well(&scene.run(&server, &["tree"]));
    well(&scene.run(&server, &["get", "received-song.mp3", "--to", "back"]));
    let talk = "hello\nls\nls received-tree\nchdir received-tree\nstream --count 3 --interval 1ms\n1000\n";
    well(&scene.say(&server, talk));
    let output = server.stop().unwrap();
    let expected = [
        "no key | put | song.mp3 as received-song.mp3 | 100000 bytes | verified",
        "no key | put | song.mp3 as received-song.mp3 | 100000 bytes, 0 moved | already-there",
        "no key | put | tree as received-tree and 2 more | 3 bytes | verified",
        "no key | get | received-song.mp3 | 100000 bytes | verified",
        "no key | echo | - | 5 bytes | done",
        "no key | list | . | 2 entries | done",
        "no key | list | received-tree | 2 entries | done",
        "no key | chdir | received-tree | - | done",
        "no key | stream | 256 bytes every 1 ms | 3 packets | done",
        "no key | generate | 1000 characters, seed 0 | 1000 bytes | verified",
    ];
    assert_lines(&output, &expected);
    assert_eq!(output.stderr, "");
}

fn json_and_the_file_have_the_same(transport: Transport) {
    let scene = Scene::new(transport);
    let keygen = run(transport.server(), ["keygen", "k", "--json"], scene.root(), LIMIT).unwrap();
    let key = objects(&keygen.stdout)[0]["key"].clone();
    scene.write("song.mp3", &noise(1, 100_000));
    scene.write("tree/a", b"1");
    let log = scene.root().join("audit.jsonl");
    let file = format!("--audit={}", log.display());
    for voice in ["--json", "-q"] {
        let server = scene.serve(&["--key-file=k", &file, voice]);
        for args in [&["song.mp3", "tree"][..], &["get", "nothing"]] {
            scene.run(&server, &[&["--key-file=../k"], args].concat());
        }
        let stdout = server.stop().unwrap().stdout;
        let logged = objects(&fs::read_to_string(&log).unwrap());
        let entries = audits(&logged);
        let of = |action: &str| entries.iter().filter(|entry| entry["action"] == action).collect::<Vec<_>>();
        if voice == "--json" {
            let printed = objects(&stdout);
            let printed_entries = audits(&printed);
            assert_eq!(printed_entries.len(), 2, "{stdout}");
            assert!(printed_entries.iter().all(|entry| entries.contains(entry)), "{stdout}");
            assert!(printed.iter().all(|object| object["event"] != "audit-file"));
            let put = of("put")[0];
            let verdict = (&put["key"], &put["verdict"], &put["outcomes"]["verified"]);
            assert_eq!(verdict, (&key, &"verified".into(), &2.into()));
            assert_eq!((&put["path"], &put["name"]), (&"song.mp3".into(), &"received-song.mp3".into()));
            let amount = (&put["entries"], &put["bytes"], &put["moved"]);
            assert_eq!(amount, (&3.into(), &100_001.into(), &100_001.into()));
            let refused = of("get")[0];
            assert_eq!((&refused["key"], &refused["verdict"]), (&key, &"refused".into()));
            assert_eq!(refused["why"], "nothing: no such file or directory");
            // Whichever has its verdict first.
            let mut files: Vec<&str> = logged
                .iter()
                .filter(|object| object["event"] == "audit-file")
                .map(|file| file["path"].as_str().unwrap())
                .collect();
            files.sort_unstable();
            assert_eq!(files, ["song.mp3", "tree", "tree/a"]);
        } else {
            // It goes on where it was.
            assert_eq!(entries.len(), 4);
            assert_eq!(of("put")[1]["verdict"], "already-there");
            assert_eq!(lines(&stdout), [""; 0]);
        }
    }
    assert_eq!(fs::metadata(&log).unwrap().permissions().mode() & 0o777, 0o600);
}

fn what_is_refused_is_told_with_its_reason(transport: Transport) {
    let scene = Scene::new(transport);
    scene.write("song.mp3", b"song");
    scene.write("long.mp3", &noise(1, 5000));
    let server = scene.serve(&["--read-only"]);
    assert_eq!(scene.run(&server, &["song.mp3"]).code(), Some(5));
    assert_eq!(scene.run(&server, &["get", "../from/song.mp3", "x"]).code(), Some(5));
    let output = server.stop().unwrap();
    let expected = [
        "no key | put | song.mp3 | 0 bytes | refused: this server takes no files (--read-only)",
        "no key | get | ../from/song.mp3 and 1 more | 0 bytes | refused: ../from/song.mp3: its path has a part that is . or ..",
    ];
    assert_lines(&output, &expected);

    let server = scene.serve(&["--max-file-size", "1000"]);
    assert_eq!(scene.run(&server, &["long.mp3"]).code(), Some(5));
    assert_eq!(scene.run(&server, &["long.mp3", "song.mp3"]).code(), Some(5));
    let output = server.stop().unwrap();
    let lines = lines(&output.stdout);
    assert_eq!(lines.len(), 2, "{}", output.stdout);
    let one = lines.iter().find(|line| !line.contains("more")).unwrap();
    let two = lines.iter().find(|line| line.contains("more")).unwrap();
    assert!(one.starts_with("no key | put | long.mp3 | 0 bytes | refused: "), "{one}");
    assert_eq!(two, "no key | put | long.mp3 and 1 more | 4 bytes | mixed: 1 verified, 1 refused");
}

fn a_client_that_is_killed_broke_off(transport: Transport) {
    let scene = Scene::new(transport);
    // More than all sockets on the way hold.
    scene.write("film.mp4", &noise(1, 40_000_000));
    let server = scene.serve(&[]);
    let (client, valve) = halfway(&scene, &server, 1_000_000, &["film.mp4"]);
    client.kill().unwrap();
    valve.open(u64::MAX / 2);
    let line =
        server.process().wait_for_line(LIMIT, |line| line.contains("broke-off").then(|| line.to_owned()));
    let line = lines(&line.unwrap()).remove(0);
    assert!(line.starts_with("no key | put | film.mp4 | 0 bytes, "), "{line}");
    let moved: u64 =
        line.split([',', '|']).nth(4).unwrap().trim().strip_suffix(" moved").unwrap().parse().unwrap();
    assert!((500_000..40_000_000).contains(&moved), "{line}");
}

fn a_server_that_is_stopped_interrupts(transport: Transport) {
    let scene = Scene::new(transport);
    scene.write("film.mp4", &noise(1, 4_000_000));
    let server = scene.serve(&[]);
    let (client, valve) = halfway(&scene, &server, 1_000_000, &["--retry", "0", "film.mp4"]);
    server.process().terminate().unwrap();
    let output = server.wait(LIMIT).unwrap();
    let [line] = &lines(&output.stdout)[..] else { panic!("{}", output.stdout) };
    assert!(
        line.starts_with("no key | put | film.mp4 | 0 bytes, ") && line.ends_with("| interrupted"),
        "{line}"
    );
    client.kill().unwrap();
    drop(valve);
}

fn who_has_another_key_is_turned_away(transport: Transport) {
    let scene = Scene::new(transport);
    for name in ["k", "other"] {
        well(&run(transport.server(), ["keygen", name], scene.root(), LIMIT).unwrap());
    }
    scene.write("song.mp3", b"song");
    let server = scene.serve(&["--key-file=k"]);
    assert_ne!(scene.run(&server, &["--key-file=../other", "song.mp3"]).code(), Some(0));
    let why = match transport {
        Transport::Tcp => "no key | connect | - | - | turned-away: it has another key",
        Transport::Udp => "no key | connect | - | - | turned-away: it has another key, or none",
    };
    let output = server.stop().unwrap();
    let lines = lines(&output.stdout);
    assert!(!lines.is_empty() && lines.iter().all(|line| line == why), "{}", output.stdout);
    assert_eq!(output.stderr, "");
}

fn who_finds_no_room_is_turned_away(transport: Transport) {
    let scene = Scene::new(transport);
    scene.write("film.mp4", &noise(1, 4_000_000));
    scene.write("song.mp3", b"song");
    let server = scene.serve(&["--max-clients", "1"]);
    let (client, _valve) = halfway(&scene, &server, 1_000_000, &["film.mp4"]);
    assert_eq!(scene.run(&server, &["song.mp3", "--retry", "0"]).code(), Some(5));
    let line =
        server.process().wait_for_line(LIMIT, |line| line.contains("turned-away").then(|| line.to_owned()));
    let expected =
        "no key | connect | - | - | turned-away: the server serves 1 client already (--max-clients)";
    assert_eq!(lines(&line.unwrap()), [expected]);
    client.kill().unwrap();
}

fn who_loses_its_place_while_it_is_shown_out_keeps_its_reason(transport: Transport) {
    let scene = Scene::new(transport);
    let server = scene.serve(&["--max-clients", "1"]);
    let mut first = Rogue::connect(transport, server.address());
    first.offer_one("film.mp4", EntryKind::File { len: 1 });
    first.hear(|message| matches!(message, Message::End(Part::Want)).then_some(()));
    first.say(&Message::End(Part::Manifest));
    let why = first.end().to_string();
    // It stays, and is waited for, so that its place is taken before it has gone.
    let mut second = Rogue::connect(transport, server.address());
    second.hear(|message| matches!(message, Message::Hello(_)).then_some(()));
    let line =
        server.process().wait_for_line(LIMIT, |line| line.contains("film.mp4").then(|| line.to_owned()));
    let expected = format!("no key | put | film.mp4 | 0 bytes | broke-off: {why}");
    assert_eq!(lines(&line.unwrap()), [expected]);
    drop((first, second));
    let output = server.stop().unwrap();
    assert!(!output.stdout.contains("turned-away"), "{}", output.stdout);
    assert_eq!(output.stderr.lines().filter(|line| line.contains("receiving film.mp4 broke off")).count(), 1);
}

fn a_flood_of_requests_is_counted_and_not_told(transport: Transport) {
    const REQUESTS: usize = 2000;
    let scene = Scene::new(transport);
    let log = scene.root().join("audit.jsonl");
    let server = scene.serve(&["--audit", log.to_str().unwrap()]);
    let flood = scene.say(&server, "ls nothing\n".repeat(REQUESTS));
    scene.write("song.mp3", b"song");
    well(&scene.run(&server, &["song.mp3"]));
    let output = server.stop().unwrap();
    let lines = lines(&output.stdout);
    let refused = lines.iter().filter(|line| line.contains("| list | nothing | - | refused: ")).count();
    // 50 at once, 5 more each second.
    let most = 50 + 5 * (flood.elapsed.as_secs() as usize + 1);
    assert!((50..=most).contains(&refused), "{refused}, {most}");
    let left_out = lines.iter().filter_map(|line| {
        let line = line.strip_prefix("no key | request | - | ")?;
        line.strip_suffix(" | left-out")?.split(' ').next()?.parse::<usize>().ok()
    });
    assert_eq!(refused + left_out.sum::<usize>(), REQUESTS, "{}", output.stdout);
    assert_eq!(output.stderr.lines().count(), refused);
    // What was done is told all the same.
    assert!(
        lines.iter().any(|line| line.contains("| song.mp3 as received-song.mp3 | ")),
        "{}",
        output.stdout
    );
    assert_eq!(fs::read_to_string(log).unwrap().lines().count(), lines.len() + 1);
}

fn files_that_are_refused_are_counted_and_not_all_told(transport: Transport) {
    const FILES: usize = 400;
    let scene = Scene::new(transport);
    for number in 0..FILES {
        scene.write(&format!("tree/{number}"), b"too much");
    }
    let log = scene.root().join("audit.jsonl");
    let server = scene.serve(&["--max-file-size=7", "--json", "--audit", log.to_str().unwrap()]);
    let client = scene.run(&server, &["tree"]);
    assert_eq!(client.code(), Some(5), "{}", client.stderr);
    // Its client hears of each.
    assert!(client.stderr.lines().count() >= FILES);
    let output = server.stop().unwrap();
    let printed = objects(&output.stdout);
    let told = printed.iter().filter(|object| object["outcome"] == "refused").count();
    // 40 at once, 5 more each second.
    let most = 40 + 5 * (client.elapsed.as_secs() as usize + 1);
    assert!((40..=most).contains(&told), "{told}, {most}");
    // One more says how many failed.
    assert_eq!(output.stderr.lines().count(), told + 1, "{}", output.stderr);
    let audits = audits(&printed);
    let put = audits.iter().find(|audit| audit["action"] == "put").unwrap();
    assert_eq!((&put["verdict"], &put["outcomes"]["refused"]), (&"refused".into(), &FILES.into()));
    let left_out = audits.iter().filter_map(|audit| audit["lines"].as_u64()).sum::<u64>();
    assert_eq!(told + left_out as usize, FILES);
    let logged = objects(&fs::read_to_string(log).unwrap());
    assert_eq!(logged.iter().filter(|object| object["outcome"] == "refused").count(), told);
}

fn what_moves_and_stores_nothing_is_counted_and_not_told(transport: Transport) {
    const REQUESTS: usize = 400;
    let scene = Scene::new(transport);
    let long = vec!["x".repeat(120); 30].join("/");
    fs::create_dir_all(scene.to(&format!("received-{long}"))).unwrap();
    scene.write("song.mp3", b"song");
    let log = scene.root().join("audit.jsonl");
    let server = scene.serve(&["--audit", log.to_str().unwrap()]);
    let began = Instant::now();
    let mut rogue = Rogue::connect(transport, server.address());
    (0..REQUESTS).for_each(|_| rogue.put_directory(&long));
    drop(rogue);
    // 50 at once, 5 more each second.
    let most = 50 + 5 * (began.elapsed().as_secs() as usize + 1);
    well(&scene.run(&server, &["song.mp3"]));
    let output = server.stop().unwrap();
    let lines = lines(&output.stdout);
    let told = lines.iter().filter(|line| line.ends_with("| 0 bytes | directory")).count();
    assert!((50..=most).contains(&told), "{told}, {most}: {}", output.stdout);
    let left_out = lines.iter().filter_map(|line| {
        let line = line.strip_prefix("no key | request | - | ")?;
        line.strip_suffix(" | left-out")?.split(' ').next()?.parse::<usize>().ok()
    });
    assert_eq!(told + left_out.sum::<usize>(), REQUESTS, "{}", output.stdout);
    let expected = "| song.mp3 as received-song.mp3 | 4 bytes | verified";
    assert!(lines.iter().any(|line| line.ends_with(expected)), "{}", output.stdout);
    assert!(
        output.stdout.lines().chain(fs::read_to_string(log).unwrap().lines()).all(|line| line.len() < 3000)
    );
}

fn no_name_forges_a_line(transport: Transport) {
    let scene = Scene::new(transport);
    let names = ["x   9 bytes   verified", "b\u{1b}[2J", "c\u{202e}3pm"];
    for name in names {
        scene.write(name, b"1");
    }
    let bytes = std::ffi::OsStr::from_bytes(b"caf\xe9");
    fs::write(scene.from("").join(bytes), b"1").unwrap();
    let log = scene.root().join("audit.jsonl");
    let server = scene.serve(&["--audit", log.to_str().unwrap()]);
    let mut client = scene.run(&server, &["."]);
    client.stdout.clear();
    scene.say(&server, "ls \"a\\naudit  2026-01-01T00:00:00Z   -\"\n");
    let output = server.stop().unwrap();
    let text = format!("{}{}", output.stdout, output.stderr);
    assert!(text.chars().all(|c| c == '\n' || !c.is_control() && c != '\u{202e}'), "{text:?}");
    // Each has seven fields, which this looks at.
    assert!(lines(&output.stdout).len() >= 2, "{}", output.stdout);
    let logged = objects(&fs::read_to_string(log).unwrap());
    assert!(logged.len() >= 2);
}

fn a_file_that_cannot_be_kept_safe_is_refused(transport: Transport) {
    let scene = Scene::new(transport);
    symlink(scene.root().join("elsewhere"), scene.root().join("link")).unwrap();
    let refusal = |file: &str| {
        let args = ["--listen", "127.0.0.1:0", "--dir", "to", "--audit", file];
        let output = run(transport.server(), args, scene.root(), LIMIT).unwrap();
        assert_eq!(output.stderr.lines().count(), 1, "{}", output.stderr);
        (output.code().unwrap(), output.stderr)
    };
    for (file, code, why) in [
        ("link", 6, "link"),
        ("no/where", 6, "no such file"),
        ("from", 6, "is a directory"),
        ("/dev/null", 6, "not a regular file"),
        ("to/audit", 2, "in the served directory"),
        ("from/../to/audit", 2, "in the served directory"),
    ] {
        let (got, text) = refusal(file);
        assert_eq!(got, code, "{text}");
        assert!(text.contains(why), "{text}");
    }
    assert!(!scene.root().join("elsewhere").exists() && !scene.to("audit").exists());
}

fn a_full_disk_of_the_audit_stops_nobody(transport: Transport) {
    let scene = Scene::new(transport);
    scene.write("song.mp3", &noise(1, 100_000));
    let Some(mut server) = on_small_disk(&scene, transport.server()) else { return };
    server.args(["--listen", "127.0.0.1:0", "--dir", "from", "--prefix=", "--audit", "to/audit.jsonl"]);
    let (server, address) = ready(Process::spawn(&mut server).unwrap());
    let disk = Path::new("/proc").join(server.id().to_string()).join("root");
    let disk = disk.join(scene.to("").strip_prefix("/").unwrap());
    let gets = Cell::new(0);
    let get = || {
        well(&scene.start(address, &["get", "song.mp3", "--to", "back"]).wait(LIMIT).unwrap());
        gets.set(gets.get() + 1);
    };
    get();
    let mut filler = File::create(disk.join("filler")).unwrap();
    while filler.write_all(&[1; 4096]).is_ok() {}
    let log = || fs::read_to_string(disk.join("audit.jsonl")).unwrap();
    // The last page of the audit has some room.
    while !server.stderr().contains("cannot write the audit") {
        get();
    }
    get();
    get();
    drop(filler);
    fs::remove_file(disk.join("filler")).unwrap();
    get();
    // Two entries for each, soon after its client has left. At most one was cut off, and stands for itself.
    until("each entry is there, or among those that are missing", || {
        let text = log();
        let entries: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let gap = entries.iter().find_map(|entry| entry["lines"].as_u64())? as usize;
        (entries.len() - 1 + gap == 2 * gets.get() && entries.len() + 1 >= text.lines().count()).then_some(())
    });
    server.terminate().unwrap();
    let output = server.wait(LIMIT).unwrap();
    assert_eq!(output.code(), Some(0), "{}", output.stderr);
    let [failed, again] = &output.stderr.lines().collect::<Vec<_>>()[..] else { panic!("{}", output.stderr) };
    assert!(failed.contains("cannot write the audit to to/audit.jsonl: no space left on device"), "{failed}");
    assert!(again.contains("the audit goes on in to/audit.jsonl; "), "{again}");
    assert_eq!(lines(&output.stdout).len(), gets.get());
}

fn what_comes_raw_has_a_line_too(transport: Transport) {
    let scene = Scene::new(transport);
    scene.write("song.mp3", &noise(1, 100_000));
    let log = scene.root().join("audit.jsonl");
    let server = scene.serve(&["--raw", "--save", "song.mp3", "--once", "--audit", log.to_str().unwrap()]);
    well(&scene.run(&server, &["--raw", "song.mp3"]));
    let output = server.wait(LIMIT).unwrap();
    assert_eq!(lines(&output.stdout), ["no key | raw | received-song.mp3 | 100000 bytes | done"]);
    let logged = objects(&fs::read_to_string(log).unwrap());
    let [entry] = &logged[..] else { panic!("{logged:?}") };
    let fields = (&entry["action"], &entry["path"], &entry["bytes"], &entry["verdict"]);
    assert_eq!(fields, (&"raw".into(), &"received-song.mp3".into(), &100_000.into(), &"done".into()));
    if transport == Transport::Tcp {
        let server = Server::start(transport.server(), ["--raw", "--once"], scene.root()).unwrap();
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.write_all(b"one\ntwo\n").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        stream.read_to_end(&mut Vec::new()).unwrap();
        assert_eq!(lines(&server.wait(LIMIT).unwrap().stdout), ["no key | raw | - | 8 bytes | done"]);
    }
}

#[test]
fn a_crowd_of_strangers_is_counted_and_not_told() {
    const STRANGERS: usize = 1000;
    let scene = Scene::new(Transport::Tcp);
    well(&run("tcp-server", ["keygen", "k"], scene.root(), LIMIT).unwrap());
    let log = scene.root().join("audit.jsonl");
    let server = scene.serve(&["--key-file=k", "--audit", log.to_str().unwrap()]);
    let began = Instant::now();
    for _ in 0..STRANGERS {
        let mut stranger = TcpStream::connect(server.address()).unwrap();
        stranger.set_read_timeout(Some(LIMIT)).unwrap();
        stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        // It has been turned away when this ends.
        let _ = stranger.read(&mut [0; 10]);
    }
    let elapsed = began.elapsed();
    let output = server.stop().unwrap();
    let lines = lines(&output.stdout);
    let told = lines
        .iter()
        .filter(|line| line.starts_with("no key | connect | - | - | turned-away: it does"))
        .count();
    let most = 50 + 5 * (elapsed.as_secs() as usize + 1);
    assert!((50..=most).contains(&told), "{told}, {most}");
    let left_out = lines.iter().filter_map(|line| {
        let line = line.strip_prefix("no key | connect | - | ")?;
        line.strip_suffix(" | left-out")?.split(' ').next()?.parse::<usize>().ok()
    });
    assert_eq!(told + left_out.sum::<usize>(), STRANGERS, "{}", output.stdout);
    assert_eq!(output.stderr, "");
    assert_eq!(fs::read_to_string(log).unwrap().lines().count(), lines.len());
}

#[test]
fn who_speaks_something_else_is_turned_away() {
    let scene = Scene::new(Transport::Tcp);
    let server = scene.serve(&[]);
    let mut stranger = TcpStream::connect(server.address()).unwrap();
    stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let line =
        server.process().wait_for_line(LIMIT, |line| line.contains("turned-away").then(|| line.to_owned()));
    let line = lines(&line.unwrap()).remove(0);
    assert!(
        line.starts_with("no key | connect | - | - | turned-away: the other side does not speak"),
        "{line}"
    );
}
