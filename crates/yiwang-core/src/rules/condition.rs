//! Condition trees to programs: names resolved, types and stack depth checked at load.
//!
//! Owns what a condition may say of a product and the limits on what its rules remember of a device. It gives every
//! property, `prev()` and window that any rule reads its number within the product, so that rules share them.

use super::expr::{Compare, Expr};
use super::model::{Model, PropertyKind};
use super::program::{Binary, Operand, Program, STACK_MAX, Step, UNKNOWN, WindowSpan};
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
    match build(expr, model, slots)? {
        (Type::Bool, program) => Ok(program),
        _ => Err("a condition must be true or false, not a value".to_owned()),
    }
}

/// Compiles a number, e.g. the threshold of a rule for its text.
///
/// # Errors
/// One sentence on what does not fit.
pub fn compile_value(expr: &Expr, model: &Model, slots: &mut Slots) -> Result<Program, String> {
    match build(expr, model, slots)? {
        (Type::Number, program) => Ok(program),
        _ => Err("not a number".to_owned()),
    }
}

fn build(expr: &Expr, model: &Model, slots: &mut Slots) -> Result<(Type, Program), String> {
    let mut build = Build { model, slots, program: Program::default(), made: Vec::new() };
    let kind = build.visit(expr)?;
    let Build { mut program, mut made, .. } = build;
    let made = made.pop().unwrap_or(Made::Leaf(Operand::Number(UNKNOWN)));
    program.aside = made.depth();
    if program.aside > STACK_MAX {
        return Err(format!("condition puts more than {STACK_MAX} values aside at once"));
    }
    program.steps = made.steps();
    Ok((kind, program))
}

/// A part of a condition as it is made: something to read, or steps after which it is the value at hand.
enum Made {
    Leaf(Operand),
    /// The steps, and how many values they put aside at once.
    Steps(Vec<Step>, usize),
}

impl Made {
    fn depth(&self) -> usize {
        match self {
            Self::Leaf(_) => 0,
            Self::Steps(_, depth) => *depth,
        }
    }

    fn steps(self) -> Vec<Step> {
        match self {
            Self::Leaf(operand) => vec![Step::Load(operand)],
            Self::Steps(steps, _) => steps,
        }
    }

    fn then(self, step: Step) -> Self {
        let depth = self.depth();
        let mut steps = self.steps();
        steps.push(step);
        Self::Steps(steps, depth)
    }

    fn join(self, binary: Binary, right: Self) -> Result<Self, String> {
        let (left, further) = (self.depth(), right.depth());
        let mut steps = self.steps();
        let (rest, depth) = match right {
            Self::Leaf(operand) => (vec![Step::With(binary, operand)], left),
            Self::Steps(of, _) => {
                let rest = [Step::Aside].into_iter().chain(of).chain([Step::Join(binary)]);
                (rest.collect(), left.max(further + 1))
            }
        };
        if let Some(by) = binary.decided_by() {
            let count = u16::try_from(rest.len());
            let count = count.map_err(|_| "condition is too long".to_owned())?;
            steps.push(Step::Decided { by, steps: count });
        }
        steps.extend(rest);
        Ok(Self::Steps(steps, depth))
    }
}

struct Build<'a> {
    model: &'a Model,
    slots: &'a mut Slots,
    program: Program,
    /// The parts that stand for themselves as yet.
    made: Vec<Made>,
}

impl Build<'_> {
    fn leaf(&mut self, operand: Operand) {
        self.made.push(Made::Leaf(operand));
    }

    fn unary(&mut self, step: Step) {
        if let Some(made) = self.made.pop() {
            self.made.push(made.then(step));
        }
    }

    fn binary(&mut self, binary: Binary) -> Result<(), String> {
        if let (Some(right), Some(left)) = (self.made.pop(), self.made.pop()) {
            self.made.push(left.join(binary, right)?);
        }
        Ok(())
    }

    fn visit(&mut self, expr: &Expr) -> Result<Type, String> {
        match expr {
            Expr::Number(value) => {
                self.leaf(Operand::Number(*value));
                Ok(Type::Number)
            }
            Expr::Bool(value) => {
                self.leaf(Operand::Number(f64::from(u8::from(*value))));
                Ok(Type::Bool)
            }
            Expr::Word(word) => Ok(Type::Word(word.clone())),
            Expr::Duration(_) => Err("a duration stands only inside a function".to_owned()),
            Expr::Name(name) => self.property(name),
            Expr::Call(name, arguments) => self.call(name, arguments),
            Expr::Negative(inner) => {
                self.expect(inner, &Type::Number, "`-`")?;
                self.unary(Step::Negative);
                Ok(Type::Number)
            }
            Expr::Arithmetic(operation, a, b) => {
                self.expect(a, &Type::Number, "arithmetic")?;
                self.expect(b, &Type::Number, "arithmetic")?;
                self.binary(Binary::Arithmetic(*operation))?;
                Ok(Type::Number)
            }
            Expr::Compare(compare, a, b) => self.comparison(*compare, a, b),
            Expr::And(a, b) => self.logic(Binary::And, "`and`", a, b),
            Expr::Or(a, b) => self.logic(Binary::Or, "`or`", a, b),
            Expr::Not(inner) => {
                self.expect(inner, &Type::Bool, "`not`")?;
                self.unary(Step::Not);
                Ok(Type::Bool)
            }
        }
    }

    fn logic(&mut self, binary: Binary, name: &str, a: &Expr, b: &Expr) -> Result<Type, String> {
        self.expect(a, &Type::Bool, name)?;
        self.expect(b, &Type::Bool, name)?;
        self.binary(binary)?;
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
        self.leaf(Operand::Property(slot));
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
        self.leaf(Operand::Window(number, function));
        Ok(Type::Number)
    }

    fn call(&mut self, name: &str, arguments: &[Expr]) -> Result<Type, String> {
        match (name, arguments) {
            ("attr", [Expr::Word(word)]) => {
                let index = self.model.attributes.iter().position(|a| a.identifier == *word);
                let index = index.ok_or_else(|| format!("unknown attribute '{word}'"))?;
                let default = self.model.attributes[index].default.unwrap_or(UNKNOWN);
                self.leaf(Operand::Attribute { index: index as u16, default });
                Ok(Type::Number)
            }
            ("attr", _) => Err("attr() takes one quoted attribute".to_owned()),
            ("absent", _) => Err("absent() must be the whole of `when`".to_owned()),
            ("prev", [Expr::Name(property)]) => {
                let (slot, kind) = self.slot(property)?;
                let number = self.slots.previous_of(slot);
                self.leaf(Operand::Previous(number));
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
                self.leaf(Operand::Number(index as f64));
            }
            _ => {
                let (left, right) = (left.describe(), right.describe());
                return Err(format!("cannot compare {left} with {right} in this way"));
            }
        }
        self.binary(Binary::Compare(compare))?;
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
