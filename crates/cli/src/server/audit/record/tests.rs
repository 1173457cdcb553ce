use std::os::unix::ffi::OsStrExt as _;

use serde_json::json;

use super::*;

fn record(action: Action, what: What, amount: Amount, verdict: Verdict) -> Record {
    let at = "2026-11-21T17:03:11.9Z".parse().unwrap();
    Record { at, who: Who { peer: "127.0.0.1:51234".parse().ok(), key: None }, action, what, amount, verdict }
}

fn files(path: &[u8], name: &[u8], more: u64) -> What {
    What::Files { path: OsStr::from_bytes(path).to_owned(), name: OsStr::from_bytes(name).to_owned(), more }
}

fn verified(count: u64) -> Verdict {
    Verdict::of(&Summary { verified: count, ..Summary::default() }, String::new())
}

#[test]
fn a_line_has_its_fields_in_order() {
    let what = files(b"chamber.mp4", b"received-chamber.mp4", 0);
    let put = record(Action::Put, what, Amount::Files { bytes: 3_145_728, moved: 3_145_728 }, verified(1));
    assert_eq!(
        put.line(),
        "audit  2026-11-21T17:03:11Z   127.0.0.1:51234   no key   put   chamber.mp4 as received-chamber.mp4   \
         3145728 bytes   verified"
    );
    let cases = [
        (
            record(
                Action::Get,
                files(b"media", b"", 11),
                Amount::Files { bytes: 9, moved: 1 },
                Verdict::of(
                    &Summary { verified: 9, unreadable: 2, directories: 1, ..Summary::default() },
                    "no".to_owned(),
                ),
            ),
            "get   media and 11 more   9 bytes, 1 moved   mixed: 9 verified, 2 unreadable",
        ),
        (
            record(
                Action::Generate,
                What::Text { length: 1000, seed: 7 },
                Amount::Files { bytes: 1000, moved: 1000 },
                verified(1),
            ),
            "generate   1000 characters, seed 7   1000 bytes   verified",
        ),
        (
            record(Action::List, What::Place("media".into()), Amount::Entries(1), Verdict::Done),
            "list   media   1 entry   done",
        ),
        (
            record(Action::Chdir, What::Place("".into()), Amount::Nothing, Verdict::Done),
            "chdir   .   -   done",
        ),
        (record(Action::Echo, What::Nothing, Amount::Bytes(5), Verdict::Done), "echo   -   5 bytes   done"),
        (
            record(
                Action::Stream,
                What::Packets(StreamPlan { count: 1000, interval: 5_000_000, size: 256 }),
                Amount::Packets(969),
                Verdict::Done,
            ),
            "stream   256 bytes every 5 ms   969 of 1000 packets   done",
        ),
        (
            record(
                Action::Connect,
                What::Nothing,
                Amount::Nothing,
                Verdict::TurnedAway("it has another key".to_owned()),
            ),
            "connect   -   -   turned-away: it has another key",
        ),
        (
            record(
                Action::Put,
                files(b"", b"", 0),
                Amount::Files { bytes: 0, moved: 0 },
                Verdict::BrokeOff("gone".to_owned()),
            ),
            "put   -   0 bytes   broke-off: gone",
        ),
    ];
    for (record, tail) in cases {
        let line = record.line();
        assert_eq!(line.split("   ").skip(3).collect::<Vec<_>>().join("   "), tail);
        assert_eq!(line.split("   ").count(), 7, "{line}");
    }
}

#[test]
fn no_name_forges_a_line_or_a_field() {
    let forged = b"a   9 bytes   verified\naudit  2026-01-01T00:00:00Z \x1b[2J\xff  ";
    for what in
        [files(forged, b" b", 0), files(b"x", forged, 3), What::Place(OsStr::from_bytes(forged).into())]
    {
        let refused = Verdict::Refused(String::from_utf8_lossy(forged).into_owned());
        for verdict in [verified(1), refused] {
            let line = record(Action::Put, what.clone(), Amount::Nothing, verdict).line();
            assert_eq!(line.lines().count(), 1, "{line}");
            assert!(
                !line.contains('\x1b') && !line.contains('\u{fffd}') || line.contains("refused"),
                "{line}"
            );
            assert_eq!(line.split("   ").count(), 7, "{line}");
            assert!(line.split("   ").all(|field| field.trim() == field), "{line}");
        }
    }
    assert_eq!(field("a  b   c "), "a \\x20b \\x20 c\\x20");
    assert_eq!(field(" "), "\\x20");
    assert_eq!(field("its own words: a b"), "its own words: a b");
}

