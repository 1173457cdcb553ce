//! Sends files from real clients to real servers, over each transport, and compares the checksums of both sides itself.

mod table;

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::Parser as _;
use framing::{Checksum, Digest, Hasher};
use lab::Transport;
use lab::process::{Output, Server, program, start_client};

use table::Row;

/// What the names of received files begin with.
const PREFIX: &str = "received-";
/// How long one file may take.
const FILE_LIMIT: Duration = Duration::from_secs(3600);

/// Sends files from a real client to a real server on this machine, over TCP and over UDP, and compares their MD5 on both
/// sides.
#[derive(Debug, clap::Parser)]
#[command(name = "lab", version)]
struct Args {
    /// Files to send [default: the song and the video of testdata/]
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
}

fn main() -> ExitCode {
    match run(Args::parse().files) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // Whoever closed standard error does not want to know.
            let _ = writeln!(io::stderr(), "lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether every file arrived as it was sent.
fn run(files: Vec<PathBuf>) -> anyhow::Result<bool> {
    let workspace = workspace()?;
    let (files, from) = if files.is_empty() {
        let bundled = ["song.mp3", "chamber.mp4"].map(|name| Path::new("testdata").join(name));
        (bundled.to_vec(), workspace.clone())
    } else {
        (files, env::current_dir().context("there is no current directory")?)
    };
    check_names(&files)?;
    build(&workspace)?;

    let home = target_dir()?.join("lab");
    fs::create_dir_all(&home).with_context(|| format!("cannot create {}", home.display()))?;
    let dir = tempfile::Builder::new()
        .prefix("run-")
        .tempdir_in(&home)
        .with_context(|| format!("cannot create a directory in {}", home.display()))?;

    let mut out = String::new();
    let mut rows = Vec::new();
    let mut is_good = true;
    for transport in Transport::ALL {
        let ran = transfer(transport, &files, &from, dir.path(), &mut out)?;
        is_good &= ran.iter().all(|(row, succeeded)| row.is_same() && *succeeded);
        rows.extend(ran.into_iter().map(|(row, _)| row));
    }
    out.push_str(&table::text(&rows));
    let kept = keep(dir, &home.join("received"), &rows)?;
    let shown = env::current_dir().ok().and_then(|here| kept.strip_prefix(here).ok().map(Path::to_owned));
    let shown = shown.unwrap_or(kept);
    out.push_str(&format!("\nTo see for yourself:\n  (cd {} && md5sum -c MD5SUMS)\n", shown.display()));
    // A closed pipe changes nothing about the result.
    let _ = io::stdout().write_all(out.as_bytes());
    Ok(is_good)
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
            program(name)?;
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
    let status = Command::new(cargo)
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

/// The programs that are run.
fn names() -> impl Iterator<Item = &'static str> {
    Transport::ALL.into_iter().flat_map(|transport| [transport.server(), transport.client()])
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
    if place.exists() {
        fs::remove_dir_all(place).with_context(|| format!("cannot remove the old {}", place.display()))?;
    }
    let dir = dir.keep();
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
