//! Conditions of the reference interpreter: trees walked over the whole history of a device.

use super::expr::{Arithmetic, Expr, parse};
use super::model::PropertyKind;
use super::reference::Reference;
use crate::record::Millis;
use crate::thing::MissingPolicy;

fn names(expr: &Expr, to: &mut Vec<String>) {
    match expr {
        Expr::Name(name) => to.push(name.clone()),
        Expr::Call(name, _) if name == "attr" => {}
        Expr::Call(_, list) => list.iter().for_each(|e| names(e, to)),
        Expr::Negative(a) | Expr::Not(a) => names(a, to),
        Expr::Arithmetic(_, a, b) | Expr::Compare(_, a, b) | Expr::And(a, b) | Expr::Or(a, b) => {
            names(a, to);
            names(b, to);
        }
        _ => {}
    }
}

impl Reference {
    pub(super) fn properties(&self, rule: usize) -> Vec<String> {
        let text = &self.rules[rule];
        let mut found = Vec::new();
        let steps =
            text.severity.steps.iter().flat_map(|s| {
                [Some(s.when.text.clone()), s.until.as_ref().map(|u| u.text.clone())]
            });
        for text in [Some(text.when.text.clone()), text.clear.as_ref().map(|c| c.text.clone())]
            .into_iter()
            .chain(steps)
            .flatten()
        {
            names(&parse(&text).unwrap(), &mut found);
        }
        found
    }

    /// Newest value at or before `t` that still counts.
    fn value(&self, rule: usize, name: &str, t: Millis) -> Option<f64> {
        let set = self.history.iter().rev().find(|(_, set)| set.contains_key(name))?;
        self.is_fresh(rule, set.0, t).then(|| set.1[name])
    }

    fn is_fresh(&self, rule: usize, measured: Millis, t: Millis) -> bool {
        let keep = self.rules[rule].missing == MissingPolicy::Keep;
        keep || self.model.valid_for.is_none_or(|valid| measured >= t - valid)
    }

    /// The newest value of an earlier instant than the newest one's.
    fn previous(&self, rule: usize, name: &str, t: Millis) -> Option<f64> {
        let mut sets = self.history.iter().rev().filter(|(_, set)| set.contains_key(name));
        let newest = sets.next()?.0;
        let set = sets.find(|set| set.0 < newest)?;
        self.is_fresh(rule, set.0, t).then(|| set.1[name])
    }

    /// Everything received whose pane is the one of `t` or one of the eleven before it.
    fn window(&self, function: &str, name: &str, span: Millis, t: Millis) -> Option<f64> {
        let pane = |t: Millis| t.div_euclid((span + 11) / 12);
        let held = |at: Millis| (pane(t) - 11..=pane(t)).contains(&pane(at));
        let all: Vec<(Millis, f64)> = self
            .received
            .iter()
            .filter(|(at, _)| held(*at))
            .filter_map(|(at, set)| Some((*at, *set.get(name)?)))
            .collect();
        if all.len() < 2 {
            return None;
        }
        let values = || all.iter().map(|(_, value)| *value);
        // Of several samples of one instant the first received stands for it.
        let first = all.iter().min_by_key(|(at, _)| *at)?;
        let last = all.iter().rev().max_by_key(|(at, _)| *at)?;
        let value = match function {
            "avg" => values().sum::<f64>() / all.len() as f64,
            "min" => values().fold(f64::INFINITY, f64::min),
            "max" => values().fold(f64::NEG_INFINITY, f64::max),
            "sum" => values().sum(),
            "count" => all.len() as f64,
            "delta" => last.1 - first.1,
            "rate" => (last.1 - first.1) / ((last.0 - first.0) as f64 / 1000.0),
            _ => return None,
        };
        value.is_finite().then_some(value)
    }

    fn number(&self, expr: &Expr, rule: usize, t: Millis) -> Option<f64> {
        let value = match expr {
            Expr::Number(value) => *value,
            Expr::Bool(value) => f64::from(u8::from(*value)),
            Expr::Name(name) => self.value(rule, name, t)?,
            Expr::Call(name, list) => match (name.as_str(), &list[..]) {
                ("attr", [Expr::Word(word)]) => *self.attrs.get(word)?,
                ("prev", [Expr::Name(property)]) => self.previous(rule, property, t)?,
                (function, [Expr::Name(property), Expr::Duration(span)]) => {
                    self.window(function, property, *span, t)?
                }
                _ => return None,
            },
            Expr::Negative(a) => -self.number(a, rule, t)?,
            Expr::Arithmetic(op, a, b) => {
                let (a, b) = (self.number(a, rule, t)?, self.number(b, rule, t)?);
                match op {
                    Arithmetic::Add => a + b,
                    Arithmetic::Subtract => a - b,
                    Arithmetic::Multiply => a * b,
                    Arithmetic::Divide => a / b,
                }
            }
            _ => f64::from(u8::from(self.truth(expr, rule, t)?)),
        };
        value.is_finite().then_some(value)
    }

    fn word_index(&self, word: &str, other: &Expr) -> f64 {
        let name = match other {
            Expr::Name(name) => name,
            Expr::Call(_, list) => match &list[..] {
                [Expr::Name(name)] => name,
                _ => return f64::NAN,
            },
            _ => return f64::NAN,
        };
        let property = self.model.properties.iter().find(|p| p.identifier == *name).unwrap();
        let PropertyKind::Enum(values) = &property.kind else { return f64::NAN };
        values.iter().position(|v| v == word).unwrap() as f64
    }

    fn truth(&self, expr: &Expr, rule: usize, t: Millis) -> Option<bool> {
        match expr {
            Expr::Not(a) => Some(!self.truth(a, rule, t)?),
            Expr::And(a, b) => match (self.truth(a, rule, t), self.truth(b, rule, t)) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            },
            Expr::Or(a, b) => match (self.truth(a, rule, t), self.truth(b, rule, t)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            },
            Expr::Compare(op, a, b) => {
                let a_value = match &**a {
                    Expr::Word(word) => Some(self.word_index(word, b)),
                    a => self.number(a, rule, t),
                };
                let b_value = match &**b {
                    Expr::Word(word) => Some(self.word_index(word, a)),
                    b => self.number(b, rule, t),
                };
                Some(op.holds(a_value?, b_value?))
            }
            other => Some(self.number(other, rule, t)? == 1.0),
        }
    }

    pub(super) fn ask(&self, text: &str, rule: usize, t: Millis) -> Option<bool> {
        self.truth(&parse(text).unwrap(), rule, t)
    }
}
