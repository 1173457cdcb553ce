//! What `netsim` did to the packets of one direction, by its log.

use std::collections::BTreeMap;

use serde_json::Value;

/// What can be done to a packet that arrives all the same.
const DONE: [&str; 4] = ["duplicated", "reordered", "corrupted", "reset"];

/// Packets of one direction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    /// Packets that were sent.
    pub(crate) packets: u64,
    /// Their bytes, with IP headers.
    pub(crate) bytes: u64,
    /// Packets by what became of them.
    pub(crate) verdicts: BTreeMap<String, u64>,
}

impl Traffic {
    /// Counts the lines of a log.
    pub(crate) fn of(log: &str, direction: &str) -> Self {
        let mut traffic = Self::default();
        let packets = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        for packet in packets.filter(|packet| packet["dir"] == direction) {
            traffic.packets += 1;
            traffic.bytes += packet["len"].as_u64().unwrap_or_default();
            let cause = packet["why"].as_str().into_iter();
            let done = DONE.into_iter().filter(|word| packet[word] == true);
            for word in cause.chain(done) {
                *traffic.verdicts.entry(word.to_owned()).or_default() += 1;
            }
        }
        traffic
    }

    /// How many packets had this done to them: `loss`, `queue`, `blackout`, or one of [`DONE`].
    pub(crate) fn count(&self, verdict: &str) -> u64 {
        self.verdicts.get(verdict).copied().unwrap_or_default()
    }

    /// How many packets did not come through.
    pub(crate) fn lost(&self) -> u64 {
        ["loss", "queue", "blackout"].iter().map(|verdict| self.count(verdict)).sum()
    }

    /// The share that did not come through, 0 to 1.
    pub(crate) fn loss(&self) -> f64 {
        if self.packets == 0 { 0.0 } else { self.lost() as f64 / self.packets as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_counted_by_direction() {
        let log = r#"
{"dir":"up","n":0,"t":0.1,"len":1500,"proto":"udp","verdict":"dropped","why":"loss"}
{"dir":"up","n":1,"t":0.1,"len":60,"proto":"udp","verdict":"delivered","at":[0.2,0.3],"duplicated":true,"corrupted":true}
{"dir":"down","n":0,"t":0.1,"len":52,"proto":"udp","verdict":"delivered","at":[0.2]}
nonsense
"#;
        let up = Traffic::of(log, "up");
        assert_eq!((up.packets, up.bytes, up.lost(), up.loss()), (2, 1560, 1, 0.5));
        assert_eq!(["duplicated", "corrupted", "reordered"].map(|word| up.count(word)), [1, 1, 0]);
        assert_eq!(Traffic::of(log, "down").bytes, 52);
        assert_eq!(Traffic::of("", "up").loss(), 0.0);
    }
}
