//! Products, devices and the district as one immutable snapshot with an epoch.
//!
//! Devices are dense integers in the order of their keys; the area path of each is computed once and shared. The epoch
//! is the hash of the canonical content, so that two nodes which loaded the same files agree on it. This module refuses
//! to read files and to hash secrets: texts come in, [`Registry::seal`] takes the hash function.

mod load;
mod row;
mod secret;
mod table;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use std::hash::BuildHasher as _;

use crate::calendar::Calendar;
use crate::district::{AreaPath, District, FileSet, UnitId};
use crate::ids::Id;
use crate::maintenance::{SetNo, Windows};
use crate::problem::Problem;
use crate::record::{Millis, Point};
use crate::thing::Product;

pub use secret::{Secret, SecretHash};

/// Most gateway devices that a device speaks through, one behind the other.
const GATEWAYS_MAX: usize = 8;

/// Dense number of a device within one registry; another registry numbers anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceNo(pub u32);

/// A registered device.
#[derive(Debug)]
pub struct Device {
    /// Device key `pk/dn`.
    pub key: Box<str>,
    /// Index into [`Registry::products`].
    pub product: u16,
    /// Where it is in its life.
    pub lifecycle: Lifecycle,
    /// Its windows of maintenance in [`Registry::windows`].
    pub windows: SetNo,
    /// Name for people.
    pub name: Option<Box<str>>,
    /// The asset it watches.
    pub asset: Option<Box<str>>,
    /// Where it stands in the hierarchy.
    pub place: Arc<AreaPath>,
    /// Its own point, else that of its asset.
    pub point: Option<Point>,
    /// Values of the product's attributes, by their index; defaults where the device sets none.
    pub attrs: Arc<[Option<f64>]>,
    /// HMAC of its secret, once sealed.
    pub secret: Option<SecretHash>,
    /// How often it reports, where it differs from its product.
    pub expect_every: Option<Millis>,
    /// What few devices have.
    pub extra: Option<Box<Extra>>,
}

impl Device {
    /// Device name `dn`: the key after its product.
    #[must_use]
    pub fn name_on_wire(&self) -> &str {
        self.key.split_once('/').map_or("", |(_, name)| name)
    }

    /// Name under which an outside platform knows it.
    #[must_use]
    pub fn alias(&self) -> Option<&str> {
        self.extra.as_ref()?.alias.as_deref()
    }

    /// Name under which Sparkplug knows it, `{group}.{edge}`: its alias, else its device name.
    #[must_use]
    pub fn node_name(&self) -> &str {
        self.alias().unwrap_or_else(|| self.name_on_wire())
    }

    /// Device key of its gateway device.
    #[must_use]
    pub fn gateway(&self) -> Option<&str> {
        self.extra.as_ref()?.gateway.as_deref()
    }
}

/// What few devices have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extra {
    /// Owner, where it is not that of the asset.
    pub owner_unit: Option<UnitId>,
    /// Maintainer, where it is not that of the asset.
    pub maintainer_unit: Option<UnitId>,
    /// End of the maintenance contract, as `yyyy-mm-dd`.
    pub contract_until: Option<Box<str>>,
    /// Device key of its gateway device.
    pub gateway: Option<Box<str>>,
    /// Name under which an outside platform knows it; unique.
    pub alias: Option<Box<str>>,
    /// Pinned model version.
    pub model_version: Option<Box<str>>,
    /// Address in an industry protocol.
    pub address: Option<Box<str>>,
    /// Where its protocol password is kept.
    pub password_ref: Option<Box<str>>,
    /// Tags, by name.
    pub tags: Vec<(Box<str>, Box<str>)>,
}

/// Where a device is in its life (devices, section 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lifecycle {
    /// Asked for, not yet approved.
    Pending,
    /// Known, never heard.
    Registered,
    /// Being tested: its data raises nothing.
    Commissioning,
    /// In use.
    InService,
    /// Being worked on: raises are held.
    Maintenance,
    /// Switched off by a person.
    Disabled,
    /// Gone for good.
    Retired,
}

