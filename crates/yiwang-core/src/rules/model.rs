//! A product as its rules see it: names, kinds and units of properties, attributes with their defaults.
//!
//! Owns the narrow view that the rule compiler needs, so that rules can be compiled and tested without a codec.

use crate::record::Millis;
use crate::thing::{DataType, Product};

/// What the compiler needs to know of a product.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// File name for problems.
    pub file: String,
    /// Product key.
    pub product: String,
    /// Properties, in the order of the thing model.
    pub properties: Vec<PropertyModel>,
    /// Attributes, in the order of the thing model.
    pub attributes: Vec<AttributeModel>,
    /// How long a value counts (2 × `expectEvery` by default); `None` = for ever.
    pub valid_for: Option<Millis>,
}

/// A property as rules see it.
#[derive(Clone, Debug)]
pub struct PropertyModel {
    /// Identifier in conditions.
    pub identifier: String,
    /// Name for people; the identifier when there is none.
    pub name: String,
    /// Unit for people, with the datum of a height; may be empty.
    pub unit: String,
    /// What it can be compared with.
    pub kind: PropertyKind,
}

/// What a property can be compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PropertyKind {
    /// A number: int, float, double, date.
    Number,
    /// true or false.
    Bool,
    /// One of these words.
    Enum(Vec<String>),
    /// Not usable in a condition: text, struct, array.
    Opaque,
}

/// A per-device attribute with its default.
#[derive(Clone, Debug)]
pub struct AttributeModel {
    /// Identifier in `attr('…')`.
    pub identifier: String,
    /// Value of a device that sets none.
    pub default: Option<f64>,
}

impl Model {
    /// The view on a product.
    #[must_use]
    pub fn of(product: &Product) -> Self {
        let properties = product.properties.iter().map(|property| PropertyModel {
            identifier: property.identifier.to_string(),
            name: property.name.to_string(),
            unit: match (&property.unit, &property.datum) {
                (Some(unit), Some(datum)) => format!("{unit} {datum}"),
                (unit, _) => unit.as_deref().unwrap_or_default().to_owned(),
            },
            kind: match &property.data {
                DataType::Bool => PropertyKind::Bool,
                DataType::Int | DataType::Float | DataType::Double | DataType::Date => {
                    PropertyKind::Number
                }
                DataType::Enum(values) => {
                    PropertyKind::Enum(values.iter().map(ToString::to_string).collect())
                }
                DataType::Text { .. } | DataType::Struct(_) | DataType::Array { .. } => {
                    PropertyKind::Opaque
                }
            },
        });
        let attributes = product.attributes.iter().map(|attribute| AttributeModel {
            identifier: attribute.identifier.to_string(),
            default: attribute.default,
        });
        Self {
            file: product.file.clone(),
            product: product.key.to_string(),
            properties: properties.collect(),
            attributes: attributes.collect(),
            valid_for: product.liveness.and_then(|liveness| liveness.valid_for),
        }
    }
}
