//! `NAME=VALUE` entries from flags and files: environment, labels, build arguments.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Environment entries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entries {
    /// `NAME=VALUE`.
    pub set: Vec<String>,
    /// Names that were given without a value and have none here either: they go.
    pub unset: Vec<String>,
}

/// The environment of `--env-file` and `-e`; what comes later wins.
pub fn environment(files: &[PathBuf], flags: &[String]) -> anyhow::Result<Entries> {
    let mut entries = Entries::default();
    for path in files {
        for line in read(path)? {
            // A name alone in a file that is not set here is no entry at all; on the command line it unsets.
            entries.set.extend(resolve(line)?.ok());
        }
    }
    for flag in flags {
        match resolve(flag.clone())? {
            Ok(entry) => entries.set.push(entry),
            Err(name) => entries.unset.push(name),
        }
    }
    Ok(entries)
}

/// The labels of `--label-file` and `--label`; what comes later wins.
pub fn labels(files: &[PathBuf], flags: &[String]) -> anyhow::Result<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    for path in files {
        labels.extend(read(path)?.iter().map(|line| label(line)));
    }
    labels.extend(flags.iter().map(|flag| label(flag)));
    match labels.keys().any(String::is_empty) {
        true => Err(anyhow::anyhow!("a label has no name")),
        false => Ok(labels),
    }
}

/// The pairs of `--build-arg`; a name without a value and without one here is left out.
pub fn pairs(flags: &[String]) -> anyhow::Result<BTreeMap<String, String>> {
    let mut pairs = BTreeMap::new();
    for flag in flags {
        if let Ok(entry) = resolve(flag.clone())? {
            let (name, value) = entry.split_once('=').unwrap_or((&entry, ""));
            pairs.insert(name.to_owned(), value.to_owned());
        }
    }
    Ok(pairs)
}

fn label(text: &str) -> (String, String) {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    (name.to_owned(), value.to_owned())
}

/// An entry with its value, or the name of one that has no value anywhere.
fn resolve(entry: String) -> anyhow::Result<Result<String, String>> {
    let name = entry.split('=').next().unwrap_or_default();
    if name.is_empty() {
        anyhow::bail!("invalid environment variable: `{entry}`");
    }
    if name.len() < entry.len() {
        return Ok(Ok(entry));
    }
    Ok(match std::env::var(name) {
        Ok(value) => Ok(format!("{name}={value}")),
        Err(_) => Err(entry),
    })
}

fn read(path: &Path) -> anyhow::Result<Vec<String>> {
    let bytes = fs_err::read(path)?;
    lines(&bytes).map_err(|message| anyhow::anyhow!("{}:{message}", path.display()))
}

/// The lines of an entry file by Docker's rules: blanks before an entry, empty lines and comments go; values stay as they
/// are, with their quotes and trailing blanks.
fn lines(bytes: &[u8]) -> Result<Vec<String>, String> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut entries = Vec::new();
    for (index, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
        let number = index + 1;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let Ok(line) = std::str::from_utf8(line) else {
            return Err(format!("{number}: not valid UTF-8"));
        };
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let name = line.split('=').next().unwrap_or_default();
        if name.is_empty() {
            return Err(format!("{number}: no variable name on line `{line}`"));
        }
        if name.contains(char::is_whitespace) {
            return Err(format!("{number}: variable `{name}` contains whitespaces"));
        }
        entries.push(line.to_owned());
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_follow_dockers_rules() {
        let cases: &[(&str, Result<&[&str], &str>)] = &[
            ("A=1\nB=2\n", Ok(&["A=1", "B=2"])),
            ("\u{feff}A=1", Ok(&["A=1"])),
            ("# note\n\n   \n  A=1 # not a note\n", Ok(&["A=1 # not a note"])),
            ("A=\"quoted\"\nB='x'\n", Ok(&["A=\"quoted\"", "B='x'"])),
            ("A=trailing  \r\n", Ok(&["A=trailing  "])),
            ("A=x=y=z", Ok(&["A=x=y=z"])),
            ("A=", Ok(&["A="])),
            ("A", Ok(&["A"])),
            ("A B=1", Err("1: variable `A B` contains whitespaces")),
            ("X=1\n=1", Err("2: no variable name on line `=1`")),
        ];
        for (text, expected) in cases {
            let found = lines(text.as_bytes());
            let found = found
                .as_ref()
                .map(|lines| lines.iter().map(String::as_str).collect::<Vec<_>>())
                .map_err(String::as_str);
            assert_eq!(found, expected.map(<[&str]>::to_vec), "{text:?}");
        }
        assert_eq!(lines(b"A=\xff"), Err("1: not valid UTF-8".to_owned()));
    }

    #[test]
    fn names_alone_take_their_value_from_here_or_unset() {
        let here = std::env::var("PATH").expect("tests have a PATH");
        let flags = ["PATH".to_owned(), "MICA_TEST_SURELY_NOT_SET".to_owned(), "A=1".to_owned(), "A=2".to_owned()];
        let entries = environment(&[], &flags).expect("valid");
        assert_eq!(entries.set, [format!("PATH={here}"), "A=1".to_owned(), "A=2".to_owned()]);
        assert_eq!(entries.unset, ["MICA_TEST_SURELY_NOT_SET"]);
        assert!(environment(&[], &["=x".to_owned()]).is_err());
        assert_eq!(pairs(&flags).expect("valid").len(), 2);
    }

    #[test]
    fn flags_win_over_files() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("labels");
        fs_err::write(&path, "a=file\nb=file\nc\nMICA_TEST_SURELY_NOT_SET\n").expect("written");
        let labels = labels(std::slice::from_ref(&path), &["a=flag".to_owned(), "d".to_owned()]).expect("valid");
        assert_eq!(
            (labels["a"].as_str(), labels["b"].as_str(), labels["c"].as_str(), labels["d"].as_str()),
            ("flag", "file", "", "")
        );
        let entries = environment(&[path], &["a=flag".to_owned()]).expect("valid");
        assert_eq!(
            entries,
            Entries { set: vec!["a=file".into(), "b=file".into(), "a=flag".into()], unset: Vec::new() }
        );
        let missing = environment(&["/does/not/exist".into()], &[]).expect_err("no file");
        assert!(format!("{missing:#}").contains("/does/not/exist"));
    }
}
