//! An abstract syntax tree as text that parses to the same tree.

use std::fmt::Write;

use super::ast::*;
use super::heredoc::Heredoc;

/// The whole Dockerfile.
pub fn print(file: &Dockerfile) -> String {
    let mut out = String::new();
    let directives = &file.directives;
    if let Some(syntax) = &directives.syntax {
        out.push_str(&format!("# syntax={syntax}\n"));
    }
    if directives.escape != '\\' {
        out.push_str(&format!("# escape={}\n", directives.escape));
    }
    if let Some(check) = &directives.check {
        out.push_str(&format!("# check={check}\n"));
    }
    for located in &file.instructions {
        out.push_str(&print_instruction(&located.instruction, directives.escape));
        out.push('\n');
    }
    out
}

/// One instruction, without a newline at its end.
pub fn print_instruction(instruction: &Instruction, escape: char) -> String {
    let mut line = Line { text: String::new(), escape, after_flags: false };
    match instruction {
        Instruction::Add(add) => {
            line.word("ADD");
            line.flag("checksum", &add.checksum);
            line.switch("keep-git-dir", add.keep_git_dir);
            line.flag("unpack", &add.unpack.map(|on| on.to_string()));
            line.transfer(&add.transfer);
        }
        Instruction::Arg(declarations) => {
            line.word("ARG");
            for declaration in declarations {
                line.word(&match &declaration.default {
                    Some(default) => format!("{}={default}", declaration.name),
                    None => declaration.name.clone(),
                });
            }
        }
        Instruction::Cmd(command) => line.word("CMD").command(command),
        Instruction::Copy(copy) => {
            line.word("COPY");
            line.flag("from", &copy.from);
            line.transfer(&copy.transfer);
        }
        Instruction::Entrypoint(command) => line.word("ENTRYPOINT").command(command),
        Instruction::Env(pairs) => line.word("ENV").pairs(pairs),
        Instruction::Expose(ports) => line.word("EXPOSE").words(ports),
        Instruction::From(from) => {
            line.word("FROM");
            line.flag("platform", &from.platform);
            line.word(&from.image);
            if let Some(name) = &from.name {
                line.word("AS").word(name);
            }
        }
        Instruction::Healthcheck(Healthcheck::None) => {
            line.word("HEALTHCHECK NONE");
        }
        Instruction::Healthcheck(Healthcheck::Test(test)) => {
            line.word("HEALTHCHECK");
            line.flag("interval", &test.interval);
            line.flag("timeout", &test.timeout);
            line.flag("start-period", &test.start_period);
            line.flag("start-interval", &test.start_interval);
            line.flag("retries", &test.retries.map(|count| count.to_string()));
            line.word("CMD").command(&test.command);
        }
        Instruction::Label(pairs) => line.word("LABEL").pairs(pairs),
        Instruction::Maintainer(text) => {
            line.word("MAINTAINER").word(text);
        }
        Instruction::Onbuild(onbuild) => {
            line.word("ONBUILD").word(&onbuild.text);
        }
        Instruction::Run(run) => {
            line.word("RUN");
            for mount in &run.mounts {
                line.flag("mount", &Some(print_mount(mount)));
            }
            line.flag("network", &run.network);
            line.flag("security", &run.security);
            for device in &run.devices {
                line.flag("device", &Some(device.clone()));
            }
            line.command(&run.command);
            line.heredocs(&run.heredocs);
        }
        Instruction::Shell(shell) => {
            line.word("SHELL").word(&json(shell));
        }
        Instruction::Stopsignal(signal) => {
            line.word("STOPSIGNAL").word(signal);
        }
        Instruction::User(user) => {
            line.word("USER").word(user);
        }
        Instruction::Volume(paths) if paths.iter().any(|path| !is_plain(path)) || paths[0].starts_with('[') => {
            line.word("VOLUME").word(&json(paths));
        }
        Instruction::Volume(paths) => line.word("VOLUME").words(paths),
        Instruction::Workdir(path) => {
            line.word("WORKDIR").word(path);
        }
    }
    line.text
}

/// A mount's fields as they are written behind `--mount=`.
pub(crate) fn print_mount(mount: &Mount) -> String {
    let field = |(key, value): &(String, Option<String>)| match value {
        Some(value) => format!("{key}={value}"),
        None => key.clone(),
    };
    mount.fields.iter().map(field).collect::<Vec<_>>().join(",")
}

struct Line {
    text: String,
    escape: char,
    after_flags: bool,
}

impl Line {
    /// The keyword, then arguments. A first argument that looks like a flag is told apart by a lone `--`.
    fn word(&mut self, word: &str) -> &mut Self {
        if !self.text.is_empty() {
            if !self.after_flags && word.starts_with("--") {
                self.text.push_str(" --");
            }
            self.after_flags = true;
            self.text.push(' ');
        }
        self.text.push_str(word);
        self
    }

    fn words(&mut self, words: &[String]) {
        for word in words {
            self.word(word);
        }
    }

    fn command(&mut self, command: &Command) {
        match command {
            Command::Shell(text) => self.word(text),
            Command::Exec(args) => self.word(&json(args)),
        };
    }

    fn pairs(&mut self, pairs: &Pairs) {
        let separator = match pairs.style {
            PairStyle::Equals => '=',
            PairStyle::Legacy => ' ',
        };
        for (name, value) in &pairs.pairs {
            self.word(&format!("{name}{separator}{value}"));
        }
    }

    fn flag(&mut self, name: &str, value: &Option<String>) {
        let Some(value) = value else { return };
        let mut text = format!("--{name}=");
        for c in value.chars() {
            if c.is_whitespace() || c == '"' || c == '\'' || c == self.escape {
                text.push(self.escape);
            }
            text.push(c);
        }
        self.text.push(' ');
        self.text.push_str(&text);
    }

    fn switch(&mut self, name: &str, on: bool) {
        if on {
            self.text.push_str(" --");
            self.text.push_str(name);
        }
    }

    fn transfer(&mut self, transfer: &Transfer) {
        self.flag("chown", &transfer.chown);
        self.flag("chmod", &transfer.chmod);
        self.switch("link", transfer.link);
        self.switch("parents", transfer.parents);
        for pattern in &transfer.exclude {
            self.flag("exclude", &Some(pattern.clone()));
        }
        let mut paths = transfer.sources.clone();
        paths.push(transfer.destination.clone());
        let announces = !super::heredoc::announced(&paths.join(" "), self.escape).is_empty();
        let needs_json = paths.iter().any(|path| !is_plain(path))
            || paths[0].starts_with('[')
            || announces && transfer.heredocs.is_empty()
            || paths.last().is_some_and(|path| path.ends_with(self.escape));
        if needs_json {
            self.word(&json(&paths));
        } else {
            self.words(&paths);
        }
        self.heredocs(&transfer.heredocs);
    }

    fn heredocs(&mut self, heredocs: &[Heredoc]) {
        for document in heredocs {
            // Reading takes one carriage return from the end of each line.
            let text = document.text.replace("\r\n", "\r\r\n");
            let _ = write!(self.text, "\n{text}{}", document.name);
        }
    }
}

fn is_plain(word: &str) -> bool {
    !word.is_empty() && !word.contains(char::is_whitespace)
}

fn json(words: &[String]) -> String {
    serde_json::Value::from(words).to_string()
}
