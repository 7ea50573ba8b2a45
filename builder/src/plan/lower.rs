//! Stages and their base images to nodes: every word expanded, every instruction checked, nothing executed.

use std::collections::BTreeMap;

use mica_engine::build::{BuildRequest, Stack};
use mica_engine::image::{ContainerDefaults, ImageConfig};

use super::config::{Configuring, Words};
use super::stages::{Base, FileSource, Stages, expand_from, find_source};
use super::transfer::{self, Sources};
use super::{Bases, Node, NodeId, Plan, RunWork, Work};
use crate::error::{Fault, Result, Source};
use crate::expand::{Environment, expand};
use crate::platform::Platform;
use crate::scope::Global;
use crate::syntax::ast::{ArgDeclaration, Command, Instruction, Located, Run, Span};
use crate::syntax::{parse_instruction, print_instruction};

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Makes the plan.
pub(crate) fn lower(
    stages: &Stages<'_>,
    global: &Global,
    bases: &Bases,
    request: &BuildRequest,
    source: Source<'_>,
) -> Result<Plan> {
    let mut lowering = Lowering {
        stages,
        global,
        bases,
        request,
        source,
        nodes: Vec::new(),
        done: BTreeMap::new(),
        warnings: Vec::new(),
    };
    for index in &stages.needed {
        let done = lowering.stage(*index)?;
        lowering.done.insert(*index, done);
    }
    let Lowering { nodes, mut done, warnings, .. } = lowering;
    let Some(target) = done.remove(&stages.target) else {
        return Err(Fault::Invalid("the target stage is not part of its own plan".into()).at(&source, Span::default()));
    };
    let mut config = target.image;
    config.config = target.state.config;
    if !request.labels.is_empty() {
        config.config.labels.get_or_insert_default().extend(request.labels.clone());
    }
    Ok(Plan { nodes, result: target.last, config, warnings })
}

/// A stage that is lowered: what the stages after it take over.
struct Lowered {
    state: Configuring,
    /// The base image's config: history, platform, author.
    image: ImageConfig,
    last: NodeId,
}

struct Lowering<'a> {
    stages: &'a Stages<'a>,
    global: &'a Global,
    bases: &'a Bases,
    request: &'a BuildRequest,
    source: Source<'a>,
    nodes: Vec<Node>,
    done: BTreeMap<usize, Lowered>,
    warnings: Vec<String>,
}

/// The numbering of a stage's steps in their names.
struct Titles {
    label: String,
    total: usize,
    next: usize,
}

impl Titles {
    fn next(&mut self, text: &str) -> String {
        self.next += 1;
        let width = self.total.to_string().len();
        let text = text.lines().next().unwrap_or_default();
        format!("[{}{:>width$}/{}] {text}", self.label, self.next, self.total)
    }
}

