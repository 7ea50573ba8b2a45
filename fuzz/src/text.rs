//! Texts: Dockerfiles, ignore files, references. The law of all three is that what was understood can be written down
//! and is understood again as the same.

use mica_builder::ignore::Ignore;
use mica_builder::syntax;
use mica_engine::Reference;

/// `parse(print(parse(text)))` is `parse(text)`.
pub(crate) fn dockerfile(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(file) = syntax::parse(text) else { return };
    let printed = syntax::print(&file);
    let again = syntax::parse(&printed).unwrap_or_else(|error| panic!("{error}, in what was printed:\n{printed}"));
    let strip = |file: syntax::ast::Dockerfile| -> Vec<_> {
        file.instructions.into_iter().map(|located| located.instruction).collect()
    };
    assert_eq!(strip(again), strip(file), "printed as:\n{printed}");
}

/// The first line is the path; whatever excludes it excludes it also as a directory's part.
pub(crate) fn dockerignore(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (path, patterns) = text.split_once('\n').unwrap_or((text, ""));
    let Ok(ignore) = Ignore::parse(patterns) else { return };
    let out = ignore.leaves_out(path);
    assert!(!(out && ignore.is_empty()), "no pattern leaves out `{path}`");
    if out && !ignore.has_exceptions() {
        let below = format!("{path}/below");
        assert!(ignore.leaves_out(&below), "`{path}` is left out and `{below}` is not");
    }
}

/// Every way in which a reference is written names the same image.
pub(crate) fn reference(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(reference) = Reference::parse(text) else { return };
    for written in [reference.to_string(), reference.familiar()] {
        let again = Reference::parse(&written).unwrap_or_else(|error| panic!("`{written}`, written by us: {error}"));
        assert_eq!(again, reference, "written as `{written}`");
    }
}
