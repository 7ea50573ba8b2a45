//! Go's `fmt` for the values of a template: `print`, `println` and the verbs of `printf`.

use super::Value;

/// Widths and precisions beyond this are cut: they would be an allocation of the template's choice.
const MAX_WIDTH: usize = 1 << 16;

/// `fmt.Sprint`: a space between operands when neither is a string.
pub(super) fn print(values: &[Value]) -> String {
    let mut out = String::new();
    for (index, value) in values.iter().enumerate() {
        if index > 0 && !matches!(value, Value::Str(_)) && !matches!(values[index - 1], Value::Str(_)) {
            out.push(' ');
        }
        out.push_str(&value.verb_v());
    }
    out
}

/// `fmt.Sprintln`: a space between all operands, and a newline.
pub(super) fn println(values: &[Value]) -> String {
    let mut out = values.iter().map(Value::verb_v).collect::<Vec<_>>().join(" ");
    out.push('\n');
    out
}

#[derive(Default)]
struct Flags {
    minus: bool,
    plus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// `fmt.Sprintf`.
pub(super) fn printf(format: &str, values: &[Value]) -> String {
    let mut out = String::new();
    let mut next = 0;
    let mut characters = format.chars().peekable();
    while let Some(character) = characters.next() {
        if character != '%' {
            out.push(character);
            continue;
        }
        let mut flags = Flags::default();
        while let Some(flag) = characters.peek() {
            match flag {
                '-' => flags.minus = true,
                '+' => flags.plus = true,
                '#' => flags.sharp = true,
                ' ' => flags.space = true,
                '0' => flags.zero = true,
                _ => break,
            }
            characters.next();
        }
        let mut count = |characters: &mut std::iter::Peekable<std::str::Chars<'_>>| {
            if characters.next_if_eq(&'*').is_some() {
                let value = values.get(next).cloned();
                next += 1;
                return match value {
                    Some(Value::Int(number)) => {
                        usize::try_from(number.unsigned_abs()).ok().map(|width| (width, number < 0))
                    }
                    _ => None,
                };
            }
            let mut digits = String::new();
            while let Some(digit) = characters.next_if(char::is_ascii_digit) {
                digits.push(digit);
            }
            digits.parse().ok().map(|width: usize| (width, false))
        };
        if let Some((width, negative)) = count(&mut characters) {
            flags.width = Some(width.min(MAX_WIDTH));
            flags.minus |= negative;
        }
        if characters.next_if_eq(&'.').is_some() {
            flags.precision = Some(count(&mut characters).map_or(0, |(precision, _)| precision.min(MAX_WIDTH)));
        }
        let Some(verb) = characters.next() else {
            out.push_str("%!(NOVERB)");
            break;
        };
        if verb == '%' {
            out.push('%');
            continue;
        }
        match values.get(next) {
            None => out.push_str(&format!("%!{verb}(MISSING)")),
            Some(value) => out.push_str(&pad(&flags, verb, &one(&flags, verb, value))),
        }
        next += 1;
    }
    if next < values.len() {
        let extra: Vec<String> =
            values[next..].iter().map(|value| format!("{}={}", value.type_name(), value.verb_v())).collect();
        out.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    out
}

fn one(flags: &Flags, verb: char, value: &Value) -> String {
    let cut = |text: &str| match flags.precision {
        Some(precision) => text.chars().take(precision).collect(),
        None => text.to_owned(),
    };
    match (verb, value) {
        ('T', _) => value.type_name().to_owned(),
        ('v', Value::Str(text)) if flags.sharp => quote(text),
        ('v', Value::Int(_) | Value::Float(_)) => sign(flags, value.verb_v()),
        ('v', _) => value.verb_v(),
        ('t', Value::Bool(_)) | ('d', Value::List(_)) | ('s', Value::List(_) | Value::Map(_)) => value.verb_v(),
        ('s', Value::Str(text)) => cut(text),
        ('q', Value::Str(text)) => quote(&cut(text)),
        ('q', Value::List(items)) => {
            let quoted: Vec<String> = items.iter().map(|item| one(flags, 'q', item)).collect();
            format!("[{}]", quoted.join(" "))
        }
        ('x', Value::Str(text)) => text.bytes().map(|byte| format!("{byte:02x}")).collect(),
        ('X', Value::Str(text)) => text.bytes().map(|byte| format!("{byte:02X}")).collect(),
        ('d', Value::Int(number)) => sign(flags, number.to_string()),
        ('x', Value::Int(number)) => radix(flags, *number, "0x", |number| format!("{number:x}")),
        ('X', Value::Int(number)) => radix(flags, *number, "0X", |number| format!("{number:X}")),
        ('o', Value::Int(number)) => radix(flags, *number, "0", |number| format!("{number:o}")),
        ('b', Value::Int(number)) => radix(flags, *number, "0b", |number| format!("{number:b}")),
        ('c', Value::Int(number)) => {
            u32::try_from(*number).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER).to_string()
        }
        ('f' | 'F', Value::Float(number)) => sign(flags, format!("{number:.*}", flags.precision.unwrap_or(6))),
        ('e', Value::Float(number)) => sign(flags, exponent(*number, flags.precision.unwrap_or(6))),
        ('g', Value::Float(number)) => sign(flags, number.to_string()),
        (_, Value::NoValue | Value::Nil) => format!("%!{verb}(<nil>)"),
        _ => format!("%!{verb}({}={})", value.type_name(), value.verb_v()),
    }
}

fn sign(flags: &Flags, text: String) -> String {
    match (text.starts_with('-'), flags.plus, flags.space) {
        (false, true, _) => format!("+{text}"),
        (false, false, true) => format!(" {text}"),
        _ => text,
    }
}

fn radix(flags: &Flags, number: i64, prefix: &str, digits: impl Fn(u64) -> String) -> String {
    let minus = if number < 0 { "-" } else { "" };
    let prefix = if flags.sharp { prefix } else { "" };
    sign(flags, format!("{minus}{prefix}{}", digits(number.unsigned_abs())))
}

/// Go writes at least two digits of exponent and always its sign.
fn exponent(number: f64, precision: usize) -> String {
    let text = format!("{number:.precision$e}");
    let Some((mantissa, exponent)) = text.split_once('e') else {
        return text;
    };
    let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
    format!("{mantissa}e{sign}{digits:0>2}")
}

/// A text in quotes, as Go's `strconv.Quote` writes it.
pub fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            _ if character.is_control() && u32::from(character) < 0x80 => {
                out.push_str(&format!("\\x{:02x}", u32::from(character)));
            }
            _ if character.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(character))),
            _ => out.push(character),
        }
    }
    out.push('"');
    out
}

fn pad(flags: &Flags, verb: char, text: &str) -> String {
    let Some(missing) = flags.width.and_then(|width| width.checked_sub(text.chars().count())) else {
        return text.to_owned();
    };
    if flags.minus {
        return format!("{text}{}", " ".repeat(missing));
    }
    if flags.zero && matches!(verb, 'd' | 'x' | 'X' | 'o' | 'b' | 'f' | 'F' | 'e' | 'g') {
        let digits = text.trim_start_matches(['+', '-']);
        let sign = &text[..text.len() - digits.len()];
        return format!("{sign}{}{digits}", "0".repeat(missing));
    }
    format!("{}{text}", " ".repeat(missing))
}
