//! Sends files from a real `tcp-client` to a real `tcp-server`, and compares the checksums of both sides itself.

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
use lab::process::{Output, Server, program, start_client};

use table::Row;

/// What the names of received files begin with.
const PREFIX: &str = "received-";
/// How long one file may take.
const FILE_LIMIT: Duration = Duration::from_secs(3600);

/// Sends files from a real tcp-client to a real tcp-server on this machine, and compares their MD5 on both sides.
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

    let server = Server::start("tcp-server", [] as [&str; 0], dir.path()).context("no tcp-server")?;
    let address = server.address();
    let mut rows = Vec::new();
    let mut commands = Vec::new();
    for file in &files {
        let client = start_client("tcp-client", address, [file], &from)?.wait(FILE_LIMIT)?;
        let received = dir.path().join(received_name(file)?);
        rows.push(Row::new(file, &from.join(file), &received, client.elapsed)?);
        commands.push((format!("tcp-client --server {address} {}", file.display()), client));
    }
    let server = server.stop().context("tcp-server did not stop")?;

    let mut out = String::new();
    terminal(&mut out, "terminal 1", &[("tcp-server --listen 127.0.0.1:0".to_owned(), server)]);
    terminal(&mut out, "terminal 2", &commands);
    out.push_str(&table::text(&rows));
    let is_good = rows.iter().all(Row::is_same) && commands.iter().all(|(_, client)| client.status.success());
    let kept = keep(dir, &home.join("received"), &rows)?;
    let shown = env::current_dir().ok().and_then(|here| kept.strip_prefix(here).ok().map(Path::to_owned));
    let shown = shown.unwrap_or(kept);
    out.push_str(&format!("\nTo see for yourself:\n  (cd {} && md5sum -c MD5SUMS)\n", shown.display()));
    // A closed pipe changes nothing about the result.
    let _ = io::stdout().write_all(out.as_bytes());
    Ok(is_good)
}

/// What a person would have seen in one terminal.
fn terminal(out: &mut String, title: &str, commands: &[(String, Output)]) {
    out.push_str(&format!("--- {title} ---\n"));
    for (command, output) in commands {
        out.push_str(&format!("$ {command}\n{}{}", output.stdout, output.stderr));
        if !output.status.success() {
            out.push_str(&format!("({})\n", output.status));
        }
    }
    out.push('\n');
}

/// Builds the programs in the way this one was built, so that it never judges old ones. Only under cargo.
fn build(workspace: &Path) -> anyhow::Result<()> {
    let Some(cargo) = env::var_os("CARGO") else {
        program("tcp-server")?;
        program("tcp-client")?;
        return Ok(());
    };
    // Whoever closed standard error does not want to know.
    let _ = writeln!(io::stderr(), "building tcp-server and tcp-client ...");
    let target = target_dir()?;
    let profile = match own_dir()?.file_name().and_then(OsStr::to_str) {
        Some("debug") => "dev".to_owned(),
        Some(profile) => profile.to_owned(),
        None => bail!("this program lies in no directory"),
    };
    let status = Command::new(cargo)
        .args(["build", "-p", "tcp-server", "-p", "tcp-client", "--profile", &profile])
        .arg("--manifest-path")
        .arg(workspace.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(target)
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "cargo could not build tcp-server and tcp-client");
    Ok(())
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
