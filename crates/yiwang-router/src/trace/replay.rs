//! The replay of one partition for a trace: from its oldest kept record, or from a generation before the record.
//!
//! A fresh state at the very beginning is what was, and so is a generation. Where the beginning is expired and no
//! generation lies before the record, the replay starts without what came before, and the trace says so.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use yiwang_core::ids::Id;
use yiwang_core::record::SignalKind;
use yiwang_core::route::{Fate, Input, PartitionState, Place, Shard, Workspace};
use yiwang_core::routes::Stream;
use yiwang_core::rules::{Cause, DeviceRules, Judged, Judgement, Phase, Standing};
use yiwang_log::{Log, Position, RecordRef, Scan, Start};
use yiwang_proto::signal_from_bytes;

use super::seen::{Output, Seen};
use super::{RuleTrace, Wanted};
use crate::careful::{Trial, input};
use crate::generation::{Generation, Marker, Of, in_force, markers, pending};
use crate::readings::version;
use crate::shelf::bundle;
use crate::work::BUNDLES;
use crate::{Bundle, Error, GROUP};

/// Epoch of a topic that never changed its partitions, for a log on which the router committed nothing yet.
const FIRST_EPOCH: u32 = 1;

/// Where a record lies that has the wanted id, or that something came out of that has it.
pub(super) struct Found {
    pub seq: u64,
    /// Later records of the same id.
    pub repeats: Vec<u64>,
}

/// What the second replay saw.
pub(super) struct Told {
    pub raw: Id,
    pub partition: u16,
    pub appended_at: i64,
    pub key: Vec<u8>,
    pub value: Vec<u8>,
    pub fate: Fate,
    pub config: Id,
    pub from: u64,
    pub exact: bool,
    pub codec: Option<(String, Id)>,
    pub outputs: Vec<Output>,
    pub rules: Vec<RuleTrace>,
}

/// A partition that can be replayed.
pub(super) struct Replay<'l> {
    log: &'l Log,
    current: Arc<Bundle>,
    partition: u16,
    epoch: u32,
    kept: Range<u64>,
    state: Vec<(Bytes, Bytes)>,
    trial: Trial,
    bundles: Vec<(Bytes, Bytes)>,
    loaded: HashMap<Id, Arc<Bundle>>,
}

/// A replay under way.
struct Player {
    state: PartitionState,
    bundle: Arc<Bundle>,
    pending: VecDeque<Marker>,
    seen: Seen,
    work: Workspace,
    from: u64,
    exact: bool,
}

impl<'l> Replay<'l> {
    pub(super) async fn open(
        log: &'l Log,
        current: &Arc<Bundle>,
        partition: u16,
    ) -> Result<Self, Error> {
        let committed = log.committed("raw", GROUP).await?;
        let state = log.compacted("state", partition).await?;
        Ok(Self {
            log,
            current: current.clone(),
            partition,
            epoch: committed.first().map_or(FIRST_EPOCH, |position| position.epoch),
            kept: log.kept("raw", partition).await?,
            trial: Trial::of(&state),
            state,
            bundles: log.compacted("state", BUNDLES).await?,
            loaded: HashMap::from([(current.epoch(), current.clone())]),
        })
    }

    /// The first record that is it, by its id or that of an output or by its place, and the later ones of the same raw id.
    pub(super) async fn find(&mut self, wanted: Wanted) -> Result<Option<Found>, Error> {
        let mut player = self.fresh();
        if let Wanted::Id(id) = wanted {
            player.seen.wanted = Some(id);
        }
        let is_it = |seq: u64, own: Option<Id>| match wanted {
            Wanted::Id(id) => own == Some(id),
            Wanted::At { seq: at, .. } => at == seq,
        };
        let mut scan = self.scan(player.from, self.kept.end).await?;
        let (mut found, mut raw): (Option<Found>, Option<Id>) = (None, None);
        while let Some(records) = scan.next().await? {
            for record in scan.of(&records) {
                let fate = self.route(&mut player, &record)?;
                let own = is_message(&record).then(|| player.work.id());
                match &mut found {
                    None if player.seen.hit || is_it(record.seq, own) => {
                        raw = own;
                        found = Some(Found { seq: record.seq, repeats: Vec::new() });
                    }
                    Some(found) if own.is_some() && own == raw && fate == Fate::Duplicate => {
                        found.repeats.push(record.seq);
                    }
                    _ => {}
                }
            }
        }
        Ok(found)
    }

