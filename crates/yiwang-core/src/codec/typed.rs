//! A typed wire value meets a property: what frames, protobuf and Sparkplug have in common.
//!
//! JSON keeps its own way in `value`, where a number is still its characters.

use super::decimal::Decimal;
use super::value::Convert;
use crate::sample::Value;
use crate::thing::DataType;

impl Convert {
    /// A whole number of the wire as a value of this type.
    pub(crate) fn whole(&self, wire: i128, data: &DataType) -> Option<Value> {
        if !self.choices.is_empty() {
            return self.choice(itoa::Buffer::new().format(wire));
        }
        let decimal = self.apply(Decimal::integer(wire));
        match data {
            DataType::Bool if wire == 0 || wire == 1 => Some(Value::Bool(wire == 1)),
            DataType::Int => decimal?.to_i64().map(Value::Int),
            DataType::Date => decimal?.to_i64().map(Value::Date),
            DataType::Float | DataType::Double => {
                Some(decimal?.to_f64()).filter(|value| value.is_finite()).map(Value::Float)
            }
            DataType::Enum(words) => u16::try_from(wire)
                .ok()
                .filter(|index| usize::from(*index) < words.len())
                .map(Value::Enum),
            _ => None,
        }
    }

    /// A real number of the wire as a value of this type.
    pub(crate) fn real(&self, wire: f64, data: &DataType) -> Option<Value> {
        let scaled = self.scale.map_or(wire, |scale| scale.scale_f64(wire));
        let value = scaled + self.offset.map_or(0.0, Decimal::to_f64);
        let number = matches!(data, DataType::Float | DataType::Double) && value.is_finite();
        number.then_some(Value::Float(value))
    }

    /// A truth value of the wire as a value of this type.
    pub(crate) fn truth(&self, wire: bool, data: &DataType) -> Option<Value> {
        if !self.choices.is_empty() {
            return self.choice(if wire { "true" } else { "false" });
        }
        (*data == DataType::Bool).then_some(Value::Bool(wire))
    }

    /// A word of the wire as a value of this type; texts themselves are taken by the caller, who owns the arena.
    pub(crate) fn word(&self, wire: &str, data: &DataType) -> Option<Value> {
        match data {
            _ if !self.choices.is_empty() => self.choice(wire),
            DataType::Enum(words) => {
                let index = words.iter().position(|word| **word == *wire)?;
                Some(Value::Enum(index as u16))
            }
            _ => None,
        }
    }
}
