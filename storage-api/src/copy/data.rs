//! The bytes of one file: shared where the file system can, else moved inside the kernel, else through a buffer. Holes stay.

use std::os::fd::BorrowedFd;

use rustix::fs::{SeekFrom, Stat};
use rustix::io::Errno;

const BUFFER: usize = 256 * 1024;

/// What the two file systems of a copy can do, learnt from the first refusal.
#[derive(Debug)]
pub struct Data {
    clone: bool,
    range: bool,
    buffer: Vec<u8>,
}

impl Default for Data {
    fn default() -> Self {
        Self { clone: true, range: true, buffer: Vec::new() }
    }
}

impl Data {
    /// Copies the content of `from` into the empty file `to`.
    pub fn copy(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, stat: &Stat) -> rustix::io::Result<()> {
        let size = stat.st_size as u64;
        if size == 0 {
            return Ok(());
        }
        if self.clone {
            match rustix::fs::ioctl_ficlone(to, from) {
                Ok(()) => return Ok(()),
                Err(Errno::OPNOTSUPP | Errno::XDEV | Errno::NOTTY | Errno::NOSYS) => self.clone = false,
                // This file only: btrfs does not share between files with and without checksums.
                Err(Errno::INVAL | Errno::PERM) => {}
                Err(errno) => return Err(errno),
            }
        }
        // Compressed files look as if they had holes, too; asking for them is right all the same.
        if stat.st_blocks as u64 * 512 >= size {
            return self.extent(from, to, 0, size);
        }
        rustix::fs::ftruncate(to, size)?;
        let mut at = 0;
        while at < size {
            let start = match rustix::fs::seek(from, SeekFrom::Data(at)) {
                Ok(start) => start,
                Err(Errno::NXIO) => break,
                Err(errno) => return Err(errno),
            };
            let end = rustix::fs::seek(from, SeekFrom::Hole(start))?;
            self.extent(from, to, start, end)?;
            at = end;
        }
        Ok(())
    }

    fn extent(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, start: u64, end: u64) -> rustix::io::Result<()> {
        let mut at = start;
        while self.range && at < end {
            let (mut read, mut written) = (at, at);
            let most = usize::try_from(end - at).unwrap_or(usize::MAX).min(1 << 30);
            match rustix::fs::copy_file_range(from, Some(&mut read), to, Some(&mut written), most) {
                // Some file systems answer 0 for files whose size they do not know; reading will tell.
                Ok(0) => break,
                Ok(moved) => at += moved as u64,
                Err(Errno::INTR) => {}
                Err(Errno::OPNOTSUPP | Errno::XDEV | Errno::NOSYS | Errno::INVAL | Errno::PERM) => self.range = false,
                Err(errno) => return Err(errno),
            }
        }
        self.through_buffer(from, to, at, end)
    }

    fn through_buffer(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        start: u64,
        end: u64,
    ) -> rustix::io::Result<()> {
        let mut at = start;
        if at < end {
            self.buffer.resize(BUFFER, 0);
        }
        while at < end {
            let most = usize::try_from(end - at).unwrap_or(BUFFER).min(BUFFER);
            let read = rustix::io::retry_on_intr(|| rustix::io::pread(from, &mut self.buffer[..most], at))?;
            if read == 0 {
                // The parent is immutable by contract, so a file that ends early was damaged under us.
                return Err(Errno::IO);
            }
            let mut rest = &self.buffer[..read];
            while !rest.is_empty() {
                let written = rustix::io::retry_on_intr(|| rustix::io::pwrite(to, rest, at))?;
                rest = &rest[written..];
                at += written as u64;
            }
        }
        Ok(())
    }

    /// Only the slowest way, which no file system here would take.
    #[cfg(test)]
    pub fn buffered() -> Self {
        Self { clone: false, range: false, buffer: Vec::new() }
    }
}
