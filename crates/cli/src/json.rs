//! `--json`: one object a line on standard output.
//!
//! Every object has `event`; a program may get new events and fields, never other meanings for these. Sizes are bytes,
//! times seconds. A server's objects name the client that they are about in `peer`.
//!
//! | event | when | fields |
//! |---|---|---|
//! | `ready` | a server takes clients | `program`, `version`, `address`, `dir`, `key`; with `--raw` also `raw` (`echo`, or `save` with the `name`) |
//! | `key` | `keygen` has made one | `file`, `key`, `short` (the key itself, to be kept secret) |
//! | `start` | it is known what is to be transferred | `program`, `version`, `side` (`sender` or `receiver`), `peer`, `software` (the other program), `key`, `name`, `files`, `directories`, `bytes` |
//! | `progress` | at most twice a second | `peer`, `bytes` (crossed the link so far), `wanted` (are to cross it), `held` (were there already), `compared` (of those that were there, compared so far), `path` (the current file), `seconds`, `bytes_per_second`; on UDP `loss` (of the packets of late, 0 to 1), `rtt_ms` (of late) |
//! | `file` | it is known what has become of a file or directory | `peer`, `side`, `path` (the sender's name for it), `name` (the receiver's), `bytes`, `moved` (of it crossed the link), `held` (of it the receiver had already), `seconds`, `outcome`, `reason`, `checksum`, `here`, `there`, `same`, `chunks`, `lost`, `damaged`, `duplicated`, `reordered` |
//! | `retry` | the link was lost | `peer`, `reason`, `wait_seconds` |
//! | `packet` | a packet of a stream has come | `peer`, `number` (from 0), `sent_ns` (since the stream began, by the server's clock), `arrived_ns` (since it was asked for, by this side's), `late` (after one with a higher number), `copy` (it came before) |
//! | `stream` | a stream is over, or broke off | `peer`, `count`, `interval_ns`, `size`, `sent` (null when it broke off), and on a client `arrived`, `lost`, `duplicated`, `reordered`, `missed` (of the lost ones: came, and there was no room for them), `jitter_ns` (RFC 3550, over all `packet`s in their order), `jitter_mean_ns`, `gap_min_ns`, `gap_mean_ns`, `gap_p50_ns`, `gap_p99_ns`, `gap_max_ns` (from one to the next), `histogram` (of the gaps: `from_ns`, `to_ns`, `count`), `stopped`, `exit_code` |
//! | `note` | something worth knowing | `text`, `path` |
//! | `done` | a transfer came to its end | `peer`, `side`, `name`, `complete`, `verified`, `already_there`, `directories`, `kept`, `differs`, `damaged`, `changed`, `unreadable`, `refused`, `skipped`, `bytes`, `moved`, `seconds`, `bytes_per_second`, `exit_code`; on UDP `packets` (sent), `lost` (of them), `parts` (of chunks sent), `sent_again` (of them), `wire_bytes` (of all datagrams), `rtt_min_ms`, `rtt_avg_ms`, `datagram` (bytes of a full one), `limiter` (why it was not faster); `lost`, `parts`, `sent_again` and `datagram` not of a plain transfer |
//! | `making` | a server makes a text up, which is then transferred | `peer`, `length`, `seed` |
//! | `echo` | a server sent back what it was sent | `peer`, `bytes`; on a client also `text`, `rtt_ms` |
//! | `entry` | something is in a directory of the server | `peer`, `name`, `kind` (`file` or `directory`), `bytes`, `modified` (RFC 3339), `mode` |
//! | `list` | a server told what files it has | `peer`, `path`, `entries` |
//! | `chdir` | a server went to another directory with its client | `peer`, `path` |
//! | `raw` | a file was sent or kept with `--raw` | `side`, `peer`, `name`, `bytes`, `seconds`, `bytes_per_second`, `checksum`, `here`; over UDP `datagrams`; of a client `answer_bytes`, `answer` or `answer_checksum` |
//! | `said` | something came back while one types, with `--raw` | `peer`, `text` |
//! | `audit` | a server's client is done with what it wanted, or was turned away | `time` (RFC 3339, UTC), `peer` and `key` (null where there is none), `action`, `verdict`; `why`; of files `path`, `name` (stored here), `entries` (files and directories), `bytes` (of verified files), `moved`, `outcomes` (how many files ended like what); of a `list` `path`, `entries`, of `chdir` and `raw` `path`; of `generate` also `length`, `seed`; of a `stream` `count`, `interval_ns`, `size`, `sent`; of `echo` and `raw` `bytes`; of `left-out` `lines` |
//! | `audit-file` | only with `--audit`: what has become of a file or directory | `time`, `peer`, `key`, `action`, and those of `file` from `path` on |
//! | `audit-gap` | only with `--audit`: it could not be written for a while | `time`, `lines` (that are missing) |
//! | `error` | something failed; also on standard error | `message`, `exit_code`, `peer` |
//! | `stopped` | a server ends | |
//!
//! `key` is a fingerprint, 8 hex digits, and only there where there is a key. `outcome` is one of `verified`, `already-there`, `directory`, `kept`, `differs`, `damaged`, `changed`, `unreadable`, `refused`. `reason`
//! comes with the last two; `checksum`, `here`, `there` (the digests of both sides, in hex) and `same` with the first two,
//! `differs` and `damaged`. After a plain transfer come `chunks` (of the file) and which of them were `lost`, `damaged`, `duplicated` and
//! `reordered`, each as numbers from 0 on and ranges with both ends in them: `3,17-19`. The numbers of a link are those of
//! the sending side. `limiter` is one of `link`, `receiver`, `sender`, `disk`, `hashing`, `rate limit`. `path` and `name` are UTF-8, with � for what isn't; then `path_hex` and `name_hex` have the exact bytes.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use framing::Digest;
use link::LinkStats;
use serde_json::{Map, Value, json};
use session::{Answer, Faults, FileReport, Outcome, Side, StreamPlan, Summary};

