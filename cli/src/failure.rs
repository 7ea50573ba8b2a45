//! Failures outward: the exit code of each and the words it is told in.

use mica_engine::Kind;

/// What a shell shows for a command that the interrupt key ended.
pub const INTERRUPTED: u8 = 130;

/// A command's way out that is not an error message: the exit code of something that ran, with nothing left to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status(pub u8);

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exit status {}", self.0)
    }
}

impl std::error::Error for Status {}

/// An error of this program with a remedy.
#[derive(Debug)]
pub struct Advice {
    message: String,
    hint: String,
}

impl Advice {
    /// An error and what to do about it.
    pub fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: hint.into() }
    }
}

impl std::fmt::Display for Advice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Advice {}

/// The exit code of a failed command that runs a container: 127 and 126 are its command's, 125 is ours.
pub fn run_code(failure: &anyhow::Error) -> u8 {
    let kind =
        failure.chain().find_map(|cause| cause.downcast_ref::<mica_engine::Error>()).map(mica_engine::Error::kind);
    match kind {
        Some(Kind::CommandNotFound) => 127,
        Some(Kind::NotExecutable) => 126,
        _ => 125,
    }
}

/// The message with every cause that adds something to it, in Docker's words where scripts look for them.
pub fn chain(failure: &anyhow::Error) -> String {
    dockers_words(&plain_chain(failure))
}

/// What scripts search for: the engine's words, then Docker's around the same name.
const WORDS: [(&str, &str, &str, &str); 9] = [
    ("no such container: `", "`", "No such container: ", ""),
    ("no such container:path: `", "`", "No such container:path: ", ""),
    ("no such image: `", "`", "No such image: ", ""),
    ("invalid container name `", "`", "Invalid container name (", ")"),
    ("no image has a tag of `", "`", "An image does not exist locally with the tag: ", ""),
    ("no such tag: `", "`", "tag does not exist: ", ""),
    ("no such volume: `", "`", "No such volume: ", ""),
    ("invalid filter `", "`", "invalid filter '", "'"),
    ("unable to find image `", "`", "Unable to find image '", "'"),
];

/// That an image is not there, by the name a person gave it and not by the one it was looked up by.
pub fn by_given_name(error: mica_engine::Error, given: &[String]) -> anyhow::Error {
    let looked_up = error.to_string();
    let looked_up = looked_up.strip_prefix("no such image: `").and_then(|rest| rest.strip_suffix('`'));
    let is_it =
        |name: &&String| looked_up.is_some_and(|full| full.strip_suffix(":latest").unwrap_or(full) == name.as_str());
    match given.iter().find(is_it) {
        Some(name) if error.kind() == Kind::NotFound => anyhow::anyhow!("No such image: {name}"),
        _ => error.into(),
    }
}

fn dockers_words(text: &str) -> String {
    for (begin, end, docker_begin, docker_end) in WORDS {
        if let Some((before, rest)) = text.split_once(begin)
            && (before.is_empty() || before.ends_with(": "))
            && let Some((name, after)) = rest.split_once(end)
        {
            return format!("{before}{docker_begin}{name}{docker_end}{after}");
        }
    }
    text.to_owned()
}

fn plain_chain(failure: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in failure.chain() {
        let words = cause.to_string();
        if text.is_empty() {
            text = words;
        } else if !words.is_empty() && !text.ends_with(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
    }
    text
}

/// The remedies that the error and its causes know.
pub fn hints(failure: &anyhow::Error) -> Vec<String> {
    let mut hints: Vec<String> = Vec::new();
    for cause in failure.chain() {
        let hint = match cause.downcast_ref::<mica_engine::Error>() {
            Some(error) => error.hint().map(str::to_owned),
            None => cause.downcast_ref::<Advice>().map(|advice| advice.hint.clone()),
        };
        if let Some(hint) = hint.filter(|hint| !hints.contains(hint)) {
            hints.push(hint);
        }
    }
    if hints.is_empty() {
        hints.extend(disk_remedy(&plain_chain(failure)).map(str::to_owned));
    }
    hints
}

/// What to do about a disk that refuses. Read from the words, because a monitor's and a database's errors arrive as words.
fn disk_remedy(text: &str) -> Option<&'static str> {
    const REMEDIES: [(&[&str], &str); 3] = [
        (
            &["No space left on device", "database or disk is full", "Disk quota exceeded"],
            "the file system has no space or no inodes left (`df` and `df -i` tell); `mica system prune` gives back what \
             nobody needs, and the same command then works",
        ),
        (
            &["Input/output error", "disk I/O error", "unable to open database file"],
            "the disk or its file system failed (`dmesg` says how); once it works again, `mica system check --repair` \
             mends what was hit",
        ),
        (
            &["Read-only file system", "readonly database"],
            "the file system is mounted read-only; commands that only read work, others need it writable \
             (`mount -o remount,rw`)",
        ),
    ];
    let known = REMEDIES.iter().find(|(words, _)| words.iter().any(|words| text.contains(words)));
    known.map(|(_, remedy)| *remedy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    #[test]
    fn causes_are_told_once_and_hints_after_them() {
        let error =
            anyhow::Error::new(mica_engine::Error::refused(Kind::NotFound, "no driver `x`").with_hint("install it"))
                .context("cannot open the store");
        assert_eq!(chain(&error), "cannot open the store: no driver `x`");
        assert_eq!(hints(&error), ["install it"]);
        let twice = Err::<(), _>(std::io::Error::other("boom")).context("it failed: boom").expect_err("an error");
        assert_eq!(chain(&twice), "it failed: boom");
    }

    #[test]
    fn scripts_find_the_words_they_look_for() {
        let cases = [
            ("no such container: `x`", "No such container: x"),
            ("cannot build: no such image: `a:1`", "cannot build: No such image: a:1"),
            ("unable to find image `x:latest` locally", "Unable to find image 'x:latest' locally"),
            ("invalid filter `x`", "invalid filter 'x'"),
            ("there is no such container: `x`", "there is no such container: `x`"),
            ("no such container: `x", "no such container: `x"),
        ];
        for (engine, docker) in cases {
            assert_eq!(chain(&anyhow::anyhow!("{engine}")), docker);
        }
    }

    #[test]
    fn a_disk_that_refuses_has_a_remedy() {
        for (words, remedy) in [
            ("cannot write `/var/lib/mica/x`: No space left on device (os error 28)", "system prune"),
            ("cannot commit in the metadata database: database or disk is full", "system prune"),
            ("cannot start: Input/output error (os error 5)", "system check --repair"),
            ("cannot open `/x`: Read-only file system (os error 30)", "remount,rw"),
        ] {
            let told = hints(&anyhow::anyhow!("{words}"));
            assert!(told.len() == 1 && told[0].contains(remedy), "{words}: {told:?}");
        }
        assert!(hints(&anyhow::anyhow!("no such image")).is_empty());
    }

    #[test]
    fn codes_of_run() {
        let code = |kind| run_code(&anyhow::Error::new(mica_engine::Error::refused(kind, "x")).context("y"));
        assert_eq!(code(Kind::CommandNotFound), 127);
        assert_eq!(code(Kind::NotExecutable), 126);
        assert_eq!(code(Kind::NotFound), 125);
        assert_eq!(run_code(&anyhow::anyhow!("x")), 125);
    }
}
