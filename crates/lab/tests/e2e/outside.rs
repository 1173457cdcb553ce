//! Nothing outside its directory is ever written to by a server, whatever a peer sends: seen by `strace`.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use framing::{
    CHUNK_LEN, Checksum, ChunkSet, Entry, EntryKind, Hasher, Message, Offer, PageBuilder, Part, Sent,
    SentOutcome,
};
use lab::Transport;
use lab::process::{LIMIT, Process, program};

use crate::rogue::Rogue;
use crate::scene::{Scene, noise};

/// The system calls that make, change or remove something by its name, or open it; `?` for those
/// that not every machine has.
const CALLS: &str = "\
    trace=?open,?openat,?openat2,?creat,?truncate,?ftruncate,?rename,?renameat,?renameat2,?link,?linkat,\
    ?symlink,?symlinkat,?mkdir,?mkdirat,?mknod,?mknodat,?unlink,?unlinkat,?rmdir,?chmod,?fchmod,?fchmodat,\
    ?fchmodat2,?chown,?fchown,?lchown,?fchownat,?utime,?utimes,?utimensat,?setxattr,?fsetxattr,?removexattr,\
    ?fremovexattr";

/// What a traced call changed.
#[derive(Debug, PartialEq, Eq)]
enum Change {
    /// Something was opened for writing, or changed by its descriptor.
    Of(PathBuf),
    /// A name was made or removed in a directory.
    In(PathBuf),
    /// Something else than this test can judge.
    Unclear,
}

/// What a line of the trace changed. Calls that failed changed nothing.
fn change(line: &str) -> Vec<Change> {
    let Some((call, result)) = line.rsplit_once(" = ") else { return Vec::new() };
    if result.starts_with('-') || result.starts_with('?') {
        return Vec::new();
    }
    let Some((name, arguments)) = call.split_once('(') else { return vec![Change::Unclear] };
    let described = |text: &str| {
        let (_, path) = text.split_once('<')?;
        Some(PathBuf::from(path.split_once('>')?.0))
    };
    match name {
        "open" | "openat" | "openat2" => {
            let writes = ["O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC"].iter().any(|flag| call.contains(flag));
            if writes { vec![described(result).map_or(Change::Unclear, Change::Of)] } else { Vec::new() }
        }
        "ftruncate" | "fchmod" | "fchown" | "fsetxattr" | "fremovexattr" => {
            vec![described(arguments).map_or(Change::Unclear, Change::Of)]
        }
        "utimensat" if arguments.contains(">, NULL, ") => {
            vec![described(arguments).map_or(Change::Unclear, Change::Of)]
        }
        // A directory, and a name in it that is no path.
        "mkdirat" | "mknodat" | "unlinkat" | "renameat" | "renameat2" | "linkat" | "fchmodat"
        | "fchmodat2" | "fchownat" | "utimensat" => {
            let mut changes = Vec::new();
            let mut rest = arguments;
            while let Some((directory, after)) = rest.split_once(">, \"") {
                let Some((name, after)) = after.split_once('"') else { return vec![Change::Unclear] };
                let is_plain = !name.contains(['/', '\\']) && ![".", "..", ""].contains(&name);
                let directory = directory.rsplit_once('<').filter(|_| is_plain);
                changes.push(directory.map_or(Change::Unclear, |(_, path)| Change::In(path.into())));
                rest = after;
            }
            if changes.is_empty() { vec![Change::Unclear] } else { changes }
        }
        _ => vec![Change::Unclear],
    }
}

over_each_transport!(a_server_writes_nowhere_but_in_its_directory);

