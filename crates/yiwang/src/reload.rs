//! Another configuration while the hub runs: the files of district, products and devices are read again as one bundle,
//! and every role of this process takes it, or none does.
//!
//! Owns what is in force. Invariant: a bundle with an error changes nothing. Refuses to read `yiwang.toml` and the keys
//! again: what they say holds until a restart.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tokio::signal::unix::Signal;
use tokio_util::sync::CancellationToken;
use yiwang_core::ids::Id;
use yiwang_core::problem::{Problem, Severity};
use yiwang_core::thing::Product;
use yiwang_gateway::Directory;
use yiwang_log::Log;

use crate::bundle::{self, Bundle};
use crate::cli::Role;
use crate::config::Config;
use crate::keys::Keys;
use crate::{metrics, settings};

/// Most problems that are told one by one; `yiwang check` lists them all.
const TOLD_MAX: usize = 1_000;

/// What is in force in this process, and who goes by it.
pub struct Reload {
    config: Config,
    keys: Arc<Keys>,
    log: Log,
    /// Held while a bundle is read and taken: one after another.
    turn: tokio::sync::Mutex<()>,
    inner: Mutex<Inner>,
}

struct Inner {
    bundle: Bundle,
    centre: Option<Arc<ArcSwap<yiwang_centre::InForce>>>,
    router: Option<yiwang_router::Handle>,
    gateway: Option<Arc<ArcSwap<Directory>>>,
}

/// What became of a reload.
pub struct Told {
    /// Whether what was read is in force now.
    pub taken: bool,
    /// Whether its hash is another one than that of what was in force.
    pub changed: bool,
    /// The configuration in force.
    pub epoch: Id,
    /// The roles of this process.
    pub roles: Vec<&'static str>,
    /// Every problem as `yiwang check` prints it, up to [`TOLD_MAX`].
    pub problems: Vec<String>,
}

impl Reload {
    /// Of the bundle that the process starts with.
    pub fn new(config: Config, keys: Arc<Keys>, log: Log, bundle: Bundle) -> Self {
        metrics::record_configuration(bundle.router.epoch());
        let inner = Inner { bundle, centre: None, router: None, gateway: None };
        let (turn, inner) = (tokio::sync::Mutex::default(), Mutex::new(inner));
        Self { config, keys, log, turn, inner }
    }

    /// The bundle in force.
    pub fn bundle(&self) -> Bundle {
        self.with(|inner| inner.bundle.clone())
    }

    /// The district and terms of a centre that starts now, kept up to date from now on.
    pub fn of_centre(&self) -> Arc<ArcSwap<yiwang_centre::InForce>> {
        self.with(|inner| {
            let of = Arc::new(ArcSwap::from_pointee(for_centre(&inner.bundle)));
            Arc::clone(inner.centre.insert(of))
        })
    }

    /// Starts a router with the bundle in force.
    ///
    /// # Errors
    /// As [`yiwang_router::Router::new`].
    pub fn router(
        &self,
        settings: yiwang_router::Config,
    ) -> Result<(yiwang_router::Router, yiwang_router::Handle), yiwang_router::Error> {
        self.with(|inner| {
            let bundle = Arc::clone(&inner.bundle.router);
            let (router, handle) = yiwang_router::Router::new(settings, self.log.clone(), bundle)?;
            inner.router = Some(handle.clone());
            Ok((router, handle))
        })
    }

    /// The devices of a gateway that starts now, kept up to date from now on.
    ///
    /// # Errors
    /// If the pepper is unusable.
    pub fn of_gateway(&self) -> anyhow::Result<Arc<ArcSwap<Directory>>> {
        self.with(|inner| {
            let of = ArcSwap::from_pointee(settings::directory(&inner.bundle, &self.keys)?);
            Ok(Arc::clone(inner.gateway.insert(Arc::new(of))))
        })
    }

