//! Settings of librdkafka, in one place: the ones that the promise rests on come last and win.

use rdkafka::ClientConfig;

use super::KafkaConfig;

/// Longest pause between two polls before the group gives the partitions to someone else. The
/// reader polls while its role is slow, so only a dead or frozen process reaches it.
const POLL_INTERVAL_MS_MAX: &str = "300000";
/// After so long without a heartbeat the group goes on without this reader. There is no `group.instance.id`, which
/// would spare a crashed reader that is soon back the wait: one that leaves in order would keep its partitions from the
/// others for as long, and every update of the program is such a leave.
const SESSION_MS: &str = "10000";
/// A rebalance is heard of with a heartbeat, and a partition that moves takes two of them.
const HEARTBEAT_MS: &str = "1000";
/// How often stored positions are committed.
const COMMIT_INTERVAL_MS: &str = "1000";
/// Bytes and messages that a consumer fetches ahead.
const FETCH_AHEAD_KB: &str = "16384";

fn common(config: &KafkaConfig) -> ClientConfig {
    let mut settings = ClientConfig::new();
    settings
        .set("socket.keepalive.enable", "true")
        .set("reconnect.backoff.ms", "100")
        .set("reconnect.backoff.max.ms", "5000");
    for (key, value) in &config.options {
        settings.set(key, value);
    }
    settings.set("bootstrap.servers", &config.brokers).set("client.id", &config.client_id);
    settings
}

/// The one producer: every append goes through it in order.
pub(super) fn producer(config: &KafkaConfig) -> ClientConfig {
    let mut settings = common(config);
    settings
        .set("acks", "all")
        .set("enable.idempotence", "true")
        // The default drops messages after five minutes; 0 keeps them until they are delivered.
        .set("message.timeout.ms", "0")
        .set("queue.buffering.max.kbytes", (config.queue_bytes_max / 1024).max(1).to_string())
        .set("queue.buffering.max.messages", "0")
        .set("message.max.bytes", (config.message_bytes_max + 4096).to_string())
        .set("compression.type", "zstd")
        .set("linger.ms", "5")
        .set("retry.backoff.ms", "100")
        .set("retry.backoff.max.ms", "1000");
    settings
}

/// A consumer of a group; positions are committed by name, never by having been read.
pub(super) fn consumer(config: &KafkaConfig, group: &str) -> ClientConfig {
    let mut settings = common(config);
    settings
        .set("group.id", group)
        .set("enable.auto.offset.store", "false")
        .set("enable.auto.commit", "true")
        .set("auto.commit.interval.ms", COMMIT_INTERVAL_MS)
        .set("auto.offset.reset", "error")
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("session.timeout.ms", SESSION_MS)
        .set("heartbeat.interval.ms", HEARTBEAT_MS)
        .set("max.poll.interval.ms", POLL_INTERVAL_MS_MAX)
        .set("queued.max.messages.kbytes", FETCH_AHEAD_KB)
        .set("fetch.wait.max.ms", "100")
        .set("check.crcs", "true");
    settings
}

/// A consumer without a group of its own, for looking.
pub(super) fn looker(config: &KafkaConfig, group: &str) -> ClientConfig {
    let mut settings = consumer(config, group);
    settings.set("enable.auto.commit", "false").set("enable.partition.eof", "true");
    settings
}

/// For administration.
pub(super) fn admin(config: &KafkaConfig) -> ClientConfig {
    common(config)
}
