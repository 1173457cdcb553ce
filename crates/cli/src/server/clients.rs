//! Who is being served.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use link::Closer;

/// Everyone who is being served.
#[derive(Debug, Default)]
pub(super) struct Clients {
    served: Mutex<Served>,
    left: Condvar,
}

#[derive(Debug, Default)]
struct Served {
    next: u64,
    closers: HashMap<u64, Closer>,
    is_stopping: bool,
}

impl Clients {
    /// Takes a client in, unless there are so many already or all are being sent away.
    pub(super) fn enter(self: &Arc<Self>, closer: Closer, most: usize) -> Option<Seat> {
        let mut served = self.served();
        if served.is_stopping || served.closers.len() >= most {
            return None;
        }
        let number = served.next;
        served.next += 1;
        served.closers.insert(number, closer);
        Some(Seat { clients: self.clone(), number, on_panic: None })
    }

    /// Whether all are being sent away.
    pub(super) fn is_stopping(&self) -> bool {
        self.served().is_stopping
    }

    /// Sends all away, takes nobody in any more, and waits until all have left, at most so long: whether they have.
    pub(super) fn stop(&self, limit: Duration) -> bool {
        let mut served = self.served();
        served.is_stopping = true;
        served.closers.values().for_each(Closer::close);
        let waited = self.left.wait_timeout_while(served, limit, |served| !served.closers.is_empty());
        waited.map_or_else(
            |poisoned| poisoned.into_inner().0.closers.is_empty(),
            |(served, _)| served.closers.is_empty(),
        )
    }

    fn served(&self) -> MutexGuard<'_, Served> {
        self.served.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of a client, given back when dropped, however its thread ends.
pub(super) struct Seat {
    clients: Arc<Clients>,
    number: u64,
    on_panic: Option<Box<dyn Fn() + Send>>,
}

impl Seat {
    /// Says what is to be done when the thread that holds this panics.
    pub(super) fn on_panic(&mut self, tell: impl Fn() + Send + 'static) {
        self.on_panic = Some(Box::new(tell));
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if thread::panicking()
            && let Some(tell) = &self.on_panic
        {
            tell();
        }
        self.clients.served().closers.remove(&self.number);
        self.clients.left.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::mpsc;

    use super::*;

    fn closer() -> Closer {
        Closer::new(|| ())
    }

    #[test]
    fn there_is_room_for_so_many() {
        let clients = Arc::new(Clients::default());
        let first = clients.enter(closer(), 2).unwrap();
        let _second = clients.enter(closer(), 2).unwrap();
        assert!(clients.enter(closer(), 2).is_none());
        drop(first);
        assert!(clients.enter(closer(), 2).is_some());
    }

    #[test]
    fn all_are_sent_away_and_waited_for() {
        let clients = Arc::new(Clients::default());
        let (close, closed) = mpsc::channel();
        let close = Mutex::new(close);
        let closer = Closer::new(move || close.lock().unwrap().send(()).unwrap());
        let seat = clients.enter(closer, 1).unwrap();
        let thread = thread::spawn(move || {
            closed.recv().unwrap();
            drop(seat);
        });
        assert!(clients.stop(Duration::from_secs(60)));
        assert!(clients.is_stopping());
        assert!(clients.enter(Closer::new(|| ()), 1).is_none());
        thread.join().unwrap();
    }

    #[test]
    fn who_does_not_leave_is_not_waited_for_for_ever() {
        let clients = Arc::new(Clients::default());
        let _seat = clients.enter(closer(), 1).unwrap();
        assert!(!clients.stop(Duration::from_millis(10)));
    }

    #[test]
    fn a_panic_gives_the_seat_back_and_is_told() {
        let clients = Arc::new(Clients::default());
        let told = Arc::new(AtomicU32::new(0));
        let mut seat = clients.enter(closer(), 1).unwrap();
        let tell = told.clone();
        seat.on_panic(move || {
            tell.fetch_add(1, Ordering::Relaxed);
        });
        let thread = thread::spawn(move || {
            let _seat = seat;
            std::panic::resume_unwind(Box::new("a test"));
        });
        assert!(thread.join().is_err());
        assert_eq!(told.load(Ordering::Relaxed), 1);
        assert!(clients.stop(Duration::ZERO));
    }
}