    fn with<T>(&self, use_it: impl FnOnce(&mut Inner) -> T) -> T {
        use_it(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reloads at every SIGHUP until told to stop.
    pub async fn at_hangups(self: Arc<Self>, mut hangups: Signal, stop: CancellationToken) {
        loop {
            tokio::select! {
                Some(()) = hangups.recv() => {}
                () = stop.cancelled() => return,
            }
            self.reload().await;
        }
    }

    /// Reads everything again and puts it in force in all roles, or leaves all as it is; tells log and metrics.
    pub async fn reload(self: &Arc<Self>) -> Told {
        let _turn = self.turn.lock().await;
        let this = Arc::clone(self);
        // Reading and compiling a whole district is no work for a thread that carries messages.
        let read = tokio::task::spawn_blocking(move || this.read_and_take()).await;
        let told = read.unwrap_or_else(|panic| self.told(false, vec![panic.to_string()]));
        metrics::record_reload(told.taken);
        tell(&told);
        told
    }

    fn read_and_take(&self) -> Told {
        let (read, mut problems) = match bundle::check(&self.config, Some(&self.keys)) {
            Ok(checked) => (checked.bundle, checked.problems),
            Err(error) => return self.told(false, vec![format!("error: {error:#}")]),
        };
        problems.extend(read.iter().flat_map(|bundle| self.missing_topics(bundle)));
        problems.extend(read.iter().flat_map(|bundle| self.kept_versions(bundle)));
        // Errors first: they are what a person has to see.
        problems.sort_by_key(|problem| std::cmp::Reverse(problem.severity));
        let mut lines: Vec<_> = problems.iter().take(TOLD_MAX).map(Problem::to_string).collect();
        if problems.len() > TOLD_MAX {
            lines.push(format!("{} more; see `yiwang check`", problems.len() - TOLD_MAX));
        }
        let good = problems.iter().all(|problem| problem.severity != Severity::Error);
        let before = self.bundle().router.epoch();
        match read.filter(|_| good).map(|bundle| self.with(|inner| inner.take(bundle, &self.keys)))
        {
            Some(Ok(())) => {
                let told = self.told(true, lines);
                Told { changed: told.epoch != before, ..told }
            }
            Some(Err(error)) => {
                lines.push(format!("error: {error:#}"));
                self.told(false, lines)
            }
            None => self.told(false, lines),
        }
    }

    fn told(&self, taken: bool, problems: Vec<String>) -> Told {
        self.with(|inner| {
            let epoch = inner.bundle.router.epoch();
            Told { taken, changed: false, epoch, roles: inner.roles(), problems }
        })
    }

    /// Products that say something else under a version that was in force: readings name only the version. Taken all the
    /// same, for a rule is sometimes corrected in a hurry.
    fn kept_versions(&self, bundle: &Bundle) -> Vec<Problem> {
        let before = Arc::clone(&self.bundle().registry);
        let kept = |product: &&Arc<Product>| {
            let old = before.product(&product.key);
            old.is_some_and(|old| old.digest != product.digest && !is_newer(product, old))
        };
        let problem = |product: &Arc<Product>| Problem {
            severity: Severity::Warning,
            code: "VERSION_NOT_GREATER",
            file: product.file.clone(),
            line: 0,
            message: format!(
                "product `{}` differs from the one in force, and its version {} is not greater",
                product.key, product.version
            ),
            remedy: "raise profile.version".to_owned(),
        };
        bundle.registry.products.iter().filter(kept).map(problem).collect()
    }

    /// Topics that routes name and that this log was opened without.
    fn missing_topics(&self, bundle: &Bundle) -> Vec<Problem> {
        let topics = bundle.router.routes().topics().iter();
        let missing = topics.filter(|topic| self.log.topic(&topic.name).is_none());
        let problem = |topic: &yiwang_core::routes::Topic| Problem {
            severity: Severity::Error,
            code: "TOPIC_NOT_OPEN",
            file: "routes.yaml".to_owned(),
            line: 0,
            message: format!("topic {} was not there when the hub started", topic.name),
            remedy: "restart the hub to open it, or route to a topic that is open".to_owned(),
        };
        missing.map(problem).collect()
    }
}

fn is_newer(product: &Product, than: &Product) -> bool {
    let numbers = |product: &Product| -> Vec<u64> {
        product.version.split('.').map(|part| part.parse().unwrap_or_default()).collect()
    };
    numbers(product) > numbers(than)
}

impl Inner {
    fn roles(&self) -> Vec<&'static str> {
        let here = [
            (Role::Gateway, self.gateway.is_some()),
            (Role::Router, self.router.is_some()),
            (Role::Centre, self.centre.is_some()),
        ];
        here.iter().filter(|(_, here)| *here).map(|(role, _)| role.as_str()).collect()
    }

    /// What can fail comes before anything is taken; the gateway comes last, so that the router knows whom it lets in.
    fn take(&mut self, bundle: Bundle, keys: &Keys) -> anyhow::Result<()> {
        let directory = settings::directory(&bundle, keys)?;
        if let Some(router) = &self.router {
            router.swap(Arc::clone(&bundle.router))?;
        }
        if let Some(centre) = &self.centre {
            centre.store(Arc::new(for_centre(&bundle)));
        }
        if let Some(gateway) = &self.gateway {
            gateway.store(Arc::new(directory));
        }
        metrics::record_configuration(bundle.router.epoch());
        self.bundle = bundle;
        Ok(())
    }
}

fn for_centre(bundle: &Bundle) -> yiwang_centre::InForce {
    yiwang_centre::InForce {
        district: Arc::clone(&bundle.district),
        terms: Arc::clone(&bundle.terms),
    }
}

fn tell(told: &Told) {
    let Told { taken, changed, epoch, roles, problems } = told;
    let (roles, configuration) = (roles.join(","), epoch.to_string());
    for problem in problems {
        tracing::warn!(problem, "a problem in what was read");
    }
    if *changed {
        tracing::info!(configuration, roles, "another configuration is in force");
    } else if *taken {
        // Secrets are no part of the hash.
        tracing::info!(
            configuration,
            roles,
            "the configuration was read again, its hash is the same"
        );
    } else {
        let problems = problems.len();
        tracing::error!(
            configuration,
            roles,
            problems,
            "what was read has errors and is not used; the configuration in force stays"
        );
    }
}
