//! `lab attack`: all attacks, with larger numbers than the tests have time for, and what they do to who is served meanwhile.

use lab::Transport;
use lab::attack::{ALL, Effort, HEAD};

use crate::say;

/// Attacks the servers of this build in all ways there are, and says what was lost (nothing) and what it cost them. Ends
/// with 1 when something was lost, or when a transfer beside a flood fell below 80 % of its rate.
#[derive(Debug, clap::Args)]
pub(crate) struct AttackArgs {
    /// Only the attacks that have this in their names
    #[arg(value_name = "TEXT")]
    only: Option<String>,
    /// Only over this transport
    #[arg(long, value_parser = ["tcp", "udp"])]
    over: Option<String>,
    /// As little of each as the tests do
    #[arg(long)]
    quick: bool,
}

/// Whether all was well.
pub(crate) fn run(args: &AttackArgs) -> anyhow::Result<bool> {
    let effort = if args.quick { Effort::Test } else { Effort::Full };
    let is_named = |name: &str| args.only.as_ref().is_none_or(|only| name.contains(only.as_str()));
    let is_over = |transport: Transport| args.over.as_ref().is_none_or(|over| *over == transport.to_string());
    say(&format!("{HEAD}\n"));
    let (mut lines, mut bad) = (0_u32, 0_u32);
    for attack in ALL.iter().filter(|attack| is_named(attack.name)) {
        for transport in attack.transports.iter().filter(|transport| is_over(**transport)) {
            let row = attack.run(*transport, effort)?;
            say(&format!("{row}\n"));
            lines += 1;
            bad += u32::from(!row.lost.is_empty());
        }
    }
    anyhow::ensure!(lines > 0, "there is no such attack");
    say(&format!("\n{LEGEND}"));
    if bad > 0 {
        say(&format!("\n{bad} of {lines} attacks succeeded\n"));
    }
    Ok(bad == 0)
}

/// What the columns mean.
const LEGEND: &str = "\
tried    messages, datagrams, connections, or times that something was done to a conversation
lost     after each attack the server has to take a file and give it back, and to hold just what was sent to it
memory   the most resident memory of the server, and how much more that was than before the attack
CPU      processor time of the server, with all transfers beside the attack
took     the time from the beginning to the end of the attack
Who attacks, the servers and the clients share the processors of this machine. So that those who attack have some, the
transfers beside floods and crowds are held to 100 Mbit/s: over UDP by --rate, over TCP by netsim relay. The share is
the median time of five whole commands alone, by that of five during the attack, in turns.
";
