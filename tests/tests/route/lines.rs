//! Lines as the task's generator means them, and as devices may write them: any order and spelling, more members and
//! fewer, values that do not fit, and lines that are no JSON.

use crate::reference::Table;
use crate::rng::Rng;

/// A body that is not written yet.
#[derive(Clone)]
enum Node {
    /// A number, word or anything else, as it is written.
    Raw(String),
    Text(String),
    Object(Vec<(String, Node)>),
    Array(Vec<Node>),
}

/// How a body is written.
struct Style {
    /// One character in so many is written as an escape; 0 is none that need not be.
    escapes: usize,
    /// One place in so many has white space; 0 is none.
    spaces: usize,
}

/// The input of a run.
pub struct Lines {
    /// Without their ends.
    pub all: Vec<Vec<u8>>,
    /// Whether the last one has an end.
    ended: bool,
}

/// Where the members of the task stand.
const MEMBERS: [&str; 15] = [
    "deviceId", "product", "ts", "seq", "temp", "hum", "pm25", "lvl", "batt", "rssi", "lon", "lat",
    "fw", "net", "mode",
];
/// Names that lead nowhere.
const EXTRA: [&str; 9] =
    ["x", "", "水位", "a/b", "Params", "params.temp", "device_id", "q\"\\\n", "😀"];
const TEXTS: [&str; 10] = [
    "",
    "env_v2",
    "a/b",
    "夏阳",
    "😀\u{10ffff}",
    "line\nfeed\ttab\r",
    "\u{1}\u{1f}\u{7f}",
    "\"\\",
    "é\u{2028}",
    "null",
];
/// What breaks a line: no JSON has it outside of its own place.
const GARBAGE: [&[u8]; 14] = [
    b"{", b"}", b"]", b",", b":", b"\"", b"'", b"\\", b"\\u12", b"\\ud800", b"\xff", b"\x01",
    b"NaN", b"nul",
];

impl Lines {
    /// Lines from a seed.
    pub fn made(seed: u64, count: usize, table: &Table) -> Self {
        let mut rng = Rng::new(seed);
        let all = (0..count).map(|at| line(&mut rng, at, table)).collect();
        Self { all, ended: seed.is_multiple_of(2) }
    }

    /// As the program reads them.
    pub fn input(&self) -> Vec<u8> {
        let mut input = self.all.join(&b'\n');
        // An empty last line without an end would be none.
        if self.ended && !self.all.is_empty() || self.all.last().is_some_and(Vec::is_empty) {
            input.push(b'\n');
        }
        input
    }
}

fn line(rng: &mut Rng, at: usize, table: &Table) -> Vec<u8> {
    if rng.one_in(60) {
        return rng
            .pick(&["", " ", "\r", "null", "[]", "7", "\"x\"", "{}", "[{}]", "\t{ } "])
            .into();
    }
    let mut body = body(rng, at, table);
    // Half of the lines look as the vectors of the product do, which is a path of its own.
    let plain = rng.one_in(2);
    if !plain {
        change(rng, &mut body);
    }
    let style = match plain {
        true => Style { escapes: 0, spaces: 0 },
        false => Style { escapes: rng.pick(&[0, 0, 2, 20]), spaces: rng.pick(&[0, 0, 3]) },
    };
    let mut written = String::new();
    body.write(rng, &style, &mut written);
    let mut line = written.into_bytes();
    if rng.one_in(25) {
        line = broken(rng, line);
    }
    if rng.one_in(6) {
        line.push(b'\r');
    }
    line
}

