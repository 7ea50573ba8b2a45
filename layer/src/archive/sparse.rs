//! The maps of sparse files: parsing old GNU segments, and the checks every map has to pass.

use super::Segment;
use super::header::number;

/// The most segments of one file: 16 MiB of map, a file of 4 TiB with a hole in every 4 MiB.
pub(super) const SEGMENTS_MAX: usize = 1 << 20;

/// Takes in the segments of an old GNU header or of a block that continues it; unused slots are empty.
pub(super) fn gnu(slots: &[u8], map: &mut Vec<Segment>) -> Result<(), &'static str> {
    for slot in slots.chunks_exact(24) {
        if slot[0] == 0 || slot[12] == 0 {
            break;
        }
        let wrong = "sparse map holds something else than numbers";
        let offset = number(&slot[..12]).map_err(|()| wrong)?;
        let length = number(&slot[12..]).map_err(|()| wrong)?;
        let (Ok(offset), Ok(length)) = (u64::try_from(offset), u64::try_from(length)) else { return Err(wrong) };
        push(map, Segment { offset, length })?;
    }
    Ok(())
}

/// Adds a segment within the bound.
pub(super) fn push(map: &mut Vec<Segment>, segment: Segment) -> Result<(), &'static str> {
    if map.len() == SEGMENTS_MAX {
        return Err("sparse map has too many segments");
    }
    map.push(segment);
    Ok(())
}

/// Checks that a map is in order, stays inside the file, and accounts for every stored byte.
pub(super) fn check(map: &mut Vec<Segment>, size: u64, stored: u64) -> Result<(), &'static str> {
    if size > i64::MAX.unsigned_abs() {
        return Err("sparse file is larger than a file can be");
    }
    // Writers end a map with an empty segment at the end of the file.
    map.retain(|s| s.length > 0);
    let mut end = 0u64;
    let mut total = 0u64;
    for segment in &*map {
        let next = segment.offset.checked_add(segment.length).ok_or("sparse map overflows")?;
        if segment.offset < end || next > size {
            return Err("sparse map overlaps itself or leaves its file");
        }
        end = next;
        total += segment.length;
    }
    if total != stored {
        return Err("sparse map does not account for the stored bytes");
    }
    Ok(())
}
