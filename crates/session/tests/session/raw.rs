//! Raw mode, with streams that are made up and a clock that is told.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use framing::{Checksum, Hasher};
use link::LinkError;
use link::raw::{ByteStream, Datagram};
use session::raw::{self, Due, Ending, GREETING, Gathering, Keeper, SendError};
use session::{IfExists, Limits, SessionError, Store, StoreOptions};
use tempfile::TempDir;

/// What a peer does next.
#[derive(Debug, Clone)]
enum Turn {
    Says(Vec<u8>),
    Pauses,
    Breaks,
}

use Turn::{Breaks, Pauses};

fn says(bytes: impl AsRef<[u8]>) -> Turn {
    Turn::Says(bytes.as_ref().to_vec())
}

/// A stream with a peer that does these things and then ends it.
struct Made {
    turns: Mutex<VecDeque<Turn>>,
    heard: Mutex<Vec<u8>>,
}

impl Made {
    fn new(turns: impl Into<VecDeque<Turn>>) -> Self {
        Self { turns: Mutex::new(turns.into()), heard: Mutex::default() }
    }

    fn heard(&self) -> Vec<u8> {
        self.heard.lock().unwrap().clone()
    }
}

impl ByteStream for Made {
    fn read(&self, buffer: &mut [u8], _wait: Duration) -> Result<Option<usize>, LinkError> {
        assert!(!buffer.is_empty());
        let mut turns = self.turns.lock().unwrap();
        match turns.pop_front() {
            None => Ok(Some(0)),
            Some(Pauses) => Ok(None),
            Some(Breaks) => Err(io::Error::from(io::ErrorKind::ConnectionReset).into()),
            Some(Turn::Says(mut bytes)) => {
                let rest = bytes.split_off(bytes.len().min(buffer.len()));
                buffer[..bytes.len()].copy_from_slice(&bytes);
                if !rest.is_empty() {
                    turns.push_front(Turn::Says(rest));
                }
                Ok(Some(bytes.len()))
            }
        }
    }

    fn write(&self, bytes: &[u8]) -> Result<(), LinkError> {
        self.heard.lock().unwrap().extend_from_slice(bytes);
        Ok(())
    }

    fn finish(&self) {}
}

/// A directory, and who keeps files there as `received-song.mp3`.
fn keeper(if_exists: IfExists, max_file_len: Option<u64>) -> (TempDir, Keeper) {
    limited_keeper(if_exists, Limits { max_file_len, ..Limits::default() })
}

/// The same, with these limits.
fn limited_keeper(if_exists: IfExists, limits: Limits) -> (TempDir, Keeper) {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions { dir: dir.path().to_owned(), prefix: "received-".into(), if_exists, limits };
    let keeper = Keeper::new(Store::open(options).unwrap(), OsStr::new("song.mp3")).unwrap();
    (dir, keeper)
}

/// All names and contents in a directory, hidden ones too.
fn files(dir: &TempDir) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap()))
        .collect();
    files.sort();
    files
}

fn only(name: &str, bytes: impl AsRef<[u8]>) -> Vec<(String, Vec<u8>)> {
    vec![(name.to_owned(), bytes.as_ref().to_vec())]
}

#[test]
fn lines_come_back_as_they_are() {
    let long = vec![b'x'; 1_000_000];
    let cases: [(Vec<Turn>, &[u8]); 9] = [
        (vec![], b""),
        (vec![says("one\ntwo\n")], b"one\ntwo\n"),
        (vec![says("o"), says("ne\nt"), says("wo")], b"one\ntwo"),
        // Somebody waits for the answer to a message without an end of line.
        (vec![says("no end"), Pauses, says(b"\0\xff\r\n")], b"no end\0\xff\r\n"),
        (vec![says("Hello you\nHello\n")], b"Hello from the server!\nHello\n"),
        (vec![says("hel"), says("lo"), Pauses, says("x\n")], b"Hello from the server!\nx\n"),
        (vec![says("\nHello\n")], b"\nHello\n"),
        (vec![says("Hello")], b"Hello from the server!\n"),
        (vec![says(&long)], &long),
    ];
    for (turns, back) in cases {
        let stream = Made::new(turns.clone());
        let echoed = raw::echo(&stream).unwrap();
        assert!(stream.heard() == back, "{turns:?}");
        let greeting = if echoed.was_greeted { GREETING.len() + 1 } else { 0 };
        assert_eq!(echoed.len as usize + greeting, back.len());
    }
    // A long line that begins like a greeting is no greeting, and nothing of it is missing.
    let long = [b"Hello".as_slice(), &long].concat();
    let stream = Made::new([says(&long)]);
    raw::echo(&stream).unwrap();
    assert!(stream.heard() == long);
}

