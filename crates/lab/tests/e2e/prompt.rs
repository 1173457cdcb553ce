//! A client that reads its commands from a pipe.

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;

use crate::scene::{Scene, noise};
use framing::{Checksum, Hasher};
use lab::Transport;
use lab::process::{LIMIT, Output, Process, Server};
use serde_json::Value;

over_each_transport!(
    everything_can_be_said_in_one_conversation,
    what_fails_in_the_middle_gives_the_exit_code_and_the_rest_is_done,
    whoever_says_nothing_needs_no_server,
    whoever_finds_no_server_is_told_so_once,
    bad_input_gets_a_clear_line_each_time,
    what_is_no_text_comes_back_as_it_was,
    names_with_spaces_and_quotes_and_wildcards_are_found,
    the_current_directory_never_leaves_the_servers_own,
    files_are_kept_where_chdir_has_led,
    a_server_that_comes_back_is_found_again,
    with_json_there_is_nothing_but_objects,
    requests_can_be_made_one_at_a_time,
    a_made_file_is_kept_only_where_that_is_wanted,
);

/// A scene whose server has a song in `media`, and more.
fn scene(transport: Transport) -> (Scene, Vec<u8>) {
    let scene = Scene::new(transport);
    let song = noise(11, 300_007);
    fs::create_dir_all(scene.to("media/old tapes")).unwrap();
    fs::write(scene.to("media/song.mp3"), &song).unwrap();
    (scene, song)
}

fn code(output: &Output) -> Option<i32> {
    output.code()
}

fn everything_can_be_said_in_one_conversation(transport: Transport) {
    let (scene, song) = scene(transport);
    let server = scene.serve(&[]);
    let output = scene.say(&server, "hello\nls\nchdir media\ndl song.mp3\n1000\nstream\nquit\n");
    assert_eq!((code(&output), output.stderr.as_str()), (Some(0), ""), "{}", output.stdout);
    let lines: Vec<&str> = output.stdout.lines().collect();
    assert!(lines[0].starts_with("echo  hello   RTT ") && lines[0].ends_with(" ms"), "{}", lines[0]);
    assert!(lines[1].starts_with("media/   -   20"), "{}", lines[1]);
    assert_eq!(lines[2], "here  /media");
    assert!(lines[3].starts_with("got   song.mp3   300.0 kB in "), "{}", lines[3]);
    assert!(lines[5].ends_with("song.mp3   same"), "{}", lines[5]);
    assert_eq!(fs::read(scene.from("received-song.mp3")).unwrap(), song);
    assert!(output.stdout.contains("   1000 characters, not kept\n"), "{}", output.stdout);
    assert!(output.stdout.contains("generated-1000.txt   same\n"), "{}", output.stdout);
    assert!(output.stdout.contains("100"), "{}", output.stdout);
    assert_eq!(scene.sent_names(), ["received-song.mp3"], "nothing else was left");
}

fn what_fails_in_the_middle_gives_the_exit_code_and_the_rest_is_done(transport: Transport) {
    let (scene, song) = scene(transport);
    let server = scene.serve(&[]);
    let output = scene
        .say(&server, "hello\ndl no-such.mp3\nchdir nowhere\nput not-here\nchdir media\ndl song.mp3\nbye\n");
    assert_eq!(code(&output), Some(5), "{}", output.stderr);
    let errors: Vec<&str> = output.stderr.lines().collect();
    assert_eq!(errors.len(), 3, "{}", output.stderr);
    assert!(errors[0].contains("cannot get no-such.mp3 from "), "{}", errors[0]);
    assert!(errors[1].contains("cannot go to nowhere on "), "{}", errors[1]);
    assert!(errors[2].contains("not-here: "), "{}", errors[2]);
    assert_eq!(fs::read(scene.from("received-song.mp3")).unwrap(), song);
    assert!(output.stdout.contains("echo  bye   RTT "), "{}", output.stdout);
}

fn whoever_says_nothing_needs_no_server(transport: Transport) {
    let scene = Scene::new(transport);
    let server = scene.serve(&[]);
    let address = server.address();
    drop(server);
    for lines in ["", "\n  \n\t\n", "quit\nhello\n", "help\nexit\n"] {
        let (client, mut pipe) = scene.start_talk(address, &[]);
        let _ = pipe.write_all(lines.as_bytes());
        drop(pipe);
        let output = client.wait(LIMIT).unwrap();
        assert_eq!((code(&output), output.stderr.as_str()), (Some(0), ""), "{lines:?}");
        assert_eq!(output.stdout.is_empty(), !lines.starts_with("help"), "{lines:?}");
    }
}

