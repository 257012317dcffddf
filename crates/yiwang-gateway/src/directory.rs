//! Who may connect: the registry's devices with their sealed secrets, as one immutable snapshot.
//!
//! Invariant: no plain secret is kept for the *plain* form, only HMAC-SHA256(pepper, secret); comparisons take the same
//! time whether a device exists or not, and no answer says which part was wrong.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use yiwang_core::ids;
use yiwang_core::registry::{Registry, SecretHash};
use yiwang_core::tenants::Tenants;
use yiwang_core::thing::Product;

use crate::admission::Share;

/// What a packet may hold beside its payload: fixed header, topic, packet id and a few properties.
const HEADER_BYTES_MAX: usize = 512;

/// The dialect of products whose devices are edge nodes.
const SPARKPLUG: &str = "sparkplugB";

/// The key under which device secrets are sealed; the same for all processes of a site.
#[derive(Clone)]
pub struct Pepper(Vec<u8>);

impl Pepper {
    /// Seals the secrets of a registry, so that no plain one is kept.
    pub fn seal_registry(&self, registry: &mut Registry) {
        registry.seal(|secret| SecretHash(self.seal(secret.expose().as_bytes()).0));
    }

    /// A pepper of these bytes, at least 16 of them.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        (bytes.len() >= 16).then(|| Self(bytes.to_vec()))
    }

    /// HMAC-SHA256(pepper, secret).
    #[must_use]
    pub fn seal(&self, secret: &[u8]) -> Seal {
        Seal(self.mac(secret).finalize().into_bytes().into())
    }

    fn opens(&self, seal: &Seal, secret: &[u8]) -> bool {
        self.mac(secret).verify_slice(&seal.0).is_ok()
    }

    fn mac(&self, secret: &[u8]) -> Hmac<Sha256> {
        let mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.chain_update(secret)
    }
}

impl fmt::Debug for Pepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pepper(…)")
    }
}

/// A sealed secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Seal(pub [u8; 32]);

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seal(…)")
    }
}

/// A device as the front sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its sealed secret; `None` cannot connect with a secret.
    pub seal: Option<Seal>,
    /// Whether it may connect at all.
    pub admitted: bool,
    /// The Sparkplug edge node `{group}.{edge}` that it is, where its product speaks that dialect.
    pub node: Option<Box<str>>,
    /// What its product grants, where one does.
    pub quota: Option<Quota>,
    /// Whose it is, and its part of the way in.
    pub share: Share,
}

/// What a product grants each of its devices.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quota {
    /// Messages in a second.
    pub messages_per_second: f64,
    /// Messages at once.
    pub burst: u32,
    /// Largest packet.
    pub packet_bytes_max: usize,
}

/// All devices, by device key.
#[derive(Debug)]
pub struct Directory {
    pepper: Pepper,
    devices: Devices,
    nobody: Seal,
}

#[derive(Debug)]
enum Devices {
    Registry(Registered),
    Listed(HashMap<Box<str>, Entry>),
}

#[derive(Debug)]
struct Registered {
    registry: Arc<Registry>,
    tenants: Arc<Tenants>,
    /// By product number.
    life_safety: Vec<bool>,
}

/// Why a CONNECT is refused; the two never tell an unknown device from a wrong secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// Unknown device, no secret, or the wrong one.
    Credentials,
    /// Known by its secret, but disabled or retired.
    NotAdmitted,
}

impl Directory {
    /// The devices of a registry whose secrets were sealed with this pepper, and the shares of their owners.
    #[must_use]
    pub fn of(registry: Arc<Registry>, tenants: Arc<Tenants>, pepper: Pepper) -> Self {
        let products = registry.products.iter();
        let life_safety = products.map(|product| registry.is_life_safety(product)).collect();
        Self::with(Devices::Registry(Registered { registry, tenants, life_safety }), pepper)
    }

    /// These devices and no others; for tests and benches.
    #[must_use]
    pub fn listed(devices: impl IntoIterator<Item = (Box<str>, Entry)>, pepper: Pepper) -> Self {
        Self::with(Devices::Listed(devices.into_iter().collect()), pepper)
    }

    fn with(devices: Devices, pepper: Pepper) -> Self {
        let nobody = pepper.seal(b"nobody");
        Self { pepper, devices, nobody }
    }

