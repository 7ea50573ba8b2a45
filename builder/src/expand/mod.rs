//! Variable expansion, quote removal and word splitting, as the Dockerfile language does them (which is not as a shell does).

mod pattern;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

/// Nested `${…${…}}` deeper than this is a mistake or an attack on the stack.
const MAX_DEPTH: usize = 64;

/// Looks names up.
pub trait Environment {
    /// The value of a variable, if it is set.
    fn get(&self, name: &str) -> Option<String>;
}

impl<F: Fn(&str) -> Option<String>> Environment for F {
    fn get(&self, name: &str) -> Option<String> {
        self(name)
    }
}

/// A word that cannot be expanded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ExpandError(String);

/// What became of a word.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Expanded {
    /// The whole text, quotes removed.
    pub text: String,
    /// The text cut at white space that was not quoted and did not come from quotes.
    pub words: Vec<String>,
    /// Names that were used without a default and are not set.
    pub unset: BTreeSet<String>,
}

/// Expands one raw word.
pub fn expand(raw: &str, escape: char, environment: &dyn Environment) -> Result<Expanded, ExpandError> {
    run(raw, escape, environment, Quotes::Remove)
}

/// Expands variables in a heredoc's text, where quotes mean nothing and stay.
pub fn expand_text(raw: &str, escape: char, environment: &dyn Environment) -> Result<Expanded, ExpandError> {
    run(raw, escape, environment, Quotes::Keep)
}

fn run(raw: &str, escape: char, environment: &dyn Environment, quotes: Quotes) -> Result<Expanded, ExpandError> {
    let mut expander = Expander {
        raw,
        chars: raw.chars().collect(),
        at: 0,
        escape,
        environment,
        quotes,
        unset: BTreeSet::new(),
        depth: 0,
    };
    let mut out = Output::default();
    expander.until(None, &mut out)?;
    out.end_word();
    Ok(Expanded { text: out.text, words: out.words, unset: expander.unset })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Quotes {
    Remove,
    Keep,
}

/// Text and words, gathered at once.
#[derive(Default)]
struct Output {
    text: String,
    words: Vec<String>,
    word: String,
    in_word: bool,
}

impl Output {
    /// A character that never separates words.
    fn solid(&mut self, c: char) {
        self.text.push(c);
        self.word.push(c);
        self.in_word = true;
    }

    /// A character that separates words when it is white space.
    fn loose(&mut self, c: char) {
        if c.is_whitespace() {
            self.text.push(c);
            self.end_word();
        } else {
            self.solid(c);
        }
    }

    fn end_word(&mut self) {
        if std::mem::take(&mut self.in_word) {
            self.words.push(std::mem::take(&mut self.word));
        }
    }
}

struct Expander<'a> {
    raw: &'a str,
    chars: Vec<char>,
    at: usize,
    escape: char,
    environment: &'a dyn Environment,
    quotes: Quotes,
    unset: BTreeSet<String>,
    depth: usize,
}

