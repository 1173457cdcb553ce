//! A directory that nobody may touch, and a watch over it.

use std::collections::BTreeMap;
use std::fs;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};

/// What is in every file of it, so that it can be told when it gets out.
pub(crate) const CANARY: &[u8] = b"CANARY: this lies outside of the served directory";

/// Everything that can be seen done to a directory or a file: opened, read, listed, written, made, removed, renamed, changed.
const EVERYTHING: WatchFlags = WatchFlags::ACCESS
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::CREATE)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::OPEN);

/// A directory outside of the served one, with the same names in it.
pub(crate) struct Outside {
    dir: PathBuf,
    watch: OwnedFd,
    before: Picture,
}

type Picture = BTreeMap<PathBuf, (u32, Option<Vec<u8>>)>;

impl Outside {
    /// Makes it, with a file of each of these paths, and begins to watch.
    pub(crate) fn new<'a>(dir: &Path, files: impl IntoIterator<Item = &'a str>) -> Self {
        for file in files {
            let file = dir.join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, CANARY).unwrap();
        }
        let before = picture(dir);
        let watch = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
        inotify::add_watch(&watch, dir, EVERYTHING).unwrap();
        for (path, _) in before.iter().filter(|(_, (_, content))| content.is_none()) {
            inotify::add_watch(&watch, path, EVERYTHING).unwrap();
        }
        Self { dir: dir.to_owned(), watch, before }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// What was done to it by its names: one line each, at most a few.
    pub(crate) fn touched(&self) -> Vec<String> {
        let mut buffer = [MaybeUninit::uninit(); 8192];
        let mut reader = Reader::new(&self.watch, &mut buffer);
        let mut touched = Vec::new();
        while let Ok(event) = reader.next() {
            if touched.len() < 20 && !event.events().contains(ReadFlags::IGNORED) {
                touched.push(format!("{:?} {:?}", event.events(), event.file_name()));
            }
        }
        touched
    }

    /// Whether all is there as it was, and nothing else.
    pub(crate) fn is_unchanged(&self) -> bool {
        picture(&self.dir) == self.before
    }
}

/// Everything below a directory: its permissions and what it holds.
fn picture(dir: &Path) -> Picture {
    let mut picture = Picture::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let about = path.symlink_metadata().unwrap();
        let content = about.is_file().then(|| fs::read(&path).unwrap());
        if about.is_dir() {
            picture.append(&mut self::picture(&path));
        }
        picture.insert(path, (about.permissions().mode(), content));
    }
    picture
}
