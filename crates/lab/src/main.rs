//! Sends files from real clients to real servers, over each transport, and compares the checksums of both sides itself: on
//! this machine, and then along paths with all kinds of faults.

mod bed;
mod explain;
mod matrix;
mod rows;
mod siege;
mod table;
mod traffic;

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{self, ExitCode};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::Parser as _;
use framing::{Checksum, Digest, Hasher};
use lab::Transport;
use lab::process::{Output, Server, program, start_client};

use bed::{Bed, Load};
use explain::Scene;
use matrix::Matrix;
use table::Row;

/// What the names of received files begin with.
const PREFIX: &str = "received-";
/// How long one file may take.
const FILE_LIMIT: Duration = Duration::from_secs(3600);

/// Sends a file from a real client to a real server, over TCP, plain UDP and reliable UDP: on this machine, and then along
/// paths that lose, delay, damage, double and reorder packets. Ends with 0 when every checksum is as it should be.
#[derive(Debug, clap::Parser)]
#[command(name = "lab", version, args_conflicts_with_subcommands = true)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Files to send; the first one goes along the bad paths [default: the song and the film of testdata/]
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The paths to try, as TOML; crates/lab/src/matrix.toml is the default one
    #[arg(long, value_name = "FILE.toml")]
    matrix: Option<PathBuf>,
    /// How often to send the file in each case
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    repeat: u32,
    /// What the faults are drawn from: the same seed does the same to the same packets
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Print one object a line
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Print comma-separated values
    #[arg(long)]
    csv: bool,
}

