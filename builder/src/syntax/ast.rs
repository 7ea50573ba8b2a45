//! The Dockerfile as values: every instruction of the language, with raw words that nothing has expanded yet.

use super::heredoc::Heredoc;

/// A whole Dockerfile.
#[derive(Debug, Clone, PartialEq)]
pub struct Dockerfile {
    /// What stood in the comments at the top.
    pub directives: Directives,
    /// Instructions in order.
    pub instructions: Vec<Located>,
    /// What deserves a remark but is no error.
    pub warnings: Vec<Warning>,
}

/// Parser directives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directives {
    /// `# syntax=`: an external frontend's image.
    pub syntax: Option<String>,
    /// `# escape=`: a backslash or a backtick.
    pub escape: char,
    /// `# check=`: options of the build checks.
    pub check: Option<String>,
}

impl Default for Directives {
    fn default() -> Self {
        Self { syntax: None, escape: '\\', check: None }
    }
}

/// A place in the source, counted from 1; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

/// The lines an instruction covers and the place of its keyword.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// Where the keyword starts.
    pub start: Position,
    /// How many characters the keyword has.
    pub width: usize,
    /// The last line, heredocs included.
    pub end_line: usize,
}

/// An instruction and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Located {
    /// Where.
    pub span: Span,
    /// What.
    pub instruction: Instruction,
}

/// A remark about a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The line.
    pub line: usize,
    /// The rule's name and the remark.
    pub text: String,
}

/// One instruction.
#[derive(Debug, Clone, PartialEq)]
pub enum Instruction {
    /// `ADD`.
    Add(Add),
    /// `ARG NAME[=default]…`.
    Arg(Vec<ArgDeclaration>),
    /// `CMD`.
    Cmd(Command),
    /// `COPY`.
    Copy(Copy),
    /// `ENTRYPOINT`.
    Entrypoint(Command),
    /// `ENV`.
    Env(Pairs),
    /// `EXPOSE port[/protocol]…`.
    Expose(Vec<String>),
    /// `FROM`.
    From(From),
    /// `HEALTHCHECK`.
    Healthcheck(Healthcheck),
    /// `LABEL`.
    Label(Pairs),
    /// `MAINTAINER`.
    Maintainer(String),
    /// `ONBUILD`.
    Onbuild(Onbuild),
    /// `RUN`.
    Run(Run),
    /// `SHELL`, always the JSON form.
    Shell(Vec<String>),
    /// `STOPSIGNAL`.
    Stopsignal(String),
    /// `USER`.
    User(String),
    /// `VOLUME path…`.
    Volume(Vec<String>),
    /// `WORKDIR`.
    Workdir(String),
}

/// A command in the shell form or the exec form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Text for the shell of `SHELL`.
    Shell(String),
    /// An argument vector.
    Exec(Vec<String>),
}

/// `FROM [--platform=] image [AS name]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct From {
    /// `--platform`.
    pub platform: Option<String>,
    /// Image, stage or `scratch`.
    pub image: String,
    /// The stage's name, as written.
    pub name: Option<String>,
}

/// One name of an `ARG`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArgDeclaration {
    /// Name.
    pub name: String,
    /// Default, raw.
    pub default: Option<String>,
}

/// Names and raw values of `ENV` or `LABEL`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pairs {
    /// Names and values in order.
    pub pairs: Vec<(String, String)>,
    /// How they were written.
    pub style: PairStyle,
}

/// The two ways to write pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PairStyle {
    /// `name=value …`.
    Equals,
    /// `name value`, one pair whose value is the rest of the line.
    Legacy,
}

/// Flags that `ADD` and `COPY` share, and their files.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Transfer {
    /// `--chown`.
    pub chown: Option<String>,
    /// `--chmod`.
    pub chmod: Option<String>,
    /// `--link`.
    pub link: bool,
    /// `--parents`.
    pub parents: bool,
    /// `--exclude`, repeatable.
    pub exclude: Vec<String>,
    /// Sources, raw; a heredoc's word stands here too.
    pub sources: Vec<String>,
    /// Destination, raw.
    pub destination: String,
    /// Contents of the sources that are heredocs.
    pub heredocs: Vec<Heredoc>,
}

/// `COPY`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Copy {
    /// `--from`.
    pub from: Option<String>,
    /// The rest.
    pub transfer: Transfer,
}

/// `ADD`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Add {
    /// `--checksum`.
    pub checksum: Option<String>,
    /// `--keep-git-dir`.
    pub keep_git_dir: bool,
    /// `--unpack`.
    pub unpack: Option<bool>,
    /// The rest.
    pub transfer: Transfer,
}

/// `RUN`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// `--mount`, repeatable.
    pub mounts: Vec<Mount>,
    /// `--network`.
    pub network: Option<String>,
    /// `--security`.
    pub security: Option<String>,
    /// `--device`, repeatable.
    pub devices: Vec<String>,
    /// The command.
    pub command: Command,
    /// Heredocs whose words stand in the command.
    pub heredocs: Vec<Heredoc>,
}

/// One `--mount`: its fields in the order they were written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Keys and their values.
    pub fields: Vec<(String, Option<String>)>,
}

/// `HEALTHCHECK`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Healthcheck {
    /// `HEALTHCHECK NONE`.
    None,
    /// `HEALTHCHECK [flags] CMD …`.
    Test(HealthTest),
}

/// A health check's command and timing. Durations are as written, and known to be valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthTest {
    /// `--interval`.
    pub interval: Option<String>,
    /// `--timeout`.
    pub timeout: Option<String>,
    /// `--start-period`.
    pub start_period: Option<String>,
    /// `--start-interval`.
    pub start_interval: Option<String>,
    /// `--retries`.
    pub retries: Option<u32>,
    /// The command.
    pub command: Command,
}

/// `ONBUILD`: an instruction for the builds that start from this image.
#[derive(Debug, Clone, PartialEq)]
pub struct Onbuild {
    /// The trigger's text, heredocs included, as the image config stores it.
    pub text: String,
    /// The trigger.
    pub trigger: Box<Instruction>,
}
