//! One logical line to one instruction: the arity and the shape of every instruction's arguments.

use super::SyntaxError;
use super::ast::*;
use super::cursor::{Cursor, Piece};
use super::flags::Flags;
use super::heredoc;
use super::words;

const KEYWORDS: &[&str] = &[
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// Parses the instruction at the cursor.
pub(super) fn parse(cursor: Cursor<'_>) -> Result<Instruction, SyntaxError> {
    let keyword = cursor.keyword();
    let upper = keyword.text.to_ascii_uppercase();
    let after = cursor.after(keyword.text.len());
    let args = Arguments { keyword, upper: &upper, cursor: after };
    match upper.as_str() {
        "ADD" => add(args),
        "ARG" => arg(args),
        "CMD" => Ok(Instruction::Cmd(args.no_flags()?.command()?)),
        "COPY" => copy(args),
        "ENTRYPOINT" => Ok(Instruction::Entrypoint(args.no_flags()?.command()?)),
        "ENV" => Ok(Instruction::Env(args.no_flags()?.pairs()?)),
        "EXPOSE" => Ok(Instruction::Expose(args.no_flags()?.plain_words()?)),
        "FROM" => from(args),
        "HEALTHCHECK" => healthcheck(args),
        "LABEL" => Ok(Instruction::Label(args.no_flags()?.pairs()?)),
        "MAINTAINER" => Ok(Instruction::Maintainer(args.text()?)),
        "ONBUILD" => onbuild(args),
        "RUN" => run(args),
        "SHELL" => match words::json(args.text()?.as_str()) {
            Some(shell) if !shell.is_empty() => Ok(Instruction::Shell(shell)),
            _ => Err(args.cursor.error_here("`SHELL` needs the JSON form: `SHELL [\"/bin/sh\", \"-c\"]`")),
        },
        "STOPSIGNAL" => Ok(Instruction::Stopsignal(args.text()?)),
        "USER" => Ok(Instruction::User(args.text()?)),
        "VOLUME" => Ok(Instruction::Volume(args.no_flags()?.words_or_json()?)),
        "WORKDIR" => Ok(Instruction::Workdir(args.text()?)),
        _ => Err(unknown(&cursor, keyword, &upper)),
    }
}

/// An instruction's keyword and what follows it.
struct Arguments<'a> {
    keyword: Piece<'a>,
    upper: &'a str,
    cursor: Cursor<'a>,
}

impl<'a> Arguments<'a> {
    fn no_flags(self) -> Result<Self, SyntaxError> {
        let (flags, cursor) = Flags::read(self.cursor);
        flags.finish(self.upper)?;
        Ok(Self { cursor, ..self })
    }

    /// The rest of the line, which must not be empty.
    fn text(&self) -> Result<String, SyntaxError> {
        match self.cursor.rest() {
            "" => Err(self.cursor.error(self.keyword, format!("`{}` needs an argument", self.upper))),
            text => Ok(text.to_owned()),
        }
    }

    fn command(&self) -> Result<Command, SyntaxError> {
        let text = self.text()?;
        Ok(words::json(&text).map_or_else(|| Command::Shell(text), Command::Exec))
    }

    fn plain_words(&self) -> Result<Vec<String>, SyntaxError> {
        self.text()?;
        Ok(words::plain(&self.cursor).into_iter().map(|word| word.text.to_owned()).collect())
    }

    fn words_or_json(&self) -> Result<Vec<String>, SyntaxError> {
        match words::json(&self.text()?) {
            Some(words) if words.is_empty() => {
                Err(self.cursor.error_here(format!("`{}` needs an argument", self.upper)))
            }
            Some(words) => Ok(words),
            None => self.plain_words(),
        }
    }

    fn pairs(&self) -> Result<Pairs, SyntaxError> {
        self.text()?;
        let words = words::quoted(&self.cursor);
        let first = words[0];
        if !first.text.contains('=') {
            let value = self.cursor.after(first.text.len()).rest();
            if value.is_empty() {
                let message = format!("`{0}` needs a value: `{0} {1}=…`", self.upper, first.text);
                return Err(self.cursor.error(first, message));
            }
            return Ok(Pairs { pairs: vec![(first.text.to_owned(), value.to_owned())], style: PairStyle::Legacy });
        }
        let mut pairs = Vec::new();
        for word in words {
            match word.text.split_once('=') {
                Some(("", _)) => {
                    return Err(self.cursor.error(word, format!("`{}` has a name that is empty", self.upper)));
                }
                Some((name, value)) => pairs.push((name.to_owned(), value.to_owned())),
                None => {
                    let message = format!("no `=` in `{}`: `{}` takes `name=value`", word.text, self.upper);
                    return Err(self.cursor.error(word, message));
                }
            }
        }
        Ok(Pairs { pairs, style: PairStyle::Equals })
    }

