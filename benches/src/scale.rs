//! `router-workers`: how a backlog is worked off by one and by two workers. `route-scale`: start, memory and cost of an
//! event with 1,000,000 devices of 100 products with 5,000 rules, beside 1,000 devices of the same products.
//!
//! The log is filled without a gateway, whose cost is not what is asked; the router is the real binary.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use yiwang_tests::hub::Hub;

use crate::backlog::{fill_folder, station};
use crate::fixture::{self, villages};
use crate::mqtt::{check_fates, wait_routed};
use crate::report::{Line, cpu_seconds, median, resident_bytes};

/// Backlog of `router-workers`, its devices, and runs of each side.
const BACKLOG: u64 = 1_500_000;
const STATIONS: usize = 4_000;
const ROUNDS: usize = 3;
/// The large district of `route-scale` and the small one beside it.
const PRODUCTS: usize = 100;
const RULES_PER_PRODUCT: usize = 50;
const DEVICES_MANY: usize = 1_000_000;
const DEVICES_FEW: usize = 1_000;
/// Messages before the cost is taken (every device is met once), and those of which it is taken: with many devices they
/// contain one snapshot of all, as they do in the long run.
const FIRST: u64 = 1_000_000;
const COUNTED: u64 = 8_000_000;
/// Device time passes by so much from message to message of the whole district.
const STEP_MS: u64 = 1;

/// Works off the same backlog with one worker and with two, in turns.
///
/// # Errors
/// If the program does not start or does not come to the end.
pub fn run_workers() -> anyhow::Result<Line> {
    let folder = tempfile::tempdir().context("failed to make a folder")?;
    let devices = fixture::devices("nd-01", "M", STATIONS);
    let list = folder.path().join("devices");
    fixture::write_devices(&list, &devices)?;
    let (mut one, mut two, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let mut rates = Vec::new();
        for workers in [1, 2] {
            let data = folder.path().join(format!("{round}-{workers}"));
            fill_folder(&data, BACKLOG, station(&devices))?;
            let set = [
                format!("district.devices={}", list.display()),
                format!("router.workers={workers}"),
            ];
            let hub = launch(&data, set.to_vec())?;
            let (begun, before) = wait_for(&hub, 1)?;
            let (ended, after) = wait_for(&hub, BACKLOG)?;
            let rate = (after.routed - before.routed) / (ended - begun).as_secs_f64();
            let cpu = (after.cpu - before.cpu) / (after.routed - before.routed) * 1e6;
            println!("{workers} workers: {rate:.0} events/s, {cpu:.2} us of CPU an event");
            rates.push(rate);
            drop(hub);
            std::fs::remove_dir_all(&data)?;
        }
        one.push(rates[0]);
        two.push(rates[1]);
        ratios.push(rates[1] / rates[0]);
    }
    Ok(Line {
        value: median(&two),
        unit: "events/s",
        reference: Some(("one worker", median(&one))),
        ratio: Some(median(&ratios)),
        further: Vec::new(),
    })
}

/// What one size of the district costs.
struct Size {
    start: Duration,
    resident: f64,
    /// The same once every device was met.
    met: f64,
    /// CPU of one event, s, once every device was met.
    event: f64,
}

/// Measures both sizes; the value is CPU of one event with many devices.
///
/// # Errors
/// If the program does not start or does not come to the end.
pub fn run_scale() -> anyhow::Result<Line> {
    let few = measure(DEVICES_FEW)?;
    let many = measure(DEVICES_MANY)?;
    let added = (DEVICES_MANY - DEVICES_FEW) as f64;
    Ok(Line {
        value: many.event * 1e6,
        unit: "us CPU/event",
        reference: Some(("1,000 devices of the same products", few.event * 1e6)),
        ratio: Some(many.event / few.event),
        further: vec![
            ("start_seconds", many.start.as_secs_f64()),
            ("bytes_per_device", (many.resident - few.resident) / added),
            ("bytes_per_device_met", (many.met - few.met) / added),
        ],
    })
}

