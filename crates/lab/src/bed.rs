//! Where a file is sent along a bad path: real programs, with `netsim` between them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use framing::Digest;
use lab::Transport;
use lab::process::{LIMIT, Process, Server, program};
use serde_json::Value;

use crate::matrix::{Case, Way};
use crate::traffic::Traffic;
use crate::{PREFIX, md5};

/// The address of the server inside `netsim run`.
const SERVER: &str = "10.77.0.2";
/// What `--plain` sends at beside the rate of the path, so that it is the faults that are seen and not a queue that is full.
const PLAIN_SHARE: f64 = 0.8;
/// What one run may take beyond its client.
const GRACE: Duration = Duration::from_secs(20);

/// What stands between the two programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Bed {
    /// Real packets between two network namespaces, by a backend of this name.
    Packets(String),
    /// A relay in user space, and why nothing better works. It can't lose packets of TCP.
    Relay(String),
}

/// What is sent, and where what belongs to it lies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load<'a> {
    /// The file.
    pub(crate) file: &'a Path,
    pub(crate) bytes: u64,
    pub(crate) digest: Digest,
    /// An empty directory for this run alone.
    pub(crate) dir: &'a Path,
}

/// What came of one run.
#[derive(Debug)]
pub(crate) struct Run {
    /// The client's exit code; `None` when it did not end by itself in time.
    pub(crate) code: Option<i64>,
    pub(crate) seconds: f64,
    pub(crate) arrived: Arrived,
    /// How often the client connected again.
    pub(crate) retries: usize,
    /// The client's last word on its transfer.
    pub(crate) done: Option<Value>,
    /// The client's last word on the file.
    pub(crate) file: Option<Value>,
    /// The kernel's counters on both sides; none of a relay.
    pub(crate) client: Option<Value>,
    pub(crate) server: Option<Value>,
    /// What `netsim` says of the packets, towards the server and back.
    pub(crate) up: Traffic,
    pub(crate) down: Traffic,
}

/// What lies on the server's side in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrived {
    /// The file, and its MD5 is the source's.
    Whole,
    /// A file under its own name, with another MD5. It must never happen.
    Wrong,
    /// What came of it, under a name that says that it is damaged.
    Damaged,
    /// Nothing under any final name.
    No,
}

impl Run {
    /// A counter of the kernel, 0 where there is none.
    pub(crate) fn counted(side: Option<&Value>, name: &str) -> u64 {
        side.and_then(|side| side["counters"][name].as_u64()).unwrap_or_default()
    }

    /// A number of the client's last word on its transfer.
    pub(crate) fn done(&self, field: &str) -> u64 {
        self.done.as_ref().and_then(|done| done[field].as_u64()).unwrap_or_default()
    }

    /// Milliseconds in the client's last word on its transfer.
    pub(crate) fn milliseconds(&self, field: &str) -> f64 {
        self.done.as_ref().and_then(|done| done[field].as_f64()).unwrap_or_default()
    }

    /// How many chunks a list such as `3,17-19` of the last word on the file has.
    pub(crate) fn chunks(&self, field: &str) -> u64 {
        self.file.as_ref().and_then(|file| file[field].as_str()).map_or(0, count)
    }
}

/// How many numbers there are in `3,17-19,40`.
fn count(list: &str) -> u64 {
    let of = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let ends = first.trim().parse::<u64>().ok().zip(last.trim().parse::<u64>().ok());
        ends.map_or(0, |(first, last)| (last + 1).saturating_sub(first))
    };
    list.split(',').map(of).sum()
}

impl Bed {
    /// Tries what works here.
    pub(crate) fn find() -> anyhow::Result<Self> {
        let mut command = Command::new(program("netsim")?);
        command.args(["run", "--seed", "1", "--server", "true", "--", "true"]).stdin(Stdio::null());
        let output = Process::spawn(&mut command)?.wait(LIMIT)?;
        if output.code() == Some(0) {
            let text = format!("{}{}", output.stdout, output.stderr);
            return Ok(Self::Packets(backend(&text).unwrap_or("packets").to_owned()));
        }
        let why = output.stderr.lines().next().unwrap_or("netsim run fails").to_owned();
        Ok(Self::Relay(why))
    }

    /// Sends a file along such a path once.
    pub(crate) fn run(
        &self,
        case: &Case,
        way: Way,
        load: Load<'_>,
        seed: u64,
        limit: Duration,
    ) -> anyhow::Result<Run> {
        fs::create_dir(load.dir.join("in"))?;
        match self {
            Self::Packets(_) => run_between(case, way, load, seed, limit)?,
            Self::Relay(_) => run_relayed(case, way, load, seed, limit)?,
        }
        judge(load, &text(load.dir, "client.json"))
    }
}

/// The backend that `netsim` names.
fn backend(text: &str) -> Option<&str> {
    let line = text.lines().find(|line| line.contains("backend"))?;
    ["tun", "veth", "packet"].into_iter().find(|name| line.to_ascii_lowercase().contains(name))
}

const fn transport(way: Way) -> Transport {
    match way {
        Way::Tcp => Transport::Tcp,
        Way::Plain | Way::Udp => Transport::Udp,
    }
}

/// The client's command line, but for the server's address.
fn client_args(case: &Case, way: Way, file: &Path) -> Vec<String> {
    let mut args = vec!["--json".to_owned(), "--insecure".to_owned()];
    if way == Way::Plain {
        args.push("--plain".to_owned());
        if let Some(rate) = case.rate() {
            args.extend(["--rate".to_owned(), format!("{}", (rate * PLAIN_SHARE) as u64)]);
        }
    }
    args.extend(["--".to_owned(), file.display().to_string()]);
    args
}

