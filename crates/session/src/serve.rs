//! The server's side of a conversation.

use std::sync::Arc;
use std::time::Instant;

use framing::{Feature, Get, Message, Refusal};
use link::{IDLE_LIMIT, Link, LinkError};

use crate::events::{Observer, Summary};
use crate::hello::{greet, meet, out_of_place};
use crate::history::History;
use crate::receive::receive;
use crate::send::answer_get;
use crate::source::{SourceError, Sources};
use crate::store::{SafePath, Store};
use crate::{Caller, How, SessionError};

/// What a server offers.
#[derive(Debug)]
pub struct Service {
    /// Where files are kept and come from.
    pub store: Store,
    /// Name and version of the program, as the other side shall see it.
    pub software: String,
    /// Whether it takes files.
    pub takes: bool,
    /// Whether it gives files.
    pub gives: bool,
}

/// Serves one client to the end of its conversation: what it transferred, `None` if it asked for nothing.
pub fn serve(
    link: &mut dyn Link,
    service: &Service,
    observer: &dyn Observer,
) -> Result<Option<Summary>, SessionError> {
    let served = converse(link, service, observer);
    if let Err(SessionError::Link(error)) = &served
        && error.is_peers_fault()
    {
        // It may not understand even this.
        let _ = link.send(&Message::Refuse { refusal: Refusal::Protocol, text: &error.to_string() });
        link.finish();
    }
    served
}

fn converse(
    link: &mut dyn Link,
    service: &Service,
    observer: &dyn Observer,
) -> Result<Option<Summary>, SessionError> {
    let caller = Caller { software: &service.software, observer };
    let offered = [
        (Feature::Put, service.takes),
        (Feature::Get, service.gives),
        (Feature::Blake3, true),
        (Feature::Plain, link.is_plain_capable()),
    ];
    let features: Vec<Feature> =
        offered.into_iter().filter(|(_, on)| *on).map(|(feature, _)| feature).collect();
    greet(link, caller.software, &features)?;
    meet(link, observer)?;
    let asked = loop {
        match link.recv(IDLE_LIMIT) {
            Ok(Message::Working) => {}
            asked => break asked,
        }
    };
    match asked {
        Ok(Message::Put(offer)) => {
            if !service.takes {
                return decline(link, Refusal::Policy, "this server takes no files".to_owned());
            }
            if offer.plain && !link.is_plain_capable() {
                return decline(link, Refusal::Policy, LinkError::NotPlain.to_string());
            }
            let began = Instant::now();
            let mut summary = Summary::default();
            receive(link, offer, &service.store, caller, &mut History::default(), &mut summary)?;
            summary.elapsed = began.elapsed();
            link.finish();
            summary.link = link.stats();
            Ok(Some(summary))
        }
        Ok(Message::Get(get)) => {
            if !service.gives {
                return decline(link, Refusal::Policy, "this server gives no files".to_owned());
            }
            let how = How { checksum: get.checksum, plain: get.plain };
            let found = find(&service.store, &get, observer);
            if how.plain && !link.is_plain_capable() {
                return decline(link, Refusal::Policy, LinkError::NotPlain.to_string());
            }
            match found {
                Ok(mut sources) => match answer_get(link, &mut sources, how, caller) {
                    Ok(summary) => {
                        link.finish();
                        Ok(Some(Summary { link: link.stats(), ..summary }))
                    }
                    Err(SessionError::Manifest(error)) => decline(link, Refusal::Policy, error.to_string()),
                    Err(error) => Err(error),
                },
                Err((refusal, text)) => decline(link, refusal, text),
            }
        }
        Ok(other) => Err(out_of_place(&other).into()),
        Err(LinkError::Closed) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn decline(link: &mut dyn Link, refusal: Refusal, text: String) -> Result<Option<Summary>, SessionError> {
    link.send(&Message::Refuse { refusal, text: &text })?;
    link.finish();
    Err(SessionError::Declined { refusal, text })
}

fn find(store: &Store, get: &Get<'_>, observer: &dyn Observer) -> Result<Sources, (Refusal, String)> {
    let mut paths = Vec::new();
    for name in get.names.iter() {
        let shown = name.0.escape_ascii();
        let path = SafePath::parse(name.0).map_err(|error| (Refusal::Policy, format!("{shown}: {error}")))?;
        paths.push(path);
    }
    Sources::below(Arc::clone(store.dir()), &paths, get.follow, observer).map_err(|error| {
        let refusal = match error {
            SourceError::NotFound(_) => Refusal::NotFound,
            SourceError::Unreadable { .. } => Refusal::Storage,
            SourceError::Special { .. } | SourceError::SameName { .. } | SourceError::Nameless(_) => {
                Refusal::Policy
            }
        };
        (refusal, error.to_string())
    })
}
