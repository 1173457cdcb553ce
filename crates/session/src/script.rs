//! A peer that says what a test wrote down.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use framing::{ChunkSet, Message};
use link::{ChunkSink, ChunkSource, Closer, Link, LinkError};

use crate::events::{Event, Observer};

/// A link over which these messages come, and then nothing.
pub(crate) struct Script {
    messages: Box<dyn Iterator<Item = Vec<u8>> + Send>,
    last: Vec<u8>,
}

impl Script {
    pub(crate) fn new(messages: impl Iterator<Item = Vec<u8>> + Send + 'static) -> Self {
        Self { messages: Box::new(messages), last: Vec::new() }
    }
}

/// An observer that takes no note of anything.
pub(crate) struct Deaf;

impl Observer for Deaf {
    fn event(&self, _: &Event<'_>) {}
}

/// A message as it comes.
pub(crate) fn encoded(message: &Message<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    bytes
}

impl Link for Script {
    fn peer(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, 1).into()
    }

    fn send(&mut self, _: &Message<'_>) -> Result<(), LinkError> {
        Ok(())
    }

    fn recv(&mut self, _: Duration) -> Result<Message<'_>, LinkError> {
        self.last = self.messages.next().ok_or(LinkError::Closed)?;
        Ok(Message::decode(&self.last)?)
    }

    fn send_chunks(&mut self, _: &ChunkSet, _: &mut dyn ChunkSource) -> Result<(), LinkError> {
        Ok(())
    }

    fn recv_chunks(&mut self, _: &mut ChunkSet, sink: &mut dyn ChunkSink) -> Result<(), LinkError> {
        while sink.incoming(self.recv(Duration::ZERO)?)?.is_continue() {}
        Ok(())
    }

    fn finish(&mut self) {}

    fn closer(&self) -> std::io::Result<Closer> {
        Ok(Closer::new(|| {}))
    }
}
