//! How the sources that we go to (brokers, Kafka topics) are doing, for readiness and for people.

use std::sync::{Mutex, PoisonError};

/// State of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceState {
    /// Not reached yet.
    Connecting,
    /// Connected, subscribed or assigned.
    Up,
    /// Away, with the reason; tried again until it is back.
    Down(String),
}

/// A source and its state.
#[derive(Debug)]
pub(crate) struct Source {
    name: String,
    state: Mutex<SourceState>,
}

impl Source {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), state: Mutex::new(SourceState::Connecting) }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn state(&self) -> SourceState {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets the state; says whether that changed anything.
    pub(crate) fn set(&self, state: SourceState) -> bool {
        let mut held = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = *held != state;
        *held = state;
        changed
    }
}
