//! From the text of a product file to a checked [`Product`], every problem with its line.

use super::node::{Data, Node, Report, Section, duration, number};
use super::{
    ALARMS_MAX, Access, Attribute, Auth, IdentityKind, Liveness, NodeType, OldPolicy, Product,
    Quota, TimePolicy, TimeSource, UnknownPolicy, load_alarms, load_codec, load_properties,
    rule_vectors, vectors,
};
use crate::codec::Program;
use crate::ids::Hasher;
use crate::problem::Problem;
use crate::record::Millis;

/// The schema this program reads.
const SCHEMA: &str = "yiwang-thing/1";
/// How the file of a product is named after its key.
const SUFFIX: &str = ".thing.yaml";
/// Written into the codec hash: a change of meaning of the decoder itself changes it too.
const DECODER_VERSION: &str = "decoder/2";

/// See [`Product::load`].
pub(super) fn load(file: &str, text: &str) -> (Option<Product>, Vec<Problem>) {
    let mut report = Report::new(file);
    let root = match Node::parse(file, text) {
        Ok(root) => root,
        Err(problem) => return (None, vec![problem]),
    };
    let mut product = read(&mut report, &root, file);
    if !report.has_errors() {
        vectors::run(&mut report, &product, &root);
        product.rule_vectors = rule_vectors::read(&mut report, &product, &root);
    }
    let whole = !report.has_errors();
    (whole.then_some(product), report.problems)
}

fn read(report: &mut Report<'_>, root: &Node, file: &str) -> Product {
    let mut top = Section::open(report, root, "");
    let schema = top.text(report, "schema");
    if schema != SCHEMA && !schema.is_empty() {
        let message = format!("schema `{schema}` is not known");
        report.error("UNKNOWN_SCHEMA", root.line, message, format!("write `schema: {SCHEMA}`"));
    }
    let profile = read_profile(report, &mut top, file);
    let access = read_access(report, &mut top);
    report.takes_native = access.takes_native();
    let properties = load_properties::list(report, &mut top, "properties");
    let events = load_properties::events(report, &mut top);
    let services = load_properties::services(report, &mut top);
    let attributes = read_attributes(report, &mut top);
    let mut codec = load_codec::read(report, &mut top, &properties, &events, &access);
    if !report.takes_native && matches!(codec.program, Program::None) {
        let line = root.entry("access").map_or(root.line, |node| node.line);
        let what = "access.dialects takes raw bodies alone, and there is no codec to read them";
        report.error("NO_CODEC", line, what, "add `codec:`, or another dialect");
    }
    vectors::teach(root, &mut codec);
    let time = read_time(report, &mut top);
    let (strict, unknown) = read_validation(report, &mut top);
    let liveness = read_liveness(report, &mut top);
    let quota = read_quota(report, &mut top);
    let alarms = load_alarms::list(report, &mut top);
    if alarms.len() > ALARMS_MAX {
        report.error(
            "TOO_MANY",
            alarms[ALARMS_MAX].line,
            format!("more than {ALARMS_MAX} alarm rules"),
            "split the product",
        );
    }
    // Read after the product stands, since they run on it; `vendor` is what an import brought along.
    let _ = (top.list(report, "tests"), top.get("vendor"));
    top.finish(report);
    let codec_digest = root.entry("codec").map(Node::digest).unwrap_or_default();
    Product {
        key: profile.key,
        version: profile.version,
        name: profile.name,
        kind: profile.kind,
        node: profile.node,
        owner: profile.owner,
        grade: profile.grade,
        digest: root.digest(),
        codec_hash: Hasher::new().text(DECODER_VERSION).id(codec_digest).finish(),
        access,
        properties,
        events,
        services,
        attributes,
        codec,
        strict,
        unknown,
        time,
        liveness,
        quota,
        alarms,
        // Read once everything they name is known.
        rule_vectors: Vec::new(),
        file: String::from(file),
    }
}

