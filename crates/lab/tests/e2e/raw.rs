//! Raw mode with programs that never heard of Tandem: plain sockets, `nc`, `socat`, Python; and with its own clients.

use std::cell::RefCell;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use framing::{Checksum, Hasher};
use lab::Transport;
use lab::process::{LIMIT, Output, Process, Server, program};

use crate::scene::{Scene, noise, objects};

over_each_transport!(
    a_file_goes_from_the_client_to_the_server,
    what_the_client_sends_comes_back,
    the_client_talks_line_by_line,
    names_that_lead_out_are_refused,
    flags_of_the_protocol_are_refused,
    loopback_is_not_left_unasked,
    it_ends_after_one_file,
    it_stops_when_told_and_keeps_nothing_half,
    objects_say_the_same,
    nobody_there_ends_with_3,
    a_source_that_is_not_there_ends_with_6,
);

const GREETING: &[u8] = b"Hello from the server!";

/// A server that keeps what comes as `to/received-song.mp3`.
fn keep(scene: &Scene, args: &[&str]) -> Server {
    scene.serve(&[&["--raw", "--save", "song.mp3"], args].concat())
}

/// A server that sends back what comes.
fn echo(scene: &Scene) -> Server {
    Server::start(scene.transport().server(), ["--raw"], scene.root()).unwrap()
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
}

fn socket(address: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(address).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    socket
}

/// What a peer says until it closes the stream.
fn all(mut stream: &TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

fn receive(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = vec![0; 70_000];
    let len = socket.recv(&mut buffer).unwrap();
    buffer.truncate(len);
    buffer
}

/// The first so many MD5s of files that the server says.
fn md5s(server: &Server, count: usize) -> Vec<String> {
    let said = RefCell::new(Vec::new());
    let find = |line: &str| {
        let md5 = line.strip_prefix("md5   ")?.split(' ').next()?;
        said.borrow_mut().push(md5.to_owned());
        (said.borrow().len() == count).then_some(())
    };
    server.process().wait_for_line(LIMIT, find).unwrap();
    said.into_inner()
}

fn md5(bytes: &[u8]) -> String {
    Hasher::digest(Checksum::Md5, bytes).to_string()
}

fn complaint(server: &Server, with: &str) -> String {
    let find = |line: &str| line.contains(with).then(|| line.to_owned());
    server.process().wait_for_error_line(LIMIT, find).unwrap()
}

/// Ends a server that nothing is wrong with.
fn stop(server: Server) -> Output {
    let output = server.stop().unwrap();
    assert_eq!(output.code(), Some(0), "{}", output.stderr);
    output
}

/// The program with this input and this output.
fn feed(mut command: Command, input: &[u8]) -> std::process::Output {
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child: Child = child.unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // It may say something before it has taken all.
    let writer = thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

/// A command, unless it is not there, which is said.
fn foreign(name: &str) -> Option<Command> {
    let mut found = Command::new("sh");
    let is_there = found.args(["-c", &format!("command -v {name}")]).stdout(Stdio::null()).status();
    if is_there.is_ok_and(|status| status.success()) {
        return Some(Command::new(name));
    }
    eprintln!("SKIPPED: there is no {name} here");
    None
}

fn a_file_goes_from_the_client_to_the_server(transport: Transport) {
    for len in [0, 1, 4096, 4097, 1_000_003] {
        let scene = Scene::new(transport);
        let song = noise(1, len);
        scene.write("a b.mp3", &song);
        let server = keep(&scene, &[]);
        let output = scene.run(&server, &["--raw", "a b.mp3"]);
        assert_eq!(output.code(), Some(0), "{}", output.stderr);
        assert!(output.stdout.starts_with("sent  a b.mp3   "), "{}", output.stdout);
        assert!(output.stdout.contains(&format!("\nmd5   {}   here\n", md5(&song))), "{}", output.stdout);
        assert!(output.stderr.starts_with("note  raw: no checksum crosses the link"), "{}", output.stderr);
        assert_eq!(output.stderr.lines().count(), 1, "{}", output.stderr);
        assert_eq!(md5s(&server, 1), [md5(&song)]);
        let said = stop(server);
        assert_eq!(said.stderr.matches("raw: no checksum crosses the link").count(), 1, "{}", said.stderr);
        assert_eq!(scene.received().len(), 1);
        assert!(scene.received()["received-song.mp3"] == song, "{len}");
        assert!(scene.parts().is_empty());
    }
}

fn what_the_client_sends_comes_back(transport: Transport) {
    let scene = Scene::new(transport);
    scene.write("song.mp3", &noise(2, 300_000));
    scene.write("hello.txt", b"Hello, server\n");
    let server = echo(&scene);
    let output = scene.run(&server, &["--raw", "song.mp3"]);
    assert_eq!(output.code(), Some(0), "{}", output.stderr);
    assert!(output.stdout.contains("   back   same\n"), "{}", output.stdout);
    let output = scene.run(&server, &["--raw", "-q", "hello.txt"]);
    assert_eq!((output.code(), output.stdout.as_str(), output.stderr.as_str()), (Some(0), "", ""));
    let output = scene.run(&server, &["--raw", "hello.txt"]);
    assert!(output.stdout.ends_with("\nsaid  Hello from the server!\n"), "{}", output.stdout);
    stop(server);
}

fn the_client_talks_line_by_line(transport: Transport) {
    let scene = Scene::new(transport);
    let server = echo(&scene);
    let address = server.address().to_string();
    let talk = |args: &[&str], input: &[u8]| {
        let mut client = Command::new(program(transport.client()).unwrap());
        client.args(["--server", &address, "--raw"]).args(args);
        feed(client, input)
    };
    let output = talk(&["-q"], b"Hello there\nline two\n\x1b[2J\xff\n");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stdout, b"Hello from the server!\nline two\n\x1b[2J\xff\n");
    assert_eq!(output.stderr, b"");
    let output = talk(&["--json"], b"one\n");
    let said = objects(std::str::from_utf8(&output.stdout).unwrap());
    assert!(said.iter().any(|object| object["event"] == "said" && object["text"] == "one\n"), "{said:?}");
    // Standard input as a file.
    let output = talk(&["-"], b"from a pipe");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains(&md5(b"from a pipe")) && text.ends_with("said  from a pipe\n"), "{text}");
    stop(server);
}

