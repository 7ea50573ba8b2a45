//! A Dockerfile cut into stages: which there are, what each starts from, and which of them the target needs.

use std::collections::BTreeSet;

use crate::error::{Error, Fault, Result, Source};
use crate::platform::Platform;
use crate::scope::{Global, Scope};
use crate::syntax::ast::{self, Dockerfile, Instruction, Located, Span};

/// One stage.
#[derive(Debug)]
pub(crate) struct Stage<'a> {
    /// The name in lower case.
    pub name: Option<String>,
    pub base: Base,
    pub platform: Option<Platform>,
    /// The image or stage as `FROM` has it, expanded.
    pub base_name: String,
    pub span: Span,
    pub body: &'a [Located],
    /// Stages and images whose files the body copies, and where it says so.
    pub sources: Vec<(FileSource, Span)>,
}

/// What a stage starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Base {
    Scratch,
    Stage(usize),
    Image(String),
}

/// What `COPY --from` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FileSource {
    Stage(usize),
    Image(String),
}

/// All stages, and the one to build.
#[derive(Debug)]
pub(crate) struct Stages<'a> {
    pub all: Vec<Stage<'a>>,
    pub target: usize,
    /// The stages the target needs, each after those it needs itself.
    pub needed: Vec<usize>,
    /// Names of all `ARG`s.
    pub declared: BTreeSet<String>,
}

impl<'a> Stages<'a> {
    /// Cuts the file. `global` learns the arguments before the first `FROM`.
    pub fn new(file: &'a Dockerfile, global: &mut Global, source: Source<'_>, target: Option<&str>) -> Result<Self> {
        let mut all: Vec<Stage<'a>> = Vec::new();
        let mut declared = BTreeSet::new();
        let mut starts = Vec::new();
        for (index, located) in file.instructions.iter().enumerate() {
            match &located.instruction {
                Instruction::From(from) => {
                    all.push(stage(from, &all, global).map_err(|fault| fault.at(&source, located.span))?);
                    starts.push(index);
                    let last = all.len() - 1;
                    all[last].span = located.span;
                }
                Instruction::Arg(declarations) => {
                    declared.extend(declarations.iter().map(|declaration| declaration.name.clone()));
                    if all.is_empty() {
                        for declaration in declarations {
                            global.declare(declaration).map_err(|fault| fault.at(&source, located.span))?;
                        }
                    }
                }
                _ => {}
            }
        }
        let names: Vec<Option<String>> = all.iter().map(|stage| stage.name.clone()).collect();
        for (index, stage) in all.iter_mut().enumerate() {
            let end = starts.get(index + 1).copied().unwrap_or(file.instructions.len());
            stage.body = &file.instructions[starts[index] + 1..end];
            stage.sources = sources(stage.body, index, &names, global, source)?;
        }
        let target = match target {
            None => all.len() - 1,
            Some(name) => find_target(name, &names)?,
        };
        let needed = needed(&all, target, source)?;
        Ok(Self { all, target, needed, declared })
    }

    /// What a stage is called in the names of its steps.
    pub fn label(&self, index: usize) -> String {
        match &self.all[index].name {
            Some(name) => format!("{name} "),
            None if self.all.len() > 1 => format!("stage-{index} "),
            None => String::new(),
        }
    }
}

/// Finds what a `--from` means: a stage by name or number, else an image.
pub(crate) fn find_source(from: &str, here: usize, names: &[Option<String>]) -> Result<FileSource, Fault> {
    let lower = from.to_lowercase();
    if lower == "scratch" {
        return Err(Fault::Invalid("`--from=scratch` has no files to copy".into()));
    }
    let by_name = names.iter().rposition(|name| name.as_deref() == Some(&lower));
    let found = match lower.parse::<usize>() {
        _ if by_name.is_some() => by_name,
        Ok(number) if number < names.len() => Some(number),
        Ok(_) => return Err(Fault::Invalid(format!("there is no stage `{from}`"))),
        Err(_) => None,
    };
    match found {
        Some(stage) if stage == here => Err(Fault::Invalid(format!("stage `{from}` cannot copy from itself"))),
        Some(stage) => Ok(FileSource::Stage(stage)),
        None => Ok(FileSource::Image(from.to_owned())),
    }
}

/// Expands a `--from`, which sees the arguments declared so far: BuildKit expands nothing here, and people ask for it.
pub(crate) fn expand_from(raw: &str, scope: &Scope, global: &Global) -> Result<String, Fault> {
    let expanded = crate::expand::expand(raw, global.escape, scope)?.text;
    match expanded.is_empty() {
        true => Err(Fault::Invalid(format!("`--from={raw}` is empty"))),
        false => Ok(expanded),
    }
}

