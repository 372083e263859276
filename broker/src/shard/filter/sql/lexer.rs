//! An expression as tokens.
//!
//! ```text
//! word     [A-Za-z_$][A-Za-z0-9_$]*     a keyword in any case, or the name of a property
//! integer  0 | [1-9][0-9]*, then l or L perhaps          float  5.5  5.  .5  5E10  5.5e-3
//! string   'it''s'
//! skipped  blanks, tabs, line ends; -- to the end of the line; /* … */
//! ```

use super::error::SqlError;

/// One token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Token<'a> {
    /// The name of a property.
    Name(&'a str),
    /// A reserved word.
    Keyword(Keyword),
    /// A whole number.
    Integer(i64),
    /// A number with a point or an exponent, finite.
    Float(f64),
    /// What stands between the quotes, quotes within still doubled.
    Text(&'a str),
    /// `=`, `<>`, `<`, `<=`, `>`, `>=`, `+`, `-`, `(`, `)`, `,`.
    Symbol(&'static str),
    /// Behind the last token.
    End,
}

macro_rules! keywords {
    ($($keyword:ident = $text:literal,)*) => {
        /// A reserved word.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Keyword {
            $(#[doc = $text] $keyword,)*
        }

        impl Keyword {
            fn from_word(word: &str) -> Option<Self> {
                $(if word.eq_ignore_ascii_case($text) {
                    return Some(Self::$keyword);
                })*
                None
            }
        }
    };
}
keywords! {
    Not = "NOT",
    And = "AND",
    Or = "OR",
    Between = "BETWEEN",
    In = "IN",
    True = "TRUE",
    False = "FALSE",
    Null = "NULL",
    Is = "IS",
    Contains = "CONTAINS",
    StartsWith = "STARTSWITH",
    EndsWith = "ENDSWITH",
}

/// Two-character symbols stand before those that they begin with.
const SYMBOLS: [&str; 11] = ["<>", "<=", ">=", "<", ">", "=", "+", "-", "(", ")", ","];

pub(super) struct Lexer<'a> {
    text: &'a str,
    position: usize,
}

impl<'a> Lexer<'a> {
    pub(super) const fn new(text: &'a str) -> Self {
        Self { text, position: 0 }
    }

    /// The next token and where it begins, as a byte of the text.
    pub(super) fn next(&mut self) -> Result<(Token<'a>, usize), SqlError> {
        self.skip()?;
        let start = self.position;
        let rest = &self.text[start..];
        let token = match rest.as_bytes() {
            [] => Token::End,
            [b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'$', ..] => self.word(rest),
            [b'0'..=b'9', ..] | [b'.', b'0'..=b'9', ..] => self.number(rest)?,
            [b'\'', ..] => self.string(rest)?,
            _ => self.symbol(rest)?,
        };
        Ok((token, start))
    }

    /// The place of a byte as people count characters.
    pub(super) fn character_at(&self, byte: usize) -> usize {
        self.text.get(..byte).map_or(0, |before| before.chars().count()) + 1
    }

    fn error(&self, what: &'static str) -> SqlError {
        SqlError::Token { what, at: self.character_at(self.position) }
    }

    /// Skips what separates tokens.
    fn skip(&mut self) -> Result<(), SqlError> {
        loop {
            let rest = &self.text[self.position..];
            let size = match rest.as_bytes() {
                [b' ' | b'\t' | b'\n' | b'\r' | b'\x0c', ..] => 1,
                [b'-', b'-', ..] => rest.find(['\n', '\r']).unwrap_or(rest.len()),
                [b'/', b'*', comment @ ..] => {
                    let end = comment.windows(2).position(|pair| pair == b"*/");
                    4 + end.ok_or_else(|| self.error("a comment that does not end"))?
                }
                _ => return Ok(()),
            };
            self.position += size;
        }
    }

    fn word(&mut self, rest: &'a str) -> Token<'a> {
        let is_end = |byte: u8| !byte.is_ascii_alphanumeric() && byte != b'_' && byte != b'$';
        let word = &rest[..rest.bytes().position(is_end).unwrap_or(rest.len())];
        self.position += word.len();
        Keyword::from_word(word).map_or(Token::Name(word), Token::Keyword)
    }

    fn number(&mut self, rest: &'a str) -> Result<Token<'a>, SqlError> {
        let bytes = rest.as_bytes();
        let digits = |from: usize| bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let mut size = digits(0);
        let mut is_float = false;
        if bytes.get(size) == Some(&b'.') {
            is_float = true;
            size += 1;
            size += digits(size);
        }
        if let Some(b'e' | b'E') = bytes.get(size) {
            let sign = usize::from(matches!(bytes.get(size + 1), Some(b'+' | b'-')));
            let exponent = bytes.get(size + 1 + sign..).map_or(0, |_| digits(size + 1 + sign));
            if exponent > 0 {
                is_float = true;
                size += 1 + sign + exponent;
            }
        }
        let text = &rest[..size];
        let token = if is_float {
            let value = text.parse().ok().filter(|value: &f64| value.is_finite());
            Token::Float(value.ok_or_else(|| self.error("a number that is too large"))?)
        } else if size > 1 && bytes[0] == b'0' {
            return Err(self.error("a number that begins with 0"));
        } else {
            let value = text.parse().map_err(|_| self.error("a number that is too large"))?;
            size += usize::from(matches!(bytes.get(size), Some(b'l' | b'L')));
            Token::Integer(value)
        };
        if bytes.get(size).is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'.')) {
            return Err(self.error("a number with something behind it"));
        }
        self.position += size;
        Ok(token)
    }

    fn string(&mut self, rest: &'a str) -> Result<Token<'a>, SqlError> {
        let bytes = rest.as_bytes();
        let mut end = 1;
        loop {
            end += bytes[end..]
                .iter()
                .position(|byte| *byte == b'\'')
                .ok_or_else(|| self.error("a string that does not end"))?;
            if bytes.get(end + 1) != Some(&b'\'') {
                break;
            }
            end += 2;
        }
        self.position += end + 1;
        Ok(Token::Text(&rest[1..end]))
    }

    fn symbol(&mut self, rest: &str) -> Result<Token<'a>, SqlError> {
        let symbol = SYMBOLS.into_iter().find(|symbol| rest.starts_with(symbol));
        let symbol = symbol.ok_or_else(|| self.error("a character that means nothing"))?;
        self.position += symbol.len();
        Ok(Token::Symbol(symbol))
    }
}
