//! What a server does besides transfers, and many requests over one connection.

use std::ffi::OsString;
use std::fs;

use framing::Checksum;
use lab::Transport;
use lab::process::{LIMIT, Server};
use link::{Link, TcpLink, TcpOptions, UdpLink, UdpOptions};
use serde_json::Value;
use session::{
    Caller, Conversation, Event, GetJob, IfExists, Limits, Observer, PutJob, SessionError, Sources, Store,
    StoreOptions,
};

use crate::scene::{Scene, noise, objects};

over_each_transport!(
    idle_clients_do_not_hold_up_the_end_of_a_server,
    once_means_one_client_with_all_that_it_asks_for,
    each_request_is_told_of,
    a_client_that_leaves_without_a_word_gives_its_seat_back,
    a_long_text_is_made_in_little_memory_and_a_longer_one_refused,
    many_clients_talk_at_the_same_time,
    who_asks_for_nothing_for_a_while_stays_connected,
);

struct Silent;

impl Observer for Silent {
    fn event(&self, _: &Event<'_>) {}
}

const CALLER: Caller<'static> = Caller { software: "lab 1", observer: &Silent };

fn connect(scene: &Scene, server: &Server) -> Conversation {
    let address = server.address().to_string();
    let link: Box<dyn Link> = match scene.transport() {
        Transport::Tcp => Box::new(TcpLink::connect(&address, &TcpOptions::default()).unwrap()),
        Transport::Udp => Box::new(UdpLink::connect(&address, &UdpOptions::default()).unwrap()),
    };
    Conversation::begin(link, CALLER).unwrap()
}

fn put(scene: &Scene, conversation: &mut Conversation, name: &str) {
    let sources = Sources::local(&[scene.from(name)], false, &Silent).unwrap();
    let summary = conversation.put(&mut PutJob::new(sources, Checksum::Md5), CALLER).unwrap();
    assert_eq!(summary.verified + summary.already_there, 1);
}

fn get(scene: &Scene, conversation: &mut Conversation, mut job: GetJob) -> Result<u64, SessionError> {
    let dir = scene.root().join("got");
    fs::create_dir_all(&dir).unwrap();
    let options = StoreOptions {
        dir,
        prefix: OsString::new(),
        if_exists: IfExists::Overwrite,
        limits: Limits::default(),
    };
    conversation.get(&mut job, &Store::open(options).unwrap(), CALLER).map(|summary| summary.verified)
}

fn idle_clients_do_not_hold_up_the_end_of_a_server(transport: Transport) {
    let scene = Scene::new(transport);
    scene.write("song.mp3", &noise(1, 100_000));
    let server = scene.serve(&["-v"]);
    let mut idle: Vec<Conversation> = (0..5).map(|_| connect(&scene, &server)).collect();
    idle[1].meet(CALLER).unwrap();
    idle[2].echo(b"hello", CALLER).unwrap();
    put(&scene, &mut idle[3], "song.mp3");
    idle[4].list(b"", CALLER).unwrap();
    server.process().terminate().unwrap();
    let output = server.wait(LIMIT).unwrap();
    assert_eq!(output.code(), Some(0), "{}", output.stderr);
    assert!(output.stdout.ends_with("stopped\n"), "{}", output.stdout);
    assert!(!output.stderr.contains("did not leave"), "{}", output.stderr);
    assert!(idle[2].echo(b"hello", CALLER).unwrap_err().is_passing());
    assert!(!idle[2].is_open());
}

fn once_means_one_client_with_all_that_it_asks_for(transport: Transport) {
    let scene = Scene::new(transport);
    scene.write("song.mp3", &noise(1, 100_000));
    scene.write("film.mp4", &noise(2, 300_000));
    let server = scene.serve(&["--once"]);
    // Who only looks in does not count, and neither does who gets nothing done.
    drop(connect(&scene, &server));
    let mut curious = connect(&scene, &server);
    get(&scene, &mut curious, GetJob::new(vec!["no".into()], Checksum::Md5, false)).unwrap_err();
    curious.finish();
    let mut client = connect(&scene, &server);
    put(&scene, &mut client, "song.mp3");
    client.echo(b"still there?", CALLER).unwrap();
    put(&scene, &mut client, "film.mp4");
    client.finish();
    let output = server.wait(LIMIT).unwrap();
    assert_eq!(output.code(), Some(0), "{}", output.stderr);
    assert_eq!(scene.received().len(), 2);
}

fn each_request_is_told_of(transport: Transport) {
    let scene = Scene::new(transport);
    scene.write("song.mp3", &noise(1, 100_000));
    fs::create_dir(scene.to("odd \u{1b}name")).unwrap();
    let talk = |server: &Server| {
        let mut client = connect(&scene, server);
        client.echo(b"hello", CALLER).unwrap();
        assert_eq!(client.list(b"", CALLER).unwrap()[0].name, "odd \u{1b}name");
        client.chdir(b"", CALLER).unwrap();
        put(&scene, &mut client, "song.mp3");
        get(&scene, &mut client, GetJob::generate(1000, 7, Checksum::Md5)).unwrap();
        client.list(b"nothing", CALLER).unwrap_err();
        client.chdir(b"..", CALLER).unwrap_err();
        put(&scene, &mut client, "song.mp3");
        client.finish();
        server.process().terminate().unwrap();
    };
    let server = scene.serve(&["-v"]);
    talk(&server);
    let output = server.wait(LIMIT).unwrap();
    for line in
        ["echoed 5 bytes", "listed .: 1 entry", "went to .", "makes a file of 1000 characters, seed 7"]
    {
        assert!(output.stdout.contains(line), "{line}: {}", output.stdout);
    }
    for line in ["nothing: no such file", "..: its path has a part"] {
        assert!(output.stderr.contains(line), "{line}: {}", output.stderr);
    }
    fs::remove_dir_all(scene.root().join("got")).unwrap();
    let server = scene.serve(&["--json"]);
    talk(&server);
    let output = server.wait(LIMIT).unwrap();
    let events = objects(&output.stdout);
    let of = |event: &str| events.iter().filter(|object| object["event"] == event).collect::<Vec<_>>();
    assert_eq!((&of("echo")[0]["bytes"], &of("list")[0]["entries"]), (&5.into(), &2.into()));
    assert_eq!((&of("chdir")[0]["path"], &of("list")[0]["path"]), (&"".into(), &"".into()));
    assert_eq!((&of("making")[0]["length"], &of("making")[0]["seed"]), (&1000.into(), &7.into()));
    let counts = ["echo", "list", "chdir", "making", "start", "done", "error"].map(|event| of(event).len());
    assert_eq!(counts, [1, 1, 1, 1, 3, 3, 2], "{}", output.stdout);
    assert!(of("error").iter().all(|error| error["exit_code"] == 5 && error["peer"].is_string()));
    let outcomes: Vec<&Value> = of("file").iter().map(|file| &file["outcome"]).collect();
    assert_eq!(outcomes, ["already-there", "verified", "already-there"]);
}

fn a_client_that_leaves_without_a_word_gives_its_seat_back(transport: Transport) {
    let scene = Scene::new(transport);
    let server = scene.serve(&["--max-clients", "1"]);
    for _ in 0..3 {
        let mut client = connect(&scene, &server);
        // The seat of the one before may be free only in a moment.
        while client.echo(b"hello", CALLER).is_err() {
            client = connect(&scene, &server);
        }
        // Its link is dropped, without a farewell from the conversation.
        drop(client);
    }
}

fn a_long_text_is_made_in_little_memory_and_a_longer_one_refused(transport: Transport) {
    const LENGTH: u64 = 60_000_000;
    let scene = Scene::new(transport);
    let server = scene.serve(&["--max-generate", "60M"]);
    let mut client = connect(&scene, &server);
    let error =
        get(&scene, &mut client, GetJob::generate(LENGTH + 1, 1, Checksum::Md5)).unwrap_err().to_string();
    assert_eq!(error, "that is more than the limit of 60000000 characters here (--max-generate)");
    assert_eq!(get(&scene, &mut client, GetJob::generate(LENGTH, 1, Checksum::Md5)).unwrap(), 1);
    let status = fs::read_to_string(format!("/proc/{}/status", server.process().id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().strip_suffix(" kB").unwrap().parse().unwrap();
    assert!(peak * 1024 < LENGTH * 3 / 4, "{peak} KiB");
    assert_eq!(scene.root().join("got/generated-60000000.txt").metadata().unwrap().len(), LENGTH);
}

fn many_clients_talk_at_the_same_time(transport: Transport) {
    let scene = Scene::new(transport);
    (0..8).for_each(|client| scene.write(&format!("{client}"), &noise(client, 200_000)));
    (0..8).for_each(|client| fs::create_dir(scene.to(&format!("dir-{client}"))).unwrap());
    let server = scene.serve(&[]);
    std::thread::scope(|scope| {
        for number in 0..8_u64 {
            let (scene, server) = (&scene, &server);
            scope.spawn(move || {
                let mut client = connect(scene, server);
                let dir = format!("dir-{number}");
                for _ in 0..3 {
                    client.chdir(dir.as_bytes(), CALLER).unwrap();
                    put(scene, &mut client, &format!("{number}"));
                    let echo = client.echo(&noise(number, 1000), CALLER).unwrap();
                    assert!(echo.bytes == noise(number, 1000));
                    assert_eq!(client.list(dir.as_bytes(), CALLER).unwrap().len(), 1);
                }
                client.finish();
            });
        }
    });
    for client in 0..8 {
        let kept = fs::read(scene.to(&format!("dir-{client}/received-{client}"))).unwrap();
        assert!(kept == noise(client, 200_000));
    }
}

/// Longer than a link may be silent in the middle of a request. That is [`link::IDLE_LIMIT`], so it takes its time.
fn who_asks_for_nothing_for_a_while_stays_connected(transport: Transport) {
    let scene = Scene::new(transport);
    scene.write("song.mp3", &noise(1, 5_000_000));
    let server = scene.serve(&[]);
    let mut quiet = connect(&scene, &server);
    quiet.meet(CALLER).unwrap();
    let mut client = connect(&scene, &server);
    put(&scene, &mut client, "song.mp3");
    let packets = |client: &Conversation| client.link().stats().map_or(0, |stats| stats.packets_sent);
    let before = packets(&client);
    std::thread::sleep(link::IDLE_LIMIT + link::IDLE_LIMIT / 10);
    let sent = packets(&client) - before;
    assert!(sent < 40, "{sent} packets to stay connected");
    for mut client in [client, quiet] {
        client.echo(b"still there?", CALLER).unwrap();
        put(&scene, &mut client, "song.mp3");
        client.finish();
    }
}