    fn transfer(&self, flags: &mut Flags<'_>, cursor: Cursor<'a>) -> Result<Transfer, SyntaxError> {
        let mut transfer = Transfer {
            chown: flags.value("chown")?,
            chmod: flags.value("chmod")?,
            link: flags.switch("link")?.unwrap_or(false),
            parents: flags.switch("parents")?.unwrap_or(false),
            exclude: flags.values("exclude")?,
            ..Transfer::default()
        };
        let from_json = words::json(cursor.rest());
        if from_json.is_none() {
            transfer.heredocs = cursor.line.heredocs.clone();
        }
        let mut paths =
            from_json.unwrap_or_else(|| words::plain(&cursor).into_iter().map(|word| word.text.to_owned()).collect());
        let destination = paths.pop().filter(|_| !paths.is_empty());
        let Some(destination) = destination else {
            let message = format!("`{}` needs at least one source and a destination", self.upper);
            return Err(self.cursor.error(self.keyword, message));
        };
        if heredoc::parse_word(&destination, cursor.escape).is_some() && !transfer.heredocs.is_empty() {
            return Err(cursor.error_here(format!("`{}` cannot have a heredoc as its destination", self.upper)));
        }
        if transfer.parents && self.upper == "ADD" {
            return Err(self.cursor.error(self.keyword, "`ADD` has no flag `--parents`"));
        }
        transfer.sources = paths;
        transfer.destination = destination;
        Ok(transfer)
    }
}

fn add(args: Arguments<'_>) -> Result<Instruction, SyntaxError> {
    let (mut flags, cursor) = Flags::read(args.cursor);
    let add = Add {
        checksum: flags.value("checksum")?,
        keep_git_dir: flags.switch("keep-git-dir")?.unwrap_or(false),
        unpack: flags.switch("unpack")?,
        transfer: args.transfer(&mut flags, cursor)?,
    };
    flags.finish("ADD")?;
    Ok(Instruction::Add(add))
}

fn copy(args: Arguments<'_>) -> Result<Instruction, SyntaxError> {
    let (mut flags, cursor) = Flags::read(args.cursor);
    let copy = Copy { from: flags.value("from")?, transfer: args.transfer(&mut flags, cursor)? };
    flags.finish("COPY")?;
    Ok(Instruction::Copy(copy))
}

fn arg(args: Arguments<'_>) -> Result<Instruction, SyntaxError> {
    let args = args.no_flags()?;
    args.text()?;
    let mut declarations = Vec::new();
    for word in words::quoted(&args.cursor) {
        let (name, default) = match word.text.split_once('=') {
            Some((name, default)) => (name, Some(default.to_owned())),
            None => (word.text, None),
        };
        if name.is_empty() {
            return Err(args.cursor.error(word, "`ARG` has a name that is empty"));
        }
        declarations.push(ArgDeclaration { name: name.to_owned(), default });
    }
    Ok(Instruction::Arg(declarations))
}

fn from(args: Arguments<'_>) -> Result<Instruction, SyntaxError> {
    let (mut flags, cursor) = Flags::read(args.cursor);
    let platform = flags.value("platform")?;
    flags.finish("FROM")?;
    let words = words::plain(&cursor);
    let (image, name) = match words.as_slice() {
        [image] => (image, None),
        [image, word, name] if word.text.eq_ignore_ascii_case("as") => (image, Some(*name)),
        _ => {
            let message = "`FROM` takes an image, and `AS` and a name if the stage has one";
            return Err(args.cursor.error(args.keyword, message));
        }
    };
    if let Some(name) = name.filter(|name| !is_stage_name(name.text)) {
        let message = format!(
            "`{}` cannot name a stage: names start with a letter and consist of letters, digits, `-`, `_` and `.`",
            name.text
        );
        return Err(cursor.error(name, message));
    }
    let name = name.map(|name| name.text.to_owned());
    Ok(Instruction::From(From { platform, image: image.text.to_owned(), name }))
}

