//! What became of files on the earlier connections of the same run.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

/// Remembers files by their path in the transfer.
#[derive(Debug, Default)]
pub(crate) struct History {
    done: HashSet<Vec<u8>>,
    earlier: HashMap<Vec<u8>, Progress>,
}

/// How much of a file has crossed the link.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Progress {
    moved: u64,
    began: Instant,
}

impl Progress {
    /// The first byte crosses it now.
    pub(crate) fn begin() -> Self {
        Self { moved: 0, began: Instant::now() }
    }

    pub(crate) const fn add(&mut self, bytes: u64) {
        self.moved += bytes;
    }
}

/// What is told of a file in the end.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) moved: u64,
    pub(crate) held: u64,
    pub(crate) elapsed: Duration,
}

impl History {
    /// Whether a file has had its verdict.
    pub(crate) fn is_done(&self, path: &[u8]) -> bool {
        self.done.contains(path)
    }

    /// Takes note that a file has had its verdict; adds up what was moved of it on all connections.
    ///
    /// `held` is what the receiver had as this connection began, so what came on earlier ones is part of it.
    pub(crate) fn settle(
        &mut self,
        path: &[u8],
        now: Option<Progress>,
        held: u64,
        since: Instant,
    ) -> Account {
        self.done.insert(path.to_vec());
        let earlier = self.earlier.remove(path);
        let before = earlier.map_or(0, |earlier| earlier.moved);
        let began = earlier.or(now).map_or(since, |progress| progress.began);
        Account {
            moved: before + now.map_or(0, |now| now.moved),
            held: held.saturating_sub(before),
            elapsed: began.elapsed(),
        }
    }

    /// Takes note of what was moved of a file before the connection was lost.
    pub(crate) fn keep(&mut self, path: &[u8], now: Progress) {
        let earlier = self.earlier.entry(path.to_vec()).or_insert(Progress { moved: 0, began: now.began });
        earlier.moved += now.moved;
    }
}
