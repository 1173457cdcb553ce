//! What is told of one client, over all that it asks for.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use session::{Event, Observer};

use super::House;
use crate::exit::{self, Exit};
use crate::reporter::Reporter;
use crate::{json, report};

/// The observer of one client's conversation.
pub(super) struct Guest<'a> {
    house: &'a House,
    peer: SocketAddr,
    pub(super) reporter: Reporter,
    /// How its requests ended: the first that did not end well, if any did.
    exit: Mutex<Option<Exit>>,
}

impl<'a> Guest<'a> {
    pub(super) const fn new(house: &'a House, peer: SocketAddr, reporter: Reporter) -> Self {
        Self { house, peer, reporter, exit: Mutex::new(None) }
    }

    /// How its requests ended: `None` when none was done.
    pub(super) fn exit(&self) -> Option<Exit> {
        *self.exit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, exit: Exit) {
        let mut noted = self.exit.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.is_none_or(|noted| noted == Exit::Done) {
            *noted = Some(exit);
        }
    }
}

impl Observer for Guest<'_> {
    fn event(&self, event: &Event<'_>) {
        match *event {
            Event::Transferred { summary } => {
                self.note(self.reporter.finish(summary));
                self.reporter.renew();
            }
            Event::Answered(answer) => {
                self.note(Exit::Done);
                let screen = &self.house.screen;
                if screen.voice().verbose {
                    screen.say(&format!("{}  {}", self.peer, report::answer(&answer)));
                }
                screen.object(&json::answer(&answer, &self.peer.to_string()));
            }
            Event::Declined { refusal, why } => {
                let why = exit::plain_words(why);
                let text = super::broke_off(self.reporter.planned(), why);
                self.house.complain(self.peer, &text, Exit::of_refusal(refusal));
                self.reporter.renew();
            }
            _ => self.reporter.event(event),
        }
    }
}