    /// Judges the *plain* form: the password is the device's secret.
    pub(crate) fn admit(&self, device: &str, secret: &[u8]) -> Result<Entry, Denied> {
        let entry = self.entry(device);
        let seal = entry.as_ref().and_then(|entry| entry.seal.as_ref());
        // An unknown device costs the same time as a known one.
        let opens = self.pepper.opens(seal.unwrap_or(&self.nobody), secret) && seal.is_some();
        match entry {
            Some(entry) if opens && entry.admitted => Ok(entry),
            Some(_) if opens => Err(Denied::NotAdmitted),
            _ => Err(Denied::Credentials),
        }
    }

    /// Whether a live session of this device still stands on what it was admitted with.
    pub(crate) fn still_admits(&self, device: &str, seal: Option<&Seal>) -> bool {
        self.entry(device).is_some_and(|entry| entry.admitted && entry.seal.as_ref() == seal)
    }

    /// Key hash by which the records of a device are placed in the raw log: that of its own key, or of the gateway device
    /// that it speaks through.
    pub(crate) fn place(&self, device: &str) -> u64 {
        ids::key_hash(match &self.devices {
            Devices::Registry(Registered { registry, .. }) => registry.place(device),
            Devices::Listed(_) => device,
        })
    }

    /// Key of the device that is this Sparkplug edge node, `{group}.{edge}`.
    pub(crate) fn edge_node(&self, name: &str) -> Option<&str> {
        match &self.devices {
            Devices::Registry(Registered { registry, .. }) => {
                registry.edge_node(name).map(|device| &*device.key)
            }
            Devices::Listed(devices) => {
                let mut all = devices.iter();
                let is_it = |entry: &Entry| entry.node.as_deref() == Some(name);
                all.find(|(_, entry)| is_it(entry)).map(|(key, _)| &**key)
            }
        }
    }

    fn entry(&self, device: &str) -> Option<Entry> {
        match &self.devices {
            Devices::Listed(devices) => devices.get(device).cloned(),
            Devices::Registry(Registered { registry, tenants, life_safety }) => {
                let (_, device) = registry.device(device)?;
                let tenant = registry.tenant(device);
                let product = usize::from(device.product);
                let Product { quota, access, .. } = &**registry.product_of(device);
                let speaks = access.dialects.iter().any(|dialect| dialect == SPARKPLUG);
                let payload_bytes_max = usize::try_from(quota.payload_max).unwrap_or(usize::MAX);
                Some(Entry {
                    seal: device.secret.map(|hash| Seal(hash.0)),
                    admitted: device.lifecycle.is_active(),
                    node: speaks.then(|| device.node_name().into()),
                    quota: Some(Quota {
                        messages_per_second: quota.rate,
                        burst: quota.burst,
                        packet_bytes_max: payload_bytes_max.saturating_add(HEADER_BYTES_MAX),
                    }),
                    share: Share {
                        weight: tenants.weight(&tenant),
                        life_safety: life_safety.get(product).copied().unwrap_or_default(),
                        tenant,
                    },
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_judged_without_telling_why() {
        let pepper = Pepper::new(b"sixteen bytes ok").unwrap();
        let seal = Some(pepper.seal(b"s1"));
        let share = Share::plain("p");
        let entry = |admitted, seal| Entry {
            seal,
            admitted,
            node: None,
            quota: None,
            share: share.clone(),
        };
        let devices = [
            ("p/a".into(), entry(true, seal.clone())),
            ("p/off".into(), entry(false, seal.clone())),
            ("p/none".into(), entry(true, None)),
        ];
        let directory = Directory::listed(devices, pepper);
        assert!(directory.admit("p/a", b"s1").is_ok());
        for (device, secret) in
            [("p/a", "s2"), ("p/x", "s1"), ("p/none", "nobody"), ("p/x", "nobody")]
        {
            assert_eq!(directory.admit(device, secret.as_bytes()), Err(Denied::Credentials));
        }
        assert_eq!(directory.admit("p/off", b"s1"), Err(Denied::NotAdmitted));
        assert!(directory.still_admits("p/a", seal.as_ref()));
        assert!(!directory.still_admits("p/off", seal.as_ref()));
        assert_eq!(format!("{:?}", directory.pepper), "Pepper(…)");
    }
}
