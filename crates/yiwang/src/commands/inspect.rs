//! What is asked of a hub's files or of a running hub: check, ledger, log read, reload, alarm clear.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use serde_json::json;
use tonic::metadata::MetadataValue;
use tonic::transport::Endpoint;
use yiwang_core::problem::{Problem, Severity};
use yiwang_log::Log;
use yiwang_proto::admin::v1;
use yiwang_proto::admin::v1::admin_service_client::AdminServiceClient;

use crate::cli::ConfigArgs;
use crate::config::{Config, LogKind};
use crate::exit::{self, Failure};
use crate::logs::{self, Form};
use crate::{bundle, keys, output, settings};

/// How long an order may take before it is said that it is waited for.
const TELL_AFTER: Duration = Duration::from_secs(3);
/// How long it may take at all.
const ORDER_WAIT_MAX: Duration = Duration::from_secs(30);

/// Lists every problem; warnings alone exit 0.
///
/// # Errors
/// If the configuration itself or a folder cannot be read.
pub fn check(args: &ConfigArgs, as_json: bool) -> anyhow::Result<ExitCode> {
    let config = Config::load(args)?;
    let mut checked = bundle::check(&config, None)?;
    checked.problems.extend(settings::check(&config).into_iter().map(|message| Problem {
        severity: Severity::Error,
        code: "SETTING",
        file: args.config.display().to_string(),
        line: 0,
        message,
        remedy: "correct it there, in the environment or in --set".to_owned(),
    }));
    if as_json {
        let problems: Vec<_> = checked
            .problems
            .iter()
            .map(|problem| {
                json!({"severity": problem.severity.as_str(), "code": problem.code, "file": problem.file,
                    "line": problem.line, "message": problem.message, "remedy": problem.remedy})
            })
            .collect();
        let mut counts = checked.counts.clone();
        if let Some(bundle) = &checked.bundle {
            let routes = bundle.router.routes();
            counts.insert("product", bundle.registry.products.len());
            counts.insert("device", bundle.registry.devices.len());
            counts.insert("route", routes.names().len());
            counts.insert("route_topic", routes.topics().len());
        }
        let report = json!({"counts": counts, "problems": problems});
        output::show(format_args!("{report:#}\n"))?;
    } else {
        output::show(check_text(&checked))?;
    }
    let errors =
        checked.problems.iter().filter(|problem| problem.severity == Severity::Error).count();
    Ok(if errors == 0 { ExitCode::SUCCESS } else { ExitCode::from(exit::CONFIG) })
}

fn check_text(checked: &bundle::Checked) -> String {
    let mut lines: Vec<_> =
        checked.counts.iter().map(|(tier, count)| format!("{count:>6} {tier}")).collect();
    if let Some(bundle) = &checked.bundle {
        lines.push(format!("{:>6} products", bundle.registry.products.len()));
        lines.push(format!("{:>6} devices", bundle.registry.devices.len()));
        let routes = bundle.router.routes();
        let topics = routes.topics().len();
        lines.push(format!("{:>6} routes to {topics} topics", routes.names().len()));
    }
    lines.extend(checked.problems.iter().map(ToString::to_string));
    lines.join("\n") + "\n"
}

