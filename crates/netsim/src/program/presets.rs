//! `netsim preset list` and `netsim preset show`.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use netsim::{PRESETS, Preset};

pub(super) fn list() -> ExitCode {
    for preset in PRESETS {
        show!("{:<16} {}", preset.name, preset.about);
    }
    ExitCode::SUCCESS
}

pub(super) fn show(name: &str) -> Result<ExitCode> {
    let names = PRESETS.map(|preset| preset.name).join(", ");
    let preset =
        Preset::named(name).with_context(|| format!("there is no preset {name:?}; there are {names}"))?;
    show!("{}: {}", preset.name, preset.about);
    show!("  up    {}", preset.up);
    show!("  down  {}", preset.down);
    for source in preset.sources {
        show!("  {source}");
    }
    Ok(ExitCode::SUCCESS)
}
