//! Hearing what the other side offers.

use framing::{ChunkSet, MAX_RANGES, Manifest, Message, Offer, Part};
use link::{IDLE_LIMIT, Link};

use super::{Failure, Offered};
use crate::crowd::Share;
use crate::hello::{misbehaved, out_of_place};
use crate::{How, SessionError};

/// Ranges of holes that take as much memory as an entry.
const RANGES_PER_ENTRY: u64 = 8;

/// Hears the manifest behind its head.
pub(crate) fn hear_offer(link: &mut dyn Link, offer: Offer, mut share: Share) -> Result<Offered, Failure> {
    let (manifest, holes) = hear_manifest(link, offer, &mut share)?;
    link.begin_transfer(manifest.chunks())?;
    let how = How { checksum: offer.checksum, plain: offer.plain };
    Ok(Offered { how, manifest, holes, is_made: false, share })
}

fn hear_manifest(
    link: &mut dyn Link,
    offer: Offer,
    share: &mut Share,
) -> Result<(Manifest, ChunkSet), SessionError> {
    if u64::from(offer.entries) > framing::MAX_ENTRIES {
        return Err(framing::ManifestError::TooManyEntries.into());
    }
    let mut manifest = Manifest::new();
    let mut holes = ChunkSet::new();
    let mut counted_holes = 0;
    loop {
        match link.recv(IDLE_LIMIT)? {
            Message::Entries(page) => {
                for entry in page.iter() {
                    if manifest.len() == offer.entries {
                        return Err(misbehaved("it sent more entries than it offered").into());
                    }
                    manifest.push(entry)?;
                    share.add(1)?;
                }
            }
            Message::Holes(page) => {
                holes.extend(page.iter());
                let worth = holes.range_count() as u64 / RANGES_PER_ENTRY;
                share.add(worth.saturating_sub(counted_holes))?;
                counted_holes = counted_holes.max(worth);
                if holes.end() > manifest.chunks() || holes.range_count() > MAX_RANGES {
                    return Err(misbehaved("it told of holes outside the manifest").into());
                }
            }
            Message::End(Part::Manifest) => break,
            Message::Working => {}
            other => return Err(out_of_place(&other).into()),
        }
    }
    if manifest.len() != offer.entries || manifest.bytes() != offer.bytes {
        return Err(misbehaved("its manifest is not what it offered").into());
    }
    Ok((manifest, holes))
}

#[cfg(test)]
mod tests {
    use framing::{CHUNK_LEN, Checksum, Entry, EntryKind, MAX_ENTRIES, PageBuilder};

    use super::*;
    use crate::crowd::Crowd;
    use crate::script::{Script, encoded};

    fn offer(chunks: u64) -> (Offer, Vec<u8>) {
        let bytes = chunks * CHUNK_LEN as u64;
        let mut page = PageBuilder::default();
        let kind = EntryKind::File { len: bytes };
        page.push(&Entry { kind, mode: 0o644, mtime: 0, mtime_nanos: 0, path: b"x" });
        let offer = Offer { checksum: Checksum::Md5, plain: false, entries: 1, bytes };
        (offer, encoded(&Message::Entries(page.page())))
    }

    #[test]
    fn holes_told_of_in_small_pages_take_their_share_too() {
        const PAGES: u64 = 5000;
        const RANGES: u64 = RANGES_PER_ENTRY - 1;
        let crowd = Crowd::default();
        let mut others = crowd.join();
        others.add(2 * MAX_ENTRIES).unwrap_err();
        let (offer, entries) = offer(PAGES * RANGES * 2);
        let holes = (0..PAGES).map(|page| {
            let mut ranges = PageBuilder::default();
            (page * RANGES..(page + 1) * RANGES).for_each(|range| ranges.push(&(range * 2..range * 2 + 1)));
            encoded(&Message::Holes(ranges.page()))
        });
        let end = encoded(&Message::End(Part::Manifest));
        let mut link = Script::new(std::iter::once(entries).chain(holes).chain([end]));
        let heard = hear_manifest(&mut link, offer, &mut crowd.join());
        assert!(matches!(heard, Err(SessionError::Crowded(_))), "{heard:?}");
    }
}