    /// Replays up to a record and tells what the step makes of it; `device` is one that it is about.
    pub(super) async fn tell(mut self, seq: u64, device: Option<&str>) -> Result<Told, Error> {
        let mut player = self.before(seq)?;
        let mut scan = self.scan(player.from, seq + 1).await?;
        while let Some(records) = scan.next().await? {
            for record in scan.of(&records) {
                if record.seq == seq {
                    return self.told(player, &record, device);
                }
                self.route(&mut player, &record)?;
            }
        }
        // Retention took it between the two replays.
        let (topic, position) = ("raw".to_owned(), seq);
        let Range { start: first, end: next } = self.kept;
        let partition = self.partition;
        Err(yiwang_log::Error::OutOfRange { topic, partition, position, first, next }.into())
    }

    fn told(
        &mut self,
        mut player: Player,
        record: &RecordRef<'_>,
        device: Option<&str>,
    ) -> Result<Told, Error> {
        self.meet(&mut player, record.seq)?;
        let own = std::str::from_utf8(record.key).ok().filter(|_| is_message(record));
        let devices: HashSet<&str> = own.into_iter().chain(device).collect();
        let before: Vec<Before<'_>> =
            devices.into_iter().map(|device| Before::of(&player, device)).collect();
        player.seen.keeps = true;
        let fate = self.route(&mut player, record)?;
        let cleared = match input(record) {
            Input::Clear(clear) => Some((clear.device, clear.rule)),
            _ => None,
        };
        let told = before.into_iter().flat_map(|before| before.compared(&player, cleared));
        let mut rules: Vec<RuleTrace> = told.collect();
        rules.sort_by(|a, b| (&a.device, !a.looked).cmp(&(&b.device, !b.looked)));
        let registry = player.bundle.shared().registry();
        let product = own.and_then(|own| registry.device(own)).map(|(_, device)| {
            let product = registry.product_of(device);
            (version(product), product.codec_hash)
        });
        Ok(Told {
            raw: if own.is_some() { player.work.id() } else { Id::default() },
            partition: self.partition,
            appended_at: record.appended_at,
            key: record.key.to_vec(),
            value: record.value.to_vec(),
            fate,
            config: player.bundle.epoch(),
            from: player.from,
            exact: player.exact,
            codec: product,
            outputs: player.seen.outputs,
            rules,
        })
    }

    /// Nothing seen yet, at the oldest kept record.
    fn fresh(&mut self) -> Player {
        let from = self.kept.start;
        let known = in_force(&markers(&self.state), from).and_then(|config| self.load(config));
        let exact = from == 0 && known.is_some();
        let bundle = known.unwrap_or_else(|| self.current.clone());
        self.player(PartitionState::new(bundle.shared(), self.shard()), bundle, from, exact)
    }

    /// The state at the newest generation that does not lie behind a record, else a fresh one.
    fn before(&mut self, seq: u64) -> Result<Player, Error> {
        let whole = Generation::whole(&self.state, Of::Routing).into_iter();
        let usable = whole.filter(|it| it.seq <= seq && it.seq >= self.kept.start);
        let newest = usable.max_by_key(|generation| generation.seq);
        let Some(generation) = newest else { return Ok(self.fresh()) };
        let Some(bundle) = self.load(generation.config) else { return Ok(self.fresh()) };
        let partition = self.partition;
        let mut seen = Seen::default();
        let state =
            PartitionState::restore(&generation.bytes, bundle.shared(), self.shard(), &mut seen)
                .map_err(|source| Error::Snapshot { partition, source })?;
        Ok(self.player(state, bundle, generation.seq, true))
    }

    fn shard(&self) -> Shard {
        Shard { number: self.partition, of: self.log.partitions("raw") }
    }

    fn player(&self, state: PartitionState, bundle: Arc<Bundle>, from: u64, exact: bool) -> Player {
        let pending = pending(&markers(&self.state), from, bundle.epoch());
        let (seen, work) = (Seen::default(), Workspace::default());
        Player { state, bundle, pending, seen, work, from, exact }
    }

    /// A configuration, if it is kept and still loads.
    fn load(&mut self, config: Id) -> Option<Arc<Bundle>> {
        if let Some(known) = self.loaded.get(&config) {
            return Some(known.clone());
        }
        let loaded = bundle(&self.bundles, config).as_deref().and_then(Bundle::decode);
        let loaded = loaded.filter(|bundle| bundle.epoch() == config)?;
        self.loaded.insert(config, loaded.clone());
        Some(loaded)
    }

    /// Puts the configuration in force that a record was routed with.
    fn meet(&mut self, player: &mut Player, seq: u64) -> Result<(), Error> {
        while let Some(marker) = player.pending.pop_front_if(|marker| marker.from <= seq) {
            let Some(new) = self.load(marker.config) else {
                player.exact = false;
                continue;
            };
            let old = std::mem::replace(&mut player.bundle, new.clone());
            player.seen.forget_names();
            let moved = player.state.swap(old.shared(), new.shared(), &mut player.seen);
            let partition = self.partition;
            moved.map_err(|source| Error::Snapshot { partition, source })?;
        }
        Ok(())
    }