/// A body as the task's generator writes it, at times at the edges of what is normal.
fn body(rng: &mut Rng, at: usize, table: &Table) -> Node {
    let row = rng.below(table.rows.len());
    let name = match rng.below(30) {
        0 => format!("QP-{row:04}"),
        1 => format!("{}\0", table.rows[row][0]),
        2 => String::new(),
        _ => table.rows[row][0].clone(),
    };
    let roll = rng.below(100);
    let mut measured = |normal: (i64, i64), edges: &[i64], of: usize| match roll {
        _ if roll / 5 == of => rng.pick(edges),
        _ => rng.range(normal.0, normal.1),
    };
    let temp = measured((-50, 420), &[-400, -401, 600, 601, 850, 851, 9000, -9000, 0], 0);
    let hum = measured((200, 950), &[0, -1, 1000, 1001, 5], 1);
    let pm25 = measured((3, 120), &[150, 151, 1000, 1001, 0, -1, 400], 2);
    let lvl = measured((100, 2800), &[0, -1, 3000, 3001, 10_000, 10_001, 5000], 3);
    let batt = measured((2900, 4200), &[2000, 1999, 4500, 4501, 0], 4);
    let rssi = measured((-115, -50), &[-130, -131, 0, 1], 5);
    let pm25 = if roll > 90 { rng.range(151, 400) } else { pm25 };
    let ts = match rng.below(40) {
        0 => rng.pick(&[0, -1, 5, 253_402_300_799_999, 253_402_300_800_000, 900_000_000_000_000]),
        _ => 1_795_000_000_000 + (at as i64) - rng.range(0, 50),
    };
    let humidity = number(rng, hum, 1);
    let humidity = if rng.one_in(8) { Node::Raw(humidity) } else { Node::Text(humidity) };
    // Some sensors have a digit more than they should.
    let mut real = |value: i64| {
        Node::Raw(if rng.one_in(20) { format!("{value}.5") } else { number(rng, value, 0) })
    };
    let params = [
        ("temp", real(temp)),
        ("hum", humidity),
        ("pm25", real(pm25)),
        ("lvl", real(lvl)),
        ("batt", real(batt)),
        ("rssi", real(rssi)),
    ];
    let (ts, seq) = (Node::Raw(number(rng, ts, 0)), Node::Raw(number(rng, at as i64, 0)));
    let mut degrees = |whole: i64| {
        let digits = whole * 1_000_000 + rng.range(0, 999_999);
        Node::Raw(number(rng, digits, 6))
    };
    let loc = [("lon", degrees(121)), ("lat", degrees(31))];
    let mut text = |usual: &str| match rng.one_in(12) {
        true => Node::Text(rng.pick(&TEXTS).to_owned()),
        false => Node::Text(usual.to_owned()),
    };
    object([
        ("deviceId", Node::Text(name)),
        ("product", text("env_v2")),
        ("ts", ts),
        ("seq", seq),
        ("params", object(params)),
        ("loc", object(loc)),
        ("fw", text("2.1.1")),
        ("net", text("nb-iot")),
        ("mode", text("auto")),
    ])
}

fn object<const N: usize>(members: [(&str, Node); N]) -> Node {
    Node::Object(members.map(|(name, node)| (name.to_owned(), node)).into())
}

/// A number of so many decimals, now and then in another spelling.
fn number(rng: &mut Rng, digits: i64, decimals: usize) -> String {
    let power = 10_i64.pow(decimals as u32);
    let sign = if digits < 0 { "-" } else { "" };
    let (whole, part) = (digits.abs() / power, digits.abs() % power);
    let usual = match decimals {
        0 => format!("{sign}{whole}"),
        _ => format!("{sign}{whole}.{part:0decimals$}"),
    };
    let point = if decimals == 0 { "." } else { "" };
    match rng.below(30) {
        0 => format!("{usual}{point}00"),
        1 => format!("{digits}e-{decimals}"),
        2 if digits != 0 => format!("{digits}0E-{:02}", decimals + 1),
        3 if digits != 0 => {
            let all = digits.abs().to_string();
            format!("{sign}0.{all}e+{}", all.len() - decimals)
        }
        4 if digits == 0 => rng.pick(&["-0", "-0.0", "0e9", "0.000"]).to_owned(),
        5 => format!("{usual}e0"),
        _ => usual,
    }
}

/// Another order, other members, and values that do not fit.
fn change(rng: &mut Rng, body: &mut Node) {
    if rng.one_in(2) {
        body.shuffle(rng);
    }
    if rng.one_in(2) {
        add(rng, body);
    }
    match rng.below(10) {
        0 => {
            let gone =
                if rng.one_in(3) { rng.pick(&["params", "loc"]) } else { rng.pick(&MEMBERS) };
            let _ = body.take(gone);
        }
        1 => {
            let (name, wrong) = misfit(rng);
            if let Some(place) = body.find(name) {
                *place = wrong;
            }
        }
        _ => {}
    }
}

/// Members that nobody asks for, also among those of `params` and `loc`.
fn add(rng: &mut Rng, body: &mut Node) {
    let mut places = vec![body];
    while let Some(Node::Object(members)) = places.pop() {
        for _ in 0..rng.below(3) {
            let at = rng.below(members.len() + 1);
            // A name may stand twice as long as nobody asks for it.
            members.insert(at, (rng.pick(&EXTRA).to_owned(), anything(rng, 0)));
        }
        let known = members.iter_mut().filter(|(name, _)| name == "params" || name == "loc");
        places.extend(known.map(|(_, node)| node));
    }
}

fn anything(rng: &mut Rng, depth: usize) -> Node {
    const RAW: [&str; 10] = [
        "null",
        "true",
        "false",
        "0",
        "-0.0",
        "1e300",
        "-1E-300",
        "12345678901234567890",
        "2.50",
        "1e1",
    ];
    let below = |rng: &mut Rng| -> Vec<Node> {
        (0..rng.below(4)).map(|_| anything(rng, depth + 1)).collect()
    };
    match rng.below(if depth < 5 { 6 } else { 4 }) {
        0 | 1 => Node::Raw(rng.pick(&RAW).to_owned()),
        2 => Node::Text(rng.pick(&TEXTS).to_owned()),
        3 => {
            // At most as deep as may be, inside of `params` too.
            let levels = rng.below(28 - depth);
            (0..levels).fold(Node::Array(Vec::new()), |inner, _| Node::Array(vec![inner]))
        }
        4 => Node::Array(below(rng)),
        _ => {
            let members = below(rng).into_iter().map(|node| (rng.pick(&EXTRA).to_owned(), node));
            Node::Object(members.collect())
        }
    }
}

