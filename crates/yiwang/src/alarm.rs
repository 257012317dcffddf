//! An operator's clear of an alarm: checked against the configuration in force, then one record of `raw`.
//!
//! It is the router that carries it out, in the order of the log, so a replay repeats it. Whoever appends it need not be the
//! process that routes the device.

use tonic::Status;
use yiwang_core::ids::key_hash;
use yiwang_core::record::Clear;
use yiwang_core::registry::Registry;
use yiwang_log::{Batch, Log, Route};
use yiwang_proto::admin::v1;
use yiwang_proto::wire;

use crate::bundle::Bundle;

/// Who clears through the administration service: its key is the machine's, so no person is known by it.
const ACTOR: &str = "admin";
/// Longest reason: it stands in the signal's text.
const REASON_BYTES_MAX: usize = 500;

/// Refuses what could only do nothing.
///
/// # Errors
/// A status that names what is wrong.
pub fn check(bundle: &Bundle, asked: &v1::ClearAlarmRequest) -> Result<(), Status> {
    let v1::ClearAlarmRequest { device, rule, reason } = asked;
    let registry = &bundle.registry;
    let (_, known) = registry.device(device).ok_or_else(|| {
        Status::not_found(format!("no device {device}: name it as PRODUCT/NAME of its list"))
    })?;
    let rules = registry.product_of(known).alarms.iter().map(|alarm| &*alarm.id);
    if !rules.clone().any(|id| id == rule.as_str()) {
        let ids: Vec<_> = rules.collect();
        let ids = ids.join(", ");
        return Err(Status::not_found(format!("no rule {rule} of {device}; it has: {ids}")));
    }
    let is_line = !reason.trim().is_empty() && !reason.contains(char::is_control);
    if !is_line || reason.len() > REASON_BYTES_MAX {
        let text = format!("the reason is one line of up to {REASON_BYTES_MAX} bytes");
        return Err(Status::invalid_argument(text));
    }
    Ok(())
}

/// Puts it on the log among the records of its device; where it lies, once it is durable.
///
/// # Errors
/// The log takes nothing, or it is in doubt whether it has.
pub async fn append(
    log: &Log,
    registry: &Registry,
    asked: &v1::ClearAlarmRequest,
) -> Result<v1::ClearAlarmResponse, Status> {
    let v1::ClearAlarmRequest { device, rule, reason } = asked;
    let topic = log.topic("raw").ok_or_else(|| Status::internal("the log has no topic raw"))?;
    let received_at = jiff::Timestamp::now().as_millisecond();
    let clear = Clear { device, rule, actor: ACTOR, reason: reason.trim(), received_at };
    let mut batch = Batch::new();
    let route = Route::Key { hash: key_hash(registry.place(device)) };
    let encode = |out: &mut Vec<u8>| wire::write_clear(&clear, out);
    batch.push_with(topic, route, device.as_bytes(), &[], encode);
    let in_doubt = |halt| Status::unavailable(format!("the log is in doubt: {halt}"));
    let receipt = log.writer().append(batch).await.map_err(in_doubt)?;
    let stored = receipt.safe().await.map_err(in_doubt)?;
    let extent = stored.extents().first();
    let extent = extent.ok_or_else(|| Status::internal("the log does not say where it lies"))?;
    tracing::info!(device, rule, reason = clear.reason, "an operator clears an alarm");
    Ok(v1::ClearAlarmResponse { partition: u32::from(extent.partition), seq: extent.first })
}
