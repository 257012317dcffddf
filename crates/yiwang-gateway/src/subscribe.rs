//! Client of an outside broker: a persistent session whose messages are acknowledged only after the log's receipt.
//!
//! Invariant: acknowledgements go out in arrival order, and never over another connection than the one their message
//! came by: each connection has its own client, queue and poll task, and all three end with it. What was not yet
//! acknowledged then comes again. The poll task never waits for anything but the broker.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use rand::Rng;
use rumqttc::{
    AsyncClient, Event, EventLoop, MqttOptions, Outgoing, Packet, Publish, QoS, SubscribeReasonCode,
};
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use yiwang_core::codec::sparkplug;
use yiwang_core::record::{BodyKind, Lane, Raw};
use yiwang_core::topic;
use yiwang_log::Halt;

use crate::admission::Share;
use crate::config::RawSubscribe;
use crate::directory::Directory;
use crate::intake::Intake;
use crate::ledger::{Refused, Shed};
use crate::pipeline::{Pipeline, Step};
use crate::record;
use crate::source::{Source, SourceState};
use crate::stats::Stats;

/// Messages that are appended as one batch.
const BATCH_MAX: usize = 512;
/// Batches whose receipts are awaited.
const BATCHES_MAX: usize = 16;
/// Shortest pause before a new attempt.
const RECONNECT_MIN: Duration = Duration::from_millis(100);
/// How long the broker may take to close.
const CLOSE_WAIT_MAX: Duration = Duration::from_secs(2);
/// A connection that lived this long starts the pauses anew.
const HEALTHY_AFTER: Duration = Duration::from_secs(30);
/// Most acknowledgements that are owed at a time: the packet ids there are. One that found no room would be lost, and
/// its message stuck until the next connection.
const OWED_MAX: usize = 65_535;
/// What the request queue holds beside them: subscriptions and DISCONNECT.
const REQUESTS_SPARE: usize = 64;

/// One configured connection and what it reports to.
pub(crate) struct Subscriber {
    pub(crate) config: RawSubscribe,
    pub(crate) intake: Arc<Intake>,
    pub(crate) stats: Arc<Stats>,
    /// Who is which Sparkplug edge node.
    pub(crate) directory: Arc<ArcSwap<Directory>>,
    pub(crate) source: Arc<Source>,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("connection lost: {0}")]
    Lost(#[from] Box<rumqttc::ConnectionError>),
    #[error("nothing happened for {0:?}, not even a ping")]
    Stalled(Duration),
    #[error("the broker refuses the subscription to {0}; allow it there")]
    SubscriptionRefused(String),
    #[error("the broker has used up its packet ids; what was taken is acknowledged")]
    OutOfIds,
    #[error("stopped")]
    Stopped,
}

