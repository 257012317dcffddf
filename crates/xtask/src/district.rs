//! `cargo xtask district`: makes `config/district/` from the published divisions of Qingpu.
//!
//! Invariant: the same input always gives the same bytes, and the input's counts are those of the published plan; any
//! other count is an error of this generator, never a silent difference. Hand-written files (categories, policies) are
//! left alone.

mod assets;
mod geometry;
mod text;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use geometry::{DISTRICT_SEAT, SEATS, Site};
use serde_json::Value;

/// Units of the sample of micro-grids: two villages with three each.
const GRID_VILLAGES: [&str; 2] = ["310118001001", "310118102201"];
const STATIONS: usize = 43;
const COMMITTEES: usize = 355;
const MERGED_PAIRS: usize = 4;
const ORDINALS: [&str; 9] =
    ["第一", "第二", "第三", "第四", "第五", "第六", "第七", "第八", "第九"];

/// One row of `units.tsv`.
pub(crate) struct Row {
    /// Unit id.
    pub(crate) id: String,
    parent: String,
    tier: &'static str,
    pub(crate) name: String,
    covers: Vec<String>,
    synthetic: &'static str,
    pub(crate) site: Site,
}

struct Committee {
    code: String,
    name: String,
}

struct Town {
    code: String,
    name: String,
    committees: Vec<Committee>,
}

/// The content of every generated file by its name.
///
/// # Errors
/// If the input is not the divisions that the rules were written for.
pub(crate) fn generate(divisions: &str) -> anyhow::Result<BTreeMap<&'static str, String>> {
    let towns = read(divisions)?;
    let rows = rows(&towns)?;
    Ok(BTreeMap::from([
        ("district.yaml", text::DISTRICT.to_owned()),
        ("committees.tsv", committees(&towns)),
        ("units.tsv", units(&rows)),
        ("departments.tsv", text::departments()),
        ("seats.tsv", text::seats()),
        ("duty.yaml", text::DUTY.to_owned()),
        ("calendars.yaml", text::CALENDARS.to_owned()),
        ("areas.yaml", text::AREAS.to_owned()),
        ("assets.tsv", assets::table(&rows)),
    ]))
}

/// Writes the generated files below `root`, or with `check` only compares them.
///
/// # Errors
/// If a file cannot be read or written, or with `check` differs from what would be generated.
pub(crate) fn run(root: &Path, check: bool) -> anyhow::Result<()> {
    let input = root.join("crates/xtask/data/qingpu_divisions.json");
    let divisions = std::fs::read_to_string(&input)
        .with_context(|| format!("failed to read {}", input.display()))?;
    let folder = root.join("config/district");
    let mut stale = Vec::new();
    for (name, content) in generate(&divisions)? {
        let path = folder.join(name);
        if check {
            if std::fs::read_to_string(&path).ok().as_deref() != Some(&content) {
                stale.push(name);
            }
        } else {
            std::fs::write(&path, content)
                .with_context(|| format!("failed to write {}", path.display()))?;
        }
    }
    if !stale.is_empty() {
        bail!("{} differ from what is generated; run `cargo xtask district`", stale.join(", "));
    }
    Ok(())
}

fn read(divisions: &str) -> anyhow::Result<Vec<Town>> {
    let field = |value: &Value, key: &str| -> anyhow::Result<String> {
        let text = value.get(key).and_then(Value::as_str);
        Ok(text.with_context(|| format!("divisions: an entry has no `{key}`"))?.to_owned())
    };
    let parsed: Vec<Value> = serde_json::from_str(divisions).context("divisions are not JSON")?;
    let mut towns = Vec::new();
    for town in &parsed {
        let villages = town.get("villages").and_then(Value::as_array);
        let committees = villages
            .context("divisions: a town has no `villages`")?
            .iter()
            .map(|it| Ok(Committee { code: field(it, "code")?, name: field(it, "name")? }))
            .collect::<anyhow::Result<Vec<_>>>()?;
        towns.push(Town { code: field(town, "code")?, name: field(town, "name")?, committees });
    }
    towns.sort_by(|a, b| a.code.cmp(&b.code));
    for town in &mut towns {
        town.committees.sort_by(|a, b| a.code.cmp(&b.code));
    }
    let count: usize = towns.iter().map(|town| town.committees.len()).sum();
    ensure!(count == COMMITTEES, "divisions: {count} committees, expected {COMMITTEES}");
    let codes: Vec<_> = towns.iter().map(|town| town.code.as_str()).collect();
    let seats: Vec<_> = SEATS.iter().map(|(code, _)| *code).collect();
    ensure!(codes == seats, "divisions: the towns are not those whose seats are known");
    Ok(towns)
}

/// Villages of a town in id order: (covered codes, name). Two committees whose names differ only by 第一 / 第二 or
/// 第三 / 第四 share one.
fn villages(town: &Town) -> Vec<(Vec<String>, String)> {
    let mut taken = vec![false; town.committees.len()];
    let mut villages = Vec::new();
    for (index, committee) in town.committees.iter().enumerate() {
        if std::mem::replace(&mut taken[index], true) {
            continue;
        }
        let mut covers = vec![committee.code.clone()];
        let mut name = committee.name.clone();
        for (one, other) in [("第一", "第二"), ("第三", "第四")] {
            let partner = committee.name.replacen(one, other, 1);
            let found = town.committees.iter().position(|it| it.name == partner);
            if let Some(found) = found.filter(|found| *found != index) {
                taken[found] = true;
                covers.push(town.committees[found].code.clone());
                name = committee.name.replacen(one, &format!("{one}、{other}"), 1);
            }
        }
        covers.sort();
        villages.push((covers, format!("{name}工作站")));
    }
    villages
}

