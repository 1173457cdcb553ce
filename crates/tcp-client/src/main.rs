//! Sends files to a `tcp-server`, and fetches files from it.

use std::process::ExitCode;

use cli::{Program, TcpFlags};

fn main() -> ExitCode {
    cli::client::main::<TcpFlags>(Program {
        name: env!("CARGO_PKG_NAME"),
        version: env!("CARGO_PKG_VERSION"),
    })
}
