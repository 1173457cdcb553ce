//! Keys: made, given, refused; what passes between two programs that have one, and what an outsider gets.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};

use lab::Transport;
use lab::process::{LIMIT, Output, Process, Server, program, run};

use crate::relay::{Relay, Weather};
use crate::scene::{Scene, noise, objects};

over_each_transport!(
    a_key_is_made_and_opens_both_ways,
    the_short_form_opens_too,
    another_key_gets_nothing_and_costs_the_server_nothing,
    one_side_without_a_key_gets_nothing,
    a_key_that_others_can_read_ends_with_6,
    keys_that_make_no_sense_end_with_2,
    a_server_with_a_key_need_not_be_insecure,
);

impl Scene {
    /// Makes a key, `name` beside the directories: its path, and what the program said.
    fn keygen(&self, name: &str) -> (PathBuf, Output) {
        let output = run(self.transport().server(), ["keygen", name, "--json"], self.root(), LIMIT).unwrap();
        (self.root().join(name), output)
    }

    /// A key in a file, as an argument.
    fn key(&self, name: &str) -> String {
        let (path, output) = self.keygen(name);
        assert_eq!(output.code(), Some(0), "{}", output.stderr);
        format!("--key-file={}", path.display())
    }
}

fn complaint(output: &Output, code: i32) -> &str {
    assert_eq!(output.code(), Some(code), "{} {}", output.stdout, output.stderr);
    assert_eq!(output.stderr.lines().count(), 1, "{}", output.stderr);
    output.stderr.trim_end()
}

/// That a client was turned away, in these words.
fn assert_refused(output: &Output, why: &str) {
    assert!(complaint(output, 5).contains(why), "{}", output.stderr);
}

/// That a server takes a file from who has the key.
fn assert_sound(scene: &Scene, server: &Server, key: &str) {
    scene.write("sound.mp3", &noise(9, 10_000));
    let output = scene.run(server, &[key, "sound.mp3"]);
    assert_eq!(output.code(), Some(0), "{}", output.stderr);
}

fn a_key_is_made_and_opens_both_ways(transport: Transport) {
    let scene = Scene::new(transport);
    let (path, output) = scene.keygen("k");
    assert_eq!(output.code(), Some(0), "{}", output.stderr);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let made = objects(&output.stdout).remove(0);
    let fingerprint = made["key"].as_str().unwrap();
    assert!(
        fs::read_to_string(&path).unwrap().ends_with(&format!("\n{}\n", made["short"].as_str().unwrap()))
    );

    let key = format!("--key-file={}", path.display());
    let film = noise(1, 3_000_000);
    scene.write("film.mp4", &film);
    scene.write("album/one.mp3", b"one");
    let server = scene.serve(&[&key, "--json"]);
    let output = scene.run(&server, &[&key, "--json", "film.mp4", "album"]);
    assert_eq!(output.code(), Some(0), "{}", output.stderr);
    let start = objects(&output.stdout).into_iter().find(|object| object["event"] == "start").unwrap();
    assert_eq!(start["key"], fingerprint);
    assert!(scene.received()["received-film.mp4"] == film);
    let output = scene.run(&server, &[&key, "get", "received-film.mp4", "--to", "back", "--prefix="]);
    assert_eq!(output.code(), Some(0), "{}", output.stderr);
    assert!(fs::read(scene.from("back/received-film.mp4")).unwrap() == film);
    let said = objects(&server.stop().unwrap().stdout);
    assert_eq!(said[0]["event"], "ready");
    assert_eq!(said[0]["key"], fingerprint);

    let before = fs::read(&path).unwrap();
    let (_, output) = scene.keygen("k");
    assert!(complaint_of_json(&output, 6).contains("never overwritten"));
    assert_eq!(fs::read(&path).unwrap(), before);
}

fn complaint_of_json(output: &Output, code: i32) -> String {
    assert_eq!(output.code(), Some(code), "{} {}", output.stdout, output.stderr);
    objects(&output.stdout)[0]["message"].as_str().unwrap().to_owned()
}

fn the_short_form_opens_too(transport: Transport) {
    let scene = Scene::new(transport);
    let key = scene.key("k");
    scene.write("song.mp3", b"song");
    let server = scene.serve(&[&key]);
    // As somebody types it who was told it on the telephone, and what comes behind it is not read.
    let script = format!(
        "grep -v '#' ../k | tr 'A-Z0-' 'a-zo ' | {} --server {} --key song.mp3",
        program(transport.client()).unwrap().display(),
        server.address()
    );
    let mut shell = Command::new("sh");
    shell.args(["-c", &script]).current_dir(scene.from(""));
    let output = Process::spawn(&mut shell).unwrap().wait(LIMIT).unwrap();
    assert_eq!(output.code(), Some(0), "{}", output.stderr);
    // Nobody at the terminal, and nothing in the pipe.
    let output = scene.run(&server, &["--key", "song.mp3"]);
    assert!(complaint(&output, 2).contains("that is not the key"), "{}", output.stderr);
}

