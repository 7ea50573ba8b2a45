//! Template text to tokens, with Go's rules for trim markers and comments.

use super::{TemplateError, parse_error};

/// A token and where it stands in the text.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub kind: TokenKind,
    pub start: usize,
    pub end: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum TokenKind {
    /// Text outside actions, already trimmed.
    Text(String),
    /// `{{`.
    Open,
    /// `}}`.
    Close,
    /// White space between operands, which separates arguments.
    Space,
    /// `.` alone.
    Dot,
    /// `.Name`, without the dot.
    Field(String),
    /// `$` or `$name`, with the dollar sign.
    Variable(String),
    /// A function's name or a keyword.
    Word(String),
    /// A quoted or raw string, or a character constant's number.
    Str(String),
    Char(char),
    /// The digits as written.
    Number(String),
    Pipe,
    Comma,
    /// `:=`.
    Declare,
    /// `=`.
    Assign,
    LeftParen,
    RightParen,
}

/// Cuts a template into tokens.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, TemplateError> {
    let mut lexer = Lexer { text, at: 0, tokens: Vec::new() };
    lexer.outside(false)?;
    Ok(lexer.tokens)
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    tokens: Vec<Token>,
}

impl Lexer<'_> {
    fn outside(&mut self, mut trim_next: bool) -> Result<(), TemplateError> {
        loop {
            let rest = &self.text[self.at..];
            let (length, more) = rest.find("{{").map_or((rest.len(), false), |length| (length, true));
            let start = self.at;
            let mut piece = &rest[..length];
            let trims_before = more && {
                let after = &rest[length + 2..];
                after.starts_with('-') && after[1..].starts_with(is_space)
            };
            if trim_next {
                piece = piece.trim_start_matches(is_space);
            }
            if trims_before {
                piece = piece.trim_end_matches(is_space);
            }
            if !piece.is_empty() {
                self.push(TokenKind::Text(piece.to_owned()), start);
            }
            self.at = start + length;
            if !more {
                return Ok(());
            }
            trim_next = self.action(if trims_before { 4 } else { 2 })?;
        }
    }

    /// One action, from `{{` to `}}`; true when it ends with a trim marker.
    fn action(&mut self, open_length: usize) -> Result<bool, TemplateError> {
        let open = self.at;
        self.at += open_length;
        if self.rest().starts_with("/*") {
            let Some(end) = self.rest().find("*/") else {
                return Err(parse_error(self.text, open, "unclosed comment"));
            };
            self.at += end + 2;
            return match self.close() {
                Some(trims) => Ok(trims),
                None => Err(parse_error(self.text, open, "comment ends before closing delimiter")),
            };
        }
        self.tokens.push(Token { kind: TokenKind::Open, start: open, end: self.at });
        let mut depth = 0_usize;
        loop {
            let start = self.at;
            if let Some(trims) = self.close() {
                if depth > 0 {
                    return Err(parse_error(self.text, start, "unclosed left paren"));
                }
                self.push(TokenKind::Close, start);
                return Ok(trims);
            }
            let Some(first) = self.rest().chars().next() else {
                return Err(parse_error(self.text, self.at, "unclosed action"));
            };
            let kind = match first {
                _ if is_space(first) => {
                    self.take_while(is_space);
                    // A trim marker needs its space, so the space before ` -}}` is not an argument separator.
                    TokenKind::Space
                }
                '(' => {
                    depth += 1;
                    self.at += 1;
                    TokenKind::LeftParen
                }
                ')' => {
                    if depth == 0 {
                        return Err(parse_error(self.text, start, "unexpected right paren"));
                    }
                    depth -= 1;
                    self.at += 1;
                    TokenKind::RightParen
                }
                '|' => {
                    self.at += 1;
                    TokenKind::Pipe
                }
                ',' => {
                    self.at += 1;
                    TokenKind::Comma
                }
                '=' => {
                    self.at += 1;
                    TokenKind::Assign
                }
                ':' => {
                    if !self.rest().starts_with(":=") {
                        return Err(parse_error(self.text, start, "expected :="));
                    }
                    self.at += 2;
                    TokenKind::Declare
                }
                '"' => TokenKind::Str(self.quoted('"')?),
                '\'' => {
                    let content = self.quoted('\'')?;
                    let mut characters = content.chars();
                    match (characters.next(), characters.next()) {
                        (Some(character), None) => TokenKind::Char(character),
                        _ => {
                            return Err(parse_error(
                                self.text,
                                start,
                                format!("malformed character constant: {}", &self.text[start..self.at]),
                            ));
                        }
                    }
                }
                '`' => {
                    let Some(length) = self.rest()[1..].find('`') else {
                        return Err(parse_error(self.text, start, "unterminated raw quoted string"));
                    };
                    let content = self.rest()[1..=length].to_owned();
                    self.at += length + 2;
                    TokenKind::Str(content)
                }
                '$' => {
                    self.at += 1;
                    self.take_while(is_word);
                    TokenKind::Variable(self.text[start..self.at].to_owned())
                }
                '.' if self.rest()[1..].starts_with(|next: char| next.is_ascii_digit()) => self.number(),
                '.' => {
                    self.at += 1;
                    let name = self.take_while(is_word).to_owned();
                    if name.is_empty() { TokenKind::Dot } else { TokenKind::Field(name) }
                }
                '+' | '-' | '0'..='9' => self.number(),
                _ if is_word(first) => TokenKind::Word(self.take_while(is_word).to_owned()),
                other => {
                    return Err(parse_error(
                        self.text,
                        start,
                        format!("unexpected {other:?} in command").replace('\'', "\""),
                    ));
                }
            };
            self.push(kind, start);
        }
    }

    /// Consumes `}}` or ` -}}` when it stands here; the value says whether it trims.
    fn close(&mut self) -> Option<bool> {
        let rest = self.rest();
        if rest.starts_with("}}") {
            self.at += 2;
            return Some(false);
        }
        let marker = rest.trim_start_matches(is_space);
        if marker.len() < rest.len() && marker.starts_with("-}}") {
            self.at += rest.len() - marker.len() + 3;
            return Some(true);
        }
        None
    }

    fn number(&mut self) -> TokenKind {
        let start = self.at;
        if self.rest().starts_with(['+', '-']) {
            self.at += 1;
        }
        self.take_while(|character| is_word(character) || character == '.');
        TokenKind::Number(self.text[start..self.at].to_owned())
    }

    /// A string in quotes, with Go's escapes.
    fn quoted(&mut self, quote: char) -> Result<String, TemplateError> {
        let start = self.at;
        let unterminated = || {
            let what = if quote == '"' { "unterminated quoted string" } else { "unterminated character constant" };
            parse_error(self.text, start, what)
        };
        let mut bytes = Vec::new();
        let mut characters = self.text[start + 1..].char_indices();
        while let Some((offset, character)) = characters.next() {
            match character {
                '\n' => return Err(unterminated()),
                '\\' => {
                    let (_, escape) = characters.next().ok_or_else(unterminated)?;
                    let mut digits = |count: usize, radix: u32, first: Option<char>| {
                        let mut value = first.and_then(|digit| digit.to_digit(radix)).unwrap_or(0);
                        for _ in 0..count {
                            value = value * radix + characters.next().and_then(|(_, digit)| digit.to_digit(radix))?;
                        }
                        Some(value)
                    };
                    let code = match escape {
                        'a' => Some(7),
                        'b' => Some(8),
                        'f' => Some(12),
                        'n' => Some(10),
                        'r' => Some(13),
                        't' => Some(9),
                        'v' => Some(11),
                        '\\' | '"' | '\'' => Some(u32::from(escape)),
                        'x' => digits(2, 16, None),
                        'u' => digits(4, 16, None),
                        'U' => digits(8, 16, None),
                        '0'..='7' => digits(2, 8, Some(escape)),
                        _ => None,
                    };
                    let decoded = code.and_then(char::from_u32);
                    let Some(decoded) = decoded else {
                        return Err(parse_error(self.text, start, "invalid syntax in quoted string"));
                    };
                    bytes.push(decoded);
                }
                _ if character == quote => {
                    self.at = start + 1 + offset + 1;
                    return Ok(bytes.into_iter().collect());
                }
                _ => bytes.push(character),
            }
        }
        Err(unterminated())
    }

    fn take_while(&mut self, accept: impl Fn(char) -> bool) -> &str {
        let rest = &self.text[self.at..];
        let length = rest.find(|character| !accept(character)).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn push(&mut self, kind: TokenKind, start: usize) {
        self.tokens.push(Token { kind, start, end: self.at });
    }
}

fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\r' | '\n')
}

fn is_word(character: char) -> bool {
    character == '_' || character.is_alphanumeric()
}
