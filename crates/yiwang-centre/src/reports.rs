//! Reports of partners and citizens: a request becomes a signal of its source.

use tonic::Status;
use yiwang_core::district::District;
use yiwang_core::record::{AlarmSeverity, Millis, Point, Signal, SignalKind};
use yiwang_proto::incident::v1;
use yiwang_proto::view;

use crate::caller;

/// Longest text of a report, in bytes.
const TEXT_BYTES_MAX: usize = 4 << 10;
/// Longest request id, in bytes.
const ID_BYTES_MAX: usize = 128;

/// The signal of a report by a caller's unit.
///
/// # Errors
/// `INVALID_ARGUMENT` naming the field.
pub(crate) fn to_signal(
    request: v1::ReportRequest,
    unit: &str,
    district: &District,
    now: Millis,
) -> Result<Signal, Status> {
    if request.request_id.is_empty() || request.request_id.len() > ID_BYTES_MAX {
        let what = "give an id of 1 to 128 bytes, the same when you try again";
        return Err(caller::bad_argument("request_id", what));
    }
    if request.text.len() > TEXT_BYTES_MAX {
        return Err(caller::bad_argument("text", "more than 4 KiB"));
    }
    let place = match request.place.as_str() {
        "" => None,
        code => {
            let unit = district.resolve_code(code);
            Some(
                unit.ok_or_else(|| caller::bad_argument("place", "no such unit or code"))?
                    .id
                    .to_string(),
            )
        }
    };
    let asset = match request.asset.as_str() {
        "" => None,
        id if district.asset(id).is_some() => Some(id.to_owned()),
        _ => return Err(caller::bad_argument("asset", "no such asset")),
    };
    let time = match &request.event_time {
        None => now,
        Some(time) => {
            view::millis(time).ok_or_else(|| caller::bad_argument("event_time", "not a time"))?
        }
    };
    let severity = v1::Severity::try_from(request.severity)
        .map_err(|_| caller::bad_argument("severity", "an unknown one"))?
        .to_core();
    Ok(Signal {
        source: format!("partner/{unit}"),
        event_id: request.request_id,
        kind: SignalKind::Report,
        alarm_key: String::new(),
        category: request.category,
        severity: severity.unwrap_or(AlarmSeverity::Minor),
        time,
        // Part of the digest, unlike our own clock: the same report is the same when it comes again.
        since: if request.event_time.is_some() { time } else { 0 },
        received_at: now,
        device: String::new(),
        asset,
        place,
        point: request.point.map(|point| Point { lon_e6: point.lon_e6, lat_e6: point.lat_e6 }),
        cause: String::new(),
        text: request.text,
        reading: None,
        members: Vec::new(),
    })
}
