//! What a benchmark reports: medians, and the one line that scripts read.

use std::process::Command;

use serde_json::json;

/// The result of a benchmark.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// What was measured.
    pub value: f64,
    /// Its unit.
    pub unit: &'static str,
    /// What it stands beside, and the value of that.
    pub reference: Option<(&'static str, f64)>,
    /// Median of the ratios of runs side by side, in the direction of the goal.
    pub ratio: Option<f64>,
    /// What else was measured in the same run, by name.
    pub further: Vec<(&'static str, f64)>,
}

impl Line {
    /// The one line.
    #[must_use]
    pub fn to_json(&self, bench: &str) -> String {
        let mut line = json!({
            "bench": bench,
            "value": round(self.value),
            "unit": self.unit,
            "reference": self.reference.map(|(name, _)| name),
            "reference_value": self.reference.map(|(_, value)| round(value)),
            "ratio": self.ratio.map(round),
            "commit": commit(),
        });
        for (name, value) in &self.further {
            line[*name] = json!(round(*value));
        }
        line.to_string()
    }
}

/// The middle of the values; 0 of none.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

/// Processor time (user and system) of a process and its threads so far, in seconds.
#[must_use]
pub fn cpu_seconds(pid: u32) -> f64 {
    ticks(&format!("/proc/{pid}/stat"), 11)
}

/// Resident memory of a process, bytes.
#[must_use]
pub fn resident_bytes(pid: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kib.unwrap_or(f64::NAN) * 1024.0
}

/// Processor time of all children that have ended and were waited for, in seconds.
#[must_use]
pub fn children_cpu_seconds() -> f64 {
    ticks("/proc/self/stat", 13)
}

/// The sum of two neighbouring times of a process, counted from the field after its name.
fn ticks(stat: &str, first: usize) -> f64 {
    /// Ticks a second of `/proc`: fixed by the kernel's interface.
    const TICKS: f64 = 100.0;
    let text = std::fs::read_to_string(stat).unwrap_or_default();
    // The second field may hold blanks; what follows it does not.
    let after = text.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let ticks = after.split(' ').skip(first).take(2).filter_map(|it| it.parse::<f64>().ok());
    ticks.sum::<f64>() / TICKS
}

fn round(value: f64) -> f64 {
    if value.abs() >= 1_000.0 { value.round() } else { (value * 1_000.0).round() / 1_000.0 }
}

fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = git(&["rev-parse", "--short", "HEAD"]).unwrap_or_else(|| "unknown".to_owned());
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]);
    let dirty = changed.is_some_and(|text| !text.is_empty());
    if dirty { format!("{commit}-dirty") } else { commit }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(&[4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-9);
        assert!(median(&[]).abs() < 1e-9);
    }

    #[test]
    fn a_line_without_reference_has_nulls() {
        let line = Line {
            value: 12_345.6,
            unit: "1/s",
            reference: None,
            ratio: None,
            further: Vec::new(),
        };
        let json: serde_json::Value = serde_json::from_str(&line.to_json("x")).unwrap();
        assert_eq!(json["value"], 12_346.0);
        assert!(json["reference"].is_null() && json["ratio"].is_null());
    }

    #[test]
    fn own_processor_time_grows() {
        let begun = cpu_seconds(std::process::id());
        let mut sum = 0_u64;
        while cpu_seconds(std::process::id()) < begun + 0.02 {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
    }
}
