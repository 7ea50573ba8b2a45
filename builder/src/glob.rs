//! Go's `filepath.Match`, with `**` as the ignore file and `--exclude` understand it.

/// One component or path pattern, compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Glob {
    items: Vec<Item>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Item {
    Literal(u8),
    /// One byte other than `/`: `?`. Multi-byte characters are matched as a whole.
    One,
    /// `*`: anything without `/`.
    Star,
    /// `**/`: any number of whole components, none included.
    Directories,
    /// `**` elsewhere: anything.
    Anything,
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

/// Whether `**` crosses directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DoubleStar {
    /// It does: ignore files, `--exclude`, `--parents`.
    Recursive,
    /// It is the same as `*`: Go's `filepath.Match`.
    Plain,
}

impl Glob {
    /// Compiles a pattern; the error says what is wrong with it.
    pub fn new(pattern: &str, stars: DoubleStar) -> Result<Self, String> {
        let mut items = Vec::new();
        let mut chars = pattern.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '*' if stars == DoubleStar::Recursive && chars.peek() == Some(&'*') => {
                    while chars.next_if_eq(&'*').is_some() {}
                    let boundary = matches!(items.last(), None | Some(Item::Literal(b'/') | Item::Directories));
                    if boundary && chars.next_if_eq(&'/').is_some() {
                        items.push(Item::Directories);
                    } else {
                        items.push(Item::Anything);
                    }
                }
                '*' => items.push(Item::Star),
                '?' => items.push(Item::One),
                '[' => {
                    items.push(class(&mut chars).ok_or_else(|| format!("bad pattern `{pattern}`: `[` is not closed"))?)
                }
                '\\' => match chars.next() {
                    Some(c) => literal(&mut items, c),
                    None => return Err(format!("bad pattern `{pattern}`: nothing follows the backslash")),
                },
                _ => literal(&mut items, c),
            }
        }
        Ok(Self { items })
    }

    /// Whether the whole text matches. Time is bounded by text × pattern.
    pub fn matches(&self, text: &str) -> bool {
        let bytes = text.as_bytes();
        let mut reachable = vec![false; bytes.len() + 1];
        reachable[0] = true;
        for item in &self.items {
            let mut next = vec![false; bytes.len() + 1];
            let mut open = false;
            for at in 0..=bytes.len() {
                match item {
                    Item::Literal(byte) => next[at] = at > 0 && reachable[at - 1] && bytes[at - 1] == *byte,
                    Item::Star => {
                        open = reachable[at] || open && at > 0 && bytes[at - 1] != b'/';
                        next[at] = open;
                    }
                    Item::Anything => {
                        open |= reachable[at];
                        next[at] = open;
                    }
                    Item::Directories => {
                        next[at] = reachable[at] || open && at > 0 && bytes[at - 1] == b'/';
                        open |= reachable[at];
                    }
                    Item::One | Item::Class { .. } => {
                        if reachable[at]
                            && let Some(c) = text.get(at..).and_then(|rest| rest.chars().next())
                            && item.accepts(c)
                        {
                            next[at + c.len_utf8()] = true;
                        }
                    }
                }
            }
            reachable = next;
        }
        reachable[bytes.len()]
    }
}

impl Item {
    fn accepts(&self, c: char) -> bool {
        match self {
            Self::Class { negated, ranges } => {
                c != '/' && ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated
            }
            _ => c != '/',
        }
    }
}

/// Whether a path component holds a wildcard.
pub(crate) fn has_wildcard(text: &str) -> bool {
    text.contains(['*', '?', '[', '\\'])
}

fn literal(items: &mut Vec<Item>, c: char) {
    let mut buffer = [0; 4];
    items.extend(c.encode_utf8(&mut buffer).bytes().map(Item::Literal));
}

fn class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<Item> {
    let negated = chars.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        let low = match chars.next()? {
            ']' if !ranges.is_empty() => return Some(Item::Class { negated, ranges }),
            ']' | '-' => return None,
            '\\' => chars.next()?,
            c => c,
        };
        let high = match chars.next_if_eq(&'-') {
            None => low,
            Some(_) => match chars.next()? {
                ']' | '-' => return None,
                '\\' => chars.next()?,
                c => c,
            },
        };
        ranges.push((low, high));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_as_gos_filepath_match() {
        let table = [
            ("abc", "abc", true),
            ("*", "abc", true),
            ("*c", "abc", true),
            ("a*", "a/b", false),
            ("a*/b", "abc/b", true),
            ("a*b*c*d*e*/f", "axbxcxdxe/f", true),
            ("a*b*c*d*e*/f", "axbxcxdxexxx/fff", false),
            ("a*b?c*x", "abxbbxdbxebxczzx", true),
            ("a*b?c*x", "abxbbxdbxebxczzy", false),
            ("ab[c]", "abc", true),
            ("ab[b-d]", "abc", true),
            ("ab[e-g]", "abc", false),
            ("ab[^c]", "abc", false),
            ("ab[^e-g]", "abc", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "ab", false),
            ("a?b", "a☺b", true),
            ("a[^a]b", "a☺b", true),
            ("a???b", "a☺b", false),
            ("[\\]a]", "]", true),
            ("a?b", "a/b", false),
            ("[a-ζ]*", "α", true),
            ("**", "a/b", false),
        ];
        for (pattern, text, expected) in table {
            assert_eq!(Glob::new(pattern, DoubleStar::Plain).unwrap().matches(text), expected, "{pattern} on {text}");
        }
        for pattern in ["[]a]", "[-]", "[x-]", "[-x]", "[", "[^", "[^bc", "a[", "\\"] {
            assert!(Glob::new(pattern, DoubleStar::Plain).is_err(), "{pattern}");
        }
    }

    #[test]
    fn double_stars_cross_directories() {
        let table = [
            ("**/foo", "foo", true),
            ("**/foo", "a/b/foo", true),
            ("**/foo", "xfoo", false),
            ("**foo", "xfoo", true),
            ("**foo", "a/xfoo", true),
            ("a/**", "a/b/c", true),
            ("a/**/c", "a/c", true),
            ("a/**/c", "a/b/b/c", true),
            ("a/**/c", "a/bc", false),
        ];
        for (pattern, text, expected) in table {
            assert_eq!(
                Glob::new(pattern, DoubleStar::Recursive).unwrap().matches(text),
                expected,
                "{pattern} on {text}"
            );
        }
    }
}
