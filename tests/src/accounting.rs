//! The accounting of the delivery contract (section 9): what was attempted and acknowledged by devices against what
//! the hub can show.
//!
//! A [`Device`] behaves as real firmware does: it keeps what was not acknowledged and sends it again, with the same
//! (boot, seq), on its next connection. The books are kept by the device, the proof is read from the hub's log.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use yiwang_core::ids::{self, Id};

use crate::mqtt::{Connection, Incoming, Login, Version};

/// How long a device goes on trying to hand over what it still holds once the faults have stopped.
const HANDOVER_MAX: Duration = Duration::from_secs(120);

/// Gas concentrations above and below every threshold.
pub const LEAK: f64 = 45.5;
/// See [`LEAK`].
pub const CLEAN: f64 = 1.5;

/// Between two windows: a load that keeps every stage busy, and books that can be read back in seconds.
const BREATH: Duration = Duration::from_millis(20);

/// What a device says in one message.
#[derive(Clone, Copy, Debug)]
pub struct Said {
    /// By its own clock, ms.
    pub ts: i64,
    /// Gas concentration.
    pub gas: f64,
    /// Old data on purpose.
    pub backfill: bool,
}

/// What a device says in the message of a sequence number when it is sent at a time of ours, ms.
pub type Script = Box<dyn Fn(u64, i64) -> Said + Send>;

/// One publishing device with its books.
pub struct Device {
    /// `pk/dn`
    pub key: String,
    secret: String,
    boot: u64,
    /// Highest sequence number ever sent; the attempted ones are 1 to this.
    pub attempted: u64,
    /// Sequence numbers whose PUBACK came.
    pub acknowledged: BTreeSet<u64>,
    unacknowledged: VecDeque<u64>,
    window: usize,
    /// When it sent its newest message, ms.
    last_said: i64,
    script: Script,
}

impl Device {
    /// A device of the demo district whose every `alarm_every`-th message begins an alarm that the next one ends.
    #[must_use]
    pub fn new(key: &str, secret: &str, boot: u64, alarm_every: u64) -> Self {
        let script = move |seq: u64, now| {
            let leaks = alarm_every > 0 && seq.is_multiple_of(alarm_every);
            Said { ts: now, gas: if leaks { LEAK } else { CLEAN }, backfill: false }
        };
        Self::scripted(key, secret, boot, Box::new(script))
    }

    /// A device that says what a script has.
    #[must_use]
    pub fn scripted(key: &str, secret: &str, boot: u64, script: Script) -> Self {
        Self {
            key: key.to_owned(),
            secret: secret.to_owned(),
            boot,
            attempted: 0,
            acknowledged: BTreeSet::new(),
            unacknowledged: VecDeque::new(),
            window: 8,
            last_said: 0,
            script,
        }
    }

