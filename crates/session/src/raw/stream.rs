//! Streams of bytes: what a server answers and keeps, and what a client sends.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use framing::{Checksum, Hasher};
use link::raw::ByteStream;
use link::{IDLE_LIMIT, LinkError};

use super::{
    DOUBT, Ending, GREETING, Keeper, Kept, PAUSE, SendError, Sent, is_greeting, may_become_greeting,
};
use crate::SessionError;

/// The longest line that comes back in one piece.
const MAX_LINE_LEN: usize = 64 * 1024;
/// Bytes that are read and written at a time.
const BLOCK_LEN: usize = 64 * 1024;
/// How long somebody who types may think.
pub const TYPING_LIMIT: Duration = Duration::from_secs(15 * 60);
/// How often a client that listens looks whether all is sent.
const TICK: Duration = Duration::from_millis(50);

/// How far a client is that sends: at it, at its end, or unable to go on.
const GOING: u8 = 0;
const OVER: u8 = 1;
const FAILED: u8 = 2;

/// What was sent back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Echoed {
    /// Bytes.
    pub len: u64,
    /// Whether the first line greeted.
    pub was_greeted: bool,
}

/// Sends back what comes, line by line, until the end of the stream. A long line comes back in pieces, and what is not
/// followed by the end of its line for a while, too.
pub fn echo(stream: &dyn ByteStream) -> Result<Echoed, SessionError> {
    let mut buffer = vec![0; MAX_LINE_LEN];
    let mut filled = 0;
    let mut is_first = true;
    let mut echoed = Echoed::default();
    loop {
        let wait = if filled == 0 { TYPING_LIMIT } else { PAUSE };
        let read = stream.read(&mut buffer[filled..], wait)?;
        filled += read.unwrap_or(0);
        let lines = buffer[..filled].iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        let ready = match read {
            None if filled == 0 => return Err(LinkError::Silent(TYPING_LIMIT).into()),
            None | Some(0) => filled,
            Some(_) if lines == 0 && filled == buffer.len() => filled,
            Some(_) => lines,
        };
        let mut back = &buffer[..ready];
        if is_first && ready > 0 {
            is_first = false;
            let first = back.split_inclusive(|byte| *byte == b'\n').next().unwrap_or_default();
            if is_greeting(first) {
                back = &back[first.len()..];
                echoed.was_greeted = true;
                greet(stream)?;
            }
        }
        stream.write(back)?;
        echoed.len += back.len() as u64;
        buffer.copy_within(ready..filled, 0);
        filled -= ready;
        if read == Some(0) {
            stream.finish();
            return Ok(echoed);
        }
    }
}

/// Keeps what comes until the end of the stream. Whoever greets is greeted first, and told of.
///
/// A greeting is not part of the file. It is one when nothing follows it at once, neither a byte nor the end of the stream:
/// then whoever sent it waits for an answer, and does not send a file that happens to begin so.
pub fn keep(
    stream: &dyn ByteStream,
    keeper: &Keeper,
    greeted: &mut dyn FnMut(),
) -> Result<Kept, SessionError> {
    let mut intake = keeper.begin()?;
    let mut buffer = vec![0; BLOCK_LEN];
    let (mut filled, mut has_ended) = (0, false);
    while !has_ended && may_become_greeting(&buffer[..filled]) {
        let wait = if filled == 0 { IDLE_LIMIT } else { DOUBT };
        match stream.read(&mut buffer[filled..], wait)? {
            None if filled == 0 => return Err(LinkError::Silent(IDLE_LIMIT).into()),
            None => {
                if is_greeting(&buffer[..filled]) {
                    filled = 0;
                    greet(stream)?;
                    greeted();
                }
                break;
            }
            Some(read) => {
                filled += read;
                has_ended = read == 0;
            }
        }
    }
    intake.append(&buffer[..filled])?;
    while !has_ended {
        let read = stream.read(&mut buffer, IDLE_LIMIT)?.ok_or(LinkError::Silent(IDLE_LIMIT))?;
        intake.append(&buffer[..read])?;
        has_ended = read == 0;
    }
    intake.commit()
}