#[test]
fn the_trace_is_understood() {
    let of = |path: &str| vec![Change::Of(path.into())];
    let within = |path: &str| Change::In(path.into());
    let cases = [
        (r#"openat(AT_FDCWD</x>, "/etc/passwd", O_RDONLY|O_CLOEXEC) = 3</etc/passwd>"#, vec![]),
        (r#"openat(AT_FDCWD</x>, "/etc/passwd", O_WRONLY) = -1 EACCES (Permission denied)"#, vec![]),
        (r#"openat(AT_FDCWD</x>, "../a", O_WRONLY|O_CREAT, 0666) = 3</y/a>"#, of("/y/a")),
        (
            r#"openat2(4</in>, "l/a", {flags=O_RDWR|O_CREAT, mode=0600, resolve=RESOLVE_BENEATH}, 24) = 9</out/a>"#,
            of("/out/a"),
        ),
        (r#"ftruncate(9</in/a>, 5) = 0"#, of("/in/a")),
        (r#"fchmod(9</in/a>(deleted), 0644) = 0"#, of("/in/a")),
        (r#"utimensat(9</in/a>, NULL, [UTIME_NOW, {tv_sec=1, tv_nsec=0}], 0) = 0"#, of("/in/a")),
        (
            r#"renameat2(9</in>, ".a.part", 8</out>, "a", RENAME_NOREPLACE) = 0"#,
            vec![within("/in"), within("/out")],
        ),
        (r#"mkdirat(9</in>, "a", 0777) = 0"#, vec![within("/in")]),
        (r#"unlinkat(9</in>, "../a", 0) = 0"#, vec![Change::Unclear]),
        (r#"rename("a", "b") = 0"#, vec![Change::Unclear]),
    ];
    for (line, changes) in cases {
        assert_eq!(change(line), changes, "{line}");
    }
}

/// A server whose system calls are written down; `None`, and said so, when that can't be done here.
fn traced(scene: &Scene, log: &Path) -> Option<(Process, SocketAddr)> {
    let works = Command::new("strace").args(["-o", "/dev/null", "true"]).output();
    if !works.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: there is no strace, or it may not trace");
        return None;
    }
    let mut command = Command::new("strace");
    // With -D the server is our child, and the tracer is not; with -ff each thread has a file of its own.
    command.args(["-D", "-ff", "-y", "-s", "4096", "-e", CALLS, "-o"]).arg(log).current_dir(scene.root());
    command.arg(program(scene.transport().server()).unwrap());
    command.args(["--dir", "to", "--listen", "127.0.0.1:0", "--if-exists", "overwrite"]);
    let server = Process::spawn(&mut command).unwrap();
    let ready = |line: &str| line.split_once(" on ")?.1.split_once(',')?.0.parse().ok();
    let address = server.wait_for_line(LIMIT, ready).unwrap();
    Some((server, address))
}

/// Sends all that the server wants of these, as a client would that has nothing but its list.
fn send(transport: Transport, server: SocketAddr, entries: &[(&[u8], EntryKind)], content: &[u8]) -> String {
    let mut rogue = Rogue::connect(transport, server);
    let bytes =
        entries.iter().map(|(_, kind)| if let EntryKind::File { len } = kind { *len } else { 0 }).sum();
    rogue.say(&Message::Put(Offer {
        checksum: Checksum::Md5,
        plain: false,
        entries: entries.len() as u32,
        bytes,
    }));
    let mut page = PageBuilder::default();
    for &(path, kind) in entries {
        page.push(&Entry { kind, mode: 0o777, mtime: 1, mtime_nanos: 0, path });
    }
    rogue.say(&Message::Entries(page.page()));
    rogue.say(&Message::End(Part::Manifest));
    let mut heard = String::new();
    let mut wanted = ChunkSet::new();
    rogue.hear(|message| {
        heard.push_str(&format!("{message:?}\n"));
        if let Message::Want(page) = message {
            wanted.extend(page.iter());
        }
        matches!(message, Message::End(Part::Want)).then_some(())
    });
    // Every file has as many chunks.
    let files = entries.iter().zip(0_u32..).filter(|((_, kind), _)| *kind != EntryKind::Directory);
    let files: Vec<u32> = files.map(|(_, index)| index).collect();
    let chunks: Vec<&[u8]> = content.chunks(CHUNK_LEN).collect();
    let chunk = |number: u64| chunks[number as usize % chunks.len()];
    // With nothing to wait for, a server need not hear everything out.
    let mut is_over = false;
    rogue.send_chunks(&wanted, &chunk, &mut |message| {
        heard.push_str(&format!("{message:?}\n"));
        is_over |= matches!(message, Message::End(Part::Transfer));
    });
    let mut digests = PageBuilder::default();
    let last = |number: &u64| *number as usize % chunks.len() + 1 == chunks.len();
    for number in wanted.ranges().flatten().filter(last) {
        let index = files[number as usize / chunks.len()];
        let outcome = SentOutcome::Digest(Hasher::digest(Checksum::Md5, content));
        digests.push(&Sent { index, outcome });
    }
    if !digests.is_empty() {
        rogue.say(&Message::Sent(digests.page()));
    }
    rogue.say(&Message::End(Part::Chunks));
    if !is_over {
        rogue.hear(|message| {
            heard.push_str(&format!("{message:?}\n"));
            matches!(message, Message::End(Part::Transfer)).then_some(())
        });
    }
    heard
}

/// Everything below a directory: its permissions and what it holds.
fn picture(dir: &Path) -> BTreeMap<PathBuf, (u32, Option<Vec<u8>>)> {
    use std::os::unix::fs::PermissionsExt as _;
    let mut picture = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let about = path.metadata().unwrap();
        let content = about.is_file().then(|| fs::read(&path).unwrap());
        if about.is_dir() {
            picture.append(&mut self::picture(&path));
        }
        picture.insert(path, (about.permissions().mode(), content));
    }
    picture
}

/// How many files were opened for writing or changed, and how many names made or removed, all of them in this directory.
fn count_changes(log: &str, dir: &Path) -> (u32, u32) {
    let (mut files, mut names) = (0, 0);
    for line in log.lines() {
        for change in change(line) {
            let is_inside = match &change {
                Change::Of(path) if path.starts_with("/dev") || path.starts_with("/proc") => continue,
                Change::Of(path) => {
                    files += 1;
                    path.starts_with(dir)
                }
                Change::In(path) => {
                    names += 1;
                    path.starts_with(dir)
                }
                Change::Unclear => false,
            };
            assert!(is_inside, "{line}");
        }
    }
    (files, names)
}

fn a_server_writes_nowhere_but_in_its_directory(transport: Transport) {
    let scene = Scene::new(transport);
    let outside = scene.root().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("canary"), b"canary").unwrap();
    // Links that lead out, as somebody may have laid them there.
    symlink("../outside", scene.to("received-way")).unwrap();
    symlink(&outside, scene.to("received-straight")).unwrap();
    symlink("../outside/canary", scene.to("received-bird")).unwrap();
    symlink("../outside/new", scene.to("received-nowhere")).unwrap();
    symlink("..", scene.to("received-up")).unwrap();
    let before = picture(&outside);
    let traces = scene.root().join("traces");
    fs::create_dir(&traces).unwrap();
    let Some((server, address)) = traced(&scene, &traces.join("thread")) else { return };

    let content = noise(1, 3 * CHUNK_LEN);
    let file = EntryKind::File { len: content.len() as u64 };
    let absolute = outside.join("canary").into_os_string().into_encoded_bytes();
    let evil: Vec<(&[u8], EntryKind)> = [
        &b"../outside/canary"[..],
        b"../evil",
        b"a/../../outside/evil",
        b"..",
        b"a/..",
        b"/evil",
        &absolute,
        b"way/canary",
        b"way/evil",
        b"straight/evil",
        b"up/outside/evil",
        b"up/from/evil",
    ]
    .iter()
    .flat_map(|path| [(*path, file)])
    .chain([
        (&b"way"[..], EntryKind::Directory),
        (b"way/new", EntryKind::Directory),
        (b"../outside/dir", EntryKind::Directory),
        (b"up", EntryKind::Directory),
        (b"straight", EntryKind::Directory),
    ])
    .collect();
    let heard = send(transport, address, &evil, &content);
    assert_eq!(heard.matches("Refused(").count(), evil.len(), "{heard}");
    // What only looks like it: links that are to be replaced, and a good name, which shows that this client can send.
    let heard =
        send(transport, address, &[(b"bird", file), (b"nowhere", file), (b"deep/er/good", file)], &content);
    assert_eq!(heard.matches("verdict: Stored(").count(), 3, "{heard}");

    for number in 0..30 {
        scene.write(&format!("album/disc{}/track {number}", number % 3), &noise(number, 20_000));
    }
    scene.write("film.mp4", &noise(99, 3_000_000));
    for args in
        [&["album", "film.mp4"][..], &["album", "film.mp4"], &["get", "received-album", "--to", "back"]]
    {
        let output = scene.start(address, args).wait(LIMIT).unwrap();
        assert_eq!(output.code(), Some(0), "{}", output.stderr);
    }
    server.terminate().unwrap();
    // This is also the end of the tracer.
    assert_eq!(server.wait(LIMIT).unwrap().code(), Some(0));

    assert!(picture(&outside) == before);
    for name in ["bird", "nowhere", "deep/er/good"] {
        let there = scene.to(&format!("received-{name}"));
        assert!(there.symlink_metadata().unwrap().is_file(), "{name}");
        assert!(fs::read(there).unwrap() == content, "{name}");
    }
    let dir = fs::canonicalize(scene.to("")).unwrap();
    let traces =
        fs::read_dir(traces).unwrap().map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap());
    let log: String = traces.collect();
    let (files, names) = count_changes(&log, &dir);
    // Every file was opened and given its name.
    assert!(files >= 34 && names >= 2 * 34, "{files} {names}:\n{log}");
}
