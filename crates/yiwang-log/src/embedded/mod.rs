//! The log in a data folder.
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use crate::batch::Batch;
use crate::error::{Error, Halt};
use crate::log::{CommitterInner, Receipt, Status};
use crate::records::{BatchLimit, Event, Position, Start};
use crate::topic::{Layout, TopicId, TopicSpec};

/// The embedded log: where it lies and its limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmbeddedConfig {
    /// The data folder of the log; made when absent.
    pub dir: PathBuf,
    /// Most bytes taken by `append` that are not yet safe.
    pub queue_bytes_max: usize,
    /// Most appends in one group.
    pub group_appends_max: usize,
    /// Most bytes in one group; a larger append is a group of its own.
    pub group_bytes_max: usize,
    /// Most bytes of records merged into one stored value.
    pub chunk_bytes_max: usize,
    /// Bytes of the newest chunks kept in memory for readers that keep up.
    pub tail_bytes_max: usize,
    /// Most bytes in memory per topic before the engine writes a table.
    pub memtable_bytes_max: u64,
    /// Most bytes of the engine's block cache.
    pub cache_bytes_max: u64,
    /// Positions known elsewhere, e.g. the centre's read position in the store.
    pub floors: Vec<Floor>,
}

impl EmbeddedConfig {
    /// The defaults for a folder.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            queue_bytes_max: 64 << 20,
            group_appends_max: 4096,
            group_bytes_max: 4 << 20,
            chunk_bytes_max: 1 << 20,
            tail_bytes_max: 32 << 20,
            memtable_bytes_max: 32 << 20,
            cache_bytes_max: 16 << 20,
            floors: Vec::new(),
        }
    }
}

/// A position that someone outside of the log knows: records before it were acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Floor {
    /// Topic name.
    pub topic: String,
    /// The partition.
    pub partition: u16,
    /// Sequence number of the next record to read.
    pub seq: u64,
    /// Who knows it, e.g. `the centre's position in the store`.
    pub known_from: String,
}

/// Acknowledged records whose loss was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Topic name.
    pub topic: String,
    /// The partition.
    pub partition: u16,
    /// First lost sequence number.
    pub first: u64,
    /// Last lost sequence number.
    pub last: u64,
}

#[derive(Debug)]
pub(crate) struct Embedded {
    layout: Layout,
}

fn absent() -> Error {
    Error::Config("the embedded log is not built yet".to_owned())
}

impl Embedded {
    pub(crate) fn open(_: EmbeddedConfig, _: Vec<TopicSpec>) -> Result<Arc<Self>, Error> {
        Err(absent())
    }
    pub(crate) fn accept_loss(_: EmbeddedConfig, _: Vec<TopicSpec>) -> Result<Vec<Loss>, Error> {
        Err(absent())
    }
    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }
    pub(crate) async fn append(&self, _: Batch) -> Result<Receipt, Halt> {
        Err(Halt::Closed)
    }
    pub(crate) fn spare(&self) -> Batch {
        Batch::new()
    }
    pub(crate) fn reader(
        self: &Arc<Self>,
        _: TopicId,
        _: &str,
        _: &Start,
    ) -> Result<EmbeddedReader, Error> {
        Err(absent())
    }
    pub(crate) async fn compacted(&self, _: TopicId, _: u16) -> Result<Vec<(Bytes, Bytes)>, Error> {
        Err(absent())
    }
    pub(crate) fn head(&self, _: TopicId, _: u16) -> u64 {
        0
    }
    pub(crate) fn committed(&self, _: TopicId, _: &str) -> Vec<Position> {
        Vec::new()
    }
    pub(crate) fn commit(&self, _: TopicId, _: &Arc<str>, _: Position) -> Result<(), Error> {
        Err(absent())
    }
    pub(crate) fn status(&self) -> Status {
        Status::default()
    }
    pub(crate) async fn close(&self) -> Result<(), Error> {
        Ok(())
    }
}

#[derive(Debug)]
pub(crate) struct EmbeddedReader;

impl EmbeddedReader {
    pub(crate) async fn next(&mut self, _: BatchLimit) -> Result<Event, Error> {
        Err(absent())
    }
    pub(crate) fn seek(&mut self, _: Position) -> Result<(), Error> {
        Err(absent())
    }
    pub(crate) fn committer(&self) -> CommitterInner {
        unreachable!("no reader is ever made")
    }
}
