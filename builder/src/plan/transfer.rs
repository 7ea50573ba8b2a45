//! `COPY` and `ADD` with their words expanded: what to copy from where to where, with which owner and mode.

use mica_engine::build::Stack;
use serde::Serialize;

use super::config::{Configuring, Words};
use crate::error::Fault;
use crate::expand::{expand, expand_text};
use crate::ignore::Ignore;
use crate::syntax::ast::{Add, Transfer};

/// One `COPY` or `ADD`.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct CopyWork {
    pub from: Sources,
    /// Patterns below the source's root, clean and relative; `.` is the root itself.
    pub sources: Vec<Pattern>,
    pub inline: Vec<Inline>,
    /// Absolute and clean.
    pub destination: String,
    /// Whether the destination is a directory whatever is there.
    pub into_directory: bool,
    pub owner: Owner,
    pub mode: Option<u32>,
    pub exclude: Vec<String>,
    /// Whether sources keep the directories they stand in.
    pub parents: bool,
    /// Whether archives are extracted.
    pub unpack: bool,
}

/// Where files come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) enum Sources {
    Context,
    /// The node that [`super::Node::reads`] names.
    Node,
    Stack(Stack),
}

/// A source's path, which may hold wildcards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Pattern {
    pub path: String,
    /// How many leading components `--parents` drops: what stands before `/./`.
    pub pivot: usize,
}

/// A file whose content stands in the Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Inline {
    pub name: String,
    pub content: String,
}

/// Who owns the copies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) enum Owner {
    /// As in the source, which is right for files of other stages and images.
    Kept,
    Ids(u32, u32),
    /// Names, or numbers, to be looked up in the image.
    Named {
        user: String,
        group: Option<String>,
    },
}

/// Lowers a transfer and writes its history entry.
pub(crate) fn lower(
    keyword: &str,
    transfer: &Transfer,
    from: Sources,
    state: &Configuring,
    escape: char,
    words: &mut Words,
) -> Result<(CopyWork, String), Fault> {
    let mut word = |raw: &str| Ok::<_, Fault>(words.note(expand(raw, escape, &state.scope)?).text);
    let mut inline = Vec::new();
    let mut sources = Vec::new();
    let mut history = keyword.to_owned();
    let chown = transfer.chown.as_deref().map(&mut word).transpose()?;
    let chmod = transfer.chmod.as_deref().map(&mut word).transpose()?;
    for (flag, value) in [("chown", &chown), ("chmod", &chmod)] {
        if let Some(value) = value {
            history.push_str(&format!(" --{flag}={value}"));
        }
    }
    let exclude = transfer.exclude.iter().map(|raw| word(raw)).collect::<Result<Vec<_>, _>>()?;
    Ignore::excluding(&exclude).map_err(|error| Fault::Invalid(format!("`--exclude`: {}", error.message)))?;
    let destination = word(&transfer.destination)?;
    for raw in &transfer.sources {
        let announced = crate::syntax::heredoc::parse_word(raw, escape);
        match announced.and_then(|found| transfer.heredocs.iter().find(|document| document.name == found.name)) {
            Some(document) => {
                let content = document.content();
                let content = match document.expand {
                    true => words.note(expand_text(&content, escape, &state.scope)?).text,
                    false => content,
                };
                if document.name.contains('/') {
                    return Err(Fault::Invalid(format!(
                        "heredoc `{}` cannot name a file: it has a `/`",
                        document.name
                    )));
                }
                inline.push(Inline { name: document.name.clone(), content });
                history.push_str(&format!(" <<{}", document.name));
            }
            None => {
                let source = words.note(expand(raw, escape, &state.scope)?).text;
                if source.is_empty() {
                    return Err(Fault::Invalid(format!("source `{raw}` of `{keyword}` is empty")));
                }
                history.push_str(&format!(" {source}"));
                sources.push(pattern(&source));
            }
        }
    }
    history.push_str(&format!(" {destination} # buildkit"));
    if destination.is_empty() {
        return Err(Fault::Invalid(format!("destination `{}` of `{keyword}` is empty", transfer.destination)));
    }
    let into_directory = transfer.parents
        || ["/", "/.", "/.."].iter().any(|end| destination.ends_with(end))
        || destination == "."
        || destination == "..";
    if sources.len() + inline.len() > 1 && !into_directory {
        let message = format!(
            "`{keyword}` with more than one source needs a destination that ends with `/`, not `{destination}`"
        );
        return Err(Fault::Invalid(message));
    }
    let owner = match (&chown, &from) {
        (Some(text), _) => owner(text)?,
        (None, Sources::Context) => Owner::Ids(0, 0),
        (None, _) => Owner::Kept,
    };
    let mode = chmod.as_deref().map(mode).transpose()?;
    let destination = state.absolute(&destination);
    let parents = transfer.parents;
    let work =
        CopyWork { from, sources, inline, destination, into_directory, owner, mode, exclude, parents, unpack: false };
    Ok((work, history))
}

/// Lowers an `ADD`, as far as it is about local files.
pub(crate) fn lower_add(
    add: &Add,
    state: &Configuring,
    escape: char,
    words: &mut Words,
) -> Result<(CopyWork, String), Fault> {
    if add.checksum.is_some() {
        return Err(Fault::Unsupported("`ADD --checksum`".into()));
    }
    if add.keep_git_dir {
        return Err(Fault::Unsupported("`ADD --keep-git-dir`".into()));
    }
    let (mut work, history) = lower("ADD", &add.transfer, Sources::Context, state, escape, words)?;
    for raw in &add.transfer.sources {
        let source = expand(raw, escape, &state.scope)?.text;
        if is_remote(&source) {
            return Err(Fault::Unsupported(format!("`ADD` of the remote source `{source}`")));
        }
    }
    work.unpack = add.unpack.unwrap_or(true);
    Ok((work, history))
}

fn pattern(source: &str) -> Pattern {
    let clean = |path: &str| crate::ignore::clean(&format!("/{path}"))[1..].to_owned();
    let pivot = source.split_once("/./").map_or(0, |(head, _)| {
        let head = clean(head);
        if head.is_empty() { 0 } else { head.split('/').count() }
    });
    let path = clean(source);
    Pattern { path: if path.is_empty() { ".".into() } else { path }, pivot }
}

fn owner(text: &str) -> Result<Owner, Fault> {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    if user.is_empty() || group == Some("") {
        return Err(Fault::Invalid(format!("`--chown={text}` is not `user` or `user:group`")));
    }
    Ok(match (user.parse::<u32>(), group.map(str::parse::<u32>)) {
        (Ok(user), None) => Owner::Ids(user, user),
        (Ok(user), Some(Ok(group))) => Owner::Ids(user, group),
        _ => Owner::Named { user: user.to_owned(), group: group.map(str::to_owned) },
    })
}

fn mode(text: &str) -> Result<u32, Fault> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o7777 => Ok(mode),
        _ if text.starts_with(|c: char| "ugoa+-=".contains(c)) => {
            Err(Fault::Unsupported(format!("the symbolic mode `--chmod={text}`")))
        }
        _ => Err(Fault::Invalid(format!("`--chmod={text}` is no octal mode"))),
    }
}

fn is_remote(source: &str) -> bool {
    let lower = source.to_lowercase();
    ["http://", "https://", "git://", "ssh://", "git@"].iter().any(|scheme| lower.starts_with(scheme))
}
