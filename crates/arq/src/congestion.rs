//! How fast to send.
//!
//! A [`Controller`] hears what was acknowledged and lost, and gives a pacing rate and a window. Rates are bytes per second on
//! the wire, IP and UDP headers included.

mod bbr;
mod cubic;
mod fixed;

use std::time::{Duration, Instant};

pub(crate) use bbr::Bbr;
pub(crate) use cubic::Cubic;
pub(crate) use fixed::Fixed;

/// Which control law.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Congestion {
    /// A model of the path's rate and delay in the line of draft-ietf-ccwg-bbr, which bears random loss and backs off when
    /// the queue grows.
    #[default]
    Bbr,
    /// CUBIC (RFC 9438): halts at loss, as most of TCP does.
    Cubic,
    /// The rate that the user has given, come what may.
    Fixed,
}

/// What an acknowledgement tells a controller.
#[derive(Debug, Clone)]
pub(crate) struct AckSample {
    pub(crate) now: Instant,
    /// Bytes that were acknowledged with it, and bytes that turned out to be lost.
    pub(crate) acked: u64,
    pub(crate) lost: u64,
    /// Bytes on their way now.
    pub(crate) in_flight: u64,
    /// The round-trip time that it shows.
    pub(crate) rtt: Option<Duration>,
    pub(crate) smoothed_rtt: Duration,
    /// How much it varies.
    pub(crate) rtt_variation: Duration,
    /// What the last round trip was like, if one has just ended.
    pub(crate) round: Option<Round>,
    /// The slot rate of late, over less than a round, if enough came to tell.
    pub(crate) recent_rate: Option<f64>,
    /// When the newest packet that it acknowledges was sent.
    pub(crate) newest_sent: Instant,
}

/// What a round trip was like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Round {
    /// The rate at which packets left the bottleneck, whether or not they were lost behind it; `None` when too few came.
    pub(crate) slot_rate: Option<f64>,
    /// The rate at which bytes arrived.
    pub(crate) delivery_rate: f64,
    /// Bytes that arrived, and packets that did and did not.
    pub(crate) acked_packets: u64,
    pub(crate) lost_packets: u64,
    /// Whether the sender was held up by something else than the path.
    pub(crate) app_limited: bool,
    /// The least and the mean round-trip time in it.
    pub(crate) min_rtt: Duration,
}

/// What a packet train has shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Train {
    /// The rate at which it left the bottleneck.
    pub(crate) rate: f64,
    /// How long it took to come.
    pub(crate) span: Duration,
    /// Whether more than one was seen, and this is the slowest.
    pub(crate) is_confirmed: bool,
    pub(crate) smoothed_rtt: Duration,
    pub(crate) min_rtt: Duration,
}

/// A congestion controller.
pub(crate) trait Controller: std::fmt::Debug + Send {
    /// What a packet train has shown of the path's rate, before anything else is known.
    fn on_train(&mut self, train: &Train) {
        let _ = train;
    }

    /// An acknowledgement came.
    fn on_ack(&mut self, sample: &AckSample);

    /// Nothing was acknowledged for so long that a probe had to be sent.
    fn on_silence(&mut self, now: Instant) {
        let _ = now;
    }

    /// Bytes per second.
    fn pacing_rate(&self) -> f64;

    /// Bytes that may be on their way.
    fn window(&self) -> u64;

    /// Why, in a few words, for traces.
    fn state(&self) -> &'static str;
}

/// The rate to begin with when nothing is known: so many packets in the first round trip.
pub(crate) const INITIAL_PACKETS: f64 = 32.0;
/// Bytes of a packet, for what is counted in packets.
pub(crate) const PACKET: f64 = 1460.0;