#[test]
fn an_object_has_its_fields() {
    let what = files(b"caf\xe9", b"received-x", 1);
    let counts = Summary { verified: 1, refused: 1, ..Summary::default() };
    let put = record(
        Action::Put,
        what,
        Amount::Files { bytes: 5, moved: 6 },
        Verdict::of(&counts, "too\nlarge".to_owned()),
    );
    assert_eq!(
        put.object(),
        json!({
            "event": "audit", "time": "2026-11-21T17:03:11Z", "peer": "127.0.0.1:51234", "key": null, "action": "put",
            "path": "caf\u{fffd}", "path_hex": "636166e9", "name": "received-x", "entries": 2, "bytes": 5, "moved": 6,
            "verdict": "mixed", "outcomes": { "verified": 1, "refused": 1 }, "why": "too\nlarge",
        })
    );
    assert_eq!(put.object().to_string().lines().count(), 1);
    let away = record(Action::Connect, What::Nothing, Amount::Nothing, Verdict::TurnedAway("why".to_owned()));
    let expected = json!({
        "event": "audit", "time": "2026-11-21T17:03:11Z", "peer": "127.0.0.1:51234", "key": null, "action": "connect",
        "verdict": "turned-away", "why": "why",
    });
    assert_eq!(away.object(), expected);
}

#[test]
fn a_transfer_has_one_word() {
    let word = |summary: Summary| Verdict::of(&summary, String::new()).word();
    assert_eq!(word(Summary::default()), "done");
    assert_eq!(word(Summary { directories: 3, ..Summary::default() }), "directory");
    assert_eq!(word(Summary { directories: 3, kept: 1, ..Summary::default() }), "kept");
    assert_eq!(word(Summary { already_there: 3, verified: 1, ..Summary::default() }), "mixed");
    assert_eq!(word(Summary { damaged: 1, ..Summary::default() }), "damaged");
}

#[test]
fn long_names_lose_their_middle() {
    let long = [b"\x1b\xff".repeat(2000), b"end".to_vec()].concat();
    let refused = Verdict::Refused("why ".repeat(2000));
    let mut record = record(Action::Get, files(&long, &long, 0), Amount::Nothing, refused);
    record.shorten();
    let line = record.line();
    assert!(line.len() < 1000 && line.split("   ").count() == 7, "{line}");
    assert!(
        line.contains("\\u{1b}\\xff") && line.contains("end") && line.ends_with("why why\\x20"),
        "{line}"
    );
    assert!(record.object().to_string().len() < 2000);
}

#[test]
fn what_lasts_is_weighty() {
    let of = |amount, verdict| record(Action::Put, files(b"a", b"", 0), amount, verdict).is_weighty();
    let none = Amount::Files { bytes: 0, moved: 0 };
    assert!(of(none, verified(1)));
    assert!(of(Amount::Files { bytes: 0, moved: 1 }, Verdict::BrokeOff(String::new())));
    assert!(!of(none, Verdict::BrokeOff(String::new())));
    assert!(!of(none, Verdict::Refused(String::new())));
    let there = Verdict::of(&Summary { already_there: 1, ..Summary::default() }, String::new());
    assert!(!of(Amount::Files { bytes: 9, moved: 0 }, there));
    assert!(!record(Action::Echo, What::Nothing, Amount::Bytes(9), Verdict::Done).is_weighty());
    assert!(
        !record(Action::Generate, What::Nothing, Amount::Files { bytes: 1, moved: 1 }, verified(1))
            .is_weighty()
    );
    // What is there already costs its client nothing, and what is empty neither.
    let directory =
        |made| Verdict::of(&Summary { directories: 1, made, ..Summary::default() }, String::new());
    assert!(of(none, directory(1)));
    assert!(!of(none, directory(0)));
    let given = |verdict| record(Action::Get, files(b"a", b"", 0), none, verdict).is_weighty();
    assert!(!given(verified(1)) && !given(directory(0)));
    assert!(record(Action::Raw, What::Nothing, Amount::Bytes(9), Verdict::Done).is_weighty());
}
