//! One 512-byte header: fields, numbers, checksum. Pure functions of the block.

use super::BLOCK;

/// A header whose checksum is right.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header<'a>(&'a [u8; BLOCK]);

impl<'a> Header<'a> {
    /// Takes a block as a header; nothing when its checksum is wrong.
    pub fn new(block: &'a [u8; BLOCK]) -> Option<Header<'a>> {
        let stored = octal(&block[148..156]).ok()?;
        // The checksum's own field counts as blanks. Some old writers summed signed characters.
        let outside = || block[..148].iter().chain(&block[156..]);
        let unsigned: i64 = outside().map(|b| i64::from(*b)).sum::<i64>() + 8 * 32;
        let signed: i64 = outside().map(|b| i64::from(b.cast_signed())).sum::<i64>() + 8 * 32;
        (stored == unsigned || stored == signed).then_some(Header(block))
    }

    /// The type of the entry.
    pub fn typeflag(&self) -> u8 {
        self.0[156]
    }

    /// The name field, without the ustar prefix.
    pub fn name(&self) -> &'a [u8] {
        text(&self.0[..100])
    }

    /// The ustar prefix of the name, or nothing: GNU headers keep times and sparse maps in its place.
    pub fn prefix(&self) -> &'a [u8] {
        if self.0[257..263] == *b"ustar\0" { text(&self.0[345..500]) } else { b"" }
    }

    /// What a link points to.
    pub fn link(&self) -> &'a [u8] {
        text(&self.0[157..257])
    }

    /// Permission bits; the file type some writers leave in is dropped.
    pub fn mode(&self) -> Result<u32, &'static str> {
        let mode = number(&self.0[100..108]).map_err(|_| "mode is not a number")?;
        u32::try_from(mode & 0o7777).map_err(|_| "mode is out of range")
    }

    /// Owner, of any width: the caller refuses what is out of range.
    pub fn uid(&self) -> Result<i64, &'static str> {
        number(&self.0[108..116]).map_err(|_| "owner is not a number")
    }

    /// Group.
    pub fn gid(&self) -> Result<i64, &'static str> {
        number(&self.0[116..124]).map_err(|_| "group is not a number")
    }

    /// How many bytes of content follow.
    pub fn size(&self) -> Result<i64, &'static str> {
        number(&self.0[124..136]).map_err(|_| "size is not a number")
    }

    /// Modification time in whole seconds.
    pub fn mtime(&self) -> Result<i64, &'static str> {
        number(&self.0[136..148]).map_err(|_| "time is not a number")
    }

    /// A device's major and minor number.
    pub fn device(&self) -> Result<(i64, i64), &'static str> {
        let wrong = |_| "device number is not a number";
        Ok((number(&self.0[329..337]).map_err(wrong)?, number(&self.0[337..345]).map_err(wrong)?))
    }

    /// The four sparse segments in an old GNU header, whether more follow, and the real size.
    pub fn gnu_sparse(&self) -> Result<(&'a [u8], bool, i64), &'static str> {
        let size = number(&self.0[483..495]).map_err(|_| "real size is not a number")?;
        Ok((&self.0[386..482], self.0[482] != 0, size))
    }
}

/// A number: octal text, or GNU's base-256 when the first bit is set (and negative when the second is too).
pub(super) fn number(field: &[u8]) -> Result<i64, ()> {
    let Some((first, rest)) = field.split_first() else { return Err(()) };
    if first & 0x80 == 0 {
        return octal(field);
    }
    let mut value = if first & 0x40 != 0 { i128::from(first | 0x80) - 256 } else { i128::from(first & 0x3f) };
    for byte in rest {
        value = (value << 8) | i128::from(*byte);
    }
    i64::try_from(value).map_err(|_| ())
}

fn octal(field: &[u8]) -> Result<i64, ()> {
    let start = field.iter().position(|b| *b != b' ').unwrap_or(field.len());
    let field = &field[start..];
    let end = field.iter().position(|b| matches!(b, 0 | b' ')).unwrap_or(field.len());
    field[..end].iter().try_fold(0i64, |value, byte| match byte {
        b'0'..=b'7' => Ok((value << 3) | i64::from(byte - b'0')),
        _ => Err(()),
    })
}

fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|b| *b == 0).unwrap_or(field.len());
    &field[..end]
}
