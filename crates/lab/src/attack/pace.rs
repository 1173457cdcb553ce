//! Who is served while a server is under attack, and how fast.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::{Effort, Target, noise};
use crate::Transport;
use crate::process::{LIMIT, Process};

/// The least share of its rate that a transfer keeps.
const LEAST_SHARE: f64 = 0.8;
/// What a transfer is held to, so that there are processors left for who attacks.
const RATE: &str = "100mbit";

/// A transfer at a given rate, to be repeated.
#[derive(Debug)]
pub(super) struct Pace {
    bytes: Vec<u8>,
    effort: Effort,
    number: u32,
    /// On TCP, what holds it to its rate.
    relay: Option<(Process, SocketAddr)>,
    alone: Vec<Duration>,
    attacked: Vec<Duration>,
}

impl Pace {
    /// One to this target.
    pub(super) fn new(target: &Target, effort: Effort) -> anyhow::Result<Self> {
        let relay = match target.transport() {
            Transport::Tcp => Some(relay(target.address())?),
            Transport::Udp => None,
        };
        let bytes = noise(8, effort.of(1_000_000, 12_500_000) as usize);
        Ok(Self { bytes, effort, number: 0, relay, alone: Vec::new(), attacked: Vec::new() })
    }

    /// How often to compare.
    pub(super) fn rounds(&self) -> u64 {
        self.effort.of(1, 5)
    }

    /// Sends the file while nobody attacks.
    pub(super) fn alone(&mut self, target: &mut Target) -> anyhow::Result<()> {
        let took = self.send(target)?;
        self.alone.push(took);
        Ok(())
    }

    /// Sends the file while somebody attacks.
    pub(super) fn attacked(&mut self, target: &mut Target) -> anyhow::Result<()> {
        let took = self.send(target)?;
        self.attacked.push(took);
        Ok(())
    }

    fn send(&mut self, target: &mut Target) -> anyhow::Result<Duration> {
        self.number += 1;
        let name = format!("paced-{}.bin", self.number);
        // Another content each time: one that is there already need not be sent.
        let number = self.number.to_le_bytes();
        self.bytes.chunks_mut(4096).for_each(|chunk| chunk[..4].copy_from_slice(&number));
        let (address, flags) = match &self.relay {
            Some((_, address)) => (*address, &[][..]),
            None => (target.address(), &["--rate", RATE][..]),
        };
        let client = target.start_put(address, flags, &name, &self.bytes)?;
        let output = client.wait(LIMIT)?;
        target.demand(output.status.success(), format!("a client failed: {}", output.stderr.trim_end()));
        fs::remove_file(target.from(&name))?;
        Ok(output.elapsed)
    }

    /// What came of it. Only with [`Effort::Full`] is it told how fast it was, and too small a share
    /// counts as a loss: a test can't know how busy its machine is.
    pub(super) fn judge(self, target: &mut Target) -> anyhow::Result<String> {
        if self.effort == Effort::Test {
            return Ok("a transfer went on beside it".to_owned());
        }
        let size = self.bytes.len() as f64;
        let (alone, attacked) = (median(self.alone)?, median(self.attacked)?);
        let share = alone / attacked;
        if self.effort == Effort::Full {
            target.demand(
                share >= LEAST_SHARE,
                format!("a transfer went at {:.0} % of its rate", share * 100.0),
            );
        }
        let rate = |took: f64| size * 8.0 / took / 1e6;
        Ok(format!(
            "a transfer at {RATE} went on at {:.0} % of its rate, {:.0} of {:.0} Mbit/s",
            share * 100.0,
            rate(attacked),
            rate(alone)
        ))
    }
}

/// The one in the middle, in seconds.
fn median(mut times: Vec<Duration>) -> anyhow::Result<f64> {
    times.sort();
    let middle = times.get(times.len() / 2).context("nothing was measured")?;
    ensure!(!middle.is_zero(), "no time has passed");
    Ok(middle.as_secs_f64())
}

/// What holds TCP to the rate.
fn relay(server: SocketAddr) -> anyhow::Result<(Process, SocketAddr)> {
    let server = server.to_string();
    let args = ["relay", "--proto", "tcp", "--listen", "127.0.0.1:0", "--to", &server, "--rate", RATE];
    let relay = Process::start("netsim", args, std::path::Path::new("."))?;
    let address = relay
        .wait_for_error_line(LIMIT, |line| line.split_once(" on ")?.1.split_once(' ')?.0.parse().ok())?;
    Ok((relay, address))
}
