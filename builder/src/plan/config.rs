//! Instructions that change an image's config, applied to it: the same for a build and for `commit --change`.

use std::collections::BTreeMap;

use mica_engine::image::ContainerDefaults;
use serde_json::{Map, Value, json};

use crate::duration;
use crate::error::Fault;
use crate::expand::{Environment, expand};
use crate::scope::Scope;
use crate::syntax::ast::{Command, HealthTest, Healthcheck, Instruction, Pairs};

const DEFAULT_SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// A config that instructions change, and what they must remember of each other.
#[derive(Debug, Clone, Default)]
pub(crate) struct Configuring {
    pub config: ContainerDefaults,
    pub scope: Scope,
    /// Whether CMD was set here and not by the base image: ENTRYPOINT drops the latter.
    cmd_is_own: bool,
}

impl Configuring {
    pub fn new(config: ContainerDefaults) -> Self {
        let scope = Scope { args: Vec::new(), env: config.env.clone() };
        Self { config, scope, cmd_is_own: false }
    }

    /// The state a stage has that starts from another one.
    pub fn inherited(&self) -> Self {
        Self { cmd_is_own: false, ..self.clone() }
    }

    /// The argument vector of a command.
    pub fn args(&self, command: &Command) -> Vec<String> {
        match command {
            Command::Exec(args) => args.clone(),
            Command::Shell(text) => self.shell().into_iter().chain([text.clone()]).collect(),
        }
    }

    /// The shell of the shell form.
    pub fn shell(&self) -> Vec<String> {
        match &self.config.shell {
            Some(shell) if !shell.is_empty() => shell.clone(),
            _ => DEFAULT_SHELL.map(str::to_owned).to_vec(),
        }
    }

    /// An absolute path, cleaned, taken from the working directory when it is relative.
    pub fn absolute(&self, path: &str) -> String {
        let base = if self.config.working_dir.is_empty() { "/" } else { &self.config.working_dir };
        match path.starts_with('/') {
            true => crate::ignore::clean(path),
            false => crate::ignore::clean(&format!("/{base}/{path}")),
        }
    }

    /// Applies an instruction and returns its history entry, or `None` for instructions that do more than that.
    pub fn apply(
        &mut self,
        instruction: &Instruction,
        escape: char,
        words: &mut Words,
    ) -> Result<Option<String>, Fault> {
        let config = &mut self.config;
        let history = match instruction {
            Instruction::Cmd(command) => {
                let args = self.args(command);
                self.cmd_is_own = true;
                let text = format!("CMD {}", quoted(&args));
                self.config.cmd = Some(args);
                text
            }
            Instruction::Entrypoint(command) => {
                let args = self.args(command);
                let text = format!("ENTRYPOINT {}", quoted(&args));
                self.config.entrypoint = Some(args);
                if !self.cmd_is_own {
                    self.config.cmd = None;
                }
                text
            }
            Instruction::Env(pairs) => {
                let pairs = expanded_pairs(pairs, escape, &self.scope, words)?;
                for (name, value) in &pairs {
                    self.scope.set_env(name, value);
                }
                config.env = self.scope.env.clone();
                format!("ENV {}", joined(&pairs))
            }
            Instruction::Label(pairs) => {
                let pairs = expanded_pairs(pairs, escape, &self.scope, words)?;
                let text = format!("LABEL {}", joined(&pairs));
                config.labels.get_or_insert_default().extend(pairs);
                text
            }
            Instruction::Expose(ports) => {
                let mut all = Vec::new();
                for raw in ports {
                    let expanded = words.note(expand(raw, escape, &self.scope)?);
                    for word in &expanded.words {
                        all.extend(exposed(word)?);
                    }
                }
                all.sort();
                all.dedup();
                let shown: Vec<String> = all.iter().map(|port| format!("{port}:{{}}")).collect();
                config.exposed_ports.get_or_insert_default().extend(all.into_iter().map(|port| (port, json!({}))));
                format!("EXPOSE map[{}]", shown.join(" "))
            }
            Instruction::Healthcheck(check) => {
                let value = self.health(check);
                let text = format!("HEALTHCHECK {}", shown_health(check, &value));
                self.config.healthcheck = Some(value);
                text
            }
            Instruction::Maintainer(name) => format!("MAINTAINER {name}"),
            Instruction::Onbuild(onbuild) => {
                config.on_build.get_or_insert_default().push(onbuild.text.clone());
                format!("ONBUILD {}", onbuild.text)
            }
            Instruction::Shell(shell) => {
                config.shell = Some(shell.clone());
                format!("SHELL [{}]", shell.join(" "))
            }
            Instruction::Stopsignal(raw) => {
                let signal = words.note(expand(raw, escape, &self.scope)?).text;
                let known = signal.strip_prefix("SIG").unwrap_or(&signal);
                if known.is_empty() || !known.chars().all(|c| c.is_ascii_alphanumeric() || c == '+' || c == '-') {
                    return Err(Fault::Invalid(format!("`{signal}` is no signal")));
                }
                config.stop_signal = Some(signal.clone());
                format!("STOPSIGNAL {signal}")
            }
            Instruction::User(raw) => {
                let user = words.note(expand(raw, escape, &self.scope)?).text;
                if user.is_empty() {
                    return Err(Fault::Invalid(format!("`USER {raw}` is empty")));
                }
                config.user = user.clone();
                format!("USER {user}")
            }
            Instruction::Volume(paths) => {
                let mut all = Vec::new();
                for raw in paths {
                    let path = words.note(expand(raw, escape, &self.scope)?).text;
                    if path.trim().is_empty() {
                        return Err(Fault::Invalid("a volume's path is empty".into()));
                    }
                    all.push(path);
                }
                let text = format!("VOLUME [{}]", all.join(" "));
                config.volumes.get_or_insert_default().extend(all.into_iter().map(|path| (path, json!({}))));
                text
            }
            Instruction::Workdir(raw) => {
                let path = words.note(expand(raw, escape, &self.scope)?).text;
                if path.is_empty() {
                    return Err(Fault::Invalid(format!("`WORKDIR {raw}` is empty")));
                }
                let path = self.absolute(&path);
                self.config.working_dir = path.clone();
                format!("WORKDIR {path}")
            }
            Instruction::Add(_)
            | Instruction::Arg(_)
            | Instruction::Copy(_)
            | Instruction::From(_)
            | Instruction::Run(_) => {
                return Ok(None);
            }
        };
        Ok(Some(history))
    }

