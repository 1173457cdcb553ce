//! Comparing what the receiver holds with what the sender has, chunk sum by chunk sum.
//!
//! This is all there is to resuming: no list of what was received is kept anywhere. A partial file, or a file of that name,
//! is as good as its chunks' sums say.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use framing::{CHUNK_LEN, ChunkSet, Sums, crc32c};

use crate::store::{IfExists, Lookout, PartFile, Store, knows_enough};

/// Chunks that are read at a time.
const STEP: usize = 64;
/// The most ranges of good chunks that are told apart in one file; what is lost beyond it is only sent again.
const MAX_RANGES: usize = 1 << 15;

/// A file that is compared.
#[derive(Debug)]
pub(crate) struct Comparison {
    pub(crate) file: u32,
    /// Its chunks in the transfer.
    chunks: Range<u64>,
    len: u64,
    part: Option<Arc<PartFile>>,
    /// What was ever written to the partial file, counted from the file's start.
    written: ChunkSet,
    lookalikes: Vec<Lookalike>,
    opened: bool,
    good: ChunkSet,
    /// How many chunks of the partial file are not good, though something was written there.
    wrong: u64,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Lookalike {
    path: PathBuf,
    open: Option<(File, u64)>,
    good: ChunkSet,
}

/// What a comparison came to.
#[derive(Debug)]
pub(crate) struct Compared {
    pub(crate) file: u32,
    pub(crate) part: Option<Arc<PartFile>>,
    /// Chunks of the partial file that are good, counted from the file's start.
    pub(crate) held: ChunkSet,
    /// A file with the same chunks altogether.
    pub(crate) same: Option<PathBuf>,
}

impl Comparison {
    pub(crate) fn new(
        file: u32,
        chunks: Range<u64>,
        len: u64,
        part: Option<Arc<PartFile>>,
        lookalikes: Vec<PathBuf>,
    ) -> Self {
        let written = part.as_ref().map(|part| part.written()).unwrap_or_default();
        let lookalikes = lookalikes
            .into_iter()
            .map(|path| Lookalike { path, open: None, good: ChunkSet::new() })
            .collect();
        Self {
            file,
            chunks,
            len,
            part,
            written,
            lookalikes,
            opened: false,
            good: ChunkSet::new(),
            wrong: 0,
            buffer: Vec::new(),
        }
    }

    /// The numbers, in the transfer, of the chunks whose sums are of use.
    pub(crate) fn wanted(&self) -> ChunkSet {
        if !self.lookalikes.is_empty() {
            return self.chunks.clone().into();
        }
        self.written
            .ranges()
            .map(|range| self.chunks.start + range.start..self.chunks.start + range.end)
            .collect()
    }

    /// The numbers of its chunks in the transfer.
    pub(crate) const fn chunks(&self) -> &Range<u64> {
        &self.chunks
    }

    /// Compares with the sender's sums from chunk `at` on, as far as they are of this file: the chunk to go on with.
    pub(crate) fn compare(&mut self, store: &Store, sums: &Sums<'_>, at: u64) -> u64 {
        self.open_lookalikes(store);
        let end = sums.chunks().end.min(self.chunks.end);
        let skip = (at - sums.chunks().start) as usize;
        let theirs: Vec<u32> = sums.iter().skip(skip).take((end - at) as usize).collect();
        for (theirs, step) in theirs.chunks(STEP).zip(0..) {
            self.step(at - self.chunks.start + step * STEP as u64, theirs);
        }
        end
    }

    fn open_lookalikes(&mut self, store: &Store) {
        if !std::mem::replace(&mut self.opened, true) {
            for lookalike in &mut self.lookalikes {
                lookalike.open = open_lookalike(store, lookalike).ok();
            }
        }
    }

    fn step(&mut self, first: u64, theirs: &[u32]) {
        let range = first..first + theirs.len() as u64;
        if let Some(part) = &self.part {
            for written in self.written.within(range.clone()).ranges() {
                let theirs = &theirs[(written.start - first) as usize..(written.end - first) as usize];
                let (good, wrong) = equal(part.file(), self.len, written.start, theirs, &mut self.buffer);
                self.good.extend(good);
                self.wrong += wrong;
            }
            self.good.keep_largest(MAX_RANGES);
        }
        for lookalike in &mut self.lookalikes {
            if let Some((file, len)) = &lookalike.open {
                // The last chunk of a file of another length is another chunk.
                let (good, _) = equal(file, (*len).min(self.len), first, theirs, &mut self.buffer);
                lookalike.good.extend(good);
                lookalike.good.keep_largest(MAX_RANGES);
            }
        }
    }