fn healthcheck(args: Arguments<'_>) -> Result<Instruction, SyntaxError> {
    let (mut flags, cursor) = Flags::read(args.cursor);
    let interval = flags.parsed("interval", duration)?;
    let timeout = flags.parsed("timeout", duration)?;
    let start_period = flags.parsed("start-period", duration)?;
    let start_interval = flags.parsed("start-interval", duration)?;
    let retries = flags
        .parsed("retries", |text| text.parse::<u32>().map_err(|_| format!("`--retries` is a number, not `{text}`")))?;
    let timed = [&interval, &timeout, &start_period, &start_interval].iter().any(|d| d.is_some()) || retries.is_some();
    flags.finish("HEALTHCHECK")?;
    let kind = cursor.keyword();
    let rest = cursor.after(kind.text.len());
    match kind.text.to_ascii_uppercase().as_str() {
        "NONE" if timed || !rest.rest().is_empty() => {
            Err(args.cursor.error_here("`HEALTHCHECK NONE` takes neither flags nor arguments"))
        }
        "NONE" => Ok(Instruction::Healthcheck(Healthcheck::None)),
        "CMD" => {
            let command = Arguments { keyword: kind, upper: "HEALTHCHECK CMD", cursor: rest }.command()?;
            let test = HealthTest { interval, timeout, start_period, start_interval, retries, command };
            Ok(Instruction::Healthcheck(Healthcheck::Test(test)))
        }
        _ => Err(args.cursor.error(args.keyword, "`HEALTHCHECK` takes `NONE` or `CMD` and a command")),
    }
}

fn onbuild(args: Arguments<'_>) -> Result<Instruction, SyntaxError> {
    let mut text = args.text()?;
    let inner = args.cursor.keyword();
    if ["ONBUILD", "FROM", "MAINTAINER"].contains(&inner.text.to_ascii_uppercase().as_str()) {
        let message = format!("`{}` is not allowed as an `ONBUILD` trigger", inner.text.to_ascii_uppercase());
        return Err(args.cursor.error(inner, message));
    }
    let trigger = Box::new(parse(args.cursor)?);
    for document in &args.cursor.line.heredocs {
        text.push('\n');
        text.push_str(&document.text);
        text.push_str(&document.name);
    }
    Ok(Instruction::Onbuild(Onbuild { text, trigger }))
}

fn run(args: Arguments<'_>) -> Result<Instruction, SyntaxError> {
    let (mut flags, cursor) = Flags::read(args.cursor);
    let mounts = flags.mounts()?;
    let network = flags.parsed("network", |text| match text {
        "default" | "none" | "host" => Ok(text.to_owned()),
        _ => Err(format!("`--network` is `default`, `none` or `host`, not `{text}`")),
    })?;
    let security = flags.parsed("security", |text| match text {
        "sandbox" | "insecure" => Ok(text.to_owned()),
        _ => Err(format!("`--security` is `sandbox` or `insecure`, not `{text}`")),
    })?;
    let devices = flags.values("device")?;
    flags.finish("RUN")?;
    let args = Arguments { cursor, ..args };
    let command = args.command()?;
    if command == Command::Exec(Vec::new()) {
        return Err(args.cursor.error_here("`RUN` needs a command"));
    }
    let heredocs = match command {
        Command::Shell(_) => cursor.line.heredocs.clone(),
        Command::Exec(_) => Vec::new(),
    };
    Ok(Instruction::Run(Run { mounts, network, security, devices, command, heredocs }))
}

fn is_stage_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

fn duration(text: &str) -> Result<String, String> {
    match crate::duration::nanoseconds(text) {
        Some(_) => Ok(text.to_owned()),
        None => Err(format!("`{text}` is no duration: write for example `30s` or `1m30s`")),
    }
}

fn unknown(cursor: &Cursor<'_>, keyword: Piece<'_>, upper: &str) -> SyntaxError {
    let near = KEYWORDS.iter().map(|known| (distance(upper, known), known)).min().filter(|(steps, _)| *steps <= 2);
    let message = match near {
        Some((_, known)) => format!("unknown instruction `{}` (did you mean `{known}`?)", keyword.text),
        None => format!("unknown instruction `{}`", shorten(keyword.text)),
    };
    cursor.error(keyword, message)
}

fn shorten(text: &str) -> String {
    let mut short: String = text.chars().take(40).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// Levenshtein distance, for a word no longer than any keyword can be mistaken for.
fn distance(a: &str, b: &str) -> usize {
    if a.len() > 16 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let best = (diagonal + usize::from(x != y)).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = std::mem::replace(&mut row[j + 1], best);
        }
    }
    row[b.len()]
}
