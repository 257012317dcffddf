//! The counters that must balance, gathered from the parts of this process to be shown as rows of equations.

use std::sync::{Arc, Mutex, PoisonError};

use yiwang_core::ledger::{Counters, Stage};
use yiwang_log::Log;
use yiwang_store::Store;

/// Where the counters of this process come from; filled while the parts start.
#[derive(Clone, Default)]
pub struct Sources(Arc<Mutex<Parts>>);

#[derive(Clone, Default)]
struct Parts {
    log: Option<Log>,
    store: Option<Store>,
    router: Option<yiwang_router::Handle>,
    gateway: Option<yiwang_gateway::Handle>,
}

impl Sources {
    /// The log was opened.
    pub fn set_log(&self, log: Log) {
        self.with(|parts| parts.log = Some(log));
    }

    /// The store was opened.
    pub fn set_store(&self, store: Store) {
        self.with(|parts| parts.store = Some(store));
    }

    /// The store, where this process has opened one.
    pub fn store(&self) -> Option<Store> {
        self.with(|parts| parts.store.clone())
    }

    /// The router runs.
    pub fn set_router(&self, router: yiwang_router::Handle) {
        self.with(|parts| parts.router = Some(router));
    }

    /// The gateway runs.
    pub fn set_gateway(&self, gateway: yiwang_gateway::Handle) {
        self.with(|parts| parts.gateway = Some(gateway));
    }

    fn with<T>(&self, use_it: impl FnOnce(&mut Parts) -> T) -> T {
        use_it(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// All counters of this process, each stage taken at one time.
    ///
    /// # Errors
    /// If the store or the log cannot say.
    pub async fn counters(&self) -> anyhow::Result<Counters> {
        let parts = self.with(|parts| parts.clone());
        let mut all = Counters::new();
        if let Some(gateway) = &parts.gateway {
            count_gateway(gateway, &mut all);
        }
        if let Some(router) = &parts.router {
            let now = jiff::Timestamp::now().as_millisecond();
            all.merge(&router.measure(now).await?);
        }
        if let (Some(store), Some(log)) = (&parts.store, &parts.log) {
            count_centre(store, log, &mut all).await?;
        }
        Ok(all)
    }
}

fn count_gateway(gateway: &yiwang_gateway::Handle, all: &mut Counters) {
    use yiwang_gateway::{Refused, Shed};
    for row in gateway.ledger().snapshot() {
        let mut add = |name, reason, count| all.add(Stage::Gateway, name, reason, count);
        add("received", "", row.received);
        add("appended", "", row.appended);
        add("in_flight", "", row.in_flight);
        for (reason, count) in Refused::ALL.iter().zip(row.refused) {
            add("refused", reason.as_str(), count);
        }
        for (reason, count) in Shed::ALL.iter().zip(row.shed) {
            add("shed", reason.as_str(), count);
        }
        add("acknowledged", "", row.acknowledged);
    }
}

/// Positions first, counters after them: what is read in between is not pending any more and not counted twice.
async fn count_centre(store: &Store, log: &Log, all: &mut Counters) -> anyhow::Result<()> {
    let mut pending = 0;
    let positions = store.positions("signals").await?;
    for partition in 0..log.partitions("signals") {
        let read = positions.iter().find(|at| at.partition == partition).map_or(0, |at| at.seq);
        pending += log.head("signals", partition).await?.saturating_sub(read);
    }
    for stage in [Stage::Centre, Stage::Incidents] {
        for row in stage.equation().0.iter().chain(stage.equation().1) {
            all.add(stage, row, "", 0);
        }
    }
    all.add(Stage::Centre, "signals", "", pending);
    all.add(Stage::Centre, "pending", "", pending);
    for count in store.ledger().await? {
        let value = u64::try_from(count.value).unwrap_or_default();
        let Some(stage) = Stage::parse(&count.stage) else { continue };
        let name = count.name.to_ascii_lowercase();
        // Every state of an open incident is one row, with the state as its reason.
        let known = stage.equation().0.contains(&&*name) || stage.equation().1.contains(&&*name);
        match (stage, known) {
            (Stage::Incidents, false) => all.add(stage, "open", &count.name, value),
            _ => all.add(stage, &name, "", value),
        }
    }
    Ok(())
}
