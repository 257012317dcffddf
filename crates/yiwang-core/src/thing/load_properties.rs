//! Reading `properties`, `events`, `services`: identifiers, types, specs.

use super::load::rate;
use super::node::{Data, Node, Report, Section, duration};
use super::unit::is_ucum;
use super::{
    AccessMode, DataType, EventClass, EventModel, Field, Limits, PROPERTIES_MAX, Property, Service,
    Storage,
};
use crate::codec::json::STRING_BYTES_MAX;
use crate::codec::native::RESERVED;
use crate::record::{AlarmSeverity, Millis};

/// Most fields of a struct.
const FIELDS_MAX: usize = 50;
/// Most items of an array.
const ITEMS_MAX: u32 = 512;
/// How long history is kept unless stated.
const HISTORY: Millis = 365 * 86_400_000;
/// Longest time a service may take.
const TIMEOUT_MAX: Millis = 86_400_000;
/// Units of heights.
const LENGTHS: [&str; 4] = ["m", "dm", "cm", "mm"];

/// A list of properties, of outputs or of arguments.
pub(super) fn list(
    report: &mut Report<'_>,
    section: &mut Section<'_>,
    key: &'static str,
) -> Vec<Property> {
    let mut properties: Vec<Property> = Vec::new();
    let path = format!("{}[]", section.at(key));
    for node in section.list(report, key) {
        let property = property(report, node, &path);
        if properties.iter().any(|other| other.identifier == property.identifier) {
            duplicate(report, node.line, "property", &property.identifier);
        }
        properties.push(property);
    }
    if let Some(first) = properties.get(PROPERTIES_MAX) {
        report.error(
            "TOO_MANY",
            first.line,
            format!("{path}: more than {PROPERTIES_MAX}"),
            "split the product",
        );
        properties.truncate(PROPERTIES_MAX);
    }
    properties
}

/// Two things of one name.
pub(super) fn duplicate(report: &mut Report<'_>, line: u32, what: &str, identifier: &str) {
    report.error(
        "DUPLICATE",
        line,
        format!("{what} `{identifier}` stands twice"),
        "remove one or rename it",
    );
}

/// The identifier of an entry: well formed and, where there are native bodies, not one of their names.
pub(super) fn identifier(report: &mut Report<'_>, section: &mut Section<'_>) -> Box<str> {
    let identifier = section.text(report, "identifier");
    let mut bytes = identifier.bytes();
    let formed = identifier.len() <= 50
        && bytes.next().is_some_and(|b| b.is_ascii_alphabetic())
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if report.takes_native && RESERVED.contains(&identifier.as_str()) {
        report.error(
            "RESERVED_NAME",
            section.line,
            format!("`{identifier}` is a field of the native body"),
            format!("use another name than {}", RESERVED.join(", ")),
        );
    } else if !formed && !identifier.is_empty() {
        report.error(
            "BAD_NAME",
            section.line,
            format!("`{identifier}` is no identifier"),
            "begin with a letter, go on with letters, digits and _, at most 50",
        );
    }
    identifier.into()
}

fn property(report: &mut Report<'_>, node: &Node, path: &str) -> Property {
    let mut section = Section::open(report, node, path);
    let identifier = identifier(report, &mut section);
    if !identifier.is_empty() {
        section.path = format!("{path} `{identifier}`");
    }
    let name = section.read(report, "name", "text", Node::scalar);
    let access = section.read(report, "accessMode", "r, rw or w", |node| {
        Some(match node.scalar()?.as_str() {
            "r" => AccessMode::Read,
            "rw" => AccessMode::ReadWrite,
            "w" => AccessMode::Write,
            _ => return None,
        })
    });
    let required = section.truth(report, "required").unwrap_or(false);
    let (data, specs) = data_type(report, &mut section);
    let mut quality = section.section(report, "quality");
    let max_rate = quality
        .read(report, "maxRate", "a change a time, such as 0.5/min", |node| rate(&node.scalar()?));
    let stuck_after = quality.duration(report, "stuckAfter");
    quality.finish(report);
    let storage = storage(report, &mut section);
    // The name of earlier versions: old rows are read through it.
    let _ = section.get("renamedFrom");
    section.finish(report);
    Property {
        name: name.map_or_else(|| identifier.clone(), Into::into),
        identifier,
        access: access.unwrap_or(AccessMode::Read),
        required,
        data,
        limits: specs.limits,
        unit: specs.unit,
        datum: specs.datum,
        max_rate,
        stuck_after,
        storage,
        line: node.line,
    }
}

