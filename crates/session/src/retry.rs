//! Going on over a new connection when one is lost.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use link::LinkError;

use crate::SessionError;
use crate::events::{Event, Observer};

/// The first pause before a new attempt; it doubles with each failure.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Runs `run` over a connection from `connect`, and again over a new one while links are lost.
///
/// Gives up when it has been without a connection for `window` in all since the last byte of a file moved. The first
/// connection is tried once: a server that isn't there is an error at once. What a connection is, is the caller's affair: a
/// link, or a conversation that was begun before. `connect` is told how long to wait before it tries.
pub fn with_retry<C, T, E: Into<SessionError>>(
    window: Duration,
    observer: &dyn Observer,
    mut connect: impl FnMut(Duration) -> Result<C, E>,
    mut run: impl FnMut(C, &dyn Observer) -> Result<T, SessionError>,
) -> Result<T, SessionError> {
    let watch = Watch { observer, moved: AtomicU64::new(0) };
    let mut without = Duration::ZERO;
    let mut pause = FIRST_PAUSE;
    let mut attempt = run(connect(Duration::ZERO).map_err(Into::into)?, &watch);
    if matches!(attempt, Err(SessionError::Link(LinkError::Unanswered))) {
        // It has never been there for this side, and would do the same again.
        return attempt;
    }
    loop {
        let error = match attempt {
            Ok(done) => return Ok(done),
            // It was there before: only its port still is.
            Err(SessionError::Link(LinkError::Unanswered)) => LinkError::Closed.into(),
            Err(error) => error,
        };
        if watch.moved.swap(0, Ordering::Relaxed) > 0 {
            without = Duration::ZERO;
            pause = FIRST_PAUSE;
        }
        if !error.is_passing() || without + pause > window {
            return Err(error);
        }
        observer.event(&Event::Retrying { error: &error.to_string(), wait: pause });
        let lost = Instant::now();
        let connected = connect(pause);
        without += lost.elapsed();
        pause = (pause * 2).min(LONGEST_PAUSE);
        attempt = match connected {
            Ok(connection) => run(connection, &watch),
            Err(error) => Err(error.into()),
        };
    }
}

/// Passes events on, and sees whether anything moves.
struct Watch<'a> {
    observer: &'a dyn Observer,
    moved: AtomicU64,
}

impl Observer for Watch<'_> {
    fn event(&self, event: &Event<'_>) {
        if let Event::Moved { bytes, .. } = event {
            self.moved.fetch_add(*bytes, Ordering::Relaxed);
        }
        self.observer.event(event);
    }
}

#[cfg(test)]
mod tests {
    use link::ConnectError;

    use super::*;

    struct Nobody;

    impl Observer for Nobody {
        fn event(&self, _: &Event<'_>) {}
    }

    /// Tries with links that end like this, one after the other.
    fn end_with(
        window: Duration,
        ends: impl IntoIterator<Item = Option<LinkError>>,
    ) -> Result<(), SessionError> {
        let mut ends = ends.into_iter();
        let connect = |_wait| Ok::<_, ConnectError>(());
        let run = |(), _: &dyn Observer| match ends.next().flatten() {
            Some(error) => Err(error.into()),
            None => Ok(()),
        };
        with_retry(window, &Nobody, connect, run)
    }

    #[test]
    fn who_was_there_before_may_close_without_a_word() {
        let long = Duration::from_secs(60);
        end_with(long, [Some(LinkError::Closed), Some(LinkError::Unanswered), None]).unwrap();
        let unanswered = |ended| matches!(ended, Err(SessionError::Link(LinkError::Unanswered)));
        assert!(unanswered(end_with(long, [Some(LinkError::Unanswered)])));
        let ends = std::iter::once(Some(LinkError::Closed));
        let ends = ends.chain(std::iter::repeat_with(|| Some(LinkError::Unanswered)));
        let gone = end_with(Duration::from_millis(150), ends);
        assert!(matches!(gone, Err(SessionError::Link(LinkError::Closed))), "{gone:?}");
    }
}
