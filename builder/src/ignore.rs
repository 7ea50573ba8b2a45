//! `.dockerignore`: its lines, and which paths of a context they leave out.

use crate::glob::{DoubleStar, Glob};

/// The patterns of an ignore file, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ignore {
    patterns: Vec<Pattern>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    glob: Glob,
    keeps: bool,
}

/// An ignore file that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the ignore file: {message}")]
pub struct IgnoreError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

impl Ignore {
    /// Parses an ignore file.
    pub fn parse(text: &str) -> Result<Self, IgnoreError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut patterns = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let error = |message: String| IgnoreError { line: index + 1, message };
            // A comment sign counts in the first column only, so it is looked for before the line is trimmed.
            if line.starts_with('#') || line.trim().is_empty() {
                continue;
            }
            let line = line.trim();
            let (keeps, rest) = match line.strip_prefix('!') {
                Some(rest) => (true, rest.trim()),
                None => (false, line),
            };
            if rest.is_empty() {
                return Err(error("`!` needs a pattern".into()));
            }
            let clean = clean(rest);
            let pattern = match clean.strip_prefix('/') {
                Some("") | None => clean.as_str(),
                Some(relative) => relative,
            };
            let glob = Glob::new(pattern, DoubleStar::Recursive).map_err(error)?;
            patterns.push(Pattern { glob, keeps });
        }
        Ok(Self { patterns })
    }

    /// Compiles patterns that all leave out: `--exclude`.
    pub fn excluding(patterns: &[String]) -> Result<Self, IgnoreError> {
        Self::parse(&patterns.join("\n"))
    }

    /// Whether a path can be kept below a directory that is left out.
    pub fn has_exceptions(&self) -> bool {
        self.patterns.iter().any(|pattern| pattern.keeps)
    }

    /// Whether nothing is ever left out.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether a clean path relative to the context's root is left out. The last pattern that matches the path or any
    /// directory above it decides.
    pub fn leaves_out(&self, path: &str) -> bool {
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        let candidates: Vec<&str> = ends.map(|end| &path[..end]).collect();
        self.patterns.iter().fold(false, |out, pattern| {
            // A pattern that would not change the answer need not be tried.
            if out != pattern.keeps {
                return out;
            }
            match candidates.iter().any(|path| pattern.glob.matches(path)) {
                true => !pattern.keeps,
                false => out,
            }
        })
    }
}

/// Go's `filepath.Clean`.
pub(crate) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            _ => parts.push(part),
        }
    }
    match (rooted, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".into(),
        (false, false) => parts.join("/"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_left_out_by_the_last_match() {
        let table: &[(&str, &[&str], &[&str])] = &[
            ("", &[], &["a", "a/b"]),
            ("# a\n  # b\n", &["# b"], &["a", "b"]),
            ("\u{feff}a", &["a", "a/b"], &["b", "b/a"]),
            ("/a/", &["a", "a/x"], &["b/a"]),
            ("a/../b/./c//d", &["b/c/d"], &["a"]),
            ("*.md\n!README.md", &["x.md"], &["README.md", "d/x.md"]),
            ("!README.md\n*.md", &["README.md"], &[]),
            ("*\n!keep\n! src/", &["a", "x/y"], &["keep", "keep/x", "src", "src/x"]),
            ("**/foo", &["foo", "a/foo", "a/b/foo/c"], &["xfoo"]),
            ("**foo", &["xfoo", "a/xfoo", "foo"], &["foox"]),
            ("a/**", &["a/b", "a/b/c"], &["b"]),
            ("a/**/z", &["a/z", "a/b/c/z"], &["a/zz"]),
            ("*/temp*", &["x/tempfile"], &["temp", "x/y/temp"]),
            ("temp?", &["tempa", "tempb"], &["temp", "a/tempa"]),
            ("[a-c].txt", &["b.txt"], &["d.txt"]),
            (".", &[], &["a"]),
        ];
        for (text, out, kept) in table {
            let ignore = Ignore::parse(text).unwrap();
            for path in *out {
                assert!(ignore.leaves_out(path), "{text:?} leaves out {path}");
            }
            for path in *kept {
                assert!(!ignore.leaves_out(path), "{text:?} keeps {path}");
            }
        }
    }

    #[test]
    fn bad_lines_are_named() {
        for (text, message) in [
            ("a\n!\n", "line 2 of the ignore file: `!` needs a pattern"),
            ("[", "line 1 of the ignore file: bad pattern `[`: `[` is not closed"),
        ] {
            assert_eq!(Ignore::parse(text).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn cleaning_is_gos() {
        for (path, expected) in
            [("", "."), ("a//b/./c/..", "a/b"), ("../a", "../a"), ("/../a", "/a"), ("a/..", "."), ("/", "/")]
        {
            assert_eq!(clean(path), expected, "{path}");
        }
    }
}
