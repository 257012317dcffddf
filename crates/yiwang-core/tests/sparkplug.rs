//! Sparkplug B: every vector of the shared file, and whole messages into the samples of a product.
#![expect(clippy::unwrap_used, reason = "a vector that cannot be read is a failing test")]

use serde_json::{Value as Json, json};
use yiwang_core::codec::sparkplug::{
    Carried, Datatype, MessageType, Metric, Payload, Refused, Session, Standing, Topic, host_state,
    rebirth_request,
};
use yiwang_core::codec::{Message, Received, Scratch};
use yiwang_core::record::{BodyKind, QuarantineReason};
use yiwang_core::sample::{PropertyRef, Samples};
use yiwang_core::thing::Product;

const VECTORS: &str = include_str!("data/protocol_vectors.json");
const PROTOCOL: &str = "sparkplugB-3.0";

const PRODUCT: &str = r#"
schema: yiwang-thing/1
profile: {productKey: spb-1, name: test, version: 1.0.0, kind: test/sparkplug}
access: {identity: seq}
codec: {kind: sparkplugB, map: {door: {metric: doorOpen}, core: {metric: "cpu/Temp", scale: 0.1}, mode: {enum: {A: auto}}}}
properties:
  - {identifier: level, required: true, dataType: {type: double, specs: {min: -2, max: 12}}}
  - {identifier: temp, dataType: {type: int}}
  - {identifier: door, dataType: {type: bool}}
  - {identifier: core, dataType: {type: double}}
  - {identifier: mode, dataType: {type: enum, specs: {values: [auto, manual]}}}
  - {identifier: note, dataType: {type: text}}
  - {identifier: at, dataType: {type: date}}
  - {identifier: list, dataType: {type: array, specs: {item: {type: int}, size: 3}}}
time: {old: untrusted}
tests:
  - {topic: spBv1.0/g/NBIRTH/e, hex: "1209086308ff", expect: {quarantined: CODEC}}
"#;

