//! The functions of a template: Go's built-in ones and those that Docker adds.

use super::{Value, printf};

/// What is being rendered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Rows of values.
    Value,
    /// The heading line of a table, whose words must come through functions unchanged.
    Heading,
}

/// Why a call failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// Wrong number of arguments.
    Count,
    /// Anything else.
    Message(String),
}

const NAMES: &[&str] = &[
    "and", "eq", "ge", "gt", "html", "index", "join", "js", "json", "le", "len", "lower", "lt", "ne", "not", "or",
    "pad", "print", "printf", "println", "slice", "split", "title", "truncate", "upper", "urlquery",
];

/// Whether a template may name this function.
pub(super) fn exists(name: &str) -> bool {
    NAMES.binary_search(&name).is_ok()
}

/// Calls a function. `and` and `or` are the renderer's, because they do not evaluate all of their arguments.
pub(super) fn call(name: &str, arguments: &[Value], mode: Mode) -> Result<Value, Failure> {
    if mode == Mode::Heading
        && matches!(name, "json" | "join" | "split" | "lower" | "title" | "upper" | "truncate" | "pad")
    {
        return arguments.first().cloned().ok_or(Failure::Count);
    }
    match (name, arguments) {
        ("json", [value]) => Ok(Value::string(value.to_json().to_string())),
        ("lower", [value]) => Ok(Value::string(text(value)?.to_lowercase())),
        ("upper", [value]) => Ok(Value::string(text(value)?.to_uppercase())),
        ("title", [value]) => Ok(Value::string(title(text(value)?))),
        ("split", [value, separator]) => split(text(value)?, text(separator)?),
        ("join", [value, separator]) => join(value, text(separator)?),
        ("pad", [value, before, after]) => pad(text(value)?, whole(before)?, whole(after)?),
        ("truncate", [value, length]) => {
            let length = usize::try_from(whole(length)?).unwrap_or(0);
            Ok(Value::string(text(value)?.chars().take(length).collect::<String>()))
        }
        ("print", _) => Ok(Value::string(printf::print(arguments))),
        ("println", _) => Ok(Value::string(printf::println(arguments))),
        ("printf", [format, rest @ ..]) => Ok(Value::string(printf::printf(text(format)?, rest))),
        ("html", _) => Ok(Value::string(escape_html(&printf::print(arguments)))),
        ("js", _) => Ok(Value::string(escape_js(&printf::print(arguments)))),
        ("urlquery", _) => Ok(Value::string(escape_query(&printf::print(arguments)))),
        ("not", [value]) => Ok(Value::Bool(!value.is_true())),
        ("len", [value]) => length(value),
        ("index", [value, keys @ ..]) => keys.iter().try_fold(value.clone(), |value, key| index(&value, key)),
        ("slice", [value, bounds @ ..]) if bounds.len() <= 3 => slice(value, bounds),
        ("eq", [first, rest @ ..]) if !rest.is_empty() => {
            for other in rest {
                if equal(first, other)? {
                    return Ok(Value::Bool(true));
                }
            }
            Ok(Value::Bool(false))
        }
        ("ne", [left, right]) => Ok(Value::Bool(!equal(left, right)?)),
        ("lt", [left, right]) => Ok(Value::Bool(order(left, right)?.is_lt())),
        ("le", [left, right]) => Ok(Value::Bool(order(left, right)?.is_le())),
        ("gt", [left, right]) => Ok(Value::Bool(order(left, right)?.is_gt())),
        ("ge", [left, right]) => Ok(Value::Bool(order(left, right)?.is_ge())),
        _ => Err(Failure::Count),
    }
}

fn text(value: &Value) -> Result<&str, Failure> {
    match value {
        Value::Str(text) => Ok(text),
        other => Err(Failure::Message(format!("wrong type for value; expected string; got {}", other.type_name()))),
    }
}

fn whole(value: &Value) -> Result<i64, Failure> {
    match value {
        Value::Int(number) => Ok(*number),
        other => Err(Failure::Message(format!("wrong type for value; expected int; got {}", other.type_name()))),
    }
}

fn title(text: &str) -> String {
    let mut previous_is_letter = false;
    text.chars()
        .flat_map(|character| {
            let starts = !previous_is_letter;
            previous_is_letter = character.is_alphanumeric() || matches!(character, '_' | '\'');
            let upper: Vec<char> = if starts { character.to_uppercase().collect() } else { vec![character] };
            upper
        })
        .collect()
}

fn split(text: &str, separator: &str) -> Result<Value, Failure> {
    let parts: Vec<Value> = if separator.is_empty() {
        text.chars().map(|character| Value::string(character.to_string())).collect()
    } else {
        text.split(separator).map(Value::string).collect()
    };
    Ok(Value::List(parts.into()))
}

fn join(value: &Value, separator: &str) -> Result<Value, Failure> {
    match value {
        Value::NoValue | Value::Nil => Ok(Value::string("")),
        Value::List(items) => {
            let parts: Vec<&str> = items.iter().map(text).collect::<Result<_, _>>()?;
            Ok(Value::string(parts.join(separator)))
        }
        other => Err(Failure::Message(format!("wrong type for value; expected []string; got {}", other.type_name()))),
    }
}

/// Widths beyond any screen are a mistake, and would be an allocation of the template's choice.
const MAX_PAD: i64 = 1 << 16;

fn pad(text: &str, before: i64, after: i64) -> Result<Value, Failure> {
    if text.is_empty() {
        return Ok(Value::string(""));
    }
    if !(0..=MAX_PAD).contains(&before) || !(0..=MAX_PAD).contains(&after) {
        return Err(Failure::Message(format!("padding out of range: {before}, {after}")));
    }
    let spaces = |count: i64| " ".repeat(usize::try_from(count).unwrap_or(0));
    Ok(Value::string(format!("{}{text}{}", spaces(before), spaces(after))))
}

