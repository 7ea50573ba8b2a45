//! The values a template works on: JSON, plus what Go's types know and JSON does not.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

/// Fields which in Docker's types are maps with keys of the user's choice. A key that such a map lacks is `<no value>`;
/// a field that any other object lacks is a mistake in the template.
const OPEN_FIELDS: &[&str] = &[
    "Annotations",
    "Data",
    "ExposedPorts",
    "Labels",
    "Networks",
    "Options",
    "PortBindings",
    "Ports",
    "StorageOpt",
    "Sysctls",
    "Tmpfs",
    "Volumes",
];

/// A value in a template.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A key that a map lacks; prints as `<no value>`.
    NoValue,
    /// JSON `null`.
    Nil,
    /// A boolean.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// A string.
    Str(Arc<str>),
    /// A list.
    List(Arc<[Value]>),
    /// An object.
    Map(Arc<Map>),
}

/// An object.
#[derive(Debug, Clone, PartialEq)]
pub struct Map {
    /// Its entries, in the order in which Go prints and ranges over maps.
    pub entries: BTreeMap<String, Value>,
    /// True when keys are the user's, so that any key may be asked for.
    pub open: bool,
}

impl Value {
    /// A string value.
    pub fn string(text: impl AsRef<str>) -> Self {
        Self::Str(Arc::from(text.as_ref()))
    }

    /// A value from JSON. Objects are closed except where Docker's types have a map.
    pub fn from_json(json: &serde_json::Value) -> Self {
        Self::convert(json, false)
    }

    /// A value from an object's fields.
    pub fn from_fields(fields: &serde_json::Map<String, serde_json::Value>) -> Self {
        Self::object(fields, false)
    }

    fn convert(json: &serde_json::Value, open: bool) -> Self {
        match json {
            serde_json::Value::Null => Self::Nil,
            serde_json::Value::Bool(value) => Self::Bool(*value),
            serde_json::Value::Number(number) => {
                number.as_i64().map_or_else(|| Self::Float(number.as_f64().unwrap_or(f64::NAN)), Self::Int)
            }
            serde_json::Value::String(text) => Self::string(text),
            serde_json::Value::Array(items) => {
                Self::List(items.iter().map(|item| Self::convert(item, false)).collect())
            }
            serde_json::Value::Object(object) => Self::object(object, open),
        }
    }

    fn object(fields: &serde_json::Map<String, serde_json::Value>, open: bool) -> Self {
        let field = |(key, value): (&String, &serde_json::Value)| {
            (key.clone(), Self::convert(value, OPEN_FIELDS.contains(&key.as_str())))
        };
        Self::Map(Arc::new(Map { entries: fields.iter().map(field).collect(), open }))
    }

    /// The value as JSON, for the `json` function.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::NoValue | Self::Nil => serde_json::Value::Null,
            Self::Bool(value) => (*value).into(),
            Self::Int(value) => (*value).into(),
            Self::Float(value) => (*value).into(),
            Self::Str(text) => (**text).into(),
            Self::List(items) => items.iter().map(Self::to_json).collect(),
            Self::Map(map) => map.entries.iter().map(|(key, value)| (key.clone(), value.to_json())).collect(),
        }
    }

    /// Go's truth: zero, empty and nil are false.
    pub fn is_true(&self) -> bool {
        match self {
            Self::NoValue | Self::Nil => false,
            Self::Bool(value) => *value,
            Self::Int(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Str(text) => !text.is_empty(),
            Self::List(items) => !items.is_empty(),
            Self::Map(map) => !map.entries.is_empty(),
        }
    }

    /// The name Go's messages have for the type.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::NoValue | Self::Nil => "<nil>",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float64",
            Self::Str(_) => "string",
            Self::List(_) => "[]interface {}",
            Self::Map(_) => "map[string]interface {}",
        }
    }

    /// What `{{value}}` prints: Go's `%v`, except that nil is `<no value>`.
    pub fn display(&self) -> String {
        match self {
            Self::NoValue | Self::Nil => "<no value>".to_owned(),
            _ => self.verb_v(),
        }
    }

    /// Go's `%v`.
    pub fn verb_v(&self) -> String {
        let mut out = String::new();
        self.write_v(&mut out);
        out
    }

    fn write_v(&self, out: &mut String) {
        match self {
            Self::NoValue | Self::Nil => out.push_str("<nil>"),
            Self::Bool(value) => {
                let _ = write!(out, "{value}");
            }
            Self::Int(value) => {
                let _ = write!(out, "{value}");
            }
            Self::Float(value) => {
                let _ = write!(out, "{value}");
            }
            Self::Str(text) => out.push_str(text),
            Self::List(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(' ');
                    }
                    item.write_v(out);
                }
                out.push(']');
            }
            Self::Map(map) => {
                out.push_str("map[");
                for (index, (key, value)) in map.entries.iter().enumerate() {
                    if index > 0 {
                        out.push(' ');
                    }
                    out.push_str(key);
                    out.push(':');
                    value.write_v(out);
                }
                out.push(']');
            }
        }
    }
}
