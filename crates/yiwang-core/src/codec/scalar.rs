//! The scalar types of the protobuf language, read from what stands on the wire.
//!
//! Owns which form on the wire each type has. What a value means to a property is the caller's.

use super::proto::{Broken, Content};

/// A scalar type of the protobuf language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scalar {
    /// double
    Double,
    /// float
    Float,
    /// int64, and int32 with its sign extended
    Int64,
    /// int32 and enum
    Int32,
    /// uint64
    Uint64,
    /// uint32
    Uint32,
    /// sint32 and sint64
    Zigzag,
    /// fixed64
    Fixed64,
    /// fixed32
    Fixed32,
    /// sfixed64
    Sfixed64,
    /// sfixed32
    Sfixed32,
    /// bool
    Bool,
    /// string
    Text,
}

/// A scalar from the wire.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Read<'a> {
    /// A whole number.
    Whole(i128),
    /// A real number.
    Real(f64),
    /// A truth value.
    Truth(bool),
    /// Text.
    Text(&'a str),
}

impl Scalar {
    /// Reads the word of the product file, which is that of the protobuf language.
    pub(crate) fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "double" => Self::Double,
            "float" => Self::Float,
            "int64" => Self::Int64,
            "int32" | "enum" => Self::Int32,
            "uint64" => Self::Uint64,
            "uint32" => Self::Uint32,
            "sint32" | "sint64" => Self::Zigzag,
            "fixed64" => Self::Fixed64,
            "fixed32" => Self::Fixed32,
            "sfixed64" => Self::Sfixed64,
            "sfixed32" => Self::Sfixed32,
            "bool" => Self::Bool,
            "string" => Self::Text,
            _ => return None,
        })
    }

    /// The content as this type; `None` for another form.
    #[inline]
    pub(crate) fn read(self, content: Content<'_>) -> Result<Option<Read<'_>>, Broken> {
        Ok(Some(match (self, content) {
            (Self::Double, Content::Eight(bits)) => Read::Real(f64::from_bits(bits)),
            (Self::Float, Content::Four(bits)) => Read::Real(f64::from(f32::from_bits(bits))),
            (Self::Int64, Content::Varint(value)) => Read::Whole(i128::from(value.cast_signed())),
            (Self::Int32, Content::Varint(value)) => {
                Read::Whole(i128::from((value as u32).cast_signed()))
            }
            (Self::Uint64, Content::Varint(value)) | (Self::Fixed64, Content::Eight(value)) => {
                Read::Whole(i128::from(value))
            }
            (Self::Uint32, Content::Varint(value)) => Read::Whole(i128::from(value as u32)),
            (Self::Zigzag, Content::Varint(value)) => {
                Read::Whole(i128::from((value >> 1).cast_signed() ^ -(value & 1).cast_signed()))
            }
            (Self::Fixed32, Content::Four(value)) => Read::Whole(i128::from(value)),
            (Self::Sfixed64, Content::Eight(value)) => Read::Whole(i128::from(value.cast_signed())),
            (Self::Sfixed32, Content::Four(value)) => Read::Whole(i128::from(value.cast_signed())),
            (Self::Bool, Content::Varint(value)) => Read::Truth(value != 0),
            (Self::Text, Content::Piece(piece)) => Read::Text(piece.text()?),
            _ => return Ok(None),
        }))
    }

    /// What no field means where zeros are not written.
    pub(crate) fn zero(self) -> Read<'static> {
        match self {
            Self::Double | Self::Float => Read::Real(0.0),
            Self::Bool => Read::Truth(false),
            Self::Text => Read::Text(""),
            _ => Read::Whole(0),
        }
    }

    /// Whether it is a whole number.
    pub(crate) fn is_whole(self) -> bool {
        !matches!(self, Self::Double | Self::Float | Self::Bool | Self::Text)
    }
}
