//! What the person sees: arguments, progress bars, reports, JSON lines, exit codes.
//!
//! A program is a `main` of one line: [`server::main`] or [`client::main`], told its name and its transport. The transport
//! brings its own flags and says how to listen or connect ([`Bind`], [`Connect`]); everything else is the same over TCP
//! and UDP. This crate decides nothing about files or the conversation: it hands the person's wishes to `session` and
//! tells the person what `session` reports.
//!
//! ```text
//! arguments -> client | server -> session, with a Reporter as its Observer
//!                                     |
//!                    Reporter -> report (text) | json (objects) | progress (bars) -> Screen
//! ```

mod address;
pub mod client;
mod escape;
mod exit;
mod flags;
mod interrupt;
pub mod json;
mod key;
mod listing;
mod plain;
mod progress;
pub mod prompt;
mod raw;
mod report;
mod reporter;
mod screen;
pub mod server;
mod stream;
mod transport;
mod units;

pub use exit::Exit;
pub use transport::{Bind, Connect, RawLink, RawListener, TcpFlags, UdpClientFlags, UdpFlags};

/// Which program this is.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// Its name, such as `tcp-client`.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
}

impl Program {
    /// How it greets the other side.
    fn software(&self) -> String {
        format!("{} {}", self.name, self.version)
    }

    /// The name of the program that it talks to.
    fn counterpart(&self) -> String {
        match self.name.strip_suffix("-client") {
            Some(transport) => format!("{transport}-server"),
            None => self.name.replace("-server", "-client"),
        }
    }

    /// Takes as many file descriptors as the system allows: a server's clients have several files open each.
    fn take_descriptors() {
        use rustix::process::{Resource, getrlimit, setrlimit};
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = limit.maximum;
        // With fewer it works too, for fewer clients.
        let _ = setrlimit(Resource::Nofile, limit);
    }
}
