//! Takes out of an answer what differs from run to run and from engine to engine: IDs, times, sizes, folders, the frame
//! around error messages.

use std::process::Output;

use super::script::{Answer, Line};

/// How answers are made comparable.
#[derive(Debug)]
pub struct Normal {
    roots: Vec<(String, &'static str)>,
}

impl Normal {
    /// With folders and the words that stand for them.
    pub fn new(roots: Vec<(String, &'static str)>) -> Self {
        Self { roots }
    }

    /// The answer of a finished command.
    pub fn answer(&self, line: &Line, done: &Output) -> Answer {
        let code = done.status.code().unwrap_or(-1);
        if line.quiet {
            return Answer { code, ..Answer::default() };
        }
        let mut stdout = self.lines(&String::from_utf8_lossy(&done.stdout));
        if line.sorted {
            stdout.sort();
        }
        Answer { code, stdout, stderr: errors(&self.lines(&String::from_utf8_lossy(&done.stderr))) }
    }

    fn lines(&self, text: &str) -> Vec<String> {
        let mut text = text.to_owned();
        for (root, word) in &self.roots {
            text = text.replace(root, word);
        }
        text.lines().map(one).collect()
    }
}

fn one(line: &str) -> String {
    // The order of keys is no part of a document.
    let line = match serde_json::from_str::<serde_json::Value>(line) {
        Ok(value @ (serde_json::Value::Object(_) | serde_json::Value::Array(_))) => value.to_string(),
        _ => line.to_owned(),
    };
    ages(&words(&ids(&line)))
}

/// Runs of hexadecimal digits that are IDs.
fn ids(line: &str) -> String {
    let mut out = String::new();
    let mut run = String::new();
    for c in line.chars().chain(['\n']) {
        if c.is_ascii_alphanumeric() {
            run.push(c);
            continue;
        }
        let hex = run.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c));
        match run.len() {
            64 | 12 if hex => out.push_str("<ID>"),
            _ => out.push_str(&run),
        }
        run.clear();
        out.push(c);
    }
    out.trim_end().to_owned()
}

/// Times and sizes, word by word; columns keep two blanks between them.
fn words(line: &str) -> String {
    let indent = line.len() - line.trim_start().len();
    let mut out = line[..indent].to_owned();
    let mut blanks = 0;
    for (index, word) in line[indent..].split(' ').enumerate() {
        if word.is_empty() {
            blanks += 1;
            continue;
        }
        if index > 0 {
            out.push_str(if blanks > 0 { "  " } else { " " });
        }
        blanks = 0;
        out.push_str(&time(word).or_else(|| size(word)).unwrap_or_else(|| word.to_owned()));
    }
    out
}

fn time(word: &str) -> Option<String> {
    let at = word.find("20").filter(|at| {
        let rest = word.as_bytes().get(*at..).unwrap_or_default();
        let shape = |index: usize| rest.get(index).copied();
        shape(4) == Some(b'-') && shape(7) == Some(b'-') && shape(9).is_some_and(|digit| digit.is_ascii_digit())
    });
    if let Some(at) = at {
        let end =
            word[at..].find(|c: char| !(c.is_ascii_digit() || "-:.TZ+".contains(c))).map_or(word.len(), |end| at + end);
        return Some(format!("{}<TIME>{}", &word[..at], &word[end..]));
    }
    let clock = word.len() == 8
        && word.bytes().enumerate().all(|(at, byte)| match at {
            2 | 5 => byte == b':',
            _ => byte.is_ascii_digit(),
        });
    clock.then(|| "<TIME>".to_owned())
}

fn size(word: &str) -> Option<String> {
    let bare = word.trim_matches(|c| "(),".contains(c));
    let unit = bare.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let is_size = bare.len() > unit.len() && matches!(unit, "B" | "kB" | "MB" | "GB" | "%");
    is_size.then(|| word.replace(bare, if unit == "%" { "<PERCENT>" } else { "<SIZE>" }))
}

