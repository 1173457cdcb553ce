//! Takes files from clients over UDP, and gives files to them.

use std::process::ExitCode;

use cli::{Program, UdpFlags};

fn main() -> ExitCode {
    cli::server::main::<UdpFlags>(Program {
        name: env!("CARGO_PKG_NAME"),
        version: env!("CARGO_PKG_VERSION"),
    })
}
