//! What was typed.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, Parser, Subcommand, ValueEnum};
use netsim::{FLAGS, FaultText, PRESETS, Preset, TextError};

/// A bad network in a box: real programs behind a link that loses, delays, doubles, reorders and damages packets.
#[derive(Debug, Parser)]
#[command(name = "netsim", version, subcommand_required = true, arg_required_else_help = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) task: Task,
}

#[derive(Debug, Subcommand)]
pub(super) enum Task {
    /// Run a server and a command that talks to it, with a bad link between them.
    #[command(after_long_help = RUN_HELP)]
    Run(RunArguments),
    /// A shell behind a bad link.
    #[command(after_long_help = SHELL_HELP)]
    Shell(ShellArguments),
    /// Relay to a server in user space: anywhere, without rights, but with sockets instead of packets.
    #[command(after_long_help = RELAY_HELP)]
    Relay(RelayArguments),
    /// Say what works on this machine, what does not, and what would make it work.
    Doctor(DoctorArguments),
    /// Links of the world, and where their figures are from.
    #[command(subcommand)]
    Preset(PresetTask),
    #[command(name = super::KEEPER_NAME, hide = true)]
    Keep,
}

const RUN_HELP: &str = "\
The two commands run in networks of their own, of which the other end is all there is: the client has the address 10.77.0.1, \
the server 10.77.0.2, also in NETSIM_CLIENT and NETSIM_SERVER. The server must listen on 10.77.0.2 or 0.0.0.0. CMD starts as \
soon as it listens (on TCP or UDP), or after --wait. Times of faults count from the start of CMD.

FAULTS hold for both directions; --up F (client to server) and --down F replace or add flags for one, as in --up \"--loss 5%\".
--delay is one way: 20ms are a round trip of 40 ms.

Exit code: that of CMD; 128 + n if signal n ended it; 125 if netsim itself failed; 126 or 127 if CMD cannot be started.

Example: netsim run --loss 5% --delay 20ms --server \"python3 -m http.server 8000\" -- curl -O http://10.77.0.2:8000/file";

const SHELL_HELP: &str = "\
Your shell runs at the client's end (10.77.0.1). With --server, its command runs at the other end, 10.77.0.2. Inside, `ping`, \
`ip` and `tcpdump` work. Exit the shell and everything is gone.";

const RELAY_HELP: &str = "\
A relay has no packets. With udp, each datagram is one: it can be lost, delayed, doubled, reordered and damaged (a datagram \
with flipped bits is dropped, as the kernel's checksum would; fixup and neutral damage reaches the program). With tcp, the \
kernels on both sides repair everything, so nothing can be lost: loss, a full queue and flipped bits stall the stream for 200 ms \
instead, blackouts stall it for as long as they last, what is held back holds up what is behind it, doubles do not show, and \
resets cut it. To see what loss does to TCP itself, use `netsim run`.";

