//! A pass over a topic: from its oldest record to the end that it had when the pass began.
//!
//! It reads as nobody's group: it commits nothing and bounds no retention.

use crate::error::Error;
use crate::log::{Log, Reader};
use crate::records::{BatchLimit, Event, RecordRef, Records, Start};

/// Nobody's group.
const GROUP: &str = "";

/// A pass under way; each partition in order.
#[derive(Debug)]
pub struct Scan {
    reader: Reader,
    /// Where each partition ends for this pass.
    heads: Vec<u64>,
    /// Partitions that are not at their end.
    left: usize,
}

impl Scan {
    /// A pass over a whole topic.
    ///
    /// # Errors
    /// The log cannot be read, or has no such topic.
    pub async fn open(log: &Log, topic: &str) -> Result<Self, Error> {
        let (mut heads, mut left) = (Vec::new(), 0);
        for partition in 0..log.partitions(topic) {
            let kept = log.kept(topic, partition).await?;
            left += usize::from(!kept.is_empty());
            heads.push(kept.end);
        }
        // Without a commit a group begins with the oldest record that is kept.
        let reader = log.reader(topic, GROUP, Start::Committed).await?;
        Ok(Self { reader, heads, left })
    }

    /// A pass over one partition only, to `head`; the reader stands where it begins.
    #[must_use]
    pub fn of_one(reader: Reader, partition: u16, head: u64, is_empty: bool) -> Self {
        let mut heads = vec![0; usize::from(partition) + 1];
        heads[usize::from(partition)] = head;
        Self { reader, heads, left: usize::from(!is_empty) }
    }

    /// The next records; none at the end.
    ///
    /// # Errors
    /// The log cannot be read.
    pub async fn next(&mut self) -> Result<Option<Records>, Error> {
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
    pub fn of<'r>(&self, records: &'r Records) -> impl Iterator<Item = RecordRef<'r>> {
        let head = self.head(records);
        records.iter().take_while(move |record| record.seq < head)
    }

    fn head(&self, records: &Records) -> u64 {
        self.heads.get(usize::from(records.partition)).copied().unwrap_or(0)
    }
}
