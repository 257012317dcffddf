//! UCUM unit codes, as far as sensors use them: enough to refuse `°C`, `米` and typing errors.

/// Atoms that take a metric prefix.
const METRIC: [&str; 34] = [
    "m", "g", "s", "A", "K", "mol", "cd", "L", "l", "V", "W", "Pa", "N", "J", "Hz", "Ohm", "C",
    "F", "H", "T", "S", "Cel", "B", "bar", "lm", "lx", "Bq", "Gy", "Sv", "kat", "eV", "t", "Wb",
    "cal",
];
/// Atoms that take none.
const PLAIN: [&str; 16] = [
    "%", "deg", "min", "h", "d", "wk", "mo", "a", "har", "'", "''", "gon", "10*", "10^", "u", "sph",
];
/// Metric prefixes, longest first.
const PREFIXES: [&str; 21] = [
    "da", "Y", "Z", "E", "P", "T", "G", "M", "k", "h", "d", "c", "m", "u", "n", "p", "f", "a", "z",
    "y", "",
];

/// Whether this is a UCUM code that we know.
pub(crate) fn is_ucum(code: &str) -> bool {
    !code.is_empty()
        && code.is_ascii()
        && split_terms(code).is_some_and(|terms| terms.iter().all(|term| is_term(term)))
}

/// Splits at `.` and `/` outside of braces and brackets.
fn split_terms(code: &str) -> Option<Vec<&str>> {
    let mut terms = Vec::new();
    let (mut start, mut open) = (0, None);
    let code = code.strip_prefix('/').unwrap_or(code);
    for (at, character) in code.char_indices() {
        match (open, character) {
            (None, '{') => open = Some('}'),
            (None, '[') => open = Some(']'),
            (Some(close), other) if close == other => open = None,
            (None, '.' | '/') => {
                terms.push(&code[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    terms.push(&code[start..]);
    open.is_none().then_some(terms)
}

fn is_term(term: &str) -> bool {
    let unit = match term.find('{') {
        Some(0) => return term.len() > 2 && term.find('}') == Some(term.len() - 1),
        Some(at) if term.ends_with('}') => &term[..at],
        Some(_) => return false,
        None => term,
    };
    if !unit.is_empty() && unit.bytes().all(|byte| byte.is_ascii_digit()) {
        return true;
    }
    let exponent = if unit.starts_with("10") { 3 } else { 0 };
    let bare = unit.get(exponent..).unwrap_or_default();
    let digits = bare.trim_end_matches(|c: char| c.is_ascii_digit());
    let digits = digits.trim_end_matches(['+', '-']);
    let atom = &unit[..exponent.min(unit.len()) + digits.len()];
    if let Some(inner) = atom.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return !inner.is_empty() && !inner.contains(['[', ']']);
    }
    PLAIN.contains(&atom)
        || PREFIXES
            .iter()
            .any(|prefix| atom.strip_prefix(prefix).is_some_and(|rest| METRIC.contains(&rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_of_the_thing_model() {
        for code in [
            "m", "V", "Cel", "%", "ug/m3", "[ppm]", "deg", "dB", "s", "%{LEL}", "mm/h", "{NTU}",
            "kPa", "m3/h", "uS/cm", "[pH]", "10*3/uL", "L/min",
        ] {
            assert!(is_ucum(code), "{code}");
        }
        for code in ["", "°C", "米", "meter", "[ppm", "ug//m3", "V{", "{}", "m/"] {
            assert!(!is_ucum(code), "{code}");
        }
    }
}