fn names_that_lead_out_are_refused(transport: Transport) {
    let scene = Scene::new(transport);
    for name in ["..", "../x", "/tmp/x", "a/../../x", "", "nul"] {
        let args = ["--listen", "127.0.0.1:0", "--raw", "--dir", "to", "--prefix=", "--save", name];
        let output = Process::start(transport.server(), args, scene.root()).unwrap().wait(LIMIT).unwrap();
        assert_eq!(output.code(), Some(2), "{name}: {}", output.stderr);
        assert!(
            output.stdout.is_empty() && output.stderr.starts_with(transport.server()),
            "{}",
            output.stderr
        );
    }
    assert!(scene.received().is_empty() && scene.parts().is_empty());
}

fn flags_of_the_protocol_are_refused(transport: Transport) {
    let scene = Scene::new(transport);
    scene.write("song.mp3", b"song");
    let code = |name: &str, args: &[&str]| {
        let output = Process::start(name, args, &scene.from("")).unwrap().wait(LIMIT).unwrap();
        assert!(output.stderr.starts_with(&format!("{name}: ")) && output.stdout.is_empty(), "{args:?}");
        output.code()
    };
    for args in [
        &["--save", "x"][..],
        &["--raw", "--read-only"],
        &["--raw", "--save", "x", "--write-only"],
        &["--raw", "--prefix", "x"],
        &["--raw", "--max-file-size", "1k"],
    ] {
        assert_eq!(code(transport.server(), args), Some(2), "{args:?}");
    }
    for args in [
        &["--raw", "--retry", "1s", "song.mp3"][..],
        &["--raw", "--checksum", "md5", "song.mp3"],
        &["--raw", "--follow", "song.mp3"],
        &["--raw", "song.mp3", "song.mp3"],
        &["--raw", "get", "song.mp3"],
        &["get", "song.mp3", "--raw"],
    ] {
        assert_eq!(code(transport.client(), args), Some(2), "{args:?}");
    }
    if transport == Transport::Udp {
        for (name, args) in [
            ("udp-server", &["--raw", "--once"][..]),
            ("udp-server", &["--raw", "--max-clients", "3"]),
            ("udp-server", &["--raw", "--rate", "1mbit"]),
            ("udp-client", &["--raw", "--plain", "song.mp3"]),
            ("udp-client", &["--raw", "--congestion", "bbr", "song.mp3"]),
        ] {
            assert_eq!(code(name, args), Some(2), "{args:?}");
        }
    }
}