/// A member and a value that makes no reading of its line for the reference either.
fn misfit(rng: &mut Rng) -> (&'static str, Node) {
    let name =
        rng.pick(&["temp", "hum", "pm25", "lvl", "batt", "rssi", "deviceId", "params", "loc"]);
    let wrong: &[&str] = match name {
        "hum" => &[
            "null", "[]", "{}", "[1]", "\"\"", "\"abc\"", "\"1,5\"", "\"0x10\"", "\"1e\"",
            "\"--1\"", "\"nan\"", "\"inf\"", "\"1 2\"",
        ],
        "deviceId" => &["null", "7", "true", "[]", "{}", "[\"QP-0000-00000000\"]"],
        _ => &["null", "[]", "{}", "[1]", "\"7\"", "\"\"", "{\"v\":7}"],
    };
    (name, Node::Raw(rng.pick(wrong).to_owned()))
}

/// A line that is no JSON any more; the same line where it still would be.
fn broken(rng: &mut Rng, line: Vec<u8>) -> Vec<u8> {
    let mut other = line.clone();
    let at = rng.below(line.len());
    match rng.below(3) {
        0 => other.truncate(at),
        1 => drop(other.remove(at)),
        _ => drop(other.splice(at..at, rng.pick(&GARBAGE).iter().copied())),
    }
    if serde_json::from_slice::<serde_json::Value>(&other).is_ok() { line } else { other }
}

impl Node {
    fn shuffle(&mut self, rng: &mut Rng) {
        if let Self::Object(members) = self {
            rng.shuffle(members);
            members.iter_mut().for_each(|(_, node)| node.shuffle(rng));
        }
    }

    fn find(&mut self, name: &str) -> Option<&mut Self> {
        let Self::Object(members) = self else { return None };
        members.iter_mut().find_map(|(key, node)| match key == name {
            true => Some(node),
            false => node.find(name),
        })
    }

    fn take(&mut self, name: &str) -> Option<Self> {
        let Self::Object(members) = self else { return None };
        match members.iter().position(|(key, _)| key == name) {
            Some(at) => Some(members.remove(at).1),
            None => members.iter_mut().find_map(|(_, node)| node.take(name)),
        }
    }

    fn write(&self, rng: &mut Rng, style: &Style, out: &mut String) {
        space(rng, style, out);
        match self {
            Self::Raw(raw) => out.push_str(raw),
            Self::Text(content) => text(rng, style, content, out),
            Self::Array(items) => {
                out.push('[');
                for (at, item) in items.iter().enumerate() {
                    out.push_str(if at > 0 { "," } else { "" });
                    item.write(rng, style, out);
                }
                out.push(']');
            }
            Self::Object(members) => {
                out.push('{');
                for (at, (name, node)) in members.iter().enumerate() {
                    out.push_str(if at > 0 { "," } else { "" });
                    space(rng, style, out);
                    text(rng, style, name, out);
                    space(rng, style, out);
                    out.push(':');
                    node.write(rng, style, out);
                }
                out.push('}');
            }
        }
        space(rng, style, out);
    }
}

fn space(rng: &mut Rng, style: &Style, out: &mut String) {
    if style.spaces > 0 && rng.one_in(style.spaces) {
        out.push_str(rng.pick(&[" ", "\t", "\r", "   ", " \t \r "]));
    }
}

/// A text in quotes.
fn text(rng: &mut Rng, style: &Style, content: &str, out: &mut String) {
    out.push('"');
    for character in content.chars() {
        let must = matches!(character, '"' | '\\' | '\0'..'\x20');
        if !must && (style.escapes == 0 || !rng.one_in(style.escapes)) {
            out.push(character);
            continue;
        }
        let short = match character {
            '\n' => Some("\\n"),
            '\r' => Some("\\r"),
            '\t' => Some("\\t"),
            '\u{8}' => Some("\\b"),
            '\u{c}' => Some("\\f"),
            '"' => Some("\\\""),
            '\\' => Some("\\\\"),
            '/' => Some("\\/"),
            _ => None,
        };
        match short.filter(|_| !rng.one_in(3)) {
            Some(short) => out.push_str(short),
            None => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    out.push_str(&match rng.one_in(2) {
                        true => format!("\\u{unit:04x}"),
                        false => format!("\\u{unit:04X}"),
                    });
                }
            }
        }
    }
    out.push('"');
}
