//! How long a server hears from a client only that it works.

use std::time::{Duration, Instant};

use link::{IDLE_LIMIT, Link, LinkError};

use framing::Message;

/// Bytes that a slow disk reads or writes in a second.
const SLOW_DISK: u64 = 1_000_000;
/// How long a slow side takes for one file or directory, or to tell of one.
const EACH: Duration = Duration::from_millis(10);

/// The time that the other side may take in all while it brings nothing, however often it says that it works. What this side
/// takes meanwhile does not count.
#[derive(Debug)]
pub(crate) struct Allowance {
    whole: Duration,
    /// `None`: it may take for ever.
    left: Option<Duration>,
}

impl Allowance {
    /// Enough to work on so many bytes and entries, and `patience` besides; without it, for ever.
    pub(crate) fn new(patience: Option<Duration>, bytes: u64, entries: u32) -> Self {
        let work = Duration::from_secs(bytes / SLOW_DISK) + EACH * entries;
        let whole = patience.unwrap_or_default().saturating_add(work);
        Self { whole, left: patience.map(|_| whole) }
    }

    /// All of it again: it brought something.
    pub(crate) fn renew(&mut self) {
        self.left = self.left.map(|_| self.whole);
    }

    /// A little more: it told of so many entries.
    pub(crate) fn told(&mut self, entries: u32) {
        self.left = self.left.map(|left| left.saturating_add(EACH * entries));
    }

    /// Takes note that it was waited for.
    ///
    /// # Errors
    /// When it was for too long.
    pub(crate) fn spend(&mut self, waited: Duration) -> Result<(), LinkError> {
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(waited).ok_or(LinkError::Stalled(self.whole))?;
        }
        Ok(())
    }

    /// Waits for the next message.
    pub(crate) fn recv<'l>(&mut self, link: &'l mut dyn Link) -> Result<Message<'l>, LinkError> {
        let began = Instant::now();
        let message = link.recv(IDLE_LIMIT)?;
        self.spend(began.elapsed())?;
        Ok(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn who_only_works_comes_to_an_end_and_who_brings_something_does_not() {
        let mut allowance = Allowance::new(Some(MINUTE), 0, 0);
        for _ in 0..100 {
            allowance.spend(MINUTE).unwrap();
            allowance.renew();
        }
        allowance.spend(MINUTE).unwrap();
        allowance.told(100);
        allowance.spend(EACH * 100).unwrap();
        assert!(matches!(allowance.spend(EACH), Err(LinkError::Stalled(MINUTE))));
        Allowance::new(None, 0, 0).spend(MINUTE * 1_000_000).unwrap();
    }

    #[test]
    fn a_huge_file_takes_a_slow_disk_hours() {
        let mut allowance = Allowance::new(Some(MINUTE), 36_000_000_000, 0);
        allowance.spend(MINUTE * 600).unwrap();
        allowance.spend(MINUTE * 2).unwrap_err();
        Allowance::new(Some(MINUTE), u64::MAX, u32::MAX).spend(MINUTE * 1_000_000).unwrap();
    }
}
