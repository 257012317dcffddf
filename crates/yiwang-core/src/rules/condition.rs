//! Condition trees to programs: names resolved, types and stack depth checked at load.
//!
//! Owns what a condition may say of a product and the limits on what its rules remember of a device. It gives every
//! property, `prev()` and window that any rule reads its number within the product, so that rules share them.

use super::expr::{Compare, Expr};
use super::model::{Model, PropertyKind};
use super::program::{Op, Program, STACK_MAX, UNKNOWN, WindowSpan};
use super::window::{Function, SPAN_MS_MAX, SPAN_MS_MIN};

/// Most properties that the rules of one product may read together.
pub const SLOTS_MAX: usize = 128;
/// Most windows, each a property and a span, that the rules of one product may read together: memory of every device.
pub const PRODUCT_WINDOWS_MAX: usize = 64;

/// What the rules of a product remember of a device, numbered while they are compiled.
#[derive(Debug, Default)]
pub struct Slots {
    /// Property index by slot.
    pub properties: Vec<u16>,
    /// Slot by number of `prev()`.
    pub previous: Vec<u8>,
    /// By number of the window.
    pub windows: Vec<WindowSpan>,
}

impl Slots {
    fn of(&mut self, property: u16) -> Result<u8, String> {
        let slot = position_or_push(&mut self.properties, property);
        if slot >= SLOTS_MAX {
            return Err(format!("rules of one product read more than {SLOTS_MAX} properties"));
        }
        Ok(slot as u8)
    }

    fn previous_of(&mut self, slot: u8) -> u8 {
        // At most as many as there are slots, so the number fits.
        position_or_push(&mut self.previous, slot) as u8
    }

    fn window_of(&mut self, window: WindowSpan) -> Result<u8, String> {
        let number = position_or_push(&mut self.windows, window);
        if number >= PRODUCT_WINDOWS_MAX {
            return Err(format!(
                "rules of one product read more than {PRODUCT_WINDOWS_MAX} windows"
            ));
        }
        Ok(number as u8)
    }
}

fn position_or_push<T: PartialEq>(list: &mut Vec<T>, item: T) -> usize {
    list.iter().position(|known| *known == item).unwrap_or_else(|| {
        list.push(item);
        list.len() - 1
    })
}

#[derive(Clone, Debug, PartialEq)]
enum Type {
    Number,
    Bool,
    Enum(Vec<String>),
    Word(String),
}

/// Compiles a condition; its value must be a truth value.
///
/// # Errors
/// One sentence on what does not fit.
pub fn compile(expr: &Expr, model: &Model, slots: &mut Slots) -> Result<Program, String> {
    let mut build = Build { model, slots, program: Program::default(), depth: 0, deepest: 0 };
    match build.visit(expr)? {
        Type::Bool => {}
        _ => return Err("a condition must be true or false, not a value".to_owned()),
    }
    if build.deepest > STACK_MAX {
        return Err(format!("condition needs more than {STACK_MAX} values at once"));
    }
    let mut program = build.program;
    program.ops = fuse(&program.ops);
    Ok(program)
}

/// Compiles a number, e.g. the threshold of a rule for its text.
///
/// # Errors
/// One sentence on what does not fit.
pub fn compile_value(expr: &Expr, model: &Model, slots: &mut Slots) -> Result<Program, String> {
    let mut build = Build { model, slots, program: Program::default(), depth: 0, deepest: 0 };
    match build.visit(expr)? {
        Type::Number if build.deepest <= STACK_MAX => Ok(build.program),
        _ => Err("not a number".to_owned()),
    }
}

/// Turns `property constant compare` into one step.
fn fuse(ops: &[Op]) -> Vec<Op> {
    let mut fused: Vec<Op> = Vec::with_capacity(ops.len());
    for op in ops {
        let tail = fused.len().checked_sub(2).and_then(|start| fused.get(start..));
        if let (Op::Compare(compare), Some([Op::Property(slot), Op::Push(with)])) = (op, tail) {
            let step = Op::PropertyCompare { slot: *slot, compare: *compare, with: *with };
            fused.truncate(fused.len() - 2);
            fused.push(step);
        } else {
            fused.push(*op);
        }
    }
    fused
}

struct Build<'a> {
    model: &'a Model,
    slots: &'a mut Slots,
    program: Program,
    depth: usize,
    deepest: usize,
}

