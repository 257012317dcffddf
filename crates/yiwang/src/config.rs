//! Configuration: file < environment < flags, parsed once into [`Config`], which cannot be wrong.
//!
//! Unknown keys and wrong types are errors that name the file and the line. Secrets are given by reference
//! (`file:PATH`, `env:NAME`) and printed as `***`. This file refuses to open anything but the configuration itself.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use figment::Figment;
use figment::providers::{Env, Serialized};
use serde::Deserialize;

use crate::cli::ConfigArgs;
use crate::exit::Failure;

mod hide;

/// The default configuration, also the commented file that ships.
pub const DEFAULT: &str = include_str!("../../../config/yiwang.toml");

/// What the configuration says, and where it was read.
#[derive(Clone, Debug)]
pub struct Config {
    /// The values.
    pub raw: Raw,
    /// Folder of the file: base of the relative paths in it.
    folder: PathBuf,
    /// The values as they are printed.
    effective: toml::Table,
}

/// Which rules of safety hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Demo secrets, demo tokens and synthetic data are welcome.
    Demo,
    /// They are refused.
    Production,
}

/// Which log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogKind {
    /// fjall in the data folder.
    Embedded,
    /// Apache Kafka.
    Kafka,
}

/// Form of the program's own log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LineFormat {
    /// For people.
    Text,
    /// For collectors.
    Json,
}

/// The file as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Raw {
    pub profile: Profile,
    pub data: PathBuf,
    pub district: District,
    pub log: Log,
    pub store: Store,
    #[serde(default)]
    pub intake: yiwang_gateway::RawConfig,
    pub router: Router,
    pub centre: Centre,
    pub http: Http,
    pub telemetry: Telemetry,
    pub stop: Stop,
}

/// `[district]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct District {
    pub folder: PathBuf,
    pub products: PathBuf,
    pub devices: PathBuf,
}

/// `[log]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    pub kind: LogKind,
    pub partitions: u16,
    pub retention_bytes_max: u64,
    pub retention_age_hours_max: u64,
    pub disk_reserve_percent: u8,
    pub disk_reserve_bytes_min: u64,
    pub kafka: Kafka,
}

/// `[log.kafka]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(
    not(feature = "kafka"),
    expect(dead_code, reason = "checked in every build, used with Kafka")
)]
pub struct Kafka {
    pub brokers: String,
    pub topic_prefix: String,
    pub replication: u16,
    pub min_insync_replicas: u16,
    pub buffer_bytes_max: u64,
}

/// `[store]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Store {
    pub url: String,
    pub connections_max: u32,
}

/// `[router]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Router {
    pub workers: usize,
    pub snapshot_records: u64,
    pub snapshot_records_per_device: u64,
    pub snapshot_seconds: u64,
    pub attempts_max: u32,
    pub batch_records_max: usize,
    pub batch_bytes_max: usize,
    pub inflight_batches_max: usize,
}

/// `[centre]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Centre {
    pub listen: SocketAddr,
    pub batch_signals_max: usize,
    pub unsent_changes_max: usize,
    pub unsent_bytes_max: usize,
    pub heartbeat_seconds: u64,
    pub streams_max: usize,
}

/// `[http]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    pub listen: String,
}

/// `[telemetry]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Telemetry {
    pub filter: String,
    pub format: LineFormat,
}

/// `[stop]`
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stop {
    pub deadline_seconds: u64,
    pub full_log_seconds: u64,
}

impl Config {
    /// Reads and checks the configuration.
    ///
    /// # Errors
    /// [`Failure::Config`] naming the file and the line of what is wrong, and the remedy.
    pub fn load(args: &ConfigArgs) -> anyhow::Result<Self> {
        let path = &args.config;
        let text = std::fs::read_to_string(path).map_err(|error| {
            Failure::Config(format!(
                "failed to read the configuration {}: {error}; start in the project folder or give --config FILE",
                path.display()
            ))
        })?;
        Self::parse(&text, path, args)
    }

