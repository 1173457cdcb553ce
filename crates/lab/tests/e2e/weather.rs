//! UDP on bad networks, and beside bad neighbours.

use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt as _;
use std::thread;
use std::time::{Duration, Instant};

use framing::{CHUNK_LEN, packet};
use lab::Transport;
use lab::process::{LIMIT, Output, Process, Server};
use serde_json::Value;

use crate::extent::until;
use crate::relay::{Relay, Weather};
use crate::rogue::Rogue;
use crate::scene::{Dice, Scene, noise, objects, stranger};

const MB: usize = 1_000_000;
/// As on Ethernet, so that there are packets enough for something to happen to them.
const MTU: [&str; 2] = ["--mtu", "1500"];

fn scene() -> Scene {
    Scene::new(Transport::Udp)
}

/// The object of an event that a client printed.
fn event(output: &Output, event: &str) -> Option<Value> {
    objects(&output.stdout).into_iter().find(|object| object["event"] == event)
}

fn assert_sent(scene: &Scene, output: &Output, name: &str) {
    assert_eq!(output.code(), Some(0), "{} {}", output.stdout, output.stderr);
    let has_retried = output.stdout.contains(r#""event":"retry""#) || output.stderr.contains("trying again");
    assert!(!has_retried, "{} {}", output.stdout, output.stderr);
    let received = scene.received();
    assert!(received[&format!("received-{name}")] == fs::read(scene.from(name)).unwrap());
    assert!(scene.parts().is_empty(), "{:?}", scene.parts());
}

#[test]
fn whatever_happens_to_packets_every_file_comes_whole() {
    let all = Weather { lost: 50, doubled: 20, damaged: 5, overtaken: 50 };
    let weathers = [
        Weather { lost: 50, ..Weather::default() },
        Weather { lost: 500, ..Weather::default() },
        Weather { doubled: 500, ..Weather::default() },
        Weather { damaged: 20, ..Weather::default() },
        Weather { overtaken: 200, ..Weather::default() },
        all,
    ];
    for weather in weathers {
        let scene = scene();
        scene.write("song.mp3", &noise(1, 2 * MB + 77));
        let server = scene.serve(&MTU);
        let relay = Relay::new(server.address(), weather);
        let output = scene.start(relay.address(), &[&MTU[..], &["--json", "song.mp3"]].concat());
        let output = output.wait(LIMIT).unwrap();
        assert_sent(&scene, &output, "song.mp3");
        let done = event(&output, "done").unwrap();
        let count = |field: &str| done[field].as_u64().unwrap();
        if weather.lost + weather.damaged > 0 {
            assert!(count("lost") > 0 && count("sent_again") > 0, "{weather:?}: {done}");
        }
        if weather.lost == 500 {
            assert!((3 * count("packets")..7 * count("packets")).contains(&(10 * count("lost"))), "{done}");
        }
        // And the other way.
        let back = scene
            .start(relay.address(), &[&MTU[..], &["get", "received-song.mp3", "--prefix", "back-"]].concat());
        let back = back.wait(LIMIT).unwrap();
        assert_eq!(back.code(), Some(0), "{weather:?}: {}", back.stderr);
        assert!(back.stdout.contains("\nudp   "), "{}", back.stdout);
        assert!(fs::read(scene.from("back-received-song.mp3")).unwrap() == noise(1, 2 * MB + 77));
        let server = server.stop().unwrap();
        assert_eq!((server.code(), server.stderr.as_str()), (Some(0), ""), "{weather:?}");
        assert!(server.stdout.contains("\nudp   "), "{}", server.stdout);
    }
}

/// Starts to send a file of 8 MB, which takes more than a second, and waits until a quarter has passed.
fn underway(scene: &Scene, relay: &Relay) -> Process {
    scene.write("film.mp4", &noise(2, 8 * MB));
    let client = scene.start(relay.address(), &["--json", "--rate", "50mbit", "film.mp4"]);
    relay.wait_until_passed(2 * MB as u64);
    client
}

#[test]
fn a_client_whose_port_changes_goes_on() {
    let scene = scene();
    let server = scene.serve(&[]);
    let relay = Relay::new(server.address(), Weather::default());
    let client = underway(&scene, &relay);
    relay.rebind();
    relay.wait_until_passed(5 * MB as u64);
    relay.rebind();
    let output = client.wait(LIMIT).unwrap();
    assert_sent(&scene, &output, "film.mp4");
    assert!(output.elapsed < Duration::from_secs(10), "{:?}", output.elapsed);
}

#[test]
fn a_blackout_is_waited_for() {
    let scene = scene();
    let server = scene.serve(&[]);
    let relay = Relay::new(server.address(), Weather::default());
    let client = underway(&scene, &relay);
    relay.block(true);
    thread::sleep(Duration::from_secs(3));
    relay.block(false);
    let ended = Instant::now();
    let output = client.wait(LIMIT).unwrap();
    assert_sent(&scene, &output, "film.mp4");
    assert!(ended.elapsed() < Duration::from_secs(10), "{:?}", ended.elapsed());
}

/// The new server gets packets of a connection that it does not know.
#[test]
fn a_server_that_was_started_anew_is_noticed_at_once() {
    let scene = scene();
    let server = scene.serve(&[]);
    let address = server.address().to_string();
    let relay = Relay::new(server.address(), Weather::default());
    let client = underway(&scene, &relay);
    relay.block(true);
    // What has passed the block already arrives before.
    thread::sleep(Duration::from_millis(50));
    server.kill().unwrap();
    let _server = scene.serve(&["--listen", &address]);
    relay.block(false);
    let began = Instant::now();
    client.wait_for_line(LIMIT, |line| line.contains(r#""event":"retry""#).then_some(())).unwrap();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let output = client.wait(LIMIT).unwrap();
    assert_eq!(output.code(), Some(0), "{}", output.stderr);
    assert!(scene.received()["received-film.mp4"] == noise(2, 8 * MB));
}

/// The port is closed, and the system says so.
#[test]
fn a_server_that_is_gone_is_noticed_at_once() {
    let scene = scene();
    scene.write("film.mp4", &noise(2, 8 * MB));
    let server = scene.serve(&[]);
    let client = scene.start(server.address(), &["--json", "--rate", "50mbit", "--retry", "0", "film.mp4"]);
    until("something has come", || (!scene.parts().is_empty()).then_some(()));
    server.kill().unwrap();
    let began = Instant::now();
    let output = client.wait(LIMIT).unwrap();
    assert_eq!(output.code(), Some(3), "{}", output.stdout);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[test]
fn a_client_that_is_interrupted_says_goodbye() {
    let scene = scene();
    let server = scene.serve(&[]);
    let relay = Relay::new(server.address(), Weather::default());
    let client = underway(&scene, &relay);
    client.interrupt().unwrap();
    let began = Instant::now();
    let output = client.wait(LIMIT).unwrap();
    assert_eq!(output.code(), Some(130), "{}", output.stdout);
    let broke_off = |line: &str| line.contains("receiving film.mp4 broke off").then_some(());
    server.process().wait_for_error_line(LIMIT, broke_off).unwrap();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(output.stderr.lines().count(), 1, "{}", output.stderr);
}

#[test]
fn a_rate_is_kept_and_named_as_the_limit() {
    let scene = scene();
    scene.write("song.mp3", &noise(3, 2 * MB));
    let server = scene.serve(&[]);
    for control in ["bbr", "cubic", "fixed"] {
        let args = ["--json", "--rate", "16mbit", "--congestion", control, "song.mp3"];
        let output = scene.run(&server, &args);
        assert_sent(&scene, &output, "song.mp3");
        let seconds = output.elapsed.as_secs_f64();
        assert!((0.9..3.0).contains(&seconds), "{control}: {seconds} s for a second's worth");
        assert_eq!(event(&output, "done").unwrap()["limiter"], "rate limit", "{control}: {}", output.stdout);
        fs::remove_file(scene.to("received-song.mp3")).unwrap();
    }
}

#[test]
fn no_datagram_is_larger_than_the_mtu_allows() {
    let scene = scene();
    scene.write("song.mp3", &noise(4, MB));
    for mtu in ["1280", "1500", "9000"] {
        let server = scene.serve(&[]);
        let output = scene.run(&server, &["--json", "--mtu", mtu, "song.mp3"]);
        assert_sent(&scene, &output, "song.mp3");
        let datagram = event(&output, "done").unwrap()["datagram"].as_u64().unwrap();
        let most = mtu.parse::<u64>().unwrap() - 28;
        // Parts of chunks are made of units of 128 bytes, and no larger than a chunk.
        let largest = most.min(CHUNK_LEN as u64 + 30);
        assert!((largest - 200..=largest).contains(&datagram), "{mtu}: {datagram}");
        fs::remove_file(scene.to("received-song.mp3")).unwrap();
    }
}

/// The resident memory of a server, in kB.
fn memory(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.process().id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Bytes that come to a socket until nothing comes any more.
fn answers(socket: &UdpSocket) -> usize {
    let mut buffer = [0; 2048];
    let mut bytes = 0;
    socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    while let Ok(len) = socket.recv(&mut buffer) {
        bytes += len;
    }
    bytes
}

#[test]
fn a_flood_of_first_packets_costs_next_to_nothing() {
    let scene = scene();
    scene.write("song.mp3", &noise(5, MB));
    let server = scene.serve(&["-v"]);
    assert_sent(&scene, &scene.run(&server, &["song.mp3"]), "song.mp3");
    let before = memory(&server);
    let init = |cid| {
        let mut init = Vec::new();
        packet::init(&mut init, packet::VERSION, cid, 7);
        init
    };
    for cid in 0..1000 {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.send_to(&init(cid), server.address()).unwrap();
    }
    let one = UdpSocket::bind("127.0.0.1:0").unwrap();
    one.connect(server.address()).unwrap();
    let sent: usize = (0..100).map(|cid| one.send(&init(cid)).unwrap()).sum();
    let answered = answers(&one);
    assert!((1..=3 * sent).contains(&answered), "{answered} bytes for {sent}");
    let after = memory(&server);
    assert!(after < before + 2_000, "{before} kB became {after} kB");
    assert!(scene.run(&server, &["song.mp3"]).stdout.contains("already on "));
    let output = server.stop().unwrap();
    assert_eq!((output.code(), output.stderr.lines().count()), (Some(0), 2), "{}", output.stderr);
}

#[test]
fn garbage_and_echoes_of_the_past_cost_nothing() {
    let scene = scene();
    let server = scene.serve(&[]);
    let relay = Relay::new(server.address(), Weather::default());
    let client = underway(&scene, &relay);
    assert!(relay.replay() > 100);
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    stranger.connect(server.address()).unwrap();
    let mut dice = Dice::new(6);
    for _ in 0..3000 {
        let mut datagram: Vec<u8> = (0..dice.below(1500)).map(|_| dice.below(256) as u8).collect();
        // Mostly something that looks like a packet.
        if let Some(kind) = datagram.first_mut().filter(|_| dice.below(4) > 0) {
            *kind = 0xc1 + dice.below(7) as u8;
        }
        stranger.send(&datagram).unwrap();
    }
    let output = client.wait(LIMIT).unwrap();
    assert_sent(&scene, &output, "film.mp4");
    // Once it is over, too.
    assert!(relay.replay() > 100);
    scene.write("song.mp3", b"song");
    assert_eq!(scene.run(&server, &["song.mp3"]).code(), Some(0));
    let output = server.stop().unwrap();
    assert_eq!((output.code(), output.stderr.as_str()), (Some(0), ""));
}

#[test]
fn a_setting_that_is_in_the_way_is_named_once() {
    let most = fs::read_to_string("/proc/sys/net/core/rmem_max").unwrap_or_default();
    if most.trim().parse::<u64>().is_ok_and(|most| most >= 2 << 20) {
        eprintln!("SKIPPED: this machine allows large socket buffers");
        return;
    }
    let scene = scene();
    scene.write("song.mp3", b"song");
    fs::set_permissions(scene.root(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(scene.to("there.mp3"), b"there").unwrap();
    let server = scene.serve(&["--max-clients", "1"]);
    let Some(mut client) = stranger(scene.transport().client()) else { return };
    client.args(["--server", &server.address().to_string(), "--retry", "1s", "song.mp3"]);
    let mut first = Rogue::connect(scene.transport(), server.address());
    first.keep_busy("there.mp3");
    let output = Process::spawn(client.current_dir(scene.from(""))).unwrap().wait(LIMIT).unwrap();
    assert_eq!(output.code(), Some(5), "{}", output.stderr);
    assert!(output.stderr.contains("trying again"), "{}", output.stderr);
    assert_eq!(output.advice.lines().count(), 1, "{}", output.advice);
    assert!(output.advice.contains("sudo sysctl -w net.core.rmem_max="), "{}", output.advice);
}

#[test]
fn ipv6_is_as_good() {
    let scene = scene();
    scene.write("song.mp3", &noise(7, MB));
    if UdpSocket::bind("[::1]:0").is_err() {
        eprintln!("SKIPPED: this machine has no IPv6");
        return;
    }
    let server = scene.serve(&["--listen", "[::1]:0"]);
    assert_sent(&scene, &scene.run(&server, &["song.mp3"]), "song.mp3");
}
