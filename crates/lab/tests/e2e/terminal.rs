//! Somebody at a terminal.

use std::fs;
use std::io::Read as _;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::thread;

use crate::scene::{Scene, noise};
use lab::Transport;
use lab::process::{LIMIT, program};
use rexpect::reader::Options;
use rexpect::session::{PtySession, spawn_with_options};
use rustix::termios::{Winsize, tcsetwinsize};

over_each_transport!(
    who_connects_is_greeted_and_heard,
    tab_completes_commands_and_names,
    lines_are_remembered_from_one_day_to_the_next,
    an_interrupt_ends_the_command_and_not_the_prompt,
    who_finds_no_server_gets_no_prompt,
);

const UP: &str = "\x1b[A";
const INTERRUPT: &str = "\x03";
const END: &str = "\x04";

/// A client on a terminal.
struct Terminal(PtySession);

impl Terminal {
    fn open(scene: &Scene, server: SocketAddr) -> Self {
        let mut command = Command::new(program(scene.transport().client()).unwrap());
        command.args(["--server", &server.to_string()]).current_dir(scene.from(""));
        command.env("XDG_STATE_HOME", scene.root().join("state")).env("TERM", "xterm");
        let limit = u64::try_from(LIMIT.as_millis()).ok();
        let options = Options::new().timeout_ms(limit).strip_ansi_escape_codes(true);
        let session = spawn_with_options(command, options).unwrap();
        let size = Winsize { ws_row: 40, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(session.process().get_file_handle().unwrap(), size).unwrap();
        Self(session)
    }

    /// One that shows its prompt.
    fn ready(scene: &Scene, server: SocketAddr) -> Self {
        let mut terminal = Self::open(scene, server);
        terminal.sees("/> ");
        terminal
    }

    fn types(&mut self, keys: &str) {
        self.0.send(keys).unwrap();
        self.0.flush().unwrap();
    }

    /// Waits until this is shown: what was before it.
    fn sees(&mut self, text: &str) -> String {
        self.0.exp_string(text).unwrap()
    }

    /// Waits for the end: the exit code.
    fn ends(mut self) -> String {
        self.0.exp_eof().unwrap();
        format!("{:?}", self.0.process().wait().unwrap())
    }
}

fn scene(transport: Transport) -> Scene {
    let scene = Scene::new(transport);
    fs::create_dir(scene.to("media")).unwrap();
    fs::write(scene.to("media/song.mp3"), noise(3, 20_000)).unwrap();
    fs::write(scene.to("media/two words.txt"), "two words").unwrap();
    scene
}

fn who_connects_is_greeted_and_heard(transport: Transport) {
    let scene = scene(transport);
    let server = scene.serve(&[]);
    let mut terminal = Terminal::open(&scene, server.address());
    terminal.sees(&format!("connected with {} 0.1.0 at {}", transport.server(), server.address()));
    terminal.sees("/> ");
    terminal.types("hello\r");
    let before = terminal.sees("   RTT ");
    assert!(before.ends_with("echo  hello"), "{before}");
    terminal.sees(" ms");
    terminal.sees("/> ");
    // An interrupt at the prompt begins a new line; what was typed is forgotten.
    terminal.types("forgotten");
    terminal.sees("forgotten");
    terminal.types(INTERRUPT);
    terminal.sees("/> ");
    terminal.types("chdir media\r");
    terminal.sees("/media> ");
    terminal.types("chdir ../..\r");
    terminal.sees("nothing is above the server's directory");
    terminal.sees("/media> ");
    terminal.types(END);
    let end = terminal.ends();
    assert!(end.starts_with("Exited(") && end.ends_with(", 0)"), "{end}");
}

fn tab_completes_commands_and_names(transport: Transport) {
    let scene = scene(transport);
    scene.write("local file.txt", b"local");
    let server = scene.serve(&[]);
    let mut terminal = Terminal::ready(&scene, server.address());
    terminal.types("chd\t");
    terminal.sees("chdir ");
    terminal.types("m\t");
    terminal.sees("chdir media/");
    terminal.types("\r");
    terminal.sees("/media> ");
    terminal.types("dl s\t");
    terminal.sees("dl song.mp3 ");
    terminal.types("tw\t");
    terminal.sees("dl song.mp3 two\\ words.txt ");
    terminal.types("\r");
    terminal.sees("2 files");
    terminal.sees("/media> ");
    assert_eq!(fs::read(scene.from("received-two words.txt")).unwrap(), b"two words");
    terminal.types("put lo\t");
    terminal.sees("put local\\ file.txt ");
    terminal.types("\r");
    terminal.sees("   same");
    terminal.sees("/media> ");
    assert_eq!(fs::read(scene.to("media/received-local file.txt")).unwrap(), b"local");
    terminal.types("quit\r");
    assert!(terminal.ends().ends_with(", 0)"));
}

fn lines_are_remembered_from_one_day_to_the_next(transport: Transport) {
    let scene = scene(transport);
    let server = scene.serve(&[]);
    let mut terminal = Terminal::ready(&scene, server.address());
    for line in ["first line", "second line"] {
        terminal.types(&format!("{line}\r"));
        terminal.sees("   RTT ");
        terminal.sees("/> ");
    }
    terminal.types(UP);
    terminal.sees("second line");
    terminal.types(UP);
    terminal.sees("first line");
    terminal.types("\r");
    terminal.sees("echo  first line");
    terminal.sees("/> ");
    terminal.types(END);
    terminal.ends();
    let history = fs::read_to_string(scene.root().join("state/tandem/history")).unwrap();
    assert!(history.ends_with("first line\nsecond line\nfirst line\n"), "{history}");
    let mut terminal = Terminal::ready(&scene, server.address());
    terminal.types(UP);
    terminal.sees("first line");
    terminal.types(INTERRUPT);
    terminal.sees("/> ");
    terminal.types(END);
    terminal.ends();
}

/// A way to a TCP server that lets so many bytes come back over the first connection, and all over those after it.
fn faucet(server: SocketAddr, limit: u64) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let mut limit = Some(limit);
        for client in listener.incoming().map_while(Result::ok) {
            let far = TcpStream::connect(server).unwrap();
            let (mut near_in, mut far_out) = (client.try_clone().unwrap(), far.try_clone().unwrap());
            thread::spawn(move || {
                let _ = std::io::copy(&mut near_in, &mut far_out);
                let _ = far_out.shutdown(Shutdown::Both);
            });
            let (mut near, most) = (client, limit.take());
            thread::spawn(move || {
                let _ = std::io::copy(&mut (&far).take(most.unwrap_or(u64::MAX)), &mut near);
                // What is more stays where it is, until the client has gone.
                if most.is_none() {
                    let _ = near.shutdown(Shutdown::Both);
                }
            });
        }
    });
    address
}

