//! What a program writes, collected while it runs so that it never waits for a reader.

use std::io::Read;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The text of one stream.
#[derive(Debug, Default)]
pub(super) struct Collected {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    bytes: Vec<u8>,
    has_ended: bool,
}

impl Collected {
    /// Collects all that comes from `stream`.
    pub(super) fn from(mut stream: impl Read + Send + 'static) -> Arc<Self> {
        let collected = Arc::new(Self::default());
        let own = collected.clone();
        thread::spawn(move || {
            let mut buffer = [0; 16 * 1024];
            // An error ends it like the end of the stream.
            while let Ok(len @ 1..) = stream.read(&mut buffer) {
                own.state().bytes.extend_from_slice(&buffer[..len]);
                own.changed.notify_all();
            }
            own.state().has_ended = true;
            own.changed.notify_all();
        });
        collected
    }

    /// All that came so far.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.state().bytes).into_owned()
    }

    /// Waits until `find` makes something of a whole line: `None` when the time is over, or no line can come any more.
    pub(super) fn wait_for_line<T>(&self, limit: Duration, find: impl Fn(&str) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + limit;
        let mut seen = 0;
        let mut state = self.state();
        loop {
            while let Some(len) = state.bytes[seen..].iter().position(|byte| *byte == b'\n') {
                let line = String::from_utf8_lossy(&state.bytes[seen..seen + len]);
                if let Some(found) = find(&line) {
                    return Some(found);
                }
                seen += len + 1;
            }
            if state.has_ended {
                return None;
            }
            state = self.wait(state, deadline)?;
        }
    }

    /// Waits for the end of the stream: whether it came in time.
    pub(super) fn wait_for_end(&self, deadline: Instant) -> bool {
        let mut state = self.state();
        while !state.has_ended {
            match self.wait(state, deadline) {
                Some(next) => state = next,
                None => return false,
            }
        }
        true
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, deadline: Instant) -> Option<MutexGuard<'a, State>> {
        let left = deadline.checked_duration_since(Instant::now())?;
        Some(self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
