//! The program with real commands at its ends. Where this machine does not let it make networks, the tests say so and skip.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod commands;
mod records;
mod relay;
mod roles;
mod table;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

const NETSIM: &str = env!("CARGO_BIN_EXE_netsim");

const BACKENDS: [&str; 2] = ["tun", "packet"];

/// Who runs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum User {
    /// Whoever runs the tests.
    Myself,
    /// The user 65534, who may do nothing.
    Nobody,
}

/// The users and backends that work here. What does not is said aloud.
fn settings() -> Vec<(User, &'static str)> {
    let mut users = vec![User::Myself];
    if rustix::process::geteuid().is_root() {
        users.push(User::Nobody);
    }
    let all = users.into_iter().flat_map(|user| BACKENDS.map(|backend| (user, backend)));
    all.filter(|&(user, backend)| {
        let output = netsim(user).args(["run", "--backend", backend, "--", "true"]).output();
        let works = output.as_ref().is_ok_and(|output| output.status.success());
        if !works {
            let said = output.map_or_else(|error| error.to_string(), |output| stderr(&output));
            eprintln!("SKIPPED: {user:?} with the {backend} backend does not work here: {said}");
        }
        works
    })
    .collect()
}

/// The first of them, if there is one.
fn setting() -> Option<(User, &'static str)> {
    settings().into_iter().next()
}

fn netsim(user: User) -> Command {
    match user {
        User::Myself => Command::new(NETSIM),
        User::Nobody => {
            let mut command = Command::new("setpriv");
            command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", NETSIM]);
            command
        }
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A run of the two roles of one test over one link.
struct Run {
    room: tempfile::TempDir,
    user: User,
    arguments: Vec<OsString>,
}

/// What came of it.
struct Result {
    output: Output,
    /// What the server's role reported.
    server: Value,
    /// `--stats-json`.
    stats: Value,
    room: tempfile::TempDir,
}

impl Run {
    fn new((user, backend): (User, &str)) -> Self {
        let room = tempfile::tempdir().unwrap();
        // Nobody's files are written here too.
        std::fs::set_permissions(room.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        let mut run = Self { room, user, arguments: vec!["run".into(), "--backend".into(), backend.into()] };
        let stats = run.path("stats.json");
        run = run.with(["--stats", "--stats-json"]).with([stats]);
        run
    }

    fn path(&self, name: &str) -> PathBuf {
        self.room.path().join(name)
    }

    fn with<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Runs a role of [`roles`] at each end.
    fn play(self, server: &str, client: &str) -> Result {
        let report = self.path("server.json");
        let myself = std::env::current_exe().unwrap();
        let role = |role: &str| {
            let words = ["--exact", "roles::role", "--ignored", "--nocapture"];
            (role.to_owned(), words)
        };
        let (server, words) = role(server);
        let server = format!(
            "NETSIM_TEST_ROLE={server} NETSIM_TEST_REPORT={} exec {} {} >/dev/null",
            report.display(),
            myself.display(),
            words.join(" ")
        );
        let (client, words) = role(client);
        let mut command = netsim(self.user);
        command.args(&self.arguments).arg("--server").arg(server).arg("--").arg(&myself).args(words);
        let output = command.env("NETSIM_TEST_ROLE", client).output().unwrap();
        assert!(output.status.success(), "{}\n{}", stderr(&output), String::from_utf8_lossy(&output.stdout));
        let read = |path: &Path| -> Value {
            let text =
                std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            serde_json::from_str(&text).unwrap()
        };
        let (server, stats) = (read(&report), read(&self.path("stats.json")));
        Result { output, server, stats, room: self.room }
    }
}
