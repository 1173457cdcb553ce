//! The program `netsim`: it puts the library's link between real programs.

/// A line of netsim's own on standard error. Where nobody reads it, it is left out.
macro_rules! say {
    ($($words:tt)*) => {{
        let line = format!("netsim: {}\n", format_args!($($words)*));
        let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
    }};
}

/// A line of what was asked for on standard output. Who has read enough need not read on.
macro_rules! show {
    ($($words:tt)*) => {{
        let line = format!("{}\n", format_args!($($words)*));
        let _ = std::io::Write::write_all(&mut std::io::stdout(), line.as_bytes());
    }};
}

mod args;
mod doctor;
mod emulator;
mod kernel;
mod namespaces;
mod netlink;
mod presets;
mod record;
mod relay;
mod report;
mod run;
mod stage;
mod tally;
mod wire;

use std::io;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;

use args::{Arguments, PresetTask, Task};
use stage::{Interrupted, NotStarted};

/// The word that makes netsim the keeper of its own commands.
const KEEPER_NAME: &str = "__keep";

/// netsim itself failed.
const FAILED: u8 = 125;
/// The command is there and cannot be started.
const CANNOT_START: u8 = 126;
/// The command is not there.
const NOT_FOUND: u8 = 127;
/// What was typed makes no sense.
const USAGE: u8 = 2;

pub(super) fn main() -> ExitCode {
    let arguments = Arguments::parse();
    act(&arguments.task).unwrap_or_else(|error| {
        say!("{error:#}");
        ExitCode::from(code_of(&error))
    })
}

fn act(task: &Task) -> Result<ExitCode> {
    match task {
        Task::Run(arguments) => run::run(arguments),
        Task::Shell(arguments) => run::shell(arguments),
        Task::Relay(arguments) => relay::run(arguments),
        Task::Doctor(arguments) if arguments.print_apparmor => {
            show!("{}", doctor::apparmor_profile().trim_end());
            Ok(ExitCode::SUCCESS)
        }
        Task::Doctor(_) => Ok(doctor::examine()),
        Task::Preset(PresetTask::List) => Ok(presets::list()),
        Task::Preset(PresetTask::Show { name }) => presets::show(name),
        Task::Keep => stage::keep().map(|()| ExitCode::SUCCESS),
    }
}

fn code_of(error: &anyhow::Error) -> u8 {
    if error.is::<netsim::TextError>() {
        return USAGE;
    }
    if let Some(Interrupted(signal)) = error.downcast_ref::<Interrupted>() {
        return 128 + *signal as u8;
    }
    match error.downcast_ref::<NotStarted>() {
        Some(not_started) if not_started.error.kind() == io::ErrorKind::NotFound => NOT_FOUND,
        Some(_) => CANNOT_START,
        None => FAILED,
    }
}
