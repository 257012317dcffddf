//! Makes `config/devices/demo.csv`: one demo device for each asset of the district, with secrets that are no secrets.
//!
//! Deterministic: the same assets give the same file, byte for byte. Devices are named as in the access standard's
//! examples (`R-0001`, `S-0007`), after their asset's number.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, bail};

const ASSETS: &str = "config/district/assets.tsv";
const DEVICES: &str = "config/devices/demo.csv";

/// Prefix of the asset's id, product, letter of the device's name.
const KINDS: [(&str, &str, &str); 5] = [
    ("wl", "wl-radar-01", "R"),
    ("smk", "smoke-01", "S"),
    ("mh", "manhole-01", "M"),
    ("gas", "gas-01", "G"),
    ("nd", "nd-01", "N"),
];

/// Writes the file, or with `check` fails where it differs.
pub(crate) fn run(root: &Path, check: bool) -> anyhow::Result<()> {
    let assets = std::fs::read_to_string(root.join(ASSETS)).with_context(|| {
        format!("failed to read {ASSETS}; make it with `cargo xtask district` first")
    })?;
    let made = make(&assets)?;
    let path = root.join(DEVICES);
    if !check {
        return std::fs::write(&path, made).with_context(|| format!("failed to write {DEVICES}"));
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    if found != made {
        bail!("{DEVICES} is not what the assets give; run `cargo xtask devices`");
    }
    Ok(())
}

/// The file for these assets.
fn make(assets: &str) -> anyhow::Result<String> {
    let mut lines = assets.lines();
    let header: Vec<&str> = lines.next().unwrap_or_default().split('\t').collect();
    let column = |name: &str| {
        let at = header.iter().position(|column| *column == name);
        at.with_context(|| format!("{ASSETS} has no column `{name}`"))
    };
    let (id, name, place) = (column("id")?, column("name")?, column("place")?);
    let (lon, lat, datum) = (column("lon_e6")?, column("lat_e6")?, column("datum")?);
    let mut csv = String::from(
        "product_key,device_name,area_code,name,asset_id,lon,lat,datum,attrs,secret\n",
    );
    for line in lines {
        let cells: Vec<&str> = line.split('\t').collect();
        let cell = |at: usize| cells.get(at).copied().unwrap_or_default();
        let Some((prefix, number)) = cell(id).rsplit_once('-') else { continue };
        let Some((_, product, letter)) = KINDS.iter().find(|(kind, _, _)| *kind == prefix) else {
            continue;
        };
        let device = format!("{letter}-{number}");
        let attrs = attributes(product, number.parse().unwrap_or_default());
        writeln!(
            csv,
            "{product},{device},{},{},{},{},{},{},{attrs},demo-secret-{device}",
            cell(place),
            quoted(cell(name)),
            cell(id),
            degrees(cell(lon))?,
            degrees(cell(lat))?,
            cell(datum),
        )?;
    }
    Ok(csv)
}

/// Every tenth gauge stands at a place with its own thresholds.
fn attributes(product: &str, number: u32) -> String {
    match (product, number % 10) {
        ("wl-radar-01", 0) => quoted(r#"{"warnLevel":3.2,"dangerLevel":3.6}"#),
        ("nd-01", 0) => quoted(r#"{"warnNoise":65}"#),
        _ => String::new(),
    }
}

/// A cell as RFC 4180 wants it.
fn quoted(cell: &str) -> String {
    if cell.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        String::from(cell)
    }
}

/// Decimal degrees of an integer of 1e-6 degree.
fn degrees(e6: &str) -> anyhow::Result<String> {
    let value: i64 = e6.parse().with_context(|| format!("`{e6}` is no integer in {ASSETS}"))?;
    let sign = if value < 0 { "-" } else { "" };
    let (whole, part) = (value.abs() / 1_000_000, value.abs() % 1_000_000);
    Ok(format!("{sign}{whole}.{part:06}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shipped_file_is_what_the_assets_give() {
        run(&crate::root(), true).unwrap();
    }
}