fn an_interrupt_ends_the_command_and_not_the_prompt(transport: Transport) {
    let scene = scene(transport);
    let film = noise(5, 6_000_000);
    fs::write(scene.to("film.mp4"), &film).unwrap();
    let (server, address) = match transport {
        Transport::Tcp => {
            let server = scene.serve(&[]);
            let address = faucet(server.address(), 2_000_000);
            (server, address)
        }
        Transport::Udp => {
            let server = scene.serve(&["--rate", "4mbit"]);
            let address = server.address();
            (server, address)
        }
    };
    let mut terminal = Terminal::ready(&scene, address);
    terminal.types("dl film.mp4\r");
    // The bar.
    terminal.sees("film.mp4  ");
    terminal.sees("MB/6.0 MB");
    terminal.types(INTERRUPT);
    terminal.sees("interrupted; ");
    terminal.sees("/> ");
    assert_eq!(scene.sent_names().iter().filter(|name| name.ends_with(".part")).count(), 1);
    terminal.types("hello\r");
    terminal.sees("echo  hello   RTT ");
    terminal.sees("/> ");
    if transport == Transport::Tcp {
        terminal.types("dl film.mp4\r");
        terminal.sees("were there already)");
        terminal.sees("   same");
        terminal.sees("/> ");
        assert!(fs::read(scene.from("received-film.mp4")).unwrap() == film);
    }
    terminal.types(END);
    assert!(terminal.ends().ends_with(", 0)"));
    server.stop().unwrap();
}

fn who_finds_no_server_gets_no_prompt(transport: Transport) {
    let scene = scene(transport);
    let server = scene.serve(&[]);
    let address = server.address();
    server.stop().unwrap();
    let mut terminal = Terminal::open(&scene, address);
    terminal.sees("cannot connect to ");
    assert!(terminal.ends().ends_with(", 3)"));
}