/// What else the lab does.
#[derive(Debug, clap::Subcommand)]
enum Command {
    Attack(siege::AttackArgs),
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // Whoever closed standard error does not want to know.
            let _ = writeln!(io::stderr(), "lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether every file arrived as it was sent, as far as that was to be.
fn run(args: &Args) -> anyhow::Result<bool> {
    let workspace = workspace()?;
    if let Some(Command::Attack(args)) = &args.command {
        build(&workspace)?;
        return siege::run(args);
    }
    let (files, from) = if args.files.is_empty() {
        let bundled = ["song.mp3", "chamber.mp4"].map(|name| Path::new("testdata").join(name));
        (bundled.to_vec(), workspace.clone())
    } else {
        (args.files.clone(), env::current_dir().context("there is no current directory")?)
    };
    check_names(&files)?;
    let matrix = match &args.matrix {
        Some(path) => {
            let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            Matrix::parse(&text).with_context(|| path.display().to_string())?
        }
        None => Matrix::parse(matrix::DEFAULT)?,
    };
    build(&workspace)?;
    let home = target_dir()?.join("lab");
    fs::create_dir_all(&home).with_context(|| format!("cannot create {}", home.display()))?;
    let here = show_here(args, &files, &from, &home)?;
    let first = from.join(files.first().context("there is no file")?);
    let there = show_paths(args, &matrix, &first, &home)?;
    Ok(here && there)
}

/// Sends all files on this machine, and shows what a person would see: whether all is well.
fn show_here(args: &Args, files: &[PathBuf], from: &Path, home: &Path) -> anyhow::Result<bool> {
    let dir = scratch(home)?;
    let mut out = String::new();
    let mut rows = Vec::new();
    let mut is_good = true;
    for transport in Transport::ALL {
        let ran = transfer(transport, files, from, dir.path(), &mut out)?;
        is_good &= ran.iter().all(|(row, succeeded)| row.is_same() && *succeeded);
        rows.extend(ran.into_iter().map(|(row, _)| row));
    }
    out.push_str(&table::text(&rows));
    let kept = keep(dir, &home.join("received"), &rows)?;
    let shown = env::current_dir().ok().and_then(|here| kept.strip_prefix(here).ok().map(Path::to_owned));
    let shown = shown.unwrap_or(kept);
    out.push_str(&format!("\nTo see for yourself:\n  (cd {} && md5sum -c MD5SUMS)\n", shown.display()));
    if args.json {
        say(&rows.iter().map(|row| format!("{}\n", row.object())).collect::<String>());
    } else if !args.csv {
        say(&out);
    }
    Ok(is_good)
}

/// Sends a file along each path, and shows what came of it: whether no promise was broken.
fn show_paths(args: &Args, matrix: &Matrix, file: &Path, home: &Path) -> anyhow::Result<bool> {
    let (bytes, digest) = md5(file).with_context(|| format!("cannot read {}", file.display()))?;
    let bed = Bed::find()?;
    let relayed = matches!(bed, Bed::Relay(_));
    let between = match &bed {
        Bed::Packets(backend) => format!("real packets through netsim ({backend})"),
        Bed::Relay(why) => format!(
            "netsim relay in user space, because no packet-level backend works here ({why}); netsim doctor says more. On TCP it can only stall"
        ),
    };
    let name = file.file_name().unwrap_or(file.as_os_str()).to_string_lossy().into_owned();
    let chunks = bytes.div_ceil(framing::CHUNK_LEN as u64);
    let repeated = args.repeat > 1;
    if args.json {
        let bed = match &bed {
            Bed::Packets(backend) => backend.clone(),
            Bed::Relay(_) => "relay".to_owned(),
        };
        let start = serde_json::json!({"event": "start", "file": name, "bytes": bytes, "md5": digest.to_string(), "seed": args.seed, "repeat": args.repeat, "backend": bed});
        say(&format!("{start}\n"));
    } else if args.csv {
        say(&format!("{}\n", rows::CSV_HEAD));
    } else {
        say(&format!(
            "\n{name}, {bytes} bytes in {chunks} chunks, along {}; {between}; seed {}\n\n{}",
            if matrix.cases.len() == 1 {
                "1 path".to_owned()
            } else {
                format!("{} paths", matrix.cases.len())
            },
            args.seed,
            rows::head(repeated)
        ));
    }
    let mut is_good = true;
    let mut clean = vec![None; matrix.ways.len()];
    for case in &matrix.cases {
        for (at, way) in matrix.ways.iter().enumerate() {
            let mut runs = Vec::new();
            for round in 0..args.repeat {
                let dir = scratch(home)?;
                let load = Load { file, bytes, digest, dir: dir.path() };
                let seed = args.seed.wrapping_add(u64::from(round));
                let run = bed.run(case, *way, load, seed, matrix.limit);
                runs.push(run.with_context(|| format!("{}, {}", case.name, way.name()))?);
            }
            let scene = Scene { case, way: *way, bytes, clean: clean[at], relayed };
            let Some(row) = rows::Row::new(scene, runs) else { continue };
            is_good &= row.is_honest();
            clean[at] = clean[at].or_else(|| row.clean_seconds());
            say(&match (args.json, args.csv) {
                (true, _) => format!("{}\n", row.object()),
                (_, true) => format!("{}\n", row.csv()),
                _ => row.text(at == 0),
            });
        }
    }
    if !args.json && !args.csv {
        say(LEGEND);
    }
    Ok(is_good)
}

/// What the columns mean.
const LEGEND: &str = "
wire          bytes of IP packets towards the server for each byte of the file
lost, wrong   chunks that never came, and chunks that came damaged, where nobody asks for them again
repaired      chunks that came damaged and were asked for again
again         segments that the kernel sent again (TCP), parts of chunks that were sent again (reliable UDP)
packets lost  the share of packets that netsim did not let through
";

/// Prints. A closed pipe changes nothing about the result.
fn say(text: &str) {
    let mut out = io::stdout();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// A directory that is removed in the end.
fn scratch(home: &Path) -> anyhow::Result<tempfile::TempDir> {
    let made = tempfile::Builder::new().prefix("run-").tempdir_in(home);
    made.with_context(|| format!("cannot create a directory in {}", home.display()))
}

/// Sends files over one transport: what became of each, and whether its client was content.
fn transfer(
    transport: Transport,
    files: &[PathBuf],
    from: &Path,
    home: &Path,
    out: &mut String,
) -> anyhow::Result<Vec<(Row, bool)>> {
    let dir = home.join(transport.to_string());
    fs::create_dir(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let (server_name, client_name) = (transport.server(), transport.client());
    let server =
        Server::start(server_name, [] as [&str; 0], &dir).with_context(|| format!("no {server_name}"))?;
    let address = server.address();
    let mut rows = Vec::new();
    let mut commands = Vec::new();
    for file in files {
        let client = start_client(client_name, address, [file], from)?.wait(FILE_LIMIT)?;
        let received = dir.join(received_name(file)?);
        rows.push((
            Row::new(transport, file, &from.join(file), &received, client.elapsed)?,
            client.status.success(),
        ));
        commands.push((format!("{client_name} --server {address} {}", file.display()), client));
    }
    let server = server.stop().with_context(|| format!("{server_name} did not stop"))?;
    terminal(
        out,
        &format!("{transport}, terminal 1"),
        &[(format!("{server_name} --listen 127.0.0.1:0"), server)],
    );
    terminal(out, &format!("{transport}, terminal 2"), &commands);
    Ok(rows)
}

/// What a person would have seen in one terminal.
fn terminal(out: &mut String, title: &str, commands: &[(String, Output)]) {
    out.push_str(&format!("--- {title} ---\n"));
    for (command, output) in commands {
        out.push_str(&format!("$ {command}\n{}{}{}", output.advice, output.stdout, output.stderr));
        if !output.status.success() {
            out.push_str(&format!("({})\n", output.status));
        }
    }
    out.push('\n');
}

/// Builds the programs in the way this one was built, so that it never judges old ones. Only under cargo.
fn build(workspace: &Path) -> anyhow::Result<()> {
    let Some(cargo) = env::var_os("CARGO") else {
        for name in names() {
            program(if name == "lab" { "lab-end" } else { name })?;
        }
        return Ok(());
    };
    // Whoever closed standard error does not want to know.
    let _ = writeln!(io::stderr(), "building {} ...", names().collect::<Vec<_>>().join(", "));
    let target = target_dir()?;
    let profile = match own_dir()?.file_name().and_then(OsStr::to_str) {
        Some("debug") => "dev".to_owned(),
        Some(profile) => profile.to_owned(),
        None => bail!("this program lies in no directory"),
    };
    let status = process::Command::new(cargo)
        .args(["build", "--profile", &profile])
        .args(names().flat_map(|name| ["-p", name]))
        .arg("--manifest-path")
        .arg(workspace.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(target)
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "cargo could not build the programs");
    Ok(())
}

/// The programs that are run, by the names of their packages.
fn names() -> impl Iterator<Item = &'static str> {
    let pairs = Transport::ALL.into_iter().flat_map(|transport| [transport.server(), transport.client()]);
    pairs.chain(["netsim", "lab"])
}

fn workspace() -> anyhow::Result<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    path.canonicalize().with_context(|| format!("the sources are not at {} any more", path.display()))
}

/// The directory that this program lies in.
fn own_dir() -> anyhow::Result<PathBuf> {
    let own = env::current_exe().context("cannot find this program")?;
    own.parent().map(Path::to_owned).context("this program lies in no directory")
}

fn target_dir() -> anyhow::Result<PathBuf> {
    own_dir()?.parent().map(Path::to_owned).context("this program lies in no target directory")
}

fn received_name(file: &Path) -> anyhow::Result<OsString> {
    let name = file.file_name().with_context(|| format!("{} is no file", file.display()))?;
    let mut received = OsString::from(PREFIX);
    received.push(name);
    Ok(received)
}

/// Two of one name would meet in the directory.
fn check_names(files: &[PathBuf]) -> anyhow::Result<()> {
    for (index, file) in files.iter().enumerate() {
        ensure!(!file.is_dir(), "{} is a directory: name files", file.display());
        let name = received_name(file)?;
        for other in &files[..index] {
            ensure!(
                received_name(other)? != name,
                "{} and {} have one name",
                other.display(),
                file.display()
            );
        }
    }
    Ok(())
}

/// Leaves the received files where they can be found, with the checksums of their sources: the directory.
fn keep(dir: tempfile::TempDir, place: &Path, rows: &[Row]) -> anyhow::Result<PathBuf> {
    let sums: String = rows.iter().map(Row::md5sum_line).collect();
    fs::write(dir.path().join("MD5SUMS"), sums).context("cannot write MD5SUMS")?;
    let old = dir.path().with_extension("old");
    let dir = dir.keep();
    // Another lab may do the same at the same time.
    for _ in 0..100 {
        if fs::rename(place, &old).is_ok() {
            fs::remove_dir_all(&old).with_context(|| format!("cannot remove the old {}", old.display()))?;
        }
        if fs::rename(&dir, place).is_ok() {
            return Ok(place.to_owned());
        }
    }
    fs::rename(&dir, place).with_context(|| format!("cannot name the directory {}", place.display()))?;
    Ok(place.to_owned())
}

/// The MD5 of a file, computed here.
fn md5(path: &Path) -> io::Result<(u64, Digest)> {
    let mut file = File::open(path)?;
    let mut hasher = Hasher::new(Checksum::Md5);
    let mut buffer = vec![0; 256 * 1024];
    let mut len = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((len, hasher.finish())),
            read => {
                hasher.update(&buffer[..read]);
                len += read as u64;
            }
        }
    }
}
