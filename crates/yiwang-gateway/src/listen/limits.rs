//! The limits in front of a connection (per address) and on it (messages in a second).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dashmap::DashMap;

/// A token bucket; time comes in with each call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    tokens: f64,
    per_second: f64,
    burst: f64,
    at: Instant,
}

impl Bucket {
    /// A full bucket.
    pub(crate) fn new(per_second: f64, burst: u32, now: Instant) -> Self {
        let burst = f64::from(burst.max(1));
        Self { tokens: burst, per_second, burst, at: now }
    }

    /// Adds what has come in since the last call.
    pub(crate) fn refill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + elapsed * self.per_second).min(self.burst);
        self.at = now;
    }

    /// Takes one token, if there is one.
    pub(crate) fn take(&mut self) -> bool {
        let enough = self.tokens >= 1.0;
        if enough {
            self.tokens -= 1.0;
        }
        enough
    }

    /// When the next token will be there.
    pub(crate) fn ready_at(&self) -> Instant {
        let missing = (1.0 - self.tokens).max(0.0) / self.per_second;
        self.at + Duration::from_secs_f64(missing) + Duration::from_millis(1)
    }

    fn full(&self) -> bool {
        self.tokens >= self.burst
    }
}

/// Connections by peer address; a limit of 0 is off.
#[derive(Debug)]
pub(crate) struct Addresses {
    open_max: u32,
    new_per_second_max: u32,
    peers: DashMap<IpAddr, Peer>,
}

#[derive(Debug)]
struct Peer {
    open: u32,
    new: Bucket,
}

/// A connection that counts for its address until dropped.
#[derive(Debug)]
pub(crate) struct Place {
    addresses: Arc<Addresses>,
    address: IpAddr,
}

impl Addresses {
    pub(crate) fn new(open_max: u32, new_per_second_max: u32) -> Self {
        Self { open_max, new_per_second_max, peers: DashMap::new() }
    }

    /// Lets a connection in, or not.
    pub(crate) fn admit(self: &Arc<Self>, address: IpAddr, now: Instant) -> Option<Place> {
        if self.open_max > 0 || self.new_per_second_max > 0 {
            // A second's worth may come at once.
            let rate = self.new_per_second_max.max(1);
            let fresh = || Peer { open: 0, new: Bucket::new(f64::from(rate), rate, now) };
            let mut peer = self.peers.entry(address).or_insert_with(fresh);
            peer.new.refill(now);
            if self.open_max > 0 && peer.open >= self.open_max {
                return None;
            }
            if self.new_per_second_max > 0 && !peer.new.take() {
                return None;
            }
            peer.open += 1;
        }
        Some(Place { addresses: Arc::clone(self), address })
    }

    /// Forgets addresses without connections whose bucket is full again.
    pub(crate) fn prune(&self, now: Instant) {
        self.peers.retain(|_, peer| {
            peer.new.refill(now);
            peer.open > 0 || !peer.new.full()
        });
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(mut peer) = self.addresses.peers.get_mut(&self.address) {
            peer.open = peer.open.saturating_sub(1);
        }
    }
}

/// How often each device connects; a limit of 0 is off.
#[derive(Debug)]
pub(crate) struct Connects {
    per_minute_max: u32,
    off_for: Duration,
    devices: DashMap<Box<str>, Flapping>,
}

#[derive(Debug)]
struct Flapping {
    connects: Bucket,
    off_until: Option<Instant>,
}

impl Connects {
    pub(crate) fn new(per_minute_max: u32, off_for: Duration) -> Self {
        Self { per_minute_max, off_for, devices: DashMap::new() }
    }

    /// Whether a device may connect now; one that did so too often stays off for a while.
    pub(crate) fn admit(&self, device: &str, now: Instant) -> bool {
        if self.per_minute_max == 0 {
            return true;
        }
        let connects =
            || Bucket::new(f64::from(self.per_minute_max) / 60.0, self.per_minute_max, now);
        let mut held = self
            .devices
            .entry(device.into())
            .or_insert_with(|| Flapping { connects: connects(), off_until: None });
        if held.off_until.is_some_and(|until| now < until) {
            return false;
        }
        held.connects.refill(now);
        held.off_until = if held.connects.take() { None } else { Some(now + self.off_for) };
        held.off_until.is_none()
    }

    /// Forgets devices that have been quiet.
    pub(crate) fn prune(&self, now: Instant) {
        self.devices.retain(|_, held| {
            held.connects.refill(now);
            !held.connects.full() || held.off_until.is_some_and(|until| now < until)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_gives_its_burst_and_then_its_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10.0, 3, start);
        assert_eq!((0..5).filter(|_| bucket.take()).count(), 3);
        assert!(bucket.ready_at() > start);
        bucket.refill(start + Duration::from_millis(250));
        assert_eq!((0..5).filter(|_| bucket.take()).count(), 2);
        bucket.refill(start + Duration::from_secs(60));
        assert_eq!((0..5).filter(|_| bucket.take()).count(), 3);
    }

    #[test]
    fn addresses_are_limited_and_forgotten() {
        let now = Instant::now();
        let address = IpAddr::from([127, 0, 0, 1]);
        let addresses = Arc::new(Addresses::new(2, 3));
        let first = addresses.admit(address, now);
        let second = addresses.admit(address, now);
        assert!(first.is_some() && second.is_some());
        assert!(addresses.admit(address, now).is_none(), "two are open");
        drop(first);
        assert!(addresses.admit(address, now).is_some(), "one has gone");
        assert!(addresses.admit(address, now).is_none(), "three in a second");
        drop(second);
        addresses.prune(now + Duration::from_secs(2));
        assert!(addresses.peers.is_empty());
        let off = Arc::new(Addresses::new(0, 0));
        assert!((0..1000).all(|_| off.admit(address, now).is_some()));
        assert!(off.peers.is_empty());
    }

    #[test]
    fn flapping_devices_stay_off_for_a_while() {
        let now = Instant::now();
        let connects = Connects::new(30, Duration::from_mins(5));
        assert_eq!((0..40).filter(|_| connects.admit("p/a", now)).count(), 30);
        assert!(connects.admit("p/b", now));
        assert!(!connects.admit("p/a", now + Duration::from_mins(4)));
        assert!(connects.admit("p/a", now + Duration::from_mins(6)));
        connects.prune(now + Duration::from_mins(20));
        assert!(connects.devices.is_empty());
        let off = Connects::new(0, Duration::ZERO);
        assert!((0..1000).all(|_| off.admit("p/a", now)));
    }
}