/// `3 seconds`, `About a minute`, `Less than a second`.
fn ages(line: &str) -> String {
    const UNITS: [&str; 8] = ["second", "seconds", "minute", "minutes", "hour", "hours", "day", "days"];
    let words: Vec<&str> = line.split(' ').collect();
    let mut out: Vec<&str> = Vec::new();
    for word in words {
        let before = out.last().copied().unwrap_or_default();
        let counted = !before.is_empty() && before.bytes().all(|byte| byte.is_ascii_digit());
        if UNITS.contains(&word) && (counted || matches!(before, "a" | "an")) {
            out.pop();
            match out.as_slice() {
                [.., "Less", "than"] => out.truncate(out.len() - 2),
                [.., "About"] => out.truncate(out.len() - 1),
                _ => {}
            }
            out.push("<AGE>");
        } else {
            out.push(word);
        }
    }
    out.join(" ")
}

/// Who says an error, from the outside in.
const FRAMES: [&str; 9] = [
    "docker: ",
    "Error response from daemon: ",
    "Error: ",
    "failed to create shim task: ",
    "OCI runtime create failed: ",
    "OCI runtime exec failed: ",
    "runc create failed: ",
    "exec failed: ",
    "unable to start container process: ",
];

/// Lines that repeat another.
const ECHOES: [&str; 3] = ["level=error", "failed to start containers: ", "failed to rename container named "];

/// The words of an error without who says it, how names are quoted, and what follows from it.
fn errors(lines: &[String]) -> Vec<String> {
    let mut out = Vec::new();
    for line in lines {
        // A usage message is help, not the error.
        if line.starts_with("See 'docker") || line.starts_with("See '") {
            break;
        }
        if line.starts_with("hint:") || line.trim().is_empty() {
            continue;
        }
        // The client's log and its summary say again what the line before said.
        if ECHOES.iter().any(|echo| line.contains(echo)) {
            continue;
        }
        let mut text = line.as_str();
        for frame in FRAMES {
            text = text.strip_prefix(frame).unwrap_or(text);
        }
        let text = text.strip_suffix(": unknown").or_else(|| text.strip_suffix(": unknown.")).unwrap_or(text);
        let text: String = text.chars().filter(|c| !"\"'`".contains(*c)).collect();
        let text = text.trim_end_matches('.').trim();
        let mut letters = text.chars();
        out.push(letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect()));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_from_run_to_run_goes() {
        let id = "ab".repeat(32);
        for (line, wanted) in [
            (format!("sha256:{id}"), "sha256:<ID>".to_owned()),
            (
                "0123456789ab   img   \"sh\"    3 seconds ago   Up 2 seconds".into(),
                "<ID>  img  \"sh\"  <AGE> ago  Up <AGE>".into(),
            ),
            ("About a minute ago".into(), "<AGE> ago".into()),
            ("Less than a second ago".into(), "<AGE> ago".into()),
            ("  4.16MB (virtual 2kB)".into(), "  <SIZE> (virtual <SIZE>)".into()),
            ("2026-11-28T21:07:36.5Z x".into(), "<TIME> x".into()),
            ("2026-11-28 21:07:36 +0000 UTC".into(), "<TIME> <TIME> +0000 UTC".into()),
            (r#"{"b":1,"a":[2]}"#.into(), r#"{"a":[2],"b":1}"#.into()),
            ("plain 12 words".into(), "plain 12 words".into()),
        ] {
            assert_eq!(one(&line), wanted, "{line}");
        }
    }

    #[test]
    fn errors_are_their_words() {
        let lines = ["docker: Error response from daemon: No such container: x.", "See 'docker run --help'.", "Usage"];
        assert_eq!(errors(&lines.map(str::to_owned)), ["no such container: x"]);
        let lines = ["Error: No such container: x", "hint: look"];
        assert_eq!(errors(&lines.map(str::to_owned)), ["no such container: x"]);
        let lines = [
            "docker: Error response from daemon: failed to create shim task: OCI runtime create failed: runc create failed: \
             unable to start container process: exec: \"x\": permission denied: unknown.",
        ];
        assert_eq!(errors(&lines.map(str::to_owned)), ["exec: x: permission denied"]);
    }
}
