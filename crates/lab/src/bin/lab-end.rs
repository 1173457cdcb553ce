//! One end of a path in the lab: runs a program and tells how it ended and what the kernel counted meanwhile.
//!
//! `lab-end REPORT SECONDS OUTPUT COMMAND...` writes what the command prints to OUTPUT, ends it after so many seconds, and
//! then writes one JSON object to REPORT. In a network namespace of its own the kernel's counters begin at zero, so they are
//! of this command alone.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal};
use serde_json::{Map, Value, json};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// How often it looks whether the command has ended, or is to.
const TICK: Duration = Duration::from_millis(5);
/// How long a command may take to end after it was asked to.
const GRACE: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    match run(&env::args_os().skip(1).collect::<Vec<_>>()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("lab-end: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[OsString]) -> anyhow::Result<ExitCode> {
    let [report, seconds, output, program, rest @ ..] = args else {
        bail!("it is for the lab alone: lab-end REPORT SECONDS OUTPUT COMMAND...");
    };
    let seconds: f64 = seconds.to_str().and_then(|seconds| seconds.parse().ok()).context("no such time")?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let output = File::create(output).with_context(|| format!("cannot write {}", output.display()))?;
    let complaints = output.try_clone()?;
    let began = Instant::now();
    let mut child = Command::new(program)
        .args(rest)
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(complaints)
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let limit = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
    let (status, in_time) = wait(&mut child, began, limit, &stop)?;
    let elapsed = began.elapsed();
    let object = json!({
        "code": status.code(),
        "in_time": in_time,
        "seconds": elapsed.as_secs_f64(),
        "counters": counters(&fs::read_to_string("/proc/self/net/snmp").unwrap_or_default()),
    });
    fs::write(report, object.to_string()).with_context(|| format!("cannot write {}", report.display()))?;
    Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}

/// Waits for the command's end, or ends it: how it ended, and whether by itself.
fn wait(
    child: &mut Child,
    began: Instant,
    limit: Duration,
    stop: &AtomicBool,
) -> anyhow::Result<(ExitStatus, bool)> {
    let mut asked: Option<Instant> = None;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok((status, asked.is_none()));
        }
        match asked {
            None if stop.load(Ordering::Relaxed) || began.elapsed() >= limit => {
                let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
                if let Some(pid) = pid {
                    rustix::process::kill_process(pid, Signal::TERM)?;
                }
                asked = Some(Instant::now());
            }
            Some(asked) if asked.elapsed() >= GRACE => child.kill()?,
            _ => {}
        }
        thread::sleep(TICK);
    }
}

/// Of `/proc/net/snmp`: a line of names, and a line of numbers, for each protocol.
fn counters(snmp: &str) -> Value {
    let mut all = Map::new();
    let lines: Vec<&str> = snmp.lines().collect();
    for pair in lines.chunks_exact(2) {
        let [names, numbers] = [pair[0], pair[1]].map(|line| line.split_once(": ").unwrap_or_default());
        if names.0 != numbers.0 {
            continue;
        }
        for (name, number) in names.1.split_whitespace().zip(numbers.1.split_whitespace()) {
            if let Ok(number) = number.parse::<i64>() {
                all.insert(format!("{}{name}", names.0), number.into());
            }
        }
    }
    Value::Object(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_get_the_names_that_nstat_gives_them() {
        let snmp = "Tcp: RtoMin RetransSegs InCsumErrors\nTcp: 200 13 2\nUdp: InCsumErrors x\nUdp: 5 y\n";
        let all = counters(snmp);
        assert_eq!(
            all,
            json!({"TcpRtoMin": 200, "TcpRetransSegs": 13, "TcpInCsumErrors": 2, "UdpInCsumErrors": 5})
        );
        assert_eq!(counters("nonsense\n"), json!({}));
    }
}