fn run_between(case: &Case, way: Way, load: Load<'_>, seed: u64, limit: Duration) -> anyhow::Result<()> {
    let end = program("lab-end")?;
    let at = |name: &str| load.dir.join(name).display().to_string();
    let transport = transport(way);
    let port = if transport == Transport::Tcp { 8120 } else { 8121 };
    let server = [
        end.display().to_string(),
        at("server-end.json"),
        format!("{}", (limit + GRACE).as_secs_f64()),
        at("server.json"),
        program(transport.server())?.display().to_string(),
        "--json".to_owned(),
        "--insecure".to_owned(),
        "--listen".to_owned(),
        format!("{SERVER}:{port}"),
        "--dir".to_owned(),
        at("in"),
    ];
    // The shell must not stand between, or it would end before the server has told what it counted.
    let server = ["exec".to_owned()].into_iter().chain(server.iter().map(|word| quoted(word)));
    let server: Vec<String> = server.collect();
    let mut command = Command::new(program("netsim")?);
    command.arg("run").args(&case.faults).args([
        "--seed",
        &seed.to_string(),
        "--stats-json",
        &at("stats.json"),
    ]);
    command.args(["--server", &server.join(" "), "--"]);
    command.arg(end).args([at("client-end.json"), format!("{}", limit.as_secs_f64()), at("client.json")]);
    command.arg(program(transport.client())?).args(["--server", &format!("{SERVER}:{port}")]);
    command.args(client_args(case, way, load.file)).env_remove("TANDEM_SERVER");
    let output = Process::spawn(command.stdin(Stdio::null()))?.wait(limit + GRACE)?;
    if !load.dir.join("client-end.json").exists() {
        bail!("netsim run failed: {}{}", output.stdout, output.stderr);
    }
    Ok(())
}

fn run_relayed(case: &Case, way: Way, load: Load<'_>, seed: u64, limit: Duration) -> anyhow::Result<()> {
    let transport = transport(way);
    let args = ["--json", "--dir", "in"];
    let server = Server::start(transport.server(), args, load.dir)?;
    let mut relay = Command::new(program("netsim")?);
    relay.args(["relay", "--listen", "127.0.0.1:0", "--to", &server.address().to_string()]);
    relay.args(["--proto", &transport.to_string(), "--seed", &seed.to_string()]);
    relay.args(["--stats-json", &load.dir.join("stats.json").display().to_string()]);
    relay.args(&case.faults);
    let relay = Process::spawn(relay.stdin(Stdio::null()))?;
    let address = relay
        .wait_for_error_line(LIMIT, |line| {
            let (_, rest) = line.split_once(" on ")?;
            Some(rest.split_whitespace().next()?.to_owned())
        })
        .context("netsim relay does not start")?;
    let mut client = Command::new(program("lab-end")?);
    client.arg(load.dir.join("client-end.json")).arg(format!("{}", limit.as_secs_f64()));
    client.arg(load.dir.join("client.json")).arg(program(transport.client())?);
    client.args(["--server", &address]).args(client_args(case, way, load.file)).env_remove("TANDEM_SERVER");
    Process::spawn(client.stdin(Stdio::null()))?.wait(limit + GRACE)?;
    relay.terminate()?;
    relay.wait(LIMIT)?;
    server.stop()?;
    Ok(())
}

/// A word for the shell that `netsim` may start a command with.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn text(dir: &Path, name: &str) -> String {
    fs::read_to_string(dir.join(name)).unwrap_or_default()
}

/// Looks at what a run left behind.
fn judge(load: Load<'_>, client: &str) -> anyhow::Result<Run> {
    let end = object(&text(load.dir, "client-end.json")).context("the client left no report")?;
    let events: Vec<Value> = client.lines().filter_map(object).collect();
    let last = |name: &str| events.iter().rfind(|event| event["event"] == name).cloned();
    let stats = object(&text(load.dir, "stats.json")).unwrap_or_default();
    let name = load.file.file_name().context("the file has no name")?.to_string_lossy().into_owned();
    let has_counters = load.dir.join("server-end.json").exists();
    Ok(Run {
        code: end["code"].as_i64().filter(|_| end["in_time"] == true),
        seconds: end["seconds"].as_f64().unwrap_or_default(),
        arrived: arrived(&load.dir.join("in"), &name, load)?,
        retries: events.iter().filter(|event| event["event"] == "retry").count(),
        done: last("done"),
        file: last("file"),
        client: has_counters.then_some(end),
        server: object(&text(load.dir, "server-end.json")),
        up: Traffic::of(&stats, "up"),
        down: Traffic::of(&stats, "down"),
    })
}

fn object(text: &str) -> Option<Value> {
    serde_json::from_str(text).ok()
}

fn arrived(dir: &Path, name: &str, load: Load<'_>) -> anyhow::Result<Arrived> {
    let received: PathBuf = dir.join(format!("{PREFIX}{name}"));
    if received.exists() {
        let (bytes, digest) = md5(&received)?;
        let is_same = bytes == load.bytes && digest == load.digest;
        return Ok(if is_same { Arrived::Whole } else { Arrived::Wrong });
    }
    let has_damaged = fs::read_dir(dir)?
        .filter_map(Result::ok)
        .any(|entry| entry.file_name().to_string_lossy().contains(".damaged"));
    Ok(if has_damaged { Arrived::Damaged } else { Arrived::No })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_chunks_are_counted() {
        assert_eq!(["", "3", "3,17-19,40", "0-360", "x"].map(count), [0, 1, 5, 361, 0]);
    }

    #[test]
    fn words_reach_the_shell_whole() {
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }

    #[test]
    fn the_backend_is_found() {
        assert_eq!(backend("netsim  seed 1, backend TUN"), Some("tun"));
        assert_eq!(backend("nothing"), None);
    }
}
