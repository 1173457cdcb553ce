//! The greeting.

use std::time::{Duration, Instant};

use framing::{Checksum, Feature, Hello, Message, Refusal};
use link::{Link, LinkError};

use crate::events::{Event, Observer};
use crate::{How, SessionError};

/// What the other side said of itself.
#[derive(Debug)]
pub(crate) struct Greeting {
    features: u32,
}

impl Greeting {
    /// Fails unless the other side can transfer files like this.
    pub(crate) fn must_know(&self, how: How) -> Result<(), SessionError> {
        if how.checksum == Checksum::Blake3 {
            self.must_have(Feature::Blake3)?;
        }
        if how.plain { self.must_have(Feature::Plain) } else { Ok(()) }
    }

    /// Fails unless the other side can do this.
    pub(crate) const fn must_have(&self, feature: Feature) -> Result<(), SessionError> {
        if self.features & feature.bit() == 0 { Err(SessionError::NotOffered(feature)) } else { Ok(()) }
    }
}

/// Greets. Whoever calls goes on talking at once, so that greeting costs no round trip.
pub(crate) fn greet(link: &mut dyn Link, software: &str, features: &[Feature]) -> Result<(), LinkError> {
    let features = features.iter().fold(0, |bits, feature| bits | feature.bit());
    link.send(&Message::Hello(Hello { features, software }))
}

/// Waits for the other side's greeting, its first message, at most so long.
pub(crate) fn meet(
    link: &mut dyn Link,
    limit: Duration,
    observer: &dyn Observer,
) -> Result<Greeting, LinkError> {
    let peer = link.peer();
    match link.recv(limit)? {
        Message::Hello(hello) => {
            observer.event(&Event::Met { peer, software: hello.software });
            Ok(Greeting { features: hello.features })
        }
        other => Err(out_of_place(&other)),
    }
}

/// Greets, refuses whatever would come, and waits a moment until that was heard.
pub fn refuse(link: &mut dyn Link, software: &str, refusal: Refusal, text: &str) {
    // Whoever missed a feature here would take that for the reason. It is on its way out: if it can't be told, it will see
    // the connection close.
    let _ = greet(link, software, &Feature::ALL).and_then(|()| link.send(&Message::Refuse { refusal, text }));
    link.finish();
}

pub(crate) fn out_of_place(message: &Message<'_>) -> LinkError {
    LinkError::Misbehaved(format!("{} does not belong here", message.name()))
}

pub(crate) fn misbehaved(what: &str) -> LinkError {
    LinkError::Misbehaved(what.to_owned())
}

/// How often a side that is busy with its disk says so.
pub(crate) const WORKING_INTERVAL: Duration = Duration::from_secs(5);

/// Says now and then that this side is still busy.
#[derive(Debug)]
pub(crate) struct Pulse {
    last: Instant,
}

impl Pulse {
    pub(crate) fn new() -> Self {
        Self { last: Instant::now() }
    }

    /// Says so if it is time to.
    pub(crate) fn beat(&mut self, link: &mut dyn Link) -> Result<(), LinkError> {
        if self.last.elapsed() < WORKING_INTERVAL {
            return Ok(());
        }
        self.last = Instant::now();
        link.send(&Message::Working)
    }
}
