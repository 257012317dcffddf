//! Reading `codec.kind: sparkplugB`: which metric is which property.
//!
//! Without an entry a metric is the property of the same identifier, so `map` is for names that no identifier can be.

use hashbrown::HashMap;

use super::load_codec::{convert, entries};
use super::node::{Node, Report, Section};
use super::{DataType, IdentityKind, Property};
use crate::codec::sparkplug::Metrics;
use crate::codec::value::Convert;

/// The codec of a product.
pub(super) fn read(
    report: &mut Report<'_>,
    codec: &mut Section<'_>,
    properties: &[Property],
    identity: IdentityKind,
) -> Metrics {
    if identity == IdentityKind::MessageId {
        report.error(
            "NO_IDENTITY",
            codec.line,
            "access.identity names an id that Sparkplug messages do not have",
            "declare seq: bdSeq is the restart counter, seq the message counter",
        );
    }
    let mut metrics = Metrics { names: HashMap::new(), conversions: Vec::new() };
    let mapped =
        if codec.get("map").is_some() { entries(report, codec, properties) } else { Vec::new() };
    for (property, node) in mapped {
        let model = &properties[usize::from(property)];
        let mut entry = Section::open(report, node, "codec.map");
        entry.path = format!("codec.map.{}", model.identifier);
        let name = entry.read(report, "metric", "the name of a metric", Node::scalar);
        let name = name.unwrap_or_else(|| model.identifier.to_string());
        if matches!(model.data, DataType::Struct(_)) {
            let message = format!("{}: no struct in a Sparkplug codec", entry.path);
            report.error("BAD_VALUE", node.line, message, "map its parts as properties");
        }
        let convert = convert(report, &mut entry, &model.data);
        entry.finish(report);
        if metrics.conversions.len() <= usize::from(property) {
            metrics.conversions.resize(usize::from(property) + 1, Convert::default());
        }
        metrics.conversions[usize::from(property)] = convert;
        if metrics.names.insert(name.clone().into(), property).is_some() {
            let message = format!("codec.map: metric `{name}` is two properties");
            report.error("DUPLICATE", node.line, message, "map each metric once");
        }
    }
    metrics
}
