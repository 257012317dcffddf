//! Finding records by id: passes over the topics of outputs, each to the end that it had when the pass began.

use prost::Message;
use yiwang_core::ids::Id;
use yiwang_core::routes::Stream;
use yiwang_log::{BatchLimit, Event, Log, Reader, RecordRef, Records, Start};
use yiwang_proto::record::v1;

use crate::Error;

/// Nobody's group: it commits nothing and bounds no retention.
const GROUP: &str = "";

/// A pass over a topic from its oldest record.
pub(super) struct Scan {
    reader: Reader,
    heads: Vec<u64>,
    left: usize,
}

impl Scan {
    pub(super) async fn open(log: &Log, topic: &str) -> Result<Self, Error> {
        let (mut heads, mut left) = (Vec::new(), 0);
        for partition in 0..log.partitions(topic) {
            let kept = log.kept(topic, partition).await?;
            left += usize::from(!kept.is_empty());
            heads.push(kept.end);
        }
        let reader = log.reader(topic, GROUP, Start::Committed).await?;
        Ok(Self { reader, heads, left })
    }

    /// A pass over one partition only, whose end is `head`.
    pub(super) fn of_one(reader: Reader, partition: u16, head: u64, is_empty: bool) -> Self {
        let mut heads = vec![0; usize::from(partition) + 1];
        heads[usize::from(partition)] = head;
        Self { reader, heads, left: usize::from(!is_empty) }
    }

    /// The next records; none at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Records>, Error> {
        while self.left > 0 {
            let Event::Records(records) = self.reader.next(BatchLimit::default()).await? else {
                continue;
            };
            if records.is_empty() {
                break;
            }
            let head = self.head(&records);
            let first = records.iter().next().map_or(0, |record| record.seq);
            if first < head {
                self.left -= usize::from(records.end().seq >= head);
                return Ok(Some(records));
            }
        }
        Ok(None)
    }

    /// Those of the records that belong to this pass.
    pub(super) fn of<'r>(&self, records: &'r Records) -> impl Iterator<Item = RecordRef<'r>> {
        let head = self.head(records);
        records.iter().take_while(move |record| record.seq < head)
    }

    fn head(&self, records: &Records) -> u64 {
        self.heads.get(usize::from(records.partition)).copied().unwrap_or(0)
    }
}

/// The device whose output, or raw record, has this id; `None` if no output says.
pub(super) async fn device_of(
    log: &Log,
    topics: &[(String, Stream)],
    id: Id,
) -> Result<Option<String>, Error> {
    let own = Stream::ALL.map(Stream::as_str);
    for (topic, stream) in topics.iter().filter(|(topic, _)| own.contains(&topic.as_str())) {
        let mut scan = Scan::open(log, topic).await?;
        while let Some(records) = scan.next().await? {
            for record in scan.of(&records) {
                if let Some(device) = device_if(*stream, record.value, id) {
                    return Ok(Some(device));
                }
            }
        }
    }
    Ok(None)
}

fn device_if(stream: Stream, value: &[u8], id: Id) -> Option<String> {
    let is = |bytes: &[u8]| bytes == id.to_bytes();
    match stream {
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
pub(super) fn id_of(stream: Stream, value: &[u8]) -> Option<String> {
    let hex = |bytes: &[u8]| Some(Id::from_bytes(bytes.try_into().ok()?).to_string());
    match stream {
        Stream::Readings => hex(&v1::Reading::decode(value).ok()?.id),
        Stream::Signals => Some(v1::Signal::decode(value).ok()?.event_id),
        Stream::Quarantine => hex(&v1::Quarantine::decode(value).ok()?.raw),
    }
}
