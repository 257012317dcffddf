//! The devices and desks of the demo district, as every test uses them.
//!
//! A step that fails ends the test: these functions panic with what was expected.

use crate::desk::Desk;
use crate::hub::{Hub, PATIENCE};
use crate::mqtt::{Connection, Incoming, Login, Version};
use crate::wait::until;

/// The secret of a demo device `pk/dn`.
#[must_use]
pub fn secret(device: &str) -> String {
    format!("demo-secret-{}", device.split('/').nth(1).unwrap_or_default())
}

/// Client id and user name of a device `pk/dn`.
#[must_use]
pub fn client_id(device: &str) -> String {
    device.replacen('/', ".", 1)
}

/// Topic of a device's property messages.
#[must_use]
pub fn property_topic(device: &str) -> String {
    format!("iot/v1/{device}/up/property")
}

/// Connects a device by its demo secret.
///
/// # Panics
/// If the hub refuses it.
#[must_use]
pub fn connect(hub: &Hub, device: &str, version: Version) -> Connection {
    let (id, secret) = (client_id(device), secret(device));
    let login = Login { version, client_id: &id, credentials: Some((&id, &secret)) };
    Connection::open(hub.mqtt(), &login).expect("the device may connect")
}

/// Publishes one property body at QoS 1 and waits for its PUBACK.
///
/// # Panics
/// If no answer comes.
pub fn publish(connection: &mut Connection, device: &str, body: &str) -> Incoming {
    connection.publish(&property_topic(device), 7, body.as_bytes());
    connection.flush().expect("the socket takes it");
    receive(connection)
}

/// The next packet.
///
/// # Panics
/// If none comes.
pub fn receive(connection: &mut Connection) -> Incoming {
    let mut answer = None;
    connection.receive(|packet| answer = answer.take().or(Some(packet))).expect("an answer comes");
    answer.expect("the first packet is the answer")
}

/// A gas concentration above the limit.
#[must_use]
pub fn leak(seq: u64) -> String {
    format!(r#"{{"boot":1,"seq":{seq},"params":{{"concentration":45.5}}}}"#)
}

/// The desk of a unit, with a token of its own.
///
/// # Panics
/// If the program makes no token.
#[must_use]
pub fn desk(hub: &Hub, unit: &str) -> Desk {
    Desk::new(hub.grpc(), &hub.token(unit).expect("a token is made"))
}

/// Waits until the ledger of every role balances with nothing pending.
///
/// # Panics
/// If it does not within [`PATIENCE`].
pub fn ledger_balances(hub: &Hub) {
    until("the ledger to balance with nothing pending", PATIENCE, || {
        for role in ["gateway", "router", "centre"] {
            let off = hub.metric(role, "yiwang_ledger_imbalance", "")?;
            let pending = hub.metric(role, "yiwang_ledger_records", "row=\"pending\"")?;
            let in_flight = hub.metric(role, "yiwang_ledger_records", "row=\"in_flight\"")?;
            if off != 0.0 || in_flight != 0.0 || (role == "centre" && pending != 0.0) {
                return Err(format!(
                    "{role}: imbalance {off}, pending {pending}, in flight {in_flight}"
                ));
            }
        }
        Ok(())
    })
    .expect("every record has one fate");
}