fn whoever_finds_no_server_is_told_so_once(transport: Transport) {
    let scene = Scene::new(transport);
    let server = scene.serve(&[]);
    let address = server.address();
    drop(server);
    let (client, mut pipe) = scene.start_talk(address, &[]);
    let _ = pipe.write_all(b"-5\nhello\nls\ndl a\n");
    drop(pipe);
    let output = client.wait(LIMIT).unwrap();
    assert_eq!(code(&output), Some(2), "the first failure was another: {}", output.stderr);
    assert_eq!(output.stderr.lines().count(), 2, "{}", output.stderr);
    assert!(output.stderr.contains("cannot connect to "), "{}", output.stderr);
}

fn bad_input_gets_a_clear_line_each_time(transport: Transport) {
    let (scene, _) = scene(transport);
    let server = scene.serve(&[]);
    let megabyte = "x".repeat(1 << 20);
    for (line, exit, says) in [
        (&*"9".repeat(40), 5, "123456789"),
        ("123456790", 5, "123456789"),
        ("stream --count 1000000000000", 5, "cannot have a stream from "),
        ("stream --count x", 2, "--count"),
        ("-5", 2, "-5: a file has no fewer than 0 characters"),
        (&megabyte, 2, "that line has 1048576 bytes; a line has at most 32768"),
        ("chdir ..", 2, "..: nothing is above the server's directory"),
        ("ls ../..", 2, "nothing is above"),
        ("dl 'media/song.mp3", 2, "a quote is not closed: '"),
        ("dl *.wav", 5, "matches *.wav"),
        ("put *.wav", 6, "nothing here matches *.wav"),
        ("ls nowhere", 5, "cannot list nowhere on "),
        ("dl media/..", 2, "no name to fetch it by"),
        ("help me", 2, "no command is called me"),
        ("chdir media/song.mp3", 5, "cannot go to media/song.mp3"),
    ] {
        let output = scene.say(&server, format!("{line}\nstill here\n"));
        let shown = &line[..line.len().min(40)];
        assert_eq!(code(&output), Some(exit), "{shown}: {}", output.stderr);
        assert_eq!(output.stderr.lines().count(), 1, "{shown}: {}", output.stderr);
        assert!(output.stderr.contains(says), "{shown}: {}", output.stderr);
        assert!(output.stdout.contains("echo  still here   RTT "), "{shown}: {}", output.stdout);
    }
}

fn what_is_no_text_comes_back_as_it_was(transport: Transport) {
    let (scene, _) = scene(transport);
    let server = scene.serve(&[]);
    let long = "y".repeat(32 * 1024);
    let output = scene.say(
        &server,
        [b"\xff\x00\x1b[2J\n it's  fine \r\n\xc3\xbc\n", long.as_bytes(), b"\nno end of line"].concat(),
    );
    assert_eq!((code(&output), output.stderr.as_str()), (Some(0), ""));
    let lines: Vec<&str> = output.stdout.lines().collect();
    assert!(lines[0].starts_with("echo  \\xff\\u{0}\\u{1b}[2J   RTT "), "{}", lines[0]);
    assert!(lines[1].starts_with("echo   it's  fine    RTT "), "{}", lines[1]);
    assert!(lines[2].starts_with("echo  ü   RTT "), "{}", lines[2]);
    assert!(lines[3].starts_with(&format!("echo  {long}   RTT ")));
    assert!(lines[4].starts_with("echo  no end of line   RTT "), "{}", lines[4]);
}

fn names_with_spaces_and_quotes_and_wildcards_are_found(transport: Transport) {
    let (scene, _) = scene(transport);
    for name in ["a.mp3", "b.mp3", "it's a *.mp3", "c.txt", ".hidden.mp3"] {
        fs::write(scene.to("media").join(name), name).unwrap();
    }
    let server = scene.serve(&[]);
    let output =
        scene.say(&server, "chdir media\ndl 'it'\\''s a *.mp3'\ndl [ab].mp3 \"c.txt\"\ndl old\\ tapes\n");
    assert_eq!((code(&output), output.stderr.as_str()), (Some(0), ""), "{}", output.stdout);
    assert_eq!(
        scene.sent_names(),
        ["received-a.mp3", "received-b.mp3", "received-c.txt", "received-it's a *.mp3", "received-old tapes"]
    );
    let output = scene.say(&server, "ls media/*.mp3\nls 'media/*.mp3'\n");
    assert_eq!(code(&output), Some(5), "the quoted one is no wildcard: {}", output.stderr);
    let names: Vec<&str> =
        output.stdout.lines().map(|line| line.split("   ").next().unwrap().trim()).collect();
    assert_eq!(names, ["media/a.mp3", "media/b.mp3", "media/it's a *.mp3", "media/song.mp3"]);
    // What no server gives is refused by itself.
    for name in ["media/d.flac", "media/aux.flac", "media/new\nline.flac"] {
        fs::write(scene.to(name), name).unwrap();
    }
    let output = scene.say(&server, "chdir media\ndl *.flac\n");
    assert_eq!(code(&output), Some(5), "{}", output.stdout);
    let errors: Vec<&str> = output.stderr.lines().collect();
    assert_eq!(errors.len(), 2, "{}", output.stderr);
    assert!(errors[1].contains("cannot get media/new\\nline.flac from "), "{}", output.stderr);
    assert_eq!(fs::read(scene.from("received-d.flac")).unwrap(), b"media/d.flac");
    // Two that would be called the same are asked for one after the other.
    fs::write(scene.to("a.mp3"), "another").unwrap();
    let output = scene.say(&server, "dl a.mp3 media/a.mp3\n");
    assert_eq!((code(&output), output.stderr.as_str()), (Some(0), ""), "{}", output.stdout);
    assert_eq!(fs::read(scene.from("received-a-1.mp3")).unwrap(), b"another");
}

