//! Configuration files as text: bounded, and absent without being an error.

use std::io::{ErrorKind, Read};
use std::path::Path;

use mica_engine::{Error, Kind, Result};

/// The most bytes of a configuration file.
const MAX: u64 = 4 << 20;

/// A file's text; `None` when there is no such file.
pub(crate) fn read(path: &Path) -> Result<Option<String>> {
    let file = match fs_err::File::open(path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        Err(error) => return Err(Error::io("read", path)(error)),
    };
    let mut bytes = Vec::new();
    file.take(MAX + 1).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    if bytes.len() as u64 > MAX {
        return Err(refused(path, format!("it is larger than {} MiB", MAX >> 20)));
    }
    String::from_utf8(bytes).map(Some).map_err(|_| refused(path, "it is not UTF-8"))
}

/// A file that says what cannot be used.
pub(crate) fn refused(path: &Path, reason: impl std::fmt::Display) -> Error {
    Error::refused(Kind::InvalidInput, format!("cannot use `{}`: {reason}", path.display()))
}

/// The line, counted from 1, of a place in a text.
pub(super) fn line(text: &str, offset: usize) -> usize {
    text.as_bytes()[..offset.min(text.len())].iter().filter(|&&byte| byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_bounded_texts_and_may_be_absent() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        assert_eq!(read(&path).unwrap(), None);
        assert_eq!(read(&path.join("below")).unwrap(), None);
        fs_err::write(&path, "text").unwrap();
        assert_eq!(read(&path.join("below")).unwrap(), None);
        assert_eq!(read(&path).unwrap().as_deref(), Some("text"));
        for (bytes, words) in [(vec![0xff], "not UTF-8"), (vec![b' '; (4 << 20) + 1], "larger than 4 MiB")] {
            fs_err::write(&path, bytes).unwrap();
            let error = read(&path).unwrap_err();
            assert!(error.to_string().contains(words) && error.to_string().contains("file"), "{error}");
        }
        assert!(read(folder.path()).is_err());
    }
}