impl Lowering<'_> {
    fn stage(&mut self, index: usize) -> Result<Lowered> {
        let (stages, source) = (self.stages, self.source);
        let stage = &stages.all[index];
        let faulty = |fault: Fault| fault.at(&source, stage.span);
        let (mut lowered, triggers) = self.base(index).map_err(faulty)?;
        let mut instructions = Vec::new();
        for text in &triggers {
            let instruction = parse_instruction(text, '\\').map_err(|error| {
                faulty(Fault::Invalid(format!("the base image's trigger `ONBUILD {text}` does not parse: {error}")))
            })?;
            if let Instruction::Copy(copy) = &instruction
                && copy.from.is_some()
            {
                return Err(faulty(Fault::Unsupported(format!(
                    "`--from` in the base image's trigger `ONBUILD {text}`"
                ))));
            }
            instructions.push(Located { span: stage.span, instruction });
        }
        instructions.extend_from_slice(stage.body);
        let has_base = matches!(stage.base, Base::Image(_));
        let counted = instructions.iter().filter(|located| is_counted(&located.instruction)).count();
        let mut titles = Titles { label: self.stages.label(index), total: counted + usize::from(has_base), next: 0 };
        if has_base {
            self.nodes[lowered.last].title = Some(titles.next(&format!("FROM {}", stage.base_name)));
        }
        for located in &instructions {
            let mut words = Words::default();
            let node = self
                .instruction(index, located, &mut lowered, &mut titles, &mut words)
                .map_err(|fault| fault.at(&self.source, located.span))?;
            for name in words.unset {
                let text = format!("UndefinedVar: `${name}` is used and nothing sets it");
                self.warnings.push(format!("{}:{}: {text}", self.source.name, located.span.start.line));
            }
            if let Some(node) = node {
                lowered.last = self.push(node);
            }
        }
        Ok(lowered)
    }

    /// What the stage starts from, and the triggers that come with it.
    fn base(&mut self, index: usize) -> Result<(Lowered, Vec<String>), Fault> {
        let stage = &self.stages.all[index];
        let platform = match (&stage.platform, &self.request.platform) {
            (Some(platform), _) => platform.clone(),
            (None, Some(text)) => Platform::parse(text).ok_or_else(|| {
                Fault::Invalid(format!("`{text}` is no platform: write `os/arch` or `os/arch/variant`"))
            })?,
            (None, None) => Platform::host(),
        };
        let (mut state, image, last) = match &stage.base {
            Base::Stage(base) => {
                let base = &self.done[base];
                (base.state.inherited(), base.image.clone(), base.last)
            }
            Base::Scratch => {
                let config = ContainerDefaults {
                    env: vec![format!("PATH={DEFAULT_PATH}")],
                    working_dir: "/".into(),
                    ..ContainerDefaults::default()
                };
                let image = ImageConfig {
                    architecture: platform.arch,
                    os: platform.os,
                    variant: Some(platform.variant).filter(|variant| !variant.is_empty()),
                    ..ImageConfig::default()
                };
                let last = self.push(node(stage.span, Work::Base(Stack::default())));
                (Configuring::new(config), image, last)
            }
            Base::Image(name) => {
                let key = (name.clone(), stage.platform.as_ref().map(ToString::to_string));
                let base = self.bases.get(&key).ok_or_else(|| Fault::Invalid(format!("`{name}` was not resolved")))?;
                let stack = Stack { diff_ids: base.config.rootfs.diff_ids.clone() };
                let last = self.push(node(stage.span, Work::Base(stack)));
                (Configuring::new(base.config.config.clone()), base.config.clone(), last)
            }
        };
        let triggers = state.config.on_build.take().unwrap_or_default();
        Ok((Lowered { state, image, last }, triggers))
    }

    fn push(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    fn instruction(
        &self,
        index: usize,
        located: &Located,
        lowered: &mut Lowered,
        titles: &mut Titles,
        words: &mut Words,
    ) -> Result<Option<Node>, Fault> {
        let escape = self.global.escape;
        let parent = Some(lowered.last);
        let state = &mut lowered.state;
        let printed = || print_instruction(&located.instruction, escape);
        let mut node = Node { parent, ..node(located.span, Work::Config) };
        match &located.instruction {
            Instruction::Arg(declarations) => node.history = Some(self.declare(state, declarations, words)?),
            Instruction::Run(run) => {
                let work = self.run(run, state)?;
                node.title = Some(titles.next(&printed()));
                let args = state.scope.visible_args();
                let count = if args.is_empty() { Vec::new() } else { vec![format!("|{}", args.len())] };
                let all: Vec<String> = count.into_iter().chain(args).chain(work.args.clone()).collect();
                node.history = Some(format!("RUN {} # buildkit", all.join(" ")));
                node.work = Work::Run(work);
            }
            Instruction::Copy(copy) => {
                let from = match &copy.from {
                    None => None,
                    Some(raw) => {
                        let names: Vec<_> = self.stages.all.iter().map(|stage| stage.name.clone()).collect();
                        Some(find_source(&expand_from(raw, &from_scope(state), self.global)?, index, &names)?)
                    }
                };
                let sources = match from {
                    None => Sources::Context,
                    Some(FileSource::Stage(stage)) => {
                        node.reads = self.done.get(&stage).map(|done| done.last);
                        Sources::Node
                    }
                    Some(FileSource::Image(name)) => {
                        let base = self.bases.get(&(name.clone(), None));
                        let base = base.ok_or_else(|| Fault::Invalid(format!("`{name}` was not resolved")))?;
                        Sources::Stack(Stack { diff_ids: base.config.rootfs.diff_ids.clone() })
                    }
                };
                let (work, history) = transfer::lower("COPY", &copy.transfer, sources, state, escape, words)?;
                node.title = Some(titles.next(&printed()));
                node.history = Some(history);
                node.work = Work::Copy(Box::new(work));
            }
            Instruction::Add(add) => {
                let (work, history) = transfer::lower_add(add, state, escape, words)?;
                node.title = Some(titles.next(&printed()));
                node.history = Some(history);
                node.work = Work::Copy(Box::new(work));
            }
            instruction => {
                node.history = state.apply(instruction, escape, words)?;
                match instruction {
                    Instruction::Workdir(_) => {
                        node.title = Some(titles.next(&printed()));
                        node.work = Work::Directory(state.config.working_dir.clone());
                    }
                    Instruction::Maintainer(name) => lowered.image.author = Some(name.clone()),
                    _ => {}
                }
            }
        }
        Ok(Some(node))
    }

    fn declare(
        &self,
        state: &mut Configuring,
        declarations: &[ArgDeclaration],
        words: &mut Words,
    ) -> Result<String, Fault> {
        // All defaults see the variables as they were before the instruction.
        let before = state.scope.clone();
        let mut history = "ARG".to_owned();
        for declaration in declarations {
            let default = match &declaration.default {
                Some(raw) => Some(words.note(expand(raw, self.global.escape, &before)?).text),
                None => None,
            };
            history.push_str(&format!(" {}", declaration.name));
            if let Some(value) = state.scope.declare(self.global, &declaration.name, default) {
                history.push_str(&format!("={value}"));
            }
        }
        Ok(history)
    }

    fn run(&self, run: &Run, state: &Configuring) -> Result<RunWork, Fault> {
        if !run.mounts.is_empty() {
            return Err(Fault::Unsupported("`RUN --mount`".into()));
        }
        if run.security.as_deref() == Some("insecure") {
            return Err(Fault::Unsupported("`RUN --security=insecure`".into()));
        }
        if !run.devices.is_empty() {
            return Err(Fault::Unsupported("`RUN --device`".into()));
        }
        let mut env = state.scope.env.clone();
        let has = |env: &[String], name: &str| {
            env.iter().any(|entry| entry.split_once('=').is_some_and(|(key, _)| key == name))
        };
        for (name, _) in &state.scope.args {
            if !has(&env, name)
                && let Some(value) = state.scope.get(name)
            {
                env.push(format!("{name}={value}"));
            }
        }
        if !has(&env, "PATH") {
            env.insert(0, format!("PATH={DEFAULT_PATH}"));
        }
        let proxies = self.global.proxies().filter(|(name, _)| !has(&env, name));
        let silent_env = proxies.map(|(name, value)| format!("{name}={value}")).collect();
        let network = match run.network.as_deref() {
            None | Some("default") => self.request.network.clone(),
            Some(network) => network.to_owned(),
        };
        Ok(RunWork {
            args: run_args(run, state)?,
            env,
            cwd: state.absolute("."),
            user: state.config.user.clone(),
            network,
            add_hosts: self.request.add_hosts.clone(),
            silent_env,
        })
    }
}

