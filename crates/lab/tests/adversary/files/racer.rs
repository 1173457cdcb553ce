//! Somebody on the server's machine who may write below the served directory, and swaps what is there as fast as he can.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use rustix::fs::{Dir, RenameFlags, renameat_with};

use crate::scene::Dice;

/// The threads that swap. They end when this is dropped.
pub(crate) struct Racer {
    stop: Arc<AtomicBool>,
    swaps: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Racer {
    /// Begins to swap these directories, which are there, and the partial files in them for what lies in `traps`, a directory
    /// beside them. All links in it lead to `outside`; `linked` is a file that gets second names.
    pub(crate) fn start(victims: &[PathBuf], traps: &Path, outside: &Path, linked: &Path) -> Self {
        let (stop, swaps) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let laid = lay(traps, outside);
        let directories: Vec<Victim> = victims.iter().map(|victim| Victim::new(victim)).collect();
        let inner: Vec<File> = victims.iter().map(|victim| File::open(victim).unwrap()).collect();
        let start = |work: Box<dyn Fn(&mut Dice) -> u64 + Send>, seed| {
            let (stop, swaps) = (Arc::clone(&stop), Arc::clone(&swaps));
            std::thread::spawn(move || {
                let mut dice = Dice::new(seed);
                while !stop.load(Ordering::Relaxed) {
                    swaps.fetch_add(work(&mut dice), Ordering::Relaxed);
                }
            })
        };
        let links = File::open(traps).unwrap();
        let birds = Birds {
            traps: links.try_clone().unwrap(),
            path: traps.to_owned(),
            watched: outside.join("a/canary"),
            linked: linked.to_owned(),
            laid: AtomicU64::new(0),
        };
        let swap = move |dice: &mut Dice| {
            let victim = &directories[dice.below(directories.len() as u64) as usize];
            let trap = &laid[dice.below(laid.len() as u64) as usize];
            victim.swap(&links, trap, dice.below(4))
        };
        let threads = vec![
            start(Box::new(swap), 1),
            start(Box::new(move |dice| birds.swap_parts(&inner[dice.below(inner.len() as u64) as usize])), 2),
        ];
        Self { stop, swaps, threads }
    }

    /// Ends it, with every directory back in its place: how often something was swapped.
    pub(crate) fn finish(mut self) -> u64 {
        self.end();
        self.swaps.load(Ordering::Relaxed)
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }
}

impl Drop for Racer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// A directory that is swapped: its name, and the open directory that it lies in, wherever that is by now.
struct Victim {
    parent: File,
    name: OsString,
}

impl Victim {
    fn new(path: &Path) -> Self {
        let parent = File::open(path.parent().unwrap()).unwrap();
        Self { parent, name: path.file_name().unwrap().to_owned() }
    }

    /// Swaps it for a trap and back, with so many rests between.
    fn swap(&self, traps: &File, trap: &OsStr, rests: u64) -> u64 {
        let exchange = || renameat_with(&self.parent, &self.name, traps, trap, RenameFlags::EXCHANGE);
        exchange().unwrap();
        (0..rests).for_each(|_| std::thread::yield_now());
        exchange().unwrap();
        2
    }
}

/// Lays links of all kinds, a directory and a file: their names.
fn lay(traps: &Path, outside: &Path) -> Vec<OsString> {
    fs::create_dir(traps).unwrap();
    let lay = |name: &str, to: &Path| {
        symlink(to, traps.join(name)).unwrap();
        OsString::from(name)
    };
    let away = outside.file_name().unwrap();
    // How far up the root of all is depends on where the link is put.
    let mut laid: Vec<OsString> =
        (1..=5).map(|up| lay(&format!("up-{up}"), &Path::new(&"../".repeat(up)).join(away))).collect();
    laid.extend([
        lay("straight", outside),
        lay("deep", &outside.join("a")),
        lay("dangling", &outside.join("not-there")),
        lay("chain", &traps.join("chain-2")),
        lay("loop", Path::new("loop")),
        lay("root", Path::new("/")),
        "plain-directory".into(),
        "plain-file".into(),
    ]);
    lay("chain-2", &traps.join("chain-3"));
    lay("chain-3", outside);
    fs::create_dir(traps.join("plain-directory")).unwrap();
    fs::write(traps.join("plain-file"), b"in the way").unwrap();
    laid
}

/// Lays a link to a file outside, or a second name of one.
struct Birds {
    traps: File,
    path: PathBuf,
    /// A file that is watched, and one that is not: a second name of it is as good as the first.
    watched: PathBuf,
    linked: PathBuf,
    laid: AtomicU64,
}

impl Birds {
    /// Swaps each partial file of this directory for something that is none, and back.
    fn swap_parts(&self, dir: &File) -> u64 {
        let Ok(mut names) = Dir::read_from(dir) else { return 0 };
        let mut swaps = 0;
        while let Some(Ok(entry)) = names.read() {
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name.as_bytes().ends_with(b".part") {
                swaps += self.swap(dir, name);
            }
        }
        swaps
    }

    fn swap(&self, dir: &File, part: &OsStr) -> u64 {
        let number = self.laid.fetch_add(1, Ordering::Relaxed);
        let name = format!("bird-{number}");
        let bird = self.path.join(&name);
        if number.is_multiple_of(2) {
            symlink(&self.watched, &bird).unwrap();
        } else {
            fs::hard_link(&self.linked, &bird).unwrap();
        }
        let exchange = || renameat_with(dir, part, &self.traps, &name, RenameFlags::EXCHANGE).is_ok();
        let swaps = if exchange() {
            std::thread::yield_now();
            1 + u64::from(exchange())
        } else {
            0
        };
        // When its name was gone meanwhile the partial file stays here.
        if bird.symlink_metadata().is_ok_and(|about| about.is_symlink() || about.nlink() > 1) {
            fs::remove_file(&bird).unwrap();
        }
        swaps
    }
}
