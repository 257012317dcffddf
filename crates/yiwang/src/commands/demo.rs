//! The whole thing at work on one machine: the hub, a fleet of simulated devices over real MQTT, the screen of one town
//! over the real stream, and simulated staff that acts through the real API.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use hdrhistogram::Histogram;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use yiwang_core::district::District;
use yiwang_core::ledger::Stage;
use yiwang_proto::incident::v1;
use yiwang_proto::incident::v1::act_request::Action;
use yiwang_proto::incident::v1::watch_response::Item;
use yiwang_store::Store;

use super::watch::{Desk, Presence, ZONE, follow};
use crate::cli::{ConfigArgs, DemoArgs, Role};
use crate::config::Config;
use crate::exit::Failure;
use crate::fleet::{self, Counters};
use crate::ledger::Sources;
use crate::node::{self, Addresses};
use crate::output::{self, Heard};
use crate::screen::Screen;
use crate::{bundle, keys, settings, telemetry};

/// How long the staff takes for one step.
const STEP: Duration = Duration::from_millis(1_500);
/// Steps of the staff that are under way at once.
const STEPS_MAX: usize = 64;
/// How often the balance is printed.
const BALANCE_EVERY: Duration = Duration::from_secs(5);
/// Product whose first message alarms, so that the first incident does not keep people waiting: it has no hold.
const FIRST_PRODUCT: &str = "gas-01";

/// Runs the demo until stopped.
///
/// # Errors
/// As `yiwang run`.
pub async fn run(args: &ConfigArgs, demo: DemoArgs) -> anyhow::Result<()> {
    let mut config = Config::load(args)?;
    if !args.set.iter().any(|setting| setting.starts_with("telemetry.filter=")) {
        // The screen is for the incidents.
        "warn".clone_into(&mut config.raw.telemetry.filter);
    }
    telemetry::start_lines(&config.raw.telemetry)?;
    let keys = keys::load(&config)?;
    let bundle = bundle::load(&config, &keys)?;
    let district = Arc::clone(&bundle.district);
    let shown = shown_unit(&district, demo.unit.as_deref())?;
    let tokens = make_tokens(&config, &district).await?;
    let scripts = Arc::new(fleet::load_scripts(&config.path(Path::new("simulate.toml")))?);
    let mut members = fleet::members(&config, usize::MAX)?;
    let in_sight = |device: &str| {
        let found = bundle.registry.device(device);
        found.is_some_and(|(_, device)| district.in_subtree(device.place.deepest(), &shown))
    };
    // The shown town's devices first: its screen is the one that people look at.
    members.sort_by_key(|member| !in_sight(&member.key()));
    if let Some(first) = members.iter_mut().find(|member| member.product == FIRST_PRODUCT) {
        first.first = true;
    }
    members.truncate(demo.fleet.devices);

    let stop = super::stop_on_signal()?;
    if let Some(seconds) = demo.seconds {
        let stop = stop.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            stop.cancel();
        });
    }
    let (started, has_started) = oneshot::channel();
    let roles = vec![Role::Gateway, Role::Router, Role::Centre];
    let plan = node::Plan { config, bundle, keys, roles, hangups: None, started: Some(started) };
    // The hub outlives its visitors: it is told to stop when they have gone.
    let hub_stop = CancellationToken::new();
    let mut hub = tokio::spawn(node::run(plan, hub_stop.clone()));
    let (addresses, sources) = tokio::select! {
        told = has_started => told.context("the hub ended while it was starting")?,
        ended = &mut hub => return ended.context("the hub panicked")?,
    };
    let stage =
        Play { district, shown, tokens, addresses, sources, until_closed: demo.until_closed };
    let play = stage.run(members, scripts, demo.fleet, stop.clone());
    let played = tokio::select! {
        played = play => played,
        ended = &mut hub => return ended.context("the hub panicked")?,
    };
    hub_stop.cancel();
    hub.await.context("the hub panicked")??;
    played
}

fn shown_unit(district: &District, asked: Option<&str>) -> anyhow::Result<String> {
    match asked {
        Some(unit) if district.unit(unit).is_some() => Ok(unit.to_owned()),
        Some(unit) => Err(Failure::Config(format!(
            "no unit {unit} in the district: see config/district/units.tsv"
        ))
        .into()),
        None => {
            let root = district.id();
            let town = district.units().find(|unit| unit.parent.as_ref() == Some(root));
            Ok(town.map_or(root, |town| &town.id).to_string())
        }
    }
}

/// A token for every unit in DATA/tokens, made once.
async fn make_tokens(
    config: &Config,
    district: &District,
) -> anyhow::Result<HashMap<String, String>> {
    let store = Store::open(&settings::store(config)?)
        .await
        .map_err(|error| Failure::Unavailable(error.to_string()))?;
    let mut tokens = HashMap::new();
    for unit in district.units() {
        let token = match std::fs::read_to_string(super::tokens::file(config, &unit.id)) {
            Ok(token) => token,
            Err(_) => super::tokens::make(config, &store, district, &unit.id).await?,
        };
        tokens.insert(unit.id.to_string(), token);
    }
    store.close().await;
    Ok(tokens)
}