impl Lifecycle {
    /// All values.
    pub const ALL: [Self; 7] = [
        Self::Pending,
        Self::Registered,
        Self::Commissioning,
        Self::InService,
        Self::Maintenance,
        Self::Disabled,
        Self::Retired,
    ];

    /// The published word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Registered => "REGISTERED",
            Self::Commissioning => "COMMISSIONING",
            Self::InService => "IN_SERVICE",
            Self::Maintenance => "MAINTENANCE",
            Self::Disabled => "DISABLED",
            Self::Retired => "RETIRED",
        }
    }

    /// The inverse of [`Lifecycle::as_str`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|lifecycle| lifecycle.as_str() == text)
    }

    /// Whether it may connect and its data is taken (security: active).
    #[must_use]
    pub const fn is_active(self) -> bool {
        matches!(self, Self::Registered | Self::Commissioning | Self::InService | Self::Maintenance)
    }

    /// Whether its alarms reach people.
    #[must_use]
    pub const fn raises(self) -> bool {
        matches!(self, Self::InService)
    }
}

/// Products, devices and the district, all of one moment.
pub struct Registry {
    /// Hash of the canonical content: products, devices, district; secrets left out.
    pub epoch: Id,
    /// The district the devices stand in; `None` for a plain list of names.
    pub district: Option<Arc<District>>,
    /// In the order of their keys.
    pub products: Vec<Arc<Product>>,
    /// In the order of their keys.
    pub devices: Vec<Device>,
    /// When people work on which of them.
    pub windows: Windows,
    secrets: Vec<(DeviceNo, Secret)>,
    index: HashTable<Entry>,
    /// Of the few devices that have an alias.
    aliases: HashTable<u32>,
    /// Whether any device speaks through another.
    has_gateways: bool,
    hasher: FixedState,
}

/// A device in the index: enough of its key's hash to find it without looking at the key.
#[derive(Clone, Copy)]
struct Entry {
    hash: u32,
    number: u32,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("epoch", &self.epoch)
            .field("products", &self.products.len())
            .field("devices", &self.devices.len())
            .finish_non_exhaustive()
    }
}

impl Registry {
    /// Checks every `*.thing.yaml` and `*.csv` of the set; every problem with file and line, `None` on any error.
    #[must_use]
    pub fn load(files: &FileSet, district: Arc<District>) -> (Option<Self>, Vec<Problem>) {
        load::load(files, district)
    }

    fn new(
        epoch: Id,
        district: Option<Arc<District>>,
        products: Vec<Arc<Product>>,
        devices: Vec<Device>,
        secrets: Vec<(DeviceNo, Secret)>,
    ) -> Self {
        let hasher = FixedState::default();
        let mut index = HashTable::with_capacity(devices.len());
        for (number, device) in (0..).zip(&devices) {
            let hash = hasher.hash_one(&*device.key);
            let rehash = |entry: &Entry| hasher.hash_one(&*devices[entry.number as usize].key);
            index.insert_unique(hash, Entry { hash: hash as u32, number }, rehash);
        }
        let alias = |number: &u32| hasher.hash_one(devices[*number as usize].alias());
        let mut aliases = HashTable::new();
        for number in (0..devices.len() as u32).filter(|n| devices[*n as usize].alias().is_some()) {
            aliases.insert_unique(alias(&number), number, alias);
        }
        Self {
            epoch,
            district,
            has_gateways: devices.iter().any(|device| device.gateway().is_some()),
            products,
            devices,
            windows: Windows::default(),
            secrets,
            index,
            aliases,
            hasher,
        }
    }

    /// The device with this alias.
    #[must_use]
    pub fn device_by_alias(&self, alias: &str) -> Option<(DeviceNo, &Device)> {
        let hash = self.hasher.hash_one(Some(alias));
        let same = |number: &u32| self.devices[*number as usize].alias() == Some(alias);
        let number = *self.aliases.find(hash, same)?;
        Some((DeviceNo(number), &self.devices[number as usize]))
    }

