//! Finding records by id: passes over the topics of outputs, each to the end that it had when the pass began.

use prost::Message;
use yiwang_core::ids::Id;
use yiwang_core::routes::Stream;
use yiwang_log::{Log, Scan};
use yiwang_proto::record::v1;

use crate::Error;

/// The topic of signals that may be folded.
pub(super) const LIFECYCLE: &str = "lifecycle";

/// The device whose output, or raw record, has this id; `None` if no output says.
pub(super) async fn device_of(
    log: &Log,
    topics: &[(String, Stream)],
    id: Id,
) -> Result<Option<String>, Error> {
    let own = |topic: &str| topic == LIFECYCLE || Stream::parse(topic).is_some();
    for (topic, stream) in topics.iter().filter(|(topic, _)| own(topic)) {
        let mut scan = Scan::open(log, topic).await?;
        while let Some(records) = scan.next().await? {
            for record in scan.of(&records) {
                if let Some(device) = device_if(topic, *stream, record.value, id) {
                    return Ok(Some(device));
                }
            }
        }
    }
    Ok(None)
}

fn device_if(topic: &str, stream: Stream, value: &[u8], id: Id) -> Option<String> {
    let is = |bytes: &[u8]| bytes == id.to_bytes();
    match stream {
        Stream::Signals if topic == LIFECYCLE => {
            let row = v1::Lifecycle::decode(value).ok()?;
            is(&row.id).then_some(row.device)
        }
        Stream::Readings => {
            let reading = v1::Reading::decode(value).ok()?;
            (is(&reading.id) || is(&reading.raw)).then_some(reading.device)
        }
        Stream::Signals => {
            let signal = v1::Signal::decode(value).ok()?;
            (signal.event_id == id.to_string()).then_some(signal.device)
        }
        Stream::Quarantine => {
            let row = v1::Quarantine::decode(value).ok()?;
            is(&row.raw).then_some(row.device)
        }
    }
}

/// The id of an output, as it is printed.
pub(super) fn id_of(topic: &str, stream: Stream, value: &[u8]) -> Option<String> {
    let hex = |bytes: &[u8]| Some(Id::from_bytes(bytes.try_into().ok()?).to_string());
    match stream {
        Stream::Signals if topic == LIFECYCLE => hex(&v1::Lifecycle::decode(value).ok()?.id),
        Stream::Readings => hex(&v1::Reading::decode(value).ok()?.id),
        Stream::Signals => Some(v1::Signal::decode(value).ok()?.event_id),
        Stream::Quarantine => hex(&v1::Quarantine::decode(value).ok()?.raw),
    }
}
