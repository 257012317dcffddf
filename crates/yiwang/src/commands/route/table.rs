//! The table of devices: names in order, and the other columns as they are copied into outputs.

use std::path::Path;

use anyhow::Context;

use crate::exit::Failure;

/// Devices by name, in the order of their bytes.
pub struct Table {
    /// Names of the columns, that of the device's name first.
    pub columns: Vec<String>,
    /// Whether all cells of a column are whole numbers.
    pub numeric: Vec<bool>,
    rows: Vec<csv::StringRecord>,
}

impl Table {
    /// Reads a table.
    ///
    /// # Errors
    /// [`Failure::Unavailable`] if the file cannot be read, [`Failure::Config`] if it is no such table.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let file = std::fs::File::open(path).map_err(|error| {
            Failure::Unavailable(format!("failed to read {}: {error}", path.display()))
        })?;
        Self::read(file).with_context(|| format!("failed to read the table {}", path.display()))
    }

    fn read(input: impl std::io::Read) -> anyhow::Result<Self> {
        let mut reader = csv::Reader::from_reader(input);
        let wrong = |error: csv::Error| {
            Failure::Config(format!(
                "{error}; write RFC 4180 with a header and as many cells in each row"
            ))
        };
        let columns: Vec<String> =
            reader.headers().map_err(wrong)?.iter().map(str::to_owned).collect();
        let mut rows = Vec::new();
        let mut numeric = vec![true; columns.len()];
        for row in reader.records() {
            let row = row.map_err(wrong)?;
            for (numeric, cell) in numeric.iter_mut().zip(&row) {
                *numeric &= is_whole_number(cell);
            }
            rows.push(row);
        }
        rows.sort_unstable_by(|a, b| a.get(0).cmp(&b.get(0)));
        if rows.is_empty() {
            numeric.fill(false);
        }
        Ok(Self { columns, numeric, rows })
    }

    /// The names of the devices.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.rows.iter().map(|row| row.get(0).unwrap_or_default())
    }

    /// The cells of the devices, row by row.
    pub fn rows(&self) -> impl Iterator<Item = &csv::StringRecord> {
        self.rows.iter()
    }
}

/// As JSON writes it: no leading zero, no sign but minus, no more digits than every reader takes.
fn is_whole_number(cell: &str) -> bool {
    const DIGITS_MAX: usize = 15;
    let digits = cell.strip_prefix('-').unwrap_or(cell);
    (1..=DIGITS_MAX).contains(&digits.len())
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && (digits == "0" || !digits.starts_with('0'))
        && cell != "-0"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_of_whole_numbers_are_known() {
        let text = "id,town,tier,code\nb,夏阳,2,007\na,\"x,y\",-1,1\n";
        let table = Table::read(text.as_bytes()).unwrap();
        assert_eq!(table.columns, ["id", "town", "tier", "code"]);
        assert_eq!(table.numeric, [false, false, true, false]);
        assert_eq!(table.names().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(table.rows().next().and_then(|row| row.get(1)), Some("x,y"));
    }

    #[test]
    fn a_short_row_is_named() {
        let error = Table::read("id,town\na\n".as_bytes()).err().expect("it is refused");
        let text = format!("{error:#}");
        assert!(text.contains("line: 2"), "{text}");
    }
}
