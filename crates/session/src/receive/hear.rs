//! Hearing what the other side offers.

use framing::{ChunkSet, MAX_RANGES, Manifest, Message, Offer, Part};
use std::time::Duration;

use link::Link;

use super::{Failure, Offered};
use crate::allowance::Allowance;
use crate::crowd::Share;
use crate::hello::{misbehaved, out_of_place};
use crate::{How, SessionError};

/// Ranges of holes that take as much memory as an entry.
const RANGES_PER_ENTRY: usize = 8;

/// Hears the manifest behind its head. `patience`: how long the other side may say that it works while it brings nothing;
/// `None` for ever.
pub(crate) fn hear_offer(
    link: &mut dyn Link,
    offer: Offer,
    mut share: Share,
    patience: Option<Duration>,
) -> Result<Offered, Failure> {
    let (manifest, holes) = hear_manifest(link, offer, &mut share, patience)?;
    link.begin_transfer(manifest.chunks())?;
    let how = How { checksum: offer.checksum, plain: offer.plain };
    Ok(Offered { how, manifest, holes, is_made: false, share, patience })
}

fn hear_manifest(
    link: &mut dyn Link,
    offer: Offer,
    share: &mut Share,
    patience: Option<Duration>,
) -> Result<(Manifest, ChunkSet), SessionError> {
    if u64::from(offer.entries) > framing::MAX_ENTRIES {
        return Err(framing::ManifestError::TooManyEntries.into());
    }
    let mut manifest = Manifest::new();
    let mut holes = ChunkSet::new();
    let mut most_ranges = 0;
    let mut allowance = Allowance::new(patience, 0, 0);
    loop {
        match allowance.recv(link)? {
            Message::Entries(page) => {
                for entry in page.iter() {
                    if manifest.len() == offer.entries {
                        return Err(misbehaved("it sent more entries than it offered").into());
                    }
                    manifest.push(entry)?;
                    share.add(1)?;
                    allowance.told(1);
                }
            }
            Message::Holes(page) => {
                holes.extend(page.iter());
                let ranges = holes.range_count().max(most_ranges);
                share.add((ranges / RANGES_PER_ENTRY - most_ranges / RANGES_PER_ENTRY) as u64)?;
                allowance.told((ranges - most_ranges) as u32);
                most_ranges = ranges;
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

    use std::path::Path;

    use link::LinkError;

    use super::*;
    use crate::Caller;
    use crate::crowd::Crowd;
    use crate::events::Summary;
    use crate::history::History;
    use crate::receive::receive;
    use crate::script::{Deaf, Script, encoded};
    use crate::store::{IfExists, Limits, Store, StoreOptions};

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
        const RANGES: u64 = RANGES_PER_ENTRY as u64 - 1;
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
        let heard = hear_manifest(&mut link, offer, &mut crowd.join(), None);
        assert!(matches!(heard, Err(SessionError::Crowded(_))), "{heard:?}");
    }

    fn works_for_ever() -> impl Iterator<Item = Vec<u8>> + Send {
        std::iter::repeat_with(|| encoded(&Message::Working))
    }

    /// Has somebody offer a file of one chunk to a store, and say for ever then that it works.
    fn stalled(dir: &Path) -> SessionError {
        let options = StoreOptions {
            dir: dir.to_owned(),
            prefix: "".into(),
            if_exists: IfExists::Rename,
            limits: Limits::default(),
        };
        let store = Store::open(options).unwrap();
        let (offer, entries) = offer(1);
        let said = [entries, encoded(&Message::End(Part::Manifest))].into_iter();
        let mut link = Script::new(said.chain(works_for_ever()));
        let offered = hear_offer(&mut link, offer, store.join(), None).unwrap();
        let offered = Offered { patience: Some(Duration::ZERO), ..offered };
        let caller = Caller { software: "test", observer: &Deaf };
        receive(&mut link, offered, &store, caller, &mut History::default(), &mut Summary::default())
            .unwrap_err()
            .tell(&mut link)
    }

    fn assert_stalled(error: &SessionError) {
        assert!(matches!(error, SessionError::Link(LinkError::Stalled(_))), "{error}");
    }

    #[test]
    fn who_only_says_that_it_works_tells_no_manifest() {
        let mut link = Script::new(works_for_ever());
        let heard = hear_manifest(&mut link, offer(1).0, &mut Crowd::default().join(), Some(Duration::ZERO));
        assert_stalled(&heard.unwrap_err());
    }

    #[test]
    fn who_only_says_that_it_works_sends_no_chunks() {
        assert_stalled(&stalled(tempfile::tempdir().unwrap().path()));
    }

    #[test]
    fn who_only_says_that_it_works_tells_no_sums() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("x"), [7; CHUNK_LEN]).unwrap();
        assert_stalled(&stalled(dir.path()));
    }
}
