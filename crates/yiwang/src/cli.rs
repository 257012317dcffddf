//! The command line: what can be said, and the text of `--help`. It resolves nothing and runs nothing.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// 一网: the event hub of a city district. Devices publish, incidents reach the right duty desk, nothing that was
/// acknowledged is lost.
#[derive(Parser, Debug)]
#[command(
    version,
    after_help = "Exit codes: 0 done; 1 failed; 2 wrong usage; 3 wrong configuration; \
    4 a port, folder, broker or database could not be had; 5 durability is in doubt (see the log)."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Where the configuration is.
#[derive(Args, Debug, Clone)]
pub struct ConfigArgs {
    /// Configuration file; paths in it are relative to its folder.
    #[arg(long, default_value = "config/yiwang.toml", global = true)]
    pub config: PathBuf,
    /// Data folder, instead of the configured one.
    #[arg(long, global = true)]
    pub data: Option<PathBuf>,
    /// Overrides one key, e.g. `--set intake.listen.address=127.0.0.1:2883`; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE", global = true)]
    pub set: Vec<String>,
}

/// One of the three loops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Takes messages in and makes them durable.
    Gateway,
    /// Normalises, applies alarm rules, routes.
    Router,
    /// Turns signals into incidents and serves the desks.
    Centre,
}

impl Role {
    /// The word used in configuration, logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Router => "router",
            Self::Centre => "centre",
        }
    }
}

