//! Flat condition programs: what a condition tree becomes at load and what runs on every sample.
//!
//! Truth and numbers share one stack of `f64`: true is 1, false is 0, and NaN is UNKNOWN (Kleene logic). A number that is
//! not finite (division by zero, overflow) is UNKNOWN too. Types, names and the stack depth are checked at load, so that
//! running a program cannot fail, allocate or panic.

use super::expr::{Arithmetic, Compare, Expr};
use super::model::{Model, PropertyKind};
use crate::record::Millis;

/// Deepest value stack of a condition.
pub const STACK_MAX: usize = 16;
/// Most properties that the rules of one product may read together.
pub const SLOTS_MAX: usize = 128;

const UNKNOWN: f64 = f64::NAN;

/// The newest valid value of a property of one device.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    /// The value as a number; NaN before the first.
    pub value: f64,
    /// Its time.
    pub t: Millis,
}

impl Slot {
    /// No value yet.
    pub const EMPTY: Self = Self { value: UNKNOWN, t: Millis::MIN };
}

/// What a program reads beside its constants.
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    /// By slot.
    pub slots: &'a [Slot],
    /// Values older than this are UNKNOWN.
    pub horizon: Millis,
    /// By attribute index of the product.
    pub attributes: &'a [Option<f64>],
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Op {
    Push(f64),
    Property(u8),
    Attribute {
        index: u16,
        default: f64,
    },
    Arithmetic(Arithmetic),
    Negative,
    Compare(Compare),
    /// The commonest condition in one step.
    PropertyCompare {
        slot: u8,
        compare: Compare,
        with: f64,
    },
    And,
    Or,
    Not,
}

/// A compiled condition.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Program {
    ops: Vec<Op>,
    /// Bit per slot that the condition reads.
    pub mask: u128,
}

impl Program {
    /// Whether the condition is certainly true.
    #[must_use]
    pub fn is_true(&self, inputs: &Inputs<'_>) -> bool {
        self.run(inputs) == 1.0
    }

    /// Whether the condition is certainly false.
    #[must_use]
    pub fn is_false(&self, inputs: &Inputs<'_>) -> bool {
        self.run(inputs) == 0.0
    }

    /// The value; NaN is UNKNOWN.
    #[must_use]
    pub fn run(&self, inputs: &Inputs<'_>) -> f64 {
        let mut stack = [UNKNOWN; STACK_MAX];
        // One above the top. Compilation proved 0 < top ≤ STACK_MAX; the masks spare the bounds checks.
        let mut top = 0_usize;
        for op in &self.ops {
            match *op {
                Op::Push(value) => push(&mut stack, &mut top, value),
                Op::Property(slot) => push(&mut stack, &mut top, inputs.property(slot)),
                Op::Attribute { index, default } => {
                    let value = inputs.attributes.get(usize::from(index)).copied().flatten();
                    push(&mut stack, &mut top, value.unwrap_or(default));
                }
                Op::PropertyCompare { slot, compare, with } => {
                    let value = compared(compare, inputs.property(slot), with);
                    push(&mut stack, &mut top, value);
                }
                Op::Negative => unary(&mut stack, top, |a| -a),
                Op::Not => unary(&mut stack, top, |a| 1.0 - a),
                Op::Arithmetic(operation) => binary(&mut stack, &mut top, |a, b| match operation {
                    Arithmetic::Add => a + b,
                    Arithmetic::Subtract => a - b,
                    Arithmetic::Multiply => a * b,
                    Arithmetic::Divide => a / b,
                }),
                Op::Compare(compare) => {
                    binary(&mut stack, &mut top, |a, b| compared(compare, a, b));
                }
                Op::And => {
                    binary(
                        &mut stack,
                        &mut top,
                        |a, b| {
                            if a == 0.0 || b == 0.0 { 0.0 } else { a * b }
                        },
                    )
                }
                Op::Or => {
                    binary(
                        &mut stack,
                        &mut top,
                        |a, b| {
                            if a == 1.0 || b == 1.0 { 1.0 } else { a + b }
                        },
                    )
                }
            }
        }
        stack[0]
    }
}

impl Inputs<'_> {
    #[inline]
    fn property(&self, slot: u8) -> f64 {
        match self.slots.get(usize::from(slot)) {
            Some(slot) if slot.t >= self.horizon => slot.value,
            _ => UNKNOWN,
        }
    }
}

#[inline]
fn push(stack: &mut [f64; STACK_MAX], top: &mut usize, value: f64) {
    stack[*top % STACK_MAX] = value;
    *top += 1;
}

#[inline]
fn unary(stack: &mut [f64; STACK_MAX], top: usize, f: impl Fn(f64) -> f64) {
    let at = top.wrapping_sub(1) % STACK_MAX;
    stack[at] = f(stack[at]);
}

#[inline]
fn binary(stack: &mut [f64; STACK_MAX], top: &mut usize, f: impl Fn(f64, f64) -> f64) {
    let (a, b) = (top.wrapping_sub(2) % STACK_MAX, top.wrapping_sub(1) % STACK_MAX);
    stack[a] = f(stack[a], stack[b]);
    *top -= 1;
}

#[inline]
fn compared(compare: Compare, a: f64, b: f64) -> f64 {
    if a.is_finite() && b.is_finite() { f64::from(u8::from(compare.holds(a, b))) } else { UNKNOWN }
}

/// Gives properties their slots while the rules of a product are compiled.
#[derive(Debug, Default)]
pub struct Slots {
    /// Property index by slot.
    pub properties: Vec<u16>,
}

impl Slots {
    fn of(&mut self, property: u16) -> Result<u8, String> {
        let known = self.properties.iter().position(|p| *p == property);
        let slot = known.unwrap_or_else(|| {
            self.properties.push(property);
            self.properties.len() - 1
        });
        if slot >= SLOTS_MAX {
            return Err(format!("rules of one product read more than {SLOTS_MAX} properties"));
        }
        Ok(slot as u8)
    }
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
        self.op(Op::Property(slot), 1);
        Ok(kind)
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
            ("prev" | "avg" | "min" | "max" | "sum" | "count" | "delta" | "rate", _) => {
                Err(format!("{name}() is not yet supported"))
            }
            _ => Err(format!("unknown function `{name}`")),
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