fn another_key_gets_nothing_and_costs_the_server_nothing(transport: Transport) {
    let scene = Scene::new(transport);
    let (key, other) = (scene.key("k"), scene.key("other"));
    scene.write("song.mp3", b"song");
    let server = scene.serve(&[&key]);
    for args in
        [&[&*other, "song.mp3"][..], &[&other, "get", "song.mp3"], &[&other, "--retry=1h", "song.mp3"]]
    {
        assert_refused(&scene.run(&server, args), "the keys differ");
    }
    assert!(scene.received().is_empty() && scene.parts().is_empty());
    assert_sound(&scene, &server, &key);
}

fn one_side_without_a_key_gets_nothing(transport: Transport) {
    let scene = Scene::new(transport);
    let key = scene.key("k");
    scene.write("song.mp3", b"song");
    let server = scene.serve(&[&key]);
    let output = scene.run(&server, &["song.mp3"]);
    let why = match transport {
        Transport::Tcp => "may want a key; --key-file",
        Transport::Udp => "wants a key, and this side has none; --key-file",
    };
    assert_refused(&output, why);
    assert_sound(&scene, &server, &key);

    let server = scene.serve(&[]);
    assert_refused(&scene.run(&server, &[&key, "song.mp3"]), "has no key, and this side has one");
    assert!(!scene.received().contains_key("received-song.mp3"));
    let output = scene.run(&server, &["song.mp3"]);
    assert_eq!(output.code(), Some(0), "{}", output.stderr);
}

fn a_key_that_others_can_read_ends_with_6(transport: Transport) {
    let scene = Scene::new(transport);
    let key = scene.key("k");
    let server = scene.serve(&[&key]);
    fs::set_permissions(scene.root().join("k"), fs::Permissions::from_mode(0o640)).unwrap();
    let output = scene.run(&server, &[&key, "song.mp3"]);
    assert!(complaint(&output, 6).contains("chmod 600 "), "{}", output.stderr);
    let output = run(transport.server(), [&key], scene.root(), LIMIT).unwrap();
    assert!(complaint(&output, 6).contains("chmod 600 "), "{}", output.stderr);
    for (file, why) in
        [("/dev/null", "not a regular file"), ("nowhere", "no such file"), ("from", "not a regular")]
    {
        let output = run(transport.server(), ["--key-file", file], scene.root(), LIMIT).unwrap();
        assert!(complaint(&output, 6).contains(why), "{}", output.stderr);
    }
}

fn keys_that_make_no_sense_end_with_2(transport: Transport) {
    let scene = Scene::new(transport);
    let key = scene.key("k");
    for args in [&[&*key, "--insecure"][..], &[&key, "--key"], &[&key, "--raw"], &["--key", "--insecure"]] {
        let output = run(transport.server(), args, scene.root(), LIMIT).unwrap();
        assert_eq!(output.code(), Some(2), "{args:?}: {}", output.stderr);
        let output = run(transport.client(), [args, &["x"]].concat(), scene.root(), LIMIT).unwrap();
        assert_eq!(output.code(), Some(2), "{args:?}: {}", output.stderr);
    }
}

fn a_server_with_a_key_need_not_be_insecure(transport: Transport) {
    let scene = Scene::new(transport);
    let key = scene.key("k");
    let server = scene.serve(&["--listen", "0.0.0.0:0", &key]);
    let address = SocketAddr::from(([127, 0, 0, 1], server.address().port()));
    scene.write("song.mp3", b"song");
    let output = scene.start(address, &[&key, "song.mp3"]).wait(LIMIT).unwrap();
    assert_eq!((output.code(), output.stderr.as_str()), (Some(0), ""));
    let client = format!("send   {} --key-file ", transport.client());
    let output = server.stop().unwrap();
    assert!(output.stdout.lines().nth(1).unwrap().starts_with(&client), "{}", output.stdout);
    assert_eq!(output.stderr, "");
    let output = run(transport.server(), ["--listen", "0.0.0.0:0"], scene.root(), LIMIT).unwrap();
    assert!(complaint(&output, 2).contains("keygen and add --key-file tandem.key"), "{}", output.stderr);
}

/// Passes one connection on to a server, and keeps what passes.
fn tap(server: SocketAddr) -> (SocketAddr, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let see = seen.clone();
    std::thread::spawn(move || {
        let client = listener.accept().unwrap().0;
        let server = TcpStream::connect(server).unwrap();
        let pass = |mut from: TcpStream, mut to: TcpStream| {
            let mut buffer = [0; 65536];
            while let Ok(read @ 1..) = from.read(&mut buffer) {
                see.lock().unwrap().extend_from_slice(&buffer[..read]);
                if to.write_all(&buffer[..read]).is_err() {
                    break;
                }
            }
            let _ = to.shutdown(std::net::Shutdown::Write);
        };
        std::thread::scope(|scope| {
            let (up, down) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            scope.spawn(|| pass(down, up));
            pass(client, server);
        });
    });
    (address, seen)
}

