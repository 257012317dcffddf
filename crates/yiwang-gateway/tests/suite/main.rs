//! Tests of the gateway over real sockets: its MQTT front, its brokers, its Kafka intake.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod support;

mod kafka;
mod listen;
mod peers;
mod pressure;
mod registry;
mod settings;
mod sparkplug;
mod subscribe;