/// Largest remainder over the towns' committees; at least one each, ties to the lower code.
fn stations(towns: &[Town]) -> Vec<usize> {
    let share = |town: &Town| STATIONS * town.committees.len();
    let mut counts: Vec<_> = towns.iter().map(|town| (share(town) / COMMITTEES).max(1)).collect();
    let mut order: Vec<_> = (0..towns.len()).collect();
    order.sort_by_key(|&index| std::cmp::Reverse(share(&towns[index]) % COMMITTEES));
    let rest = STATIONS.saturating_sub(counts.iter().sum());
    for index in order.into_iter().take(rest) {
        counts[index] += 1;
    }
    counts
}

fn rows(towns: &[Town]) -> anyhow::Result<Vec<Row>> {
    let mut rows = vec![Row {
        id: "310118".to_owned(),
        parent: String::new(),
        tier: "district",
        name: "青浦区城运中心".to_owned(),
        covers: Vec::new(),
        synthetic: "",
        site: DISTRICT_SEAT,
    }];
    let villages: Vec<_> = towns.iter().map(villages).collect();
    let merged = villages.iter().flatten().filter(|(covers, _)| covers.len() > 1).count();
    ensure!(merged == MERGED_PAIRS, "{merged} pairs of committees match, expected {MERGED_PAIRS}");
    let counts: Vec<_> = villages.iter().map(Vec::len).collect();
    let sites = geometry::sites(&counts)?;
    for (index, town) in towns.iter().enumerate() {
        let stations = stations(towns)[index];
        town_rows(town, &villages[index], &sites[index], stations, &mut rows);
    }
    rows.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(rows)
}

fn town_rows(
    town: &Town,
    villages: &[(Vec<String>, String)],
    sites: &[Site],
    stations: usize,
    rows: &mut Vec<Row>,
) {
    let seat = SEATS.iter().find(|(code, _)| *code == town.code).map(|(_, site)| *site);
    rows.push(Row {
        id: town.code.clone(),
        parent: "310118".to_owned(),
        tier: "town",
        name: format!("{}城运中心", town.name),
        covers: Vec::new(),
        synthetic: "",
        site: seat.expect("every town's seat was found when the divisions were read"),
    });
    let mut first = 0;
    for (number, ordinal) in ORDINALS.iter().enumerate().take(stations) {
        let size = villages.len() / stations + usize::from(number < villages.len() % stations);
        let id = format!("{}-S{}", town.code, number + 1);
        for index in first..first + size {
            village_rows(&id, &villages[index], sites[index], rows);
        }
        rows.push(Row {
            id,
            parent: town.code.clone(),
            tier: "station",
            name: format!("{}{ordinal}联勤联动站", town.name),
            covers: Vec::new(),
            synthetic: "all",
            site: sites[first + size.div_ceil(2) - 1],
        });
        first += size;
    }
}

fn village_rows(
    station: &str,
    (covers, name): &(Vec<String>, String),
    site: Site,
    rows: &mut Vec<Row>,
) {
    let id = covers[0].clone();
    if GRID_VILLAGES.contains(&id.as_str()) {
        let area = short_name(name);
        for (number, shift) in [(1, 0), (2, -1000), (3, 1000)] {
            rows.push(Row {
                id: format!("{id}-G{number:02}"),
                parent: id.clone(),
                tier: "microgrid",
                name: format!("{area}{}微网格", ORDINALS[number - 1]),
                covers: Vec::new(),
                synthetic: "all",
                site: Site { lon: site.lon + shift, lat: site.lat },
            });
        }
    }
    rows.push(Row {
        id,
        parent: station.to_owned(),
        tier: "village",
        name: name.clone(),
        synthetic: if covers.len() > 1 { "parent,point,covers" } else { "parent,point" },
        covers: covers.clone(),
        site,
    });
}

/// 东盛社区居委会工作站 → 东盛社区, 周荡村村委会工作站 → 周荡村.
pub(crate) fn short_name(station: &str) -> &str {
    let committee = station.trim_end_matches("工作站");
    committee.trim_end_matches("居委会").trim_end_matches("村委会")
}

impl Row {
    /// Whether it is a village station.
    pub(crate) fn is_village(&self) -> bool {
        self.tier == "village"
    }
}

fn committees(towns: &[Town]) -> String {
    let mut out = String::from("code\tname\ttown\n");
    for town in towns {
        for committee in &town.committees {
            out += &format!("{}\t{}\t{}\n", committee.code, committee.name, town.code);
        }
    }
    out
}

fn units(rows: &[Row]) -> String {
    let mut out = String::from(
        "id\tparent\ttier\tname\tcovers\tsynthetic\tlon_e6\tlat_e6\tcalendar\tcontact\tvalid_from\tvalid_to\n",
    );
    for Row { id, parent, tier, name, covers, synthetic, site } in rows {
        let covers = covers.join(",");
        let Site { lon, lat } = site;
        out += &format!(
            "{id}\t{parent}\t{tier}\t{name}\t{covers}\t{synthetic}\t{lon}\t{lat}\t\tdemo:{id}\t\t\n"
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checked_in_files_are_what_is_generated() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        run(&root, true).unwrap();
    }

    #[test]
    fn other_divisions_are_refused() {
        let divisions = include_str!("../data/qingpu_divisions.json");
        let fewer = divisions.replacen("徐安第四", "徐安四", 1);
        let error = generate(&fewer).err().unwrap().to_string();
        assert_eq!(error, "3 pairs of committees match, expected 4");
        assert!(generate("[]").is_err());
    }
}