/// Everything that happens around the hub.
struct Play {
    district: Arc<District>,
    shown: String,
    tokens: HashMap<String, String>,
    addresses: Addresses,
    sources: Sources,
    until_closed: Option<u64>,
}

impl Play {
    async fn run(
        self,
        members: Vec<fleet::Member>,
        scripts: Arc<fleet::Scripts>,
        fleet_args: crate::cli::FleetArgs,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let grpc = self.addresses.grpc.context("the hub has no gRPC address")?.to_string();
        let mqtt = self.addresses.mqtt.context("the hub has no MQTT address")?;
        let desk_of =
            |unit: &str| Desk::new(&grpc, self.tokens.get(unit).map_or("", String::as_str));
        let name = self.district.unit(&self.shown).map_or("", |unit| unit.name.as_str());
        let devices = members.len();
        output::show(format_args!(
            "一网 yiwang：设备 {devices} 台，MQTT {mqtt}，gRPC {grpc}；以下为 {name} 的事件流（Ctrl-C 结束）\n"
        ))?;

        let mut parts = JoinSet::new();
        let counters = Arc::<Counters>::default();
        let publishing =
            fleet::run(members, scripts, fleet_args, mqtt, Arc::clone(&counters), stop.clone());
        parts.spawn(publishing);
        parts.spawn(show(desk_of(&self.shown)?, self.until_closed, stop.clone()));
        let mut desks = HashMap::new();
        for unit in self.tokens.keys() {
            desks.insert(unit.clone(), desk_of(unit)?);
        }
        let latency = Arc::new(Mutex::new(Histogram::<u64>::new(3)?));
        let staff = Staff {
            desks: Arc::new(desks),
            steps: Arc::new(Semaphore::new(STEPS_MAX)),
            next: Arc::default(),
        };
        let root = desk_of(self.district.id())?;
        parts.spawn(work(root, staff, Arc::clone(&latency), stop.clone()));
        parts.spawn(balance(self.sources, latency, counters, stop.clone()));

        let mut outcome = Ok(());
        while let Some(ended) = parts.join_next().await {
            let ended = ended.context("a part of the demo panicked")?;
            if outcome.is_ok() {
                outcome = ended;
            }
            stop.cancel();
        }
        outcome
    }
}

/// The screen of the shown unit.
async fn show(
    desk: Desk,
    until_closed: Option<u64>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let screen = Screen::new(jiff::tz::TimeZone::get(ZONE).context("the time zone is not known")?);
    let mut closed = 0;
    let ended = stop.clone();
    follow(&desk, "demo-screen", Presence::Untold, &stop, |item| match item {
        Item::SnapshotItem(v1::SnapshotItem { incident: Some(incident) }) => {
            output::line(screen.standing(incident))
        }
        Item::Change(change) => {
            closed += u64::from(change.kind() == v1::ChangeKind::Closed);
            if until_closed.is_some_and(|wanted| closed >= wanted) {
                ended.cancel();
            }
            output::line(screen.change(change))
        }
        _ => Ok(Heard::Continue(())),
    })
    .await
}

/// Watches everything and lets the right person do the next step of each case.
async fn work(
    root: Desk,
    staff: Staff,
    latency: Arc<Mutex<Histogram<u64>>>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    follow(&root, "demo-staff", Presence::Untold, &stop, |item| {
        let incident = match item {
            Item::SnapshotItem(item) => item.incident.as_ref(),
            Item::Change(change) => {
                if change.kind() == v1::ChangeKind::Opened
                    && let Some(signal) =
                        change.incident.as_ref().and_then(|it| it.first_signal_time.as_ref())
                {
                    let since = yiwang_proto::view::millis(signal).unwrap_or_default();
                    let now = jiff::Timestamp::now().as_millisecond();
                    // A value beyond the histogram's range is not worth a message.
                    let _ = latency
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .record((now - since).max(0) as u64);
                }
                change.incident.as_ref()
            }
            _ => None,
        };
        if let Some(incident) = incident {
            staff.take(incident.clone(), stop.clone());
        }
        Ok(Heard::Continue(()))
    })
    .await
}

/// The people of all units.
#[derive(Clone)]
struct Staff {
    desks: Arc<HashMap<String, Desk>>,
    steps: Arc<Semaphore>,
    next: Arc<AtomicU64>,
}

/// One step: which unit's which person does what.
struct Step {
    unit: String,
    person: String,
    action: Action,
}

impl Staff {
    fn take(&self, incident: v1::Incident, stop: CancellationToken) {
        let steps = next_steps(&incident);
        // Too much at once: the next change of the case comes by here again.
        let Ok(permit) = Arc::clone(&self.steps).try_acquire_owned() else { return };
        let staff = self.clone();
        tokio::spawn(async move {
            let _permit = permit;
            tokio::select! {
                () = tokio::time::sleep(STEP) => {}
                () = stop.cancelled() => return,
            }
            for step in steps {
                staff.act(&incident, step).await;
            }
        });
    }