impl Subscriber {
    /// Receives until stopped; comes back to the broker for as long as it takes.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut pause = RECONNECT_MIN;
        let mut first = true;
        while !stop.is_cancelled() && self.intake.halted.get().is_none() {
            let began = Instant::now();
            let ended = match self.connection(first, &stop).await {
                Ok(ended) => ended,
                Err(halt) => return self.intake.halted.set(halt),
            };
            first = false;
            if matches!(ended, Ended::Stopped) {
                return;
            }
            self.stats.reconnected();
            if matches!(ended, Ended::OutOfIds) {
                tracing::info!(source = self.config.name, "{ended}");
                continue;
            }
            let reason = ended.to_string();
            if self.source.set(SourceState::Down(reason.clone())) {
                tracing::warn!(source = self.config.name, reason, "broker is away");
            }
            if began.elapsed() >= HEALTHY_AFTER {
                pause = RECONNECT_MIN;
            }
            // Decorrelated jitter: many clients of one broker do not come back together.
            let most = Duration::from_millis(self.config.reconnect_max_ms).max(RECONNECT_MIN);
            pause = rand::rng().random_range(RECONNECT_MIN..=pause * 3).min(most);
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// One connection, from CONNECT to the receipt of the last message that came by it.
    async fn connection(&self, first: bool, stop: &CancellationToken) -> Result<Ended, Halt> {
        let requests_max = OWED_MAX + self.config.filters.len() + REQUESTS_SPARE;
        let mut options = options(&self.config, &self.config.client_id);
        options.set_clean_session(false).set_manual_acks(true);
        let (client, events) = AsyncClient::new(options, requests_max);
        let (sender, receiver) = mpsc::channel(self.config.queue_max);
        let poll = Poll {
            config: self.config.clone(),
            intake: Arc::clone(&self.intake),
            source: Arc::clone(&self.source),
            client: client.clone(),
            queue: Some(sender),
            ends: Ended::Stopped,
            held: None,
            owed: 0,
            subscribe: first,
        };
        let mut task = JoinSet::new();
        task.spawn(poll.run(events, stop.clone()));
        self.forward(receiver, &client).await?;
        // Everything is acknowledged as far as it can be; a connection that still stands is ended.
        let _ = client.try_disconnect();
        let deadline = Duration::from_secs(u64::from(self.config.keep_alive_s));
        match timeout(deadline, task.join_next()).await {
            Ok(Some(Ok(ended))) => Ok(ended),
            _ => Ok(Ended::Stalled(deadline)),
        }
    }

    /// Appends what the poll task hands over, and acknowledges it in order once it is safe.
    async fn forward(
        &self,
        mut queue: mpsc::Receiver<Publish>,
        client: &AsyncClient,
    ) -> Result<(), Halt> {
        let mut pipeline =
            Pipeline::<Group>::new(self.intake.door(Share::plain(&self.config.name)));
        let mut inbox = Vec::with_capacity(BATCH_MAX);
        let mut open = true;
        while open || !pipeline.idle() {
            let room = !pipeline.busy() && pipeline.len() < BATCHES_MAX;
            tokio::select! {
                biased;
                step = pipeline.next() => match step? {
                    Step::Room => {}
                    Step::Safe(group) => self.acknowledge(&group, client),
                },
                count = queue.recv_many(&mut inbox, BATCH_MAX), if open && room => {
                    open = count > 0;
                    if open {
                        self.append(&mut inbox, &mut pipeline);
                    }
                }
            }
        }
        Ok(())
    }

    fn append(&self, inbox: &mut Vec<Publish>, pipeline: &mut Pipeline<Group>) {
        let received_at = self.intake.now();
        let peer = format!("{}:{}", self.config.host, self.config.port);
        let mut batch = self.intake.writer.spare();
        let mut group = Group::default();
        let (mut bytes, mut refused) = (0, 0);
        let (directory, mut name) = (self.directory.load(), String::new());
        for publish in inbox.drain(..) {
            let claim = claim(&publish.topic, &directory, &mut name);
            if publish.qos != QoS::AtMostOnce {
                group.acks.push(Ack { packet_id: publish.pkid, stored: claim.is_some() });
            }
            let Some(Claim { device, kind, path }) = claim else {
                refused += 1;
                continue;
            };
            group.records += 1;
            let raw = Raw {
                device,
                lane: Lane::Subscribe,
                kind,
                path,
                listener: &self.config.name,
                peer: &peer,
                received_at,
                payload: &publish.payload,
            };
            record::push(&mut batch, self.intake.raw, record::Key::of(device, &directory), &raw);
            bytes += publish.payload.len() as u64;
        }
        self.intake.ledger.update(Lane::Subscribe, |row| {
            row.received += group.records;
            row.received_bytes += bytes;
            row.in_flight += group.records;
            row.refuse(Refused::NotAllowed, refused);
        });
        match group.records {
            // They wait for the acknowledgements before them all the same.
            0 => pipeline.pass(group),
            _ => pipeline.append(batch, group),
        }
    }

    fn acknowledge(&self, group: &Group, client: &AsyncClient) {
        let mut sent = 0;
        for ack in &group.acks {
            let mut publish = Publish::new("", QoS::AtLeastOnce, Vec::new());
            publish.pkid = ack.packet_id;
            // It fails only when the connection has ended; then the message comes again.
            sent += u64::from(client.try_ack(&publish).is_ok() && ack.stored);
        }
        self.intake.ledger.update(Lane::Subscribe, |row| {
            row.in_flight -= group.records;
            row.appended += group.records;
            row.acknowledged += sent;
        });
    }
}

/// The answers to one batch in arrival order, and how many records it has.
#[derive(Debug, Default)]
struct Group {
    acks: Vec<Ack>,
    records: u64,
}

/// The answer to one message of QoS 1.
#[derive(Clone, Copy, Debug)]
struct Ack {
    packet_id: u16,
    /// Whether it is a record; what hosts say to each other is none.
    stored: bool,
}

/// Whose message it is, as its topic has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Claim<'a> {
    /// Device key; what nobody has under that name ends in quarantine.
    device: &'a str,
    kind: BodyKind,
    path: &'a str,
}

/// Reads a topic; `None` for what Sparkplug hosts send, which is no message of a device. `name` is memory for a name.
fn claim<'a>(topic: &'a str, directory: &'a Directory, name: &'a mut String) -> Option<Claim<'a>> {
    if let Ok(native) = topic::parse_up(topic) {
        return Some(Claim { device: native.device, kind: native.up.kind, path: native.up.path });
    }
    // No device is claimed: the router quarantines it, and nothing is lost meanwhile.
    let strange = Claim { device: "", kind: BodyKind::Other, path: topic };
    if !topic.starts_with(sparkplug::ROOT) {
        return Some(strange);
    }
    let told = match sparkplug::Topic::parse(topic) {
        Some(told) if told.kind.is_command() => return None,
        Some(told) if topic.len() <= topic::BYTES_MAX => told,
        _ => return (!sparkplug::is_state(topic)).then_some(strange),
    };
    name.clear();
    name.extend([told.group, ".", told.edge]);
    // Births, data and deaths of a node and of its devices have one key, so they keep their order.
    let device = directory.edge_node(name).unwrap_or(name);
    Some(Claim { device, kind: BodyKind::Raw, path: topic })
}

