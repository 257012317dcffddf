//! Flat condition programs: what runs on every sample.
//!
//! Truth and numbers share one stack of `f64`: true is 1, false is 0, and NaN is UNKNOWN (Kleene logic). A number that is
//! not finite (division by zero, overflow) is UNKNOWN too. Types, names and the stack depth are checked by `condition`, so
//! that running a program cannot fail, allocate or panic.

use super::expr::{Arithmetic, Compare};
use super::memory::{Memory, Slot};
use super::window::Function;
use crate::record::Millis;

/// Deepest value stack of a condition.
pub const STACK_MAX: usize = 16;
pub(super) const UNKNOWN: f64 = f64::NAN;

/// What a program reads beside its constants.
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    /// Values of the device.
    pub memory: &'a Memory,
    /// Spans of its windows.
    pub spans: &'a [WindowSpan],
    /// Device time, up to which windows reach.
    pub t: Millis,
    /// Values older than this are UNKNOWN.
    pub horizon: Millis,
    /// By attribute index of the product.
    pub attributes: &'a [Option<f64>],
}

/// A window of the product: of which slot, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowSpan {
    /// Slot of its property.
    pub slot: u8,
    /// In ms.
    pub span: Millis,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Op {
    Push(f64),
    Property(u8),
    /// `prev()`, by its number in the product.
    Previous(u8),
    /// A window function, by the number of the window in the product.
    Window(u8, Function),
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
    pub(super) ops: Vec<Op>,
    /// Bit per slot that the condition reads.
    pub mask: u128,
    /// Bit per window of the product that it reads.
    pub windows: u64,
}

impl Program {
    /// Whether the condition is certainly true.
    #[inline]
    #[must_use]
    pub fn is_true(&self, inputs: &Inputs<'_>) -> bool {
        self.run(inputs) == 1.0
    }

    /// Whether the condition is certainly false.
    #[inline]
    #[must_use]
    pub fn is_false(&self, inputs: &Inputs<'_>) -> bool {
        self.run(inputs) == 0.0
    }

    /// The value; NaN is UNKNOWN.
    #[inline]
    #[must_use]
    pub fn run(&self, inputs: &Inputs<'_>) -> f64 {
        // Most conditions are one comparison, which needs no stack.
        if let [Op::PropertyCompare { slot, compare, with }] = *self.ops {
            return compared(compare, inputs.property(slot), with);
        }
        self.run_all(inputs)
    }

    fn run_all(&self, inputs: &Inputs<'_>) -> f64 {
        let mut stack = [UNKNOWN; STACK_MAX];
        // One above the top. Compilation proved 0 < top ≤ STACK_MAX; the masks spare the bounds checks.
        let mut top = 0_usize;
        for op in &self.ops {
            match *op {
                Op::Push(value) => push(&mut stack, &mut top, value),
                Op::Property(slot) => push(&mut stack, &mut top, inputs.property(slot)),
                Op::Previous(number) => push(&mut stack, &mut top, inputs.previous(number)),
                Op::Window(number, function) => {
                    push(&mut stack, &mut top, inputs.window(number, function));
                }
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
        self.valid(self.memory.slots.get(usize::from(slot)))
    }

    fn previous(&self, number: u8) -> f64 {
        self.valid(self.memory.previous.get(usize::from(number)))
    }

    #[inline]
    fn valid(&self, slot: Option<&Slot>) -> f64 {
        slot.filter(|slot| slot.t >= self.horizon).map_or(UNKNOWN, |slot| slot.value)
    }

    fn window(&self, number: u8, function: Function) -> f64 {
        let number = usize::from(number);
        let window = self.memory.windows.get(number).zip(self.spans.get(number));
        window.map_or(UNKNOWN, |(window, of)| window.value(function, of.span, self.t))
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
