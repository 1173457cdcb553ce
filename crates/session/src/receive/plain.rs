//! Receiving a plain transfer: what comes, comes, and then it is told what did not.

use framing::{ChunkSet, Message, Part};
use link::Link;

use super::Receiving;
use super::state::Phase;
use crate::SessionError;
use crate::events::Faults;
use crate::hello::misbehaved;
use crate::sets::{SetOf, send_set};

impl Receiving<'_> {
    /// Receives each chunk at most once, and gives each file its verdict as it is then.
    pub(super) fn receive_plain(
        &mut self,
        link: &mut dyn Link,
        mut wanted: ChunkSet,
    ) -> Result<(), SessionError> {
        send_set(link, &wanted, SetOf::Want)?;
        link.send(&Message::End(Part::Want))?;
        self.chunks_over = false;
        self.set_waiting(true);
        let received = link.recv_plain(&mut wanted, self);
        if let Some(failure) = self.failure.take() {
            return Err(failure.into());
        }
        let report = received?;
        self.hear_chunks_end(link)?;
        if self.active.values().any(|active| active.is_untold()) {
            return Err(misbehaved("it did not send the digest of each file").into());
        }
        let mut faults = Faults {
            chunks: self.manifest.chunks(),
            lost: wanted,
            damaged: report.damaged,
            duplicated: report.duplicated,
            reordered: report.reordered,
        };
        faults.coarsen();
        faults.send(link)?;
        self.faults = Some(faults);
        self.close_books();
        self.settle(link)
    }

    /// Takes every file for as complete as it will ever be.
    fn close_books(&mut self) {
        let files: Vec<u32> = self.active.keys().copied().collect();
        for file in files {
            let Some(active) = self.active.get_mut(&file) else { continue };
            match active.phase {
                Phase::Filling { open: true, .. } => {
                    active.phase = Phase::Hashing;
                    self.unfinished.remove(&file);
                    self.intake.leave_rest(file);
                    self.intake.complete(file);
                }
                Phase::Filling { left, open: false } => {
                    active.was_closed |= left > 0;
                    active.phase = Phase::Filling { left: 0, open: false };
                    self.waiting.push_back(file);
                }
                _ => self.finish(file),
            }
        }
        self.begin_waiting();
    }

    /// Removes what came, which nothing can be added to.
    pub(super) fn remove_parts(&mut self) {
        for (file, active) in std::mem::take(&mut self.active) {
            self.discard(file, &active);
            if let Some(part) = active.part {
                // It is only left over, then.
                let _ = part.remove();
            }
        }
    }
}
