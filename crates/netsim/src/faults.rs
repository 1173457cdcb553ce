//! What can be wrong with one direction of a link.

use std::collections::BTreeSet;
use std::time::Duration;

use thiserror::Error;

/// The highest rate, in bits per second.
pub const MAX_RATE: u64 = 1_000_000_000_000_000;

/// The longest delay, jitter or time in a queue.
pub const MAX_TIME: Duration = Duration::from_secs(3600);

/// The faults of one direction. The default is a perfect link: no delay, no limit, nothing lost.
///
/// A packet meets them in the order of the crate's description, not of these fields.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Faults {
    /// What the bottleneck carries, in bits per second, 1 to [`MAX_RATE`]. Without it nothing is serialised.
    pub rate: Option<u64>,
    /// How much fits in front of the bottleneck, what is being sent included. Without it nothing is ever dropped there,
    /// however long it waits. It needs a rate.
    pub queue: Option<Queue>,
    /// How long every packet takes beside its time at the bottleneck, at most [`MAX_TIME`].
    pub delay: Duration,
    /// How that varies.
    pub jitter: Option<Jitter>,
    /// Which packets are lost.
    pub loss: Loss,
    /// Which packets are held back, for others to overtake.
    pub reorder: Option<Reorder>,
    /// The probability that a packet comes twice. The copy takes no share of the bottleneck; its jitter, its reordering
    /// and its corruption are its own.
    pub duplicate: f64,
    /// Which packets are damaged.
    pub corrupt: Option<Corrupt>,
    /// Which TCP packets are turned into a reset of their connection. What carries no TCP is left alone.
    pub reset: Option<Reset>,
    /// When loss, duplication, reordering, corruption and resets happen: to packets that enter in one of these windows. None
    /// at all is always. It moves no draw.
    pub during: Vec<Window>,
    /// When everything that enters is lost. Windows may touch and overlap.
    pub blackouts: Vec<Window>,
    /// Bytes that each packet has on the link beside those that were handed over, for the rate and the queue: 28 for
    /// UDP payloads over IPv4, 48 over IPv6, 0 for whole IP packets.
    pub overhead: u32,
}

/// How much fits in front of the bottleneck. What does not fit is dropped as it comes (drop-tail).
///
/// What is being sent counts, with the part of it that is still to be sent, or as one packet. A packet that finds the
/// bottleneck idle is sent, whatever its length, so a queue of 0 is a link where nothing can wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queue {
    /// So many bytes, overhead included.
    Bytes(u64),
    /// So many packets.
    Packets(u32),
    /// The bytes that the bottleneck carries in this time, at most [`MAX_TIME`].
    Time(Duration),
}

/// How the delay varies from packet to packet.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Jitter {
    /// By how much.
    pub spread: Spread,
    /// Whether a packet may overtake another because it was delayed less. Otherwise it waits, and comes at the same
    /// time as the one before it.
    pub reorders: bool,
}

impl Jitter {
    /// Each delay from 0 to `most` as probable as the others; the order is kept.
    #[must_use]
    pub const fn uniform(most: Duration) -> Self {
        Self { spread: Spread::Uniform(most), reorders: false }
    }
}

/// How the jitter is distributed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Spread {
    /// From 0 to this, at most [`MAX_TIME`], each as probable as the others. The mean delay grows by half of it.
    Uniform(Duration),
    /// Normally, around 0, with this standard deviation, at most [`MAX_TIME`]. Half of the packets come earlier than the
    /// delay says, but none before it has left the bottleneck.
    Normal(Duration),
    /// By Pareto, from 0: most a little, a few very much.
    Pareto {
        /// The unit, at most [`MAX_TIME`]. The mean is `scale` / (`shape` - 1) for shapes over 1, without the limit.
        scale: Duration,
        /// How thin the tail is: over 0, at most 1000. A delay of over x × `scale` has the probability (1 + x)^-`shape`.
        shape: f64,
        /// What is over this, at most [`MAX_TIME`], becomes this.
        limit: Duration,
    },
}

/// Which packets are lost. Packets are numbered from 0 as they enter, whatever becomes of them.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Loss {
    /// None.
    #[default]
    None,
    /// Each on its own, with this probability. With the same seed, what is lost at one probability is lost at every
    /// higher one too.
    Bernoulli(f64),
    /// In bursts: Gilbert's two states, of which one loses everything and one nothing.
    GilbertElliott {
        /// How many packets are lost in the long run: 0 to less than 1.
        loss: f64,
        /// How many packets a burst has in the mean: at least 1, and at least `loss` / (1 - `loss`).
        burst: f64,
    },
    /// In bursts: Gilbert and Elliott's two states with all four probabilities. It begins in the good state; each packet
    /// first changes the state or not, then is lost or not as the state has it.
    TwoState {
        /// From the good state to the bad.
        worsen: f64,
        /// From the bad state to the good.
        recover: f64,
        /// That a packet is lost in the good state.
        loss_good: f64,
        /// That a packet is lost in the bad state.
        loss_bad: f64,
    },
    /// Every nth: with 10, those numbered 9, 19, 29 and so on. At least 1, which is all.
    Nth(u64),
    /// Those with these numbers.
    Packets(BTreeSet<u64>),
}

