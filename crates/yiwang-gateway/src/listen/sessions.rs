//! Live sessions by device: at most one each, the newest wins.
//!
//! Invariant: the entry of a device is that of its newest connection; an older one only ever removes its own.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use tokio::sync::Notify;
use yiwang_core::record::Command;

use super::control::Closed;
use crate::directory::{Directory, Seal};

/// Commands that wait for a connection to write them.
const MAIL_MAX: usize = 8;

/// Ends a connection from outside, or gives it something to write.
#[derive(Debug, Default)]
pub(crate) struct Kick {
    reason: AtomicU8,
    notify: Notify,
    mail: Mutex<Vec<Command>>,
}

impl Kick {
    /// Ends the connection for this reason; the first reason stands.
    pub(crate) fn end(&self, reason: Closed) {
        let reason = reason as u8 + 1;
        let _ = self.reason.compare_exchange(0, reason, Ordering::AcqRel, Ordering::Acquire);
        self.notify.notify_one();
    }

    /// Resolves when somebody ended the connection, or with `None` when there is mail.
    pub(crate) async fn called(&self) -> Option<Closed> {
        loop {
            if let Some(reason) = self.reason() {
                return Some(reason);
            }
            if !self.mail().is_empty() {
                return None;
            }
            self.notify.notified().await;
        }
    }

    /// What there is to write.
    pub(crate) fn take_mail(&self) -> Vec<Command> {
        std::mem::take(&mut *self.mail())
    }

    /// Whether there was room.
    fn post(&self, command: Command) -> bool {
        let mut mail = self.mail();
        let room = mail.len() < MAIL_MAX;
        if room {
            mail.push(command);
            self.notify.notify_one();
        }
        room
    }

    fn mail(&self) -> MutexGuard<'_, Vec<Command>> {
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
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
    /// Key hash that places what it writes.
    place: u64,
    kick: Arc<Kick>,
}

impl Session {
    fn judge(&self, device: &str, directory: &Directory) {
        if !directory.still_admits(device, self.seal.as_ref()) {
            self.kick.end(Closed::Revoked);
        } else if directory.place(device) != self.place {
            self.kick.end(Closed::Moved);
        }
    }
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
    pub(crate) fn enter(self: &Arc<Self>, device: &str, seal: Option<Seal>, place: u64) -> Lease {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let kick = Arc::new(Kick::default());
        let device: Arc<str> = device.into();
        let session = Session { number, seal, place, kick: Arc::clone(&kick) };
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

    /// The same for one that was judged by a directory which another may have followed meanwhile.
    pub(crate) fn revoke_one(&self, device: &str, directory: &Directory) {
        if let Some(session) = self.by_device.get(device) {
            session.judge(device, directory);
        }
    }

    /// Gives the device's connection something to write; `None` if it has none here, else whether there was room.
    pub(crate) fn post(&self, command: Command) -> Option<bool> {
        Some(self.by_device.get(&*command.device)?.kick.post(command))
    }

    /// Ends the sessions that a new directory no longer admits, or whose records it places elsewhere.
    pub(crate) fn revoke(&self, directory: &Directory) {
        for session in &self.by_device {
            session.judge(session.key(), directory);
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