    /// Publishes until `stop`, through any number of connections, then until nothing is unacknowledged.
    ///
    /// # Errors
    /// If what is left cannot be handed over in [`HANDOVER_MAX`], or the hub refuses a message.
    pub fn publish_until(&mut self, address: SocketAddr, stop: &AtomicBool) -> Result<(), String> {
        let mut stopped_at = None;
        loop {
            let stopping = stop.load(Ordering::Acquire);
            if stopping && self.unacknowledged.is_empty() {
                return Ok(());
            }
            let since = stopped_at.get_or_insert_with(Instant::now);
            if !stopping {
                stopped_at = None;
            } else if since.elapsed() > HANDOVER_MAX {
                return Err(format!(
                    "{} still holds {} messages",
                    self.key,
                    self.unacknowledged.len()
                ));
            }
            if let Err(error) = self.one_connection(address, stop)
                && error.kind() == std::io::ErrorKind::PermissionDenied
            {
                return Err(format!("{} was refused: {error}", self.key));
            }
            // The hub may just be starting: a refused connection costs nothing, so do not spin on it.
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn one_connection(&mut self, address: SocketAddr, stop: &AtomicBool) -> std::io::Result<()> {
        let id = self.key.replacen('/', ".", 1);
        let login = Login {
            version: Version::V311,
            client_id: &id,
            credentials: Some((&id, &self.secret)),
        };
        let mut connection = Connection::open(address, &login)?;
        let topic = format!("iot/v1/{}/up/property", self.key);
        // What the last connection left comes first and in order.
        let mut in_flight: VecDeque<u64> = VecDeque::new();
        let again: Vec<u64> = self.unacknowledged.iter().copied().collect();
        for seq in again {
            self.send(&mut connection, &topic, seq);
            in_flight.push_back(seq);
        }
        loop {
            while in_flight.len() < self.window && !stop.load(Ordering::Acquire) {
                self.attempted += 1;
                let seq = self.attempted;
                self.unacknowledged.push_back(seq);
                self.send(&mut connection, &topic, seq);
                in_flight.push_back(seq);
            }
            connection.flush()?;
            if in_flight.is_empty() {
                return Ok(());
            }
            std::thread::sleep(BREATH);
            let mut wrong = None;
            connection.receive(|packet| match packet {
                Incoming::PubAck(id, 0)
                    if in_flight.front().is_some_and(|&seq| packet_id(seq) == id) =>
                {
                    let seq = in_flight.pop_front().unwrap_or_default();
                    self.unacknowledged.retain(|&other| other != seq);
                    self.acknowledged.insert(seq);
                }
                other => wrong = Some(other),
            })?;
            if let Some(other) = wrong {
                return Err(std::io::Error::other(format!(
                    "out of order or unexpected: {other:?}"
                )));
            }
        }
    }

    fn send(&mut self, connection: &mut Connection, topic: &str, seq: u64) {
        // Two messages of one instant would be one sample to the rules.
        self.last_said = now_ms().max(self.last_said + 1);
        let Said { ts, gas, backfill } = (self.script)(seq, self.last_said);
        let boot = self.boot;
        let body = format!(
            r#"{{"boot":{boot},"seq":{seq},"ts":{ts},"backfill":{backfill},"params":{{"concentration":{gas}}}}}"#
        );
        connection.publish(topic, packet_id(seq), body.as_bytes());
    }

    fn raw_id(&self, seq: u64) -> Id {
        ids::raw_by_sequence(&self.key, self.boot, seq)
    }
}

fn packet_id(seq: u64) -> u16 {
    (seq % 60_000) as u16 + 1
}

/// Our time, ms UTC.
#[must_use]
pub fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as i64)
}

/// What the hub shows: records of its log and the incidents of its centre.
#[derive(Debug, Default)]
pub struct Shown {
    /// Records of `readings`, as `yiwang log read --json` prints them.
    pub readings: Vec<Value>,
    /// Records of `quarantine`.
    pub quarantine: Vec<Value>,
    /// Records of `signals`.
    pub signals: Vec<Value>,
    /// (source, event id) of every incident's first signal.
    pub incidents: Vec<(String, String)>,
    /// Every transition of every incident with its cause.
    pub effects: Vec<String>,
}

/// What there is more than once, with how often.
fn repeated(effects: impl Iterator<Item = String>) -> Vec<String> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for effect in effects {
        *counts.entry(effect).or_default() += 1;
    }
    let more = counts.into_iter().filter(|(_, times)| *times > 1);
    more.map(|(effect, times)| format!("{times} times: {effect}")).collect()
}

/// The result of an accounting; its text is the one line that a fault test prints.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    sent: usize,
    acked: usize,
    stored: usize,
    recovered: usize,
    redelivered: usize,
    lost: Vec<String>,
    phantom: Vec<String>,
    dup_effect: Vec<String>,
    disorder: Vec<String>,
}

impl Report {
    /// Settles the books of the devices against what the hub shows.
    #[must_use]
    pub fn settle(devices: &[Device], shown: &Shown) -> Self {
        let mut report = Self::default();
        let mut names: HashMap<String, (usize, u64)> = HashMap::new();
        for (number, device) in devices.iter().enumerate() {
            for seq in 1..=device.attempted {
                names.insert(device.raw_id(seq).to_string(), (number, seq));
            }
            report.sent += device.attempted as usize;
            report.acked += device.acknowledged.len();
        }
        let stored = report.read_back(devices, shown, &names);
        report.stored = stored.len();
        for (number, device) in devices.iter().enumerate() {
            for &seq in &device.acknowledged {
                if !stored.contains(&(number, seq)) {
                    report.lost.push(format!("{} seq {seq}", device.key));
                }
            }
        }
        report.recovered = stored
            .iter()
            .filter(|(number, seq)| !devices[*number].acknowledged.contains(seq))
            .count();
        let opened = shown.incidents.iter().map(|(source, event)| format!("{source} {event}"));
        report.dup_effect = repeated(opened.chain(shown.effects.iter().cloned()));
        report
    }

