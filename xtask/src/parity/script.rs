//! The two files: command lines, and answers. Reading and writing them is pure.
//!
//! A line of `lines.txt` is one shell command, in which `docker` is the engine under test. Before it, in brackets, may stand
//! `sorted` (the order of its output means nothing), `quiet` (its output is not compared, its exit code is) and
//! `differs: REASON`. Empty lines and lines that begin with `#` say nothing.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};

/// A command line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Line {
    /// The shell command.
    pub command: String,
    /// The command with how often it was there before, because the same line may stand twice.
    pub key: String,
    /// Whether the order of its output means nothing.
    pub sorted: bool,
    /// Whether its output is not compared.
    pub quiet: bool,
    /// Why it differs from Docker.
    pub differs: Option<String>,
}

/// What was said to a line, without what differs from run to run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// The exit code.
    pub code: i32,
    /// Standard output.
    pub stdout: Vec<String>,
    /// Standard error.
    pub stderr: Vec<String>,
}

impl Answer {
    /// For people, and for the record.
    pub fn shown(&self) -> String {
        let mut text = format!("= {}\n", self.code);
        self.stdout.iter().for_each(|line| text.push_str(&format!("> {line}\n")));
        self.stderr.iter().for_each(|line| text.push_str(&format!("! {line}\n")));
        text
    }
}

/// Reads the command lines.
pub fn lines(text: &str) -> Result<Vec<Line>> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut lines = Vec::new();
    for text in text.lines().map(str::trim).filter(|text| !text.is_empty() && !text.starts_with('#')) {
        let mut line = Line::default();
        let mut rest = text;
        while let Some((mark, after)) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            match mark.split_once(": ") {
                Some(("differs", reason)) => line.differs = Some(reason.to_owned()),
                None if mark == "sorted" => line.sorted = true,
                None if mark == "quiet" => line.quiet = true,
                _ => bail!("`{text}` has an unknown mark `{mark}`"),
            }
            rest = after.trim_start();
        }
        let times = seen.entry(rest.to_owned()).or_default();
        *times += 1;
        rest.clone_into(&mut line.command);
        line.key = format!("{times} {rest}");
        lines.push(line);
    }
    Ok(lines)
}

/// Writes answers.
pub fn record(lines: &[Line], answers: &[Answer]) -> String {
    let mut text = "# What Docker said to `lines.txt`. `cargo xtask parity --record` writes this file.\n".to_owned();
    for (line, answer) in lines.iter().zip(answers) {
        text.push_str(&format!("$ {}\n{}", line.key, answer.shown()));
    }
    text
}

/// Reads answers.
pub fn answers(text: &str) -> Result<BTreeMap<String, Answer>> {
    let mut answers = BTreeMap::new();
    let mut key = String::new();
    for text in text.lines().filter(|text| !text.starts_with('#')) {
        // A line without text has lost its blank to an editor.
        let (mark, rest) = text.split_once(' ').unwrap_or((text, ""));
        if mark == "$" {
            rest.clone_into(&mut key);
            answers.insert(key.clone(), Answer::default());
            continue;
        }
        let answer = answers.get_mut(&key).with_context(|| format!("`{text}` belongs to no line"))?;
        match mark {
            "=" => answer.code = rest.parse().with_context(|| format!("`{rest}` is no exit code"))?,
            ">" => answer.stdout.push(rest.to_owned()),
            "!" => answer.stderr.push(rest.to_owned()),
            _ => bail!("`{text}` is no line of a record"),
        }
    }
    Ok(answers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back() {
        let lines = lines("# x\n[sorted] [differs: newer] docker a\n\ndocker b | c\ndocker a\n").unwrap();
        assert_eq!(lines.len(), 3);
        assert!(lines[0].sorted && lines[0].differs.as_deref() == Some("newer"));
        assert_eq!((lines[1].key.as_str(), lines[2].key.as_str()), ("1 docker b | c", "2 docker a"));
        let answer = |code, out: &[&str], err: &[&str]| Answer {
            code,
            stdout: out.iter().map(|line| (*line).to_owned()).collect(),
            stderr: err.iter().map(|line| (*line).to_owned()).collect(),
        };
        let all = [answer(0, &["one", "", "  two"], &[]), answer(125, &[], &["no"]), answer(1, &[], &[])];
        let back = answers(&record(&lines, &all)).unwrap();
        for (line, answer) in lines.iter().zip(&all) {
            assert_eq!(back[&line.key], *answer);
        }
        assert!(super::lines("[what] docker a").is_err());
        assert!(answers("= 1").is_err());
    }
}
