//! `routes.yaml`: from text to a compiled table, with everything that it names looked up. A district without the file
//! forwards nothing.

use std::sync::Arc;

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::{Route, Routes, Stream, Topic};
use crate::category::is_below;
use crate::district::District;
use crate::district::files::{self, At, FileSet, Findings, ROUTES};
use crate::problem::Problem;
use crate::record::{AlarmSeverity, QuarantineReason};
use crate::thing::Product;

/// Most topics that routes forward to: each has as many partitions as the hub's own.
pub const TOPICS_MAX: usize = 64;
/// Most routes.
pub const ROUTES_MAX: usize = 256;
/// Most bytes of a name.
const NAME_BYTES_MAX: usize = 64;
/// The hub's own topics, which no route may write.
pub const OWN_TOPICS: [&str; 8] =
    ["raw", "readings", "signals", "lifecycle", "quarantine", "incidents", "commands", "state"];

type Text = Spanned<String>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    #[serde(default)]
    topics: Vec<RawTopic>,
    #[serde(default)]
    routes: Vec<RawRoute>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTopic {
    name: Text,
    of: Text,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRoute {
    name: Text,
    of: Text,
    #[serde(default)]
    product: Vec<Text>,
    #[serde(default)]
    area: Vec<Text>,
    #[serde(default)]
    category: Vec<Text>,
    severity: Option<Text>,
    #[serde(default)]
    reason: Vec<Text>,
    to: Vec<Text>,
    instead: Option<Spanned<bool>>,
}

impl Routes {
    /// Reads the routes of a district; every problem with its line, `None` on any error.
    #[must_use]
    pub fn load(
        files: &FileSet,
        district: &District,
        products: &[Arc<Product>],
    ) -> (Option<Self>, Vec<Problem>) {
        if !files.contains_key(ROUTES) {
            return (Some(Self::default()), Vec::new());
        }
        let mut reader = Reader { district, products, found: Findings::default() };
        let raw = files::yaml::<RawFile>(files, ROUTES, &mut reader.found);
        let routes = raw.map(|raw| reader.table(&raw));
        let found = reader.found;
        (routes.filter(|_| !found.has_errors()), found.problems)
    }

    /// The topics that the file lists, as far as they can be used: what a log is opened with before anything is checked.
    #[must_use]
    pub fn topics_of(files: &FileSet) -> Vec<Topic> {
        let mut unheard = Findings::default();
        let raw = files.get(ROUTES).and_then(|text| serde_saphyr::from_str::<RawFile>(text).ok());
        raw.map_or_else(Vec::new, |raw| topics(&raw, &mut unheard))
    }
}

/// The listed topics; what is wrong with one leaves it out.
fn topics(raw: &RawFile, found: &mut Findings) -> Vec<Topic> {
    let mut topics: Vec<Topic> = Vec::new();
    for RawTopic { name, of } in &raw.topics {
        let at = at(name);
        let Some(stream) = stream(of, found) else { continue };
        if !name_is_fine(name, found) {
            continue;
        }
        if OWN_TOPICS.contains(&name.value.as_str()) {
            let message = format!("topic {} is the hub's own", name.value);
            found.error(at, "TOPIC_RESERVED", message, "choose another name");
        } else if topics.iter().any(|topic| *topic.name == *name.value) {
            let message = format!("topic {} stands above already", name.value);
            found.error(at, "ID_DUPLICATE", message, "remove one of the two");
        } else if topics.len() == TOPICS_MAX {
            let message = format!("more than {TOPICS_MAX} topics");
            found.error(at, "LIMIT", message, "let routes share topics");
            break;
        } else {
            topics.push(Topic { name: name.value.as_str().into(), stream });
        }
    }
    topics
}

fn stream(word: &Text, found: &mut Findings) -> Option<Stream> {
    let stream = Stream::parse(&word.value);
    if stream.is_none() {
        let message = format!("no such stream: {}", word.value);
        found.error(at(word), "WORD_UNKNOWN", message, "write readings, signals or quarantine");
    }
    stream
}

/// Names are those of topics and labels of counters.
fn name_is_fine(name: &Text, found: &mut Findings) -> bool {
    let text = &name.value;
    let fine = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b".-".contains(&c);
    let starts = text.starts_with(|c: char| c.is_ascii_lowercase());
    let is_fine = starts && text.len() <= NAME_BYTES_MAX && text.bytes().all(fine);
    if !is_fine {
        let message = format!("`{text}` is not a name");
        let remedy = "begin with a letter; write a-z, 0-9, dot and dash, at most 64 of them";
        found.error(at(name), "NAME_INVALID", message, remedy);
    }
    is_fine
}

fn at<T>(value: &Spanned<T>) -> At {
    files::at(ROUTES, value)
}

struct Reader<'a> {
    district: &'a District,
    products: &'a [Arc<Product>],
    found: Findings,
}

