//! What a list of properties compiles to: dense checks and a name table.
//!
//! Owns the lookup of a property by its name: the one that is expected next is tried first, then a small hash table.

use xxhash_rust::xxh3::xxh3_64;

use crate::thing::{DataType, Limits, Property};

/// Number of 64-bit words that hold one bit per property.
pub(crate) const WORDS: usize = crate::thing::PROPERTIES_MAX.div_ceil(64);

/// One bit per property.
pub(crate) type Bits = [u64; WORDS];

/// What decoding needs of one property.
#[derive(Clone, Debug)]
pub(crate) struct Check {
    /// Its type.
    pub(crate) data: DataType,
    /// Its bounds.
    pub(crate) limits: Limits,
    /// Its name.
    pub(crate) name: Box<str>,
}

/// A compiled list of properties.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    /// In the order of the model.
    pub(crate) checks: Vec<Check>,
    /// Which are required.
    pub(crate) required: Bits,
    /// Open addressing over names: index + 1, or 0; a power of two, at most half full.
    table: Vec<u16>,
}

impl Plan {
    /// Compiles a list; names are unique.
    pub(crate) fn new(properties: &[Property]) -> Self {
        let checks: Vec<Check> = properties
            .iter()
            .map(|property| Check {
                data: property.data.clone(),
                limits: property.limits,
                name: property.identifier.clone(),
            })
            .collect();
        let mut required = Bits::default();
        for (index, _) in properties.iter().enumerate().filter(|(_, property)| property.required) {
            required[index / 64] |= 1 << (index % 64);
        }
        let mut table = vec![0; (checks.len() * 2).next_power_of_two().max(2)];
        for (index, check) in checks.iter().enumerate() {
            let mut slot = slot_of(&check.name, table.len());
            while table[slot] != 0 {
                slot = (slot + 1) % table.len();
            }
            table[slot] = index as u16 + 1;
        }
        Self { checks, required, table }
    }

    /// Index of a name.
    pub(crate) fn find(&self, name: &str) -> Option<u16> {
        if self.table.is_empty() {
            return None;
        }
        let mut slot = slot_of(name, self.table.len());
        loop {
            let index = self.table[slot].checked_sub(1)?;
            if &*self.checks[usize::from(index)].name == name {
                return Some(index);
            }
            slot = (slot + 1) % self.table.len();
        }
    }
}

fn slot_of(name: &str, len: usize) -> usize {
    xxh3_64(name.as_bytes()) as usize & (len - 1)
}