fn loopback_is_not_left_unasked(transport: Transport) {
    let scene = Scene::new(transport);
    let args = ["--raw", "--listen", "0.0.0.0:0"];
    let output = Process::start(transport.server(), args, scene.root()).unwrap().wait(LIMIT).unwrap();
    assert_eq!(output.code(), Some(2));
    assert!(output.stderr.contains("refusing to listen on 0.0.0.0:0"), "{}", output.stderr);
    let server =
        Server::start(transport.server(), ["--raw", "-q", "--insecure", "--listen=0.0.0.0:0"], scene.root());
    let output = stop(server.unwrap());
    assert!(output.stderr.starts_with("warning: --insecure"), "{}", output.stderr);
}

fn it_ends_after_one_file(transport: Transport) {
    let scene = Scene::new(transport);
    scene.write("song.mp3", b"song");
    scene.write("long.mp3", &[0; 2000]);
    let server = keep(&scene, &["--once"]);
    assert_eq!(scene.run(&server, &["--raw", "song.mp3"]).code(), Some(0));
    assert_eq!(server.wait(LIMIT).unwrap().code(), Some(0));
    assert_eq!(scene.received()["received-song.mp3"], b"song");
    // What is not to be kept ends it too, with the code that says why.
    let server = keep(&scene, &["--once", "--max-file-size", "1k"]);
    scene.run(&server, &["--raw", "long.mp3"]);
    let output = server.wait(LIMIT).unwrap();
    assert_eq!(output.code(), Some(5), "{}", output.stderr);
    assert!(output.stderr.contains("it has more than 1000 bytes"), "{}", output.stderr);
    assert!(scene.received().len() == 1 && scene.parts().is_empty());
    let server = keep(&scene, &["--once"]);
    assert_eq!(server.stop().unwrap().code(), Some(130));
}

fn it_stops_when_told_and_keeps_nothing_half(transport: Transport) {
    let scene = Scene::new(transport);
    let server = keep(&scene, &[]);
    let (stream, socket);
    match transport {
        Transport::Tcp => {
            stream = connect(server.address());
            (&stream).write_all(b"half of it").unwrap();
        }
        Transport::Udp => {
            socket = self::socket(server.address());
            socket.send(b"half of it").unwrap();
        }
    }
    until(|| !scene.parts().is_empty());
    let output = stop(server);
    assert!(output.stderr.contains("this server is being stopped; nothing was kept"), "{}", output.stderr);
    assert!(scene.received().is_empty() && scene.parts().is_empty());
}

/// Waits until it is so.
fn until(is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !is_so() {
        assert!(Instant::now() < deadline);
        thread::sleep(Duration::from_millis(5));
    }
}

