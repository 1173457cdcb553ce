//! What `netsim` did to the packets of one direction, by its own count.

use std::collections::BTreeMap;

use serde_json::Value;

/// What can be done to packets, in the words of `netsim --stats-json`.
const VERDICTS: [&str; 7] =
    ["lost", "queue_dropped", "blacked_out", "duplicated", "reordered", "corrupted", "reset"];

/// Packets of one direction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    /// Packets that were sent.
    pub(crate) packets: u64,
    /// Their bytes, with IP headers.
    pub(crate) bytes: u64,
    /// Packets by what became of them, where there are any.
    pub(crate) verdicts: BTreeMap<&'static str, u64>,
    /// Packets that netsim itself was too slow for.
    pub(crate) overrun: u64,
}

impl Traffic {
    /// Takes what belongs to a direction out of the statistics.
    pub(crate) fn of(stats: &Value, direction: &str) -> Self {
        let stats = &stats[direction];
        let count = |field: &str| stats[field].as_u64().unwrap_or_default();
        let verdicts = VERDICTS.into_iter().map(|verdict| (verdict, count(verdict)));
        Self {
            packets: count("entered"),
            bytes: count("entered_bytes"),
            verdicts: verdicts.filter(|(_, count)| *count > 0).collect(),
            overrun: count("overrun"),
        }
    }

    /// How many packets had this done to them.
    pub(crate) fn count(&self, verdict: &str) -> u64 {
        self.verdicts.get(verdict).copied().unwrap_or_default()
    }

    /// How many packets did not come through.
    pub(crate) fn lost(&self) -> u64 {
        ["lost", "queue_dropped", "blacked_out"].iter().map(|verdict| self.count(verdict)).sum()
    }

    /// The share that did not come through, 0 to 1.
    pub(crate) fn loss(&self) -> f64 {
        if self.packets == 0 { 0.0 } else { self.lost() as f64 / self.packets as f64 }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn statistics_are_read_by_direction() {
        let stats = json!({
            "up": {"entered": 2, "entered_bytes": 1560, "lost": 1, "queue_dropped": 0, "duplicated": 3},
            "down": {"entered": 1, "entered_bytes": 52},
        });
        let up = Traffic::of(&stats, "up");
        assert_eq!((up.packets, up.bytes, up.lost(), up.loss()), (2, 1560, 1, 0.5));
        assert_eq!(["duplicated", "corrupted"].map(|word| up.count(word)), [3, 0]);
        assert_eq!(up.verdicts.len(), 2);
        assert_eq!(Traffic::of(&stats, "down").bytes, 52);
        assert_eq!(Traffic::of(&Value::Null, "up").loss(), 0.0);
    }
}
