//! Datagrams that are ready to go, in the order in which they were made.

use std::net::{IpAddr, SocketAddr};

use super::socket::{MAX_BATCH, MAX_BATCH_LEN, Port, Unsent};

/// Datagrams one behind the other.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    bytes: Vec<u8>,
    datagrams: Vec<Datagram>,
}

#[derive(Debug, Clone, Copy)]
struct Datagram {
    to: SocketAddr,
    from: Option<IpAddr>,
    /// Where it ends in the bytes.
    end: usize,
}

/// What became of what was sent.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Datagrams that were too long for the interface: where they were to go, and their length.
    pub(super) too_big: Vec<(SocketAddr, usize)>,
    /// Whether nobody listens at the other end.
    pub(super) refused: bool,
}

impl Outcome {
    /// Takes note of how a batch of datagrams of this length went out.
    pub(super) fn note(&mut self, sent: Result<(), Unsent>, to: SocketAddr, len: usize) {
        match sent {
            Ok(()) => {}
            Err(Unsent::TooBig) => self.too_big.push((to, len)),
            Err(Unsent::Refused) => self.refused = true,
            // As good as lost on the way.
            Err(Unsent::Lost) => {}
        }
    }
}

impl Outbox {
    pub(super) const fn is_empty(&self) -> bool {
        self.datagrams.is_empty()
    }

    /// Where the bytes of the next datagram are to be appended. [`Self::end`] ends it.
    pub(super) const fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Ends the datagram whose bytes were appended last.
    pub(super) fn end(&mut self, to: SocketAddr, from: Option<IpAddr>) {
        self.datagrams.push(Datagram { to, from, end: self.bytes.len() });
    }

    /// The last datagram.
    pub(super) fn last(&self) -> &[u8] {
        let [.., before, last] = self.datagrams.as_slice() else { return &self.bytes };
        &self.bytes[before.end..last.end]
    }

    /// Sends all of them; those of equal length in a row, to the same peer, in one call.
    pub(super) fn send(&mut self, port: &Port) -> Outcome {
        let mut outcome = Outcome::default();
        let mut start = 0;
        let mut rest = self.datagrams.as_slice();
        while let Some(first) = rest.first() {
            let len = first.end - start;
            let count = batch(rest, start, len);
            let end = rest[count - 1].end;
            outcome.note(port.send(first.to, first.from, &self.bytes[start..end], len), first.to, len);
            start = end;
            rest = &rest[count..];
        }
        self.bytes.clear();
        self.datagrams.clear();
        outcome
    }
}

/// How many of these datagrams, the first of them `len` bytes from `start`, fit one call: all of equal length but the last,
/// which may be shorter.
fn batch(datagrams: &[Datagram], start: usize, len: usize) -> usize {
    let first = datagrams[0];
    let mut end = start;
    let mut count = 0;
    for datagram in datagrams.iter().take(MAX_BATCH) {
        let here = datagram.end - end;
        let fits = here <= len && datagram.end - start <= MAX_BATCH_LEN;
        if count > 0 && (!fits || datagram.to != first.to || datagram.from != first.from) {
            break;
        }
        count += 1;
        end = datagram.end;
        if here < len {
            break;
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_ones_in_a_row_go_together() {
        let near: SocketAddr = "127.0.0.1:9".parse().unwrap();
        let far: SocketAddr = "127.0.0.1:10".parse().unwrap();
        let lens = [(5, near), (5, near), (3, near), (5, near), (5, far), (6, far), (5, far)];
        let mut outbox = Outbox::default();
        for (len, to) in lens {
            outbox.bytes().extend(vec![0; len]);
            outbox.end(to, None);
        }
        let mut counts = Vec::new();
        let (mut start, mut rest) = (0, outbox.datagrams.as_slice());
        while !rest.is_empty() {
            let count = batch(rest, start, rest[0].end - start);
            counts.push(count);
            start = rest[count - 1].end;
            rest = &rest[count..];
        }
        assert_eq!(counts, [3, 1, 1, 2]);
    }
}
