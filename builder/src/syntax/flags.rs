//! `--name[=value]` flags between an instruction's keyword and its arguments.

use super::SyntaxError;
use super::ast::Mount;
use super::cursor::{Cursor, Piece};

/// The flags of one instruction, taken out one by one; what is left at the end is unknown.
#[derive(Debug)]
pub(crate) struct Flags<'a> {
    cursor: Cursor<'a>,
    found: Vec<Flag<'a>>,
}

#[derive(Debug)]
struct Flag<'a> {
    piece: Piece<'a>,
    name: String,
    value: Option<String>,
}

impl<'a> Flags<'a> {
    /// Reads all flags here and returns the cursor behind them.
    pub fn read(cursor: Cursor<'a>) -> (Self, Cursor<'a>) {
        let mut found = Vec::new();
        let mut here = cursor;
        while here.rest().starts_with("--") {
            let (length, text) = scan(here.rest(), here.escape);
            let piece = Piece { at: here.at, text: &here.rest()[..length] };
            here = here.after(length);
            if text == "--" {
                break;
            }
            let (name, value) = match text[2..].split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (text[2..].to_owned(), None),
            };
            found.push(Flag { piece, name, value });
        }
        (Self { cursor, found }, here)
    }

    /// A flag that may stand once and needs a value.
    pub fn value(&mut self, name: &str) -> Result<Option<String>, SyntaxError> {
        self.parsed(name, |value| Ok(value.to_owned()))
    }

    /// Like [`Flags::value`], with the value parsed or refused with a reason.
    pub fn parsed<T>(
        &mut self,
        name: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, SyntaxError> {
        let mut all = self.all_parsed(name, parse)?;
        match all.len() {
            0 | 1 => Ok(all.pop().map(|(_, value)| value)),
            _ => Err(self.cursor.error(all[1].0, format!("`--{name}` can be given once only"))),
        }
    }

    /// A flag that may be repeated.
    pub fn values(&mut self, name: &str) -> Result<Vec<String>, SyntaxError> {
        let all = self.all_parsed(name, |value| Ok(value.to_owned()))?;
        Ok(all.into_iter().map(|(_, value)| value).collect())
    }

    /// `--mount`, repeatable.
    pub fn mounts(&mut self) -> Result<Vec<Mount>, SyntaxError> {
        Ok(self.all_parsed("mount", parse_mount)?.into_iter().map(|(_, mount)| mount).collect())
    }

    /// A flag that is on when it stands alone, and takes `=true` or `=false`.
    pub fn switch(&mut self, name: &str) -> Result<Option<bool>, SyntaxError> {
        for flag in self.found.iter_mut().filter(|flag| flag.name == name && flag.value.is_none()) {
            flag.value = Some("true".into());
        }
        self.parsed(name, |value| match value {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(format!("`--{name}` is `true` or `false`, not `{value}`")),
        })
    }

    /// Refuses flags nobody asked for.
    pub fn finish(self, keyword: &str) -> Result<(), SyntaxError> {
        match self.found.first() {
            None => Ok(()),
            Some(flag) => Err(self.cursor.error(flag.piece, format!("`{keyword}` has no flag `--{}`", flag.name))),
        }
    }

    fn all_parsed<T>(
        &mut self,
        name: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Vec<(Piece<'a>, T)>, SyntaxError> {
        let mut taken = Vec::new();
        for flag in self.found.extract_if(.., |flag| flag.name == name) {
            let Some(value) = &flag.value else {
                return Err(self.cursor.error(flag.piece, format!("`--{name}` needs a value: `--{name}=…`")));
            };
            taken.push((flag.piece, parse(value).map_err(|message| self.cursor.error(flag.piece, message))?));
        }
        Ok(taken)
    }
}

/// One flag's length in the source, and its text without quotes and escapes.
fn scan(text: &str, escape: char) -> (usize, String) {
    let mut out = String::new();
    let mut quote = None;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match quote {
            None if c.is_whitespace() => return (at, out),
            None if c == '"' || c == '\'' => quote = Some(c),
            Some(q) if c == q => quote = None,
            _ if c == escape => out.extend(chars.next().map(|(_, c)| c)),
            _ => out.push(c),
        }
    }
    (text.len(), out)
}

/// `key=value,key,…`, as one record of comma-separated values whose fields may be quoted.
fn parse_mount(value: &str) -> Result<Mount, String> {
    const KEYS: &[&str] = &[
        "type",
        "target",
        "dst",
        "destination",
        "source",
        "src",
        "from",
        "id",
        "ro",
        "readonly",
        "rw",
        "readwrite",
        "sharing",
        "mode",
        "uid",
        "gid",
        "size",
        "required",
        "env",
    ];
    let mut fields = Vec::new();
    for field in value.split(',') {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key, Some(value.to_owned())),
            None => (field, None),
        };
        let key = key.trim().to_ascii_lowercase();
        if !KEYS.contains(&key.as_str()) {
            return Err(format!("`--mount` has no field `{key}`"));
        }
        fields.push((key, value));
    }
    Ok(Mount { fields })
}