/// Prints the counters of the running hub; exits non-zero when a stage does not balance.
///
/// # Errors
/// [`Failure::Unavailable`] if no hub answers.
pub async fn ledger(
    args: &ConfigArgs,
    as_json: bool,
    target: Option<String>,
) -> anyhow::Result<ExitCode> {
    let config = Config::load(args)?;
    let mut admin = Admin::connect(&config, target).await?;
    let rows = admin.ledger().await?;
    let balanced = rows.iter().all(|row| row.imbalance == 0);
    if as_json {
        let mut stages = serde_json::Map::new();
        for row in rows {
            let fates: serde_json::Map<_, _> =
                row.fates.into_iter().map(|fate| (fate.name, json!(fate.count))).collect();
            let row_json = json!({"total": row.total, "equation": row.equation, "fates": fates, "imbalance": row.imbalance});
            stages.insert(row.stage, row_json);
        }
        output::show(format_args!("{:#}\n", serde_json::Value::Object(stages)))?;
    } else {
        output::show(rows.iter().map(ledger_text).collect::<String>())?;
    }
    Ok(if balanced { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn ledger_text(row: &v1::LedgerRow) -> String {
    let v1::LedgerRow { stage, total, equation, fates, imbalance } = row;
    let mut text = format!("{stage:<10} {total:>12}   {equation}   imbalance {imbalance}\n");
    for fate in fates.iter().filter(|fate| fate.count > 0) {
        text += &format!("{:<10} {:>12}   {}\n", "", fate.count, fate.name);
    }
    text
}

/// Lets the running hub read its bundle again; prints the problems, or what is in force now.
///
/// # Errors
/// [`Failure::Unavailable`] if no hub answers.
pub async fn reload(args: &ConfigArgs, target: Option<String>) -> anyhow::Result<ExitCode> {
    let config = Config::load(args)?;
    let mut admin = Admin::connect(&config, target).await?;
    let request = admin.request(v1::ReloadRequest {});
    let told = admin.client.reload(request).await.map_err(answered)?.into_inner();
    for problem in &told.problems {
        output::tell(problem);
    }
    let (configuration, roles) = (&told.configuration, told.roles.join(", "));
    if told.taken {
        output::show(format_args!("{configuration} is in force: {roles}\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    output::show(format_args!("{configuration} stays in force: what was read has errors\n"))?;
    Ok(ExitCode::from(exit::CONFIG))
}

/// Lets the running hub clear an alarm; prints where the order lies.
///
/// # Errors
/// [`Failure::Unavailable`] if no hub answers; what the hub says if it refuses.
pub async fn clear_alarm(
    args: &ConfigArgs,
    asked: v1::ClearAlarmRequest,
    target: Option<String>,
) -> anyhow::Result<()> {
    let config = Config::load(args)?;
    let mut admin = Admin::connect(&config, target).await?;
    let request = admin.request(asked);
    let ordered = admin.client.clear_alarm(request);
    let ordered = patiently(ordered, (TELL_AFTER, ORDER_WAIT_MAX), &config.raw.http.listen)
        .await?
        .map_err(answered)?;
    let v1::ClearAlarmResponse { partition, seq } = ordered.into_inner();
    output::show(format_args!("ordered: raw/{partition}/{seq}\n"))
        .with_context(|| format!("the order lies at raw/{partition}/{seq}"))
}

/// Waits for the answer to an order; says so after a while, and gives up at last.
async fn patiently<T>(
    ordered: impl Future<Output = T>,
    (quiet, last): (Duration, Duration),
    http: &str,
) -> anyhow::Result<T> {
    tokio::pin!(ordered);
    if let Ok(answer) = tokio::time::timeout(quiet, &mut ordered).await {
        return Ok(answer);
    }
    let (seconds, ready) = (last.as_secs(), format!("http://{http}/readyz"));
    output::tell(format_args!(
        "waiting for the hub up to {seconds} s: its log may take no records now; {ready} says why"
    ));
    tokio::time::timeout(last.saturating_sub(quiet), ordered).await.map_err(|_| {
        let text = format!(
            "the hub has not answered for {seconds} s: see {ready}, and before giving the order again \
             `yiwang log read --topic raw` for whether it lies there"
        );
        Failure::Unavailable(text).into()
    })
}

/// What the hub answers instead of what was asked for, as people read it: a stable word, and its text.
fn answered(status: tonic::Status) -> anyhow::Error {
    let word = match yiwang_proto::status::reason(&status) {
        Some((reason, _)) => reason,
        None => format!("{:?}", status.code()),
    };
    let text = format!("the hub answers {word}: {}", status.message());
    match status.code() {
        tonic::Code::Unavailable => Failure::Unavailable(text).into(),
        _ => anyhow::Error::msg(text),
    }
}

/// Prints the records of a topic: from the stopped folder or Kafka, else through the running hub.
///
/// # Errors
/// If the log cannot be read either way.
pub async fn read_log(args: &ConfigArgs, topic: &str) -> anyhow::Result<()> {
    let config = Config::load(args)?;
    let forwarded = bundle::forward_topics(&config)?;
    let form = Form::of(topic, &forwarded);
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    if let Some(log) = open(&config).await? {
        let printed = print_log(&log, &form, &mut out).await;
        log.close().await.context("failed to close the log")?;
        return printed;
    }
    let mut admin = Admin::connect(&config, None).await?;
    let mut records = admin.read_log(topic).await?;
    while let Some(record) = records.message().await.map_err(answered)? {
        let partition = u16::try_from(record.partition).unwrap_or(u16::MAX);
        let line = logs::to_json(&form, partition, record.seq, &record.key, &record.value);
        if output::heard(writeln!(out, "{line}"))?.is_break() {
            return Ok(());
        }
    }
    let _ = output::heard(out.flush())?;
    Ok(())
}

async fn print_log(log: &Log, form: &Form<'_>, out: &mut impl Write) -> anyhow::Result<()> {
    let mut scan = logs::scan(log, form.topic).await?;
    while let Some(records) = scan.next().await? {
        for record in scan.of(&records) {
            let line = logs::to_json(form, records.partition, record.seq, record.key, record.value);
            if output::heard(writeln!(out, "{line}"))?.is_break() {
                return Ok(());
            }
        }
    }
    let _ = output::heard(out.flush())?;
    Ok(())
}

/// The log itself; none while a running hub holds its folder.
pub(super) async fn open(config: &Config) -> anyhow::Result<Option<Log>> {
    if config.raw.log.kind == LogKind::Kafka {
        return settings::open_log(config, None).await.map(Some);
    }
    if !settings::log_folder(config).exists() {
        return Err(Failure::Unavailable(format!(
            "no log in {}: give --data FOLDER of a hub that has run",
            config.raw.data.display()
        ))
        .into());
    }
    match Log::open_embedded(settings::embedded(config)?, settings::topics(config)?) {
        Ok(log) => Ok(Some(log)),
        Err(yiwang_log::Error::Locked { .. }) => Ok(None),
        Err(error) => Err(Failure::Unavailable(error.to_string()).into()),
    }
}

/// A client of the running hub's administration.
pub(super) struct Admin {
    client: AdminServiceClient<tonic::transport::Channel>,
    token: MetadataValue<tonic::metadata::Ascii>,
}

impl Admin {
    pub(super) async fn connect(config: &Config, target: Option<String>) -> anyhow::Result<Self> {
        let address = target.unwrap_or_else(|| config.raw.centre.listen.to_string());
        let url = format!("http://{address}");
        let channel = Endpoint::from_shared(url)?.connect().await.map_err(|error| {
            // What the system says of it stands in its causes.
            let error = format!("{:#}", anyhow::Error::from(error));
            Failure::Unavailable(format!(
                "failed to reach a hub at {address}: {error}; start one, or give --target"
            ))
        })?;
        let token = format!("Bearer {}", keys::to_hex(&keys::load(config)?.admin));
        Ok(Self { client: AdminServiceClient::new(channel), token: token.parse()? })
    }

    async fn ledger(&mut self) -> anyhow::Result<Vec<v1::LedgerRow>> {
        let request = self.request(v1::GetLedgerRequest {});
        Ok(self.client.get_ledger(request).await.map_err(answered)?.into_inner().rows)
    }

    async fn read_log(
        &mut self,
        topic: &str,
    ) -> anyhow::Result<tonic::Streaming<v1::ReadLogResponse>> {
        let request = self.request(v1::ReadLogRequest {
            topic: topic.to_owned(),
            ..v1::ReadLogRequest::default()
        });
        Ok(self.client.read_log(request).await.map_err(answered)?.into_inner())
    }

    /// The life of a message as JSON; none if the hub keeps nothing of this id.
    pub(super) async fn trace(&mut self, id: &str) -> anyhow::Result<Option<serde_json::Value>> {
        let request = self.request(v1::TraceRequest { id: id.to_owned() });
        match self.client.trace(request).await {
            Ok(told) => Ok(Some(serde_json::from_str(&told.into_inner().json)?)),
            Err(status) if status.code() == tonic::Code::NotFound => Ok(None),
            Err(status) => Err(answered(status)),
        }
    }

    fn request<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        request.metadata_mut().insert("authorization", self.token.clone());
        request
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_order_is_waited_for_up_to_a_limit() {
        let patience = (Duration::ZERO, Duration::from_millis(20));
        let at_once = patiently(std::future::ready(1), patience, "127.0.0.1:9090").await;
        assert_eq!(at_once.ok(), Some(1));
        let never = std::future::pending::<u8>();
        let error = patiently(never, patience, "127.0.0.1:9090").await.unwrap_err();
        assert!(matches!(error.downcast_ref(), Some(Failure::Unavailable(_))), "{error:#}");
    }

    #[test]
    fn an_answer_is_a_word_and_a_text() {
        let plain = answered(tonic::Status::not_found("no device gas-01/X")).to_string();
        assert_eq!(plain, "the hub answers NotFound: no device gas-01/X");
        let code = tonic::Code::Unauthenticated;
        let ours = yiwang_proto::status::status(code, "TOKEN_UNKNOWN", "not the key", &[]);
        assert_eq!(answered(ours).to_string(), "the hub answers TOKEN_UNKNOWN: not the key");
    }
}