#[test]
fn who_types_nothing_for_long_is_left() {
    let error = raw::echo(&Made::new([says("x\n"), Pauses])).unwrap_err();
    assert!(matches!(error, SessionError::Link(LinkError::Silent(limit)) if limit.as_secs() == 900));
}

#[test]
fn a_stream_is_kept_up_to_its_end() {
    let film = vec![7; 3_000_000];
    let hello = [b"Hello".as_slice(), &film].concat();
    let cases: [(Vec<Turn>, &[u8], bool); 7] = [
        (vec![], b"", false),
        (vec![says("x")], b"x", false),
        (vec![says(&film)], &film, false),
        (vec![says("Hello, server"), Pauses, says(&film)], &film, true),
        (vec![says("HE"), says("LLO\n"), Pauses], b"", true),
        // Files that begin like a greeting are sent by somebody who does not wait for the answer.
        (vec![says("Hello world\n")], b"Hello world\n", false),
        (vec![says(&hello)], &hello, false),
    ];
    for (turns, kept, greets) in cases {
        let (dir, keeper) = keeper(IfExists::Rename, None);
        let stream = Made::new(turns.clone());
        let mut greeted = 0;
        let ended = raw::keep(&stream, &keeper, &mut || greeted += 1).unwrap();
        assert_eq!(greeted, i32::from(greets));
        assert_eq!(stream.heard() == b"Hello from the server!\n", greets);
        assert_eq!(ended.digest, Hasher::digest(Checksum::Md5, kept));
        assert_eq!((ended.len, ended.path.to_str()), (kept.len() as u64, Some("received-song.mp3")));
        assert!(files(&dir) == only("received-song.mp3", kept));
    }
}

#[test]
fn what_does_not_come_to_its_end_is_not_kept() {
    for turns in [
        vec![Pauses],
        vec![Breaks],
        vec![says("x"), Pauses],
        vec![says("Hello\nworld\n"), Pauses],
        vec![says("Hello"), Pauses, says("Hello"), Pauses],
        vec![says("Hell"), Pauses, says("o"), Breaks],
        vec![says(vec![7; 1_000_000]), Breaks],
    ] {
        let (dir, keeper) = keeper(IfExists::Rename, None);
        let ended = raw::keep(&Made::new(turns), &keeper, &mut || {});
        assert!(matches!(ended, Err(SessionError::Link(LinkError::Silent(_) | LinkError::Broken(_)))));
        assert!(files(&dir).is_empty());
    }
}

#[test]
fn names_that_are_taken_are_treated_as_the_settings_say() {
    let again = |if_exists| {
        let (dir, keeper) = keeper(if_exists, None);
        fs::write(dir.path().join("received-song.mp3"), "old").unwrap();
        let ended = raw::keep(&Made::new([says("new")]), &keeper, &mut || {});
        (ended.map(|kept| kept.path), files(&dir))
    };
    let (path, left) = again(IfExists::Rename);
    assert_eq!(path.unwrap().to_str(), Some("received-song-1.mp3"));
    assert_eq!(left.len(), 2);
    for if_exists in [IfExists::Overwrite, IfExists::Update] {
        let (path, left) = again(if_exists);
        assert_eq!(path.unwrap().to_str(), Some("received-song.mp3"));
        assert_eq!(left, only("received-song.mp3", "new"));
    }
    for if_exists in [IfExists::Skip, IfExists::Fail] {
        let (path, left) = again(if_exists);
        assert!(matches!(path, Err(SessionError::Declined { .. })), "{path:?}");
        assert_eq!(left, only("received-song.mp3", "old"));
    }
}

#[test]
fn all_files_together_have_a_limit_too() {
    let limits = Limits { max_total: Some(1500), ..Limits::default() };
    let (dir, keeper) = limited_keeper(IfExists::Rename, limits);
    let keep = |parts: Vec<Turn>| raw::keep(&Made::new(parts), &keeper, &mut || {});
    assert_eq!(keep(vec![says([1; 1000])]).unwrap().len, 1000);
    // Two at once can't both have the rest.
    let mut first = keeper.begin().unwrap();
    first.append(&[2; 400]).unwrap();
    let error = keep(vec![says([3; 100]), says([3; 1])]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "it is more than what is left of the 1500 bytes that are taken in altogether here (--max-total)"
    );
    // What is not kept is given back.
    drop(first);
    assert_eq!(keep(vec![says([4; 500])]).unwrap().len, 500);
    assert!(keep(vec![says([5; 1])]).is_err());
    assert_eq!(keep(vec![]).unwrap().len, 0);
    assert_eq!(files(&dir).len(), 3);
}

