//! What the log on Kafka does when brokers answer with errors or not at all: it waits, says so, and loses nothing.
//!
//! The brokers are librdkafka's own mock, which answers on a socket and can be told to fail.
#![cfg(feature = "kafka")]
#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::time::Duration;

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use yiwang_log::{Batch, KafkaConfig, Log, Receipt, Route, TopicSpec};

/// How long anything may take that is expected to happen.
const PATIENCE: Duration = Duration::from_secs(30);

type Brokers = MockCluster<'static, DefaultProducerContext>;

async fn open() -> (Brokers, Log) {
    let brokers = MockCluster::new(1).unwrap();
    brokers.create_topic("mock.raw.v1", 2, 1).unwrap();
    let mut config = KafkaConfig::new(brokers.bootstrap_servers());
    config.prefix = "mock.".to_owned();
    config.connect_wait_max = Some(PATIENCE);
    let log = Log::open_kafka(config, vec![TopicSpec::stream("raw", 2, &[])]).await.unwrap();
    (brokers, log)
}

async fn append(log: &Log, value: &str) -> Receipt {
    let mut batch = Batch::new();
    let topic = log.topic("raw").unwrap();
    batch.push(topic, Route::Partition(0), b"device", &[], value.as_bytes());
    log.writer().append(batch).await.unwrap()
}

/// Waits until the log says whether its brokers are well.
async fn until_connected(log: &Log, connected: bool) {
    let waiting = async {
        let mut look = tokio::time::interval(Duration::from_millis(20));
        while log.status().connected != connected {
            look.tick().await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, waiting).await;
    waited.unwrap_or_else(|_| panic!("connected never becomes {connected}"));
}

async fn safe(receipt: Receipt) -> Vec<(u64, u64)> {
    let appended = tokio::time::timeout(PATIENCE, receipt.safe()).await.unwrap().unwrap();
    appended.extents().iter().map(|extent| (extent.first, extent.last)).collect()
}

#[tokio::test]
async fn an_error_that_passes_is_waited_out() {
    let (brokers, log) = open().await;
    brokers.request_errors(
        RDKafkaApiKey::Produce,
        &[
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__TRANSPORT,
        ],
    );
    assert_eq!(safe(append(&log, "1").await).await, [(0, 0)]);
    assert_eq!(safe(append(&log, "2").await).await, [(1, 1)]);
    log.close().await.unwrap();
}

#[tokio::test]
async fn a_refusal_is_no_success_and_is_tried_again() {
    let (brokers, log) = open().await;
    let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    brokers.request_errors(RDKafkaApiKey::Produce, &[refused; 2]);
    let receipt = append(&log, "1").await;
    until_connected(&log, false).await;
    // The right is given back, which here is the end of the list of errors.
    assert_eq!(safe(receipt).await, [(0, 0)]);
    assert!(log.status().connected);
    log.close().await.unwrap();
}

#[tokio::test]
async fn brokers_that_are_down_are_waited_for() {
    let (brokers, log) = open().await;
    assert_eq!(safe(append(&log, "1").await).await, [(0, 0)]);
    brokers.broker_down(1).unwrap();
    until_connected(&log, false).await;
    let receipt = append(&log, "2").await;
    assert!(log.status().queued_bytes > 0, "it is kept");
    brokers.broker_up(1).unwrap();
    assert_eq!(safe(receipt).await, [(1, 1)]);
    until_connected(&log, true).await;
    log.close().await.unwrap();
}

#[tokio::test]
async fn an_idle_log_hears_that_its_brokers_are_back() {
    let (brokers, log) = open().await;
    brokers.broker_down(1).unwrap();
    until_connected(&log, false).await;
    brokers.broker_up(1).unwrap();
    until_connected(&log, true).await;
    log.close().await.unwrap();
}