use crate::exit::Exit;
use crate::{plain, units};

/// An object with this event and no field yet.
pub(crate) fn event(event: &str) -> Map<String, Value> {
    Map::from_iter([("event".to_owned(), event.into())])
}

/// Puts a name in: lossless for what is UTF-8, and otherwise with its bytes beside.
pub(crate) fn put_name(object: &mut Map<String, Value>, key: &str, name: &OsStr) {
    object.insert(key.to_owned(), name.to_string_lossy().into());
    if name.to_str().is_none() {
        let mut hex = String::with_capacity(2 * name.len());
        for byte in name.as_bytes() {
            // Writing to a string does not fail.
            let _ = write!(hex, "{byte:02x}");
        }
        object.insert(format!("{key}_hex"), hex.into());
    }
}

/// What a server has done besides transfers.
pub(crate) fn answer(answer: &Answer<'_>, peer: &str) -> Value {
    let mut object = match answer {
        Answer::Echo { .. } => event("echo"),
        Answer::List { .. } => event("list"),
        Answer::Chdir { .. } => event("chdir"),
        Answer::Stream { .. } => event("stream"),
    };
    object.insert("peer".to_owned(), peer.into());
    match *answer {
        Answer::Echo { bytes } => {
            object.insert("bytes".to_owned(), bytes.into());
        }
        Answer::List { path, entries } => {
            put_name(&mut object, "path", path);
            object.insert("entries".to_owned(), entries.into());
        }
        Answer::Chdir { path } => put_name(&mut object, "path", path),
        Answer::Stream { plan, sent } => object.extend(stream_plan(plan, Some(sent))),
    }
    object.into()
}

/// What a stream was to be, and how many packets of it were sent.
pub(crate) fn stream_plan(plan: StreamPlan, sent: Option<u64>) -> [(String, Value); 4] {
    [
        ("count", plan.count.into()),
        ("interval_ns", plan.interval.into()),
        ("size", plan.size.into()),
        ("sent", sent.into()),
    ]
    .map(|(key, value): (&str, Value)| (key.to_owned(), value))
}

/// The word for a side.
pub(crate) const fn side(side: Side) -> &'static str {
    match side {
        Side::Sender => "sender",
        Side::Receiver => "receiver",
    }
}

/// The object of a file or directory.
pub(crate) fn file(report: &FileReport<'_>, peer: &str) -> Value {
    let mut object = event("file");
    object.insert("peer".to_owned(), peer.into());
    object.insert("side".to_owned(), side(report.side).into());
    put_name(&mut object, "path", report.path);
    put_name(&mut object, "name", report.name);
    object.insert("bytes".to_owned(), report.len.into());
    object.insert("moved".to_owned(), report.moved.into());
    object.insert("held".to_owned(), report.held.into());
    object.insert("seconds".to_owned(), seconds(report.elapsed).into());
    let word = match report.outcome {
        Outcome::Verified(digest) => {
            put_digests(&mut object, digest, digest);
            "verified"
        }
        Outcome::AlreadyThere(digest) => {
            put_digests(&mut object, digest, digest);
            "already-there"
        }
        Outcome::Differs { here, there } => {
            put_digests(&mut object, here, there);
            "differs"
        }
        Outcome::Damaged { here, there, .. } => {
            put_digests(&mut object, here, there);
            "damaged"
        }
        Outcome::Directory => "directory",
        Outcome::Kept => "kept",
        Outcome::Changed => "changed",
        Outcome::Unreadable(why) => {
            object.insert("reason".to_owned(), why.into());
            "unreadable"
        }
        Outcome::Refused(why) | Outcome::Failed(why) => {
            object.insert("reason".to_owned(), why.into());
            "refused"
        }
    };
    object.insert("outcome".to_owned(), word.into());
    if let Some(Faults { chunks, lost, damaged, duplicated, reordered }) = report.faults {
        object.insert("chunks".to_owned(), (*chunks).into());
        let sets =
            [("lost", lost), ("damaged", damaged), ("duplicated", duplicated), ("reordered", reordered)];
        object.extend(sets.map(|(key, set)| (key.to_owned(), plain::ranges(set).into())));
    }
    object.into()
}

