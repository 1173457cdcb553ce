//! Many clients of one server.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use crate::rogue::Rogue;
use crate::scene::{Scene, noise};
use framing::{Checksum, Decision, DecisionRun, Get, Message, Name, PageBuilder, Part, chunks_in};
use lab::Transport;
use lab::process::{LIMIT, Process, Server, program};

over_each_transport!(
    twenty_files_of_the_same_name_are_all_kept_and_none_is_mixed,
    eight_clients_that_send_the_very_same_file_are_all_served,
    one_client_too_many_is_told_so_and_may_come_again,
    a_client_that_does_not_read_holds_up_nobody_else,
    a_server_whose_lines_nobody_reads_goes_on,
);

fn start(scene: &Scene, server: &Server, args: &[&str]) -> Process {
    scene.start(server.address(), args)
}

fn twenty_files_of_the_same_name_are_all_kept_and_none_is_mixed(transport: Transport) {
    let scene = Scene::new(transport);
    let server = scene.serve(&[]);
    let takes: Vec<Vec<u8>> = (0..20).map(|take| noise(take, 300_000 + take as usize * 70_001)).collect();
    let names: Vec<String> = (0..20).map(|take| format!("{take}/take.wav")).collect();
    names.iter().zip(&takes).for_each(|(name, take)| scene.write(name, take));
    let clients: Vec<Process> = names.iter().map(|name| start(&scene, &server, &[name])).collect();
    for client in clients {
        let output = client.wait(LIMIT).unwrap();
        assert_eq!(output.code(), Some(0), "{}", output.stderr);
        assert!(output.stdout.contains("   same\n"), "{}", output.stdout);
    }
    let received = scene.received();
    assert_eq!(received.len(), takes.len(), "{:?}", received.keys());
    let (received, takes): (BTreeSet<_>, BTreeSet<_>) =
        (received.into_values().collect(), takes.into_iter().collect());
    assert!(received == takes);
    assert!(scene.parts().is_empty(), "{:?}", scene.parts());
}

fn eight_clients_that_send_the_very_same_file_are_all_served(transport: Transport) {
    let scene = Scene::new(transport);
    let server = scene.serve(&[]);
    let film = noise(5, 5_000_001);
    scene.write("film.mp4", &film);
    let clients: Vec<Process> = (0..8).map(|_| start(&scene, &server, &["film.mp4"])).collect();
    for client in clients {
        let output = client.wait(LIMIT).unwrap();
        assert_eq!(output.code(), Some(0), "{}", output.stderr);
        assert!(output.stdout.contains("   same\n"), "{}", output.stdout);
    }
    let received = scene.received();
    assert!(received.contains_key("received-film.mp4"), "{:?}", received.keys());
    assert!(received.values().all(|content| *content == film));
    assert!(scene.parts().is_empty(), "{:?}", scene.parts());
    // Whoever comes later finds it there.
    let output = scene.run(&server, &["film.mp4"]);
    assert!(output.stdout.contains("already on "), "{}", output.stdout);
    assert_eq!(scene.received().len(), received.len());
}

fn one_client_too_many_is_told_so_and_may_come_again(transport: Transport) {
    let scene = Scene::new(transport);
    scene.write("song.mp3", &noise(6, 100_000));
    let server = scene.serve(&["--max-clients", "1"]);
    std::fs::write(scene.to("there.mp3"), b"there").unwrap();
    let mut first = Rogue::connect(transport, server.address());
    first.keep_busy("there.mp3");

    let output = scene.run(&server, &["--retry", "0", "song.mp3"]);
    assert_eq!((output.code(), output.stdout.as_str()), (Some(5), ""), "{}", output.stderr);
    assert_eq!(
        output.stderr,
        format!(
            "{}: cannot send song.mp3 to {}: the server serves 1 client already (--max-clients); try again later\n",
            transport.client(),
            server.address()
        )
    );

    let patient = start(&scene, &server, &["song.mp3"]);
    patient.wait_for_error_line(LIMIT, |line| line.contains("trying again in").then_some(())).unwrap();
    drop(first);
    let output = patient.wait(LIMIT).unwrap();
    assert_eq!(output.code(), Some(0), "{}", output.stderr);
    assert!(scene.received().contains_key("received-song.mp3"));
}

fn a_client_that_does_not_read_holds_up_nobody_else(transport: Transport) {
    let scene = Scene::new(transport);
    let film = noise(7, 64_000_000);
    std::fs::write(scene.to("film.mp4"), &film).unwrap();
    scene.write("song.mp3", &noise(8, 3_000_000));
    let server = scene.serve(&[]);
    let lazy: Vec<Rogue> = (0..4)
        .map(|_| {
            let mut lazy = Rogue::connect(transport, server.address());
            let mut names = PageBuilder::default();
            names.push(&Name(b"film.mp4"));
            lazy.say(&Message::Get(Get {
                checksum: Checksum::Md5,
                follow: false,
                plain: false,
                names: names.page(),
            }));
            // The server is about to send, and this is the last that is read of it.
            lazy.hear(|message| matches!(message, Message::Offer(_)).then_some(()));
            let mut decisions = PageBuilder::default();
            decisions.push(&DecisionRun { count: 1, decision: Decision::Take });
            lazy.say(&Message::Decisions(decisions.page()));
            let mut wanted = PageBuilder::default();
            wanted.push(&(0..chunks_in(film.len() as u64)));
            lazy.say(&Message::Want(wanted.page()));
            lazy.say(&Message::End(Part::Want));
            lazy
        })
        .collect();
    let clients = [&["get", "film.mp4"][..], &["song.mp3"]].map(|args| start(&scene, &server, args));
    for client in clients {
        let output = client.wait(LIMIT).unwrap();
        assert_eq!(output.code(), Some(0), "{}", output.stderr);
    }
    assert!(std::fs::read(scene.from("received-film.mp4")).unwrap() == film);
    assert!(scene.received()["received-song.mp3"] == noise(8, 3_000_000));
    // It does not hold up the end either.
    let output = server.stop().unwrap();
    assert_eq!(output.code(), Some(0), "{}", output.stderr);
    drop(lazy);
}

/// A program that starts a server often reads its first line and no more.
fn a_server_whose_lines_nobody_reads_goes_on(transport: Transport) {
    /// Each has some 300 bytes of lines, and a pipe holds 64 KB.
    const FILES: usize = 500;
    let scene = Scene::new(transport);
    std::fs::write(scene.to("clip"), noise(1, 100)).unwrap();
    let mut command = Command::new(program(transport.server()).unwrap());
    command.args(["--dir", "to", "--listen", "127.0.0.1:0"]).current_dir(scene.root());
    let mut server = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let mut output = BufReader::new(server.stdout.take().unwrap());
    output.read_line(&mut line).unwrap();
    let address = line.split_once(" on ").unwrap().1.split_once(',').unwrap().0;

    let (client, mut pipe) = scene.start_talk(address.parse().unwrap(), &[]);
    std::io::Write::write_all(&mut pipe, "dl clip\n".repeat(FILES).as_bytes()).unwrap();
    drop(pipe);
    let told = client.wait(LIMIT).unwrap();
    assert_eq!((told.code(), &*told.stderr), (Some(0), ""));

    server.kill().unwrap();
    server.wait().unwrap();
    let heard = output.lines().map(Result::unwrap).filter(|line| line.starts_with("audit")).count();
    assert!(heard < FILES, "a pipe holds more than was thought, so this shows nothing");
}
