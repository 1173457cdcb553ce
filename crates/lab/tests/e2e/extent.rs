//! How far a transfer has come, seen from outside.

use std::fs::{self, File};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use framing::CHUNK_LEN;
use lab::Transport;
use lab::process::{LIMIT, Process, Server};
use rustix::fs::{SeekFrom, seek};

use crate::scene::Scene;
use crate::valve::Valve;

/// Bytes of a partial file that something was written to, or more: the room that is only set aside does not count unless
/// somebody has read there, or the system ahead of somebody.
///
/// `None` when there is no such file (any more).
pub(crate) fn written(path: &Path) -> Option<u64> {
    let file = File::open(path).ok()?;
    let mut written = 0;
    let mut at = 0;
    while let Ok(start) = seek(&file, SeekFrom::Data(at)) {
        at = seek(&file, SeekFrom::Hole(start)).unwrap();
        written += at - start;
    }
    Some(written)
}

/// Looks again and again until something is there.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Starts to send a file, and stops where so many bytes have gone to the server and most of them to its disk.
pub(crate) fn halfway(scene: &Scene, server: &Server, bytes: usize, args: &[&str]) -> (Process, Valve) {
    let valve = Valve::new(scene.transport(), server.address(), bytes as u64);
    let client = scene.start(valve.address(), args);
    valve.wait_until_shut();
    // Frames have headers, and the last one may be cut off. Packets have larger ones, and some only try out the path.
    let enough = match scene.transport() {
        Transport::Tcp => bytes - bytes / 10,
        Transport::Udp => bytes / 2,
    } as u64;
    let name = args.last().unwrap();
    until("the server has written it", || (held(scene, name)? >= enough).then_some(()));
    (client, valve)
}

/// Bytes of a source that its partial file holds.
pub(crate) fn held(scene: &Scene, name: &str) -> Option<u64> {
    held_of(scene.parts().first()?, &fs::read(scene.from(name)).unwrap())
}

/// Bytes of whole chunks that are in a partial file: those that need not come again. `None` when there is no such file.
pub(crate) fn held_of(part: &Path, source: &[u8]) -> Option<u64> {
    let part = fs::read(part).ok()?;
    let pairs = part.chunks(CHUNK_LEN).zip(source.chunks(CHUNK_LEN));
    Some(pairs.filter(|(there, here)| there == here).map(|(there, _)| there.len() as u64).sum())
}