    /// Draws the conclusion; copies into the partial file what a lookalike has and it has not.
    ///
    /// `open_part` makes sure that there is room for all of the partial file, and opens it if it is not;
    /// `go_on` is asked now and then while copying takes; `holes` are the chunks, counted from the file's start, that shall be zero.
    pub(crate) fn finish(
        mut self,
        store: &Store,
        holes: &ChunkSet,
        open_part: impl FnOnce(Option<Arc<PartFile>>) -> io::Result<Arc<PartFile>>,
        go_on: &mut dyn FnMut() -> bool,
    ) -> io::Result<Compared> {
        if store.is_hiding() && !knows_enough(self.good.len(), self.wrong) {
            self.good = ChunkSet::new();
        }
        // Of an empty file there were no sums to compare.
        self.open_lookalikes(store);
        let all = self.chunks.end - self.chunks.start;
        let len = self.len;
        let same = self.lookalikes.iter().find(|lookalike| {
            lookalike.good.len() == all && lookalike.open.as_ref().is_some_and(|(_, there)| *there == len)
        });
        if let Some(same) = same {
            let same = Some(same.path.clone());
            return Ok(Compared { file: self.file, part: self.part, held: ChunkSet::new(), same });
        }
        let spare = self.lookalikes.iter_mut().max_by_key(|lookalike| lookalike.good.len());
        let mut useful = spare.as_ref().map(|spare| spare.good.clone()).unwrap_or_default();
        useful.subtract(&self.good);
        useful.subtract(holes);
        if let Some((from, _)) = spare.and_then(|spare| spare.open.as_ref())
            && !useful.is_empty()
            && store.options().if_exists != IfExists::Fail
        {
            let part = open_part(self.part.take())?;
            let mut lookout = Lookout::default();
            let mut before = |len| {
                if !go_on() {
                    return Err(io::ErrorKind::Interrupted.into());
                }
                lookout.pass(store, len)
            };
            copy(from, part.file(), self.len, &useful, &mut before)?;
            self.part = Some(part);
            self.good.extend(useful.ranges());
        }
        if let Some(part) = &self.part {
            let mut stale = holes.clone();
            stale.subtract(&self.good);
            for range in stale.ranges() {
                for written in self.written.within(range).ranges() {
                    written.into_iter().try_for_each(|chunk| part.clear(chunk))?;
                }
            }
        }
        Ok(Compared { file: self.file, part: self.part, held: self.good, same: None })
    }
}

fn open_lookalike(store: &Store, lookalike: &Lookalike) -> io::Result<(File, u64)> {
    let file = store.open_file(&lookalike.path)?;
    let len = file.metadata()?.len();
    Ok((file, len))
}

/// Which of the chunks from `first` on have the sums `theirs`, and how many of the others are not zero.
///
/// A chunk that nothing was written to may look as if something was, once it was read: then it is zero.
fn equal(file: &File, len: u64, first: u64, theirs: &[u32], buffer: &mut Vec<u8>) -> (Vec<Range<u64>>, u64) {
    let start = first * CHUNK_LEN as u64;
    let bytes = len.saturating_sub(start).min((theirs.len() * CHUNK_LEN) as u64) as usize;
    buffer.resize(STEP * CHUNK_LEN, 0);
    let mut read = 0;
    while read < bytes {
        match file.read_at(&mut buffer[read..bytes], start + read as u64) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    let (mut good, mut wrong) = (Vec::new(), 0);
    for ((ours, theirs), chunk) in buffer[..read].chunks(CHUNK_LEN).zip(theirs).zip(first..) {
        if crc32c(ours) == *theirs {
            good.push(chunk..chunk + 1);
        } else if ours.iter().any(|byte| *byte != 0) {
            wrong += 1;
        }
    }
    (good, wrong)
}

/// Copies chunks. `before` is asked before so many bytes more are written.
fn copy(
    from: &File,
    to: &File,
    len: u64,
    chunks: &ChunkSet,
    before: &mut dyn FnMut(u64) -> io::Result<()>,
) -> io::Result<()> {
    let mut buffer = vec![0; STEP * CHUNK_LEN];
    for range in chunks.ranges() {
        let mut at = range.start * CHUNK_LEN as u64;
        let end = (range.end * CHUNK_LEN as u64).min(len);
        while at < end {
            let step = (end - at).min(buffer.len() as u64) as usize;
            before(step as u64)?;
            from.read_exact_at(&mut buffer[..step], at)?;
            to.write_all_at(&buffer[..step], at)?;
            at += step as u64;
        }
    }
    Ok(())
}
