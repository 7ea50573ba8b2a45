//! Names of layers, rw objects and stages: the only names that ever become directory entries of a driver.

use crate::error::{Error, ErrorKind};

/// The longest name, so that a driver can add a suffix and stay below NAME_MAX.
pub const MAX_LEN: usize = 128;

/// A checked name, borrowed: `[A-Za-z0-9_.-]{1,128}`, no leading dot.
///
/// The alphabet has no separator and no `..`, so a key joined to a directory cannot leave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key<'a>(&'a str);

impl<'a> Key<'a> {
    /// Checks a name.
    pub fn new(name: &'a str) -> Result<Self, Error> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
        if name.is_empty() || name.len() > MAX_LEN || name.starts_with('.') || !name.bytes().all(fits) {
            let shown: String = name.chars().take(MAX_LEN).flat_map(char::escape_default).collect();
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("`{shown}` is not a storage key: 1 to {MAX_LEN} of A-Z a-z 0-9 _ . -, not starting with a dot"),
            ));
        }
        Ok(Self(name))
    }

    /// Checks bytes that came through the C interface.
    pub fn from_bytes(name: &'a [u8]) -> Result<Self, Error> {
        match std::str::from_utf8(name) {
            Ok(name) => Self::new(name),
            Err(_) => Err(Error::new(ErrorKind::Invalid, format!("`{}` is not a storage key", name.escape_ascii()))),
        }
    }

    /// The name.
    pub fn as_str(self) -> &'a str {
        self.0
    }

    /// An owned copy.
    pub fn to_owned(self) -> KeyBuf {
        KeyBuf(self.0.into())
    }
}

impl std::fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

/// A checked name, owned.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyBuf(Box<str>);

impl KeyBuf {
    /// Checks a name and keeps a copy.
    pub fn new(name: &str) -> Result<Self, Error> {
        Ok(Key::new(name)?.to_owned())
    }

    /// The borrowed form every call takes.
    pub fn as_key(&self) -> Key<'_> {
        Key(&self.0)
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for KeyBuf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_digests_and_ids_and_refuses_paths() {
        let long = "a".repeat(MAX_LEN);
        for good in ["a", "sha256-0123", "A_b.c-d", "0", &long] {
            assert_eq!(Key::new(good).unwrap().as_str(), good);
        }
        let too_long = "a".repeat(MAX_LEN + 1);
        for bad in ["", ".", "..", ".hidden", "a/b", "a b", "a\0b", "ä", "sha256:00", &too_long] {
            assert_eq!(Key::new(bad).unwrap_err().kind, ErrorKind::Invalid, "{bad:?}");
        }
        assert_eq!(Key::from_bytes(b"\xff").unwrap_err().kind, ErrorKind::Invalid);
    }
}