/// What every client of a broker connects with.
pub(crate) fn options(config: &RawSubscribe, client_id: &str) -> MqttOptions {
    let mut options = MqttOptions::new(client_id, &config.host, config.port);
    options
        .set_keep_alive(Duration::from_secs(u64::from(config.keep_alive_s)))
        .set_max_packet_size(config.packet_bytes_max, config.packet_bytes_max);
    if let Some(user) = &config.user {
        options.set_credentials(user, config.password.clone().unwrap_or_default());
    }
    options
}

/// The task that talks to the broker.
struct Poll {
    config: RawSubscribe,
    intake: Arc<Intake>,
    source: Arc<Source>,
    client: AsyncClient,
    /// `None` once ending: nothing more is taken, acknowledgements still go out.
    queue: Option<mpsc::Sender<Publish>>,
    /// Why, once ending.
    ends: Ended,
    /// A message that found the queue full; the next is not read before it has gone.
    held: Option<Publish>,
    /// Messages taken whose acknowledgements have not gone out.
    owed: usize,
    subscribe: bool,
}

impl Poll {
    async fn run(mut self, mut events: EventLoop, stop: CancellationToken) -> Ended {
        // The event loop pings by itself: silence for longer than this means that it is stuck.
        let silence_max = Duration::from_secs(u64::from(self.config.keep_alive_s) * 2);
        events.network_options.set_tcp_nodelay(true);
        loop {
            let ending = self.queue.is_none();
            let polled = tokio::select! {
                biased;
                () = stop.cancelled(), if !ending => {
                    self.end(Ended::Stopped);
                    continue;
                }
                () = self.wait_for_room(), if self.held.is_some() => continue,
                polled = timeout(silence_max, events.poll()), if self.held.is_none() => polled,
            };
            let handled = match polled {
                Err(_) => Err(Ended::Stalled(silence_max)),
                Ok(Err(_)) if ending => return self.ends,
                Ok(Ok(Event::Outgoing(Outgoing::Disconnect))) if ending => {
                    closed(events).await;
                    return self.ends;
                }
                Ok(Err(error)) => Err(Ended::Lost(Box::new(error))),
                Ok(Ok(Event::Incoming(packet))) => self.incoming(packet),
                Ok(Ok(Event::Outgoing(Outgoing::PubAck(_)))) => {
                    self.owed = self.owed.saturating_sub(1);
                    Ok(())
                }
                Ok(Ok(Event::Outgoing(_))) => Ok(()),
            };
            if let Err(ended) = handled {
                return ended;
            }
        }
    }

    /// Takes nothing more; the connection ends once what was taken is acknowledged.
    fn end(&mut self, why: Ended) {
        (self.queue, self.held, self.ends) = (None, None, why);
    }

    fn incoming(&mut self, packet: Packet) -> Result<(), Ended> {
        match packet {
            Packet::Publish(publish) => {
                self.hand_over(publish);
                Ok(())
            }
            Packet::ConnAck(connected) => {
                // The session of an earlier process may hold other filters than ours.
                if self.subscribe || !connected.session_present {
                    let qos = if self.config.qos == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce };
                    for filter in &self.config.filters {
                        self.client
                            .try_subscribe(filter, qos)
                            .expect("a new request queue has room for every filter");
                    }
                } else {
                    self.up();
                }
                Ok(())
            }
            Packet::SubAck(answer) => {
                if answer.return_codes.contains(&SubscribeReasonCode::Failure) {
                    return Err(Ended::SubscriptionRefused(self.config.filters.join(", ")));
                }
                self.up();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn up(&self) {
        if self.source.set(SourceState::Up) {
            tracing::info!(source = self.config.name, "broker is connected");
        }
    }

    /// Hands over the message that found no room, once there is some.
    async fn wait_for_room(&mut self) {
        let Some(queue) = &self.queue else { return };
        let room = queue.reserve().await;
        // Where nobody takes it any more it is not acknowledged, and comes again.
        if let (Some(publish), Ok(room)) = (self.held.take(), room) {
            room.send(publish);
        }
    }

    fn hand_over(&mut self, publish: Publish) {
        let Some(queue) = &self.queue else { return };
        if publish.qos != QoS::AtMostOnce {
            if self.owed == OWED_MAX {
                return self.end(Ended::OutOfIds);
            }
            self.owed += 1;
        }
        match queue.try_send(publish) {
            Ok(()) | Err(TrySendError::Closed(_)) => {}
            Err(TrySendError::Full(publish)) if publish.qos == QoS::AtMostOnce => {
                self.intake.ledger.update(Lane::Subscribe, |row| row.shed(Shed::QueueFull, 1));
            }
            Err(TrySendError::Full(publish)) => self.held = Some(publish),
        }
    }
}

/// Waits until the broker has closed: then it has read our DISCONNECT and the acknowledgements before it. If we closed, with
/// messages of it unread, it would be told of a fault and forget them.
async fn closed(mut events: EventLoop) {
    // One that does not close is left.
    let _ = timeout(CLOSE_WAIT_MAX, async { while events.poll().await.is_ok() {} }).await;
}