fn length(value: &Value) -> Result<Value, Failure> {
    let length = match value {
        Value::Str(text) => text.len(),
        Value::List(items) => items.len(),
        Value::Map(map) => map.entries.len(),
        Value::NoValue | Value::Nil => return Err(Failure::Message("len of nil pointer".into())),
        other => return Err(Failure::Message(format!("len of type {}", other.type_name()))),
    };
    Ok(Value::Int(i64::try_from(length).unwrap_or(i64::MAX)))
}

fn index(value: &Value, key: &Value) -> Result<Value, Failure> {
    match (value, key) {
        (Value::NoValue | Value::Nil, _) => Err(Failure::Message("index of untyped nil".into())),
        // A map of strings has the empty string for a key it lacks, and that is what scripts compare with.
        (Value::Map(map), Value::Str(key)) => Ok(map.entries.get(&**key).cloned().unwrap_or_else(|| Value::string(""))),
        (Value::Map(_), other) => {
            Err(Failure::Message(format!("value has type {}; should be string", other.type_name())))
        }
        (Value::List(items), Value::Int(position)) => usize::try_from(*position)
            .ok()
            .and_then(|position| items.get(position))
            .cloned()
            .ok_or_else(|| Failure::Message(format!("index out of range: {position}"))),
        (Value::Str(text), Value::Int(position)) => usize::try_from(*position)
            .ok()
            .and_then(|position| text.as_bytes().get(position))
            .map(|byte| Value::Int(i64::from(*byte)))
            .ok_or_else(|| Failure::Message(format!("index out of range: {position}"))),
        (Value::List(_) | Value::Str(_), other) => {
            Err(Failure::Message(format!("cannot index slice/array with type {}", other.type_name())))
        }
        (other, _) => Err(Failure::Message(format!("can't index item of type {}", other.type_name()))),
    }
}

fn slice(value: &Value, bounds: &[Value]) -> Result<Value, Failure> {
    let length = match value {
        Value::Str(text) => text.len(),
        Value::List(items) => items.len(),
        other => return Err(Failure::Message(format!("can't slice item of type {}", other.type_name()))),
    };
    let bound = |position: usize, default: usize| match bounds.get(position) {
        None => Ok(default),
        Some(bound) => match whole(bound) {
            Ok(number) => usize::try_from(number)
                .ok()
                .filter(|number| *number <= length)
                .ok_or_else(|| Failure::Message(format!("index out of range: {number}"))),
            Err(failure) => Err(failure),
        },
    };
    let (start, end) = (bound(0, 0)?, bound(1, length)?);
    if start > end {
        return Err(Failure::Message(format!("invalid slice index: {start} > {end}")));
    }
    match value {
        Value::Str(text) => match text.get(start..end) {
            Some(part) => Ok(Value::string(part)),
            None => Err(Failure::Message(format!("invalid slice index: {start}:{end} splits a character"))),
        },
        Value::List(items) => Ok(Value::List(items[start..end].to_vec().into())),
        _ => Err(Failure::Count),
    }
}

fn equal(left: &Value, right: &Value) -> Result<bool, Failure> {
    match (left, right) {
        (Value::NoValue | Value::Nil, Value::NoValue | Value::Nil) => Ok(true),
        (Value::NoValue | Value::Nil, _) | (_, Value::NoValue | Value::Nil) => Ok(false),
        (Value::Bool(left), Value::Bool(right)) => Ok(left == right),
        (Value::Str(left), Value::Str(right)) => Ok(left == right),
        (Value::List(_) | Value::Map(_), _) | (_, Value::List(_) | Value::Map(_)) => {
            Err(Failure::Message("non-comparable type".into()))
        }
        _ => Ok(order(left, right)?.is_eq()),
    }
}

fn order(left: &Value, right: &Value) -> Result<std::cmp::Ordering, Failure> {
    let unordered = || Failure::Message("invalid type for comparison".into());
    match (left, right) {
        (Value::Int(left), Value::Int(right)) => Ok(left.cmp(right)),
        (Value::Str(left), Value::Str(right)) => Ok(left.cmp(right)),
        (Value::Int(_) | Value::Float(_), Value::Int(_) | Value::Float(_)) => {
            number(left).zip(number(right)).and_then(|(left, right)| left.partial_cmp(&right)).ok_or_else(unordered)
        }
        (
            Value::Int(_) | Value::Float(_) | Value::Str(_) | Value::Bool(_),
            Value::Int(_) | Value::Float(_) | Value::Str(_) | Value::Bool(_),
        ) if left.type_name() != right.type_name() => Err(Failure::Message("incompatible types for comparison".into())),
        _ => Err(unordered()),
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        // Comparing a whole number with a fraction needs no more than the 53 bits of a double.
        #[expect(clippy::cast_precision_loss, reason = "see above")]
        Value::Int(number) => Some(*number as f64),
        Value::Float(number) => Some(*number),
        _ => None,
    }
}

fn escape_html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(character),
        }
    }
    out
}

fn escape_js(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\'' => out.push_str("\\'"),
            '"' => out.push_str("\\\""),
            '<' | '>' | '&' | '=' => out.push_str(&format!("\\u{:04X}", u32::from(character))),
            _ if character < ' ' => out.push_str(&format!("\\u{:04X}", u32::from(character))),
            _ => out.push(character),
        }
    }
    out
}

fn escape_query(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