impl Expander<'_> {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek();
        self.at += usize::from(c.is_some());
        c
    }

    fn error<T>(&self, message: impl std::fmt::Display) -> Result<T, ExpandError> {
        let shown: String = self.raw.chars().take(80).collect();
        Err(ExpandError(format!("cannot expand `{shown}`: {message}")))
    }

    /// Expands up to an unquoted `stop`, which is consumed, or to the end.
    fn until(&mut self, stop: Option<char>, out: &mut Output) -> Result<(), ExpandError> {
        while let Some(c) = self.peek() {
            if Some(c) == stop {
                self.at += 1;
                return Ok(());
            }
            match c {
                '\'' if self.quotes == Quotes::Remove => self.single_quoted(out)?,
                '"' if self.quotes == Quotes::Remove => self.double_quoted(out)?,
                '$' => {
                    let value = self.dollar()?;
                    value.chars().for_each(|c| out.loose(c));
                }
                _ if c == self.escape && self.quotes == Quotes::Remove => {
                    self.at += 1;
                    if let Some(c) = self.next() {
                        out.solid(c);
                    }
                }
                _ if c == self.escape => {
                    self.at += 1;
                    match self.peek() {
                        Some('$') => out.solid('$'),
                        Some(next) if next == self.escape => out.solid(next),
                        _ => {
                            out.solid(c);
                            continue;
                        }
                    }
                    self.at += 1;
                }
                _ => {
                    self.at += 1;
                    out.loose(c);
                }
            }
        }
        match stop {
            Some(stop) => self.error(format_args!("missing `{stop}`")),
            None => Ok(()),
        }
    }

    fn single_quoted(&mut self, out: &mut Output) -> Result<(), ExpandError> {
        self.at += 1;
        out.in_word = true;
        loop {
            match self.next() {
                Some('\'') => return Ok(()),
                Some(c) => out.solid(c),
                None => return self.error("missing `'`"),
            }
        }
    }

    fn double_quoted(&mut self, out: &mut Output) -> Result<(), ExpandError> {
        self.at += 1;
        out.in_word = true;
        while let Some(c) = self.peek() {
            match c {
                '"' => {
                    self.at += 1;
                    return Ok(());
                }
                '$' => {
                    let value = self.dollar()?;
                    value.chars().for_each(|c| out.solid(c));
                }
                _ if c == self.escape => {
                    self.at += 1;
                    match self.next() {
                        Some(next) if next == '"' || next == '$' || next == self.escape => out.solid(next),
                        Some(next) => {
                            out.solid(c);
                            out.solid(next);
                        }
                        None => return self.error("missing `\"`"),
                    }
                }
                _ => {
                    self.at += 1;
                    out.solid(c);
                }
            }
        }
        self.error("missing `\"`")
    }

    /// `$name`, `${name}` or `${name…}`; a lone `$` is itself.
    fn dollar(&mut self) -> Result<String, ExpandError> {
        self.at += 1;
        if self.peek() != Some('{') {
            let name = self.name();
            return Ok(if name.is_empty() { "$".into() } else { self.value(&name) });
        }
        self.at += 1;
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return self.error(format_args!("`${{` is nested more than {MAX_DEPTH} deep"));
        }
        let value = self.braces()?;
        self.depth -= 1;
        Ok(value)
    }

    fn braces(&mut self) -> Result<String, ExpandError> {
        let name = self.name();
        if name.is_empty() {
            return self.error("bad substitution: a name must follow `${`");
        }
        let found = self.environment.get(&name);
        match self.next() {
            Some('}') => Ok(found.unwrap_or_else(|| self.value(&name))),
            Some(':') => match self.next() {
                Some(modifier @ ('+' | '-' | '?')) => {
                    self.conditional(&name, found.filter(|value| !value.is_empty()), modifier)
                }
                Some(other) => self.error(format_args!("unsupported modifier `:{other}`")),
                None => self.error("missing `}`"),
            },
            Some(modifier @ ('+' | '-' | '?')) => self.conditional(&name, found, modifier),
            Some(end @ ('#' | '%')) => {
                let longest = self.peek() == Some(end);
                self.at += usize::from(longest);
                let pattern = self.pattern('}')?;
                let value = found.unwrap_or_else(|| self.value(&name));
                Ok(match end {
                    '#' => pattern.strip_prefix(&value, longest),
                    _ => pattern.strip_suffix(&value, longest),
                })
            }
            Some('/') => {
                let all = self.peek() == Some('/');
                self.at += usize::from(all);
                let pattern = self.pattern('/')?;
                let replacement = self.nested('}')?;
                let value = found.unwrap_or_else(|| self.value(&name));
                Ok(pattern.replace(&value, &replacement, all))
            }
            Some(other) => self.error(format_args!("unsupported modifier `{other}`")),
            None => self.error("missing `}`"),
        }
    }

    fn conditional(&mut self, name: &str, value: Option<String>, modifier: char) -> Result<String, ExpandError> {
        let word = self.nested('}')?;
        match (modifier, value) {
            ('+', Some(_)) => Ok(word),
            ('+', None) => Ok(String::new()),
            (_, Some(value)) => Ok(value),
            ('-', None) => Ok(word),
            (_, None) if word.is_empty() => self.error(format_args!("`{name}` must be set")),
            (_, None) => self.error(format_args!("`{name}`: {word}")),
        }
    }

    fn nested(&mut self, stop: char) -> Result<String, ExpandError> {
        let mut out = Output::default();
        self.until(Some(stop), &mut out)?;
        Ok(out.text)
    }

    /// A pattern up to `stop`: variables expand, escaped and quoted characters are literal.
    fn pattern(&mut self, stop: char) -> Result<pattern::Pattern, ExpandError> {
        let mut pattern = pattern::Pattern::default();
        loop {
            match self.peek() {
                None => return self.error(format_args!("missing `{stop}`")),
                Some(c) if c == stop => {
                    self.at += 1;
                    return Ok(pattern);
                }
                Some('$') => {
                    let value = self.dollar()?;
                    value.chars().for_each(|c| pattern.push(c));
                }
                Some(quote @ ('\'' | '"')) => {
                    let mut out = Output::default();
                    if quote == '"' {
                        self.double_quoted(&mut out)?
                    } else {
                        self.single_quoted(&mut out)?
                    }
                    out.text.chars().for_each(|c| pattern.push_literal(c));
                }
                Some(c) if c == self.escape => {
                    self.at += 1;
                    match self.next() {
                        Some(c) => pattern.push_literal(c),
                        None => return self.error(format_args!("missing `{stop}`")),
                    }
                }
                Some(c) => {
                    self.at += 1;
                    pattern.push(c);
                }
            }
        }
    }

    /// A variable's name: letters, digits and `_`, or digits, or one of the shell's special parameters.
    fn name(&mut self) -> String {
        let start = self.at;
        match self.peek() {
            Some(c) if c.is_ascii_digit() => self.skip_while(|c| c.is_ascii_digit()),
            Some(c) if c.is_alphabetic() || c == '_' => self.skip_while(|c| c.is_alphanumeric() || c == '_'),
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => self.at += 1,
            _ => {}
        }
        self.chars[start..self.at].iter().collect()
    }

    fn skip_while(&mut self, keep: impl Fn(char) -> bool) {
        while self.peek().is_some_and(&keep) {
            self.at += 1;
        }
    }

    fn value(&mut self, name: &str) -> String {
        self.environment.get(name).unwrap_or_else(|| {
            self.unset.insert(name.to_owned());
            String::new()
        })
    }
}
