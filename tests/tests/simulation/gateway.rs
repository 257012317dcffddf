//! The gateway's step without its sockets: append in the order of arrival, acknowledge in that order after the receipt.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use yiwang_core::ids::key_hash;
use yiwang_core::record::{BodyKind, Lane, Raw};
use yiwang_log::{Batch, Halt, Log, Receipt, Route};
use yiwang_proto::wire::{write_raw, write_tick};

use crate::fleet::{Arrival, Fleet};

/// Publishes that are not yet safe.
const IN_FLIGHT_MAX: usize = 16;

/// Serves all connections until the log halts or it is dropped.
pub async fn run(log: Log, fleet: Fleet) -> Result<(), Halt> {
    let (connection, arrivals) = mpsc::channel(IN_FLIGHT_MAX);
    let (appended, receipts) = mpsc::channel(IN_FLIGHT_MAX);
    fleet.connect(connection);
    let appends = append(&log, &fleet, arrivals, appended);
    let acks = acknowledge(&fleet, receipts);
    tokio::try_join!(appends, acks, tick(&log, &fleet)).map(|_| ())
}

async fn append(
    log: &Log,
    fleet: &Fleet,
    mut arrivals: mpsc::Receiver<Arrival>,
    appended: mpsc::Sender<(Receipt, Vec<Arrival>)>,
) -> Result<(), Halt> {
    let mut waiting = Vec::new();
    while arrivals.recv_many(&mut waiting, IN_FLIGHT_MAX).await > 0 {
        let mut batch = Batch::new();
        for Arrival { message } in &waiting {
            push(log, &mut batch, message.device, message.body.as_bytes(), fleet.now());
        }
        let receipt = log.writer().append(batch).await?;
        if appended.send((receipt, std::mem::take(&mut waiting))).await.is_err() {
            break;
        }
    }
    Ok(())
}

async fn acknowledge(
    fleet: &Fleet,
    mut receipts: mpsc::Receiver<(Receipt, Vec<Arrival>)>,
) -> Result<(), Halt> {
    while let Some((receipt, arrivals)) = receipts.recv().await {
        receipt.safe().await?;
        arrivals.iter().for_each(|arrival| fleet.acknowledge(arrival));
    }
    Ok(())
}

async fn tick(log: &Log, fleet: &Fleet) -> Result<(), Halt> {
    let mut timer = interval(Duration::from_secs(1));
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let topic = log.topic("raw").unwrap();
    loop {
        timer.tick().await;
        let mut batch = Batch::new();
        for partition in 0..log.partitions("raw") {
            let encode = |out: &mut Vec<u8>| write_tick("sim", fleet.now(), out);
            batch.push_with(topic, Route::Partition(partition), b"", &[], encode);
        }
        log.writer().append(batch).await?.safe().await?;
    }
}

/// Puts one message into a batch.
pub fn push(log: &Log, batch: &mut Batch, device: &str, payload: &[u8], received_at: i64) {
    let raw = Raw {
        device,
        lane: Lane::Subscribe,
        kind: BodyKind::Property,
        path: "property",
        listener: "sim",
        peer: "127.0.0.1:9",
        received_at,
        payload,
    };
    let route = Route::Key { hash: key_hash(device) };
    let topic = log.topic("raw").unwrap();
    batch.push_with(topic, route, device.as_bytes(), &[], |out| write_raw(&raw, out));
}
