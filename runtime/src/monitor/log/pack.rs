//! Compressing a log file that was turned over, some of it with each write of the next one.
//!
//! The relay waits for nothing but its streams, and a whole file of twenty megabytes would be a wait for whoever is attached. It
//! could be done by a thread, were the monitor not to fork when the container is started again. A monitor that ends leaves the
//! file as it was written, and the next one begins anew.

use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use flate2::write::GzEncoder;
use flate2::{Compression, GzBuilder};
use fs_err::os::unix::fs::OpenOptionsExt as _;

/// What ends the name of a compressed file.
pub const ENDING: &str = ".gz";
/// So much is compressed for each byte that is written, so that it is done long before the next file is full.
const PACE: u64 = 4;
const CHUNK: usize = 64 << 10;

/// A file on its way.
#[derive(Debug)]
pub struct Packing {
    plain: PathBuf,
    from: fs_err::File,
    to: GzEncoder<fs_err::File>,
}

impl Packing {
    /// Begins with a file; `None` where there is none, or no room for another.
    pub fn begin(plain: PathBuf) -> Option<Self> {
        let from = fs_err::File::open(&plain).ok()?;
        // By the inode's number a reader that follows the log knows what it has read.
        let comment = from.metadata().ok()?.ino().to_string();
        let mut options = fs_err::OpenOptions::new();
        let to = options.create(true).write(true).truncate(true).mode(0o640).open(with(&plain, ".partial")).ok()?;
        // Lines of a log get a tenth of their size either way, and this way soon.
        let to = GzBuilder::new().comment(comment).write(to, Compression::fast());
        Some(Self { plain, from, to })
    }

    /// Goes on for so much as suits `written` bytes; `None` when nothing is left to do.
    pub fn step(self, written: u64) -> Option<Self> {
        self.go_on((PACE * written).max(CHUNK as u64))
    }

    /// Does the rest.
    pub fn finish(self) {
        self.go_on(u64::MAX);
    }

    fn go_on(mut self, bytes: u64) -> Option<Self> {
        match self.copy(bytes) {
            Ok(false) => return Some(self),
            Ok(true) => {
                let partial = with(&self.plain, ".partial");
                let whole = self.to.finish().and_then(|_| fs_err::rename(&partial, with(&self.plain, ENDING)));
                // A disk that has no room for a smaller file has the larger one already.
                let needless = if whole.is_ok() { self.plain } else { partial };
                fs_err::remove_file(needless).ok();
            }
            Err(_) => {
                fs_err::remove_file(with(&self.plain, ".partial")).ok();
            }
        }
        None
    }

    /// True at the end of the file.
    fn copy(&mut self, mut bytes: u64) -> io::Result<bool> {
        let mut chunk = [0; CHUNK];
        while bytes > 0 {
            let count = self.from.read(&mut chunk)?;
            if count == 0 {
                return Ok(true);
            }
            self.to.write_all(chunk.get(..count).unwrap_or_default())?;
            bytes = bytes.saturating_sub(count as u64);
        }
        Ok(false)
    }
}

fn with(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}
