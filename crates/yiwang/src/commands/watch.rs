//! Follows one unit's stream as its screen does: goes on from the last token after every break, acknowledges what it
//! has shown.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use yiwang_proto::incident::v1;
use yiwang_proto::incident::v1::incident_service_client::IncidentServiceClient;
use yiwang_proto::incident::v1::watch_response::Item;
use yiwang_proto::incident::v1::watch_service_client::WatchServiceClient;

use crate::cli::ConfigArgs;
use crate::config::Config;
use crate::exit::Failure;
use crate::output::{self, Heard};
use crate::screen::Screen;

/// Pause before the stream is opened again.
const AGAIN: Duration = Duration::from_secs(1);
/// How long one attempt to connect may take.
const CONNECT_WAIT_MAX: Duration = Duration::from_secs(5);
/// The zone of the shipped district.
pub const ZONE: &str = "Asia/Shanghai";

/// A caller with its token.
#[derive(Clone)]
pub struct Desk {
    channel: Channel,
    token: MetadataValue<tonic::metadata::Ascii>,
}

impl Desk {
    /// Connects when first used.
    ///
    /// # Errors
    /// If the address or the token cannot be used.
    pub fn new(target: &str, token: &str) -> anyhow::Result<Self> {
        let channel = Endpoint::from_shared(format!("http://{target}"))
            .with_context(|| format!("failed to use {target} as HOST:PORT"))?
            .connect_timeout(CONNECT_WAIT_MAX)
            .connect_lazy();
        let token = format!("Bearer {}", token.trim()).parse().context("the token is no text")?;
        Ok(Self { channel, token })
    }

    /// A request in this caller's name.
    pub fn request<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        request.metadata_mut().insert("authorization", self.token.clone());
        request
    }

    /// A client of the streams.
    pub fn watches(&self) -> WatchServiceClient<Channel> {
        WatchServiceClient::new(self.channel.clone())
    }

    /// A client of the incidents.
    pub fn incidents(&self) -> IncidentServiceClient<Channel> {
        IncidentServiceClient::new(self.channel.clone())
    }
}

/// Shows a unit's stream until stopped.
///
/// # Errors
/// If there is no token, or the hub refuses it.
pub async fn run(
    args: &ConfigArgs,
    unit: &str,
    target: Option<String>,
    token_file: Option<PathBuf>,
    as_json: bool,
) -> anyhow::Result<()> {
    let config = Config::load(args)?;
    let path = token_file.unwrap_or_else(|| super::tokens::file(&config, unit));
    let token = std::fs::read_to_string(&path).map_err(|error| {
        Failure::Config(format!(
            "failed to read the token {}: {error}; make one with `yiwang token new --unit {unit}`",
            path.display()
        ))
    })?;
    let target = target.unwrap_or_else(|| config.raw.centre.listen.to_string());
    let desk = Desk::new(&target, &token)?;
    let screen = Screen::new(jiff::tz::TimeZone::get(ZONE).context("the time zone is not known")?);
    let stop = super::stop_on_signal()?;
    let consumer = format!("watch-{}", std::process::id());
    follow(&desk, &consumer, Presence::Here, &stop, |item| {
        let line = match item {
            item if as_json => to_json(item).to_string(),
            Item::SnapshotItem(v1::SnapshotItem { incident: Some(incident) }) => {
                screen.standing(incident)
            }
            Item::SnapshotEnd(end) => format!("—— 在办 {} 件，以下为实时变化 ——", end.count),
            Item::Change(change) => screen.change(change),
            Item::LeftScope(left) => format!("—— {} 已离开视野 ——", left.incident),
            _ => return Ok(Heard::Continue(())),
        };
        output::line(line)
    })
    .await
}

/// Follows the stream through breaks until stopped or not heard any more; every item once it is committed.
///
/// # Errors
/// If the hub refuses the token or the request, or an item cannot be shown; breaks are waited out.
pub async fn follow(
    desk: &Desk,
    consumer: &str,
    mut presence: Presence,
    stop: &CancellationToken,
    mut show: impl FnMut(&Item) -> anyhow::Result<Heard>,
) -> anyhow::Result<()> {
    let mut token = Vec::new();
    loop {
        let streamed = async {
            let items = open(desk, consumer, &token).await.inspect_err(|status| {
                if !is_refusal(status) {
                    presence.is_away(status);
                }
            })?;
            presence.is_back();
            read(desk, consumer, items, &mut token, &mut show).await
        };
        let ended = tokio::select! {
            ended = streamed => ended,
            () = stop.cancelled() => return Ok(()),
        };
        match ended {
            Ok(Ok(Heard::Continue(()))) => {}
            Ok(heard) => return heard.map(|_| ()),
            Err(status) if is_refusal(&status) => {
                let text = format!("the hub refuses: {}", status.message());
                return Err(Failure::Config(text).into());
            }
            Err(status) if status.code() == tonic::Code::OutOfRange => token.clear(),
            Err(status) => tracing::debug!(%status, "the stream broke"),
        }
        tokio::select! {
            () = tokio::time::sleep(AGAIN) => {}
            () = stop.cancelled() => return Ok(()),
        }
    }
}

