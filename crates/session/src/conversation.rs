//! The client's side of a conversation: one request after the other.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use framing::{Feature, Generate, Get, MAX_ECHO_LEN, MAX_PATH_LEN, Message, Name, Offer, PageBuilder, Part};
use link::{HANDSHAKE_LIMIT, IDLE_LIMIT, Link, LinkError, LinkStats};

use crate::content::Made;
use crate::events::{Event, Summary};
use crate::hello::{self, Greeting, greet, out_of_place};
use crate::listing::{self, Listed};
use crate::receive::{hear_offer, receive};
use crate::send::Sending;
use crate::store::Store;
use crate::stream::{self, StreamPlan, StreamReport};
use crate::{Caller, GetJob, How, PutJob, SessionError, Wish};

/// What a server sent back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Echo {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// How long that took.
    pub rtt: Duration,
}

/// A conversation with a server, as its client: any number of requests over one connection.
///
/// Each request is brought to its end before it returns. After an error the conversation may be of no more use, see
/// [`Conversation::is_open`].
pub struct Conversation {
    link: Box<dyn Link>,
    /// What the server has said of itself, once it was heard.
    greeting: Option<Greeting>,
    is_open: bool,
    /// The number of the next stream's first packet.
    streamed: u64,
}

impl std::fmt::Debug for Conversation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Conversation")
            .field("peer", &self.link.peer())
            .field("is_open", &self.is_open)
            .finish()
    }
}

impl Conversation {
    /// Greets the server. Its own greeting is not waited for, so that the first request leaves together with this.
    pub fn begin(mut link: Box<dyn Link>, caller: Caller<'_>) -> Result<Self, SessionError> {
        greet(link.as_mut(), caller.software, &[Feature::Blake3])?;
        Ok(Self { link, greeting: None, is_open: true, streamed: 0 })
    }

    /// The link that it is held over.
    #[must_use]
    pub fn link(&self) -> &dyn Link {
        self.link.as_ref()
    }