fn storage(report: &mut Report<'_>, section: &mut Section<'_>) -> Storage {
    let mut storage = section.section(report, "storage");
    let latest = storage.truth(report, "latest").unwrap_or(true);
    let history = storage.duration(report, "history").unwrap_or(HISTORY);
    let path = storage.at("rollup");
    let mut rollup = Vec::new();
    for node in storage.list(report, "rollup") {
        match duration(node) {
            Some(width) => rollup.push(width),
            None => report.bad(&path, node, "a list of durations"),
        }
    }
    storage.finish(report);
    Storage { latest, history, rollup }
}

/// What `specs` says beside the type.
#[derive(Default)]
pub(super) struct Specs {
    limits: Limits,
    unit: Option<Box<str>>,
    datum: Option<Box<str>>,
}

/// `dataType` of an entry.
pub(super) fn data_type(report: &mut Report<'_>, section: &mut Section<'_>) -> (DataType, Specs) {
    match section.require(report, "dataType") {
        Some(node) => {
            let path = section.at("dataType");
            read_type(report, node, &path, Nesting::Free)
        }
        None => (DataType::Double, Specs::default()),
    }
}

/// What may stand inside of what.
#[derive(Clone, Copy, PartialEq)]
enum Nesting {
    Free,
    /// Somewhere inside of a struct.
    InStruct,
    /// Somewhere inside of an array.
    InArray,
}

fn read_type(
    report: &mut Report<'_>,
    node: &Node,
    path: &str,
    nesting: Nesting,
) -> (DataType, Specs) {
    let mut section = Section::open(report, node, path);
    let word = section.text(report, "type");
    // A struct's specs are the list of its fields.
    if word == "struct" {
        let fields = fields(report, &mut section, path, nesting);
        section.finish(report);
        return (DataType::Struct(fields), Specs::default());
    }
    let mut specs = section.section(report, "specs");
    let data = match word.as_str() {
        "bool" => DataType::Bool,
        "int" => DataType::Int,
        "float" => DataType::Float,
        "double" => DataType::Double,
        "enum" => DataType::Enum(words(report, &mut specs, node.line)),
        "text" => DataType::Text { bytes_max: text_size(report, &mut specs) },
        "date" => DataType::Date,
        "array" => array(report, &mut specs, path, nesting, node.line),
        other => {
            if !other.is_empty() {
                report.error(
                    "UNKNOWN_TYPE",
                    node.line,
                    format!("{path}: `{other}` is no type"),
                    "write bool, int, float, double, enum, text, date, struct or array",
                );
            }
            DataType::Double
        }
    };
    let result = bounds(report, &mut specs);
    specs.finish(report);
    section.finish(report);
    (data, result)
}