/// The commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run the hub: all roles, or the named ones.
    ///
    /// At SIGHUP (systemd: `ExecReload=/bin/kill -HUP $MAINPID`) it reads district, products and devices again and puts
    /// them in force whole, in every role of this process; with an error in them it says which in its log and changes
    /// nothing. The settings of the configuration file, keys, and topics of routes that are new need a restart.
    Run {
        #[command(flatten)]
        config: ConfigArgs,
        /// Only this role; may be repeated. Fewer than three need `log.kind = "kafka"`.
        #[arg(long = "role", value_enum)]
        roles: Vec<Role>,
    },
    /// Show the whole thing at work: hub, simulated devices, one town's screen, simulated staff.
    Demo {
        #[command(flatten)]
        config: ConfigArgs,
        #[command(flatten)]
        demo: DemoArgs,
    },
    /// Publish as a fleet of devices over real MQTT connections.
    Simulate {
        #[command(flatten)]
        config: ConfigArgs,
        #[command(flatten)]
        fleet: FleetArgs,
        /// Broker or hub to publish to.
        #[arg(long, default_value = "127.0.0.1:1883")]
        target: SocketAddr,
        /// Seconds to run; without it until Ctrl-C.
        #[arg(long)]
        seconds: Option<u64>,
    },
    /// Follow one unit's incidents as its screen does.
    Watch {
        #[command(flatten)]
        config: ConfigArgs,
        /// Unit id, e.g. 310118001.
        #[arg(long)]
        unit: String,
        /// gRPC address of the hub; without it the configured one.
        #[arg(long)]
        target: Option<String>,
        /// File with the unit's token; without it DATA/tokens/UNIT.
        #[arg(long)]
        token_file: Option<PathBuf>,
        /// One JSON object a line instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Route the lines of a file through the real path: decode, validate, look up, apply alarm rules, write.
    ///
    /// Reads standard input, one body a line, of one product; the device is named in the body (`codec.device`), and a
    /// line is taken to be received at its own device time. Ends with one JSON line on standard error: `invalid` (what
    /// would be quarantined), `alarm` (the condition of some alarm rule is true on the values), `normal`, and the
    /// `bytes` of all outputs.
    #[command(after_help = "\
Also invalid is JSON with more than 32 levels, 500 members in an object, 8 KiB in a text or 64 digits in a number, and a
line with a member that the product asks for twice, null or of another type than the product's. Numbers in quotes (codec
option `quoted`) are written as JSON writes numbers. A line of more than 16 MiB ends the run.")]
    Route(RouteArgs),
    /// Check district, products, devices and configuration; list every problem.
    Check {
        #[command(flatten)]
        config: ConfigArgs,
        /// Counts (of units by tier, of products, devices, routes) and problems as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the effective configuration, secrets hidden.
    Config {
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Print the counters that must balance, of the running hub.
    Ledger {
        #[command(flatten)]
        config: ConfigArgs,
        /// As JSON.
        #[arg(long)]
        json: bool,
        /// gRPC address of the hub; without it the configured one.
        #[arg(long)]
        target: Option<String>,
    },
    /// Let the running hub read district, products and devices again, as SIGHUP does, and say what came of it.
    #[command(after_help = "\
Prints the hash of the configuration in force and the roles that took it, or every problem with file:line. It speaks to
the process that serves gRPC; processes of other roles are told by SIGHUP. Exit codes: 0 in force; 3 refused, the old
one stays.")]
    Reload {
        #[command(flatten)]
        config: ConfigArgs,
        /// gRPC address of the hub; without it the configured one.
        #[arg(long)]
        target: Option<String>,
    },
    /// Alarms of devices.
    Alarm {
        /// What to do with them.
        #[command(subcommand)]
        command: AlarmCommand,
    },
    /// Bearer tokens of units.
    Token {
        /// What to do with them.
        #[command(subcommand)]
        command: TokenCommand,
    },
    /// Alarm rules of product files.
    Rule {
        /// What to do with them.
        #[command(subcommand)]
        command: RuleCommand,
    },
    /// Tell the life of one message: received, decoded, what rules made of it and why, where it went.
    #[command(after_help = "\
The partition is replayed from its oldest kept record, or from a snapshot before the message; on a stopped folder, from
Kafka, or through a running hub. Exit codes: 0 told; 1 nothing that is kept is it; 3 no id.")]
    Trace {
        #[command(flatten)]
        config: ConfigArgs,
        /// Id of a raw record, reading, signal or quarantine row: 32 hexadecimal digits; or where the record lies, as
        /// `raw/PARTITION/SEQ`, which also names what was rejected or repeated.
        id: String,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Look into the log.
    Log {
        /// What to do with it.
        #[command(subcommand)]
        command: LogCommand,
    },
}

/// What `route` can be told.
#[derive(Args, Debug, Clone)]
pub struct RouteArgs {
    /// Product file.
    #[arg(long, value_name = "FILE.thing.yaml")]
    pub product: PathBuf,
    /// Table of devices as CSV with a header: the first column is the device's name, the others are copied into every
    /// output, as numbers where all cells of a column are whole numbers.
    #[arg(long, value_name = "FILE.csv")]
    pub devices: PathBuf,
    /// What to make of a reading: JSON lines, length-delimited `yiwang.record.v1.Reading`, or nothing.
    #[arg(long, value_enum, default_value_t = RouteOutput::Json)]
    pub out: RouteOutput,
    /// Where readings without alarm go; nowhere without it. No output may be the file of another one or of an input.
    #[arg(long, value_name = "FILE")]
    pub normal: Option<PathBuf>,
    /// Where readings with alarm go.
    #[arg(long, value_name = "FILE")]
    pub alarm: Option<PathBuf>,
    /// Where lines go that cannot be normalised, as they came.
    #[arg(long, value_name = "FILE")]
    pub invalid: Option<PathBuf>,
}

/// The forms of `route`'s outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RouteOutput {
    /// One object a line: properties by identifier, then the columns of the table.
    Json,
    /// Each message after its length as a varint.
    Protobuf,
    /// Nothing is made and nothing written; counting only.
    Blackhole,
}

/// Commands about tokens.
#[derive(Subcommand, Debug)]
pub enum TokenCommand {
    /// Make a token for a unit: printed, kept in DATA/tokens/UNIT for `watch`, stored hashed. Off in the production profile.
    New {
        #[command(flatten)]
        config: ConfigArgs,
        /// Unit id, e.g. 310118001.
        #[arg(long)]
        unit: String,
    },
}

/// Commands about alarm rules.
#[derive(Subcommand, Debug)]
pub enum RuleCommand {
    /// Run the rule vectors of product files and show what each rule said instead of what was expected.
    #[command(after_help = "\
A vector stands under `tests:` of the product file, after those of the codec:

  tests:
    - rule: high-level
      name: ten minutes above the threshold
      attributes: {warnLevel: 3.5}        # of the device, where they differ from the defaults
      delay: 2s                           # from the device to us
      maintenance: [{from: \"11:00\", to: \"12:00\"}]   # windows in which raises are held
      steps:
        - {at: \"10:00\", values: {level: 3.51}}      # a sample at this device time
        - {tick: \"10:10:12\"}                        # time passes, by our clock
        - {tick: \"11:00\", lifecycle: MAINTENANCE}   # or COMMISSIONING, IN_SERVICE
      signals:                            # all of them, in order
        - {kind: raise, time: \"10:10\", since: \"10:00\", severity: MAJOR}

Exit codes: 0 every vector passes; 1 one fails; 3 a file does not load.")]
    Test {
        #[command(flatten)]
        config: ConfigArgs,
        /// Product files; without one all configured products. Calendars are those of the configuration.
        #[arg(value_name = "FILE.thing.yaml")]
        files: Vec<PathBuf>,
    },
}

/// Commands about alarms.
#[derive(Subcommand, Debug)]
pub enum AlarmCommand {
    /// Clear the alarm of a rule through the running hub: its next true sample raises anew.
    #[command(after_help = "\
Prints where the order lies on topic raw once it cannot be lost; the router carries it out in the order of the log (signal
with cause OPERATOR), and where no alarm stands nothing happens. A device that stays silent is told again after the time of
its rule. Exit codes: 0 ordered; 1 refused; 4 no hub, or no answer in 30 s.")]
    Clear {
        #[command(flatten)]
        config: ConfigArgs,
        /// Key of the device, e.g. wl-radar-01/R-0001.
        device: String,
        /// Id of the rule, e.g. high-level.
        rule: String,
        /// Why; it stands in the record and in the signal.
        #[arg(long)]
        reason: String,
        /// gRPC address of the hub; without it the configured one.
        #[arg(long)]
        target: Option<String>,
    },
}

/// Commands about the log.
#[derive(Subcommand, Debug)]
pub enum LogCommand {
    /// Print the records of a topic, partition by partition, oldest first in each: from a stopped folder, from Kafka, or
    /// through a running hub.
    Read {
        #[command(flatten)]
        config: ConfigArgs,
        /// raw, readings, signals, lifecycle, quarantine, incidents, commands, or a topic of routes.yaml.
        #[arg(long)]
        topic: String,
        /// One JSON object a line (the only form so far).
        #[arg(long, default_value_t = true)]
        json: bool,
    },
}

/// What `demo` can be told.
#[derive(Args, Debug, Clone)]
pub struct DemoArgs {
    #[command(flatten)]
    pub fleet: FleetArgs,
    /// Whose screen to show.
    #[arg(long)]
    pub unit: Option<String>,
    /// Seconds to run; without it until Ctrl-C.
    #[arg(long)]
    pub seconds: Option<u64>,
    /// Ends by itself once this many incidents of the shown unit were closed.
    #[arg(long)]
    pub until_closed: Option<u64>,
}

/// The simulated fleet.
#[derive(Args, Debug, Clone)]
pub struct FleetArgs {
    /// How many registered devices take part.
    #[arg(long, default_value_t = 200)]
    pub devices: usize,
    /// Messages a second of the whole fleet.
    #[arg(long, default_value_t = 100.0, value_parser = rate)]
    pub rate: f64,
    /// Share of messages with alarming values, 0 to 1.
    #[arg(long, default_value_t = 0.005, value_parser = share)]
    pub alarm_share: f64,
    /// Seed of the fleet's randomness.
    #[arg(long, default_value_t = 42)]
    pub seed: u64,
}

fn share(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number| (0.0..=1.0).contains(number));
    number.ok_or_else(|| "write a number from 0 to 1".to_owned())
}

fn rate(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| *number > 0.0 && number.is_finite());
    number.ok_or_else(|| "write a number above 0".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fleet_takes_no_numbers_without_sense() {
        let parse = |flag: &str, value: &str| {
            Cli::try_parse_from(["yiwang", "simulate", &format!("{flag}={value}")])
        };
        for (flag, good) in [("--alarm-share", "0"), ("--alarm-share", "1"), ("--rate", "0.5")] {
            assert!(parse(flag, good).is_ok(), "{flag} {good}");
        }
        for (flag, wrong) in [
            ("--alarm-share", "1.5"),
            ("--alarm-share", "-0.1"),
            ("--alarm-share", "nan"),
            ("--rate", "0"),
            ("--rate", "inf"),
        ] {
            assert!(parse(flag, wrong).is_err(), "{flag} {wrong}");
        }
    }
}