    fn route(&mut self, player: &mut Player, record: &RecordRef<'_>) -> Result<Fate, Error> {
        self.meet(player, record.seq)?;
        player.seen.hit = false;
        let place = Place { epoch: self.epoch, partition: self.partition, seq: record.seq };
        let Player { state, bundle, seen, work, .. } = player;
        Ok(state.route(bundle.shared(), place, &self.trial.input(record), work, seen))
    }

    async fn scan(&self, from: u64, head: u64) -> Result<Scan, Error> {
        let mut positions = Vec::new();
        for partition in 0..self.log.partitions("raw") {
            let seq = match partition == self.partition {
                true => from,
                false => self.log.head("raw", partition).await?,
            };
            positions.push(Position { epoch: self.epoch, partition, seq });
        }
        let reader = self.log.reader("raw", "", Start::At(positions)).await?;
        Ok(Scan::of_one(reader, self.partition, head, from >= head))
    }
}

/// Whether a record of topic `raw` is about a device: its message, or an operator's clear.
fn is_message(record: &RecordRef<'_>) -> bool {
    matches!(input(record), Input::Raw(_) | Input::Clear(_))
}

/// The rules of a device before a record.
struct Before<'d> {
    device: &'d str,
    /// `None` if it was not heard.
    standings: Option<Vec<Standing>>,
    rules: Option<DeviceRules>,
}

impl<'d> Before<'d> {
    fn of(player: &Player, device: &'d str) -> Self {
        let (state, shared) = (&player.state, player.bundle.shared());
        let standings = state.standings(shared, device);
        Self { device, standings, rules: state.rules_of(shared, device) }
    }

    /// What each rule made of the record, which the player routed; `cleared` are device and rule of an operator's clear.
    fn compared(self, player: &Player, cleared: Option<(&str, &str)>) -> Vec<RuleTrace> {
        let Self { device, standings, rules } = self;
        let (shared, seen) = (player.bundle.shared(), &player.seen);
        let Some((_, known)) = shared.registry().device(device) else { return Vec::new() };
        let product = shared.registry().product_of(known);
        let sets = seen.heard.get(device).map_or(&[][..], Vec::as_slice);
        let mut judgements = shared.judged(device, rules, sets).into_iter();
        let mut standings = standings.map(Vec::into_iter);
        let windows = &shared.registry().windows;
        let is_stray = !player.state.is_of_here(shared, device);
        let held_by = |after: &Standing| {
            let at = |t| windows.at(known.windows, t).map(|window| window.name.clone());
            after.held_at.map_or_else(Vec::new, |t| at(t).collect())
        };
        let rule = |after: Standing| {
            let before = standings.as_mut().and_then(Iterator::next);
            let mut judgement = judgements.next().unwrap_or_default();
            let by_time =
                || has_moved(before.as_ref(), &after) || said(&seen.outputs, device, &after.rule);
            if is_stray && matches!(judgement.judged, Judged::Sample | Judged::Late) {
                judgement = Judgement { judged: Judged::Stray, ..Judgement::default() };
            }
            if cleared == Some((device, &*after.rule)) {
                judgement.judged = Judged::Operator;
            } else if judgement.judged < Judged::Timer && by_time() {
                judgement.judged = Judged::Timer;
            }
            let spec = product.alarms.iter().find(|alarm| alarm.id == after.rule);
            RuleTrace {
                device: device.to_owned(),
                when: spec.map_or_else(String::new, |alarm| alarm.when.text.clone()),
                looked: judgement.judged != Judged::Nothing,
                judgement,
                before,
                held_by: held_by(&after),
                after,
            }
        };
        let after = player.state.standings(shared, device).unwrap_or_default();
        after.into_iter().map(rule).collect()
    }
}

/// Whether a rule stands elsewhere. A late raise is cleared at once, but leaves its severity behind.
fn has_moved(before: Option<&Standing>, after: &Standing) -> bool {
    let was = before.map_or(Phase::Normal, |before| before.phase);
    let severity = |it: &Standing| (it.phase != Phase::Normal).then_some(it.severity);
    was != after.phase || before.and_then(severity) != severity(after)
}

/// Whether a signal of a rule came out that no late sample gave birth to.
fn said(outputs: &[Output], device: &str, rule: &str) -> bool {
    let of_device = outputs.iter().filter(|it| it.stream == Stream::Signals && it.device == device);
    let signals = of_device.filter_map(|output| signal_from_bytes(&output.value).ok());
    let mut of_rules = signals.filter(|it| it.kind != SignalKind::Event);
    let is_it =
        |key: &str| key.strip_prefix(device).and_then(|key| key.strip_prefix('/')) == Some(rule);
    of_rules.any(|it| is_it(&it.alarm_key) && it.cause != Cause::Late.as_str())
}