#[derive(Debug, Args)]
pub(super) struct RunArguments {
    #[command(flatten)]
    pub(super) link: LinkArguments,
    #[command(flatten)]
    pub(super) packets: PacketArguments,
    #[command(flatten)]
    pub(super) server: ServerArguments,
    /// The client's command
    #[arg(required = true, last = true, value_name = "CMD")]
    pub(super) client: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(super) struct ShellArguments {
    #[command(flatten)]
    pub(super) link: LinkArguments,
    #[command(flatten)]
    pub(super) packets: PacketArguments,
    #[command(flatten)]
    pub(super) server: ServerArguments,
}

/// The other end.
#[derive(Debug, Args)]
pub(super) struct ServerArguments {
    /// The server's command, for /bin/sh. It is started first; what it prints goes to standard error
    #[arg(long, value_name = "CMD")]
    pub(super) server: Option<String>,
    /// For how long it is waited until the server listens
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    pub(super) wait: Duration,
}

#[derive(Debug, Args)]
pub(super) struct RelayArguments {
    #[command(flatten)]
    pub(super) link: LinkArguments,
    /// Where to listen
    #[arg(long, value_name = "ADDR:PORT")]
    pub(super) listen: SocketAddr,
    /// The server
    #[arg(long, value_name = "ADDR:PORT")]
    pub(super) to: SocketAddr,
    /// What to relay
    #[arg(long, value_enum)]
    pub(super) proto: Protocol,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Protocol {
    Tcp,
    Udp,
}

#[derive(Debug, Args)]
pub(super) struct DoctorArguments {
    /// Print the AppArmor profile that lets this program make user namespaces, and nothing else
    #[arg(long)]
    pub(super) print_apparmor: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum PresetTask {
    /// All of them, a line each.
    List,
    /// One of them, with its faults and their sources.
    Show {
        /// Its name
        name: String,
    },
}

/// The link: its faults, each way, and its seed.
#[derive(Debug, Args)]
pub(super) struct LinkArguments {
    #[command(flatten)]
    faults: FaultArguments,
    /// Other or further faults from the client to the server, like "--loss 5%"
    #[arg(long, value_name = "FAULTS", help_heading = "Faults", allow_hyphen_values = true)]
    up: Option<FaultText>,
    /// Other or further faults from the server to the client
    #[arg(long, value_name = "FAULTS", help_heading = "Faults", allow_hyphen_values = true)]
    down: Option<FaultText>,
    /// The faults of a preset (`netsim preset list`); flags replace or add to them
    #[arg(long, value_name = "NAME", help_heading = "Faults", value_parser = preset)]
    preset: Option<&'static Preset>,
    /// The same seed means the same verdict on each packet by its number. A random one otherwise, and printed
    #[arg(long, value_name = "N")]
    pub(super) seed: Option<u64>,
    /// Say at the end what was asked and what was given, and how well netsim kept up
    #[arg(long)]
    pub(super) stats: bool,
    /// The same as JSON, into a file
    #[arg(long, value_name = "FILE")]
    pub(super) stats_json: Option<PathBuf>,
}

/// What only whole packets have.
#[derive(Debug, Args)]
pub(super) struct PacketArguments {
    /// What happened to each packet, a line of JSON each
    #[arg(long, value_name = "FILE")]
    pub(super) log: Option<PathBuf>,
    /// Each packet as it entered, with a comment on what happened to it, for Wireshark (pcapng)
    #[arg(long, value_name = "FILE")]
    pub(super) pcap: Option<PathBuf>,
    /// How packets come to netsim
    #[arg(long, value_enum, default_value = "auto")]
    pub(super) backend: BackendChoice,
    /// The longest packet
    #[arg(long, value_name = "BYTES", default_value_t = 1500, value_parser = clap::value_parser!(u32).range(576..=65_535))]
    pub(super) mtu: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum BackendChoice {
    /// The first that works
    Auto,
    /// A TUN device at each end: needs /dev/net/tun
    Tun,
    /// Ethernet pairs and packet sockets
    Packet,
}

impl LinkArguments {
    /// The faults up and down, as text.
    pub(super) fn texts(&self) -> Result<[FaultText; 2], TextError> {
        let base =
            self.preset.map_or_else(|| Ok([FaultText::default(), FaultText::default()]), Preset::texts)?;
        let [up, down] = base.map(|base| base.with(&self.faults.0));
        let own = |way: &Option<FaultText>| way.clone().unwrap_or_default();
        Ok([up.with(&own(&self.up)), down.with(&own(&self.down))])
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().map_err(|_| "a number of seconds, like 5 or 0.5".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

fn preset(name: &str) -> Result<&'static Preset, String> {
    let names = PRESETS.map(|preset| preset.name).join(", ");
    Preset::named(name).ok_or_else(|| format!("there are {names}"))
}

/// The flags of the library.
#[derive(Debug)]
struct FaultArguments(FaultText);

impl FromArgMatches for FaultArguments {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut faults = Self(FaultText::default());
        faults.update_from_arg_matches(matches)?;
        Ok(faults)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for flag in FLAGS {
            if let Some(value) = matches.get_one::<String>(flag.name) {
                let set = self.0.set(flag.name, value);
                set.map_err(|error| clap::Error::raw(clap::error::ErrorKind::InvalidValue, error))?;
            }
        }
        Ok(())
    }
}

impl Args for FaultArguments {
    fn augment_args(command: Command) -> Command {
        command.args(FLAGS.map(|flag| {
            // A sign may follow, so that it is the value that is called impossible.
            Arg::new(flag.name)
                .long(flag.name)
                .value_name(flag.value)
                .help(flag.help)
                .help_heading("Faults")
                .allow_hyphen_values(true)
        }))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}
