//! What is said of those who were turned away.

use std::fmt;
use std::net::SocketAddr;

use crate::{Note, Notice};

/// Says who was turned away.
pub(super) struct Log {
    note: Option<Note>,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Log")
    }
}

impl Log {
    pub(super) const fn new(note: Option<Note>) -> Self {
        Self { note }
    }

    pub(super) fn turned_away(&self, peer: SocketAddr, why: &str) {
        if let Some(note) = &self.note {
            note(&Notice::TurnedAway { peer, why });
        }
    }
}
