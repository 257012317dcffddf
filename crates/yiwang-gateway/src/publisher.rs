//! The client that publishes commands to an outside broker: not the one that receives, whose poll loop never waits.
//!
//! It is connected while there is something to say and for a while after. Messages are of QoS 0: what is lost with a
//! connection is asked for again by whoever asked.

use std::sync::Arc;
use std::time::Duration;

use rumqttc::{AsyncClient, ConnectionError, Event, EventLoop, Outgoing, QoS};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use yiwang_core::record::Command;

use crate::config::RawSubscribe;
use crate::stats::{CommandFate, Stats};
use crate::subscribe;

/// Commands that wait for a broker.
pub(crate) const QUEUE_MAX: usize = 64;
/// A connection without anything to say ends after this.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// Pause after a connection that failed.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How long the last word may take.
const FAREWELL_MAX: Duration = Duration::from_secs(5);

/// One broker.
pub(crate) struct Publisher {
    pub(crate) config: RawSubscribe,
    pub(crate) queue: mpsc::Receiver<Command>,
    pub(crate) stats: Arc<Stats>,
}

impl Publisher {
    /// Publishes until stopped.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        loop {
            let first = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                first = self.queue.recv() => first,
            };
            let Some(first) = first else { return };
            let Some(error) = self.connection(first, &stop).await else { continue };
            tracing::warn!(broker = self.config.name, %error, "commands do not reach a broker");
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(RETRY_AFTER) => {}
            }
        }
    }

    /// One connection, up to its error.
    async fn connection(
        &mut self,
        first: Command,
        stop: &CancellationToken,
    ) -> Option<Box<ConnectionError>> {
        let id = format!("{}-commands", self.config.client_id);
        let (client, events) =
            AsyncClient::new(subscribe::options(&self.config, &id), QUEUE_MAX + 1);
        let mut polling = std::pin::pin!(poll(events, &self.stats));
        say(&client, first);
        loop {
            tokio::select! {
                ended = &mut polling => return ended,
                next = timeout(IDLE_MAX, self.queue.recv()) => match next {
                    Ok(Some(command)) => say(&client, command),
                    _ => break,
                },
                () = stop.cancelled() => break,
            }
        }
        // It fails only when the connection has ended.
        let _ = client.try_disconnect();
        timeout(FAREWELL_MAX, polling).await.ok().flatten()
    }
}

/// Hands a message to the connection; one that has no room has not been written for long, and loses it.
fn say(client: &AsyncClient, command: Command) {
    let _ = client.try_publish(command.topic, QoS::AtMostOnce, false, command.payload);
}

/// Drives a connection to its end; counts what was written.
async fn poll(mut events: EventLoop, stats: &Stats) -> Option<Box<ConnectionError>> {
    events.network_options.set_tcp_nodelay(true);
    loop {
        match events.poll().await {
            Ok(Event::Outgoing(Outgoing::Publish(_))) => stats.command(CommandFate::Sent),
            Ok(Event::Outgoing(Outgoing::Disconnect)) => return None,
            Ok(_) => {}
            Err(error) => return Some(Box::new(error)),
        }
    }
}