impl Reader<'_> {
    fn table(&mut self, raw: &RawFile) -> Routes {
        let mut table = Routes { topics: topics(raw, &mut self.found), ..Routes::default() };
        for raw in &raw.routes {
            let at = at(&raw.name);
            if table.routes.len() == ROUTES_MAX {
                let message = format!("more than {ROUTES_MAX} routes");
                self.found.error(at, "LIMIT", message, "join routes that go to the same topics");
                break;
            }
            if table.routes.iter().any(|route| *route.name == *raw.name.value) {
                let message = format!("route {} stands above already", raw.name.value);
                self.found.error(at, "ID_DUPLICATE", message, "rename one of the two");
            }
            name_is_fine(&raw.name, &mut self.found);
            let Some(stream) = stream(&raw.of, &mut self.found) else { continue };
            let route = self.route(raw, stream, &table.topics);
            // At most ROUTES_MAX of them, so the number fits.
            table.of[stream as usize].push(table.routes.len() as u16);
            table.routes.push(route);
        }
        self.name_unused(raw);
        table
    }

    fn route(&mut self, raw: &RawRoute, stream: Stream, topics: &[Topic]) -> Route {
        self.place_conditions(raw, stream);
        let mut products: Vec<Arc<str>> = Vec::new();
        for key in &raw.product {
            if !self.products.iter().any(|product| *product.key == *key.value) {
                let message = format!("no product {} is loaded", key.value);
                self.found.error(at(key), "PRODUCT_UNKNOWN", message, "use a productKey");
            }
            products.push(key.value.as_str().into());
        }
        products.sort_unstable();
        let mut areas = Vec::new();
        for area in &raw.area {
            match self.district.unit(&area.value).filter(|unit| unit.tier().is_some()) {
                Some(unit) => areas.push(unit.id.clone()),
                None => {
                    let message = format!("{} is no unit of the tree", area.value);
                    self.found.error(at(area), "UNKNOWN_UNIT", message, "name a unit of units.tsv");
                }
            }
        }
        Route {
            name: raw.name.value.as_str().into(),
            products,
            areas,
            categories: (!raw.category.is_empty()).then(|| self.categories(&raw.category)),
            severity: raw.severity.as_ref().and_then(|word| self.severity(word)),
            reasons: raw.reason.iter().filter_map(|word| self.reason(word)).collect(),
            to: self.to(raw, stream, topics),
            instead: raw.instead.as_ref().is_some_and(|it| it.value),
        }
    }

    /// A condition that a stream cannot answer would choose nothing, silently.
    fn place_conditions(&mut self, raw: &RawRoute, stream: Stream) {
        let of_signals = raw.category.first().or(raw.severity.as_ref());
        if let Some(word) = of_signals.filter(|_| stream != Stream::Signals) {
            let message = format!("{} have neither category nor severity", stream.as_str());
            let remedy = "remove the condition, or make it a route of signals";
            self.found.error(at(word), "CONDITION_MISPLACED", message, remedy);
        }
        if let Some(word) = raw.reason.first().filter(|_| stream != Stream::Quarantine) {
            let message = format!("{} have no reason", stream.as_str());
            let remedy = "remove the condition, or make it a route of quarantine";
            self.found.error(at(word), "CONDITION_MISPLACED", message, remedy);
        }
        if let Some(instead) = raw.instead.as_ref().filter(|it| it.value) {
            let why = match stream {
                Stream::Readings => return,
                Stream::Signals => "every signal reaches the centre",
                Stream::Quarantine => "every quarantine row is kept to be replayed",
            };
            self.found.error(at(instead), "INSTEAD_REFUSED", why, "remove instead");
        }
    }

    fn categories(&mut self, prefixes: &[Text]) -> Vec<Arc<str>> {
        let list = self.district.categories();
        let mut codes: Vec<Arc<str>> = Vec::new();
        for prefix in prefixes {
            if !list.has_prefix(&prefix.value) {
                let message = format!("category {} is not in the list", prefix.value);
                let remedy = "name a category or group of categories.yaml";
                self.found.error(at(prefix), "CATEGORY_UNKNOWN", message, remedy);
            }
            let all = list.all().iter().map(|it| it.code.clone());
            codes.extend(all.filter(|code| is_below(code, &prefix.value)));
        }
        codes.sort_unstable();
        codes.dedup();
        codes
    }

    fn severity(&mut self, word: &Text) -> Option<AlarmSeverity> {
        let severity = AlarmSeverity::parse(&word.value);
        if severity.is_none() {
            let message = format!("no such severity: {}", word.value);
            let remedy = "write INFO, MINOR, MAJOR or CRITICAL: the least one meant";
            self.found.error(at(word), "WORD_UNKNOWN", message, remedy);
        }
        severity
    }

    fn reason(&mut self, word: &Text) -> Option<QuarantineReason> {
        let reason = QuarantineReason::parse(&word.value);
        if reason.is_none() {
            let message = format!("no such reason: {}", word.value);
            let remedy = "write a reason of quarantine, e.g. UNKNOWN_DEVICE";
            self.found.error(at(word), "WORD_UNKNOWN", message, remedy);
        }
        reason
    }

    fn to(&mut self, raw: &RawRoute, stream: Stream, topics: &[Topic]) -> Vec<u16> {
        if raw.to.is_empty() {
            let message = format!("route {} goes nowhere", raw.name.value);
            self.found.error(at(&raw.name), "TO_EMPTY", message, "name a topic");
        }
        let mut to = Vec::new();
        for name in &raw.to {
            match topics.iter().position(|topic| *topic.name == *name.value) {
                Some(number) if topics[number].stream == stream => to.push(number as u16),
                Some(number) => {
                    let carries = topics[number].stream.as_str();
                    let message = format!("topic {} carries {carries}", name.value);
                    let remedy = "give each stream a topic of its own";
                    self.found.error(at(name), "STREAMS_MIXED", message, remedy);
                }
                None => {
                    let message = format!("topic {} is not listed", name.value);
                    self.found.error(at(name), "TOPIC_UNKNOWN", message, "add it under topics");
                }
            }
        }
        to
    }

    fn name_unused(&mut self, raw: &RawFile) {
        for topic in &raw.topics {
            let name = &topic.name.value;
            if !raw.routes.iter().any(|route| route.to.iter().any(|to| to.value == *name)) {
                let message = format!("no route goes to topic {name}");
                self.found.warning(at(&topic.name), "TOPIC_UNUSED", message, "remove it");
            }
        }
    }
}