fn bounds(report: &mut Report<'_>, specs: &mut Section<'_>) -> Specs {
    let free = Limits::default();
    let limits = Limits {
        min: specs.number(report, "min").unwrap_or(free.min),
        max: specs.number(report, "max").unwrap_or(free.max),
        step: specs.number(report, "step").unwrap_or(free.step),
    };
    if limits.min > limits.max || limits.step < 0.0 {
        let message = format!("{}: min is above max, or step below 0", specs.path);
        report.error("BAD_VALUE", specs.line, message, "correct the bounds");
    }
    let unit = specs.read(report, "unit", "text", Node::scalar);
    if let Some(code) = unit.as_deref().filter(|code| !is_ucum(code)) {
        report.error(
            "BAD_UNIT",
            specs.line,
            format!("{}: `{code}` is no UCUM unit", specs.path),
            "write its UCUM code, e.g. m, Cel, ug/m3, or `{text}` for what has none",
        );
    }
    let datum = specs.read(report, "datum", "text", Node::scalar);
    let is_length = unit.as_deref().is_some_and(|unit| LENGTHS.contains(&unit));
    if datum.is_some() && !is_length {
        let message = format!("{}: a datum is where heights are counted from", specs.path);
        report.error(
            "BAD_DATUM",
            specs.line,
            message,
            "give a unit of length, e.g. m, or no datum",
        );
    }
    Specs { limits, unit: unit.map(Into::into), datum: datum.map(Into::into) }
}

fn words(report: &mut Report<'_>, specs: &mut Section<'_>, line: u32) -> Vec<Box<str>> {
    let path = specs.at("values");
    let mut words: Vec<Box<str>> = Vec::new();
    for node in specs.list(report, "values") {
        match node.scalar() {
            Some(word) if words.iter().any(|other| **other == *word) => {
                duplicate(report, node.line, "enum value", &word);
            }
            Some(word) => words.push(word.into()),
            None => report.bad(&path, node, "a list of words"),
        }
    }
    if words.is_empty() || words.len() > usize::from(u16::MAX) {
        report.error(
            "BAD_VALUE",
            line,
            format!("{path}: an enum needs at least one value"),
            "add `specs: {values: [...]}`",
        );
    }
    words
}

fn text_size(report: &mut Report<'_>, specs: &mut Section<'_>) -> u32 {
    let size = specs.count(report, "size");
    if size.is_some_and(|size| size as usize > STRING_BYTES_MAX) {
        let message = format!("{}: more than 8192 bytes of text", specs.at("size"));
        report.error("BAD_VALUE", specs.line, message, "use at most 8192");
    }
    size.unwrap_or(STRING_BYTES_MAX as u32)
}

fn array(
    report: &mut Report<'_>,
    specs: &mut Section<'_>,
    path: &str,
    nesting: Nesting,
    line: u32,
) -> DataType {
    if nesting == Nesting::InArray {
        report.error("NESTED_TYPE", line, format!("{path}: array in array"), "use one array");
        let _ = (specs.get("item"), specs.get("size"));
        return DataType::Array { item: Box::new(DataType::Double), items_max: ITEMS_MAX };
    }
    let inside = if nesting == Nesting::Free { Nesting::InArray } else { nesting };
    let item = match specs.require(report, "item") {
        Some(node) => read_type(report, node, &specs.at("item"), inside).0,
        None => DataType::Double,
    };
    let size = specs.count(report, "size").unwrap_or(ITEMS_MAX);
    if size > ITEMS_MAX {
        let message = format!("{}: more than {ITEMS_MAX} items", specs.at("size"));
        report.error("BAD_VALUE", line, message, format!("use at most {ITEMS_MAX}"));
    }
    DataType::Array { item: Box::new(item), items_max: size }
}

fn fields(
    report: &mut Report<'_>,
    section: &mut Section<'_>,
    path: &str,
    nesting: Nesting,
) -> Vec<Field> {
    let mut fields: Vec<Field> = Vec::new();
    if nesting == Nesting::InStruct {
        let message = format!("{path}: struct in struct");
        report.error("NESTED_TYPE", section.line, message, "flatten it");
        let _ = section.get("specs");
        return fields;
    }
    for node in section.list(report, "specs") {
        let mut field = Section::open(report, node, &format!("{path}.specs[]"));
        let identifier = field.text(report, "identifier").into_boxed_str();
        if fields.iter().any(|other| other.identifier == identifier) {
            duplicate(report, node.line, "field", &identifier);
        }
        let data = match field.require(report, "dataType") {
            Some(node) => read_type(report, node, &field.at("dataType"), Nesting::InStruct).0,
            None => DataType::Double,
        };
        let _ = field.get("name");
        field.finish(report);
        fields.push(Field { identifier, data });
    }
    if fields.is_empty() || fields.len() > FIELDS_MAX {
        let message = format!("{path}: a struct has 1 to {FIELDS_MAX} fields");
        report.error("BAD_VALUE", section.line, message, "list its fields under `specs:`");
        fields.truncate(FIELDS_MAX);
    }
    fields
}

