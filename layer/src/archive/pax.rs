//! The records of a pax extension header: `length key=value\n`, as POSIX defines them, and GNU's and star's keys.

use super::{Segment, Time, Xattr};

/// What the records of one extension header say; nothing where a record is absent.
#[derive(Debug, Default)]
pub(super) struct Records {
    pub path: Option<Vec<u8>>,
    pub link: Option<Vec<u8>>,
    pub size: Option<u64>,
    pub uid: Option<i64>,
    pub gid: Option<i64>,
    pub mtime: Option<Time>,
    pub xattrs: Vec<Xattr>,
    pub sparse: Sparse,
}

/// GNU's three pax encodings of a sparse file.
#[derive(Debug, Default)]
pub(super) struct Sparse {
    /// Encoding 1.0, whose map stands before the content.
    pub map_in_content: bool,
    /// The name, where `path` holds a made-up one for readers that do not know.
    pub name: Option<Vec<u8>>,
    /// The size with holes.
    pub size: Option<u64>,
    /// The map of encodings 0.0 and 0.1.
    pub map: Vec<Segment>,
    /// An offset of encoding 0.0 that waits for its length.
    offset: Option<u64>,
}

impl Sparse {
    /// Whether any record spoke of a sparse file.
    pub fn is_present(&self) -> bool {
        self.map_in_content || self.size.is_some() || !self.map.is_empty()
    }
}

/// Takes in the records of `block`; a later record replaces an earlier one, an empty value takes it back.
pub(super) fn parse(mut block: &[u8], records: &mut Records) -> Result<(), String> {
    while !block.is_empty() {
        // The end may be padded with zeros: Go and GNU write none, some converters do.
        if block.iter().all(|b| *b == 0) {
            break;
        }
        let (key, value, rest) = record(block).ok_or("pax record is malformed")?;
        take(key, value, records).map_err(|e| format!("pax record `{}`: {e}", key.escape_ascii()))?;
        block = rest;
    }
    Ok(())
}

/// One record with its length in front, as [`parse`] reads it.
pub(super) fn append(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    // The length counts its own digits: try until it agrees with itself.
    let body = key.len() + value.len() + 3;
    let mut length = body + 1;
    while length != body + digits(length) {
        length = body + digits(length);
    }
    records.extend_from_slice(length.to_string().as_bytes());
    records.push(b' ');
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

fn digits(mut n: usize) -> usize {
    let mut digits = 1;
    while n >= 10 {
        n /= 10;
        digits += 1;
    }
    digits
}

fn record(block: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = block.iter().take(20).position(|b| *b == b' ')?;
    let length = usize::try_from(decimal(&block[..space])?).ok()?;
    if length <= space + 1 || length > block.len() || block[length - 1] != b'\n' {
        return None;
    }
    let body = &block[space + 1..length - 1];
    let equals = body.iter().position(|b| *b == b'=')?;
    (equals > 0).then(|| (&body[..equals], &body[equals + 1..], &block[length..]))
}

fn take(key: &[u8], value: &[u8], records: &mut Records) -> Result<(), &'static str> {
    match key {
        b"path" => records.path = name(value)?,
        b"linkpath" => records.link = name(value)?,
        b"size" => records.size = unsigned(value)?,
        b"uid" => records.uid = signed(value)?,
        b"gid" => records.gid = signed(value)?,
        b"mtime" => records.mtime = if value.is_empty() { None } else { Some(time(value)?) },
        b"GNU.sparse.major" => records.sparse.map_in_content = decimal(value) == Some(1),
        b"GNU.sparse.name" => records.sparse.name = name(value)?,
        b"GNU.sparse.size" | b"GNU.sparse.realsize" => records.sparse.size = unsigned(value)?,
        b"GNU.sparse.offset" => records.sparse.offset = unsigned(value)?,
        b"GNU.sparse.numbytes" => {
            let offset = records.sparse.offset.take().ok_or("it has no offset before it")?;
            let length = unsigned(value)?.ok_or("it is empty")?;
            records.sparse.map.push(Segment { offset, length });
        }
        b"GNU.sparse.map" => records.sparse.map = map(value)?,
        _ => {
            if let Some(attribute) = key.strip_prefix(b"SCHILY.xattr.") {
                if attribute.is_empty() || attribute.len() > 255 || attribute.contains(&0) {
                    return Err("it does not name an attribute");
                }
                records.xattrs.retain(|(name, _)| name != attribute);
                records.xattrs.push((attribute.to_vec(), value.to_vec()));
            }
        }
    }
    Ok(())
}

fn name(value: &[u8]) -> Result<Option<Vec<u8>>, &'static str> {
    if value.contains(&0) {
        return Err("it contains a zero byte");
    }
    if value.len() > super::NAME_MAX {
        return Err("it is longer than a path can be");
    }
    Ok((!value.is_empty()).then(|| value.to_vec()))
}

fn unsigned(value: &[u8]) -> Result<Option<u64>, &'static str> {
    if value.is_empty() {
        return Ok(None);
    }
    decimal(value).map(Some).ok_or("it is not a number in range")
}

fn signed(value: &[u8]) -> Result<Option<i64>, &'static str> {
    let (negative, digits) = match value.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, value),
    };
    let number = unsigned(digits)?;
    if negative && number.is_none() {
        return Err("it is not a number in range");
    }
    let number = number.map(i64::try_from).transpose().map_err(|_| "it is out of range")?;
    Ok(number.map(|n| if negative { -n } else { n }))
}

/// Decimal seconds with any number of decimals; those past the ninth are cut off, as every reader does.
fn time(value: &[u8]) -> Result<Time, &'static str> {
    let wrong = "it is not a time";
    let (negative, value) = match value.strip_prefix(b"-") {
        Some(value) => (true, value),
        None => (false, value),
    };
    let dot = value.iter().position(|b| *b == b'.');
    let (whole, fraction) = dot.map_or((value, &[][..]), |dot| (&value[..dot], &value[dot + 1..]));
    let seconds = decimal(whole).and_then(|s| i64::try_from(s).ok()).ok_or(wrong)?;
    let mut nanoseconds = 0;
    for at in 0..9 {
        nanoseconds = nanoseconds * 10
            + match fraction.get(at) {
                None => 0,
                Some(digit @ b'0'..=b'9') => u32::from(digit - b'0'),
                Some(_) => return Err(wrong),
            };
    }
    if !fraction.iter().all(u8::is_ascii_digit) {
        return Err(wrong);
    }
    Ok(match (negative, nanoseconds) {
        (false, _) => Time { seconds, nanoseconds },
        (true, 0) => Time { seconds: -seconds, nanoseconds },
        (true, _) => Time { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds },
    })
}

fn map(value: &[u8]) -> Result<Vec<Segment>, &'static str> {
    let mut segments = Vec::new();
    let mut numbers = value.split(|b| *b == b',').map(decimal);
    while let Some(offset) = numbers.next() {
        let (Some(offset), Some(Some(length))) = (offset, numbers.next()) else {
            return Err("it is not a list of pairs");
        };
        segments.push(Segment { offset, length });
    }
    Ok(segments)
}

pub(super) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |value, byte| match byte {
        b'0'..=b'9' => value.checked_mul(10)?.checked_add(u64::from(byte - b'0')),
        _ => None,
    })
}
