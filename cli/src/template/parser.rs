//! Tokens to a tree. What a template names (functions, variables) is checked here, so rendering meets no surprises.

use super::ast::{Branch, Command, Node, Operand, OperandKind, Pipeline};
use super::lexer::{Token, TokenKind};
use super::{TemplateError, Value, functions, parse_error};

/// Nesting deeper than this is refused: parsing recurses, and a format comes from outside.
const MAX_DEPTH: usize = 100;

/// Parses a whole template.
pub(super) fn parse(text: &str, tokens: &[Token]) -> Result<Vec<Node>, TemplateError> {
    let mut parser = Parser { text, tokens, next: 0, variables: vec!["$".to_owned()], loops: 0, depth: 0 };
    let (nodes, end) = parser.list()?;
    match end {
        ListEnd::Eof => Ok(nodes),
        ListEnd::End => Err(parser.error("unexpected {{end}}")),
        ListEnd::Else => Err(parser.error("unexpected {{else}}")),
    }
}

enum ListEnd {
    Eof,
    End,
    Else,
}

#[derive(Clone, Copy, PartialEq)]
enum Keyword {
    If,
    With,
    Range,
}

impl Keyword {
    fn of(word: &str) -> Option<Self> {
        match word {
            "if" => Some(Self::If),
            "with" => Some(Self::With),
            "range" => Some(Self::Range),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::If => "if",
            Self::With => "with",
            Self::Range => "range",
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    tokens: &'a [Token],
    next: usize,
    variables: Vec<String>,
    loops: usize,
    depth: usize,
}

impl Parser<'_> {
    /// Nodes up to the end of the text, `{{end}}` or `{{else` (whose tail is left for the caller).
    fn list(&mut self) -> Result<(Vec<Node>, ListEnd), TemplateError> {
        let mut nodes = Vec::new();
        while let Some(token) = self.tokens.get(self.next) {
            self.next += 1;
            if let TokenKind::Text(text) = &token.kind {
                nodes.push(Node::Text(text.clone()));
                continue;
            }
            self.skip_space();
            let word = match self.peek() {
                Some(TokenKind::Word(word)) => word.clone(),
                _ => String::new(),
            };
            match word.as_str() {
                "end" => {
                    self.next += 1;
                    self.close("end")?;
                    return Ok((nodes, ListEnd::End));
                }
                "else" => {
                    self.next += 1;
                    return Ok((nodes, ListEnd::Else));
                }
                "break" | "continue" => {
                    if self.loops == 0 {
                        return Err(self.error(format!("{{{{{word}}}}} outside {{{{range}}}}")));
                    }
                    self.next += 1;
                    self.close(&word)?;
                    nodes.push(if word == "break" { Node::Break } else { Node::Continue });
                }
                "define" | "template" | "block" => {
                    return Err(self.error(format!("{{{{{word}}}}} is not supported in a format")));
                }
                _ => match Keyword::of(&word) {
                    Some(keyword) => {
                        self.next += 1;
                        nodes.push(self.branch(keyword)?);
                    }
                    None => {
                        let pipeline = self.pipeline("command", &TokenKind::Close)?;
                        nodes.push(Node::Action(pipeline));
                    }
                },
            }
        }
        Ok((nodes, ListEnd::Eof))
    }

    fn branch(&mut self, keyword: Keyword) -> Result<Node, TemplateError> {
        self.enter()?;
        let scope = self.variables.len();
        let pipeline = self.pipeline(keyword.name(), &TokenKind::Close)?;
        if pipeline.variables.len() == 2 && keyword != Keyword::Range {
            return Err(self.error(format!("too many declarations in {}", keyword.name())));
        }
        self.loops += usize::from(keyword == Keyword::Range);
        let (body, end) = self.list()?;
        self.loops -= usize::from(keyword == Keyword::Range);
        let otherwise = match end {
            ListEnd::End => Vec::new(),
            ListEnd::Eof => return Err(self.error("unexpected EOF")),
            ListEnd::Else => self.otherwise(keyword)?,
        };
        self.variables.truncate(scope);
        self.depth -= 1;
        let branch = Branch { pipeline, body, otherwise };
        Ok(match keyword {
            Keyword::If => Node::If(branch),
            Keyword::With => Node::With(branch),
            Keyword::Range => Node::Range(branch),
        })
    }

    /// What follows `{{else`: the rest of the list, or one chained `else if` / `else with`.
    fn otherwise(&mut self, keyword: Keyword) -> Result<Vec<Node>, TemplateError> {
        self.skip_space();
        if let Some(TokenKind::Word(word)) = self.peek()
            && let Some(chained) = Keyword::of(word).filter(|&chained| chained == keyword && chained != Keyword::Range)
        {
            self.next += 1;
            return Ok(vec![self.branch(chained)?]);
        }
        self.close("else")?;
        match self.list()? {
            (nodes, ListEnd::End) => Ok(nodes),
            (_, ListEnd::Else) => Err(self.error("expected end; found {{else}}")),
            (_, ListEnd::Eof) => Err(self.error("unexpected EOF")),
        }
    }

    /// A pipeline and the token that ends it.
    fn pipeline(&mut self, context: &str, end: &TokenKind) -> Result<Pipeline, TemplateError> {
        self.skip_space();
        let start = self.offset();
        let (variables, assigns) = self.declarations(context)?;
        let mut commands = Vec::new();
        loop {
            self.skip_space();
            let at_end = self.peek() == Some(end);
            if at_end || self.peek() == Some(&TokenKind::Close) {
                let stop = self.offset();
                self.next += 1;
                if commands.is_empty() {
                    return Err(self.error(format!("missing value for {context}")));
                }
                if !assigns {
                    self.variables.extend(variables.iter().cloned());
                }
                let text = self.text[start..stop].trim_end();
                return Ok(Pipeline { variables, assigns, commands, at: start..start + text.len() });
            }
            commands.push(self.command(context)?);
        }
    }

    /// `$x :=`, `$x =` or `$i, $e :=` at the start of a pipeline.
    fn declarations(&mut self, context: &str) -> Result<(Vec<String>, bool), TemplateError> {
        let start = self.next;
        let mut names = Vec::new();
        while let Some(TokenKind::Variable(name)) = self.peek() {
            names.push(name.clone());
            self.next += 1;
            self.skip_space();
            match self.peek() {
                Some(TokenKind::Comma) if context == "range" && names.len() == 1 => {
                    self.next += 1;
                    self.skip_space();
                }
                Some(TokenKind::Declare) => {
                    self.next += 1;
                    return Ok((names, false));
                }
                Some(TokenKind::Assign) => {
                    self.next += 1;
                    if let Some(unknown) = names.iter().find(|name| !self.variables.contains(name)) {
                        return Err(self.error(format!("undefined variable {unknown:?}")));
                    }
                    return Ok((names, true));
                }
                _ => break,
            }
        }
        self.next = start;
        Ok((Vec::new(), false))
    }

    fn command(&mut self, context: &str) -> Result<Command, TemplateError> {
        let start = self.offset();
        let mut operands: Vec<Operand> = Vec::new();
        let mut stop = start;
        loop {
            self.skip_space();
            match self.peek() {
                Some(TokenKind::Pipe) => {
                    self.next += 1;
                    self.skip_space();
                    if matches!(self.peek(), Some(TokenKind::Close | TokenKind::RightParen | TokenKind::Pipe) | None) {
                        return Err(self.error("missing value for command"));
                    }
                    break;
                }
                Some(TokenKind::Close | TokenKind::RightParen) => break,
                None => return Err(self.error("unclosed action")),
                Some(_) => {}
            }
            let operand = self.operand(context)?;
            if let Some(first) = operands.first()
                && matches!(first.kind, OperandKind::Constant(_) | OperandKind::Dot | OperandKind::Nil)
            {
                let first = &self.text[first.at.clone()];
                return Err(self.error(format!("can't give argument to non-function {first}")));
            }
            stop = operand.at.end;
            operands.push(operand);
            if !matches!(
                self.peek(),
                Some(TokenKind::Space | TokenKind::Pipe | TokenKind::Close | TokenKind::RightParen)
            ) {
                return Err(self.unexpected("operand"));
            }
        }
        if operands.is_empty() {
            return Err(self.error("empty command"));
        }
        Ok(Command { operands, at: start..stop })
    }

    fn operand(&mut self, context: &str) -> Result<Operand, TemplateError> {
        let Some(token) = self.tokens.get(self.next) else {
            return Err(self.error("unclosed action"));
        };
        let start = token.start;
        self.next += 1;
        let kind = match &token.kind {
            TokenKind::Dot => OperandKind::Dot,
            TokenKind::Field(name) => {
                let mut fields = vec![name.clone()];
                fields.extend(self.chain());
                OperandKind::Field(fields)
            }
            TokenKind::Variable(name) => {
                if !self.variables.contains(name) {
                    return Err(self.error(format!("undefined variable {name:?}")));
                }
                OperandKind::Variable(name.clone(), self.chain())
            }
            TokenKind::Str(text) => OperandKind::Constant(Value::string(text)),
            TokenKind::Char(character) => OperandKind::Constant(Value::Int(i64::from(u32::from(*character)))),
            TokenKind::Number(digits) => OperandKind::Constant(
                number(digits).ok_or_else(|| self.error(format!("bad number syntax: {digits:?}")))?,
            ),
            TokenKind::Word(word) => match word.as_str() {
                "true" | "false" => OperandKind::Constant(Value::Bool(word == "true")),
                "nil" => OperandKind::Nil,
                name if functions::exists(name) => OperandKind::Function(name.to_owned()),
                name if Keyword::of(name).is_some() || matches!(name, "else" | "end" | "break" | "continue") => {
                    return Err(self.error(format!("unexpected <{name}> in {context}")));
                }
                name => return Err(self.error(format!("function {name:?} not defined"))),
            },
            TokenKind::LeftParen => {
                self.enter()?;
                let pipeline = self.pipeline("parenthesized pipeline", &TokenKind::RightParen)?;
                self.depth -= 1;
                OperandKind::Group(Box::new(pipeline), self.chain())
            }
            _ => {
                self.next -= 1;
                return Err(self.unexpected(context));
            }
        };
        let end = self.tokens[self.next - 1].end;
        Ok(Operand { kind, at: start..end })
    }

    /// Fields that follow an operand without a space.
    fn chain(&mut self) -> Vec<String> {
        let mut fields = Vec::new();
        while let Some(TokenKind::Field(name)) = self.peek() {
            fields.push(name.clone());
            self.next += 1;
        }
        fields
    }

    fn close(&mut self, context: &str) -> Result<(), TemplateError> {
        self.skip_space();
        if self.peek() == Some(&TokenKind::Close) {
            self.next += 1;
            return Ok(());
        }
        Err(self.unexpected(context))
    }

    fn enter(&mut self) -> Result<(), TemplateError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error("max expression depth exceeded"));
        }
        Ok(())
    }

    fn peek(&self) -> Option<&TokenKind> {
        self.tokens.get(self.next).map(|token| &token.kind)
    }

    fn skip_space(&mut self) {
        while self.peek() == Some(&TokenKind::Space) {
            self.next += 1;
        }
    }

    fn offset(&self) -> usize {
        self.tokens.get(self.next).map_or(self.text.len(), |token| token.start)
    }

    fn unexpected(&self, context: &str) -> TemplateError {
        match self.tokens.get(self.next) {
            Some(token) => self.error(format!("unexpected {:?} in {context}", &self.text[token.start..token.end])),
            None => self.error("unexpected EOF"),
        }
    }

    fn error(&self, message: impl std::fmt::Display) -> TemplateError {
        let offset = self.tokens.get(self.next.saturating_sub(1)).map_or(0, |token| token.start);
        parse_error(self.text, offset, message)
    }
}

/// A number as Go writes it: decimal, `0x`, `0o`, `0b`, with underscores, or a float.
fn number(digits: &str) -> Option<Value> {
    let plain = digits.replace('_', "");
    let (sign, magnitude) = match plain.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, plain.strip_prefix('+').unwrap_or(&plain)),
    };
    let radix = [("0x", 16), ("0X", 16), ("0o", 8), ("0O", 8), ("0b", 2), ("0B", 2)];
    for (prefix, base) in radix {
        if let Some(rest) = magnitude.strip_prefix(prefix) {
            return i64::from_str_radix(rest, base).ok().map(|value| Value::Int(sign * value));
        }
    }
    if magnitude.is_empty() || !magnitude.starts_with(|first: char| first.is_ascii_digit() || first == '.') {
        return None;
    }
    if let Ok(value) = magnitude.parse::<i64>() {
        return Some(Value::Int(sign * value));
    }
    plain.parse::<f64>().ok().map(Value::Float)
}
