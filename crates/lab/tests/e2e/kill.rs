//! Programs that are killed at any moment, and run again.
//!
//! `TANDEM_KILL_ROUNDS` and `TANDEM_KILL_MB` make it more and larger, `TANDEM_KILL_SEED` another course of events.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use crate::extent::{held_of, until, written};
use crate::scene::{Dice, Scene, moved, noise};
use lab::Transport;
use lab::process::{LIMIT, Process, Server};

over_each_transport!(
    whatever_is_killed_the_next_run_goes_on_and_no_wrong_file_is_ever_there,
    a_client_goes_on_by_itself_when_the_server_is_killed_and_comes_again,
    what_a_killed_server_left_of_a_file_that_is_there_is_removed,
);

/// What the sockets and queues between the two disks may hold.
const IN_FLIGHT: u64 = 16 << 20;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Client,
    Server,
    Both,
}

const VICTIMS: [Victim; 3] = [Victim::Client, Victim::Server, Victim::Both];

struct Round<'a> {
    scene: Scene,
    film: &'a [u8],
    dice: &'a mut Dice,
    story: String,
}

impl Round<'_> {
    fn note(&mut self, what: &str) {
        self.story.push_str(what);
        self.story.push_str("; ");
    }

    fn client(&self, server: &Server) -> Process {
        self.scene.start(server.address(), &["--json", "--retry", "0", "film.mp4"])
    }

    /// Bytes that are in the partial files now.
    fn held(&self) -> u64 {
        self.scene.parts().iter().filter_map(|part| held_of(part, self.film)).max().unwrap_or(0)
    }

    /// Whatever has a final name must be right.
    fn check(&self) {
        for (name, content) in self.scene.received() {
            assert!(content == self.film, "{name} is wrong: {}", self.story);
        }
    }

    /// Lets a transfer go on until a random moment, and kills: the server, if it is still there.
    fn interrupt(&mut self, server: Server) -> Option<Server> {
        let victim = VICTIMS[self.dice.below(3) as usize];
        // Sometimes only when everything is written, and the file is getting its name.
        let from = self.held();
        let len = self.film.len() as u64;
        let goal = (from + self.dice.below(len - from + len / 4 + 1)).min(len);
        let delay = Duration::from_micros(self.dice.below(15_000));
        let client = self.client(&server);
        let (scene, film) = (&self.scene, self.film);
        until("the transfer comes to its moment", || {
            let is_over = client.stdout().contains(r#""event":"file""#);
            // The first look is cheaper than the second.
            let has_come = |part: &PathBuf| written(part) >= Some(goal) && held_of(part, film) >= Some(goal);
            (is_over || scene.parts().iter().any(has_come)).then_some(())
        });
        thread::sleep(delay);
        self.note(&format!("{victim:?} killed at {goal} and {delay:?}"));
        let server_first = self.dice.below(2) == 0;
        let server = match victim {
            Victim::Client => {
                client.kill().unwrap();
                Some(server)
            }
            Victim::Server => {
                server.kill().unwrap();
                let output = client.wait(LIMIT).unwrap();
                // It may have had its answer already.
                assert!(
                    matches!(output.code(), Some(0 | 3)),
                    "{:?}: {} {}",
                    output.code(),
                    output.stderr,
                    self.story
                );
                None
            }
            Victim::Both if server_first => {
                server.kill().unwrap();
                client.kill().unwrap();
                None
            }
            Victim::Both => {
                client.kill().unwrap();
                server.kill().unwrap();
                None
            }
        };
        self.check();
        server
    }

    fn serve(&self) -> Server {
        self.scene.serve(&["--json"])
    }

    fn play(mut self) {
        let mut server = Some(self.serve());
        for _ in 0..=self.dice.below(2) {
            let running = server.take().unwrap_or_else(|| self.serve());
            server = self.interrupt(running);
        }
        let running = server.unwrap_or_else(|| self.serve());
        let is_there = !self.scene.received().is_empty();
        let held = self.held();
        let output = self.client(&running).wait(LIMIT).unwrap();
        self.note(&format!("{held} held, then\n{}\n{}", output.stdout, output.stderr));
        assert_eq!(output.code(), Some(0), "{}", self.story);
        self.check();
        let received = self.scene.received();
        assert_eq!(received.keys().collect::<Vec<_>>(), ["received-film.mp4"], "{}", self.story);
        assert!(self.scene.parts().is_empty(), "{:?}: {}", self.scene.parts(), self.story);
        let len = self.film.len() as u64;
        let moved = moved(&output);
        let most = if is_there { 0 } else { len - held + len / 100 };
        assert!(moved <= most, "{moved} bytes crossed the link again, not {most}: {}", self.story);
        assert_eq!(running.stop().unwrap().code(), Some(0), "{}", self.story);
    }
}

