//! Pinned plugins: which bytes a driver's file must have. Who pins a driver refuses every other file of its name.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::fd::BorrowedFd;

use sha2::{Digest as _, Sha256};

use crate::error::{Error, Refusal, Result};
use crate::search;

/// Digests by driver name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pins(BTreeMap<String, String>);

impl Pins {
    /// Pins the driver `name` to the file with this digest, `sha256:` and 64 hexadecimal digits.
    pub fn insert(&mut self, name: &str, digest: &str) -> Result<()> {
        if !search::is_name(name) {
            return Err(Error::Name { name: name.chars().take(64).collect() });
        }
        let hex = digest.strip_prefix("sha256:").filter(|hex| hex.len() == 64);
        if !hex.is_some_and(|hex| hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))) {
            return Err(Error::Pin { name: name.to_owned(), digest: digest.chars().take(100).collect() });
        }
        self.0.insert(name.to_owned(), digest.to_owned());
        Ok(())
    }

    /// Refuses a file that is not the pinned one. `name` is what is known of it before it is loaded.
    pub(crate) fn judge(&self, name: Option<&str>, file: BorrowedFd<'_>) -> Result<(), Refusal> {
        if self.0.is_empty() {
            return Ok(());
        }
        let Some(name) = name else { return Err(Refusal::Unnamed) };
        let Some(expected) = self.0.get(name) else { return Ok(()) };
        let found =
            digest(file).map_err(|errno| Refusal::Pinned { found: errno.to_string(), expected: expected.clone() })?;
        if found == *expected { Ok(()) } else { Err(Refusal::Pinned { found, expected: expected.clone() }) }
    }
}

/// A file's digest in the form in which it is pinned.
pub(crate) fn digest(file: BorrowedFd<'_>) -> rustix::io::Result<String> {
    let mut hasher = Sha256::new();
    let mut piece = vec![0; 128 * 1024];
    let mut offset = 0;
    loop {
        match rustix::io::pread(file, &mut piece, offset) {
            Ok(0) => break,
            Ok(read) => {
                hasher.update(&piece[..read]);
                offset += read as u64;
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    let mut text = "sha256:".to_owned();
    for byte in hasher.finalize() {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd as _;

    /// Of the three bytes `abc`, from FIPS 180-2, appendix B.1.
    const ABC: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn only_the_pinned_file_passes() {
        let dir = tempfile::tempdir().unwrap();
        fs_err::write(dir.path().join("f"), "abc").unwrap();
        let file = fs_err::File::open(dir.path().join("f")).unwrap();
        let mut pins = Pins::default();
        pins.judge(None, file.as_fd()).unwrap();
        pins.insert("abc", ABC).unwrap();
        pins.insert("other", &ABC.replace("ba", "bb")).unwrap();
        pins.judge(Some("abc"), file.as_fd()).unwrap();
        pins.judge(Some("free"), file.as_fd()).unwrap();
        let refused = pins.judge(Some("other"), file.as_fd()).unwrap_err().to_string();
        assert!(refused.contains(ABC) && refused.contains("sha256:bb78"), "{refused}");
        assert!(matches!(pins.judge(None, file.as_fd()), Err(Refusal::Unnamed)));
    }

    #[test]
    fn pins_that_are_none() {
        let mut pins = Pins::default();
        for digest in ["", "sha256:", "ba78", &ABC.to_uppercase(), &ABC[..70], "sha512:00"] {
            assert!(matches!(pins.insert("x", digest), Err(Error::Pin { .. })), "{digest}");
        }
        assert!(matches!(pins.insert("../x", ABC), Err(Error::Name { .. })));
        assert_eq!(pins, Pins::default());
    }
}
