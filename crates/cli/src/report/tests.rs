use std::time::Duration;

use framing::{Checksum, Hasher};
use link::Limiter;
use session::Faults;

use super::*;

fn client() -> View {
    View {
        is_server: false,
        peer: "127.0.0.1:8120".to_owned(),
        dir: ".".into(),
        is_several: false,
        fate: Fate::Kept,
    }
}

fn server() -> View {
    View {
        is_server: true,
        peer: "127.0.0.1:40312".to_owned(),
        dir: ".".into(),
        is_several: false,
        fate: Fate::Kept,
    }
}

fn digest() -> Digest {
    Hasher::digest(Checksum::Md5, b"The quick brown fox jumps over the lazy dog")
}

fn report(side: Side, outcome: Outcome<'_>) -> FileReport<'_> {
    FileReport {
        side,
        path: OsStr::new("chamber.mp4"),
        name: OsStr::new("received-chamber.mp4"),
        len: 3_100_000,
        moved: 3_100_000,
        held: 0,
        elapsed: Duration::from_millis(20),
        outcome,
        faults: None,
    }
}

fn said(view: &View, report: &FileReport<'_>) -> String {
    view.file(report).unwrap()
}

#[test]
fn a_sent_file_is_told_as_designed() {
    assert_eq!(
        said(&client(), &report(Side::Sender, Outcome::Verified(digest()))),
        "sent  chamber.mp4   3.1 MB in 0.02 s   155 MB/s\n\
         md5   9e107d9d372bb6826bd81d3542a419d6   here\n\
         md5   9e107d9d372bb6826bd81d3542a419d6   127.0.0.1:8120 received-chamber.mp4   same"
    );
}

#[test]
fn a_fetched_file_is_told_with_its_new_place() {
    let view = View { dir: "in/new".into(), ..client() };
    assert_eq!(
        said(&view, &report(Side::Receiver, Outcome::Verified(digest()))),
        "got   chamber.mp4   3.1 MB in 0.02 s   155 MB/s   as in/new/received-chamber.mp4\n\
         md5   9e107d9d372bb6826bd81d3542a419d6   here\n\
         md5   9e107d9d372bb6826bd81d3542a419d6   127.0.0.1:8120 chamber.mp4   same"
    );
}

#[test]
fn a_server_tells_what_it_took_and_gave() {
    assert_eq!(
        said(&server(), &report(Side::Receiver, Outcome::Verified(digest()))),
        "received  received-chamber.mp4   3.1 MB in 0.02 s   155 MB/s   from 127.0.0.1:40312\n\
         md5   9e107d9d372bb6826bd81d3542a419d6   here\n\
         md5   9e107d9d372bb6826bd81d3542a419d6   127.0.0.1:40312 chamber.mp4   same"
    );
    let sent = said(&server(), &report(Side::Sender, Outcome::Verified(digest())));
    assert!(
        sent.starts_with("sent  chamber.mp4   3.1 MB in 0.02 s   155 MB/s   to 127.0.0.1:40312\n"),
        "{sent}"
    );
    assert!(sent.ends_with("   127.0.0.1:40312 received-chamber.mp4   same"), "{sent}");
}

#[test]
fn what_differs_is_loud() {
    let there = Hasher::digest(Checksum::Md5, b"");
    let report = report(Side::Sender, Outcome::Differs { here: digest(), there });
    let said = said(&client(), &report);
    assert!(
        said.ends_with(
            "\nmd5   d41d8cd98f00b204e9800998ecf8427e   127.0.0.1:8120 received-chamber.mp4   DIFFERS"
        ),
        "{said}"
    );
    assert!(client().failure(&report).unwrap().starts_with("chamber.mp4: its md5 on 127.0.0.1:8120 differs"));
}

#[test]
fn what_was_there_is_said() {
    let resumed =
        FileReport { moved: 1_100_000, held: 2_000_000, ..report(Side::Sender, Outcome::Verified(digest())) };
    let said_so = client().file(&resumed).unwrap();
    assert!(
        said_so.starts_with(
            "sent  chamber.mp4   1.1 MB of 3.1 MB in 0.02 s   55 MB/s   (2.0 MB were there already)\n"
        ),
        "{said_so}"
    );
    // A hole in a sparse file does not cross the link either.
    let sparse = FileReport { moved: 1_100_000, held: 0, ..resumed };
    assert!(!said(&client(), &sparse).contains("already"));

    let there = FileReport { moved: 0, ..report(Side::Sender, Outcome::AlreadyThere(digest())) };
    assert_eq!(
        said(&client(), &there).lines().next().unwrap(),
        "there  chamber.mp4   3.1 MB   already on 127.0.0.1:8120 as received-chamber.mp4, verified"
    );
    let there = FileReport { moved: 0, ..report(Side::Receiver, Outcome::AlreadyThere(digest())) };
    assert_eq!(
        said(&server(), &there).lines().next().unwrap(),
        "there  received-chamber.mp4   3.1 MB   already here, verified   from 127.0.0.1:40312"
    );
}

#[test]
fn names_cannot_steer_the_terminal() {
    let evil = OsStr::new("a\u{1b}[2J\nmd5   x   here");
    let report = FileReport { path: evil, name: evil, ..report(Side::Sender, Outcome::Verified(digest())) };
    let said = said(&client(), &report);
    assert_eq!(said.lines().count(), 3);
    assert!(!said.contains('\u{1b}'));
}

#[test]
fn blake3_has_its_column() {
    let digest = Hasher::digest(Checksum::Blake3, b"");
    let said = said(&client(), &report(Side::Sender, Outcome::Verified(digest)));
    assert!(said.contains("\nblake3  af1349b9f5f9a1a6"), "{said}");
}

#[test]
fn failures_name_the_file_the_place_and_the_reason() {
    let cases = [
        (
            client(),
            Side::Sender,
            Outcome::Refused("no room\nleft"),
            "127.0.0.1:8120 did not store chamber.mp4: no room\\nleft",
        ),
        (
            client(),
            Side::Sender,
            Outcome::Unreadable("Permission denied (os error 13)"),
            "cannot read chamber.mp4: permission denied",
        ),
        (client(), Side::Receiver, Outcome::Refused("it exists"), "cannot store chamber.mp4: it exists"),
        (
            client(),
            Side::Receiver,
            Outcome::Unreadable("gone"),
            "127.0.0.1:8120 cannot read chamber.mp4: gone",
        ),
        (
            server(),
            Side::Receiver,
            Outcome::Refused("it exists"),
            "cannot store received-chamber.mp4: it exists (client 127.0.0.1:40312)",
        ),
    ];
    for (view, side, outcome, text) in cases {
        assert_eq!(view.failure(&report(side, outcome)).as_deref(), Some(text));
    }
    for good in
        [Outcome::Verified(digest()), Outcome::Directory, Outcome::Kept, Outcome::AlreadyThere(digest())]
    {
        assert_eq!(client().failure(&report(Side::Sender, good)), None);
    }
}

#[test]
fn many_files_are_told_in_two_lines() {
    let summary = Summary {
        verified: 10_000,
        directories: 12,
        bytes: 40_000_000,
        moved: 40_000_000,
        elapsed: Duration::from_millis(1_200),
        ..Summary::default()
    };
    assert_eq!(
        client().summary(&summary, Side::Sender, Some(OsStr::new("tree")), OsStr::new("received-tree"), 0),
        "sent  tree   10000 files, 12 directories   40.0 MB in 1.2 s   33 MB/s   as received-tree on 127.0.0.1:8120"
    );
    assert_eq!(
        client().summary(&summary, Side::Receiver, None, OsStr::new("received-tree"), 0),
        "got   10000 files, 12 directories   40.0 MB in 1.2 s   33 MB/s   from 127.0.0.1:8120"
    );
    let resumed = Summary { moved: 4_000_000, ..summary.clone() };
    assert_eq!(
        server().summary(
            &resumed,
            Side::Sender,
            Some(OsStr::new("tree")),
            OsStr::new("received-tree"),
            36_000_000
        ),
        "sent  tree   10000 files, 12 directories   4.0 MB of 40.0 MB in 1.2 s   3.3 MB/s   \
         (36.0 MB were there already)   to 127.0.0.1:40312"
    );
    assert_eq!(client().verified(&summary, "md5"), "md5   10000 files verified on both sides");
    let summary = Summary { already_there: 1, refused: 2, skipped: 3, kept: 4, ..summary };
    assert_eq!(
        server().summary(&summary, Side::Receiver, Some(OsStr::new("tree")), OsStr::new("received-tree"), 0),
        "received  received-tree   10001 files, 12 directories, 4 kept, 2 failed, 3 left out   40.0 MB in 1.2 s   33 MB/s   \
         (1 file was there already)   from 127.0.0.1:40312"
    );
}

#[test]
fn kept_files_say_who_keeps_what() {
    let said = |view: View, side| said(&view, &report(side, Outcome::Kept));
    assert_eq!(
        said(client(), Side::Sender),
        "kept  chamber.mp4   127.0.0.1:8120 keeps its own, not compared (--if-exists)"
    );
    assert_eq!(
        said(client(), Side::Receiver),
        "kept  received-chamber.mp4   stays as it was, not compared (--if-exists)"
    );
    assert_eq!(
        said(server(), Side::Receiver),
        "kept  received-chamber.mp4   stays as it was, not compared (--if-exists)   from 127.0.0.1:40312"
    );
}

fn stats() -> LinkStats {
    LinkStats {
        packets_sent: 43_210,
        packets_lost: 441,
        parts_sent: 43_000,
        parts_sent_again: 473,
        bytes_sent: 61_000_000,
        min_rtt: Duration::from_micros(100_100),
        mean_rtt: Duration::from_micros(104_200),
        smoothed_rtt: Duration::from_micros(103_000),
        datagram_len: 1427,
        loss: 0.0102,
        limiter: Limiter::Link,
    }
}

#[test]
fn the_path_is_told_in_one_line() {
    assert_eq!(
        client().link(&stats(), false),
        "udp   43210 packets   1.02 % lost   1.10 % sent again   RTT 100.1 ms min, 104.2 ms avg   1427-byte datagrams   \
         limited by: link"
    );
    let line = server().link(&LinkStats { limiter: Limiter::RateLimit, ..stats() }, false);
    assert!(line.ends_with("   limited by: rate limit   client 127.0.0.1:40312"), "{line}");
    assert_eq!(
        client().link(&stats(), true),
        "udp   43210 packets   RTT 100.1 ms min, 104.2 ms avg   limited by: link"
    );
}

#[test]
fn what_was_not_repaired_says_where_it_is() {
    let faults = Faults { chunks: 757, lost: [3..4, 17..20].into_iter().collect(), ..Faults::default() };
    let (here, there) = (digest(), Hasher::digest(Checksum::Md5, b""));
    let outcome = Outcome::Damaged { here, there, report: &faults };
    let of = |side, moved| FileReport {
        name: OsStr::new("received-chamber.damaged.mp4"),
        moved,
        ..report(side, outcome)
    };
    let sent = of(Side::Sender, 3_100_000);
    assert_eq!(
        said(&client(), &sent),
        "sent  chamber.mp4   3.1 MB in 0.02 s   155 MB/s\n\
         md5   9e107d9d372bb6826bd81d3542a419d6   here\n\
         md5   d41d8cd98f00b204e9800998ecf8427e   127.0.0.1:8120 received-chamber.damaged.mp4   DIFFERS"
    );
    assert_eq!(
        client().failure(&sent).unwrap(),
        "chamber.mp4: 4 of 757 chunks were lost on the way to 127.0.0.1:8120, which keeps what came as \
         received-chamber.damaged.mp4"
    );
    let got = of(Side::Receiver, 3_083_616);
    let view = View { dir: "in".into(), ..client() };
    assert!(
        said(&view, &got).starts_with(
            "got   chamber.mp4   3.1 MB of 3.1 MB in 0.02 s   154 MB/s   as in/received-chamber.damaged.mp4\n"
        ),
        "{}",
        said(&view, &got)
    );
    assert_eq!(
        view.failure(&got).unwrap(),
        "chamber.mp4: 4 of 757 chunks were lost on the way from 127.0.0.1:8120; what came is kept as \
         in/received-chamber.damaged.mp4"
    );
    assert_eq!(
        server().failure(&got).unwrap(),
        "chamber.mp4: 4 of 757 chunks were lost on the way from 127.0.0.1:40312; what came is kept as \
         received-chamber.damaged.mp4"
    );
    let summary = Summary { verified: 1, damaged: 1, differs: 1, ..Summary::default() };
    let line = client().summary(&summary, Side::Sender, None, OsStr::new(""), 0);
    assert!(line.starts_with("sent  1 file, 1 damaged, 1 failed   "), "{line}");
}

#[test]
fn a_made_file_is_called_as_it_was_asked_for_or_counted() {
    let report = FileReport {
        path: OsStr::new("generated-5.txt"),
        name: OsStr::new("it"),
        len: 5,
        ..report(Side::Receiver, Outcome::Verified(digest()))
    };
    let told = |fate, report: &FileReport<'_>| {
        let view = View { fate, ..client() };
        view.file(report).or_else(|| view.failure(report)).unwrap()
    };
    let first = |text: String| text.lines().next().unwrap().to_owned();
    assert!(first(told(Fate::Removed, &report)).ends_with("   5 characters, not kept"));
    assert!(first(told(Fate::KeptAs("in/it".into()), &report)).ends_with("   as in/it"));
    let refused = FileReport { outcome: Outcome::Refused("no"), ..report };
    assert_eq!(told(Fate::KeptAs("in/it".into()), &refused), "cannot store in/it: no");
}