    /// Whether more can be asked. It can't once the link was lost, or a transfer broke off.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.is_open
    }

    /// This conversation, unless it is known that the server has left it meanwhile, and how.
    pub fn still_there(mut self) -> Result<Self, LinkError> {
        while self.is_open && self.greeting.is_some() {
            match self.link.recv(Duration::ZERO) {
                // Late words of the transfer before.
                Ok(Message::Working | Message::Sent(_) | Message::End(Part::Chunks)) => {}
                Ok(other) => return Err(out_of_place(&other)),
                Err(LinkError::Silent(_)) => break,
                Err(error) => return Err(error),
            }
        }
        if self.is_open { Ok(self) } else { Err(LinkError::Closed) }
    }

    /// Waits until the server has greeted, if it has not.
    pub fn meet(&mut self, caller: Caller<'_>) -> Result<(), SessionError> {
        self.check_open()?;
        self.is_open = false;
        self.greeting(caller)?;
        self.is_open = true;
        Ok(())
    }

    /// Sends files. After an error that [may pass](SessionError::is_passing) it can be asked of a new conversation with the
    /// same job, and goes on with what is not done.
    pub fn put(&mut self, job: &mut PutJob, caller: Caller<'_>) -> Result<Summary, SessionError> {
        let began = *job.began.get_or_insert_with(Instant::now);
        self.check_how(job.how, Feature::Put)?;
        self.is_open = false;
        let history = &mut job.history;
        let link = self.link.as_mut();
        let announced = Sending::announce(link, &mut job.sources, history, job.how, Message::Put, caller);
        match announced {
            // Nothing was said of it.
            Err(error @ SessionError::Manifest(_)) => {
                self.is_open = true;
                return Err(error);
            }
            Err(SessionError::Link(refused @ LinkError::Refused { .. })) => return Err(refused.into()),
            _ => {}
        }
        // When the peer would not hear it to the end, its greeting still says more than a broken pipe.
        let greeting = self.greeting(caller)?;
        greeting.must_have(Feature::Put)?;
        greeting.must_know(job.how)?;
        let mut sending = announced?;
        let sent = sending.run(self.link.as_mut());
        sending.keep_history();
        job.summary.add(&sending.summary);
        job.summary.elapsed = began.elapsed();
        self.is_open = matches!(sent, Ok(()) | Err(SessionError::Declined { .. }));
        sent?;
        job.summary.link = self.link.stats();
        Ok(job.summary.clone())
    }

    /// Fetches files. After an error that [may pass](SessionError::is_passing) it can be asked of a new conversation with
    /// the same job, and goes on with what is not done.
    pub fn get(
        &mut self,
        job: &mut GetJob,
        store: &Store,
        caller: Caller<'_>,
    ) -> Result<Summary, SessionError> {
        let began = *job.began.get_or_insert_with(Instant::now);
        let made = match &job.wish {
            Wish::Names(names) => {
                self.ask_for(names, job.how, job.follow, caller)?;
                None
            }
            Wish::Made(made) => {
                self.ask_for_made(*made, job.how, caller)?;
                Some(*made)
            }
        };
        let offer = self.offer(job.how)?;
        let received = hear_offer(self.link.as_mut(), offer, store.join(), None).and_then(|mut offered| {
            if let Some(made) = made {
                offered = offered.check_made(made)?;
            }
            receive(self.link.as_mut(), offered, store, caller, &mut job.history, &mut job.summary)
        });
        job.summary.elapsed = began.elapsed();
        received.map_err(|failure| failure.tell(self.link.as_mut()))?;
        self.is_open = true;
        job.summary.link = self.link.stats();
        Ok(job.summary.clone())
    }

    /// Has the server make a text up, and fetches it: a job of [`GetJob::generate`], otherwise as [`Conversation::get`].
    pub fn generate(
        &mut self,
        job: &mut GetJob,
        store: &Store,
        caller: Caller<'_>,
    ) -> Result<Summary, SessionError> {
        self.get(job, store, caller)
    }

    fn ask_for(
        &mut self,
        names: &[OsString],
        how: How,
        follow: bool,
        caller: Caller<'_>,
    ) -> Result<(), SessionError> {
        self.check_how(how, Feature::Get)?;
        let mut page = PageBuilder::default();
        for name in names {
            if name.len() > MAX_PATH_LEN || page.is_full() {
                return Err(SessionError::TooManyNames);
            }
            page.push(&Name(name.as_bytes()));
        }
        let How { checksum, plain } = how;
        let get = Get { checksum, plain, follow, names: page.page() };
        self.ask(&Message::Get(get), Feature::Get, Some(how), caller)
    }

    fn ask_for_made(&mut self, made: Made, how: How, caller: Caller<'_>) -> Result<(), SessionError> {
        self.check_how(how, Feature::Generate)?;
        let Made { length, seed } = made;
        let asked = Generate { checksum: how.checksum, plain: how.plain, length, seed };
        self.ask(&Message::Generate(asked), Feature::Generate, Some(how), caller)?;
        self.answer(|message| match message {
            Message::Making { length, seed } if (Made { length, seed }) == made => Ok(Some(())),
            other => Err(out_of_place(&other)),
        })?;
        caller.observer.event(&Event::Making { length, seed });
        Ok(())
    }

    /// Has the server send these bytes back, at most [`MAX_ECHO_LEN`].
    pub fn echo(&mut self, bytes: &[u8], caller: Caller<'_>) -> Result<Echo, SessionError> {
        if bytes.len() > MAX_ECHO_LEN {
            return Err(SessionError::TooLongToEcho(bytes.len()));
        }
        // The greeting is not what is measured.
        self.meet(caller)?;
        let began = Instant::now();
        self.ask(&Message::Echo(bytes), Feature::Echo, None, caller)?;
        let bytes = self.answer(|message| match message {
            Message::Echoed(bytes) => Ok(Some(bytes.to_vec())),
            other => Err(out_of_place(&other)),
        })?;
        let rtt = began.elapsed();
        self.is_open = true;
        Ok(Echo { bytes, rtt })
    }

    /// Has the server send packets at set times, until all were sent or `stop` is set: what became of them. The observer
    /// hears of each.
    pub fn stream(
        &mut self,
        plan: StreamPlan,
        stop: &AtomicBool,
        caller: Caller<'_>,
    ) -> Result<StreamReport, SessionError> {
        // Packets shall not come while the greeting is waited for.
        self.meet(caller)?;
        self.greeting(caller)?.must_have(Feature::Stream)?;
        self.is_open = false;
        let report = stream::receive(self.link.as_mut(), plan, self.streamed, stop, caller);
        self.is_open = matches!(report, Ok(_) | Err(SessionError::Declined { .. }));
        if report.is_ok() {
            self.streamed += plan.count;
        }
        report
    }

    /// What is in a directory of the server, or the file of that path: `path` counts from the served directory, and is empty
    /// for that one. In the order of the names.
    pub fn list(&mut self, path: &[u8], caller: Caller<'_>) -> Result<Vec<Listed>, SessionError> {
        check_path(path)?;
        self.ask(&Message::List(path), Feature::List, None, caller)?;
        let mut incoming = listing::Incoming::default();
        let listed = self.answer(|message| incoming.take(&message))?;
        self.is_open = true;
        Ok(listed)
    }

    /// Has the server keep what is put from now on below this directory, which must be there: its path as the server says it.
    pub fn chdir(&mut self, path: &[u8], caller: Caller<'_>) -> Result<OsString, SessionError> {
        check_path(path)?;
        self.ask(&Message::Chdir(path), Feature::List, None, caller).map_err(|error| match error {
            SessionError::NotOffered(_) => SessionError::NoDirectories,
            error => error,
        })?;
        let here = self.answer(|message| match message {
            Message::Here(path) => Ok(Some(OsString::from_vec(path.to_vec()))),
            other => Err(out_of_place(&other)),
        })?;
        self.is_open = true;
        Ok(here)
    }

    /// Takes leave of the server: what the link has seen of its path by then.
    pub fn finish(mut self) -> Option<LinkStats> {
        if self.is_open {
            self.link.finish();
        }
        self.link.stats()
    }

    fn check_open(&self) -> Result<(), SessionError> {
        if self.is_open { Ok(()) } else { Err(LinkError::Closed.into()) }
    }

    /// Fails when it is known already that files can't be transferred like this.
    fn check_how(&self, how: How, feature: Feature) -> Result<(), SessionError> {
        self.check_open()?;
        if how.plain && !self.link.is_plain_capable() {
            return Err(LinkError::NotPlain.into());
        }
        match &self.greeting {
            Some(greeting) => greeting.must_have(feature).and_then(|()| greeting.must_know(how)),
            None => Ok(()),
        }
    }

    fn greeting(&mut self, caller: Caller<'_>) -> Result<&Greeting, LinkError> {
        match self.greeting {
            Some(ref greeting) => Ok(greeting),
            None => {
                Ok(self.greeting.insert(hello::meet(self.link.as_mut(), HANDSHAKE_LIMIT, caller.observer)?))
            }
        }
    }

    /// Asks for something. The server must have the feature for it, and know how if that matters.
    fn ask(
        &mut self,
        request: &Message<'_>,
        feature: Feature,
        how: Option<How>,
        caller: Caller<'_>,
    ) -> Result<(), SessionError> {
        self.check_open()?;
        if let Some(greeting) = &self.greeting {
            greeting.must_have(feature)?;
        }
        self.is_open = false;
        let asked = self.link.send(request);
        // All that came before it was passed over, the greeting too.
        if let Err(refused @ LinkError::Refused { .. }) = asked {
            return Err(refused.into());
        }
        let greeting = self.greeting(caller)?;
        greeting.must_have(feature)?;
        if let Some(how) = how {
            greeting.must_know(how)?;
        }
        Ok(asked?)
    }

    /// Waits for the answer: for what `take` makes of a message, until that is something.
    fn answer<T>(
        &mut self,
        mut take: impl FnMut(Message<'_>) -> Result<Option<T>, LinkError>,
    ) -> Result<T, SessionError> {
        loop {
            match self.link.recv(IDLE_LIMIT)? {
                // Late words of the transfer before.
                Message::Working | Message::Sent(_) | Message::End(Part::Chunks) => {}
                Message::Declined { refusal, text } => {
                    let text = text.to_owned();
                    self.is_open = true;
                    return Err(SessionError::Declined { refusal, text });
                }
                message => {
                    if let Some(answer) = take(message)? {
                        return Ok(answer);
                    }
                }
            }
        }
    }

    /// Waits for the head of a manifest of files that are sent like this.
    fn offer(&mut self, how: How) -> Result<Offer, SessionError> {
        self.answer(|message| match message {
            Message::Offer(offer) if (offer.checksum, offer.plain) == (how.checksum, how.plain) => {
                Ok(Some(offer))
            }
            other => Err(out_of_place(&other)),
        })
    }
}

/// Fails for a path that does not fit into a request.
fn check_path(path: &[u8]) -> Result<(), SessionError> {
    if path.len() > MAX_PATH_LEN { Err(SessionError::TooManyNames) } else { Ok(()) }
}
