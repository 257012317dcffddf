//! What a line of the task means, in plain double precision: the reference script, line by line, and nothing of the
//! program under test.

use serde_json::{Map, Value};

use crate::rng::Rng;

/// What becomes of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It cannot be normalised, or a value is out of its range.
    Invalid,
    /// An alarm rule's condition is true.
    Alarm,
    /// None is.
    Normal,
}

impl Kind {
    /// All, in the order in which they are told.
    pub const ALL: [Self; 3] = [Self::Invalid, Self::Alarm, Self::Normal];

    /// Its name in options and counts.
    pub fn word(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Alarm => "alarm",
            Self::Normal => "normal",
        }
    }
}

/// The table of devices.
pub struct Table {
    /// The cells of each device, its name first.
    pub rows: Vec<Vec<String>>,
}

/// The task's columns and some more; the last has a number in some rows only.
const COLUMNS: [&str; 9] =
    ["device_id", "town", "village", "unit", "tier", "floor", "code", "note \"x\"", "mixed"];
/// The columns whose cells all are whole numbers as JSON writes them.
const NUMERIC: [&str; 2] = ["tier", "floor"];
const TOWNS: [&str; 5] = ["yingpu", "夏阳", "xu,jing", "bai\"he", "jin/ze"];

impl Table {
    /// A table from a seed.
    pub fn made(seed: u64, devices: usize) -> Self {
        let mut rng = Rng::new(seed ^ 0xD15E_A5E0);
        let mut row = |at: usize| {
            // Some names need an escape in JSON or CSV.
            let name = match at % 11 {
                3 => format!("QP \"{at}\"\\"),
                5 => format!("设备/{at}😀"),
                7 => format!("QP,{at} "),
                _ => format!("QP-{:04}-{at:08}", at % 97),
            };
            vec![
                name,
                rng.pick(&TOWNS).to_owned(),
                format!("v{:03}", rng.below(260)),
                format!("unit-{:02}", rng.below(40)),
                rng.range(1, 3).to_string(),
                rng.range(-2, 30).to_string(),
                format!("{:03}", rng.below(50)),
                rng.pick(&["", "a\nb", "tab\t", "\u{1}", "é"]).to_owned(),
                if at == 0 { "007".to_owned() } else { rng.below(9).to_string() },
            ]
        };
        Self { rows: (0..devices).map(&mut row).collect() }
    }

    /// As RFC 4180 writes it.
    pub fn csv(&self) -> String {
        let line = |cells: Vec<&str>| {
            let cells = cells.iter().map(|cell| format!("\"{}\"", cell.replace('"', "\"\"")));
            cells.collect::<Vec<_>>().join(",") + "\r\n"
        };
        let rows = self.rows.iter().map(|row| line(row.iter().map(String::as_str).collect()));
        line(COLUMNS.to_vec()) + &rows.collect::<String>()
    }

    fn row(&self, name: &str) -> Option<&[String]> {
        self.rows.iter().find(|row| row[0] == name).map(Vec::as_slice)
    }
}

/// What becomes of a line, and the object that it becomes.
pub fn judge(line: &[u8], table: &Table) -> (Kind, Option<Map<String, Value>>) {
    match normalised(line, table) {
        None => (Kind::Invalid, None),
        Some(object) => {
            let value = |name: &str| object[name].as_f64().unwrap();
            let alarm = value("pm25_ugm3") > 150.0
                || value("level_m") > 3.0
                || value("temperature_c") > 60.0;
            (if alarm { Kind::Alarm } else { Kind::Normal }, Some(object))
        }
    }
}

fn normalised(line: &[u8], table: &Table) -> Option<Map<String, Value>> {
    let message: Value = serde_json::from_slice(line).ok()?;
    let params = &message["params"];
    let carried = [
        ("event_time_ms", &message["ts"]),
        ("product", &message["product"]),
        ("seq", &message["seq"]),
        ("lon", &message["loc"]["lon"]),
        ("lat", &message["loc"]["lat"]),
        ("fw", &message["fw"]),
        ("net", &message["net"]),
        ("mode", &message["mode"]),
    ];
    let measured = [
        ("temperature_c", number(&params["temp"])? / 10.0, -40.0..=85.0),
        ("humidity_pct", float(&params["hum"])?, 0.0..=100.0),
        ("pm25_ugm3", number(&params["pm25"])?, 0.0..=1000.0),
        ("level_m", number(&params["lvl"])? / 1000.0, 0.0..=10.0),
        ("battery_v", number(&params["batt"])? / 1000.0, 2.0..=4.5),
        ("rssi_dbm", number(&params["rssi"])?, -130.0..=0.0),
    ];
    let mut object = Map::new();
    for (name, value) in carried {
        // A member that is not there ends the script's attempt; null is carried like anything else.
        let there = !value.is_null() || has(&message, name);
        object.insert(name.to_owned(), there.then(|| value.clone())?);
    }
    for (name, value, range) in measured {
        if !range.contains(&value) {
            return None;
        }
        object.insert(name.to_owned(), value.into());
    }
    let row = table.row(message["deviceId"].as_str()?)?;
    for (name, cell) in COLUMNS.iter().zip(row) {
        let value = match NUMERIC.contains(name) {
            true => cell.parse::<i64>().ok()?.into(),
            false => Value::from(cell.as_str()),
        };
        object.insert((*name).to_owned(), value);
    }
    Some(object)
}

/// Whether the member that a carried name stands for is there.
fn has(message: &Value, name: &str) -> bool {
    let pointer = match name {
        "event_time_ms" => "/ts".to_owned(),
        "lon" | "lat" => format!("/loc/{name}"),
        name => format!("/{name}"),
    };
    message.pointer(&pointer).is_some()
}

/// What the script computes with: for Python a truth value is a number.
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Bool(truth) => Some(f64::from(u8::from(*truth))),
        value => value.as_f64(),
    }
}

/// Python's `float`.
fn float(value: &Value) -> Option<f64> {
    match value {
        Value::String(text) => text.trim().parse().ok(),
        value => number(value),
    }
}