    fn health(&self, check: &Healthcheck) -> Value {
        let Healthcheck::Test(test) = check else { return json!({ "Test": ["NONE"] }) };
        let command = match &test.command {
            Command::Exec(args) => ["CMD".to_owned()].into_iter().chain(args.clone()).collect::<Vec<_>>(),
            Command::Shell(text) => vec!["CMD-SHELL".to_owned(), text.clone()],
        };
        let mut value = Map::new();
        value.insert("Test".into(), json!(command));
        for (name, nanoseconds) in timing(test) {
            value.insert(name.into(), json!(nanoseconds));
        }
        if let Some(retries) = test.retries.filter(|retries| *retries > 0) {
            value.insert("Retries".into(), json!(retries));
        }
        Value::Object(value)
    }
}

/// What expansion remarked on.
#[derive(Debug, Default)]
pub(crate) struct Words {
    /// Names that were used and are not set.
    pub unset: std::collections::BTreeSet<String>,
}

impl Words {
    /// Keeps the remarks of an expansion.
    pub fn note(&mut self, mut expanded: crate::expand::Expanded) -> crate::expand::Expanded {
        self.unset.append(&mut expanded.unset);
        expanded
    }
}

/// Go's `%q` of a list of strings, as histories show commands.
pub(crate) fn quoted(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| Value::from(word.as_str()).to_string()).collect();
    format!("[{}]", words.join(" "))
}

fn expanded_pairs(
    pairs: &Pairs,
    escape: char,
    scope: &dyn Environment,
    words: &mut Words,
) -> Result<Vec<(String, String)>, Fault> {
    let mut all = Vec::new();
    for (name, value) in &pairs.pairs {
        let name = words.note(expand(name, escape, scope)?).text;
        if name.is_empty() {
            return Err(Fault::Invalid("a name is empty".into()));
        }
        all.push((name, words.note(expand(value, escape, scope)?).text));
    }
    Ok(all)
}

fn joined(pairs: &[(String, String)]) -> String {
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
}

/// `80`, `80/udp`, `8000-8002/tcp`, each port on its own.
fn exposed(word: &str) -> Result<Vec<String>, Fault> {
    let wrong = || Fault::Invalid(format!("`{word}` is no port: write `80`, `80/udp` or `8000-8010`"));
    let (ports, protocol) = word.split_once('/').unwrap_or((word, "tcp"));
    let protocol = protocol.to_lowercase();
    if !["tcp", "udp", "sctp"].contains(&protocol.as_str()) {
        return Err(wrong());
    }
    let (low, high) = ports.split_once('-').unwrap_or((ports, ports));
    let (low, high): (u16, u16) = (low.parse().map_err(|_| wrong())?, high.parse().map_err(|_| wrong())?);
    if low > high {
        return Err(wrong());
    }
    Ok((low..=high).map(|port| format!("{port}/{protocol}")).collect())
}

fn timing(test: &HealthTest) -> BTreeMap<&'static str, i64> {
    let all = [
        ("Interval", &test.interval),
        ("Timeout", &test.timeout),
        ("StartPeriod", &test.start_period),
        ("StartInterval", &test.start_interval),
    ];
    let known = all.into_iter().filter_map(|(name, text)| Some((name, duration::nanoseconds(text.as_ref()?)?)));
    known.filter(|(_, nanoseconds)| *nanoseconds > 0).collect()
}

/// Go's `%q` of the health check's struct, which is what docker's histories have.
fn shown_health(check: &Healthcheck, value: &Value) -> String {
    let test: Vec<String> = serde_json::from_value(value["Test"].clone()).unwrap_or_default();
    let times = match check {
        Healthcheck::None => BTreeMap::new(),
        Healthcheck::Test(test) => timing(test),
    };
    let time = |name| format!("{:?}", duration::print(times.get(name).copied().unwrap_or(0)));
    let retries = char::from_u32(value["Retries"].as_u64().unwrap_or(0) as u32).unwrap_or_default();
    let retries = match retries {
        '\0' => "'\\x00'".to_owned(),
        c if c.is_ascii_control() => format!("'\\x{:02x}'", c as u32),
        c => format!("'{c}'"),
    };
    let times = ["Interval", "Timeout", "StartPeriod", "StartInterval"].map(time).join(" ");
    format!("&{{{} {times} {retries}}}", quoted(&test))
}