/// Whether it would be refused again.
fn is_refusal(status: &tonic::Status) -> bool {
    use tonic::Code::{InvalidArgument, PermissionDenied, Unauthenticated};
    matches!(status.code(), Unauthenticated | PermissionDenied | InvalidArgument)
}

/// Says on standard error when the hub goes away and when it is back, each once. A stream that breaks and opens again at
/// once is no news.
pub enum Presence {
    /// The hub answers, or nothing is known yet.
    Here,
    /// It was said to be away.
    Away,
    /// Nobody needs to be told: the hub is this process.
    Untold,
}

impl Presence {
    fn is_away(&mut self, status: &tonic::Status) {
        if matches!(self, Self::Here) && status.code() != tonic::Code::OutOfRange {
            *self = Self::Away;
            let (why, again) = (status.message(), AGAIN.as_secs());
            output::tell(format_args!("the hub is away ({why}); trying again every {again} s"));
        }
    }

    fn is_back(&mut self) {
        if matches!(self, Self::Away) {
            *self = Self::Here;
            output::tell("the hub is back");
        }
    }
}

async fn open(
    desk: &Desk,
    consumer: &str,
    token: &[u8],
) -> Result<tonic::Streaming<v1::WatchResponse>, tonic::Status> {
    let request = v1::WatchRequest {
        consumer: consumer.to_owned(),
        token: token.to_vec(),
        ..v1::WatchRequest::default()
    };
    Ok(desk.watches().watch(desk.request(request)).await?.into_inner())
}

/// Reads a stream to its end, or until an item is not heard or cannot be shown.
async fn read(
    desk: &Desk,
    consumer: &str,
    mut items: tonic::Streaming<v1::WatchResponse>,
    token: &mut Vec<u8>,
    show: &mut impl FnMut(&Item) -> anyhow::Result<Heard>,
) -> Result<anyhow::Result<Heard>, tonic::Status> {
    while let Some(response) = items.message().await? {
        let Some(item) = response.item else { continue };
        match show(&item) {
            Ok(Heard::Continue(())) => {}
            stopped => return Ok(stopped),
        }
        let shown = match &item {
            Item::SnapshotEnd(end) => &end.token,
            Item::Change(change) => &change.token,
            Item::LeftScope(left) => &left.token,
            Item::Heartbeat(beat) => {
                let ack = v1::AckRequest {
                    consumer: consumer.to_owned(),
                    token: beat.token.clone(),
                    ..v1::AckRequest::default()
                };
                desk.watches().ack(desk.request(ack)).await?;
                &beat.token
            }
            Item::SnapshotItem(_) => continue,
        };
        token.clone_from(shown);
    }
    Ok(Ok(Heard::Continue(())))
}

fn to_json(item: &Item) -> serde_json::Value {
    let incident = |incident: Option<&v1::Incident>| {
        let it = incident.cloned().unwrap_or_default();
        let unit = |unit: Option<&v1::UnitRef>| unit.map(|unit| unit.id.clone());
        let place = it.place.clone().unwrap_or_default();
        json!({"name": it.name, "no": it.no, "version": it.version, "state": it.state().as_str_name(),
            "category": it.category, "severity": it.severity().as_str_name(), "title": it.title,
            "town": unit(place.town.as_ref()), "station": unit(place.station.as_ref()),
            "village": unit(place.village.as_ref()), "desk": unit(it.desk.as_ref()),
            "lead": unit(it.lead.as_ref()), "source": it.source, "event_id": it.event_id})
    };
    match item {
        Item::SnapshotItem(item) => {
            json!({"item": "snapshot", "incident": incident(item.incident.as_ref())})
        }
        Item::SnapshotEnd(end) => json!({"item": "snapshot_end", "count": end.count}),
        Item::Change(change) => {
            json!({"item": "change", "action": change.action, "incident": incident(change.incident.as_ref())})
        }
        Item::LeftScope(left) => {
            json!({"item": "left_scope", "incident": left.incident, "version": left.version})
        }
        Item::Heartbeat(beat) => {
            json!({"item": "heartbeat", "head": beat.head_seq, "acked": beat.acked_seq})
        }
    }
}