/// The argument vector, heredocs included: a command that is nothing but a heredoc is a script, otherwise the shell
/// gets the whole text and reads its heredocs itself.
fn run_args(run: &Run, state: &Configuring) -> Result<Vec<String>, Fault> {
    let (Command::Shell(text), false) = (&run.command, run.heredocs.is_empty()) else {
        return Ok(state.args(&run.command));
    };
    let alone = run.heredocs.len() == 1 && crate::syntax::heredoc::parse_word(text, '\\').is_some();
    let script = match alone {
        true if run.heredocs[0].text.starts_with("#!") => {
            return Err(Fault::Unsupported("`RUN` with a heredoc that names its interpreter (`#!`)".into()));
        }
        true => run.heredocs[0].content(),
        false => {
            let mut script = format!("{text}\n");
            for document in &run.heredocs {
                script.push_str(&format!("{}{}\n", document.text, document.name));
            }
            script
        }
    };
    Ok(state.args(&Command::Shell(script)))
}

/// `--from` sees arguments only, because stages are found before base images and their environment are known.
fn from_scope(state: &Configuring) -> crate::scope::Scope {
    crate::scope::Scope { args: state.scope.args.clone(), env: Vec::new() }
}

fn node(span: Span, work: Work) -> Node {
    Node { span, title: None, parent: None, reads: None, work, history: None }
}

fn is_counted(instruction: &Instruction) -> bool {
    matches!(instruction, Instruction::Add(_) | Instruction::Copy(_) | Instruction::Run(_) | Instruction::Workdir(_))
}
