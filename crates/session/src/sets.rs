//! Sets of chunks of a manifest: what they weigh, and how they are told.

use framing::{CHUNK_LEN, ChunkSet, Manifest, Message, PageBuilder};
use link::{ChunkRun, Link, LinkError};

/// What a set of chunks is told for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum SetOf {
    Holes,
    Compare,
    Want,
}

/// Tells a set of chunks, in as many messages as it takes.
pub(crate) fn send_set(link: &mut dyn Link, set: &ChunkSet, of: SetOf) -> Result<(), LinkError> {
    let mut page = PageBuilder::default();
    let mut ranges = set.ranges().peekable();
    while let Some(range) = ranges.next() {
        page.push(&range);
        if page.is_full() || ranges.peek().is_none() {
            link.send(&match of {
                SetOf::Holes => Message::Holes(page.page()),
                SetOf::Compare => Message::Compare(page.page()),
                SetOf::Want => Message::Want(page.page()),
            })?;
            page.clear();
        }
    }
    Ok(())
}

/// Bytes of a file that are neither wanted nor holes.
pub(crate) fn held_of(manifest: &Manifest, file: u32, wanted: &ChunkSet, holes: &ChunkSet) -> u64 {
    let chunks = manifest.chunks_of(file);
    let len = manifest.get(file).map_or(0, |entry| entry.len());
    let missing =
        bytes_of(manifest, &wanted.within(chunks.clone())) + bytes_of(manifest, &holes.within(chunks));
    len.saturating_sub(missing)
}

/// Bytes of these chunks.
pub(crate) fn bytes_of(manifest: &Manifest, chunks: &ChunkSet) -> u64 {
    let mut bytes = 0;
    let mut at = 0;
    while let Some(range) = chunks.next_from(at) {
        let Some(file) = manifest.file_of(range.start) else { break };
        let own = manifest.chunks_of(file);
        let end = range.end.min(own.end);
        bytes += (end - range.start) * CHUNK_LEN as u64;
        if end == own.end {
            bytes -= CHUNK_LEN as u64 - manifest.chunk_len(end - 1) as u64;
        }
        at = end;
    }
    bytes
}

/// The first file that a run has bytes of, those bytes, and the rest of it: `None` for a run outside the manifest.
pub(crate) fn cut_file(manifest: &Manifest, run: ChunkRun) -> Option<(u32, ChunkRun, Option<ChunkRun>)> {
    let file = manifest.file_of(run.first())?;
    let chunks = manifest.chunks_of(file);
    let len = manifest.get(file)?.len();
    let left = len.saturating_sub(run.offset_from(chunks.start));
    let (own, rest) = run.split_at(left, chunks.end);
    Some((file, own, rest))
}
