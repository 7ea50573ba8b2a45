//! `cp`: one side is in a container, the other on the host or a tar stream.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use mica_engine::ops::copy::CopyOptions;

use super::export::{sink, written};
use crate::args::cp::Cp;
use crate::context::Context;

/// `cp`.
pub(super) async fn run(context: &Context, args: &Cp) -> anyhow::Result<()> {
    let owner = Some((rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw()));
    let options = CopyOptions { follow: args.follow_link, archive: args.archive, owner };
    match (Side::of(&args.source), Side::of(&args.target)) {
        (Side::Container(from, path), Side::Container(to, target)) => {
            let (from, to) = ((from, Path::new(path)), (to, Path::new(target)));
            Ok(context.engine()?.copy_between(from, to, options).await?)
        }
        (Side::Container(container, path), Side::Stream) => {
            if std::io::stdout().is_terminal() {
                anyhow::bail!("cowardly refusing to write an archive to a terminal: redirect standard output");
            }
            let out = sink(None)?;
            written(context.engine()?.copy_out(container, Path::new(path), options, out).await)
        }
        (Side::Container(container, path), Side::Host(target)) => {
            Ok(context.engine()?.copy_from(container, Path::new(path), keep_slash(target)?, options).await?)
        }
        (Side::Stream, Side::Container(container, path)) => {
            Ok(context.engine()?.copy_in(Box::new(std::io::stdin()), container, Path::new(path)).await?)
        }
        (Side::Host(source), Side::Container(container, path)) => {
            Ok(context.engine()?.copy_to(keep_slash(source)?, container, Path::new(path), options).await?)
        }
        _ => anyhow::bail!("must specify at least one container source"),
    }
}

/// One side of a copy.
#[derive(Debug, PartialEq, Eq)]
enum Side<'a> {
    Container(&'a str, &'a str),
    Host(&'a str),
    Stream,
}

impl<'a> Side<'a> {
    /// A path that begins with a slash or a dot is on the host, whatever colons it has.
    fn of(text: &'a str) -> Self {
        if text == "-" {
            return Self::Stream;
        }
        if text.starts_with(['/', '.']) {
            return Self::Host(text);
        }
        match text.split_once(':') {
            Some((container, path)) if !container.is_empty() => Self::Container(container, path),
            _ => Self::Host(text),
        }
    }
}

/// An absolute path that keeps what says "the directory itself" or "its contents": a final slash or `/.`.
fn keep_slash(text: &str) -> anyhow::Result<PathBuf> {
    let absolute = std::path::absolute(text)?;
    let suffix = match text {
        "." => "/.",
        _ if text.ends_with("/.") => "/.",
        _ if text.ends_with('/') && !text.trim_end_matches('/').is_empty() => "/",
        _ => "",
    };
    let mut path = absolute.into_os_string();
    let trimmed = path.as_encoded_bytes().ends_with(b"/");
    if !suffix.is_empty() {
        path.push(if trimmed { suffix.trim_start_matches('/') } else { suffix });
    }
    Ok(path.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides() {
        let cases = [
            ("c:/p", Side::Container("c", "/p")),
            ("c:p:q", Side::Container("c", "p:q")),
            ("c:", Side::Container("c", "")),
            ("/a:b", Side::Host("/a:b")),
            ("./a:b", Side::Host("./a:b")),
            ("../a:b", Side::Host("../a:b")),
            ("file", Side::Host("file")),
            (":x", Side::Host(":x")),
            ("-", Side::Stream),
        ];
        for (text, expected) in cases {
            assert_eq!(Side::of(text), expected, "{text}");
        }
    }

    #[test]
    fn endings_that_mean_something_stay() {
        let here = std::env::current_dir().expect("a working directory");
        let here = here.to_str().expect("valid UTF-8");
        let cases = [
            ("/a/b", "/a/b".to_owned()),
            ("/a/b/", "/a/b/".to_owned()),
            ("/a/b/.", "/a/b/.".to_owned()),
            ("x", format!("{here}/x")),
            ("x/", format!("{here}/x/")),
            (".", format!("{here}/.")),
            ("./x/.", format!("{here}/x/.")),
            ("/", "/".to_owned()),
        ];
        for (text, expected) in cases {
            assert_eq!(keep_slash(text).expect("valid").to_str(), Some(expected.as_str()), "{text}");
        }
    }
}