    /// The edge node with this name `{group}.{edge}`, of a product that speaks Sparkplug.
    #[must_use]
    pub fn edge_node(&self, name: &str) -> Option<&Device> {
        let speaks = |device: &&Device| self.product_of(device).is_sparkplug();
        let aliased = self.device_by_alias(name).map(|(_, device)| device);
        aliased.filter(speaks).or_else(|| {
            let products = self.products.iter().filter(|product| product.is_sparkplug());
            let mut named = products
                .filter_map(|product| Some(self.device(&[&product.key, "/", name].concat())?.1));
            named.find(|device| device.alias().is_none())
        })
    }

    /// The calendars that rules may name.
    #[must_use]
    pub fn calendars(&self) -> &BTreeMap<Arc<str>, Arc<Calendar>> {
        const NONE: &BTreeMap<Arc<str>, Arc<Calendar>> = &BTreeMap::new();
        self.district.as_deref().map_or(NONE, District::calendars)
    }

    /// The device with this key.
    #[must_use]
    pub fn device(&self, key: &str) -> Option<(DeviceNo, &Device)> {
        let hash = self.hasher.hash_one(key);
        let is_it = |entry: &Entry| &*self.devices[entry.number as usize].key == key;
        let number = self.index.find(hash, is_it)?.number;
        Some((DeviceNo(number), &self.devices[number as usize]))
    }

    /// The device that has this key if any has it, found without a look at the device's memory: to be confirmed by
    /// [`Registry::is_key_of`], and looked up again if it is another one.
    #[must_use]
    pub(crate) fn candidate(&self, key: &str) -> Option<DeviceNo> {
        let hash = self.hasher.hash_one(key);
        let entry = self.index.find(hash, |entry| entry.hash == hash as u32)?;
        Some(DeviceNo(entry.number))
    }

    /// Whether a device has this key.
    #[must_use]
    pub(crate) fn is_key_of(&self, number: DeviceNo, key: &str) -> bool {
        self.at(number).is_some_and(|device| *device.key == *key)
    }

    /// The device with this number.
    #[must_use]
    pub fn at(&self, number: DeviceNo) -> Option<&Device> {
        self.devices.get(number.0 as usize)
    }

    /// By whose key the records of a device are placed in the log: its own, or that of the last of the gateway devices
    /// that it speaks through. So all that is heard of a device, from itself or through others, is in one order.
    #[must_use]
    pub fn place<'a>(&'a self, device: &'a str) -> &'a str {
        if !self.has_gateways {
            return device;
        }
        self.device(device).map_or(device, |(_, device)| self.place_of(device))
    }

    /// The same of a device at hand.
    #[must_use]
    pub fn place_of<'a>(&'a self, device: &'a Device) -> &'a str {
        let through = |device: &Device| Some(self.device(device.gateway()?)?.1);
        let mut last = device;
        for _ in 0..GATEWAYS_MAX {
            let Some(next) = through(last) else { break };
            last = next;
        }
        &last.key
    }

    /// The product with this key.
    #[must_use]
    pub fn product(&self, key: &str) -> Option<&Arc<Product>> {
        let at = self.products.binary_search_by(|product| (*product.key).cmp(key)).ok()?;
        self.products.get(at)
    }

    /// The product of a device.
    #[must_use]
    pub fn product_of(&self, device: &Device) -> &Arc<Product> {
        &self.products[usize::from(device.product)]
    }

    /// Who maintains a device: its own entry, else its asset's.
    #[must_use]
    pub fn maintainer(&self, device: &Device) -> Option<UnitId> {
        let own = device.extra.as_ref().and_then(|extra| extra.maintainer_unit.clone());
        own.or_else(|| {
            let asset = self.district.as_ref()?.asset(device.asset.as_deref()?)?;
            asset.maintainer_unit.clone()
        })
    }

    /// Replaces every plain secret by its hash; `hash` is HMAC-SHA256 with the pepper.
    pub fn seal(&mut self, hash: impl Fn(&Secret) -> SecretHash) {
        for (number, secret) in std::mem::take(&mut self.secrets) {
            self.devices[number.0 as usize].secret = Some(hash(&secret));
        }
    }
}
