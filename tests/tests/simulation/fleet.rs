//! Simulated devices and the network between them and the gateway: it drops, doubles and delays in both directions.
//!
//! Invariants: a device keeps a message and sends it again until it hears the acknowledgement; what the gateway
//! acknowledged counts as promised even if the acknowledgement is lost on its way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

/// 2026-11-23 08:00 +08:00
pub const START: i64 = 1_795_392_000_000;
pub const GAS: [&str; 3] = ["gas-01/G-0", "gas-01/G-1", "gas-01/G-2"];
pub const SMOKE: [&str; 3] = ["smoke-01/S-0", "smoke-01/S-1", "smoke-01/S-2"];
/// Not registered: comes through a broker, so it is quarantined and not refused.
pub const STRANGER: &str = "gas-01/stranger";
/// Messages that a device keeps; it makes none beyond.
const KEPT_MAX: usize = 30;

/// What a message is to the router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Becomes a reading.
    Good,
    /// Has an id and a value of the wrong type.
    Wrong,
    /// Is no JSON, so it has no id.
    Broken,
    /// Its device is unknown.
    Strange,
}

/// One message; the body names it within its device.
#[derive(Debug)]
pub struct Message {
    pub device: &'static str,
    pub seq: u64,
    pub kind: Kind,
    pub body: String,
}

/// Names a message everywhere: device and body.
pub type Name = (String, String);

impl Message {
    pub fn name(&self) -> Name {
        (self.device.to_owned(), self.body.clone())
    }
}

/// A message as it reaches the gateway.
pub struct Arrival {
    pub message: Arc<Message>,
}

struct State {
    rng: SmallRng,
    /// No faults any more.
    calm: bool,
    gateway: Option<mpsc::Sender<Arrival>>,
    kept: BTreeMap<&'static str, Vec<(Instant, Arc<Message>)>>,
    attempted: BTreeMap<Name, Arc<Message>>,
    promised: BTreeSet<Name>,
    running: usize,
}

/// All devices and their network.
#[derive(Clone)]
pub struct Fleet {
    state: Arc<Mutex<State>>,
    begun: Instant,
}

impl Fleet {
    pub fn new(seed: u64) -> Self {
        let state = State {
            rng: SmallRng::seed_from_u64(seed),
            calm: false,
            gateway: None,
            kept: BTreeMap::new(),
            attempted: BTreeMap::new(),
            promised: BTreeSet::new(),
            running: 0,
        };
        Self { state: Arc::new(Mutex::new(state)), begun: Instant::now() }
    }

    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.state.lock().unwrap())
    }

    /// The time that devices and gateway share.
    pub fn now(&self) -> i64 {
        START + self.begun.elapsed().as_millis() as i64
    }

    /// Starts every device with this many messages each.
    pub fn start(&self, messages: u64) {
        for device in GAS.into_iter().chain(SMOKE).chain([STRANGER]) {
            self.with(|state| state.running += 1);
            let fleet = self.clone();
            tokio::spawn(async move {
                fleet.device(device, messages).await;
                fleet.with(|state| state.running -= 1);
            });
        }
    }

    /// Ends the faults of the network.
    pub fn calm(&self) {
        self.with(|state| state.calm = true);
    }

    /// Whether every device has sent everything and heard that it is safe.
    pub fn is_done(&self) -> bool {
        self.with(|state| state.running == 0)
    }

    pub fn attempted(&self) -> BTreeMap<Name, Arc<Message>> {
        self.with(|state| state.attempted.clone())
    }

    pub fn promised(&self) -> BTreeSet<Name> {
        self.with(|state| state.promised.clone())
    }

    /// A gateway takes over all connections.
    pub fn connect(&self, gateway: mpsc::Sender<Arrival>) {
        self.with(|state| state.gateway = Some(gateway));
    }

    /// The gateway's acknowledgement.
    pub fn acknowledge(&self, arrival: &Arrival) {
        let message = arrival.message.clone();
        let delays = self.with(|state| {
            state.promised.insert(message.name());
            state.journeys()
        });
        for delay in delays {
            let (fleet, message) = (self.clone(), message.clone());
            tokio::spawn(async move {
                sleep(delay).await;
                fleet.with(|state| {
                    let kept = state.kept.entry(message.device).or_default();
                    kept.retain(|(_, known)| known.seq != message.seq);
                });
            });
        }
    }

    async fn device(&self, device: &'static str, messages: u64) {
        let mut made = 0;
        loop {
            let pause = self.with(|state| state.rng.random_range(500..8_000));
            sleep(Duration::from_millis(pause)).await;
            let now = Instant::now();
            let due = self.with(|state| {
                let kept = state.kept.entry(device).or_default();
                if made < messages && kept.len() < KEPT_MAX {
                    let message = Arc::new(make(&mut state.rng, device, made, self.now()));
                    state.attempted.insert(message.name(), message.clone());
                    let past = now.checked_sub(Duration::from_secs(60)).unwrap_or(now);
                    kept.push((past, message));
                    made += 1;
                }
                let kept = kept.iter_mut().filter(|(sent, _)| now - *sent > RESEND);
                kept.map(|(sent, message)| {
                    *sent = now;
                    message.clone()
                })
                .collect::<Vec<_>>()
            });
            for message in due {
                self.send(&message);
            }
            if self.with(|state| made == messages && state.kept[device].is_empty()) {
                return;
            }
        }
    }

    fn send(&self, message: &Arc<Message>) {
        for delay in self.with(State::journeys) {
            let (fleet, message) = (self.clone(), message.clone());
            tokio::spawn(async move {
                sleep(delay).await;
                let gateway = fleet.with(|state| state.gateway.clone());
                // No gateway, or one that is not reading: the device will send again.
                gateway.map(|gateway| gateway.try_send(Arrival { message }).ok());
            });
        }
    }
}