fn whatever_is_killed_the_next_run_goes_on_and_no_wrong_file_is_ever_there(transport: Transport) {
    let film = noise(1, setting("TANDEM_KILL_MB", 16) as usize * 1_000_000 + 123);
    let seed = setting("TANDEM_KILL_SEED", 7);
    for round in 0..setting("TANDEM_KILL_ROUNDS", 12) {
        let scene = Scene::new(transport);
        scene.write("film.mp4", &film);
        let story = format!("seed {}: ", seed + round);
        let mut dice = Dice::new(seed + round);
        Round { scene, film: &film, dice: &mut dice, story }.play();
    }
}

fn a_client_goes_on_by_itself_when_the_server_is_killed_and_comes_again(transport: Transport) {
    let film = noise(2, 64_000_000);
    let len = film.len() as u64;
    let scene = Scene::new(transport);
    scene.write("film.mp4", &film);
    let mut server = scene.serve(&[]);
    let address = server.address().to_string();
    // Where the machine is busy elsewhere, a transfer may be over before it can be hit.
    for _ in 0..10 {
        let client = scene.start(server.address(), &["--json", "film.mp4"]);
        until("a quarter is written", || {
            let is_over = scene.parts().is_empty() && !scene.received().is_empty();
            let has_come = |part: &PathBuf| held_of(part, &film) >= Some(len / 4);
            (is_over || scene.parts().iter().any(has_come)).then_some(())
        });
        server.kill().unwrap();
        let held = scene.parts().iter().filter_map(|part| held_of(part, &film)).max();
        // The client notices before a server is there again.
        let lost = client.wait_for_line(LIMIT, |line| line.contains(r#""event":"retry""#).then_some(()));
        server = scene.serve(&["--listen", &address]);
        let output = client.wait(LIMIT).unwrap();
        assert_eq!(output.code(), Some(0), "{}", output.stderr);
        let received = scene.received();
        assert_eq!(received.keys().collect::<Vec<_>>(), ["received-film.mp4"]);
        assert!(received["received-film.mp4"] == film);
        assert!(scene.parts().is_empty());
        let (Ok(()), Some(held)) = (lost, held) else {
            fs::remove_file(scene.to("received-film.mp4")).unwrap();
            continue;
        };
        assert!(held >= len / 4);
        let moved = moved(&output);
        assert!(moved >= len, "{moved} of {len}");
        assert!(moved <= len + len / 100 + IN_FLIGHT, "{moved} bytes crossed the link for {len}");
        return;
    }
    panic!("the transfer was always too quick");
}

/// As when one session was killed after it gave the file its name, and another before it saw that.
fn what_a_killed_server_left_of_a_file_that_is_there_is_removed(transport: Transport) {
    let scene = Scene::new(transport);
    let film = noise(7, 8_000_000);
    scene.write("film.mp4", &film);
    let server = scene.serve(&[]);
    let client = scene.start(server.address(), &["film.mp4"]);
    let part = until("something has come", || scene.parts().into_iter().find(|part| written(part) > Some(0)));
    let left = fs::read(&part).unwrap();
    assert_eq!(client.wait(LIMIT).unwrap().code(), Some(0));
    assert!(scene.parts().is_empty());
    fs::write(&part, left).unwrap();
    let again = scene.run(&server, &["film.mp4"]);
    assert_eq!(again.code(), Some(0), "{}", again.stderr);
    assert!(again.stdout.starts_with("there"), "{}", again.stdout);
    until("it is removed", || scene.parts().is_empty().then_some(()));
    assert!(scene.received()["received-film.mp4"] == film);
}