fn measure(devices: usize) -> anyhow::Result<Size> {
    let folder = tempfile::tempdir().context("failed to make a folder")?;
    write_products(&folder.path().join("products"))?;
    write_devices(&folder.path().join("devices"), devices)?;
    let data = folder.path().join("data");
    let set = vec![
        format!("district.products={}", folder.path().join("products").display()),
        format!("district.devices={}", folder.path().join("devices").display()),
    ];
    let begun = Instant::now();
    let mut hub = launch(&data, set.clone())?;
    hub.wait_ready().map_err(|error| anyhow!(error))?;
    let start = begun.elapsed();
    let resident = resident_bytes(hub.pid("router"));
    hub.stop().map_err(|error| anyhow!(error))?;
    let now = fixture::now_ms() as u64 - (FIRST + COUNTED) * STEP_MS;
    fill_folder(&data, FIRST + COUNTED, |number, key, body| {
        // Prime to both counts: neighbours on the log are not neighbours in the list.
        let device = (number * 611_953) as usize % devices;
        write!(key, "{}/D-{device:07}", product(device)).expect("a string takes all");
        message(number, now + number * STEP_MS, body);
    })?;
    let hub = launch(&data, set)?;
    let (_, first) = wait_for(&hub, FIRST)?;
    let (_, last) = wait_for(&hub, FIRST + COUNTED)?;
    let event = (last.cpu - first.cpu) / (last.routed - first.routed);
    let met = resident_bytes(hub.pid("router"));
    println!(
        "{devices} devices: ready after {:.1} s, {:.0} MiB, {:.0} MiB once all were met, {:.2} us of CPU an event",
        start.as_secs_f64(),
        resident / f64::from(1 << 20),
        met / f64::from(1 << 20),
        event * 1e6
    );
    Ok(Size { start, resident, met, event })
}

/// The embedded hub over these folders, not waited for.
fn launch(data: &Path, set: Vec<String>) -> anyhow::Result<Hub> {
    fixture::plan(data, set).launch().map_err(|error| anyhow!(error))
}

/// Where a router stands.
struct Standing {
    routed: f64,
    cpu: f64,
}

/// Waits until so many records are routed, and nothing has become of others.
fn wait_for(hub: &Hub, routed: u64) -> anyhow::Result<(Instant, Standing)> {
    let routed = wait_routed(hub, routed)?;
    check_fates(hub)?;
    Ok((Instant::now(), Standing { routed, cpu: cpu_seconds(hub.pid("router")) }))
}

fn product(device: usize) -> String {
    format!("scale-{:03}", device % PRODUCTS)
}

/// Products of ten values, each rule on one of them or on two, beside the shipped ones, which the routes name.
fn write_products(folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)?;
    for (name, text) in fixture::folder("products")? {
        std::fs::write(folder.join(name), text)?;
    }
    for number in 0..PRODUCTS {
        let key = product(number);
        let mut text = format!(
            "schema: yiwang-thing/1\n\
             profile: {{productKey: {key}, name: 规模试验{number}, version: 1.0.0, kind: env/dust, nodeType: direct, \
             owner: 区城运中心, grade: internal}}\n\
             access: {{auth: [secret], dialects: [native], identity: seq, lanes: [A]}}\n\
             properties:\n"
        );
        for value in 0..10 {
            writeln!(
                text,
                "  - {{identifier: v{value}, name: 值{value}, accessMode: r, \
                 dataType: {{type: double, specs: {{min: 0, max: 1000000, unit: Cel}}}}}}"
            )?;
        }
        text.push_str("validation: {mode: lenient, unknown: keep-flagged}\nalarms:\n");
        for rule in 0..RULES_PER_PRODUCT {
            let (value, other, limit) = (rule % 10, (rule + 3) % 10, 900_000 + rule);
            let when = match rule % 5 {
                0 => format!("v{value} >= {limit} and v{other} >= 10"),
                _ => format!("v{value} >= {limit}"),
            };
            writeln!(
                text,
                "  - {{id: r{rule}, name: 规则{rule}, when: \"{when}\", clear: \"v{value} < {}\", \
                 category: env.dust, severity: {{base: MINOR}}}}",
                limit - 100
            )?;
        }
        std::fs::write(folder.join(format!("{key}.thing.yaml")), text)?;
    }
    Ok(())
}

fn write_devices(folder: &Path, count: usize) -> anyhow::Result<()> {
    let villages = villages(&*fixture::district()?);
    let mut text = String::from(
        "product_key,device_name,area_code,name,asset_id,lon,lat,datum,attrs,secret\n",
    );
    for device in 0..count {
        let village = &villages[device % villages.len()];
        writeln!(text, "{},D-{device:07},{village},设备{device},,,,,,", product(device))?;
    }
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join("scale.csv"), text)?;
    Ok(())
}

/// About 250 bytes, below every limit.
fn message(number: u64, ts: u64, out: &mut Vec<u8>) {
    let mut text = format!("{{\"boot\":1,\"seq\":{},\"ts\":{ts},\"params\":{{", number + 1);
    for value in 0..10 {
        let comma = if value == 0 { "" } else { "," };
        let (whole, digits) = ((number + value * 37) % 800, number % 100_000);
        write!(text, "{comma}\"v{value}\":{whole}.{digits:05}").expect("a string takes all");
    }
    text.push_str("}}");
    out.extend_from_slice(text.as_bytes());
}
