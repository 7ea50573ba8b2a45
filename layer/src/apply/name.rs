//! Names in archives: made clean, or refused; and what a whiteout's name says. Pure functions.

/// Makes a name clean: relative, without `.`, `..` and repeated slashes. The root is the empty name.
///
/// `..` is taken back against the component before it, as every unpacker does; a name that climbs out is refused
/// rather than bent back inside, because nobody writes one by accident.
pub(crate) fn clean(name: &[u8], out: &mut Vec<u8>) -> Result<(), &'static str> {
    out.clear();
    if name.contains(&0) {
        return Err("its name contains a zero byte");
    }
    for component in name.split(|b| *b == b'/') {
        match component {
            b"" | b"." => {}
            b".." if out.is_empty() => return Err("it leaves the layer through `..`"),
            b".." => out.truncate(crate::beneath::split(out).0.len()),
            _ => {
                if component.len() > 255 {
                    return Err("a component of its name is longer than 255 bytes");
                }
                if !out.is_empty() {
                    out.push(b'/');
                }
                out.extend_from_slice(component);
            }
        }
    }
    Ok(())
}

/// What a base name means in a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning<'a> {
    /// An entry like any other.
    Entry,
    /// The name is deleted.
    Whiteout(&'a [u8]),
    /// The directory hides what lies below it.
    Opaque,
    /// AUFS's own bookkeeping (`.wh..wh.plnk`, `.wh..wh.aufs`), which old images contain.
    Ignored,
}

/// Tells whiteouts by their prefix. A whiteout whose name is missing, `.` or `..` would delete its own directory or
/// the one above.
pub(crate) fn meaning(base: &[u8]) -> Result<Meaning<'_>, &'static str> {
    let Some(name) = base.strip_prefix(b".wh.") else { return Ok(Meaning::Entry) };
    match name {
        b".wh..opq" => Ok(Meaning::Opaque),
        b"" | b"." | b".." => Err("it is a whiteout of nothing that can be deleted"),
        _ if name.starts_with(b".wh.") => Ok(Meaning::Ignored),
        _ => Ok(Meaning::Whiteout(name)),
    }
}

/// Whether a directory on the way is named like a whiteout.
pub(super) fn leads_through_whiteout(parent: &[u8]) -> bool {
    parent.split(|b| *b == b'/').any(|component| component.starts_with(b".wh."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_clean_or_refused() {
        for (name, expected) in [
            (&b"a/b"[..], Some(&b"a/b"[..])),
            (b"./a//b/.", Some(b"a/b")),
            (b"/etc/passwd", Some(b"etc/passwd")),
            (b"a/../b", Some(b"b")),
            (b"a/b/../../c", Some(b"c")),
            (b"./", Some(b"")),
            (b"", Some(b"")),
            (b"..", None),
            (b"a/../..", None),
            (b"../a", None),
            (b"/../a", None),
            (b"a\0b", None),
            (&[b'x'; 256], None),
        ] {
            let mut out = b"left over".to_vec();
            let result = clean(name, &mut out).ok().map(|()| &out[..]);
            assert_eq!(result, expected, "{}", name.escape_ascii());
        }
    }

    #[test]
    fn whiteouts_are_told_by_their_name() {
        for (base, expected) in [
            (&b"x"[..], Some(Meaning::Entry)),
            (b".wh", Some(Meaning::Entry)),
            (b"x.wh.y", Some(Meaning::Entry)),
            (b".wh.x", Some(Meaning::Whiteout(b"x"))),
            (b".wh..hidden", Some(Meaning::Whiteout(b".hidden"))),
            (b".wh..wh..opq", Some(Meaning::Opaque)),
            (b".wh..wh.plnk", Some(Meaning::Ignored)),
            (b".wh.", None),
            (b".wh..", None),
            (b".wh...", None),
        ] {
            assert_eq!(meaning(base).ok(), expected, "{}", base.escape_ascii());
        }
    }
}