    async fn act(&self, incident: &v1::Incident, step: Step) {
        let Some(desk) = self.desks.get(&step.unit) else { return };
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let request = v1::ActRequest {
            name: incident.name.clone(),
            request_id: format!(
                "demo-{}-{number}",
                incident.update_time.map_or(0, |at| at.seconds)
            ),
            etag: String::new(),
            person: step.person,
            unit: step.unit,
            action: Some(step.action),
        };
        // Somebody else may have been faster; the stream tells how the case stands now.
        if let Err(status) = desk.incidents().act(desk.request(request)).await {
            tracing::debug!(%status, "a step of the simulated staff was refused");
        }
    }
}

/// What the people at work on a case do next.
fn next_steps(incident: &v1::Incident) -> Vec<Step> {
    let desk = incident.desk.clone().unwrap_or_default().id;
    let lead = incident.lead.clone().unwrap_or_default().id;
    let by_desk =
        |person: &str, action| vec![Step { unit: desk.clone(), person: person.to_owned(), action }];
    match incident.state() {
        v1::State::Reported => by_desk("受理员 王敏", Action::Accept(v1::Accept::default())),
        v1::State::Accepted => by_desk("值班长 李强", Action::File(v1::File::default())),
        v1::State::Filed => by_desk("派遣员 张伟", Action::Dispatch(v1::Dispatch::default())),
        v1::State::Dispatched => vec![Step {
            unit: lead,
            person: "处置员 陈晨".to_owned(),
            action: Action::Acknowledge(v1::Acknowledge::default()),
        }],
        v1::State::Handling => {
            let mut steps = assist_steps(incident);
            steps.push(Step {
                unit: lead,
                person: "处置员 陈晨".to_owned(),
                action: Action::FeedBack(v1::FeedBack {
                    result: "现场已处置完毕".to_owned(),
                    evidence: vec!["photo:demo-1".to_owned()],
                }),
            });
            steps
        }
        v1::State::FedBack => by_desk("核查员 赵静", Action::StartCheck(v1::StartCheck::default())),
        v1::State::Checking => {
            by_desk("值班长 李强", Action::Close(v1::Close { note: "核查通过".to_owned() }))
        }
        _ => Vec::new(),
    }
}

/// Assists that the feedback waits for.
fn assist_steps(incident: &v1::Incident) -> Vec<Step> {
    let mut steps = Vec::new();
    for task in
        incident.tasks.iter().filter(|task| task.role() == v1::TaskRole::Assist && task.mandatory)
    {
        let unit = task.unit.clone().unwrap_or_default().id;
        let person = "协办员 刘洋".to_owned();
        if task.state() == v1::TaskState::Sent {
            let action = Action::TaskAck(v1::TaskAck::default());
            steps.push(Step { unit: unit.clone(), person: person.clone(), action });
        }
        if matches!(task.state(), v1::TaskState::Sent | v1::TaskState::Acked) {
            let done = v1::TaskDone {
                result: "已到场配合".to_owned(),
                evidence: vec!["photo:demo-2".to_owned()],
            };
            steps.push(Step { unit, person, action: Action::TaskDone(done) });
        }
    }
    steps
}

/// What 99 of 100 alarms took from sensor to desk at most; nothing is claimed before one was measured.
fn p99(latency: &Histogram<u64>) -> String {
    match latency.len() {
        0 => "—".to_owned(),
        _ => format!("{} ms", latency.value_at_quantile(0.99)),
    }
}

/// The one-line balance, every few seconds.
async fn balance(
    sources: Sources,
    latency: Arc<Mutex<Histogram<u64>>>,
    sent: Arc<Counters>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut beat =
        tokio::time::interval_at(tokio::time::Instant::now() + BALANCE_EVERY, BALANCE_EVERY);
    loop {
        tokio::select! {
            _ = beat.tick() => {}
            () = stop.cancelled() => return Ok(()),
        }
        let counters = sources.counters().await?;
        let row = |stage, name| counters.row(stage, name);
        let p99 = p99(&latency.lock().unwrap_or_else(PoisonError::into_inner));
        let heard = output::line(format_args!(
            "== 发出 {} 接收 {} ｜ 路由 {} 隔离 {} 重复 {} 拒绝 {} 待处理 {} ｜ 事件 在办 {} 结案 {} ｜ 传感到桌面 p99 {p99}",
            sent.sent.load(Ordering::Relaxed),
            row(Stage::Gateway, "received"),
            row(Stage::Router, "routed"),
            row(Stage::Router, "quarantined"),
            row(Stage::Router, "duplicate"),
            row(Stage::Router, "rejected"),
            row(Stage::Router, "pending"),
            row(Stage::Incidents, "open"),
            row(Stage::Incidents, "closed"),
        ))?;
        if heard.is_break() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_latency_is_told_before_one_was_measured() {
        let mut latency = Histogram::new(3).expect("three digits");
        assert_eq!(p99(&latency), "—");
        latency.record(145).expect("it grows");
        assert_eq!(p99(&latency), "145 ms");
    }
}