fn objects_say_the_same(transport: Transport) {
    let scene = Scene::new(transport);
    let song = noise(3, 100_000);
    scene.write("song.mp3", &song);
    let server = keep(&scene, &["--json", "--once"]);
    let client = scene.run(&server, &["--raw", "--json", "song.mp3"]);
    assert_eq!(client.code(), Some(0));
    let server = server.wait(LIMIT).unwrap();
    let of = |output: &Output, event: &str| {
        let objects = objects(&output.stdout);
        objects.into_iter().find(|object| object["event"] == event).unwrap()
    };
    let ready = of(&server, "ready");
    assert_eq!((&ready["raw"], &ready["name"]), (&"save".into(), &"received-song.mp3".into()));
    for (output, side, name) in [(&client, "sender", "song.mp3"), (&server, "receiver", "received-song.mp3")]
    {
        let raw = of(output, "raw");
        assert_eq!(
            (&raw["side"], &raw["name"], &raw["bytes"]),
            (&side.into(), &name.into(), &100_000.into())
        );
        assert_eq!((&raw["checksum"], &raw["here"]), (&"md5".into(), &md5(&song).into()));
    }
    if transport == Transport::Udp {
        assert_eq!(of(&client, "raw")["datagrams"], 25);
        assert_eq!(of(&server, "raw")["datagrams"], 25);
    }
}

fn nobody_there_ends_with_3(transport: Transport) {
    let scene = Scene::new(transport);
    scene.write("song.mp3", b"song");
    let nobody = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let output = scene.start(nobody, &["--raw", "song.mp3"]).wait(LIMIT).unwrap();
    assert_eq!(output.code(), Some(3), "{}", output.stderr);
    assert!(
        output.stderr.contains(&format!("is {} running there?", transport.server())),
        "{}",
        output.stderr
    );
}

fn a_source_that_is_not_there_ends_with_6(transport: Transport) {
    let scene = Scene::new(transport);
    let server = keep(&scene, &[]);
    for (name, why) in [("nothing.mp3", "no such file"), (".", "it is a directory")] {
        let output = scene.run(&server, &["--raw", name]);
        assert_eq!(output.code(), Some(6), "{}", output.stderr);
        assert!(output.stderr.contains(why), "{}", output.stderr);
    }
    stop(server);
    assert!(scene.received().is_empty());
}

mod streams {
    use super::*;

    #[test]
    fn lines_of_a_plain_socket_come_back_one_by_one() {
        let scene = Scene::new(Transport::Tcp);
        let server = echo(&scene);
        let mut stream = connect(server.address());
        let mut say = |bytes: &[u8], back: &[u8]| {
            stream.write_all(bytes).unwrap();
            let mut came = vec![0; back.len()];
            stream.read_exact(&mut came).unwrap();
            assert_eq!(came, back);
        };
        say(b"Hello server\n", b"Hello from the server!\n");
        say(b"one\n", b"one\n");
        say(b"two\nthree\n", b"two\nthree\n");
        // Who sends no end of line waits for an answer all the same.
        say(b"four", b"four");
        let garbage = noise(4, 1_000_000);
        let mut far = stream.try_clone().unwrap();
        let sent = garbage.clone();
        let writer = thread::spawn(move || {
            far.write_all(&sent).unwrap();
            far.shutdown(Shutdown::Write).unwrap();
        });
        assert!(all(&stream) == garbage);
        writer.join().unwrap();
        stop(server);
    }

    #[test]
    fn who_greets_reads_and_sends_is_kept_without_the_greeting() {
        let scene = Scene::new(Transport::Tcp);
        let server = keep(&scene, &["-v"]);
        let film = noise(5, 2_000_000);
        for (hello, bytes) in [(b"Hello".as_slice(), film.as_slice()), (b"hello, server\r\n", b"")] {
            let mut stream = connect(server.address());
            stream.write_all(hello).unwrap();
            let mut greeting = [0; GREETING.len() + 1];
            stream.read_exact(&mut greeting).unwrap();
            assert_eq!(&greeting[..GREETING.len()], GREETING);
            stream.write_all(bytes).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            assert!(all(&stream).is_empty());
        }
        assert_eq!(md5s(&server, 2), [md5(&film), md5(b"")]);
        assert!(stop(server).stderr.matches(": greeted\n").count() == 2);
    }

