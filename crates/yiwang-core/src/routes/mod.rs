//! The routing table: which readings, signals and quarantine rows go to which further topics, as data.
//!
//! Owns [`Routes`], compiled once from `routes.yaml`. A route forwards in addition to the hub's own topics; only readings
//! may go elsewhere *instead*, for the centre lives on every signal and a replay on every quarantine row. What a device's
//! product and place decide is asked once per device ([`Routes::of_reading`]), so a reading costs one look at a [`Fan`].

mod read;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::district::{AreaPath, Tier, UnitId};
use crate::record::{AlarmSeverity, QuarantineReason};

pub use read::{OWN_TOPICS, ROUTES_MAX, TOPICS_MAX};

/// What a topic carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Readings.
    Readings,
    /// Signals.
    Signals,
    /// Quarantine rows.
    Quarantine,
}

impl Stream {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Readings, Self::Signals, Self::Quarantine];

    /// The word in files, which is the hub's own topic of this stream.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Readings => "readings",
            Self::Signals => "signals",
            Self::Quarantine => "quarantine",
        }
    }

    /// The inverse of [`Stream::as_str`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stream| stream.as_str() == text)
    }
}

/// A topic that routes forward to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its name on the log.
    pub name: Arc<str>,
    /// What it carries.
    pub stream: Stream,
}

/// One route; empty lists choose everything.
#[derive(Clone, Debug, Default)]
struct Route {
    name: Arc<str>,
    /// Product keys, sorted.
    products: Vec<Arc<str>>,
    /// Units whose subtrees are meant.
    areas: Vec<UnitId>,
    /// Category codes at or below the named ones, sorted.
    categories: Option<Vec<Arc<str>>>,
    /// The least severity.
    severity: Option<AlarmSeverity>,
    reasons: Vec<QuarantineReason>,
    /// Numbers of topics.
    to: Vec<u16>,
    instead: bool,
}

/// Whom a record is from, as far as routes ask.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Product key; of a quarantined record the claimed one.
    pub product: &'a str,
    /// Where the device stands; `None` for one that nobody registered.
    pub place: Option<&'a AreaPath>,
}

/// Where one record goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Fan {
    /// Numbers of the routes that chose it, ascending.
    pub routes: Vec<u16>,
    /// Numbers of the topics it goes to, each once, ascending.
    pub topics: Vec<u16>,
    /// Whether it leaves the hub's own topic out.
    pub instead: bool,
}

/// The compiled table.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    topics: Vec<Topic>,
    routes: Vec<Route>,
    /// Numbers of the routes of each stream.
    of: [Vec<u16>; Stream::ALL.len()],
}

impl Routes {
    /// The topics, by their numbers.
    #[must_use]
    pub fn topics(&self) -> &[Topic] {
        &self.topics
    }

    /// The names of the routes, by their numbers.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &Arc<str>> {
        self.routes.iter().map(|route| &route.name)
    }

    /// Whether nothing of a stream is forwarded.
    #[must_use]
    pub fn is_empty(&self, stream: Stream) -> bool {
        self.of[stream as usize].is_empty()
    }

    /// Where the readings of a device go: the same for all of them.
    #[must_use]
    pub fn of_reading(&self, from: Subject<'_>) -> Fan {
        self.fan(Stream::Readings, from, |_| true)
    }

    /// Where a signal goes.
    #[must_use]
    pub fn of_signal(&self, from: Subject<'_>, category: &str, severity: AlarmSeverity) -> Fan {
        self.fan(Stream::Signals, from, |route| {
            route.severity.is_none_or(|least| severity >= least)
                && route
                    .categories
                    .as_ref()
                    .is_none_or(|codes| codes.binary_search_by(|c| (**c).cmp(category)).is_ok())
        })
    }

    /// Where a quarantine row goes.
    #[must_use]
    pub fn of_quarantine(&self, from: Subject<'_>, reason: QuarantineReason) -> Fan {
        let chosen = |route: &Route| route.reasons.is_empty() || route.reasons.contains(&reason);
        self.fan(Stream::Quarantine, from, chosen)
    }

    fn fan(&self, stream: Stream, from: Subject<'_>, also: impl Fn(&Route) -> bool) -> Fan {
        let mut fan = Fan::default();
        for number in &self.of[stream as usize] {
            let route = &self.routes[usize::from(*number)];
            if route.chooses(from) && also(route) {
                fan.routes.push(*number);
                fan.topics.extend_from_slice(&route.to);
                fan.instead |= route.instead;
            }
        }
        fan.topics.sort_unstable();
        fan.topics.dedup();
        fan
    }
}

impl Route {
    fn chooses(&self, from: Subject<'_>) -> bool {
        let product = self.products.is_empty()
            || self.products.binary_search_by(|key| (**key).cmp(from.product)).is_ok();
        let holds = |path: &AreaPath| {
            let mut units = Tier::ALL.into_iter().filter_map(|tier| path.at(tier));
            units.any(|unit| self.areas.contains(unit))
        };
        product && (self.areas.is_empty() || from.place.is_some_and(holds))
    }
}
