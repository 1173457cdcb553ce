//! Giving complete files their final names.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use cap_std::fs::Dir;
use framing::Entry;
use rustix::fs::{Mode, RenameFlags, Timespec, Timestamps, UTIME_NOW};

use super::name::{numbered, tagged};
use super::{IfExists, PartFile, Target};

/// From how many files on one flush of the whole file system is cheaper than one for each.
pub(crate) const MANY: usize = 8;
/// How many numbers are tried one after the other to find a free name; beyond it the gap is searched for.
const NEAR: u32 = 16;
/// The highest number in a name.
const MAX_NUMBER: u32 = 1 << 30;
/// How often a free name may be found that somebody else takes first.
const MAX_RACES: u32 = 1000;

/// A file that is complete and verified, or one of which no more will come.
#[derive(Debug)]
pub struct Finished {
    /// Its index in the manifest.
    pub index: u32,
    /// The partial file.
    pub part: Arc<PartFile>,
    /// Where it is to go.
    pub target: Target,
    /// Permission bits.
    pub mode: u16,
    /// Time of the last change on the sender's side: seconds and nanoseconds.
    pub mtime: (i64, u32),
    /// Whether it is not what was sent: then its name says so.
    pub is_damaged: bool,
}

impl Finished {
    /// Puts together what a commit needs.
    #[must_use]
    pub const fn new(index: u32, part: Arc<PartFile>, target: Target, entry: &Entry<'_>) -> Self {
        let mtime = (entry.mtime, entry.mtime_nanos);
        Self { index, part, target, mode: entry.mode, mtime, is_damaged: false }
    }
}

/// How a commit ended.
#[derive(Debug)]
pub enum Committed {
    /// It is in place under this path.
    Stored(PathBuf),
    /// Something else got the name first, and is kept.
    Kept(PathBuf),
    /// Something else got the name first, and the settings say to fail then.
    Exists,
    /// It is in place, but its directory can't be flushed: its name may not outlive a failure of the power.
    Unflushed(io::Error),
    /// The file system failed.
    Failed(io::Error),
}

/// The files that a transfer has stored, where it overwrites others: it never overwrites its own. Two names that differ may
/// be the same to the file system, as where it knows no case, or by way of a link.
#[derive(Debug, Default)]
pub struct Placed(HashSet<(u64, u64)>);

impl Placed {
    fn has(&self, dir: &Dir, name: &OsStr) -> bool {
        use cap_std::fs::MetadataExt as _;
        !self.0.is_empty()
            && dir.symlink_metadata(name).is_ok_and(|there| self.0.contains(&(there.dev(), there.ino())))
    }

    fn note(&mut self, part: &PartFile) -> io::Result<()> {
        use std::os::unix::fs::MetadataExt as _;
        let about = part.file().metadata()?;
        self.0.insert((about.dev(), about.ino()));
        Ok(())
    }
}

/// Flushes the files to disk, gives them their final names, and flushes those: the verdict on each. `placed` is the same for
/// all files of a transfer.
#[must_use]
pub fn commit(finished: &[Finished], if_exists: IfExists, placed: &mut Placed) -> Vec<Committed> {
    let flushed: Vec<io::Result<()>> = finished.iter().map(prepare).collect();
    let flushed: Vec<io::Result<()>> = if finished.len() >= MANY && flush_file_systems(finished).is_ok() {
        flushed
    } else {
        let flush = |(file, prepared): (&Finished, io::Result<()>)| {
            prepared.and_then(|()| file.part.file().sync_all())
        };
        finished.iter().zip(flushed).map(flush).collect()
    };
    let mut committed: Vec<Committed> = finished
        .iter()
        .zip(flushed)
        .map(|(file, flushed)| match flushed.and_then(|()| place(file, if_exists, placed)) {
            Ok(committed) => {
                file.part.remove_twins(file.target.path.name(), file.target.part);
                committed
            }
            Err(error) => Committed::Failed(error),
        })
        .collect();
    flush_directories(finished, &mut committed);
    committed
}

/// Permission bits and time, which are part of what is flushed.
fn prepare(file: &Finished) -> io::Result<()> {
    let fd = file.part.file();
    rustix::fs::fchmod(fd, Mode::from_raw_mode(file.mode.into()))?;
    set_mtime(fd, file.mtime)
}

pub(crate) fn set_mtime(fd: impl std::os::fd::AsFd, (tv_sec, nanos): (i64, u32)) -> io::Result<()> {
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
        last_modification: Timespec { tv_sec, tv_nsec: nanos.into() },
    };
    Ok(rustix::fs::futimens(fd, &times)?)
}

fn flush_file_systems(finished: &[Finished]) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    let mut flushed = Vec::new();
    for file in finished {
        let device = file.part.file().metadata()?.dev();
        if !flushed.contains(&device) {
            flush_file_system(file.part.file())?;
            flushed.push(device);
        }
    }
    Ok(())
}

