//! A payload that decodes is encoded as the same bytes, all its pages can be read to their end, and what they hold, written
//! once more, is the same bytes again.

#![no_main]

use framing::{ChunkSet, Manifest, Message, Page, Record};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|payload: &[u8]| {
    let Ok(message) = Message::decode(payload) else { return };
    assert_eq!(encoded(&message), payload);
    let _ = format!("{message:?}");
    match message {
        Message::Get(get) => assert_eq!(rewritten(get.names), payload[3..]),
        Message::Entries(page) => {
            assert_eq!(rewritten(page), payload[1..]);
            let mut manifest = Manifest::new();
            let pushed = page.iter().filter(|entry| manifest.push(*entry).is_ok()).count();
            assert_eq!(manifest.len() as usize, pushed);
            for (index, entry) in manifest.iter() {
                let chunks = manifest.chunks_of(index);
                assert_eq!(chunks.is_empty(), entry.is_empty());
                for chunk in chunks.clone().take(2).chain(chunks.rev().take(2)) {
                    assert_eq!(manifest.file_of(chunk), Some(index));
                    assert_ne!(manifest.chunk_len(chunk), 0);
                }
            }
        }
        Message::Holes(page) | Message::Compare(page) | Message::Want(page) => {
            assert_eq!(rewritten(page), payload[1..]);
            let mut set = ChunkSet::from(page);
            assert!(page.iter().all(|range| set.within(range.clone()).len() == range.end - range.start));
            set.coarsen(4);
            assert!(set.range_count() <= 4);
            assert!(page.iter().all(|range| set.contains(range.start) && set.contains(range.end - 1)));
        }
        Message::Sums(sums) => {
            let chunks = sums.chunks();
            assert_eq!(sums.iter().count() as u64, chunks.end - chunks.start);
        }
        Message::Decisions(page) => assert_eq!(rewritten(page), payload[1..]),
        Message::Sent(page) => assert_eq!(rewritten(page), payload[1..]),
        Message::Stored(page) => assert_eq!(rewritten(page), payload[1..]),
        _ => {}
    }
});

fn encoded(message: &Message<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    message.encode(&mut out);
    out
}

/// The bytes of a page, record by record.
fn rewritten<'a, T: Record<'a>>(page: Page<'a, T>) -> Vec<u8> {
    let mut out = Vec::new();
    page.iter().for_each(|record| record.write(&mut out));
    out
}