fn stage<'a>(from: &ast::From, earlier: &[Stage<'a>], global: &Global) -> Result<Stage<'a>, Fault> {
    let base_name = global.expand(&from.image)?.text;
    if base_name.is_empty() {
        let message = format!("`FROM {}` names no image: the variable is not set before the first `FROM`", from.image);
        return Err(Fault::Invalid(message));
    }
    let lower = base_name.to_lowercase();
    let base = match earlier.iter().rposition(|stage| stage.name.as_deref() == Some(&lower)) {
        Some(stage) => Base::Stage(stage),
        None if lower == "scratch" => Base::Scratch,
        None => Base::Image(base_name.clone()),
    };
    let platform = match &from.platform {
        None => None,
        Some(raw) => {
            let text = global.expand(raw)?.text;
            let platform = Platform::parse(&text).ok_or_else(|| {
                Fault::Invalid(format!("`{text}` is no platform: write `os/arch` or `os/arch/variant`"))
            })?;
            Some(platform)
        }
    };
    let name = from.name.as_ref().map(|name| name.to_lowercase());
    if name.as_deref() == Some("scratch") {
        return Err(Fault::Invalid("a stage cannot be named `scratch`".into()));
    }
    Ok(Stage { name, base, platform, base_name, span: Span::default(), body: &[], sources: Vec::new() })
}

fn sources(
    body: &[Located],
    here: usize,
    names: &[Option<String>],
    global: &Global,
    source: Source<'_>,
) -> Result<Vec<(FileSource, Span)>> {
    let mut found = Vec::new();
    let mut scope = Scope::default();
    for located in body {
        let faulty = |fault: Fault| fault.at(&source, located.span);
        match &located.instruction {
            Instruction::Arg(declarations) => {
                for declaration in declarations {
                    let default = declaration.default.as_deref();
                    let default = default.map(|raw| crate::expand::expand(raw, global.escape, &scope)).transpose();
                    let default = default.map_err(|error| faulty(error.into()))?.map(|expanded| expanded.text);
                    scope.declare(global, &declaration.name, default);
                }
            }
            Instruction::Copy(ast::Copy { from: Some(from), .. }) => {
                let from = expand_from(from, &scope, global).map_err(faulty)?;
                found.push((find_source(&from, here, names).map_err(faulty)?, located.span));
            }
            _ => {}
        }
    }
    Ok(found)
}

fn find_target(target: &str, names: &[Option<String>]) -> Result<usize> {
    let lower = target.to_lowercase();
    let by_name = names.iter().rposition(|name| name.as_deref() == Some(&lower));
    by_name.or_else(|| lower.parse().ok().filter(|number| *number < names.len())).ok_or_else(|| {
        let known: Vec<String> = names.iter().flatten().map(|name| format!("`{name}`")).collect();
        let known =
            if known.is_empty() { "no stage has a name".into() } else { format!("there are {}", known.join(", ")) };
        Error::Request(Fault::Invalid(format!("target stage `{target}` could not be found: {known}")))
    })
}

/// Walks from the target to all it needs, and refuses circles, which only `COPY --from` a later stage can make.
fn needed(all: &[Stage<'_>], target: usize, source: Source<'_>) -> Result<Vec<usize>> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        Open,
        Done,
    }
    let mut marks = vec![Mark::New; all.len()];
    let mut stack = vec![(target, false)];
    let mut order = Vec::new();
    while let Some((index, leaving)) = stack.pop() {
        if leaving {
            marks[index] = Mark::Done;
            order.push(index);
            continue;
        }
        match marks[index] {
            Mark::Done => continue,
            Mark::Open => {
                let fault = Fault::Invalid("stages depend on each other in a circle".into());
                return Err(fault.at(&source, all[index].span));
            }
            Mark::New => {}
        }
        marks[index] = Mark::Open;
        stack.push((index, true));
        let base = match all[index].base {
            Base::Stage(base) => Some(base),
            _ => None,
        };
        let copied = all[index].sources.iter().filter_map(|(source, _)| match source {
            FileSource::Stage(stage) => Some(*stage),
            FileSource::Image(_) => None,
        });
        // A stage that is open when it is met again is an ancestor; one that is only queued twice is not, and is done
        // by the time its second entry is taken.
        stack.extend(base.into_iter().chain(copied).map(|next| (next, false)));
    }
    Ok(order)
}
