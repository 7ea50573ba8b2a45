//! The commands that are struck, and what may be seen afterwards.

use std::path::Path;

use anyhow::Result;

use super::ground::Site;
use crate::servers::Registry;
use crate::sh;

/// How a command is repeated after it was struck.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// As it is.
    Same,
    /// As it is, unless its effect is there already.
    UnlessDone,
    /// After the container it makes has been removed, where it is there.
    AfterRemoving(&'static str),
}

/// What may be seen after a command was struck.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// All of it or nothing.
    Atomic,
    /// Each object's change or not: commands that work through a list.
    Each,
    /// All or nothing but for the state of this container, which may be in the middle of its life.
    Living(&'static str),
}

/// A command that is struck.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    pub name: &'static str,
    /// What is run before it, undisturbed.
    pub before: &'static [&'static [&'static str]],
    pub command: &'static [&'static str],
    pub effect: Effect,
    pub again: Again,
    /// Another command, and words that it says after this one was done.
    pub shows: Option<(&'static [&'static str], &'static str)>,
    /// True when it works on no prepared store but makes its own.
    pub fresh: bool,
    /// True when unpacked layers of the store are damaged before it.
    pub damaged: bool,
}

const fn case(name: &'static str, command: &'static [&'static str], effect: Effect, again: Again) -> Case {
    Case { name, before: &[], command, effect, again, shows: None, fresh: false, damaged: false }
}

const TRUE: &str = "/bin/true";
/// The file with the registry's name.
const REGISTRY: &str = "registry";
/// Runs until it is told to end.
const SLEEP: &[&str] = &["run", "-d", "--name", "sleeper", "base:1", "/bin/sleep", "1000"];

/// All of them. `@` stands for the directory with the harness's files, `REGISTRY` for the registry that has its images.
pub const CASES: &[Case] = &[
    case("load", &["load", "-q", "-i", "@/new.tar"], Effect::Atomic, Again::Same),
    case("pull", &["pull", "-q", "REGISTRY/new:1"], Effect::Atomic, Again::Same),
    case("import", &["import", "@/base.tar", "imported:1"], Effect::Atomic, Again::Same),
    case("build", &["build", "-q", "-t", "built:1", "@/context"], Effect::Atomic, Again::Same),
    case("commit", &["commit", "used", "committed:1"], Effect::Atomic, Again::Same),
    case("tag", &["tag", "two:1", "base:1"], Effect::Atomic, Again::Same),
    Case {
        // The volume is filled with what the image has there.
        shows: Some((&["cp", "box:/etc/issue", "-"], "hello")),
        ..case(
            "create",
            &["create", "--name", "box", "-v", "/etc", "two:1", TRUE],
            Effect::Atomic,
            Again::AfterRemoving("box"),
        )
    },
    case(
        "run",
        &["run", "--name", "box", "base:1", "/bin/touch", "/made"],
        Effect::Living("box"),
        Again::AfterRemoving("box"),
    ),
    case(
        "run-rm",
        &["run", "--rm", "--name", "box", "-v", "/data", "base:1", TRUE],
        Effect::Living("box"),
        Again::AfterRemoving("box"),
    ),
    case(
        "run-detached",
        &["run", "-d", "--rm", "--name", "box", "base:1", TRUE],
        Effect::Living("box"),
        Again::AfterRemoving("box"),
    ),
    Case {
        // Not a container of the prepared store: its copies would share a control group.
        before: &[&["create", "--name", "new", "base:1", TRUE]],
        ..case("start", &["start", "-a", "new"], Effect::Living("new"), Again::Same)
    },
    Case { before: &[SLEEP], ..case("stop", &["stop", "-t", "0", "sleeper"], Effect::Living("sleeper"), Again::Same) },
    Case {
        before: &[SLEEP],
        ..case("rm-force", &["rm", "-f", "-v", "sleeper"], Effect::Living("sleeper"), Again::UnlessDone)
    },
    case("cp", &["cp", "@/context/file", "used:/copied"], Effect::Atomic, Again::Same),
    case("rename", &["rename", "used", "renamed"], Effect::Atomic, Again::UnlessDone),
    case("rm", &["rm", "-v", "used"], Effect::Atomic, Again::UnlessDone),
    case("rmi", &["rmi", "spare:1"], Effect::Atomic, Again::UnlessDone),
    case("prune", &["system", "prune", "-a", "-f"], Effect::Each, Again::Same),
    Case {
        shows: Some((&["diff", "used"], "A /touched")),
        ..case("migrate", &["storage", "migrate", "--to", "vfs", "used", "two:1", "base:1"], Effect::Each, Again::Same)
    },
    Case { damaged: true, ..case("repair", &["system", "check", "--repair"], Effect::Atomic, Again::Same) },
    Case { fresh: true, ..case("first", &["load", "-q", "-i", "@/new.tar"], Effect::Atomic, Again::Same) },
];

/// A case's arguments with the harness's directory and registry put in.
pub fn words(command: &[&str], files: &Path) -> Vec<String> {
    let registry = || fs_err::read_to_string(files.join(REGISTRY)).unwrap_or_default();
    let word = |word: &&str| match word.strip_prefix("REGISTRY") {
        Some(rest) => format!("{}{rest}", registry()),
        None => word.replace('@', &files.display().to_string()),
    };
    command.iter().map(word).collect()
}

/// Makes the archives and the context that cases use, and the store that they are run on. The registry that comes back is
/// there for as long as cases are run.
pub fn prepare(files: &Path, scratch: &Site, template: &Site) -> Result<Registry> {
    base_archive(files)?;
    context(files, "context", "FROM base:1\nCOPY file /file\nRUN [\"/bin/touch\",\"/ran\"]\nENV A=b\n")?;
    context(files, "new", "FROM base:1\nCOPY file /new/file\nCOPY --chown=7:8 other /new/other\n")?;
    context(files, "two", "FROM base:1\nCOPY file /two/file\nRUN [\"/bin/rm\",\"/etc/motd\"]\n")?;
    context(files, "spare", "FROM two:1\nCOPY other /spare\nLABEL a=b\n")?;
    let base = words(&["import", "@/base.tar", "base:1"], files);
    scratch.read(&base)?;
    scratch.read(&words(&["build", "-q", "-t", "new:1", "@/new"], files))?;
    scratch.read(&words(&["save", "-o", "@/new.tar", "new:1"], files))?;
    let registry = published(files)?;
    scratch.discard()?;
    template.read(&base)?;
    for image in ["two", "spare"] {
        template.read(&words(&["build", "-q", "-t", &format!("{image}:1"), &format!("@/{image}")], files))?;
    }
    template.read(&["run", "--name", "used", "two:1", "/bin/touch", "/touched"])?;
    template.read(&["create", "--name", "fresh", "base:1", TRUE])?;
    // The directories of the driver that things are moved to are there before that, and stay.
    template.read(&words(&["import", "@/other.tar", "moved:1"], files))?;
    template.read(&["storage", "migrate", "--to", "vfs", "moved:1"])?;
    template.read(&["rmi", "moved:1"])?;
    // An image that has lost its name, for prune.
    template.read(&words(&["import", "@/other.tar", "lost:1"], files))?;
    template.read(&["tag", "two:1", "lost:1"])?;
    Ok(registry)
}

/// A registry that has the image which is loaded elsewhere.
fn published(files: &Path) -> Result<Registry> {
    let registry = Registry::start(&files.join("published"))?;
    let (from, to) =
        (format!("docker-archive:{}", files.join("new.tar").display()), format!("docker://{}/new:1", registry.host));
    sh::read(&mut sh::command(&["skopeo", "copy", "-q", "--insecure-policy", "--dest-tls-verify=false", &from, &to]))?;
    fs_err::write(files.join(REGISTRY), &registry.host)?;
    Ok(registry)
}

/// Changes a file of every unpacked layer that has it.
pub fn damage(site: &Site) -> Result<()> {
    for driver in fs_err::read_dir(site.root().join("drivers"))? {
        for layer in fs_err::read_dir(driver?.path().join("layers"))? {
            let (layer, file) = layer.map(|layer| (layer.path(), layer.path().join("etc/motd")))?;
            if !file.is_file() {
                continue;
            }
            if fs_err::write(&file, "hostile\n").is_err() {
                sh::read(sh::command(&["btrfs", "property", "set", "-f"]).arg(&layer).args(["ro", "false"]))?;
                fs_err::write(&file, "hostile\n")?;
            }
        }
    }
    Ok(())
}

fn context(files: &Path, name: &str, dockerfile: &str) -> Result<()> {
    let context = files.join(name);
    fs_err::create_dir_all(&context)?;
    fs_err::write(context.join("file"), name.repeat(1000))?;
    fs_err::write(context.join("other"), "other")?;
    Ok(fs_err::write(context.join("Dockerfile"), dockerfile)?)
}

/// A root file system of one program with a few names, and an archive of a file.
fn base_archive(files: &Path) -> Result<()> {
    let root = files.join("root");
    for directory in ["bin", "etc", "tmp"] {
        fs_err::create_dir_all(root.join(directory))?;
    }
    let busybox = sh::read(&mut sh::command(&["which", "busybox"]))?;
    fs_err::copy(busybox, root.join("bin/busybox"))?;
    for applet in ["true", "touch", "rm", "sleep"] {
        fs_err::os::unix::fs::symlink("busybox", root.join("bin").join(applet))?;
    }
    fs_err::write(root.join("etc/motd"), "hello\n")?;
    fs_err::hard_link(root.join("etc/motd"), root.join("etc/issue"))?;
    sh::read(sh::command(&["tar", "-cf"]).arg(files.join("base.tar")).arg("-C").arg(&root).arg("."))?;
    sh::read(sh::command(&["tar", "-cf"]).arg(files.join("other.tar")).arg("-C").arg(&root).arg("etc"))?;
    Ok(())
}