/// The object of a transfer that came to its end, of files that were repaired unless it was plain.
pub(crate) fn done(
    summary: &Summary,
    side: Side,
    name: &OsStr,
    peer: &str,
    exit: Exit,
    is_plain: bool,
) -> Value {
    let mut object = event("done");
    put_name(&mut object, "name", name);
    let fields = json!({
        "peer": peer,
        "side": self::side(side),
        "complete": summary.is_complete(),
        "verified": summary.verified,
        "already_there": summary.already_there,
        "directories": summary.directories,
        "kept": summary.kept,
        "differs": summary.differs,
        "damaged": summary.damaged,
        "changed": summary.changed,
        "unreadable": summary.unreadable,
        "refused": summary.refused,
        "skipped": summary.skipped,
        "bytes": summary.bytes,
        "moved": summary.moved,
        "seconds": seconds(summary.elapsed),
        "bytes_per_second": rate(summary.moved, summary.elapsed),
        "exit_code": exit.code(),
    });
    if let Value::Object(fields) = fields {
        object.extend(fields);
    }
    if let Some(stats) = &summary.link {
        put_link(&mut object, stats, is_plain);
    }
    object.into()
}

/// Puts in what a link has seen of its path: of a plain transfer little, for its packets are not acknowledged.
fn put_link(object: &mut Map<String, Value>, stats: &LinkStats, is_plain: bool) {
    let fields = [
        (true, "packets", Value::from(stats.packets_sent)),
        (!is_plain, "lost", stats.packets_lost.into()),
        (!is_plain, "parts", stats.parts_sent.into()),
        (!is_plain, "sent_again", stats.parts_sent_again.into()),
        (true, "wire_bytes", stats.bytes_sent.into()),
        (true, "rtt_min_ms", millis(stats.min_rtt).into()),
        (true, "rtt_avg_ms", millis(stats.mean_rtt).into()),
        (!is_plain, "datagram", stats.datagram_len.into()),
        (true, "limiter", stats.limiter.to_string().into()),
    ];
    let known = fields.into_iter().filter(|(is_known, ..)| *is_known);
    object.extend(known.map(|(_, key, value)| (key.to_owned(), value)));
}

/// A time in seconds, to the microsecond.
pub(crate) fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e6
}

/// A time in milliseconds, to the microsecond.
pub(crate) fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

/// A share from 0 to 1, to six digits.
pub(crate) fn share(share: f64) -> f64 {
    (share * 1e6).round() / 1e6
}

/// Bytes per second, in whole bytes.
pub(crate) fn rate(bytes: u64, time: Duration) -> u64 {
    units::per_second(bytes, time).map_or(0, |rate| rate as u64)
}

fn put_digests(object: &mut Map<String, Value>, here: Digest, there: Digest) {
    object.insert("checksum".to_owned(), here.checksum().name().into());
    object.insert("here".to_owned(), here.to_string().into());
    object.insert("there".to_owned(), there.to_string().into());
    object.insert("same".to_owned(), (here == there).into());
}

#[cfg(test)]
mod tests {
    use framing::{Checksum, ChunkSet, Hasher};
    use link::Limiter;

    use super::*;

