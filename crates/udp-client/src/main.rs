//! Sends files to a `udp-server`, and fetches files from it.

use std::process::ExitCode;

use cli::{Program, UdpClientFlags};

fn main() -> ExitCode {
    cli::client::main::<UdpClientFlags>(Program {
        name: env!("CARGO_PKG_NAME"),
        version: env!("CARGO_PKG_VERSION"),
    })
}