    /// Distinct (device, seq) found in readings and quarantine; notes what nobody sent and what came out of order.
    fn read_back(
        &mut self,
        devices: &[Device],
        shown: &Shown,
        names: &HashMap<String, (usize, u64)>,
    ) -> HashSet<(usize, u64)> {
        let mut stored = HashSet::new();
        let mut newest: HashMap<usize, u64> = HashMap::new();
        for record in shown.readings.iter().chain(&shown.quarantine) {
            let raw = record["record"]["raw"].as_str().unwrap_or_default();
            let device = record["record"]["device"].as_str().unwrap_or_default();
            if !devices.iter().any(|own| own.key == device) {
                continue;
            }
            let Some(&(number, seq)) = names.get(raw) else {
                self.phantom.push(format!("{device} raw {raw}"));
                continue;
            };
            if !stored.insert((number, seq)) {
                self.redelivered += 1;
                continue;
            }
            let last = newest.entry(number).or_default();
            if seq < *last {
                self.disorder.push(format!("{device} seq {seq} after {last}"));
            }
            *last = seq.max(*last);
        }
        stored
    }

    /// Whether nothing that the contract forbids has happened.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.lost.is_empty()
            && self.phantom.is_empty()
            && self.dup_effect.is_empty()
            && self.disorder.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let order = if self.disorder.is_empty() { "ok" } else { "BROKEN" };
        write!(
            f,
            "sent={} acked={} stored={} recovered={} redelivered={} lost={} phantom={} dup_effect={} order={order}",
            self.sent,
            self.acked,
            self.stored,
            self.recovered,
            self.redelivered,
            self.lost.len(),
            self.phantom.len(),
            self.dup_effect.len(),
        )?;
        let findings = [&self.lost, &self.phantom, &self.dup_effect, &self.disorder];
        for finding in findings.into_iter().flat_map(|list| list.iter().take(5)) {
            write!(f, "\n  {finding}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn device(acknowledged: &[u64], attempted: u64) -> Device {
        let mut device = Device::new("gas-01/G-0001", "secret", 1, 0);
        device.attempted = attempted;
        device.acknowledged = acknowledged.iter().copied().collect();
        device
    }

    fn reading(device: &Device, seq: u64) -> Value {
        json!({"record": {"device": device.key, "raw": device.raw_id(seq).to_string()}})
    }

    #[test]
    fn what_was_acknowledged_must_be_shown() {
        let books = [device(&[1, 2], 3)];
        let shown = Shown { readings: vec![reading(&books[0], 1)], ..Shown::default() };
        let report = Report::settle(&books, &shown);
        assert!(!report.holds());
        assert_eq!(report.lost, ["gas-01/G-0001 seq 2"]);
    }

    #[test]
    fn what_nobody_sent_must_not_be_shown() {
        let books = [device(&[1], 1)];
        let readings = vec![reading(&books[0], 1), reading(&books[0], 9)];
        let report = Report::settle(&books, &Shown { readings, ..Shown::default() });
        assert_eq!(report.phantom.len(), 1);
    }

    #[test]
    fn order_counts_first_deliveries_only() {
        let books = [device(&[1, 2, 3], 3)];
        let again = [1, 2, 1, 2, 3].map(|seq| reading(&books[0], seq)).to_vec();
        let report = Report::settle(&books, &Shown { readings: again, ..Shown::default() });
        assert!(report.holds(), "{report}");
        assert_eq!(report.redelivered, 2);
        let wrong = [2, 1, 3].map(|seq| reading(&books[0], seq)).to_vec();
        assert!(!Report::settle(&books, &Shown { readings: wrong, ..Shown::default() }).holds());
    }

    #[test]
    fn one_cause_has_one_incident() {
        let books = [device(&[], 0)];
        let twice = ("device/gas-01/G-0001".to_owned(), "e1".to_owned());
        let report = Report::settle(
            &books,
            &Shown { incidents: vec![twice.clone(), twice], ..Shown::default() },
        );
        assert!(!report.holds());
        let effects = vec!["incidents/i T07 by SIGNAL e1".to_owned(); 2];
        let report = Report::settle(&books, &Shown { effects, ..Shown::default() });
        assert_eq!(report.dup_effect, ["2 times: incidents/i T07 by SIGNAL e1"]);
    }
}