fn the_current_directory_never_leaves_the_servers_own(transport: Transport) {
    let (scene, _) = scene(transport);
    fs::write(scene.root().join("secret"), "").unwrap();
    std::os::unix::fs::symlink(scene.root(), scene.to("out")).unwrap();
    let server = scene.serve(&[]);
    let output = scene.say(
        &server,
        "chdir media\nchdir 'old tapes'\nchdir ..\nls\nchdir ../..\nchdir /\nchdir /media/../media\nls /\nchdir /out\ndl /out/secret\n",
    );
    assert_eq!(code(&output), Some(2), "{}", output.stderr);
    let places: Vec<&str> = output.stdout.lines().filter_map(|line| line.strip_prefix("here  ")).collect();
    assert_eq!(places, ["/media", "/media/old tapes", "/media", "/", "/media"]);
    assert_eq!(output.stderr.lines().count(), 3, "{}", output.stderr);
    assert!(!output.stdout.contains("secret") && !output.stdout.contains("out/"), "{}", output.stdout);
    assert!(scene.sent_names().is_empty());
}

fn files_are_kept_where_chdir_has_led(transport: Transport) {
    let (scene, _) = scene(transport);
    scene.write("here.txt", b"here");
    scene.write("there.txt", b"there");
    let server = scene.serve(&[]);
    let output = scene.say(&server, "put here.txt\nchdir media\nput th*.txt\nchdir /\nput there.txt\n");
    assert_eq!((code(&output), output.stderr.as_str()), (Some(0), ""), "{}", output.stdout);
    let received = scene.received();
    let names: Vec<&str> = received.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        ["media/received-there.txt", "media/song.mp3", "received-here.txt", "received-there.txt"]
    );
}

fn a_server_that_comes_back_is_found_again(transport: Transport) {
    let (scene, _) = scene(transport);
    scene.write("late.txt", b"late");
    let server = scene.serve(&[]);
    let address = server.address();
    let (client, mut pipe) = scene.start_talk(address, &[]);
    let mut say = |line: &str| pipe.write_all(format!("{line}\n").as_bytes()).unwrap();
    say("chdir media");
    say("one");
    await_line(&client, "echo  one ");
    server.kill().unwrap();
    let server = restart(&scene, address);
    say("two");
    await_line(&client, "echo  two ");
    await_error(&client, "had been lost; there is a new one");
    // It was told of the directory again.
    say("put late.txt");
    await_line(&client, "received-late.txt   same");
    server.kill().unwrap();
    say("three");
    await_error(&client, "cannot connect to ");
    let server = restart(&scene, address);
    say("four");
    await_line(&client, "echo  four ");
    drop(pipe);
    let output = client.wait(LIMIT).unwrap();
    assert_eq!(code(&output), Some(3), "{}", output.stderr);
    assert_eq!(fs::read(scene.to("media/received-late.txt")).unwrap(), b"late");
    assert!(!output.stdout.contains("echo  three"), "{}", output.stdout);
    server.stop().unwrap();
}

fn restart(scene: &Scene, address: SocketAddr) -> Server {
    scene.serve(&["--listen", &address.to_string()])
}

fn await_line(client: &Process, text: &str) {
    client.wait_for_line(LIMIT, |line| line.contains(text).then_some(())).unwrap();
}

fn await_error(client: &Process, text: &str) {
    client.wait_for_error_line(LIMIT, |line| line.contains(text).then_some(())).unwrap();
}