    #[test]
    fn a_file_that_begins_like_a_greeting_is_whole() {
        let scene = Scene::new(Transport::Tcp);
        let server = keep(&scene, &[]);
        let long = [b"Hello".as_slice(), &noise(6, 100_000)].concat();
        for file in [b"Hello world\n".as_slice(), b"Hello\nworld\n", &long] {
            let mut stream = connect(server.address());
            // So that the end leaves together with the last bytes, however slow this machine is.
            rustix::net::sockopt::set_tcp_cork(&stream, true).unwrap();
            stream.write_all(file).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            assert!(all(&stream).is_empty());
            let name = format!(
                "received-song{}.mp3",
                match scene.received().len() {
                    1 => String::new(),
                    more => format!("-{}", more - 1),
                }
            );
            assert!(scene.received()[&name] == file);
        }
        stop(server);
    }

    #[test]
    fn nothing_of_a_broken_stream_is_kept() {
        let scene = Scene::new(Transport::Tcp);
        let server = keep(&scene, &["--once"]);
        let stream = connect(server.address());
        (&stream).write_all(&noise(7, 100_000)).unwrap();
        until(|| !scene.parts().is_empty());
        // Closing in this way resets the connection.
        rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
        drop(stream);
        let line = complaint(&server, "receiving broke off");
        assert!(line.ends_with("nothing was kept"), "{line}");
        assert!(scene.received().is_empty() && scene.parts().is_empty());
        // It still waits for its one file.
        scene.write("song.mp3", b"song");
        assert_eq!(scene.run(&server, &["--raw", "song.mp3"]).code(), Some(0));
        assert_eq!(server.wait(LIMIT).unwrap().code(), Some(0));
    }

    #[test]
    fn a_client_that_is_killed_breaks_its_stream() {
        let scene = Scene::new(Transport::Tcp);
        let server = keep(&scene, &[]);
        let mut client = Command::new(program("tcp-client").unwrap());
        client.args(["--server", &server.address().to_string(), "--raw", "-"]).stdin(Stdio::piped());
        let mut client = client.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        client.stdin.as_mut().unwrap().write_all(b"half of it").unwrap();
        until(|| scene.parts().iter().any(|part| fs::metadata(part).is_ok_and(|about| about.len() > 0)));
        client.kill().unwrap();
        client.wait().unwrap();
        complaint(&server, "nothing was kept");
        assert!(scene.received().is_empty() && scene.parts().is_empty());
        stop(server);
    }

    #[test]
    fn fifty_clients_at_once_get_a_file_each_and_more_are_sent_away() {
        let scene = Scene::new(Transport::Tcp);
        let server = keep(&scene, &["--max-clients", "50"]);
        let address = server.address();
        let streams: Vec<TcpStream> = (0..50).map(|_| connect(address)).collect();
        for (number, mut stream) in streams.iter().enumerate() {
            stream.write_all(&noise(number as u64, 50_000)).unwrap();
        }
        until(|| scene.parts().len() == 50);
        let mut one_more = connect(address);
        assert!(matches!(one_more.read(&mut [0]), Ok(0) | Err(_)));
        complaint(&server, "sent away: the server serves 50 clients already");
        streams.iter().for_each(|stream| stream.shutdown(Shutdown::Write).unwrap());
        streams.iter().for_each(|stream| drop(all(stream)));
        let mut said = md5s(&server, 50);
        let mut sent: Vec<_> = (0..50).map(|number| md5(&noise(number, 50_000))).collect();
        said.sort();
        sent.sort();
        assert_eq!(said, sent);
        stop(server);
        let mut kept: Vec<_> = scene.received().values().map(|bytes| md5(bytes)).collect();
        kept.sort();
        assert!(kept == sent && scene.parts().is_empty());
    }

    #[test]
    fn a_killed_server_leaves_no_final_name_and_the_next_one_goes_on() {
        let scene = Scene::new(Transport::Tcp);
        let server = keep(&scene, &[]);
        let mut stream = connect(server.address());
        stream.write_all(b"half").unwrap();
        until(|| !scene.parts().is_empty());
        server.kill().unwrap();
        assert!(scene.received().is_empty());
        scene.write("song.mp3", b"song");
        let server = keep(&scene, &["--once"]);
        assert_eq!(scene.run(&server, &["--raw", "song.mp3"]).code(), Some(0));
        assert_eq!(server.wait(LIMIT).unwrap().code(), Some(0));
        assert_eq!(scene.received()["received-song.mp3"], b"song");
        assert!(scene.parts().is_empty(), "leftovers are removed");
    }