/// Flushes everything of the file system that this lies on.
#[cfg(target_os = "linux")]
pub(super) fn flush_file_system(fd: impl std::os::fd::AsFd) -> io::Result<()> {
    Ok(rustix::fs::syncfs(fd)?)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn flush_file_system(_: impl std::os::fd::AsFd) -> io::Result<()> {
    Ok(rustix::fs::sync())
}

fn place(file: &Finished, if_exists: IfExists, placed: &mut Placed) -> io::Result<Committed> {
    let (dir, from, to) = (file.part.dir(), file.part.name(), file.target.path.name());
    let damaged = tagged(to, ".damaged");
    let (to, if_exists) = match if_exists {
        _ if !file.is_damaged => (to, if_exists),
        IfExists::Skip | IfExists::Fail => (&*damaged, IfExists::Rename),
        _ => (&*damaged, if_exists),
    };
    let stored = |name: &OsStr| {
        // Whoever may write here may have put something else in the partial file's place a moment before.
        if !file.part.is_called(name)? {
            return Err(io::Error::other("something took the place of its partial file"));
        }
        Ok(Committed::Stored(file.target.path.with_name(name)))
    };
    match if_exists {
        IfExists::Overwrite | IfExists::Update => {
            let name = if placed.has(dir, to) {
                rename_to_numbered(dir, from, to)?
            } else {
                dir.rename(from, dir, to)?;
                to.to_owned()
            };
            placed.note(&file.part)?;
            stored(&name)
        }
        IfExists::Rename | IfExists::Hide => stored(&rename_to_numbered(dir, from, to)?),
        IfExists::Skip => {
            if rename_to_new(dir, from, to)? {
                return stored(to);
            }
            file.part.remove()?;
            Ok(Committed::Kept(file.target.path.as_path().to_owned()))
        }
        IfExists::Fail => {
            if rename_to_new(dir, from, to)? {
                return stored(to);
            }
            Ok(Committed::Exists)
        }
    }
}

/// Renames to this name, or to one with a number that is free: the new name.
fn rename_to_numbered(dir: &Dir, from: &OsStr, to: &OsStr) -> io::Result<OsString> {
    for name in std::iter::once(to.to_owned()).chain((1..=NEAR).map(|number| numbered(to, number))) {
        if rename_to_new(dir, from, &name)? {
            return Ok(name);
        }
    }
    for _ in 0..MAX_RACES {
        let Some(number) = find_free(NEAR, |number| is_taken(dir, &numbered(to, number))) else { break };
        let name = numbered(to, number);
        if rename_to_new(dir, from, &name)? {
            return Ok(name);
        }
    }
    Err(io::Error::other("no free name is left for it"))
}

fn is_taken(dir: &Dir, name: &OsStr) -> bool {
    dir.symlink_metadata(name).is_ok()
}

/// A number that is free, behind one that is taken, with as few questions as the logarithm of it: `taken` is.
fn find_free(mut taken: u32, is_taken: impl Fn(u32) -> bool) -> Option<u32> {
    let mut free = taken * 2;
    while is_taken(free) {
        taken = free;
        free = free.checked_mul(2).filter(|free| *free <= MAX_NUMBER)?;
    }
    while free - taken > 1 {
        let middle = taken + (free - taken) / 2;
        if is_taken(middle) {
            taken = middle;
        } else {
            free = middle;
        }
    }
    Some(free)
}

/// Renames, unless the new name is taken: `false` then.
fn rename_to_new(dir: &Dir, from: &OsStr, to: &OsStr) -> io::Result<bool> {
    match rustix::fs::renameat_with(dir, from, dir, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::EXIST) => Ok(false),
        // File systems without it: a second name, then the first one away.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => match dir.hard_link(from, dir, to) {
            Ok(()) => dir.remove_file(from).map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        },
        Err(error) => Err(error.into()),
    }
}

/// Makes the new names last: each directory once.
fn flush_directories(finished: &[Finished], committed: &mut [Committed]) {
    let mut flushed: Vec<(*const Dir, Result<(), OsString>)> = Vec::new();
    for (file, committed) in finished.iter().zip(committed) {
        if !matches!(committed, Committed::Stored(_)) {
            continue;
        }
        let dir = file.part.dir();
        let key = Arc::as_ptr(dir);
        let known = flushed.iter().find(|(known, _)| *known == key).map(|(_, result)| result.clone());
        let result = known.unwrap_or_else(|| {
            let result = flush_directory(dir).map_err(|error| error.to_string().into());
            flushed.push((key, result.clone()));
            result
        });
        if let Err(error) = result {
            *committed = Committed::Unflushed(io::Error::other(error.to_string_lossy().into_owned()));
        }
    }
}

pub(crate) fn flush_directory(dir: &Dir) -> io::Result<()> {
    // The handle of a rooted directory may be one that only names it; `.` opened for reading can be flushed.
    dir.open(".")?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_free_number_is_found_with_few_questions() {
        for first_free in [17, 18, 31, 32, 33, 1000, 99_999, 1 << 20] {
            let asked = Cell::new(0);
            let found = find_free(NEAR, |number| {
                asked.set(asked.get() + 1);
                number < first_free
            });
            assert_eq!(found, Some(first_free));
            assert!(asked.get() < 60, "{first_free}: {}", asked.get());
        }
        assert_eq!(find_free(NEAR, |_| true), None);
    }
}
