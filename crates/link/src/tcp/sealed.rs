//! What lies between the frames and the socket where there is a key: sealed records.

use std::io::Read;
use std::net::TcpStream;
use std::ops::Range;
use std::time::{Duration, Instant};

use seal::{Channel, MAX_PLAIN_LEN, Opener, RECORD_OVERHEAD, RecordError, Sealer, record_len};

use crate::LinkError;
use crate::block::BLOCK_LEN;

/// Bytes of frames in a record: a quarter of a block, so that the socket has work while the next one is opened.
const RECORD_LEN: usize = BLOCK_LEN / 4;
/// Bytes of records that are read at a time.
const INTAKE_LEN: usize = BLOCK_LEN + 4 * RECORD_OVERHEAD;
/// How long one record may take from its first byte to its last.
const RECORD_LIMIT: Duration = Duration::from_secs(60);

const _: () = assert!(RECORD_LEN <= MAX_PLAIN_LEN && MAX_PLAIN_LEN + RECORD_OVERHEAD <= INTAKE_LEN);

/// Both directions of a sealed connection.
#[derive(Debug)]
pub(super) struct Sealed {
    sealer: Sealer,
    opener: Opener,
    /// What was read and not opened yet, in `held`.
    intake: Box<[u8]>,
    held: Range<usize>,
    /// Since when the record at its start is cut off.
    cut_off: Option<Instant>,
    outbox: Vec<u8>,
}

impl Sealed {
    /// The least room to open a record into.
    pub(super) const LEAST_ROOM: usize = MAX_PLAIN_LEN;

    /// One for this channel, of which these bytes were read already.
    pub(super) fn new(channel: Channel, heard: &[u8]) -> Self {
        let Channel { sealer, opener } = channel;
        let mut intake = heard.to_vec();
        intake.resize(INTAKE_LEN.max(heard.len()), 0);
        let intake = intake.into_boxed_slice();
        Self { sealer, opener, intake, held: 0..heard.len(), cut_off: None, outbox: Vec::new() }
    }

    /// Seals `bytes`: a buffer, and how much of it the records take. It is to be given back with [`Self::give_back`].
    pub(super) fn seal(&mut self, bytes: &[u8]) -> (Vec<u8>, usize) {
        let mut records = std::mem::take(&mut self.outbox);
        let len = self.sealer.seal(bytes, RECORD_LEN, &mut records);
        (records, len)
    }

    pub(super) fn give_back(&mut self, records: Vec<u8>) {
        self.outbox = records;
    }

    /// Whether a record can be opened, or is known to be wrong, without reading any more.
    pub(super) fn has_record(&self) -> bool {
        match record_len(&self.intake[self.held.clone()]) {
            Ok(Some(len)) => len <= self.held.len(),
            Ok(None) => false,
            Err(_) => true,
        }
    }

    /// Opens the records that are there into `room`, which has at least [`Self::LEAST_ROOM`]; reads where there is none.
    pub(super) fn read(&mut self, stream: &mut TcpStream, room: &mut [u8]) -> Result<usize, LinkError> {
        loop {
            let opened = self.open(room).map_err(explain)?;
            if opened > 0 {
                return Ok(opened);
            }
            self.intake.copy_within(self.held.clone(), 0);
            self.held = 0..self.held.len();
            match stream.read(&mut self.intake[self.held.end..])? {
                0 => return Ok(0),
                read => self.held.end += read,
            }
        }
    }

    /// Opens whole records, as many as fit.
    fn open(&mut self, room: &mut [u8]) -> Result<usize, RecordError> {
        let mut opened = 0;
        loop {
            let held = &self.intake[self.held.clone()];
            let Some(record) = record_len(held)?.and_then(|len| held.get(..len)) else {
                let waiting = !held.is_empty();
                let since = if opened == 0 { self.cut_off } else { None };
                self.cut_off = if waiting { since.or_else(|| Some(Instant::now())) } else { None };
                return Ok(opened);
            };
            if record.len() - RECORD_OVERHEAD > room.len() - opened {
                return Ok(opened);
            }
            opened += self.opener.open(record, &mut room[opened..])?;
            self.held.start += record.len();
        }
    }

    /// Refuses to wait any longer for the end of a record that takes too long.
    pub(super) fn check_pace(&self) -> Result<(), LinkError> {
        match self.cut_off {
            Some(since) if since.elapsed() > RECORD_LIMIT => Err(LinkError::Slow(RECORD_LIMIT)),
            _ => Ok(()),
        }
    }
}

const fn explain(error: RecordError) -> LinkError {
    LinkError::Damaged(match error {
        RecordError::Length(_) => "a sealed record has an impossible length",
        RecordError::Forged => "a sealed record was changed on its way",
    })
}