/// Which packets are held back. They do not move those behind them, and those do not wait for them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reorder {
    /// The probability that a packet is.
    pub probability: f64,
    /// For how long at least, on top of its delay.
    pub least: Duration,
    /// For how long at most, up to [`MAX_TIME`]; all between are as probable.
    pub most: Duration,
}

impl Reorder {
    /// Held back for 3 ms and up to half of `delay` more.
    #[must_use]
    pub fn beside(delay: Duration, probability: f64) -> Self {
        let least = Duration::from_millis(3);
        Self { probability, least, most: least.saturating_add(delay / 2) }
    }
}

/// Which packets are damaged.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Corrupt {
    /// The probability that a packet is.
    pub probability: f64,
    /// How.
    pub kind: CorruptKind,
}

/// How a packet is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CorruptKind {
    /// One bit is flipped. On whole packets the transport's checksum finds it, and the damage becomes a loss.
    Bits,
    /// One bit is flipped and the transport's checksum repaired, so that it reaches the program. Only who handles whole
    /// packets can repair one; on payloads this is the same as [`CorruptKind::Bits`].
    Fixup,
    /// Two 16-bit words are swapped, which no internet checksum sees.
    Neutral,
}

/// Which TCP packets are turned into a reset. Their receiver closes the connection, and answers what the sender goes on
/// to send with resets of its own.
#[derive(Debug, Clone, PartialEq)]
pub enum Reset {
    /// Each packet on its own, with this probability.
    Chance(f64),
    /// Those with these numbers.
    Packets(BTreeSet<u64>),
    /// Those that enter in one of these windows.
    Windows(Vec<Window>),
}

/// A span of time since the start: `start` is in it, `start + length` is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// When it begins.
    pub start: Duration,
    /// How long it lasts.
    pub length: Duration,
}

impl Window {
    /// Whether `time` lies in it.
    #[must_use]
    pub fn contains(&self, time: Duration) -> bool {
        time.checked_sub(self.start).is_some_and(|passed| passed < self.length)
    }
}

/// A fault that no link can have.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
pub enum FaultError {
    /// A probability that is none.
    #[error("{field}: {value} is no probability; 0 to 1 (0 % to 100 %) are possible")]
    Probability {
        /// Which setting.
        field: &'static str,
        /// What it was.
        value: f64,
    },
    /// A rate of 0 or over [`MAX_RATE`].
    #[error("rate: {0} bit/s; 1 to {MAX_RATE} bit/s are possible")]
    Rate(u64),
    /// A queue without a rate.
    #[error("queue: without a rate nothing ever waits in it; give a rate too")]
    QueueWithoutRate,
    /// A time over [`MAX_TIME`].
    #[error("{field}: {value:?}; 0 s to {MAX_TIME:?} are possible")]
    Time {
        /// Which setting.
        field: &'static str,
        /// What it was.
        value: Duration,
    },
    /// Loss in bursts that is to lose everything.
    #[error("loss.loss: {0}; loss in bursts can be 0 to less than 1 (100 %)")]
    LossInBursts(f64),
    /// A mean burst that is too short to be one, or for the loss.
    #[error("loss.burst: {burst} packets in the mean; at least {} are needed at this loss", rounded_up(*.least))]
    Burst {
        /// What it was.
        burst: f64,
        /// What it has to be at least.
        least: f64,
    },
    /// Every 0th packet.
    #[error("loss.nth: 0; at least 1, which is every packet, is possible")]
    Nth,
    /// Packets held back for at least longer than at most.
    #[error(
        "reorder: held back for at least {least:?} and at most {most:?}; the first must not be the longer"
    )]
    Reorder {
        /// The shortest time.
        least: Duration,
        /// The longest time.
        most: Duration,
    },
    /// A shape of Pareto's distribution that it does not have.
    #[error("jitter.shape: {0}; more than 0 and at most 1000 are possible")]
    Shape(f64),
}

impl Faults {
    /// Whether a link can have these faults.
    ///
    /// # Errors
    /// The first setting that is not possible, with what would be.
    pub fn check(&self) -> Result<(), FaultError> {
        self.check_bottleneck()?;
        time("delay", self.delay)?;
        if let Some(jitter) = &self.jitter {
            jitter.spread.check()?;
        }
        self.loss.check()?;
        if let Some(Reorder { probability: chance, least, most }) = self.reorder {
            probability("reorder.probability", chance)?;
            time("reorder.most", most)?;
            if least > most {
                return Err(FaultError::Reorder { least, most });
            }
        }
        probability("duplicate", self.duplicate)?;
        if let Some(Reset::Chance(chance)) = self.reset {
            probability("reset", chance)?;
        }
        self.corrupt.map_or(Ok(()), |corrupt| probability("corrupt.probability", corrupt.probability))
    }