    fn parse(text: &str, path: &Path, args: &ConfigArgs) -> anyhow::Result<Self> {
        let file: toml::Table = text.parse().map_err(|error: toml::de::Error| {
            Failure::Config(format!(
                "failed to read {}: {}",
                path.display(),
                error.to_string().trim_end()
            ))
        })?;
        let mut figment = Figment::new()
            .merge(Serialized::defaults(defaults()))
            .merge(Serialized::defaults(file))
            .merge(Env::prefixed("YIWANG__").split("__"));
        for setting in &args.set {
            let (key, value) = setting.split_once('=').ok_or_else(|| {
                Failure::Config(format!("failed to read --set {setting}: write KEY=VALUE"))
            })?;
            let value: figment::value::Value = value.parse().unwrap_or_else(|never| match never {});
            figment = figment.merge(Serialized::global(key, value));
        }
        let wrong = |error: &figment::Error| explain(error, text, path, args);
        let mut raw: Raw = figment.extract().map_err(|error| wrong(&error))?;
        let mut effective: toml::Table = figment.extract().map_err(|error| wrong(&error))?;
        // With what parts that are there leave out.
        let intake = toml::Value::try_from(&raw.intake).context("failed to print [intake]")?;
        effective.insert("intake".to_owned(), intake);
        hide::secrets(&mut effective);
        if let Some(data) = &args.data {
            raw.data.clone_from(data);
            effective.insert("data".to_owned(), data.display().to_string().into());
        }
        let folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
        let config = Self { raw, folder, effective };
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> anyhow::Result<()> {
        let raw = &self.raw;
        let address = &raw.http.listen;
        if !address.is_empty() && address.parse::<SocketAddr>().is_err() {
            return Err(Failure::Config(format!(
                "failed to read http.listen = \"{address}\": write IP:PORT, or \"\" for none"
            ))
            .into());
        }
        let zero = [
            ("log.partitions", u64::from(raw.log.partitions)),
            ("router.attempts_max", u64::from(raw.router.attempts_max)),
            ("router.batch_records_max", raw.router.batch_records_max as u64),
            ("router.inflight_batches_max", raw.router.inflight_batches_max as u64),
            ("centre.batch_signals_max", raw.centre.batch_signals_max as u64),
            ("centre.heartbeat_seconds", raw.centre.heartbeat_seconds),
        ];
        for (key, value) in zero {
            if value == 0 {
                return Err(Failure::Config(format!(
                    "failed to accept {key} = 0: it must be at least 1"
                ))
                .into());
            }
        }
        if raw.log.disk_reserve_percent >= 100 {
            return Err(Failure::Config(format!(
                "failed to accept log.disk_reserve_percent = {}: nothing could be written; it must be below 100",
                raw.log.disk_reserve_percent
            ))
            .into());
        }
        if raw.log.kind == LogKind::Kafka {
            if !cfg!(feature = "kafka") {
                return Err(Failure::Config(
                    "log.kind = \"kafka\" needs a build with Kafka: cargo build --release --features kafka".into(),
                )
                .into());
            }
            if raw.log.kafka.brokers.is_empty() {
                return Err(Failure::Config(
                    "log.kafka.brokers is empty: name at least one HOST:PORT".into(),
                )
                .into());
            }
        }
        if raw.intake.kafka.is_some() && raw.log.kind == LogKind::Embedded {
            return Err(Failure::Config(
                "[intake.kafka] reads from the Kafka of log.kind = \"kafka\": set it, or remove the section".into(),
            )
            .into());
        }
        Ok(())
    }

    /// A path of the configuration, made relative to its file's folder.
    pub fn path(&self, relative: &Path) -> PathBuf {
        self.folder.join(relative)
    }

    /// The effective configuration as TOML, secrets hidden.
    ///
    /// # Errors
    /// If a value cannot be written as TOML.
    pub fn to_toml(&self) -> anyhow::Result<String> {
        toml::to_string(&self.effective).context("failed to print the configuration")
    }
}

/// A secret by reference: `file:PATH`, `env:NAME`; any other text is itself, welcome in the demo profile only.
///
/// # Errors
/// [`Failure::Config`] naming the reference that cannot be followed.
pub fn secret(reference: &str, profile: Profile) -> anyhow::Result<String> {
    if let Some(path) = reference.strip_prefix("file:") {
        let text = std::fs::read_to_string(path).map_err(|error| {
            Failure::Config(format!("failed to read the secret file {path}: {error}"))
        })?;
        return Ok(text.trim_end_matches(['\r', '\n']).to_owned());
    }
    if let Some(name) = reference.strip_prefix("env:") {
        return std::env::var(name).map_err(|_| {
            Failure::Config(format!("the secret env:{name} is not set: export {name}")).into()
        });
    }
    if profile == Profile::Production && !reference.is_empty() {
        return Err(Failure::Config(
            "a secret stands in the configuration: in the production profile write file:PATH or env:NAME".into(),
        )
        .into());
    }
    Ok(reference.to_owned())
}

/// The shipped values of every section but `[intake]`, whose parts are there only where they are written.
fn defaults() -> toml::Table {
    let mut table: toml::Table = DEFAULT.parse().expect("the shipped configuration parses");
    table.remove("intake");
    table
}

/// The message of a wrong value or key, with the line where the file has it.
fn explain(error: &figment::Error, text: &str, path: &Path, args: &ConfigArgs) -> Failure {
    let mut key = error.path.join(".");
    if let figment::error::Kind::UnknownField(field, _) = &error.kind
        && error.path.last() != Some(field)
    {
        let dot = if key.is_empty() { "" } else { "." };
        key = format!("{key}{dot}{field}");
    }
    let variables = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let place = place_of(&key, &args.set, variables)
        .or_else(|| line_of(text, &key).map(|line| format!("{}:{line}: ", path.display())));
    let place = place.unwrap_or_default();
    let kind = &error.kind;
    Failure::Config(format!(
        "{place}{key}: {kind}; config/yiwang.toml of the release lists all keys"
    ))
}

/// The flag or else the variable that sets a key, which wins over the file.
fn place_of(key: &str, set: &[String], variables: impl Iterator<Item = String>) -> Option<String> {
    // One may set the whole table or list in which it stands, or a part of what it is.
    let within = |one: &str, other: &str| {
        one.strip_prefix(other).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let is_it = |other: &str| within(key, other) || within(other, key);
    let name = |setting: &str| setting.split_once('=').map(|(name, _)| name.to_owned());
    let mut flags = set.iter().rev().filter_map(|setting| name(setting));
    if let Some(flag) = flags.find(|name| is_it(name)) {
        return Some(format!("--set {flag}: "));
    }
    let of_variable = |name: &String| {
        let rest = name.strip_prefix("YIWANG__")?;
        is_it(&rest.to_ascii_lowercase().replace("__", ".")).then_some(())
    };
    let mut variables = variables.filter(|name| of_variable(name).is_some());
    variables.next().map(|name| format!("environment {name}: "))
}

/// The line of a dotted key: that of its last part under the right section header.
fn line_of(text: &str, full: &str) -> Option<usize> {
    let (section, key) = full.rsplit_once('.').unwrap_or(("", full));
    let mut here = String::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.starts_with('[') {
            let header = line.split(']').next().unwrap_or_default();
            here = header.trim_matches(['[', ' ']).to_owned();
            if here == full {
                return Some(index + 1);
            }
        } else if here == section && line.split(['=', ' ']).next() == Some(key) {
            return Some(index + 1);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn args(set: &[&str]) -> ConfigArgs {
        ConfigArgs {
            config: PathBuf::from("config/yiwang.toml"),
            data: None,
            set: set.iter().map(|&s| s.to_owned()).collect(),
        }
    }

    fn parse(text: &str, set: &[&str]) -> Result<Config, String> {
        Config::parse(text, Path::new("config/my.toml"), &args(set))
            .map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn the_shipped_file_is_valid() {
        let config = parse(DEFAULT, &[]).unwrap();
        assert_eq!(config.raw.log.kind, LogKind::Embedded);
        assert_eq!(config.path(Path::new("district")), Path::new("config/district"));
    }

    /// Keys of tables within tables and lists, as `a.b.c`.
    fn keys(of: &toml::Value, under: &str, all: &mut BTreeSet<String>) {
        match of {
            toml::Value::Table(table) => {
                table.iter().for_each(|(key, value)| keys(value, &format!("{under}.{key}"), all));
            }
            toml::Value::Array(list) if list.iter().any(toml::Value::is_table) => {
                list.iter().for_each(|value| keys(value, under, all));
            }
            _ => drop(all.insert(under.to_owned())),
        }
    }

    /// The other sections have no key that may be left out, so the file would not load without it.
    #[test]
    fn the_shipped_file_has_every_key_of_the_intake() {
        let is_key = |line: &&str| {
            let name = line.split_once(" = ").map_or("", |(name, _)| name);
            let is_name = name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'));
            line.starts_with('[') || (!name.is_empty() && is_name)
        };
        let active = |line| str::strip_prefix(line, "# ").filter(is_key).unwrap_or(line);
        let text: Vec<&str> = DEFAULT.lines().map(active).collect();
        let written = text.join("\n").parse::<toml::Table>().unwrap()["intake"].clone();
        let read: yiwang_gateway::RawConfig = written.clone().try_into().unwrap();
        let (mut listed, mut known) = (BTreeSet::new(), BTreeSet::new());
        keys(&written, "intake", &mut listed);
        keys(&toml::Value::try_from(&read).unwrap(), "intake", &mut known);
        assert_eq!(listed, known);
        assert!(listed.contains("intake.subscribe.queue_max") && listed.len() > 40, "{listed:?}");
    }

    #[test]
    fn what_is_left_out_is_printed_with_its_default() {
        let printed = parse("[intake.listen]\n", &[]).unwrap().to_toml().unwrap();
        for line in ["handshakes_max = 200", "qos0 = \"shed\"", "life_safety_run_max = 32"] {
            assert!(printed.contains(line), "{line}: {printed}");
        }
        assert!(!printed.contains("[intake.kafka]"), "a part that is not there: {printed}");
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let error =
            parse("profile = \"demo\"\n[http]\nlisten = \"127.0.0.1:1\"\nlissten = 3\n", &[])
                .unwrap_err();
        assert!(error.contains("config/my.toml:4: http.lissten: unknown field"), "{error}");
        let error = parse("[intake.listen]\naddres = \"127.0.0.1:1\"\n", &[]).unwrap_err();
        assert!(error.contains("config/my.toml:2: intake.listen.addres: unknown field"), "{error}");
    }

    #[test]
    fn a_wrong_type_is_named_with_its_line() {
        let error = parse("[router]\nsnapshot_records = \"many\"\n", &[]).unwrap_err();
        assert!(
            error.contains("config/my.toml:2: router.snapshot_records: invalid type"),
            "{error}"
        );
    }

    #[test]
    fn flags_win_over_the_file() {
        let config =
            parse("[http]\nlisten = \"127.0.0.1:1\"\n", &["http.listen=127.0.0.1:2"]).unwrap();
        assert_eq!(config.raw.http.listen, "127.0.0.1:2");
        let error = parse("", &["http.listen=nowhere"]).unwrap_err();
        assert!(error.contains("http.listen"), "{error}");
        let file = "[router]\nsnapshot_records = 1\n";
        let error = parse(file, &["router.snapshot_records=many"]).unwrap_err();
        assert!(error.starts_with("--set router.snapshot_records: "), "{error}");
        assert!(parse("", &["htp.listen=127.0.0.1:2"]).unwrap_err().contains("htp"));
    }

    #[test]
    fn what_wins_over_the_file_is_blamed() {
        let place = |set: &[&str], variables: &[&str]| {
            let set: Vec<_> = set.iter().map(|&it| it.to_owned()).collect();
            let variables = variables.iter().map(|&it| it.to_owned());
            place_of("http.listen", &set, variables).unwrap_or_default()
        };
        assert_eq!(place(&["log.partitions=1"], &["YIWANG__HTTP__LISTENS", "HTTP__LISTEN"]), "");
        assert_eq!(place(&["http={}"], &[]), "--set http: ");
        let variable = "YIWANG__HTTP__LISTEN";
        assert_eq!(place(&[], &["PATH", variable]), "environment YIWANG__HTTP__LISTEN: ");
        assert_eq!(place(&["http.listen=1"], &[variable]), "--set http.listen: ");
    }

    #[test]
    fn secrets_are_hidden() {
        let text = "[store]\nurl = \"postgres://yiwang:hunter2@127.0.0.1/yiwang\"\n[[intake.subscribe]]\nname = \"b\"\n\
                    host = \"127.0.0.1\"\nclient_id = \"c\"\nfilters = []\npassword = \"hunter3\"\n";
        let printed = parse(text, &[]).unwrap().to_toml().unwrap();
        assert!(!printed.contains("hunter"), "{printed}");
        assert!(printed.contains("postgres://yiwang:***@127.0.0.1/yiwang"), "{printed}");
    }
}