    /// Ten lines, as in a classroom.
    const CLASSROOM: &str = r#"
import socket, sys
s = socket.create_connection((sys.argv[1], int(sys.argv[2])))
s.sendall(b"Hello server")
print(s.recv(1024).decode().strip())
with open(sys.argv[3], "rb") as f:
    while True:
        data = f.read(4096)
        if not data: break
        s.sendall(data)
s.close()
"#;

    #[test]
    fn other_programs_send_files_that_are_equal() {
        let film = noise(8, 3_000_001);
        let file = Scene::new(Transport::Tcp);
        file.write("film.mp4", &film);
        let path = file.from("film.mp4");
        let send = |name: &str, args: &dyn Fn(SocketAddr) -> Vec<String>, input: &[u8]| {
            let scene = Scene::new(Transport::Tcp);
            let server = keep(&scene, &["--once"]);
            let Some(mut command) = foreign(name) else { return };
            command.args(args(server.address()));
            let output = feed(command, input);
            assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
            if name == "python3" {
                assert_eq!(output.stdout, b"Hello from the server!\n");
            }
            assert_eq!(md5s(&server, 1), [md5(&film)], "{name}");
            assert_eq!(server.wait(LIMIT).unwrap().code(), Some(0));
            assert!(scene.received()["received-song.mp3"] == film, "{name}");
        };
        let path = path.to_str().unwrap();
        let split = |at: SocketAddr| [at.ip().to_string(), at.port().to_string()];
        send(
            "python3",
            &|at| [&["-c".to_owned(), CLASSROOM.to_owned()][..], &split(at), &[path.to_owned()]].concat(),
            b"",
        );
        send("socat", &|at| vec!["-u".to_owned(), format!("OPEN:{path}"), format!("TCP:{at}")], b"");
        send("socat", &|at| vec!["-".to_owned(), format!("TCP:{at}")], &film);
        send("nc", &|at| [&["-N".to_owned()][..], &split(at)].concat(), &film);
    }

    #[test]
    fn the_client_sends_to_other_programs() {
        let scene = Scene::new(Transport::Tcp);
        let film = noise(9, 1_000_000);
        scene.write("film.mp4", &film);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = scene.start(listener.local_addr().unwrap(), &["--raw", "film.mp4"]);
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"Welcome\n").unwrap();
        assert!(all(&stream) == film);
        drop(stream);
        let output = client.wait(LIMIT).unwrap();
        assert_eq!(output.code(), Some(0), "{}", output.stderr);
        assert!(output.stdout.ends_with("\nsaid  Welcome\n"), "{}", output.stdout);
    }
}

mod datagrams {
    use super::*;

    #[test]
    fn datagrams_of_a_plain_socket_come_back() {
        let scene = Scene::new(Transport::Udp);
        let server = echo(&scene);
        let socket = socket(server.address());
        for (bytes, back) in [
            (b"Hello server".to_vec(), GREETING.to_vec()),
            (b"any\0thing".to_vec(), b"any\0thing".to_vec()),
            (Vec::new(), Vec::new()),
            (noise(1, 65_507), noise(1, 65_507)),
        ] {
            socket.send(&bytes).unwrap();
            assert!(receive(&socket) == back);
        }
        // A greeting of another server is not answered, so the next answer is to what comes after it.
        socket.send(GREETING).unwrap();
        socket.send(b"next").unwrap();
        assert_eq!(receive(&socket), b"next");
        stop(server);
    }