    fn report(outcome: Outcome<'_>) -> FileReport<'_> {
        FileReport {
            side: Side::Sender,
            path: OsStr::from_bytes(b"caf\xe9.mp3"),
            name: OsStr::new("received-café.mp3"),
            len: 5,
            moved: 4,
            held: 0,
            elapsed: Duration::from_millis(500),
            outcome,
            faults: None,
        }
    }

    #[test]
    fn a_file_has_its_fields() {
        let here = Hasher::digest(Checksum::Md5, b"");
        let there = Hasher::digest(Checksum::Md5, b"a");
        let expected = json!({
            "event": "file", "peer": "nas:8120", "side": "sender",
            "path": "caf\u{fffd}.mp3", "path_hex": "636166e92e6d7033", "name": "received-café.mp3",
            "bytes": 5, "moved": 4, "held": 0, "seconds": 0.5, "outcome": "differs", "checksum": "md5",
            "here": "d41d8cd98f00b204e9800998ecf8427e", "there": "0cc175b9c0f1b6a831c399e269772661",
            "same": false,
        });
        assert_eq!(file(&report(Outcome::Differs { here, there }), "nas:8120"), expected);
    }

    #[test]
    fn outcomes_have_stable_words() {
        let digest = Hasher::digest(Checksum::Md5, b"");
        let cases = [
            (Outcome::Verified(digest), "verified", Some(true), None),
            (Outcome::AlreadyThere(digest), "already-there", Some(true), None),
            (Outcome::Directory, "directory", None, None),
            (Outcome::Kept, "kept", None, None),
            (Outcome::Changed, "changed", None, None),
            (Outcome::Unreadable("why"), "unreadable", None, Some("why")),
            (Outcome::Refused("why"), "refused", None, Some("why")),
        ];
        for (outcome, word, same, reason) in cases {
            let object = file(&report(outcome), "p");
            assert_eq!(object["outcome"], word);
            assert_eq!(object.get("same").and_then(Value::as_bool), same, "{word}");
            assert_eq!(object.get("reason").and_then(Value::as_str), reason, "{word}");
        }
    }

    #[test]
    fn an_object_is_one_line() {
        let report = FileReport { path: OsStr::new("a\nb\"c"), ..report(Outcome::Directory) };
        let line = file(&report, "p").to_string();
        assert_eq!(line.lines().count(), 1);
        assert!(line.contains(r#""path":"a\nb\"c""#), "{line}");
    }

    #[test]
    fn the_end_has_all_counts() {
        let summary = Summary {
            verified: 2,
            bytes: 9,
            moved: 8,
            elapsed: Duration::from_secs(2),
            ..Summary::default()
        };
        let object = done(&summary, Side::Receiver, OsStr::new("tree"), "p", Exit::Done, false);
        assert_eq!(
            (&object["event"], &object["complete"], &object["exit_code"]),
            (&"done".into(), &true.into(), &0.into())
        );
        assert_eq!((&object["verified"], &object["bytes_per_second"]), (&2.into(), &4.into()));
        let fields = "event name peer side complete verified already_there directories kept differs damaged changed \
                      unreadable refused skipped bytes moved seconds bytes_per_second exit_code";
        let expected: Vec<&str> = fields.split_whitespace().collect();
        assert_eq!(object.as_object().unwrap().keys().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn the_end_tells_of_the_path_where_the_link_knows_it() {
        let stats = LinkStats {
            packets_sent: 43_210,
            packets_lost: 441,
            parts_sent: 43_000,
            parts_sent_again: 470,
            bytes_sent: 61_000_000,
            min_rtt: Duration::from_nanos(100_100_400),
            mean_rtt: Duration::from_micros(104_200),
            smoothed_rtt: Duration::from_micros(103_000),
            datagram_len: 1427,
            loss: 0.0102,
            limiter: Limiter::RateLimit,
        };
        let summary = Summary { link: Some(stats), ..Summary::default() };
        let object = done(&summary, Side::Sender, OsStr::new("a"), "p", Exit::Done, false);
        let expected = json!({
            "packets": 43_210, "lost": 441, "parts": 43_000, "sent_again": 470, "wire_bytes": 61_000_000,
            "rtt_min_ms": 100.1, "rtt_avg_ms": 104.2, "datagram": 1427, "limiter": "rate limit",
        });
        for (key, value) in expected.as_object().unwrap() {
            assert_eq!(&object[key], value, "{key}");
        }
        let object = done(&summary, Side::Sender, OsStr::new("a"), "p", Exit::Done, true);
        assert_eq!((object.get("packets"), object.get("lost")), (Some(&43_210.into()), None));
    }

    #[test]
    fn damage_is_told_in_full() {
        let digest = Hasher::digest(Checksum::Md5, b"");
        let faults = Faults {
            chunks: 30,
            lost: [3..4, 17..20].into_iter().collect(),
            reordered: ChunkSet::from(7..8),
            ..Faults::default()
        };
        let there = Hasher::digest(Checksum::Md5, b"a");
        let outcome = Outcome::Damaged { here: digest, there, report: &faults };
        let object = file(&FileReport { faults: Some(&faults), ..report(outcome) }, "p");
        let expected = json!({
            "outcome": "damaged", "same": false, "chunks": 30, "lost": "3,17-19", "damaged": "", "duplicated": "",
            "reordered": "7",
        });
        for (key, value) in expected.as_object().unwrap() {
            assert_eq!(&object[key], value, "{key}");
        }
    }
}