fn product() -> Product {
    let (product, problems) = Product::load("spb-1.thing.yaml", PRODUCT);
    product.unwrap_or_else(|| panic!("{problems:#?}"))
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

/// Field by field, as a device writes it.
#[derive(Default)]
struct Proto(Vec<u8>);

impl Proto {
    fn raw(mut self, mut value: u64) -> Self {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
        self
    }

    fn varint(self, number: u64, value: u64) -> Self {
        self.raw(number << 3).raw(value)
    }

    fn bytes(mut self, number: u64, bytes: &[u8]) -> Self {
        self = self.raw(number << 3 | 2).raw(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    fn double(mut self, number: u64, value: f64) -> Self {
        self.0.push((number << 3 | 1) as u8);
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    fn metric(self, metric: Self) -> Self {
        self.bytes(2, &metric.0)
    }
}

fn metric(name: &str, datatype: u64) -> Proto {
    Proto::default().bytes(1, name.as_bytes()).varint(4, datatype)
}

/// What the router does with a message, up to its values.
fn read(
    session: &mut Session,
    product: &Product,
    topic: &str,
    payload: &[u8],
) -> Result<(Standing, Samples), QuarantineReason> {
    let reason = |refused| match refused {
        Refused::Schema(_) => QuarantineReason::Schema,
        Refused::Broken(_) | Refused::Unknown(_) => QuarantineReason::Codec,
    };
    let parsed = Topic::parse(topic).unwrap();
    let envelope = Payload::read(payload).map_err(|_| QuarantineReason::Codec)?;
    let standing = session.observe(&parsed, &envelope, 0).map_err(reason)?;
    if parsed.kind.is_birth() {
        session.learn(&parsed, &envelope).map_err(reason)?;
    }
    let mut samples = Samples::default();
    let message = Message {
        kind: BodyKind::Raw,
        path: topic,
        payload,
        received: Received::At(1_795_415_500_000),
    };
    product
        .decode_in(Some(session), &message, &mut Scratch::default(), &mut samples)
        .map_err(|fault| fault.reason)?;
    Ok((standing, samples))
}

/// The session in which a vector stands: a birth of the node, and one of the device where it names one.
fn session_of(vector: &Json, product: &Product) -> Session {
    let mut session = Session::default();
    let Some(births) = vector.get("births") else { return session };
    let topic = Topic::parse(vector["topic"].as_str().unwrap()).unwrap();
    let seq = vector.get("lastSeq").map_or_else(
        || vector["expect"]["seq"].as_u64().map_or(0, |seq| (seq + 255) % 256),
        |last| last.as_u64().unwrap(),
    );
    let metrics = |mut birth: Proto| {
        for (alias, told) in births.as_object().unwrap() {
            let name = told["type"].as_str().unwrap();
            let datatype = (0..=34).find(|number| Datatype(*number).as_str() == name).unwrap();
            let one = metric(told["name"].as_str().unwrap(), u64::from(datatype));
            birth = birth.metric(one.varint(2, alias.parse().unwrap()).varint(7, 1));
        }
        birth
    };
    let node = Proto::default().varint(1, 1).metric(metric("bdSeq", 4).varint(11, 0));
    let mut births = Vec::new();
    if topic.device.is_empty() {
        births.push((format!("spBv1.0/{}/NBIRTH/{}", topic.group, topic.edge), metrics(node), seq));
    } else {
        births.push((
            format!("spBv1.0/{}/NBIRTH/{}", topic.group, topic.edge),
            node,
            seq.max(1) - 1,
        ));
        let device = format!("spBv1.0/{}/DBIRTH/{}/{}", topic.group, topic.edge, topic.device);
        births.push((device, metrics(Proto::default().varint(1, 2)), seq.max(1)));
    }
    for (topic, birth, seq) in births {
        read(&mut session, product, &topic, &birth.varint(3, seq).0).unwrap();
    }
    session
}

fn value(metric: &Metric<'_>, datatype: Datatype) -> Json {
    match metric.carried {
        _ if metric.null => Json::Null,
        Carried::Float(value) => json!(value),
        Carried::Double(value) => json!(value),
        Carried::Bool(value) => json!(value),
        Carried::Text(value) => json!(value),
        carried => json!(i64::try_from(datatype.whole(carried).unwrap()).unwrap()),
    }
}

/// A message in the words of the vectors.
fn words(session: &Session, topic: &Topic<'_>, payload: &Payload<'_>, gap: Option<bool>) -> Json {
    let mut words = json!({"kind": topic.kind.as_str(), "group": topic.group, "edge": topic.edge});
    let mut metrics = Vec::new();
    for metric in payload.metrics() {
        let metric = metric.unwrap();
        let (name, datatype) = session.name_of(topic.device, &metric).unwrap();
        let datatype = datatype.unwrap();
        let value = value(&metric, datatype);
        if name == "bdSeq" {
            words["bdSeq"] = value.clone();
        }
        let mut one = json!({"name": name, "type": datatype.as_str(), "value": value});
        one["timestamp"] = json!(metric.timestamp);
        if let Some(alias) = metric.alias {
            one["alias"] = json!(alias);
        }
        if metric.historical {
            one["historical"] = json!(true);
        }
        metrics.push(one);
    }
    words["metrics"] = json!(metrics);
    words["timestamp"] = json!(payload.timestamp);
    if let Some(seq) = payload.seq {
        words["seq"] = json!(seq);
    }
    if !topic.device.is_empty() {
        words["device"] = json!(topic.device);
    }
    if let Some(gap) = gap {
        words["gap"] = json!(gap);
    }
    words
}

/// Numbers as doubles, so that 0 and 0.0 are one.
fn plain(json: &Json) -> Json {
    match json {
        Json::Number(number) => json!(number.as_f64()),
        Json::Array(items) => items.iter().map(plain).collect(),
        Json::Object(members) => {
            members.iter().map(|(name, value)| (name.clone(), plain(value))).collect()
        }
        other => other.clone(),
    }
}

fn check(vector: &Json, product: &Product) {
    let name = vector["name"].as_str().unwrap();
    let topic = vector["topic"].as_str().unwrap();
    let expected = &vector["expect"];
    if let Some(text) = vector.get("text") {
        let (host, state) = host_state(topic, text.as_str().unwrap().as_bytes()).unwrap();
        let words = json!({"kind": "STATE", "host": host, "online": state.online,
            "timestamp": state.timestamp});
        assert_eq!(plain(&words), plain(expected), "{name}");
        return;
    }
    let bytes = hex(vector["hex"].as_str().unwrap());
    let mut session = session_of(vector, product);
    let result = read(&mut session, product, topic, &bytes);
    if let Some(reason) = vector.get("error") {
        let reason = QuarantineReason::parse(reason.as_str().unwrap()).unwrap();
        assert_eq!(result.unwrap_err(), reason, "{name}");
        return;
    }
    let (standing, _) = result.unwrap_or_else(|reason| panic!("{name}: {reason:?}"));
    let gap = match standing {
        Standing::Counted { gap, .. } => expected.get("gap").map(|_| gap),
        _ => None,
    };
    let parsed = Topic::parse(topic).unwrap();
    let payload = Payload::read(&bytes).unwrap();
    assert_eq!(plain(&words(&session, &parsed, &payload, gap)), plain(expected), "{name}");
    if parsed.kind == MessageType::NodeCommand {
        assert_eq!(rebirth_request(payload.timestamp.unwrap()), bytes, "{name}");
    }
}

#[test]
fn every_vector_of_the_shared_file() {
    let vectors: Vec<Json> = serde_json::from_str(VECTORS).unwrap();
    let product = product();
    let own: Vec<&Json> = vectors.iter().filter(|v| v["protocol"] == PROTOCOL).collect();
    own.iter().for_each(|vector| check(vector, &product));
    assert_eq!(own.len(), 12);
}

/// Every set as its time, flags and `name=value quality flags`.
fn sets(product: &Product, samples: &Samples) -> Vec<String> {
    let set = |set: &yiwang_core::sample::SampleSet| {
        let values = samples.values_of(set).iter().map(|sampled| {
            let name = match sampled.property {
                PropertyRef::Known(at) => &*product.properties[usize::from(at)].identifier,
                PropertyRef::Unknown(span) => samples.text_at(span),
            };
            let value = match sampled.value {
                yiwang_core::sample::Value::Json(span) | yiwang_core::sample::Value::Text(span) => {
                    samples.text_at(span).to_owned()
                }
                other => format!("{other:?}"),
            };
            let flags: String = sampled.flags.names().map(|name| format!(" {name}")).collect();
            format!("{name}={value} {:?}{flags}", sampled.quality)
        });
        let flags: Vec<_> = set.flags.names().collect();
        format!("{} {flags:?} {:?}", set.t, values.collect::<Vec<_>>())
    };
    samples.sets.iter().map(set).collect()
}

const T: u64 = 1_795_415_490_000;
const DATA: &str = "spBv1.0/g/DDATA/e/d";

fn born(product: &Product) -> Session {
    let mut session = Session::default();
    let node = Proto::default().varint(1, T).metric(metric("bdSeq", 4).varint(11, 3)).varint(3, 0);
    read(&mut session, product, "spBv1.0/g/NBIRTH/e", &node.0).unwrap();
    let device = Proto::default()
        .varint(1, T)
        .metric(metric("level", 10).varint(2, 1).double(13, 1.0))
        .metric(metric("cpu/Temp", 2).varint(2, 2).varint(10, 415))
        .metric(metric("mode", 12).varint(2, 3).bytes(15, b"A"))
        .metric(metric("list", 22).varint(2, 4).bytes(16, &[1, 0xff]))
        .metric(metric("Device Control/Reboot", 11).varint(14, 0))
        .varint(3, 1);
    let (standing, samples) =
        read(&mut session, product, "spBv1.0/g/DBIRTH/e/d", &device.0).unwrap();
    assert_eq!(standing, Standing::Counted { boot: 3, seq: 1, gap: false });
    let expected = format!(
        "{T} [] [\"level=Float(1.0) Good\", \"core=Float(41.5) Good\", \"mode=Enum(0) Good\", \
         \"list=[1,-1] Good\"]"
    );
    assert_eq!(sets(product, &samples), [expected]);
    session
}

#[test]
fn a_message_of_many_times() {
    let product = product();
    let mut session = born(&product);
    let old = T - 3 * 86_400_000;
    let data = Proto::default()
        .varint(1, T)
        .metric(Proto::default().varint(2, 1).double(13, 2.0))
        .metric(Proto::default().varint(2, 2).varint(3, T).varint(10, 0xffff_ff9c))
        .metric(Proto::default().varint(2, 1).varint(3, old).varint(5, 1).double(13, 3.0))
        .metric(Proto::default().varint(2, 3).varint(7, 1))
        .metric(metric("note", 12).varint(6, 1).bytes(15, b"not stored"))
        .metric(metric("other", 12).bytes(15, b"\"x"))
        .metric(metric("note", 14).bytes(15, "水位".as_bytes()))
        .metric(metric("at", 13).varint(11, 99))
        .metric(metric("temp", 9).varint(10, 5))
        .varint(3, 2);
    let (standing, samples) = read(&mut session, &product, DATA, &data.0).unwrap();
    assert_eq!(standing, Standing::Counted { boot: 3, seq: 2, gap: false });
    let expected = [
        // Old data on purpose keeps its time although the product does not trust old times.
        format!("{old} [\"LATE\", \"BACKFILL\"] [\"level=Float(3.0) Good\"]"),
        format!(
            "{T} [] [\"level=Float(2.0) Good\", \"core=Float(-10.0) Good\", \"mode=null Bad\", \
             \"other=\\\"\\\\\\\"x\\\" Good UNKNOWN_PROPERTY\", \"note=水位 Good\", \
             \"at=Date(99) Good\", \"temp=null Good BAD_TYPE\"]"
        ),
    ];
    assert_eq!(sets(&product, &samples), expected);
}

#[test]
fn what_only_a_birth_explains_is_refused() {
    let product = product();
    let send = |session: &mut Session, metric: Proto| {
        let data = Proto::default().varint(1, T).metric(metric).varint(3, 2);
        read(session, &product, DATA, &data.0).map(|_| ())
    };
    let alias = || Proto::default().varint(2, 1).double(13, 2.0);
    assert_eq!(send(&mut born(&product), alias()), Ok(()));
    assert_eq!(send(&mut Session::default(), alias()), Err(QuarantineReason::Codec));
    // Without a birth, a name and a value that tells its type are enough; a whole number has no sign.
    let named = || Proto::default().bytes(1, b"level");
    assert_eq!(send(&mut Session::default(), named().double(13, 1.0)), Ok(()));
    assert_eq!(send(&mut Session::default(), named().varint(10, 1)), Err(QuarantineReason::Codec));
    // Types that no property has.
    for datatype in [0, 16, 18, 19, 20, 35, 300] {
        let metric = metric("level", datatype).double(13, 1.0);
        assert_eq!(send(&mut born(&product), metric), Err(QuarantineReason::Codec), "{datatype}");
    }
    let twice = Proto::default().varint(1, T).metric(alias()).metric(alias()).varint(3, 2);
    let result = read(&mut born(&product), &product, DATA, &twice.0);
    assert_eq!(result.unwrap_err(), QuarantineReason::Schema);
    let large = vec![0; 256 * 1024 + 1];
    assert!(Payload::read(&large).is_err());
}

#[test]
fn a_birth_without_what_is_required_is_flagged() {
    let product = product();
    let birth = Proto::default().varint(1, T).metric(metric("temp", 1).varint(10, 5)).varint(3, 9);
    let mut session = Session::default();
    let (_, samples) = read(&mut session, &product, "spBv1.0/g/DBIRTH/e/d", &birth.0).unwrap();
    assert_eq!(sets(&product, &samples), [format!("{T} [\"MISSING\"] [\"temp=Int(5) Good\"]")]);
}

#[test]
fn bad_product_files() {
    let codes = |codec: &str| {
        let codec = format!("codec: {{{codec}}}");
        let lines =
            PRODUCT.lines().map(|line| if line.starts_with("codec:") { &codec } else { line });
        let text: Vec<&str> = lines.collect();
        let (_, problems) = Product::load("spb-1.thing.yaml", &text.join("\n"));
        problems.iter().map(|problem| (problem.code, problem.line)).collect::<Vec<_>>()
    };
    assert_eq!(codes("kind: sparkplugB"), []);
    assert_eq!(codes("kind: sparkplugB, map: {depth: {metric: x}}"), [("UNKNOWN_PROPERTY", 5)]);
    let twice = "kind: sparkplugB, map: {level: {metric: x}, temp: {metric: x}}";
    assert_eq!(codes(twice), [("DUPLICATE", 5)]);
    assert_eq!(codes("kind: sparkplugB, map: {level: {path: x}}"), [("UNKNOWN_KEY", 5)]);
    assert_eq!(codes("kind: sparkplugB, map: {mode: {scale: 2}}"), [("BAD_VALUE", 5)]);
}