/// Dialects of devices.md 3, and what has none.
const DIALECTS: [&str; 6] = ["native", "raw", "alink", "thingsboard", "huawei", "sparkplugB"];
/// Onboarding lanes of devices.md 6.
const LANES: [&str; 6] = ["A", "B", "B'", "C", "D", "E"];
/// Data grades of security.md 8.
const GRADES: [&str; 4] = ["public", "internal", "sensitive", "secret"];

struct Profile {
    key: Box<str>,
    version: String,
    name: String,
    kind: String,
    node: NodeType,
    owner: String,
    grade: String,
}

fn read_profile(report: &mut Report<'_>, top: &mut Section<'_>, file: &str) -> Profile {
    let mut profile = match top.require(report, "profile") {
        Some(node) => Section::open(report, node, "profile"),
        None => {
            let node = NodeType::Direct;
            let (version, name, kind, owner, grade) = Default::default();
            return Profile { key: "".into(), version, name, kind, node, owner, grade };
        }
    };
    let key = profile.text(report, "productKey");
    let line = profile.line;
    if !is_product_key(&key) && !key.is_empty() {
        let message = format!("profile.productKey `{key}` is no product key");
        report.error("BAD_NAME", line, message, "use 1 to 32 of A-Z a-z 0-9 _ -");
    }
    let name = file.rsplit('/').next().unwrap_or(file);
    if name.strip_suffix(SUFFIX) != Some(key.as_str()) {
        let message = format!("profile.productKey `{key}` is not the name of the file");
        report.error("KEY_MISMATCH", line, message, format!("name the file `{key}{SUFFIX}`"));
    }
    let version = profile.text(report, "version");
    if !is_semver(&version) && !version.is_empty() {
        let message = format!("profile.version `{version}` is no version");
        report.error("BAD_VALUE", line, message, "write major.minor.patch, e.g. 1.0.0");
    }
    let node = profile.read(report, "nodeType", "direct, gateway or sub", |node| {
        Some(match node.scalar()?.as_str() {
            "direct" => NodeType::Direct,
            "gateway" => NodeType::Gateway,
            "sub" => NodeType::Sub,
            _ => return None,
        })
    });
    let grade = profile.read(report, "grade", "public, internal, sensitive or secret", |node| {
        node.scalar().filter(|grade| GRADES.contains(&grade.as_str()))
    });
    let result = Profile {
        name: profile.text(report, "name"),
        kind: profile.text(report, "kind"),
        owner: profile.read(report, "owner", "text", Node::scalar).unwrap_or_default(),
        key: key.into(),
        version,
        node: node.unwrap_or(NodeType::Direct),
        grade: grade.unwrap_or_else(|| String::from("internal")),
    };
    profile.finish(report);
    result
}

