//! Structs that grow from minor to minor: what both sides have of one crosses, and the rest is zero, which means absent.
#![expect(unsafe_code, reason = "copies structs of the other side byte by byte")]

use std::mem::MaybeUninit;

use super::{Change, DriverVt, HostTable, Info, MountArgs, OpenArgs, Plugin, StageArgs, StageOut};

/// A struct of the interface that either side may have longer or shorter than this one does.
///
/// # Safety
/// The type is `repr(C)`, and all zero bytes are a value of it.
pub unsafe trait Grown: Copy {
    /// Its size in minor 0. Nothing that crosses may be shorter. When a field is appended, this becomes the offset of the
    /// first field that minor 0 did not have.
    const LEAST: usize = size_of::<Self>();
}

/// The other side's struct, of which `size` bytes are there; `None` when it is shorter than minor 0 has it.
///
/// # Safety
/// `from` leads to `size` readable bytes.
pub unsafe fn known_part<T: Grown>(from: *const T, size: u32) -> Option<T> {
    let size = size as usize;
    if size < T::LEAST {
        return None;
    }
    let mut known = MaybeUninit::<T>::zeroed();
    // SAFETY: the caller vouches for the source, and no more is copied than there is room for.
    unsafe {
        std::ptr::copy_nonoverlapping(from.cast::<u8>(), known.as_mut_ptr().cast::<u8>(), size.min(size_of::<T>()));
        // SAFETY: what was not copied is zero, which the trait promises to be valid.
        Some(known.assume_init())
    }
}

/// Writes as much of `value` as the other side's struct has room for, which begins with its size and keeps that.
///
/// # Safety
/// `to` leads to a writable struct that begins with a `u32`: how many bytes it has.
pub(super) unsafe fn fill<T: Grown>(to: *mut T, value: &T) -> bool {
    // SAFETY: the caller vouches for at least the size.
    let room = unsafe { to.cast::<u32>().read_unaligned() } as usize;
    if room < T::LEAST {
        return false;
    }
    let skip = size_of::<u32>();
    // SAFETY: both sides have so many bytes, and `value` is another object than `to`.
    unsafe {
        std::ptr::copy_nonoverlapping(
            std::ptr::from_ref(value).cast::<u8>().add(skip),
            to.cast::<u8>().add(skip),
            room.min(size_of::<T>()) - skip,
        );
    }
    true
}

macro_rules! grown {
    ($($name:ident)*) => {$(
        // SAFETY: repr(C); integers, null pointers and absent functions are all valid as zero bytes.
        unsafe impl Grown for $name {}
    )*};
}

grown! { HostTable OpenArgs Info StageArgs StageOut MountArgs Change DriverVt Plugin }

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq)]
    #[repr(C)]
    struct Minor2 {
        size: u32,
        old: u32,
        new: u64,
    }

    // SAFETY: repr(C), integers.
    unsafe impl Grown for Minor2 {
        const LEAST: usize = std::mem::offset_of!(Minor2, new);
    }

    #[test]
    fn a_shorter_struct_ends_with_zeros_and_a_longer_one_is_cut() {
        let whole = Minor2 { size: 16, old: 7, new: 9 };
        for (size, expected) in [(0, None), (7, None), (8, Some(Minor2 { new: 0, ..whole })), (16, Some(whole))] {
            // SAFETY: `whole` is longer than every size here.
            assert_eq!(unsafe { known_part(&whole, size) }, expected, "{size}");
        }
        let longer = [whole, Minor2 { size: u32::MAX, old: u32::MAX, new: u64::MAX }];
        // SAFETY: the array is 32 bytes long.
        assert_eq!(unsafe { known_part(longer.as_ptr(), 32) }, Some(whole));
    }

    #[test]
    fn a_result_fills_the_room_there_is() {
        let value = Minor2 { size: 16, old: 7, new: 9 };
        for (room, filled, expected) in [(7, false, (1, 1)), (8, true, (7, 1)), (16, true, (7, 9)), (40, true, (7, 9))]
        {
            let mut to = [Minor2 { size: room, old: 1, new: 1 }, Minor2 { size: 1, old: 1, new: 1 }];
            // SAFETY: no more is written than a `Minor2` has.
            assert_eq!(unsafe { fill(to.as_mut_ptr(), &value) }, filled, "{room}");
            assert_eq!((to[0].size, to[0].old, to[0].new), (room, expected.0, expected.1), "{room}");
            assert_eq!(to[1], Minor2 { size: 1, old: 1, new: 1 }, "{room}");
        }
    }
}
