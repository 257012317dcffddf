//! What all partitions share under one configuration: the registry and the compiled rules of its products.
//!
//! Immutable; a new configuration is a new [`Shared`], never half of one.

use std::sync::Arc;

use super::change::Checks;
use super::fold::Folds;
use crate::maintenance::Span;
use crate::problem::{Problem, Severity};
use crate::record::Group;
use crate::registry::{Device, DeviceNo, Registry};
use crate::rules::{Context, DeviceRules, Heard, Judgement, RuleSet, vectors};
use crate::storms::Storms;
use crate::thing::Product;

/// Registry and rules of one configuration epoch.
#[derive(Debug)]
pub struct Shared {
    registry: Arc<Registry>,
    /// By product number.
    rules: Vec<RuleSet>,
    /// By product number.
    checks: Vec<Checks>,
    /// Where absences are folded.
    folds: Option<Folds>,
}

impl Shared {
    /// Compiles the rules of every product and runs their vectors; `None` if any has an error.
    #[must_use]
    pub fn new(registry: Arc<Registry>) -> (Option<Self>, Vec<Problem>) {
        let mut problems = Vec::new();
        let mut rules = Vec::with_capacity(registry.products.len());
        for product in &registry.products {
            let (set, found) = RuleSet::compile(product, registry.calendars());
            problems.extend(found);
            let Some(set) = set else { continue };
            vectors::check(product, &set, &mut problems);
            rules.push(set);
        }
        let whole = !problems.iter().any(|problem| problem.severity == Severity::Error);
        let checks = registry.products.iter().map(|product| Checks::of(product)).collect();
        (whole.then_some(Self { registry, rules, checks, folds: None }), problems)
    }

    /// The same where devices that fall silent together are one outage.
    #[must_use]
    pub fn with_storms(mut self, storms: Option<Storms>) -> Self {
        self.folds = storms.and_then(|storms| Folds::new(storms, &self.registry, &self.rules));
        self
    }

    pub(super) fn folds(&self) -> Option<&Folds> {
        self.folds.as_ref()
    }

    /// The group that an alarm's signals are folded in, by the names of device and rule.
    pub(super) fn group(&self, device: &str, rule: &str) -> Option<Group> {
        self.folds.as_ref()?.group_by_name(device, rule, &self.rules)
    }

    /// The registry.
    #[must_use]
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// The rules by product number.
    #[must_use]
    pub fn rules(&self) -> &[RuleSet] {
        &self.rules
    }

    /// How each rule of a device takes a message, by its rules as they stood before it; `None` for a device that was not
    /// heard then. Nothing for one that is not registered. For traces.
    #[must_use]
    pub fn judged(
        &self,
        device: &str,
        before: Option<DeviceRules>,
        sets: &[Heard],
    ) -> Vec<Judgement> {
        let routed = self.registry.device(device).and_then(|(no, _)| self.device(no));
        let Some(routed) = routed else { return Vec::new() };
        let before = before.unwrap_or_else(|| DeviceRules::new(routed.rules));
        before.judged(&routed.context(), sets)
    }

    /// What products want to know of changes, by product number.
    pub(super) fn checks(&self) -> &[Checks] {
        &self.checks
    }

    /// Reads the memory of a device that the step will read; the answer says nothing.
    pub(super) fn touch(&self, no: DeviceNo) -> usize {
        self.registry.at(no).map_or(0, |device| usize::from(device.product) ^ device.key.len())
    }

    /// The same for its key.
    pub(super) fn touch_key(&self, no: DeviceNo) -> usize {
        let key = self.registry.at(no).and_then(|device| device.key.as_bytes().last());
        key.map_or(0, |byte| usize::from(*byte))
    }

    /// A device with its product and rules; `None` only for a number of another registry.
    #[inline]
    pub(super) fn device(&self, no: DeviceNo) -> Option<Routed<'_>> {
        let device = self.registry.at(no)?;
        let index = usize::from(device.product);
        let (product, rules) = (self.registry.products.get(index)?, self.rules.get(index)?);
        let checks = self.checks.get(index)?;
        let windows = self.registry.windows.times(device.windows);
        let folds = self.folds.as_ref();
        let registry = &*self.registry;
        Some(Routed { no, registry, device, product, rules, checks, folds, windows })
    }
}

/// A device as the step sees it.
#[derive(Clone, Copy)]
pub(super) struct Routed<'a> {
    pub no: DeviceNo,
    pub registry: &'a Registry,
    pub device: &'a Device,
    pub product: &'a Product,
    pub rules: &'a RuleSet,
    pub checks: &'a Checks,
    pub folds: Option<&'a Folds>,
    /// When people work on it.
    pub windows: &'a [Span],
}

impl<'a> Routed<'a> {
    #[inline]
    pub(super) fn context(&self) -> Context<'a> {
        let valid_for = match (self.device.expect_every, self.product.liveness) {
            (own @ Some(_), Some(liveness)) => liveness.valid_for(own),
            _ => self.rules.valid_for,
        };
        Context {
            rules: self.rules,
            attributes: &self.device.attrs,
            valid_for,
            clock_skew: self.product.time.clock_skew,
            late_after: self.product.time.late_after,
            held: !self.device.lifecycle.raises(),
            windows: self.windows,
        }
    }
}