#[test]
fn captured_tcp_traffic_shows_no_name_no_content_and_no_program() {
    let scene = Scene::new(Transport::Tcp);
    let key = scene.key("k");
    scene.write("a-telling-name.mp3", "telling content ".repeat(10_000).as_bytes());
    let secrets: [&[u8]; 4] = [b"telling-name", b"telling content", b"tcp-client", b"received-"];
    for (args, is_plain) in [(&[&*key][..], false), (&[], true)] {
        let server = scene.serve(&[args, &["--if-exists", "overwrite"]].concat());
        let (address, seen) = tap(server.address());
        let output = scene.start(address, &[args, &["a-telling-name.mp3"]].concat()).wait(LIMIT).unwrap();
        assert_eq!(output.code(), Some(0), "{}", output.stderr);
        let seen = seen.lock().unwrap();
        for secret in secrets {
            let is_there = seen.windows(secret.len()).any(|window| window == secret);
            assert_eq!(is_there, is_plain, "{}", secret.escape_ascii());
        }
        drop(server);
        fs::remove_file(scene.to("received-a-telling-name.mp3")).unwrap();
    }
}

#[test]
fn an_outsider_gets_not_one_byte_over_tcp() {
    let scene = Scene::new(Transport::Tcp);
    let key = scene.key("k");
    let server = scene.serve(&[&key]);
    for bytes in
        [&b""[..], b"GET / HTTP/1.1\r\n\r\n", b"TD\x01\x01", &[b"TDS\x01".as_slice(), &[7; 48]].concat()]
    {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.write_all(bytes).unwrap();
        if bytes.is_empty() {
            stream.shutdown(std::net::Shutdown::Write).unwrap();
        } else if bytes.len() < 5 {
            stream.write_all(&[0; 1000]).unwrap();
        }
        let mut got = Vec::new();
        match stream.read_to_end(&mut got) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
        assert_eq!(got, b"", "{}", bytes.escape_ascii());
    }
    assert_sound(&scene, &server, &key);
}

#[test]
fn captured_udp_traffic_shows_no_name_no_content_and_no_program() {
    let scene = Scene::new(Transport::Udp);
    let key = scene.key("k");
    scene.write("a-telling-name.mp3", "telling content ".repeat(1000).as_bytes());
    let secrets: [&[u8]; 3] = [b"telling-name", b"telling content", b"udp-client"];
    for (args, is_plain) in [(&[&*key][..], false), (&[], true)] {
        let server = scene.serve(&[args, &["--if-exists", "overwrite"]].concat());
        let relay = Relay::new(server.address(), Weather::default());
        let output =
            scene.start(relay.address(), &[args, &["a-telling-name.mp3"]].concat()).wait(LIMIT).unwrap();
        assert_eq!(output.code(), Some(0), "{}", output.stderr);
        let seen = relay.first();
        for secret in secrets {
            let has_it = |datagram: &Vec<u8>| datagram.windows(secret.len()).any(|window| window == secret);
            assert_eq!(seen.iter().any(has_it), is_plain, "{}", secret.escape_ascii());
        }
        assert!(is_plain || seen.iter().all(|datagram| (0xd1..=0xd6).contains(&datagram[0])));
        fs::remove_file(scene.to("received-a-telling-name.mp3")).unwrap();
    }
}

#[test]
fn a_bad_network_does_not_hide_that_the_keys_differ() {
    let scene = Scene::new(Transport::Udp);
    let (key, other) = (scene.key("k"), scene.key("other"));
    scene.write("song.mp3", b"song");
    let cases = [
        (&[&*key][..], &[&*other][..], "the keys differ"),
        (&[&key], &[], "wants a key"),
        (&[], &[&key], "has no key"),
    ];
    for (there, here, why) in cases {
        let server = scene.serve(there);
        let relay =
            Relay::new(server.address(), Weather { lost: 300, doubled: 100, damaged: 50, overtaken: 50 });
        let output = scene.start(relay.address(), &[here, &["song.mp3"]].concat()).wait(LIMIT).unwrap();
        assert_refused(&output, why);
    }
    assert!(scene.received().is_empty());
}

#[test]
fn a_bad_network_and_what_was_recorded_of_it_change_nothing() {
    let scene = Scene::new(Transport::Udp);
    let key = scene.key("k");
    let film = noise(3, 4_000_000);
    scene.write("film.mp4", &film);
    let server = scene.serve(&[&key]);
    let relay = Relay::new(server.address(), Weather { lost: 50, doubled: 30, damaged: 20, overtaken: 30 });
    let client = scene.start(relay.address(), &[&key, "film.mp4"]);
    relay.wait_until_passed(500_000);
    relay.rebind();
    relay.wait_until_passed(1_000_000);
    relay.replay();
    let output = client.wait(LIMIT).unwrap();
    assert_eq!(output.code(), Some(0), "{}", output.stderr);
    assert!(scene.received()["received-film.mp4"] == film);
    // Once it is over, too.
    relay.replay();
    assert_sound(&scene, &server, &key);
    assert_eq!(scene.received().len(), 2);
}