    fn check_bottleneck(&self) -> Result<(), FaultError> {
        match (self.rate, self.queue) {
            (Some(rate), _) if !(1..=MAX_RATE).contains(&rate) => Err(FaultError::Rate(rate)),
            (None, Some(_)) => Err(FaultError::QueueWithoutRate),
            (_, Some(Queue::Time(longest))) => time("queue", longest),
            _ => Ok(()),
        }
    }
}

impl Loss {
    /// The share of packets that it takes in the long run, where it is a matter of chance or of counting.
    #[must_use]
    pub fn expected(&self) -> Option<f64> {
        match *self {
            Self::None | Self::Packets(_) => None,
            Self::Bernoulli(loss) | Self::GilbertElliott { loss, .. } => Some(loss),
            Self::TwoState { worsen, recover, loss_good, loss_bad } => {
                // A chain that never moves stays in the good state, where it begins.
                let bad = if worsen > 0.0 { worsen / (worsen + recover) } else { 0.0 };
                Some(bad * loss_bad + (1.0 - bad) * loss_good)
            }
            Self::Nth(step) => Some(1.0 / step as f64),
        }
    }

    /// How much wider than that of independent losses the spread of the number of losses is (of its variance).
    #[must_use]
    pub fn inflation(&self) -> f64 {
        let (worsen, recover, good, bad) = match *self {
            Self::GilbertElliott { loss, burst } => (loss / (1.0 - loss) / burst, 1.0 / burst, 0.0, 1.0),
            Self::TwoState { worsen, recover, loss_good, loss_bad } => (worsen, recover, loss_good, loss_bad),
            _ => return 1.0,
        };
        if worsen <= 0.0 || worsen + recover <= 0.0 {
            return 1.0;
        }
        let (in_bad, memory) = (worsen / (worsen + recover), 1.0 - worsen - recover);
        let mean = in_bad * bad + (1.0 - in_bad) * good;
        let variance = mean * (1.0 - mean);
        if variance <= 0.0 {
            return 1.0;
        }
        // The covariance of packets k apart is this, times memory to the k.
        let shared = in_bad * (1.0 - in_bad) * (bad - good) * (bad - good);
        1.0 + 2.0 * shared / variance * memory / (1.0 - memory)
    }

    fn check(&self) -> Result<(), FaultError> {
        match *self {
            Self::None | Self::Packets(_) => Ok(()),
            Self::Bernoulli(loss) => probability("loss", loss),
            Self::GilbertElliott { loss, burst } => {
                probability("loss.loss", loss)?;
                if loss >= 1.0 {
                    return Err(FaultError::LossInBursts(loss));
                }
                let least = (loss / (1.0 - loss)).max(1.0);
                // A hair less is rounding: 4 packets do for a loss of 80 %.
                if burst.is_finite() && burst >= least * (1.0 - 1e-9) {
                    Ok(())
                } else {
                    Err(FaultError::Burst { burst, least })
                }
            }
            Self::TwoState { worsen, recover, loss_good, loss_bad } => {
                probability("loss.worsen", worsen)?;
                probability("loss.recover", recover)?;
                probability("loss.loss_good", loss_good)?;
                probability("loss.loss_bad", loss_bad)
            }
            Self::Nth(0) => Err(FaultError::Nth),
            Self::Nth(_) => Ok(()),
        }
    }
}

impl Spread {
    fn check(&self) -> Result<(), FaultError> {
        match *self {
            Self::Uniform(most) => time("jitter", most),
            Self::Normal(deviation) => time("jitter", deviation),
            Self::Pareto { scale, shape, limit } => {
                time("jitter.scale", scale)?;
                time("jitter.limit", limit)?;
                if shape > 0.0 && shape <= 1000.0 { Ok(()) } else { Err(FaultError::Shape(shape)) }
            }
        }
    }
}

/// In hundredths, so that what a message names is enough.
fn rounded_up(least: f64) -> f64 {
    (least * 100.0 - 1e-6).ceil() / 100.0
}

fn probability(field: &'static str, value: f64) -> Result<(), FaultError> {
    if (0.0..=1.0).contains(&value) { Ok(()) } else { Err(FaultError::Probability { field, value }) }
}

fn time(field: &'static str, value: Duration) -> Result<(), FaultError> {
    if value <= MAX_TIME { Ok(()) } else { Err(FaultError::Time { field, value }) }
}
