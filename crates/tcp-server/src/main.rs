//! Takes files from clients over TCP, and gives files to them.

use std::process::ExitCode;

use cli::{Program, TcpFlags};

fn main() -> ExitCode {
    cli::server::main::<TcpFlags>(Program {
        name: env!("CARGO_PKG_NAME"),
        version: env!("CARGO_PKG_VERSION"),
    })
}
