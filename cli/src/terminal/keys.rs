//! Detach keys: their spelling, and finding them in what a person types.

/// The keys that leave a container running, `ctrl-p,ctrl-q` unless told otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetachKeys(Vec<u8>);

impl Default for DetachKeys {
    fn default() -> Self {
        Self(vec![0x10, 0x11])
    }
}

impl DetachKeys {
    /// Parses single characters and `ctrl-X` with X of `a`-`z`, `@`, `[`, `\`, `]`, `^` and `_`, between commas. An empty
    /// text is no keys at all.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self(Vec::new()));
        }
        text.split(',').map(key).collect::<Result<Vec<u8>, String>>().map(Self)
    }

    /// A matcher for one session.
    pub fn matcher(&self) -> Matcher {
        Matcher { keys: self.0.clone(), matched: 0 }
    }
}

fn key(name: &str) -> Result<u8, String> {
    let unknown = || format!("`{name}` is neither a character nor ctrl-X");
    match name.as_bytes() {
        [byte] if byte.is_ascii() => Ok(*byte),
        bytes => match bytes.strip_prefix(b"ctrl-") {
            Some([letter @ b'a'..=b'z']) => Ok(letter - b'a' + 1),
            Some([letter @ b'A'..=b'Z']) => Ok(letter - b'A' + 1),
            Some(b"@") => Ok(0),
            Some([sign @ b'['..=b'_']) => Ok(sign - b'@'),
            _ => Err(unknown()),
        },
    }
}

/// Finds the keys in a stream that arrives in pieces.
#[derive(Debug)]
pub struct Matcher {
    keys: Vec<u8>,
    matched: usize,
}

/// What a piece of input holds.
#[derive(Debug, PartialEq, Eq)]
pub enum Seen {
    /// Bytes to pass on; keys that may still become the sequence are held back.
    Pass(Vec<u8>),
    /// Bytes before the sequence, which is now complete.
    Detach(Vec<u8>),
}

impl Matcher {
    /// Looks at the next piece.
    pub fn feed(&mut self, bytes: &[u8]) -> Seen {
        if self.keys.is_empty() {
            return Seen::Pass(bytes.to_vec());
        }
        let mut out = Vec::with_capacity(bytes.len());
        for &byte in bytes {
            if byte == self.keys[self.matched] {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    return Seen::Detach(out);
                }
                continue;
            }
            out.extend_from_slice(&self.keys[..self.matched]);
            self.matched = usize::from(byte == self.keys[0]);
            if self.matched == 0 {
                out.push(byte);
            }
        }
        Seen::Pass(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings() {
        let cases: &[(&str, Option<&[u8]>)] = &[
            ("ctrl-p,ctrl-q", Some(&[16, 17])),
            ("a", Some(b"a")),
            ("ctrl-a,d", Some(&[1, b'd'])),
            ("ctrl-@,ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_", Some(&[0, 27, 28, 29, 30, 31])),
            ("", Some(&[])),
            ("ctrl-", None),
            ("ctrl-1", None),
            ("ab", None),
            ("a,,b", None),
            ("é", None),
        ];
        for (text, expected) in cases {
            let keys = DetachKeys::parse(text);
            assert_eq!(keys.as_ref().ok().map(|keys| keys.0.as_slice()), *expected, "{text}: {keys:?}");
        }
    }

    #[test]
    fn sequences_are_found_across_pieces_and_false_starts_pass() {
        let pass = |bytes: &[u8]| Seen::Pass(bytes.to_vec());
        let cases: &[(&[&[u8]], &[Seen])] = &[
            (&[b"abc"], &[pass(b"abc")]),
            (&[b"ab\x10\x11cd"], &[Seen::Detach(b"ab".to_vec())]),
            (&[b"a\x10", b"\x11"], &[pass(b"a"), Seen::Detach(Vec::new())]),
            (&[b"a\x10", b"b"], &[pass(b"a"), pass(b"\x10b")]),
            (&[b"\x10\x10\x11"], &[Seen::Detach(b"\x10".to_vec())]),
        ];
        for (pieces, expected) in cases {
            let mut matcher = DetachKeys::default().matcher();
            let seen: Vec<Seen> = pieces.iter().map(|piece| matcher.feed(piece)).collect();
            assert_eq!(seen, *expected, "{pieces:?}");
        }
        let mut none = DetachKeys::parse("").expect("no keys").matcher();
        assert_eq!(none.feed(b"\x10\x11"), pass(b"\x10\x11"));
    }
}