/// `events` of a product.
pub(super) fn events(report: &mut Report<'_>, top: &mut Section<'_>) -> Vec<EventModel> {
    let mut events: Vec<EventModel> = Vec::new();
    for node in top.list(report, "events") {
        let event = event(report, node);
        if events.iter().any(|other| other.identifier == event.identifier) {
            duplicate(report, node.line, "event", &event.identifier);
        }
        events.push(event);
    }
    events.truncate(PROPERTIES_MAX);
    events
}

fn event(report: &mut Report<'_>, node: &Node) -> EventModel {
    let mut section = Section::open(report, node, "events[]");
    let identifier = identifier(report, &mut section);
    let class = section.read(report, "type", "info, alert or error", |node| {
        Some(match node.scalar()?.as_str() {
            "info" => EventClass::Info,
            "alert" => EventClass::Alert,
            "error" => EventClass::Error,
            _ => return None,
        })
    });
    let class = class.unwrap_or(EventClass::Info);
    let category = section.read(report, "category", "a category code", Node::scalar);
    if class != EventClass::Info && category.is_none() {
        report.error(
            "MISSING_KEY",
            node.line,
            format!("event `{identifier}` becomes a signal but has no category"),
            "add `category:`",
        );
    }
    let usual = match class {
        EventClass::Info => AlarmSeverity::Info,
        EventClass::Alert => AlarmSeverity::Major,
        EventClass::Error => AlarmSeverity::Minor,
    };
    let severity = section.read(report, "severity", "INFO, MINOR, MAJOR or CRITICAL", |node| {
        AlarmSeverity::parse(&node.scalar()?)
    });
    let name = section.read(report, "name", "text", Node::scalar);
    let outputs = list(report, &mut section, "outputData");
    section.finish(report);
    EventModel {
        name: name.map_or_else(|| identifier.clone(), Into::into),
        identifier,
        class,
        category: category.map(Into::into),
        severity: severity.unwrap_or(usual),
        outputs,
        line: node.line,
    }
}

/// `services` of a product.
pub(super) fn services(report: &mut Report<'_>, top: &mut Section<'_>) -> Vec<Service> {
    let mut services: Vec<Service> = Vec::new();
    for node in top.list(report, "services") {
        let mut section = Section::open(report, node, "services[]");
        let identifier = identifier(report, &mut section);
        if services.iter().any(|other| other.identifier == identifier) {
            duplicate(report, node.line, "service", &identifier);
        }
        let sync = section.read(report, "callType", "async or sync", |node| match &node.data {
            Data::Text(word) if word == "sync" => Some(true),
            Data::Text(word) if word == "async" => Some(false),
            _ => None,
        });
        let timeout = section.duration(report, "timeout").unwrap_or(30_000);
        if timeout > TIMEOUT_MAX {
            let message = format!("service `{identifier}`: timeout above 24h");
            report.error("BAD_VALUE", node.line, message, "use at most 24h");
        }
        let dangerous = section.truth(report, "dangerous").unwrap_or(false);
        let inputs = list(report, &mut section, "inputData");
        let outputs = list(report, &mut section, "outputData");
        let _ = section.get("name");
        section.finish(report);
        let sync = sync.unwrap_or(false);
        services.push(Service { identifier, sync, timeout, dangerous, inputs, outputs });
    }
    services
}
