//! A registry from a plain list of names: one product, its devices, nothing about places.
//!
//! For files that are routed outside of a district. What else is known of the devices is the caller's.

use std::sync::Arc;

use super::{Device, Lifecycle, Registry};
use crate::district::AreaPath;
use crate::ids::Hasher;
use crate::maintenance::SetNo;
use crate::thing::Product;

impl Registry {
    /// A registry of one product whose devices have these names; the number of a device is its place in the list.
    ///
    /// # Errors
    /// The place of the first name that does not come after the one before it, by its bytes.
    pub fn of_names<'n>(
        product: Arc<Product>,
        names: impl IntoIterator<Item = &'n str>,
    ) -> Result<Self, usize> {
        let place = Arc::new(AreaPath {
            district: "".into(),
            town: None,
            station: None,
            village: None,
            grid: None,
        });
        let attrs: Arc<[Option<f64>]> =
            product.attributes.iter().map(|attribute| attribute.default).collect();
        let names = names.into_iter();
        // Most iterators know how many they give, and a list that doubles takes twice the memory.
        let mut devices: Vec<Device> = Vec::with_capacity(names.size_hint().0);
        let mut hasher = Hasher::new().text("registry/names").id(product.digest);
        for (at, name) in names.enumerate() {
            let key: Box<str> = [&product.key, "/", name].concat().into();
            if devices.last().is_some_and(|before| before.key >= key) {
                return Err(at);
            }
            hasher = hasher.text(name);
            devices.push(Device {
                key,
                product: 0,
                lifecycle: Lifecycle::InService,
                windows: SetNo::default(),
                name: None,
                asset: None,
                place: Arc::clone(&place),
                point: None,
                attrs: Arc::clone(&attrs),
                secret: None,
                expect_every: None,
                extra: None,
            });
        }
        Ok(Self::new(hasher.finish(), None, vec![product], devices, Vec::new()))
    }
}
