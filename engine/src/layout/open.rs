//! From a path or a stream to members: in place where that is possible, else through a nameless file.

use std::cell::Cell;
use std::fs::File;
use std::io::{Read, Write as _};
use std::path::Path;

use mica_layer::{Compression, Decoder};
use rustix::fs::{Mode, OFlags};

use super::Members;
use crate::{Error, LayerBounds, Result};

/// Opens the folder of a layout, or an archive: in place where it is a file that is not compressed. `room` makes a nameless
/// file.
pub(crate) fn open(path: &Path, bounds: LayerBounds, room: &dyn Fn() -> Result<File>) -> Result<Members> {
    let fail = Error::io("open", path);
    let file: File = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| fail(errno.into()))?
        .into();
    let found = file.metadata().map_err(Error::io("stat", path))?;
    if found.is_dir() {
        return Members::of_folder(path);
    }
    if !found.is_file() {
        return read(&mut { file }, path, bounds, room);
    }
    let mut first = [0; 6];
    let count = std::os::unix::fs::FileExt::read_at(&file, &mut first, 0).map_err(Error::io("read", path))?;
    match Compression::detect(&first[..count]).map_err(|source| unreadable(path, source))? {
        Compression::None => Members::of_archive(file),
        _ => read(&mut { file }, path, bounds, room),
    }
}

/// Reads an archive from a stream, compressed or not; `name` is what messages call it.
pub(crate) fn read(
    source: &mut dyn Read,
    name: &Path,
    bounds: LayerBounds,
    room: &dyn Fn() -> Result<File>,
) -> Result<Members> {
    let taken = Cell::new(0);
    let mut decoder =
        Decoder::new(Counted { inner: source, taken: &taken }).map_err(|source| unreadable(name, source))?;
    let packed = decoder.compression() != Compression::None;
    let mut file = room()?;
    let mut buffer = vec![0; 1 << 18];
    let mut size = 0;
    loop {
        let count = match decoder.read(&mut buffer).map_err(Error::io("read", name))? {
            0 => return Members::of_archive(file),
            count => count,
        };
        size += count as u64;
        let limit = bounds.bytes_of(taken.get());
        if packed && size > limit {
            let limit = mica_layer::Error::Limit { what: "bytes", limit };
            return Err(bounds.exceeded(&format!("`{}`", name.display()), &limit));
        }
        file.write_all(&buffer[..count]).map_err(Error::io("copy", name))?;
    }
}

fn unreadable(name: &Path, source: mica_layer::Error) -> Error {
    Error::Layer { operation: "read", layer: name.display().to_string(), source }
}

/// Counts what has been read.
struct Counted<'a> {
    inner: &'a mut dyn Read,
    taken: &'a Cell<u64>,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.taken.set(self.taken.get() + count as u64);
        Ok(count)
    }
}
