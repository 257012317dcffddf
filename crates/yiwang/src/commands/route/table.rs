//! The table of devices: names in order, and the other columns as they are copied into outputs.

use std::collections::HashSet;
use std::path::Path;

use yiwang_core::thing::Product;

use crate::exit::Failure;

/// Devices by name, in the order of their bytes.
pub struct Table {
    /// Names of the columns, that of the device's name first.
    pub columns: Vec<String>,
    /// Whether all cells of a column are whole numbers.
    pub numeric: Vec<bool>,
    /// All cells, row by row as in the file, and where each ends.
    cells: String,
    ends: Vec<u32>,
    /// Rows in the order of the names.
    order: Vec<u32>,
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
        let table = Self::read(file)
            .map_err(|wrong| Failure::Config(format!("{}: {wrong}", path.display())))?;
        table.check_columns(path)?;
        Ok(table)
    }

    fn check_columns(&self, path: &Path) -> Result<(), Failure> {
        let mut seen = HashSet::new();
        match self.columns.iter().find(|column| !seen.insert(column.as_str())) {
            Some(column) => Err(Failure::Config(format!(
                "{}:1: two columns have the name `{column}`: rename one",
                path.display()
            ))),
            None => Ok(()),
        }
    }

    /// That no member of an object would be written twice.
    ///
    /// # Errors
    /// [`Failure::Config`] with file and line, if a column has the name of what the product measures.
    pub fn check_names(&self, path: &Path, product: &Product) -> anyhow::Result<()> {
        let outputs = product.events.iter().flat_map(|event| &event.outputs);
        let named: HashSet<&str> =
            product.properties.iter().chain(outputs).map(|known| &*known.identifier).collect();
        match self.columns.iter().find(|column| named.contains(column.as_str())) {
            Some(column) => Err(Failure::Config(format!(
                "{}:1: column `{column}` has the name of a property of product {}: rename the column",
                path.display(),
                product.key
            ))
            .into()),
            None => Ok(()),
        }
    }

    fn read(input: impl std::io::Read) -> Result<Self, Failure> {
        let mut reader = csv::Reader::from_reader(input);
        let wrong = |error: csv::Error| {
            Failure::Config(format!(
                "{error}; write RFC 4180 with a header and as many cells in each row"
            ))
        };
        let columns: Vec<String> =
            reader.headers().map_err(wrong)?.iter().map(str::to_owned).collect();
        let numeric = vec![true; columns.len()];
        let (cells, ends, order) = (String::new(), Vec::new(), Vec::new());
        let mut table = Self { columns, numeric, cells, ends, order };
        let mut row = csv::StringRecord::new();
        while reader.read_record(&mut row).map_err(wrong)? {
            for (numeric, cell) in table.numeric.iter_mut().zip(&row) {
                *numeric &= is_whole_number(cell);
                table.cells.push_str(cell);
                let end = u32::try_from(table.cells.len());
                table.ends.push(end.map_err(|_| Failure::Config("larger than 4 GiB".into()))?);
            }
            table.order.push(table.order.len() as u32);
        }
        // Most names differ in their first bytes, which lie beside each other here.
        let rows = std::mem::take(&mut table.order).into_iter();
        let mut order: Vec<_> = rows.map(|row| (first_bytes(table.cell(row, 0)), row)).collect();
        order.sort_unstable_by(|(a, row), (b, other)| {
            a.cmp(b).then_with(|| table.cell(*row, 0).cmp(table.cell(*other, 0)))
        });
        if order.is_empty() {
            return Err(Failure::Config(
                "no device: write one in each row below the header".into(),
            ));
        }
        Ok(Self { order: order.into_iter().map(|(_, row)| row).collect(), ..table })
    }

    /// Number of devices.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Bytes of all cells.
    pub fn bytes(&self) -> usize {
        self.cells.len()
    }

    fn cell(&self, row: u32, column: usize) -> &str {
        let at = row as usize * self.columns.len() + column;
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        &self.cells[start..self.ends[at] as usize]
    }

    /// The names of the devices.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.order.iter().map(|row| self.cell(*row, 0))
    }

    /// The cells of the devices, device by device.
    pub fn rows(&self) -> impl Iterator<Item = impl Iterator<Item = &str>> {
        let columns = self.columns.len();
        self.order.iter().map(move |row| (0..columns).map(|column| self.cell(*row, column)))
    }
}

/// The first bytes of a name, so that smaller ones are of names that come before.
fn first_bytes(name: &str) -> u128 {
    let mut bytes = [0; 16];
    let count = name.len().min(bytes.len());
    bytes[..count].copy_from_slice(&name.as_bytes()[..count]);
    u128::from_be_bytes(bytes)
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
        let first: Vec<_> = table.rows().next().into_iter().flatten().collect();
        assert_eq!(first, ["a", "x,y", "-1", "1"]);
    }

    #[test]
    fn names_are_in_the_order_of_their_bytes() {
        let mut names = ["a", "a\u{1}", "ab", "", "0123456789abcdef", "0123456789abcdefg", "水"];
        let lines: Vec<String> = names.iter().map(|name| format!("\"{name}\",x\n")).collect();
        let table = Table::read(format!("id,town\n{}", lines.concat()).as_bytes()).unwrap();
        names.sort_unstable();
        assert_eq!(table.names().collect::<Vec<_>>(), names);
    }

    #[test]
    fn a_short_row_is_named() {
        let error = Table::read("id,town\na\n".as_bytes()).err().expect("it is refused");
        let text = format!("{error:#}");
        assert!(text.contains("line: 2"), "{text}");
    }

    #[test]
    fn a_table_that_cannot_be_meant_is_refused() {
        for (text, word) in [
            ("id,town,town\na,b,c\n", "devices.csv:1: two columns have the name `town`"),
            ("id,town\n", "devices.csv: no device"),
            ("", "devices.csv: no device"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("devices.csv");
            std::fs::write(&path, text).unwrap();
            let error = Table::load(&path).err().expect("it is refused").to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn a_column_may_not_have_the_name_of_a_property() {
        let file = "gas-01.thing.yaml";
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/products/");
        let text = std::fs::read_to_string(format!("{folder}{file}")).unwrap();
        let product = Product::load(file, &text).0.unwrap();
        let check = |header: &str| {
            let table = Table::read(format!("{header}\na,1\n").as_bytes()).unwrap();
            table.check_names(Path::new("devices.csv"), &product)
        };
        check("id,town").unwrap();
        let error = check("id,concentration").unwrap_err().to_string();
        assert!(error.starts_with("devices.csv:1: column `concentration`"), "{error}");
    }
}
