//! Those who keep a server busy for nothing are in nobody's way.

use std::io::Write as _;

use framing::{Message, Refusal};
use lab::Transport;
use lab::process::LIMIT;
use link::LinkError;

use crate::rogue::Rogue;
use crate::scene::{Scene, noise};

over_each_transport!(
    a_crowd_that_says_nothing_keeps_nobody_out,
    a_crowd_that_only_greets_keeps_nobody_out,
    who_types_does_not_notice_that_his_place_was_needed,
    one_address_gets_so_many_places_and_hears_so,
    who_does_not_greet_in_time_is_not_waited_for,
    who_asks_for_nothing_in_time_is_told_so,
);

/// More than may wait to be heard, over either transport.
fn crowd(transport: Transport) -> usize {
    match transport {
        Transport::Tcp => 600,
        Transport::Udp => 200,
    }
}

fn a_crowd_that_says_nothing_keeps_nobody_out(transport: Transport) {
    let scene = Scene::new(transport);
    let song = noise(1, 300_000);
    scene.write("song.mp3", &song);
    let server = scene.serve(&["--max-clients", "2", "--handshake-timeout", "1h"]);
    let crowd: Vec<Rogue> =
        (0..crowd(transport)).map(|_| Rogue::silent(transport, server.address())).collect();
    let output = scene.run(&server, &["--retry", "0", "song.mp3"]);
    assert_eq!(output.code(), Some(0), "{}", output.stderr);
    assert!(scene.received()["received-song.mp3"] == song);
    let crowded_out = |line: &str| line.contains("too many wait for their handshake").then_some(());
    server.process().wait_for_line(LIMIT, crowded_out).unwrap();
    assert_eq!(server.stop().unwrap().code(), Some(0));
    drop(crowd);
}

fn a_crowd_that_only_greets_keeps_nobody_out(transport: Transport) {
    let scene = Scene::new(transport);
    scene.write("song.mp3", &noise(2, 300_000));
    let server = scene.serve(&["--max-clients", "3"]);
    let mut crowd: Vec<Rogue> = (0..12)
        .map(|_| {
            let mut rogue = Rogue::connect(transport, server.address());
            // It has its place when it is greeted.
            rogue.hear(|message| matches!(message, Message::Hello(_)).then_some(()));
            rogue
        })
        .collect();
    let output = scene.run(&server, &["--retry", "0", "song.mp3"]);
    assert_eq!(output.code(), Some(0), "{}", output.stderr);
    let made_way = |line: &str| {
        let is_it = line.contains("   connect   -   -   turned-away: its place was needed");
        is_it.then_some(())
    };
    server.process().wait_for_line(LIMIT, made_way).unwrap();
    let end = crowd[0].end();
    assert!(
        matches!(&end, LinkError::Refused { refusal: Refusal::Busy, text } if text.contains("somebody else")),
        "{end}"
    );
}

fn who_types_does_not_notice_that_his_place_was_needed(transport: Transport) {
    let scene = Scene::new(transport);
    scene.write("song.mp3", &noise(3, 300_000));
    let server = scene.serve(&["--max-clients", "1"]);
    let (client, mut pipe) = scene.start_talk(server.address(), &[]);
    let mut say = |line: &str| {
        writeln!(pipe, "{line}").unwrap();
        client.wait_for_line(LIMIT, |said| said.contains(line).then_some(())).unwrap();
    };
    say("good morning");
    // It has asked for something just now, so others wait for a while.
    let output = scene.run(&server, &["song.mp3"]);
    assert_eq!(output.code(), Some(0), "{}", output.stderr);
    say("good evening");
    drop(pipe);
    let output = client.wait(LIMIT).unwrap();
    assert_eq!((output.code(), output.stderr.as_str()), (Some(0), ""), "{}", output.stdout);
}

fn one_address_gets_so_many_places_and_hears_so(transport: Transport) {
    let scene = Scene::new(transport);
    scene.write("song.mp3", &noise(4, 300_000));
    std::fs::write(scene.to("there.mp3"), b"there").unwrap();
    let server = scene.serve(&["--max-per-address", "2"]);
    let mut busy: Vec<Rogue> = (0..2).map(|_| Rogue::connect(transport, server.address())).collect();
    busy.iter_mut().for_each(|rogue| rogue.keep_busy("there.mp3"));
    let output = scene.run(&server, &["--retry", "0", "song.mp3"]);
    assert_eq!(output.code(), Some(5), "{}", output.stderr);
    let why = "the server serves 2 clients of your address already (--max-per-address); try again later\n";
    assert!(output.stderr.ends_with(why), "{}", output.stderr);
    let complaint = |line: &str| line.contains("2 clients of your address").then_some(());
    server.process().wait_for_error_line(LIMIT, complaint).unwrap();
    drop(busy);
    let output = scene.run(&server, &["song.mp3"]);
    assert_eq!(output.code(), Some(0), "{}", output.stderr);
}

fn who_does_not_greet_in_time_is_not_waited_for(transport: Transport) {
    let scene = Scene::new(transport);
    let server = scene.serve(&["--handshake-timeout", "200ms"]);
    let end = Rogue::silent(transport, server.address()).end();
    assert!(end.is_passing(), "{end}");
    let away = |line: &str| line.contains("   connect   -   -   turned-away: it took too long").then_some(());
    server.process().wait_for_line(LIMIT, away).unwrap();
    scene.write("song.mp3", &noise(5, 300_000));
    let output = scene.run(&server, &["song.mp3"]);
    assert_eq!(output.code(), Some(0), "{}", output.stderr);
}

fn who_asks_for_nothing_in_time_is_told_so(transport: Transport) {
    let scene = Scene::new(transport);
    let server = scene.serve(&["--idle-timeout", "200ms"]);
    let end = Rogue::connect(transport, server.address()).end();
    assert_eq!(end.to_string(), "nothing was asked for in 0.2 s");
    let away =
        |line: &str| line.contains("   connect   -   -   turned-away: nothing was heard").then_some(());
    server.process().wait_for_line(LIMIT, away).unwrap();
    let end = Rogue::connect(transport, server.address()).pester();
    assert!(end.is_passing(), "to say anything is not to ask: {end}");
    // A person comes again without having to know.
    let (client, mut pipe) = scene.start_talk(server.address(), &[]);
    let mut say = |line: &str| {
        writeln!(pipe, "{line}").unwrap();
        client.wait_for_line(LIMIT, |said| said.contains(line).then_some(())).unwrap();
    };
    say("good morning");
    let end = Rogue::connect(transport, server.address()).end();
    assert!(end.is_passing(), "{end}");
    say("good evening");
    drop(pipe);
    let output = client.wait(LIMIT).unwrap();
    assert_eq!((output.code(), output.stderr.as_str()), (Some(0), ""), "{}", output.stdout);
}
