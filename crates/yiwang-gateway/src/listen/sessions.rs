//! Live sessions by device: at most one each, the newest wins.
//!
//! Invariant: the entry of a device is that of its newest connection; an older one only ever removes its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use tokio::sync::Notify;

use super::control::Closed;
use crate::directory::{Directory, Seal};

/// Ends a connection from outside.
#[derive(Debug, Default)]
pub(crate) struct Kick {
    reason: AtomicU8,
    notify: Notify,
}

impl Kick {
    /// Ends the connection for this reason; the first reason stands.
    pub(crate) fn end(&self, reason: Closed) {
        let reason = reason as u8 + 1;
        let _ = self.reason.compare_exchange(0, reason, Ordering::AcqRel, Ordering::Acquire);
        self.notify.notify_one();
    }

    /// Resolves when somebody ended the connection.
    pub(crate) async fn ended(&self) -> Closed {
        loop {
            if let Some(reason) = self.reason() {
                return reason;
            }
            self.notify.notified().await;
        }
    }

    pub(crate) fn reason(&self) -> Option<Closed> {
        let code = usize::from(self.reason.load(Ordering::Acquire));
        code.checked_sub(1).and_then(|index| Closed::ALL.get(index)).copied()
    }
}

#[derive(Debug)]
struct Session {
    number: u64,
    seal: Option<Seal>,
    kick: Arc<Kick>,
}

/// All live sessions.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    by_device: DashMap<Arc<str>, Session>,
    numbers: AtomicU64,
}

/// The session of a connection; leaving the map is up to whoever holds it.
#[derive(Debug)]
pub(crate) struct Lease {
    sessions: Arc<Sessions>,
    device: Arc<str>,
    number: u64,
    pub(crate) kick: Arc<Kick>,
    /// Whether it took the place of another.
    pub(crate) took_over: bool,
}

impl Sessions {
    /// Enters a connection and ends the device's older one.
    pub(crate) fn enter(self: &Arc<Self>, device: &str, seal: Option<Seal>) -> Lease {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let kick = Arc::new(Kick::default());
        let device: Arc<str> = device.into();
        let session = Session { number, seal, kick: Arc::clone(&kick) };
        let older = match self.by_device.entry(Arc::clone(&device)) {
            Entry::Occupied(mut held) => Some(held.insert(session)),
            Entry::Vacant(free) => {
                free.insert(session);
                None
            }
        };
        if let Some(older) = &older {
            older.kick.end(Closed::TakenOver);
        }
        Lease { sessions: Arc::clone(self), device, number, kick, took_over: older.is_some() }
    }

    /// Ends the sessions that a new directory no longer admits.
    pub(crate) fn revoke(&self, directory: &Directory) {
        for session in &self.by_device {
            if !directory.still_admits(session.key(), session.seal.as_ref()) {
                session.kick.end(Closed::Revoked);
            }
        }
    }

    /// Ends every session.
    pub(crate) fn end_all(&self, reason: Closed) {
        for session in &self.by_device {
            session.kick.end(reason);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.by_device.len()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.sessions.by_device.remove_if(&self.device, |_, held| held.number == self.number);
    }
}