#[test]
fn what_would_leave_too_little_of_the_disk_is_not_kept() {
    let limits = Limits { min_free: Some(1 << 60), ..Limits::default() };
    let (dir, keeper) = limited_keeper(IfExists::Rename, limits);
    let error = raw::keep(&Made::new([says([1; 5])]), &keeper, &mut || {}).unwrap_err();
    assert!(matches!(error, SessionError::Declined { .. }), "{error:?}");
    assert!(error.to_string().ends_with("would stay free here (--min-free)"), "{error}");
    assert_eq!(files(&dir).len(), 0);
}

#[test]
fn what_is_longer_than_allowed_is_not_kept() {
    let (dir, keeper) = keeper(IfExists::Rename, Some(1000));
    assert_eq!(raw::keep(&Made::new([says([1; 1000])]), &keeper, &mut || {}).unwrap().len, 1000);
    let stream = Made::new([says([1; 1000]), says([1; 1]), Pauses]);
    let error = raw::keep(&stream, &keeper, &mut || {}).unwrap_err();
    assert_eq!(
        error.to_string(),
        "it has more than 1000 bytes, and a file may not have more here (--max-file-size)"
    );
    assert_eq!(files(&dir).len(), 1);
}

#[test]
fn files_of_one_name_that_come_at_once_get_names_of_their_own() {
    let (dir, keeper) = keeper(IfExists::Rename, None);
    let mut intakes: Vec<_> = (0..20).map(|_| keeper.begin().unwrap()).collect();
    for (number, intake) in intakes.iter_mut().enumerate() {
        intake.append(&[number as u8; 5]).unwrap();
    }
    let last = intakes.pop();
    intakes.into_iter().for_each(|intake| drop(intake.commit().unwrap()));
    drop(last);
    let files = files(&dir);
    let contents: std::collections::BTreeSet<_> = files.iter().map(|(_, bytes)| bytes.clone()).collect();
    assert_eq!((files.len(), contents.len()), (19, 19));
}

#[test]
fn names_stay_in_the_directory() {
    let (dir, _) = keeper(IfExists::Rename, None);
    let options = StoreOptions {
        dir: dir.path().to_owned(),
        prefix: "received-".into(),
        if_exists: IfExists::Rename,
        limits: Limits::default(),
    };
    let store = Store::open(options).unwrap();
    for name in ["", "..", "../x", "/etc/passwd", "a/../../b", "a\n", "nul.txt", &"x".repeat(250)] {
        assert!(Keeper::new(store.clone(), OsStr::new(name)).is_err(), "{name}");
    }
}

#[test]
fn a_file_is_sent_and_what_comes_back_is_heard() {
    let song = vec![3; 700_000];
    let stream = Made::new([says("Hello"), Pauses, says(" you")]);
    let mut back = Vec::new();
    let sent = raw::send(&stream, &mut song.as_slice(), &mut |bytes| back.extend_from_slice(bytes)).unwrap();
    assert!(stream.heard() == song && back == b"Hello you");
    assert_eq!((sent.len, sent.digest), (700_000, Hasher::digest(Checksum::Md5, &song)));
    assert_ne!(sent.ending, Ending::Silent);

    let broken = raw::send(&Made::new([Breaks]), &mut song.as_slice(), &mut |_| {});
    assert!(matches!(broken, Err(SendError::Link(LinkError::Broken(_)))));

    struct Bad;
    impl io::Read for Bad {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("a bad disk"))
        }
    }
    let unread = raw::send(&Made::new([]), &mut Bad, &mut |_| {});
    assert!(matches!(unread, Err(SendError::Source(_))));
}

fn sender(number: u16) -> SocketAddr {
    ([10, 0, 0, 1], 2000 + number).into()
}

fn take(
    gathering: &mut Gathering,
    now: Instant,
    from: SocketAddr,
    bytes: &[u8],
) -> Result<Option<Due>, SessionError> {
    gathering.take(now, &Datagram { from, to: None, bytes })
}

/// The files that are whole by now.
fn commit(due: impl IntoIterator<Item = Due>) -> Vec<(SocketAddr, u64)> {
    let committed = due.into_iter().map(|due| match due {
        Due::Commit(from, intake) => (from, intake.commit().unwrap().len),
        Due::Greet(from, _) => (from, u64::MAX),
    });
    let mut committed: Vec<_> = committed.collect();
    committed.sort();
    committed
}

const MS: Duration = Duration::from_millis(1);