/// A device that heard nothing sends again after this time.
const RESEND: Duration = Duration::from_secs(5);

impl State {
    /// How often something sent arrives, and after what time each.
    fn journeys(&mut self) -> Vec<Duration> {
        if self.calm {
            return vec![Duration::from_millis(5)];
        }
        let copies = match self.rng.random_range(0..8) {
            0 => 0,
            1 => 2,
            _ => 1,
        };
        let slow = self.rng.random_bool(0.3);
        let longest = if slow { 4_000 } else { 40 };
        (0..copies).map(|_| Duration::from_millis(self.rng.random_range(1..longest))).collect()
    }
}

fn make(rng: &mut SmallRng, device: &'static str, seq: u64, ts: i64) -> Message {
    let kind = match rng.random_range(0..12) {
        _ if device == STRANGER => Kind::Strange,
        0 => Kind::Wrong,
        1 => Kind::Broken,
        _ => Kind::Good,
    };
    let value = if device.starts_with("smoke") {
        format!(r#""smoke":{}"#, seq.is_multiple_of(9) || rng.random_bool(0.1))
    } else {
        // Above the limits for a while, then below.
        let values = if seq % 10 < 4 { [9, 12, 30] } else { [3, 5, 7] };
        format!(r#""concentration":{}"#, values[rng.random_range(0..3)])
    };
    let value = match kind {
        Kind::Wrong => value.split_once(':').map(|(name, _)| format!(r#"{name}:"x""#)).unwrap(),
        _ => value,
    };
    let body = match kind {
        Kind::Broken => format!(r#"{{"boot":1,"seq":{seq},"#),
        _ => format!(r#"{{"boot":1,"seq":{seq},"ts":{ts},"params":{{{value}}}}}"#),
    };
    Message { device, seq, kind, body }
}

/// A gas reading above or below every limit, three seconds after the one before.
pub fn leak(seq: i64, over: bool) -> String {
    let (ts, value) = (START + seq * 3_000, if over { 30 } else { 3 });
    format!(r#"{{"boot":1,"seq":{seq},"ts":{ts},"params":{{"concentration":{value}}}}}"#)
}
