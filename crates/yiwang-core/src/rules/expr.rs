//! Condition texts to trees: lexer and parser of the rule language.
//!
//! Owns the grammar (`or`, `and`, `not`, one comparison, `+ - * /`, calls) and its error texts. It refuses texts longer
//! or deeper than the named limits, so a hostile file cannot exhaust the stack. It knows no property: names are resolved
//! when the tree is compiled.

/// Longest condition text in bytes.
pub const TEXT_BYTES_MAX: usize = 1024;
/// Deepest nesting of a condition.
pub const NESTING_MAX: usize = 32;

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `>`
    Greater,
    /// `>=`
    AtLeast,
}

impl Compare {
    /// Whether it holds between two known numbers.
    #[must_use]
    pub fn holds(self, a: f64, b: f64) -> bool {
        match self {
            Self::Equal => a == b,
            Self::NotEqual => a != b,
            Self::Less => a < b,
            Self::AtMost => a <= b,
            Self::Greater => a > b,
            Self::AtLeast => a >= b,
        }
    }
}

/// An arithmetic operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`
    Divide,
}

/// A condition as a tree.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// A number.
    Number(f64),
    /// `true`, `false`
    Bool(bool),
    /// A quoted word.
    Word(String),
    /// A property identifier.
    Name(String),
    /// `f(a, b)`
    Call(String, Vec<Expr>),
    /// A duration such as `30m`; only as an argument.
    Duration(i64),
    /// `-a`
    Negative(Box<Expr>),
    /// `a + b` and its kin.
    Arithmetic(Arithmetic, Box<Expr>, Box<Expr>),
    /// `a < b` and its kin.
    Compare(Compare, Box<Expr>, Box<Expr>),
    /// `a and b`
    And(Box<Expr>, Box<Expr>),
    /// `a or b`
    Or(Box<Expr>, Box<Expr>),
    /// `not a`
    Not(Box<Expr>),
}

/// What is wrong with a condition, and at which byte of its text (from 1).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {message}")]
pub struct Fault {
    /// Byte of the text, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Number(f64),
    Duration(i64),
    Word(String),
    Name(String),
    Symbol(&'static str),
    End,
}

const SYMBOLS: [&str; 13] = ["==", "!=", "<=", ">=", "<", ">", "(", ")", ",", "+", "-", "*", "/"];

/// Reads a condition.
///
/// # Errors
/// The first thing that is wrong, with its place.
pub fn parse(text: &str) -> Result<Expr, Fault> {
    if text.len() > TEXT_BYTES_MAX {
        let message = format!("condition is longer than {TEXT_BYTES_MAX} bytes");
        return Err(Fault { column: 1, message });
    }
    let tokens = lex(text)?;
    let mut parser = Parser { tokens, next: 0, depth: 0 };
    let expr = parser.any_of()?;
    match parser.peek() {
        Token::End => Ok(expr),
        other => Err(parser.fault(format!("unexpected {}", describe(&other.clone())))),
    }
}

fn lex(text: &str) -> Result<Vec<(usize, Token)>, Fault> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let Some(first) = rest.chars().next() else { break };
        if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        }
        let (token, length) = if first.is_ascii_digit() {
            number(rest, at)?
        } else if first.is_ascii_alphabetic() {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            let name = &rest[..end.unwrap_or(rest.len())];
            (Token::Name(name.to_owned()), name.len())
        } else if first == '\'' || first == '"' {
            let end = rest[1..].find(first).ok_or_else(|| Fault {
                column: at + 1,
                message: "quoted word has no end".to_owned(),
            })?;
            (Token::Word(rest[1..=end].to_owned()), end + 2)
        } else {
            let symbol = SYMBOLS.into_iter().find(|symbol| rest.starts_with(symbol));
            let symbol = symbol.ok_or_else(|| Fault {
                column: at + 1,
                message: format!("unexpected character `{first}`"),
            })?;
            (Token::Symbol(symbol), symbol.len())
        };
        tokens.push((at + 1, token));
        at += length;
    }
    tokens.push((text.len() + 1, Token::End));
    Ok(tokens)
}

/// A number, or a duration when a unit follows at once.
fn number(rest: &str, at: usize) -> Result<(Token, usize), Fault> {
    let bytes = rest.as_bytes();
    let mut end = 0;
    while end < bytes.len() && (bytes[end].is_ascii_digit() || bytes[end] == b'.') {
        end += 1;
    }
    let tail = &rest[end..];
    if tail.starts_with(['e', 'E']) {
        let sign = usize::from(tail[1..].starts_with(['+', '-']));
        let digits = tail[1 + sign..].bytes().take_while(u8::is_ascii_digit).count();
        if digits > 0 {
            end += 1 + sign + digits;
        }
    }
    let unit = rest[end..].bytes().take_while(u8::is_ascii_alphabetic).count();
    let text = &rest[..end + unit];
    let fault = || Fault { column: at + 1, message: format!("`{text}` is not a number") };
    if unit > 0 {
        let ms = parse_duration(text).ok_or_else(fault)?;
        return Ok((Token::Duration(ms), text.len()));
    }
    let value: f64 = text.parse().map_err(|_| fault())?;
    if value.is_finite() { Ok((Token::Number(value), text.len())) } else { Err(fault()) }
}