fn with_json_there_is_nothing_but_objects(transport: Transport) {
    let (scene, _) = scene(transport);
    let server = scene.serve(&[]);
    let lines = "hello\nls media\nchdir media\ndl song.mp3\n10\nhelp\n-5\n\\xff\n";
    let output = scene.say_with(&server, &["--json"], lines);
    assert_eq!(code(&output), Some(2), "{}", output.stderr);
    let objects: Vec<Value> = output.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |event: &str| objects.iter().filter(|object| object["event"] == event).collect::<Vec<_>>();
    assert_eq!(of("echo")[0]["text"], "hello");
    assert!(of("echo")[0]["rtt_ms"].is_number());
    let entries = of("entry");
    assert_eq!((&entries[0]["name"], &entries[0]["kind"]), (&"old tapes".into(), &"directory".into()));
    assert_eq!((&entries[1]["name"], &entries[1]["bytes"]), (&"song.mp3".into(), &300_007.into()));
    assert!(entries[1]["modified"].as_str().unwrap().starts_with("20"), "{}", entries[1]);
    assert_eq!(of("chdir")[0]["path"], "/media");
    let files = of("file");
    assert_eq!((files.len(), &files[0]["same"], &files[1]["bytes"]), (2, &true.into(), &10.into()));
    assert_eq!(of("done").len(), 2);
    assert_eq!(of("error")[0]["exit_code"], 2);
}

fn requests_can_be_made_one_at_a_time(transport: Transport) {
    let (scene, _) = scene(transport);
    scene.write("ls", b"a file");
    let server = scene.serve(&[]);
    let output = scene.run(&server, &["ls", "media"]);
    assert_eq!((code(&output), output.stderr.as_str()), (Some(0), ""));
    let rows: Vec<Vec<&str>> = output.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!((rows[0][0], rows[0][2], rows.len()), ("old", "-", 2), "{}", output.stdout);
    assert_eq!((rows[1][0], rows[1][1], rows[1][2]), ("song.mp3", "300.0", "kB"));
    let output = scene.run(&server, &["ls", "media/song.mp3", "--json"]);
    let object: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!((&object["event"], &object["name"]), (&"entry".into(), &"song.mp3".into()));
    let output = scene.run(&server, &["ls", "../etc"]);
    assert_eq!(code(&output), Some(2), "{}", output.stderr);
    let output = scene.run(&server, &["echo", "it's", " fine"]);
    assert!(output.stdout.starts_with("echo  it's  fine   RTT "), "{}", output.stdout);
    let output = scene.run(&server, &["stream", "--count", "3", "--interval", "1ms"]);
    assert_eq!((code(&output), output.stderr.as_str()), (Some(0), ""), "{}", output.stdout);
    let output = scene.run(&server, &["put", "ls"]);
    assert_eq!(code(&output), Some(0), "{}", output.stderr);
    assert_eq!(scene.received()["received-ls"], b"a file");
    assert_eq!(code(&scene.run(&server, &["generate", "-5"])), Some(2));
}

fn a_made_file_is_kept_only_where_that_is_wanted(transport: Transport) {
    let scene = Scene::new(transport);
    let server = scene.serve(&[]);
    let output = scene.run(&server, &["generate", "123457", "--to", "made.txt"]);
    assert_eq!((code(&output), output.stderr.as_str()), (Some(0), ""), "{}", output.stdout);
    let made = fs::read(scene.from("made.txt")).unwrap();
    assert_eq!(made.len(), 123_457);
    assert!(made.iter().all(|byte| byte.is_ascii_alphanumeric() || b" .".contains(byte)));
    let md5 = Hasher::digest(Checksum::Md5, &made).to_string();
    assert_eq!(output.stdout.matches(&md5).count(), 2, "{}", output.stdout);
    // The same is there, another is in the way.
    let again = scene.run(&server, &["generate", "123457", "--to", "made.txt"]);
    assert!(again.stdout.contains("\nthere  "), "{}", again.stdout);
    let other = scene.run(&server, &["generate", "123457", "--to", "made.txt", "--seed", "1"]);
    assert_eq!(code(&other), Some(5), "{}", other.stderr);
    assert_eq!(fs::read(scene.from("made.txt")).unwrap(), made);
    let over = ["generate", "5", "--to", "made.txt", "--if-exists", "overwrite"];
    assert_eq!(code(&scene.run(&server, &over)), Some(0));
    assert_eq!(fs::read(scene.from("made.txt")).unwrap(), made[..5]);
    let output = scene.run(&server, &["generate", "0"]);
    assert_eq!(code(&output), Some(0), "{}", output.stderr);
    assert!(output.stdout.contains("0 characters, not kept"), "{}", output.stdout);
    assert_eq!(scene.sent_names(), ["made.txt"]);
    assert_eq!(code(&scene.run(&server, &["generate", "5", "--to", "no/such/dir"])), Some(6));
}
