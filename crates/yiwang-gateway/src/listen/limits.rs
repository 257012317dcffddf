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
    pub(crate) fn new(per_second: u32, burst: u32, now: Instant) -> Self {
        let burst = f64::from(burst.max(1));
        Self { tokens: burst, per_second: f64::from(per_second), burst, at: now }
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
            let fresh = || Peer { open: 0, new: Bucket::new(rate, rate, now) };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_gives_its_burst_and_then_its_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10, 3, start);
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
}
