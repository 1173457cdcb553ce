//! What is known of the server's directories, for as long as nobody can tell the difference: within one line.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::rc::Rc;

use session::Listed;

/// Listings, each asked for once.
#[derive(Debug, Default)]
pub(super) struct Shelf(RefCell<HashMap<OsString, Rc<Vec<Listed>>>>);

impl Shelf {
    /// What is in a directory; `ask` finds out, if it is not known.
    pub(super) fn of<E>(
        &self,
        path: &OsStr,
        ask: impl FnOnce() -> Result<Vec<Listed>, E>,
    ) -> Result<Rc<Vec<Listed>>, E> {
        if let Some(known) = self.0.borrow().get(path) {
            return Ok(Rc::clone(known));
        }
        let asked = Rc::new(ask()?);
        self.0.borrow_mut().insert(path.to_owned(), Rc::clone(&asked));
        Ok(asked)
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        self.0.borrow_mut().clear();
    }
}
