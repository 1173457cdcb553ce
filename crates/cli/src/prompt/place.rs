//! The current directory on the server. It is kept here: a server that has forgotten it loses nothing.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::escape;

/// A directory below the one that is served.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// Its path from there; empty for that one itself.
    path: Vec<u8>,
}

impl Place {
    /// The path from the served directory of what is called so from here: `/` in front begins there, `..` goes up.
    pub(crate) fn resolve(&self, path: &[u8]) -> Result<OsString, String> {
        let mut parts: Vec<&[u8]> =
            if path.starts_with(b"/") { Vec::new() } else { Self::parts(&self.path).collect() };
        for part in Self::parts(path) {
            if part != b".." {
                parts.push(part);
            } else if parts.pop().is_none() {
                let shown = escape::name(OsStr::from_bytes(path));
                return Err(format!("{shown}: nothing is above the server's directory"));
            }
        }
        Ok(OsString::from_vec(parts.join(&b'/')))
    }

    /// Goes to this path.
    pub(super) fn go(&mut self, path: &OsStr) {
        self.path = path.as_bytes().to_vec();
    }

    /// Its path from the served directory.
    pub(super) fn path(&self) -> &OsStr {
        OsStr::from_bytes(&self.path)
    }

    /// Its path as it is shown.
    pub(super) fn shown(&self) -> String {
        format!("/{}", escape::name(self.path()))
    }

    fn parts(path: &[u8]) -> impl Iterator<Item = &[u8]> {
        path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_are_resolved_from_here() {
        let mut here = Place::default();
        assert_eq!(here.shown(), "/");
        assert_eq!(here.resolve(b"media").unwrap(), "media");
        here.go(OsStr::new("media/old"));
        assert_eq!(here.shown(), "/media/old");
        for (path, meant) in [
            ("", "media/old"),
            (".", "media/old"),
            ("..", "media"),
            ("../..", ""),
            ("/", ""),
            ("a//b/./c/", "media/old/a/b/c"),
            ("../new/x", "media/new/x"),
            ("/song.mp3", "song.mp3"),
            ("a/../..", "media"),
            ("...", "media/old/..."),
        ] {
            assert_eq!(here.resolve(path.as_bytes()).unwrap(), meant, "{path}");
        }
    }

    #[test]
    fn nothing_is_above_the_root() {
        let mut here = Place::default();
        for path in ["..", "/..", "a/../..", "/a/../../b"] {
            assert!(here.resolve(path.as_bytes()).unwrap_err().contains("above"), "{path}");
        }
        here.go(OsStr::new("a"));
        assert!(here.resolve(b"../..").is_err());
    }

    proptest! {
        #[test]
        fn what_comes_out_is_clean(here in "[a/.]{0,8}", path in "[ab/.]{0,12}") {
            let mut place = Place::default();
            if let Ok(start) = place.resolve(here.as_bytes()) {
                place.go(&start);
                if let Ok(path) = place.resolve(path.as_bytes()) {
                    prop_assert!(
                        path.is_empty()
                            || path.as_bytes().split(|byte| *byte == b'/').all(|part| !matches!(part, b"" | b"." | b".."))
                    );
                }
            }
        }
    }
}