fn describe(token: &Token) -> String {
    match token {
        Token::Number(value) => format!("number {value}"),
        Token::Duration(ms) => format!("duration of {ms} ms"),
        Token::Word(word) => format!("word '{word}'"),
        Token::Name(name) => format!("`{name}`"),
        Token::Symbol(symbol) => format!("`{symbol}`"),
        Token::End => "end of the condition".to_owned(),
    }
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    next: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> &Token {
        self.tokens.get(self.next).map_or(&Token::End, |(_, token)| token)
    }

    fn fault(&self, message: String) -> Fault {
        let column = self.tokens.get(self.next).map_or(1, |(column, _)| *column);
        Fault { column, message }
    }

    fn take_symbol(&mut self, symbol: &str) -> bool {
        let found = matches!(self.peek(), Token::Symbol(s) if *s == symbol);
        self.next += usize::from(found);
        found
    }

    fn take_name(&mut self, name: &str) -> bool {
        let found = matches!(self.peek(), Token::Name(n) if n == name);
        self.next += usize::from(found);
        found
    }

    fn deeper(&mut self) -> Result<(), Fault> {
        self.depth += 1;
        if self.depth > NESTING_MAX {
            return Err(self.fault(format!("nested deeper than {NESTING_MAX}")));
        }
        Ok(())
    }

    fn any_of(&mut self) -> Result<Expr, Fault> {
        self.deeper()?;
        let mut left = self.all_of()?;
        while self.take_name("or") {
            left = Expr::Or(Box::new(left), Box::new(self.all_of()?));
        }
        self.depth -= 1;
        Ok(left)
    }

    fn all_of(&mut self) -> Result<Expr, Fault> {
        let mut left = self.negation()?;
        while self.take_name("and") {
            left = Expr::And(Box::new(left), Box::new(self.negation()?));
        }
        Ok(left)
    }

    fn negation(&mut self) -> Result<Expr, Fault> {
        if !self.take_name("not") {
            return self.comparison();
        }
        self.deeper()?;
        let inner = self.negation()?;
        self.depth -= 1;
        Ok(Expr::Not(Box::new(inner)))
    }

    fn comparison(&mut self) -> Result<Expr, Fault> {
        let left = self.sum()?;
        let compare = match self.peek() {
            Token::Symbol("==") => Compare::Equal,
            Token::Symbol("!=") => Compare::NotEqual,
            Token::Symbol("<") => Compare::Less,
            Token::Symbol("<=") => Compare::AtMost,
            Token::Symbol(">") => Compare::Greater,
            Token::Symbol(">=") => Compare::AtLeast,
            _ => return Ok(left),
        };
        self.next += 1;
        Ok(Expr::Compare(compare, Box::new(left), Box::new(self.sum()?)))
    }

    fn sum(&mut self) -> Result<Expr, Fault> {
        let mut left = self.product()?;
        loop {
            let operation = if self.take_symbol("+") {
                Arithmetic::Add
            } else if self.take_symbol("-") {
                Arithmetic::Subtract
            } else {
                return Ok(left);
            };
            left = Expr::Arithmetic(operation, Box::new(left), Box::new(self.product()?));
        }
    }

    fn product(&mut self) -> Result<Expr, Fault> {
        let mut left = self.unary()?;
        loop {
            let operation = if self.take_symbol("*") {
                Arithmetic::Multiply
            } else if self.take_symbol("/") {
                Arithmetic::Divide
            } else {
                return Ok(left);
            };
            left = Expr::Arithmetic(operation, Box::new(left), Box::new(self.unary()?));
        }
    }

    fn unary(&mut self) -> Result<Expr, Fault> {
        if !self.take_symbol("-") {
            return self.primary();
        }
        self.deeper()?;
        let inner = self.unary()?;
        self.depth -= 1;
        Ok(Expr::Negative(Box::new(inner)))
    }

    fn primary(&mut self) -> Result<Expr, Fault> {
        if self.take_symbol("(") {
            let inner = self.any_of()?;
            self.close()?;
            return Ok(inner);
        }
        let token = self.peek().clone();
        let expr = match token {
            Token::Number(value) => Expr::Number(value),
            Token::Duration(ms) => Expr::Duration(ms),
            Token::Word(word) => Expr::Word(word),
            Token::Name(name) if name == "true" => Expr::Bool(true),
            Token::Name(name) if name == "false" => Expr::Bool(false),
            Token::Name(name) if !matches!(name.as_str(), "and" | "or" | "not") => {
                self.next += 1;
                return self.call(name);
            }
            other => return Err(self.fault(format!("unexpected {}", describe(&other)))),
        };
        self.next += 1;
        Ok(expr)
    }

    fn call(&mut self, name: String) -> Result<Expr, Fault> {
        if !self.take_symbol("(") {
            return Ok(Expr::Name(name));
        }
        let mut arguments = Vec::new();
        if !matches!(self.peek(), Token::Symbol(")")) {
            arguments.push(self.any_of()?);
            while self.take_symbol(",") {
                arguments.push(self.any_of()?);
            }
        }
        self.close()?;
        Ok(Expr::Call(name, arguments))
    }

    fn close(&mut self) -> Result<(), Fault> {
        if self.take_symbol(")") {
            return Ok(());
        }
        Err(self.fault(format!("expected `)`, found {}", describe(&self.peek().clone()))))
    }
}

/// Reads `500ms`, `30s`, `10m`, `6h`, `1d`; a positive whole number and one unit.
fn parse_duration(text: &str) -> Option<i64> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: i64 = text.get(..digits)?.parse().ok()?;
    let unit = match text.get(digits..)? {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(unit).filter(|ms| *ms > 0)
}