impl Build<'_> {
    fn op(&mut self, op: Op, effect: isize) {
        self.depth = self.depth.saturating_add_signed(effect);
        self.deepest = self.deepest.max(self.depth);
        self.program.ops.push(op);
    }

    fn visit(&mut self, expr: &Expr) -> Result<Type, String> {
        match expr {
            Expr::Number(value) => {
                self.op(Op::Push(*value), 1);
                Ok(Type::Number)
            }
            Expr::Bool(value) => {
                self.op(Op::Push(f64::from(u8::from(*value))), 1);
                Ok(Type::Bool)
            }
            Expr::Word(word) => Ok(Type::Word(word.clone())),
            Expr::Duration(_) => Err("a duration stands only inside a function".to_owned()),
            Expr::Name(name) => self.property(name),
            Expr::Call(name, arguments) => self.call(name, arguments),
            Expr::Negative(inner) => {
                self.expect(inner, &Type::Number, "`-`")?;
                self.op(Op::Negative, 0);
                Ok(Type::Number)
            }
            Expr::Arithmetic(operation, a, b) => {
                self.expect(a, &Type::Number, "arithmetic")?;
                self.expect(b, &Type::Number, "arithmetic")?;
                self.op(Op::Arithmetic(*operation), -1);
                Ok(Type::Number)
            }
            Expr::Compare(compare, a, b) => self.comparison(*compare, a, b),
            Expr::And(a, b) => self.logic(Op::And, "`and`", a, b),
            Expr::Or(a, b) => self.logic(Op::Or, "`or`", a, b),
            Expr::Not(inner) => {
                self.expect(inner, &Type::Bool, "`not`")?;
                self.op(Op::Not, 0);
                Ok(Type::Bool)
            }
        }
    }

    fn logic(&mut self, op: Op, name: &str, a: &Expr, b: &Expr) -> Result<Type, String> {
        self.expect(a, &Type::Bool, name)?;
        self.expect(b, &Type::Bool, name)?;
        self.op(op, -1);
        Ok(Type::Bool)
    }

    fn expect(&mut self, expr: &Expr, wanted: &Type, by: &str) -> Result<(), String> {
        let found = self.visit(expr)?;
        if found == *wanted {
            return Ok(());
        }
        let word = if *wanted == Type::Bool { "true or false" } else { "a number" };
        Err(format!("{by} needs {word}, found {}", found.describe()))
    }

    fn property(&mut self, name: &str) -> Result<Type, String> {
        let (slot, kind) = self.slot(name)?;
        self.op(Op::Property(slot), 1);
        Ok(kind)
    }

    /// The slot of a property, and what it can be compared with.
    fn slot(&mut self, name: &str) -> Result<(u8, Type), String> {
        let index = self.model.properties.iter().position(|p| p.identifier == name);
        let index = index.ok_or_else(|| format!("unknown property `{name}`"))?;
        let kind = match &self.model.properties[index].kind {
            PropertyKind::Number => Type::Number,
            PropertyKind::Bool => Type::Bool,
            PropertyKind::Enum(values) => Type::Enum(values.clone()),
            PropertyKind::Opaque => {
                return Err(format!("property `{name}` is not a number, bool or enum"));
            }
        };
        let slot = self.slots.of(index as u16)?;
        self.program.mask |= 1 << slot;
        Ok((slot, kind))
    }

    fn window(&mut self, name: &str, function: Function, of: &[Expr]) -> Result<Type, String> {
        let [Expr::Name(property), Expr::Duration(span)] = of else {
            return Err(format!("{name}() takes a property and a duration, e.g. {name}(x, 10m)"));
        };
        let span = *span;
        if !(SPAN_MS_MIN..=SPAN_MS_MAX).contains(&span) {
            return Err(format!("{name}() spans {SPAN_MS_MIN} ms to {SPAN_MS_MAX} ms, not {span}"));
        }
        let (slot, kind) = self.slot(property)?;
        if !matches!(kind, Type::Number | Type::Bool) {
            return Err(format!("{name}() needs a number, found {}", kind.describe()));
        }
        let number = self.slots.window_of(WindowSpan { slot, span })?;
        self.program.windows |= 1 << number;
        self.op(Op::Window(number, function), 1);
        Ok(Type::Number)
    }

    fn call(&mut self, name: &str, arguments: &[Expr]) -> Result<Type, String> {
        match (name, arguments) {
            ("attr", [Expr::Word(word)]) => {
                let index = self.model.attributes.iter().position(|a| a.identifier == *word);
                let index = index.ok_or_else(|| format!("unknown attribute '{word}'"))?;
                let default = self.model.attributes[index].default.unwrap_or(UNKNOWN);
                self.op(Op::Attribute { index: index as u16, default }, 1);
                Ok(Type::Number)
            }
            ("attr", _) => Err("attr() takes one quoted attribute".to_owned()),
            ("absent", _) => Err("absent() must be the whole of `when`".to_owned()),
            ("prev", [Expr::Name(property)]) => {
                let (slot, kind) = self.slot(property)?;
                let number = self.slots.previous_of(slot);
                self.op(Op::Previous(number), 1);
                Ok(kind)
            }
            ("prev", _) => Err("prev() takes one property".to_owned()),
            _ => match Function::parse(name) {
                Some(function) => self.window(name, function, arguments),
                None => Err(format!("unknown function `{name}`")),
            },
        }
    }

    fn comparison(&mut self, compare: Compare, a: &Expr, b: &Expr) -> Result<Type, String> {
        let left = self.visit(a)?;
        let right = self.visit(b)?;
        let equality = matches!(compare, Compare::Equal | Compare::NotEqual);
        match (&left, &right) {
            (Type::Number, Type::Number) => {}
            (Type::Bool, Type::Bool) if equality => {}
            (Type::Enum(values), Type::Word(word)) | (Type::Word(word), Type::Enum(values))
                if equality =>
            {
                let index = values.iter().position(|value| value == word);
                let index =
                    index.ok_or_else(|| format!("'{word}' is not one of {}", values.join(", ")))?;
                self.op(Op::Push(index as f64), 1);
            }
            _ => {
                let (left, right) = (left.describe(), right.describe());
                return Err(format!("cannot compare {left} with {right} in this way"));
            }
        }
        self.op(Op::Compare(compare), -1);
        Ok(Type::Bool)
    }
}

impl Type {
    fn describe(&self) -> String {
        match self {
            Self::Number => "a number".to_owned(),
            Self::Bool => "true or false".to_owned(),
            Self::Enum(_) => "an enum".to_owned(),
            Self::Word(word) => format!("the word '{word}'"),
        }
    }
}