fn greet(stream: &dyn ByteStream) -> Result<(), LinkError> {
    stream.write(&[GREETING, b"\n"].concat())
}

/// Sends all of `source`, then waits until the other side closes the stream, or says nothing for long. What it says
/// meanwhile is `heard`.
pub fn send(
    stream: &dyn ByteStream,
    source: &mut (dyn Read + Send),
    heard: &mut dyn FnMut(&[u8]),
) -> Result<Sent, SendError> {
    let began = Instant::now();
    let pumping = AtomicU8::new(GOING);
    thread::scope(|scope| {
        let pump = scope.spawn(|| pump(stream, source, &pumping));
        let listened = listen(stream, heard, &pumping);
        let mut sent = pump.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        sent.ending = listened?;
        match sent.ending {
            Ending::Closed => sent.elapsed = began.elapsed(),
            Ending::ClosedEarly => {
                // If it does not take any more, that is soon heard.
                thread::sleep(PAUSE);
                stream.read(&mut [0], Duration::ZERO)?;
            }
            Ending::Silent => {}
        }
        Ok(sent)
    })
}

/// Sends what comes from `source` and tells what is `heard`, both as it comes, until the other side closes the stream, or
/// says nothing for long after the end of the source.
pub fn converse<S: ByteStream + 'static>(
    stream: &Arc<S>,
    mut source: impl Read + Send + 'static,
    heard: &mut dyn FnMut(&[u8]),
) -> Result<Ending, SendError> {
    let far = Arc::clone(stream);
    let pumping = Arc::new(AtomicU8::new(GOING));
    let told = Arc::clone(&pumping);
    let speak = move || pump(&*far, &mut source, &told);
    // When the other side is gone it may still wait for its source, and nobody waits for it.
    let pump = thread::Builder::new().name("input".to_owned()).spawn(speak).map_err(SendError::Source)?;
    let ending = listen(&**stream, heard, &pumping)?;
    if pumping.load(Ordering::Acquire) == FAILED {
        pump.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    }
    Ok(ending)
}

/// Sends all of a source, and the end of the stream; tells how far it is.
fn pump(stream: &dyn ByteStream, source: &mut dyn Read, pumping: &AtomicU8) -> Result<Sent, SendError> {
    let sent = pump_all(stream, source);
    // Before the other side can answer it.
    pumping.store(if sent.is_ok() { OVER } else { FAILED }, Ordering::Release);
    if sent.is_ok() {
        stream.finish();
    }
    sent
}

fn pump_all(stream: &dyn ByteStream, source: &mut dyn Read) -> Result<Sent, SendError> {
    let began = Instant::now();
    let mut hasher = Hasher::new(Checksum::Md5);
    let mut buffer = vec![0; BLOCK_LEN];
    let mut len = 0;
    loop {
        match source.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => {
                stream.write(&buffer[..read])?;
                hasher.update(&buffer[..read]);
                len += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(SendError::Source(error)),
        }
    }
    let (digest, elapsed) = (hasher.finish(), began.elapsed());
    Ok(Sent { len, datagrams: 0, digest, elapsed, ending: Ending::Silent })
}

/// Hears what the other side says until it closes the stream, or says nothing for long when this side is at its end.
fn listen(
    stream: &dyn ByteStream,
    heard: &mut dyn FnMut(&[u8]),
    pumping: &AtomicU8,
) -> Result<Ending, LinkError> {
    let mut buffer = vec![0; BLOCK_LEN];
    let mut since = Instant::now();
    loop {
        let read = stream.read(&mut buffer, TICK)?;
        match (read, pumping.load(Ordering::Acquire)) {
            (Some(0), GOING) => return Ok(Ending::ClosedEarly),
            (Some(0), _) => return Ok(Ending::Closed),
            (Some(read), _) => heard(&buffer[..read]),
            (None, FAILED) => return Ok(Ending::Silent),
            (None, OVER) if since.elapsed() >= IDLE_LIMIT => return Ok(Ending::Silent),
            (None, OVER) => continue,
            (None, _) => {}
        }
        since = Instant::now();
    }
}
