//! Where the lines of a prompt are remembered.

use std::env;
use std::ffi::OsString;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// How many lines are remembered.
pub(super) const MAX_LINES: usize = 1000;

/// The file that they are kept in: `None` for somebody who has no directory for such things.
pub(super) fn path() -> Option<PathBuf> {
    below(env::var_os("XDG_STATE_HOME"), env::var_os("HOME"))
}

/// Makes the directory of the file, for its owner alone.
pub(super) fn make_directory(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |dir| DirBuilder::new().recursive(true).mode(0o700).create(dir))
}

fn below(state: Option<OsString>, home: Option<OsString>) -> Option<PathBuf> {
    // What is no absolute path counts as not set, says the XDG specification.
    let absolute = |dir: Option<OsString>| dir.map(PathBuf::from).filter(|dir| dir.is_absolute());
    let state = absolute(state).or_else(|| absolute(home).map(|home| home.join(".local/state")))?;
    Some(state.join("tandem/history"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn history_lies_with_the_users_state() {
        let of = |state: Option<&str>, home: Option<&str>| below(state.map(Into::into), home.map(Into::into));
        assert_eq!(of(Some("/s"), Some("/h")), Some("/s/tandem/history".into()));
        for state in [None, Some(""), Some("relative")] {
            assert_eq!(of(state, Some("/h")), Some("/h/.local/state/tandem/history".into()));
            assert_eq!(of(state, None), None);
        }
    }
}
