//! What is tried, and how it went.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::OnceLock;
use std::time::Duration;

use arq::{Config, End, Footprint, Stats, Trace};
use netsim::Faults;

use super::seals;

pub const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 8121);

/// Where the client of a flow is at first.
pub fn client_address(flow: usize) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 1, 0, flow as u8)), 40_000)
}

/// What is tried.
#[derive(Debug, Clone)]
pub struct Scenario {
    pub up: Faults,
    pub down: Faults,
    pub bytes: u64,
    /// Of both ends, unless the server has its own.
    pub config: Config,
    pub server_config: Option<Config>,
    /// What the path carries, in bytes of UDP payload; larger datagrams vanish.
    pub path_mtu: usize,
    /// How many bytes of parts the receiver takes each second; all of them unless said.
    pub receiver_rate: Option<f64>,
    /// When the receiver takes nothing: from, to.
    pub receiver_pause: Option<(Duration, Duration)>,
    pub limit: Duration,
    /// Whether the rate and the queue are to be looked at all the time.
    pub trace: Option<Duration>,
    /// What the client and the server say to each other beside the transfer.
    pub messages: [Vec<Vec<u8>>; 2],
    /// Whether a server answers what it does not know with a Reset.
    pub resets: bool,
    /// Whether both sides have a key. Then nobody answers what is not known.
    pub has_key: bool,
}

impl Scenario {
    pub fn new(faults: &Faults, bytes: u64) -> Self {
        Self {
            up: faults.clone(),
            down: faults.clone(),
            bytes,
            config: Config::default(),
            server_config: None,
            path_mtu: 1472,
            receiver_rate: None,
            receiver_pause: None,
            limit: Duration::from_secs(600),
            trace: None,
            messages: [Vec::new(), Vec::new()],
            resets: true,
            has_key: false,
        }
    }

    /// The same with a key on both sides.
    pub fn sealed(mut self) -> Self {
        self.has_key = true;
        self.resets = false;
        seals::settings(&mut self.config);
        if let Some(config) = &mut self.server_config {
            seals::settings(config);
        }
        self
    }

    /// When the receiver takes something again, if it would at this time.
    pub fn pause_end(&self, time: Duration) -> Duration {
        match self.receiver_pause {
            Some((from, to)) if (from..to).contains(&time) => to,
            _ => time,
        }
    }
}

/// A moment of a run.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    pub at: Duration,
    pub trace: Trace,
    pub queue: Duration,
    /// Bytes of the file that are here, packets sent, and packets that the sender knows to be lost.
    pub delivered: u64,
    pub sent: u64,
    pub lost: u64,
}

/// How it went.
#[derive(Debug)]
pub struct Report {
    pub took: Duration,
    pub whole: bool,
    pub end: Option<End>,
    pub wire_bytes: u64,
    pub mean_queue: Duration,
    pub max_queue: Duration,
    pub queue_drops: u64,
    pub moments: Vec<Moment>,
    pub stats: Stats,
    pub most_waiting: u64,
    pub most: Footprint,
    pub most_open: usize,
    pub delivered: u64,
    /// What the client heard, and the server.
    pub heard: [Vec<Vec<u8>>; 2],
}

impl Report {
    /// The share of what the link can carry, whole files by whole time.
    pub fn share(&self, scenario: &Scenario, loss: f64) -> f64 {
        let limit = scenario.up.rate.unwrap_or(u64::MAX) as f64 * (1.0 - loss);
        if self.whole { scenario.bytes as f64 * 8.0 / self.took.as_secs_f64() / limit } else { 0.0 }
    }
}

/// The bytes of a chunk of the file that is sent.
pub fn content(chunk: u64) -> &'static [u8] {
    static NOISE: OnceLock<Vec<u8>> = OnceLock::new();
    let noise = NOISE.get_or_init(|| {
        let mut state = 1_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        (0..4096 * 3).map(|_| next()).collect()
    });
    let from = chunk.wrapping_mul(0x9e37_79b9_7f4a_7c15) as usize % (2 * 4096);
    &noise[from..from + 4096]
}

pub fn chunk_len(bytes: u64, chunk: u64) -> usize {
    bytes.saturating_sub(chunk.saturating_mul(4096)).min(4096) as usize
}