#[test]
fn datagrams_of_each_sender_become_a_file() {
    let (dir, keeper) = keeper(IfExists::Rename, None);
    let mut gathering = Gathering::new(keeper, 10);
    let start = Instant::now();
    assert_eq!(gathering.deadline(), None);
    // The first one says that it is done, the second one falls silent, the third one sends nothing.
    assert!(take(&mut gathering, start, sender(1), b"one ").unwrap().is_none());
    assert!(take(&mut gathering, start + MS, sender(2), &[2; 65_507]).unwrap().is_none());
    assert!(take(&mut gathering, start + 2 * MS, sender(1), b"two").unwrap().is_none());
    assert_eq!(gathering.unfinished().count(), 2);
    assert_eq!(commit(take(&mut gathering, start + 3 * MS, sender(1), b"").unwrap()), [(sender(1), 7)]);
    assert_eq!(commit(take(&mut gathering, start + 4 * MS, sender(3), b"").unwrap()), [(sender(3), 0)]);
    // An end that comes twice makes no other file, but what comes after it does.
    assert!(take(&mut gathering, start + 5 * MS, sender(1), b"").unwrap().is_none());
    assert!(take(&mut gathering, start + 6 * MS, sender(1), b"more").unwrap().is_none());
    let silent = start + MS + Duration::from_secs(2);
    assert_eq!(gathering.deadline(), Some(silent));
    assert!(gathering.expire(silent - MS).is_empty());
    assert_eq!(commit(gathering.expire(silent)), [(sender(2), 65_507)]);
    assert_eq!(commit(gathering.expire(silent + 10 * MS)), [(sender(1), 4)]);
    assert_eq!(gathering.deadline(), None);
    assert_eq!(files(&dir).iter().map(|(_, bytes)| bytes.len()).sum::<usize>(), 7 + 65_507 + 4);
    assert_eq!(files(&dir).len(), 4);
}

#[test]
fn a_datagram_that_greets_and_waits_is_greeted() {
    let (dir, keeper) = keeper(IfExists::Rename, None);
    let mut gathering = Gathering::new(keeper, 10);
    let start = Instant::now();
    for (number, bytes) in [(1, b"Hello\n".as_slice()), (2, b"hello, the file is this"), (3, b"Hello ")] {
        assert!(take(&mut gathering, start, sender(number), bytes).unwrap().is_none());
    }
    assert_eq!(commit(take(&mut gathering, start + 100 * MS, sender(2), b"").unwrap()), [(sender(2), 23)]);
    assert!(take(&mut gathering, start + 100 * MS, sender(3), b"world").unwrap().is_none());
    assert_eq!(commit(gathering.expire(start + 500 * MS)), [(sender(1), u64::MAX)]);
    assert!(take(&mut gathering, start + 600 * MS, sender(1), b"file").unwrap().is_none());
    let due = gathering.expire(start + Duration::from_secs(5));
    assert_eq!(commit(due), [(sender(1), 4), (sender(3), 11)]);
    assert_eq!(files(&dir).len(), 3);
}

#[test]
fn senders_are_bounded_and_who_is_done_goes_first() {
    let (dir, keeper) = keeper(IfExists::Rename, Some(10));
    let mut gathering = Gathering::new(keeper, 2);
    let now = Instant::now();
    assert!(take(&mut gathering, now, sender(1), b"a").unwrap().is_none());
    assert!(take(&mut gathering, now, sender(2), b"Hello").unwrap().is_none());
    let error = take(&mut gathering, now, sender(3), b"c").unwrap_err();
    assert_eq!(error.to_string(), "2 senders are served already, and datagrams of others are dropped");
    assert_eq!(commit(take(&mut gathering, now, sender(1), b"").unwrap()), [(sender(1), 1)]);
    assert!(take(&mut gathering, now, sender(3), b"c").unwrap().is_none());
    // What is too long is told of once, and passed over up to its end.
    assert!(take(&mut gathering, now, sender(3), b"ccccccccccc").is_err());
    assert!(take(&mut gathering, now, sender(3), b"c").unwrap().is_none());
    assert!(take(&mut gathering, now, sender(3), b"").unwrap().is_none());
    assert!(take(&mut gathering, now, sender(3), b"d").unwrap().is_none());
    assert_eq!(commit(take(&mut gathering, now, sender(3), b"").unwrap()), [(sender(3), 1)]);
    drop(gathering);
    assert_eq!(files(&dir).len(), 2);
}

#[test]
fn answers_are_no_weapon() {
    assert_eq!(raw::answer(sender(0), b"any\0thing"), Some(b"any\0thing".as_slice()));
    assert_eq!(raw::answer(sender(0), b""), Some(b"".as_slice()));
    assert_eq!(raw::answer(sender(0), b"Hello"), Some(GREETING));
    assert_eq!(raw::answer(sender(0), GREETING), None);
    assert_eq!(raw::answer(([10, 0, 0, 1], 7).into(), b"any"), None);
    // With the headers of IP and UDP.
    assert!(GREETING.len() + 28 < 3 * (b"Hello".len() + 28));
}
