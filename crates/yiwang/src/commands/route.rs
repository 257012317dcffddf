//! `yiwang route`: lines of a file through the real path, without log and network.
//!
//! Owns reading lines and counting what became of them. Thing model, codec, device table and rules are loaded at run
//! time and the step is the router's own; nothing about any input is compiled in.

mod files;
mod lines;
mod outputs;
mod table;

use std::io::Write as _;
use std::sync::Arc;

use anyhow::Context;
use serde_json::json;
use yiwang_core::problem::{Problem, Severity};
use yiwang_core::record::{BodyKind, Lane, Raw};
use yiwang_core::registry::Registry;
use yiwang_core::route::{Input, PartitionState, Shard, Shared, Workspace};
use yiwang_core::thing::Product;

use crate::cli::{RouteArgs, RouteOutput};
use crate::exit::Failure;
use files::Files;
use lines::Lines;
use outputs::Outputs;
use table::Table;

/// The only product of a run.
const PRODUCT: u16 = 0;

/// Routes standard input to its end.
///
/// # Errors
/// [`Failure::Config`] for a product or table with a problem; otherwise what cannot be read or written.
pub fn run(args: &RouteArgs) -> anyhow::Result<()> {
    let product = Arc::new(load_product(args)?);
    let table = Table::load(&args.devices)?;
    if args.out == RouteOutput::Json {
        table.check_names(&args.devices, &product)?;
    }
    let registry = Registry::of_names(Arc::clone(&product), table.names()).map_err(|row| {
        let name = table.names().nth(row).unwrap_or_default();
        let file = args.devices.display();
        Failure::Config(format!("{file}: device `{name}` stands twice; remove one of its rows"))
    })?;
    let (shared, problems) = Shared::new(Arc::new(registry));
    let shared = shared.ok_or_else(|| refused(args, &problems))?;
    let mut outputs = Outputs::new(args.out, &product, &table, Files::open(args)?);
    let mut state = PartitionState::new(&shared, Shard::WHOLE);
    state.reserve(table.len());
    let mut work = Workspace::default();
    let mut lines = Lines::new(std::io::stdin().lock());
    let mut seq = 0;
    while let Some(block) = lines.next_block()? {
        let records = block.map(|line| {
            seq += 1;
            (seq, Input::Named { product: PRODUCT, raw: raw(line) })
        });
        state.route_batch(&shared, (0, 0), records, &mut work, &mut outputs);
        outputs.drain()?;
    }
    outputs.finish()?;
    let (counts, tally) = (outputs.counts(), state.counters().clone());
    // The process ends here: giving back the memory of every device one by one would serve nobody.
    std::mem::forget((outputs, state, shared, table, product));
    let mut line = json!({
        "invalid": counts.invalid, "alarm": counts.alarm, "normal": counts.normal,
        "bytes": counts.bytes,
    });
    // A product with message ids recognises repeats; they are lines too.
    let (duplicate, rejected) = (tally.duplicate, tally.rejected.iter().sum::<u64>());
    for (name, count) in [("duplicate", duplicate), ("rejected", rejected)] {
        if count > 0 {
            line[name] = json!(count);
        }
    }
    writeln!(std::io::stderr().lock(), "{line}").context("failed to write to standard error")
}

fn raw(payload: &[u8]) -> Raw<'_> {
    Raw {
        device: "",
        lane: Lane::Subscribe,
        kind: BodyKind::Raw,
        path: "raw",
        listener: "file",
        peer: "",
        received_at: 0,
        payload,
    }
}

fn load_product(args: &RouteArgs) -> anyhow::Result<Product> {
    let file = args.product.display().to_string();
    let text = std::fs::read_to_string(&args.product)
        .map_err(|error| Failure::Unavailable(format!("failed to read {file}: {error}")))?;
    let (product, problems) = Product::load(&file, &text);
    let product = product.ok_or_else(|| refused(args, &problems))?;
    // Every line would be invalid.
    if !product.names_device() {
        return Err(Failure::Config(format!(
            "{file}: product {} has no codec.device: write `codec: {{kind: json, device: /POINTER, …}}`, so that a line \
             says whose it is",
            product.key
        ))
        .into());
    }
    Ok(product)
}

fn refused(args: &RouteArgs, problems: &[Problem]) -> Failure {
    let errors = problems.iter().filter(|problem| problem.severity == Severity::Error);
    let lines: Vec<_> = errors.map(ToString::to_string).collect();
    let (file, count) = (args.product.display(), lines.len());
    Failure::Config(format!("{file} has {count} errors:\n{}", lines.join("\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_that_names_no_device_is_known() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../");
        let names_device = |file: &str| {
            let text = std::fs::read_to_string(format!("{folder}{file}")).expect("a file");
            Product::load(file, &text).0.expect("a shipped product").names_device()
        };
        assert!(names_device("benches/route/telemetry.thing.yaml"));
        assert!(!names_device("config/products/gas-01.thing.yaml"));
        assert!(!names_device("config/products/smoke-01.thing.yaml"));
    }
}
