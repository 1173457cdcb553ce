//! Links of the world, each with where its figures are from.

use crate::text::{FaultText, TextError};

/// A link that many people have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preset {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
    /// The faults from the client to the server, as flags.
    pub up: &'static str,
    /// And back.
    pub down: &'static str,
    /// Where each figure is from.
    pub sources: &'static [&'static str],
}

impl Preset {
    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        PRESETS.iter().find(|preset| preset.name == name)
    }

    /// Its faults, up and down.
    ///
    /// # Errors
    /// None, for those in [`PRESETS`].
    pub fn texts(&self) -> Result<[FaultText; 2], TextError> {
        Ok([self.up.parse()?, self.down.parse()?])
    }
}

const WEBPAGETEST: &str =
    "rates and round trip: WebPageTest, www/settings/connectivity.ini.sample, half the round trip each way";
const DUMMYNET: &str =
    "queue: dummynet's default of 50 packets (ipfw(8)), which such profiles are shaped with";

/// All of them.
pub const PRESETS: [Preset; 7] = [
    Preset {
        name: "wifi",
        about: "a wireless network at home: 30 and 15 Mbit/s, 2 ms",
        up: "--rate 15mbit --queue 50p --delay 1ms",
        down: "--rate 30mbit --queue 50p --delay 1ms",
        sources: &[
            "rates and latency: Firefox, devtools/client/shared/components/throttling/profiles.js, Wi-Fi (its latency \
             taken as the round trip)",
            DUMMYNET,
        ],
    },
    Preset {
        name: "3g",
        about: "a mobile network of the third generation: 1.6 Mbit/s and 768 kbit/s, 300 ms",
        up: "--rate 768kbit --queue 50p --delay 150ms",
        down: "--rate 1600kbit --queue 50p --delay 150ms",
        sources: &[WEBPAGETEST, DUMMYNET],
    },
    Preset {
        name: "lte",
        about: "a mobile network of the fourth generation: 12 Mbit/s, 70 ms",
        up: "--rate 12mbit --queue 50p --delay 35ms",
        down: "--rate 12mbit --queue 50p --delay 35ms",
        sources: &[WEBPAGETEST, DUMMYNET],
    },
    Preset {
        name: "dsl-bufferbloat",
        about: "a DSL line whose modem queues for seconds: 1.5 Mbit/s and 384 kbit/s, 50 ms",
        up: "--rate 384kbit --queue 2s --delay 25ms",
        down: "--rate 1500kbit --queue 1s --delay 25ms",
        sources: &[
            WEBPAGETEST,
            "queues: Wustner, Teixeira, Chandrashekar, \"Characterizing Bufferbloat and its Impact at End-hosts\", TMA \
             2014: at home, \"as much as a few seconds in the worst case\"; half as much down is a guess",
        ],
    },
    Preset {
        name: "satellite",
        about: "a geostationary satellite: 25 and 3 Mbit/s, 558 ms",
        up: "--rate 3mbit --queue 600ms --delay 279ms",
        down: "--rate 25mbit --queue 600ms --delay 279ms",
        sources: &[
            "round trip: RFC 2488, section 2: 279.0 ms a hop at the edge of the view, 558 ms there and back",
            "rates: the 25/3 Mbit/s that the FCC called broadband from 2015 to 2024 (FCC 15-10)",
            "queue: about a round trip of the rate, the rule that RFC 3439, section 2.3 tells of",
        ],
    },
    Preset {
        name: "transatlantic",
        about: "London to New York: 90 ms and 0.5 % loss, the worst that a carrier guarantees",
        up: "--delay 45ms --loss 0.5%",
        down: "--delay 45ms --loss 0.5%",
        sources: &[
            "round trip and loss: Verizon's service level agreement for its transatlantic network: 90 ms or less in the \
             mean, 99.5 % of packets or more; a rate is yours to add",
        ],
    },
    Preset {
        name: "clumsy-default",
        about: "clumsy 0.3 with Lag and Drop ticked: 50 ms and 10 % loss, each way",
        up: "--delay 50ms --loss 10%",
        down: "--delay 50ms --loss 10%",
        sources: &["jagt/clumsy, src/lag.c (LAG_DEFAULT 50) and src/drop.c (10.0), both directions ticked"],
    },
];