/// Whether this may be a product key.
fn is_product_key(key: &str) -> bool {
    (1..=32).contains(&key.len())
        && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

fn is_semver(version: &str) -> bool {
    let parts: Vec<&str> = version.split('.').collect();
    parts.len() == 3
        && parts
            .iter()
            .all(|part| part.parse::<u32>().is_ok_and(|number| number.to_string() == **part))
}

fn read_access(report: &mut Report<'_>, top: &mut Section<'_>) -> Access {
    let mut access = top.section(report, "access");
    let words = |report: &mut Report<'_>, access: &mut Section<'_>, key, known: &[&str]| {
        let path = access.at(key);
        let mut words: Vec<String> = Vec::new();
        for node in access.list(report, key) {
            match node.scalar().filter(|word| known.contains(&word.as_str())) {
                Some(word) => words.push(word),
                None => report.bad(&path, node, &format!("of {}", known.join(", "))),
            }
        }
        words
    };
    let mut auth = Vec::new();
    for node in access.list(report, "auth") {
        match node.scalar().as_deref() {
            Some("secret" | "plain") => auth.push(Auth::Plain),
            Some("signed") => auth.push(Auth::Signed),
            Some("x509") => auth.push(Auth::X509),
            _ => report.bad("access.auth", node, "secret, signed or x509"),
        }
    }
    if auth.is_empty() {
        auth.push(Auth::Signed);
    }
    let mut dialects = words(report, &mut access, "dialects", &DIALECTS);
    if dialects.is_empty() {
        dialects.push(String::from("native"));
    }
    let identity = access.read(report, "identity", "seq, id, content or none", |node| {
        Some(match node.scalar()?.as_str() {
            "seq" => IdentityKind::Sequence,
            "id" => IdentityKind::MessageId,
            "content" => IdentityKind::Content,
            "none" => IdentityKind::None,
            _ => return None,
        })
    });
    let lanes = words(report, &mut access, "lanes", &LANES);
    let sleepy = access.truth(report, "sleepy").unwrap_or(false);
    access.finish(report);
    Access { auth, dialects, identity: identity.unwrap_or(IdentityKind::Sequence), lanes, sleepy }
}

fn read_attributes(report: &mut Report<'_>, top: &mut Section<'_>) -> Vec<Attribute> {
    let mut attributes: Vec<Attribute> = Vec::new();
    for node in top.list(report, "attributes") {
        let mut section = Section::open(report, node, "attributes[]");
        let identifier = load_properties::identifier(report, &mut section);
        if attributes.iter().any(|other| other.identifier == identifier) {
            load_properties::duplicate(report, node.line, "attribute", &identifier);
        }
        let (data, _) = load_properties::data_type(report, &mut section);
        let default = section.read(report, "default", "a number, true or false", attribute_value);
        let _ = section.get("name");
        section.finish(report);
        attributes.push(Attribute { identifier, data, default, line: node.line });
    }
    attributes
}

/// An attribute as a number; booleans are 0 and 1.
pub(crate) fn attribute_value(node: &Node) -> Option<f64> {
    match node.data {
        Data::Bool(truth) => Some(f64::from(u8::from(truth))),
        _ => number(node),
    }
}

fn read_time(report: &mut Report<'_>, top: &mut Section<'_>) -> TimePolicy {
    let mut time = top.section(report, "time");
    let source = time.read(report, "source", "device or server", |node| {
        Some(match node.scalar()?.as_str() {
            "device" => TimeSource::Device,
            "server" => TimeSource::Server,
            _ => return None,
        })
    });
    let old = time.read(report, "old", "late or untrusted", |node| {
        Some(match node.scalar()?.as_str() {
            "late" => OldPolicy::Late,
            "untrusted" => OldPolicy::Untrusted,
            _ => return None,
        })
    });
    let zone = time.read(report, "tz", "an offset such as UTC+8", |node| zone(&node.scalar()?));
    let policy = TimePolicy {
        source: source.unwrap_or(TimeSource::Device),
        clock_skew: time.duration(report, "clockSkew").unwrap_or(600_000),
        late_after: time.duration(report, "lateAfter").unwrap_or(86_400_000),
        old: old.unwrap_or(OldPolicy::Late),
        zone: zone.unwrap_or(8 * 3_600_000),
    };
    time.finish(report);
    policy
}

fn zone(text: &str) -> Option<Millis> {
    let hours: i64 = text.strip_prefix("UTC")?.parse().ok()?;
    (-12..=14).contains(&hours).then_some(hours * 3_600_000)
}

fn read_validation(report: &mut Report<'_>, top: &mut Section<'_>) -> (bool, UnknownPolicy) {
    let mut validation = top.section(report, "validation");
    let strict = validation.read(report, "mode", "lenient or strict", |node| {
        Some(match node.scalar()?.as_str() {
            "lenient" => false,
            "strict" => true,
            _ => return None,
        })
    });
    let unknown = validation.read(report, "unknown", "keep-flagged or drop", |node| {
        Some(match node.scalar()?.as_str() {
            "keep-flagged" => UnknownPolicy::KeepFlagged,
            "drop" => UnknownPolicy::Drop,
            _ => return None,
        })
    });
    validation.finish(report);
    (strict.unwrap_or(false), unknown.unwrap_or(UnknownPolicy::KeepFlagged))
}

fn read_liveness(report: &mut Report<'_>, top: &mut Section<'_>) -> Option<Liveness> {
    let node = top.get("liveness")?;
    let mut section = Section::open(report, node, "liveness");
    let every = section.require(report, "expectEvery").and_then(duration);
    let every = section.read(report, "expectEvery", "a duration above 0", |_| every)?;
    if every <= 0 {
        report.bad("liveness.expectEvery", node, "a duration above 0");
    }
    let multiple = |node: &Node| multiple_of(node, every);
    let expected = "a multiple such as 2x, or a duration";
    let late = section.read(report, "lateAfter", expected, multiple);
    let silent = section.read(report, "silentAfter", expected, multiple);
    let valid_for = section.read(report, "validFor", "a duration, a multiple or forever", |node| {
        match node.scalar().as_deref() {
            Some("forever") => Some((None, false)),
            text => {
                let periods = text.is_some_and(|text| text.ends_with('x'));
                multiple_of(node, every).map(|ms| (Some(ms), periods))
            }
        }
    });
    section.finish(report);
    let late_after = late.unwrap_or(every.saturating_mul(2));
    let silent_after = silent.unwrap_or(every.saturating_mul(6));
    if silent_after <= late_after {
        report.error(
            "BAD_VALUE",
            node.line,
            "liveness.silentAfter is not above liveness.lateAfter",
            "a device is late before it is silent: raise silentAfter",
        );
    }
    let (valid_for, valid_for_periods) = valid_for.unwrap_or((Some(every.saturating_mul(2)), true));
    Some(Liveness { expect_every: every, late_after, silent_after, valid_for, valid_for_periods })
}

fn multiple_of(node: &Node, every: Millis) -> Option<Millis> {
    let text = node.scalar()?;
    match text.strip_suffix('x').map(str::parse::<f64>) {
        Some(Ok(times)) if times > 0.0 && times < 1e6 => Some((every as f64 * times) as Millis),
        Some(_) => None,
        None => duration(node),
    }
}

fn read_quota(report: &mut Report<'_>, top: &mut Section<'_>) -> Quota {
    let mut quota = top.section(report, "quota");
    let rate = quota.read(report, "rate", "messages a time, such as 2/s", |node| {
        rate(&node.scalar()?).map(|per_ms| per_ms * 1_000.0)
    });
    let burst = quota.count(report, "burst");
    let payload = quota.read(report, "maxPayload", "a size up to 256KiB", |node| {
        size(node).filter(|bytes| (1..=256 * 1024).contains(bytes))
    });
    quota.finish(report);
    Quota {
        rate: rate.unwrap_or(10.0),
        burst: burst.unwrap_or(100),
        payload_max: payload.unwrap_or(64 * 1024),
    }
}

/// A rate per ms, e.g. `0.5/min`.
pub(super) fn rate(text: &str) -> Option<f64> {
    let (count, unit) = text.split_once('/')?;
    let unit = match unit.trim() {
        "s" => 1_000.0,
        "m" | "min" => 60_000.0,
        "h" => 3_600_000.0,
        "d" => 86_400_000.0,
        _ => return None,
    };
    let count: f64 = count.trim().parse().ok()?;
    (count.is_finite() && count > 0.0).then_some(count / unit)
}

fn size(node: &Node) -> Option<u32> {
    let text = node.scalar()?;
    let (count, unit) = match text.strip_suffix("KiB") {
        Some(count) => (count, 1_024),
        None => (text.strip_suffix('B').unwrap_or(&text), 1),
    };
    count.trim().parse::<u32>().ok()?.checked_mul(unit)
}
