//! JSON as it came, laid out for people: nothing of it is read, so nothing gets lost or changes places.

/// Lays out a valid JSON text, one value a line, with this for each level.
pub fn indent(text: &str, step: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    let mut depth = 0usize;
    let (mut in_string, mut escaped) = (false, false);
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        if in_string {
            in_string = escaped || character != '"';
            escaped = !escaped && character == '\\';
            push(&mut out, character);
            continue;
        }
        match character {
            ' ' | '\t' | '\n' | '\r' => {}
            '{' | '[' => {
                while characters.next_if(|next| next.is_ascii_whitespace()).is_some() {}
                out.push(character);
                match characters.next_if(|next| matches!(next, '}' | ']')) {
                    Some(end) => out.push(end),
                    None => {
                        depth += 1;
                        line(&mut out, depth, step);
                    }
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth, step);
                out.push(character);
            }
            ',' => {
                out.push(character);
                line(&mut out, depth, step);
            }
            ':' => out.push_str(": "),
            other => {
                in_string = other == '"';
                push(&mut out, other);
            }
        }
    }
    out
}

fn line(out: &mut String, depth: usize, step: &str) {
    out.push('\n');
    out.extend(std::iter::repeat_n(step, depth));
}

/// A terminal must not take a stranger's text for commands.
fn push(out: &mut String, character: char) {
    if character.is_control() {
        out.push_str(&format!("\\u{:04x}", u32::from(character)));
    } else {
        out.push(character);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stand_one_a_line_and_are_what_they_were() {
        for (text, expected) in [
            ("{}", "{}"),
            ("[ ]", "[]"),
            ("{\"a\":1,\"b\":[true,null]}", "{\n  \"a\": 1,\n  \"b\": [\n    true,\n    null\n  ]\n}"),
            ("{\n\t\"a\" : { } ,\r\n \"b\":[ ] }", "{\n  \"a\": {},\n  \"b\": []\n}"),
            (r#"["{,:}\"[\\",2]"#, "[\n  \"{,:}\\\"[\\\\\",\n  2\n]"),
            ("{\"z\":1.50,\"a\":\"é\u{9b}\"}", "{\n  \"z\": 1.50,\n  \"a\": \"é\\u009b\"\n}"),
        ] {
            let indented = indent(text, "  ");
            assert_eq!(indented, expected, "{text}");
            let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
            assert_eq!(value(&indented), value(text));
        }
    }
}
