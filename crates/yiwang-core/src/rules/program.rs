//! Flat condition programs: what runs on every sample.
//!
//! Truth and numbers are `f64` alike: true is 1, false is 0, and NaN is UNKNOWN (Kleene logic). A number that is
//! not finite (division by zero, overflow) is UNKNOWN too. A program has one value at hand and takes most operands from where
//! they lie; the stack is for what must be put aside meanwhile. What is decided already is skipped. Types, names and the depth
//! of the stack are checked by `condition`, so that running a program cannot fail, allocate or panic.

use super::expr::{Arithmetic, Compare};
use super::memory::{Memory, Slot};
use super::window::Function;
use crate::record::Millis;

/// Most values that a condition puts aside at once.
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

/// What a step reads without the stack.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Operand {
    Number(f64),
    Property(u8),
    /// `prev()`, by its number in the product.
    Previous(u8),
    /// A window function, by the number of the window in the product.
    Window(u8, Function),
    Attribute {
        index: u16,
        default: f64,
    },
}

/// What two values become.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Binary {
    Arithmetic(Arithmetic),
    Compare(Compare),
    And,
    Or,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Step {
    /// The value at hand becomes this one.
    Load(Operand),
    /// The value at hand and this one become one.
    With(Binary, Operand),
    /// The value at hand is put aside.
    Aside,
    /// What was put aside last and the value at hand become one.
    Join(Binary),
    Negative,
    Not,
    /// So many steps are left out if the value at hand is this one: whatever they say, it stays.
    Decided {
        by: f64,
        steps: u16,
    },
}

/// A compiled condition.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Program {
    pub(super) steps: Vec<Step>,
    /// How many values it puts aside at once.
    pub(super) aside: usize,
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
        // Most conditions compare one property with a number.
        if let [
            Step::Load(Operand::Property(slot)),
            Step::With(Binary::Compare(compare), Operand::Number(with)),
        ] = *self.steps
        {
            return compared(compare, inputs.property(slot), with);
        }
        self.run_all(inputs)
    }

    fn run_all(&self, inputs: &Inputs<'_>) -> f64 {
        // Of the others most are another comparison, or begin with one that decides them.
        let [Step::Load(first), Step::With(Binary::Compare(compare), with), rest @ ..] =
            &*self.steps
        else {
            return self.run_steps(UNKNOWN, &self.steps, inputs);
        };
        let value = compared(*compare, inputs.operand(first), inputs.operand(with));
        match rest {
            [] => value,
            [Step::Decided { by, steps }, ..]
                if value == *by && usize::from(*steps) + 1 == rest.len() =>
            {
                value
            }
            _ => self.run_steps(value, rest, inputs),
        }
    }

    fn run_steps(&self, value: f64, steps: &[Step], inputs: &Inputs<'_>) -> f64 {
        // Hardly any puts more than one value aside, and to clear a whole stack costs more than a step.
        if self.aside <= 1 {
            run::<1>(value, steps, inputs)
        } else {
            run::<STACK_MAX>(value, steps, inputs)
        }
    }
}

/// The steps after a value at hand.
fn run<const STACK: usize>(mut value: f64, steps: &[Step], inputs: &Inputs<'_>) -> f64 {
    let mut stack = [UNKNOWN; STACK];
    // Compilation proved 0 <= top <= STACK; the remainders spare the bounds checks.
    let mut top = 0_usize;
    let mut at = 0;
    while let Some(step) = steps.get(at) {
        at += 1;
        match step {
            Step::Load(operand) => value = inputs.operand(operand),
            Step::With(binary, operand) => value = binary.of(value, inputs.operand(operand)),
            Step::Aside => {
                stack[top % STACK] = value;
                top += 1;
            }
            Step::Join(binary) => {
                top = top.wrapping_sub(1);
                value = binary.of(stack[top % STACK], value);
            }
            Step::Negative => value = -value,
            Step::Not => value = 1.0 - value,
            Step::Decided { by, steps } if value == *by => at += usize::from(*steps),
            Step::Decided { .. } => {}
        }
    }
    value
}

impl Binary {
    #[inline]
    fn of(self, a: f64, b: f64) -> f64 {
        match self {
            Self::Arithmetic(operation) => {
                let value = match operation {
                    Arithmetic::Add => a + b,
                    Arithmetic::Subtract => a - b,
                    Arithmetic::Multiply => a * b,
                    Arithmetic::Divide => a / b,
                };
                // At once: 1 / (1 / 0) is not 0.
                if value.is_finite() { value } else { UNKNOWN }
            }
            Self::Compare(compare) => compared(compare, a, b),
            Self::And if a == 0.0 || b == 0.0 => 0.0,
            Self::And => a * b,
            Self::Or if a == 1.0 || b == 1.0 => 1.0,
            Self::Or => a + b,
        }
    }

    /// The value of its left side that makes its right side idle.
    pub(super) fn decided_by(self) -> Option<f64> {
        match self {
            Self::And => Some(0.0),
            Self::Or => Some(1.0),
            Self::Arithmetic(_) | Self::Compare(_) => None,
        }
    }
}

impl Inputs<'_> {
    #[inline]
    fn operand(&self, operand: &Operand) -> f64 {
        match *operand {
            Operand::Number(value) => value,
            Operand::Property(slot) => self.property(slot),
            Operand::Previous(number) => self.previous(number),
            Operand::Window(number, function) => self.window(number, function),
            Operand::Attribute { index, default } => {
                let value = self.attributes.get(usize::from(index)).copied().flatten();
                value.unwrap_or(default)
            }
        }
    }

    #[inline]
    fn property(&self, slot: u8) -> f64 {
        self.valid(self.memory.slots.get(usize::from(slot)))
    }

    #[inline]
    fn previous(&self, number: u8) -> f64 {
        self.valid(self.memory.previous.get(usize::from(number)))
    }

    #[inline]
    fn valid(&self, slot: Option<&Slot>) -> f64 {
        slot.filter(|slot| slot.t >= self.horizon).map_or(UNKNOWN, |slot| slot.value)
    }

    /// Never inlined: it is long, and would take the registers of what is short.
    #[inline(never)]
    fn window(&self, number: u8, function: Function) -> f64 {
        let number = usize::from(number);
        let window = self.memory.windows.get(number).zip(self.spans.get(number));
        window.map_or(UNKNOWN, |(window, of)| window.value(function, of.span, self.t))
    }
}

#[inline]
fn compared(compare: Compare, a: f64, b: f64) -> f64 {
    if a.is_finite() && b.is_finite() { f64::from(u8::from(compare.holds(a, b))) } else { UNKNOWN }
}
