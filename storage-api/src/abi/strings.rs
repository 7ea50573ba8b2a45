//! Borrowing what crossed the boundary as pointer and length, and copying size-prefixed structs.
#![expect(unsafe_code, reason = "raw pointers and lengths from the other side become slices here and nowhere else")]

use std::ffi::{OsStr, c_int};
use std::os::fd::{BorrowedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::grown::{Grown, fill, known_part};
use super::{Str, Strs};
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;

impl Str {
    /// No bytes.
    pub const EMPTY: Self = Self { ptr: std::ptr::null(), len: 0 };

    /// Lends bytes; they must outlive the call they are lent to.
    pub const fn lend(bytes: &[u8]) -> Self {
        Self { ptr: bytes.as_ptr().cast(), len: bytes.len() }
    }

    /// The bytes; empty for a null pointer or an impossible length.
    ///
    /// # Safety
    /// A non-null `ptr` must lead to `len` readable bytes that do not change for `'a`.
    pub unsafe fn bytes<'a>(self) -> &'a [u8] {
        if self.ptr.is_null() || self.len > isize::MAX as usize {
            return &[];
        }
        // SAFETY: not null, of a possible length, and the caller vouches for the memory behind it.
        unsafe { std::slice::from_raw_parts(self.ptr.cast(), self.len) }
    }
}

impl Strs {
    /// Lends a list; it must outlive the call it is lent to.
    pub const fn lend(list: &[Str]) -> Self {
        Self { ptr: list.as_ptr(), len: list.len() }
    }
}

/// The strings of a list.
///
/// # Safety
/// As for [`Str::bytes`], for the list and every string in it.
pub unsafe fn strs<'a>(list: Strs) -> impl Iterator<Item = &'a [u8]> {
    let list: &'a [Str] = if list.ptr.is_null() || list.len > isize::MAX as usize / size_of::<Str>() {
        &[]
    } else {
        // SAFETY: not null, of a possible length, and the caller vouches for the memory behind it.
        unsafe { std::slice::from_raw_parts(list.ptr, list.len) }
    };
    // SAFETY: the caller vouches for every string.
    list.iter().map(|one| unsafe { one.bytes() })
}

/// The keys of a chain, checked.
///
/// # Safety
/// As for [`strs`].
pub unsafe fn keys<'a>(list: Strs) -> Result<Vec<Key<'a>>> {
    // SAFETY: passed on to the caller.
    unsafe { strs(list) }.map(Key::from_bytes).collect()
}

/// The bytes, or `None` when there are none.
///
/// # Safety
/// As for [`Str::bytes`].
pub unsafe fn opt_bytes<'a>(text: Str) -> Option<&'a [u8]> {
    // SAFETY: passed on to the caller.
    let bytes = unsafe { text.bytes() };
    (!bytes.is_empty()).then_some(bytes)
}

/// UTF-8 texts, as options are.
///
/// # Safety
/// As for [`strs`].
pub(super) unsafe fn texts<'a>(list: Strs) -> Result<Vec<&'a str>> {
    // SAFETY: passed on to the caller.
    unsafe { strs(list) }.map(text).collect()
}

pub(super) fn text(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes)
        .map_err(|_| Error::new(ErrorKind::Invalid, format!("`{}` is not UTF-8", bytes.escape_ascii())))
}

pub(super) fn path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

/// Reads a struct of the host, which begins with its size.
///
/// # Safety
/// `from` is null or leads to a struct whose `size` tells how many bytes are readable.
pub(super) unsafe fn read<T: Grown>(from: *const T) -> Result<T> {
    // SAFETY: the caller vouches for at least the size field of a non-null pointer, and for as many bytes as it says.
    let known = (!from.is_null()).then(|| unsafe { known_part(from, from.cast::<u32>().read_unaligned()) }).flatten();
    known.ok_or_else(short)
}

/// Writes a struct for the host, which said in `size` how much room it has.
///
/// # Safety
/// `to` is null or leads to a writable struct whose `size` tells how many bytes may be written.
pub(super) unsafe fn write<T: Grown>(to: *mut T, value: &T) -> Result<()> {
    // SAFETY: passed on to the caller.
    if !to.is_null() && unsafe { fill(to, value) } { Ok(()) } else { Err(short()) }
}

fn short() -> Error {
    Error::new(ErrorKind::Invalid, "the host passed a struct shorter than ABI 1.0 defines")
}

/// A descriptor lent for the call; negative: none.
///
/// # Safety
/// A non-negative number is an open descriptor for `'a`.
pub(super) unsafe fn lent_fd<'a>(fd: c_int) -> Option<BorrowedFd<'a>> {
    // SAFETY: not -1, and the caller vouches for the descriptor.
    (fd >= 0).then(|| unsafe { BorrowedFd::borrow_raw(fd as RawFd) })
}
