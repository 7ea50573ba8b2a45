//! `WWW-Authenticate`: what a registry wants to see before it answers (RFC 9110 section 11.6.1). Pure functions of text.

/// How a registry wants to be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    /// User and secret with every request.
    Basic,
    /// A token from a server.
    Bearer(Bearer),
}

/// Where tokens are had.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bearer {
    /// The token server's address.
    pub realm: String,
    /// The name of the registry that the token is for.
    pub service: Option<String>,
    /// What this request would need.
    pub scope: Option<String>,
}

/// The best challenge in the values of the header, tokens before secrets. Unknown schemes are passed over.
pub fn parse<'a>(values: impl IntoIterator<Item = &'a str>) -> Option<Challenge> {
    let mut basic = false;
    for value in values {
        for (scheme, parameters) in challenges(value) {
            if scheme.eq_ignore_ascii_case("bearer") {
                let find = |name: &str| {
                    let found = parameters.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
                    found.map(|(_, value)| value.clone())
                };
                if let Some(realm) = find("realm") {
                    return Some(Challenge::Bearer(Bearer { realm, service: find("service"), scope: find("scope") }));
                }
            }
            basic |= scheme.eq_ignore_ascii_case("basic");
        }
    }
    basic.then_some(Challenge::Basic)
}

type Parameters = Vec<(String, String)>;

/// Splits a value into schemes with their parameters: `Bearer a="b", c=d, Basic realm="e"`.
fn challenges(value: &str) -> Vec<(String, Parameters)> {
    let mut found: Vec<(String, Parameters)> = Vec::new();
    let mut rest = value.trim_start_matches([' ', '\t', ',']);
    while !rest.is_empty() {
        let end = rest.find([' ', '\t', ',', '=']).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let spaced = after.trim_start_matches([' ', '\t']);
        match spaced.strip_prefix('=') {
            Some(after) if !found.is_empty() => {
                let (text, after) = argument(after.trim_start_matches([' ', '\t']));
                if let Some((_, parameters)) = found.last_mut() {
                    parameters.push((word.to_owned(), text));
                }
                rest = after;
            }
            // A parameter without a scheme before it belongs to nothing.
            Some(after) => rest = argument(after).1,
            None => {
                if !word.is_empty() {
                    found.push((word.to_owned(), Parameters::new()));
                }
                rest = spaced;
            }
        }
        rest = rest.trim_start_matches([' ', '\t', ',']);
    }
    found
}

/// A token or quoted string at the front, and what follows it.
fn argument(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([' ', '\t', ',']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut escaped = false;
    for (at, character) in quoted.char_indices() {
        match character {
            _ if escaped => {
                value.push(character);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return (value, &quoted[at + 1..]),
            _ => value.push(character),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Option<Challenge> {
        let owned = |text: &str| text.to_owned();
        Some(Challenge::Bearer(Bearer { realm: owned(realm), service: service.map(owned), scope: scope.map(owned) }))
    }

    #[test]
    fn tokens_come_before_secrets_and_unknown_schemes_are_passed_over() {
        for (values, expected) in [
            (&["Basic realm=\"r\""][..], Some(Challenge::Basic)),
            (&["basic"], Some(Challenge::Basic)),
            (
                &["Bearer realm=\"https://a/t\",service=\"s\",scope=\"repository:a/b:pull,push\""],
                bearer("https://a/t", Some("s"), Some("repository:a/b:pull,push")),
            ),
            (&["Basic realm=\"r\", Bearer realm=\"https://a\""], bearer("https://a", None, None)),
            (&["Negotiate", "bearer Realm = https://a , SERVICE=s"], bearer("https://a", Some("s"), None)),
            (&["Bearer realm=\"a\\\"b\""], bearer("a\"b", None, None)),
            (&["Bearer service=\"s\""], None),
            (&["Digest qop=\"auth\", nonce=\"x\""], None),
            (&["", ",,,", "=", "Bearer realm=\"open"], bearer("open", None, None)),
        ] {
            assert_eq!(parse(values.iter().copied()), expected, "{values:?}");
        }
    }
}