    #[test]
    fn senders_have_files_of_their_own() {
        let scene = Scene::new(Transport::Udp);
        let server = keep(&scene, &["--max-clients", "20"]);
        let sockets: Vec<UdpSocket> = (0..20).map(|_| socket(server.address())).collect();
        for part in 0..4 {
            for (number, socket) in sockets.iter().enumerate() {
                socket.send(&noise(number as u64, 4000)[part * 1000..][..1000]).unwrap();
            }
        }
        until(|| scene.parts().len() == 20);
        let one_more = socket(server.address());
        one_more.send(b"no room").unwrap();
        complaint(&server, "20 senders are served already");
        // Half of them say that they are done, the others fall silent.
        for socket in &sockets[..10] {
            socket.send(b"").unwrap();
        }
        let mut said = md5s(&server, 20);
        let mut sent: Vec<_> = (0..20).map(|number| md5(&noise(number, 4000))).collect();
        said.sort();
        sent.sort();
        assert_eq!(said, sent);
        stop(server);
        assert_eq!(scene.received().len(), 20);
        assert!(scene.parts().is_empty());
    }

    #[test]
    fn who_greets_reads_and_sends_is_kept_without_the_greeting() {
        let scene = Scene::new(Transport::Udp);
        let server = keep(&scene, &[]);
        let socket = socket(server.address());
        socket.send(b"Hello").unwrap();
        assert_eq!(receive(&socket), GREETING);
        socket.send(&[7; 65_507]).unwrap();
        socket.send(b"").unwrap();
        assert_eq!(md5s(&server, 1), [md5(&[7; 65_507])]);
        stop(server);
    }

    #[test]
    fn a_flood_costs_a_bounded_number_of_files_and_the_server_lives() {
        let scene = Scene::new(Transport::Udp);
        let server = keep(&scene, &["--max-clients", "10", "--max-file-size", "10k"]);
        for round in 0..30 {
            let socket = socket(server.address());
            for _ in 0..30 {
                socket.send(&noise(round, 1000)).unwrap();
            }
        }
        complaint(&server, "senders are served already");
        assert!(scene.parts().len() <= 10);
        // Who was there first may be too long, and says nothing more: it is gone after a silence.
        let socket = socket(server.address());
        let kept = || scene.received().values().any(|bytes| bytes == b"after the flood");
        until(|| {
            socket.send(b"after the flood").unwrap();
            socket.send(b"").unwrap();
            thread::sleep(Duration::from_millis(50));
            kept()
        });
        stop(server);
    }

    const CLASSROOM: &str = r#"
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
to = (sys.argv[1], int(sys.argv[2]))
with open(sys.argv[3], "rb") as f:
    while True:
        data = f.read(4096)
        s.sendto(data, to)
        if not data: break
        time.sleep(0.0002)
"#;

    #[test]
    fn a_program_of_ten_lines_sends_a_file_that_is_equal() {
        let scene = Scene::new(Transport::Udp);
        let film = noise(8, 2_000_001);
        scene.write("film.mp4", &film);
        let server = keep(&scene, &["--once"]);
        let Some(mut python) = foreign("python3") else { return };
        let (ip, port) = (server.address().ip().to_string(), server.address().port().to_string());
        python.args(["-c", CLASSROOM, &ip, &port]).arg(scene.from("film.mp4"));
        let output = feed(python, b"");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(server.wait(LIMIT).unwrap().code(), Some(0));
        assert!(scene.received()["received-song.mp3"] == film);
    }

    #[test]
    fn sizes_are_those_that_were_asked_for() {
        let scene = Scene::new(Transport::Udp);
        scene.write("film.mp4", &noise(1, 10_000));
        for (args, len) in [(&[][..], 4096), (&["--mtu", "1500"], 1472), (&["--mtu", "65535"], 10_000)] {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_read_timeout(Some(LIMIT)).unwrap();
            let client = scene.start(socket.local_addr().unwrap(), &[&["--raw", "film.mp4"], args].concat());
            let mut lens = Vec::new();
            while lens.last() != Some(&0) {
                lens.push(receive(&socket).len());
            }
            assert_eq!((lens[0], lens.iter().sum()), (len, 10_000));
            assert_eq!(client.wait(LIMIT).unwrap().code(), Some(0));
        }
    }
}
