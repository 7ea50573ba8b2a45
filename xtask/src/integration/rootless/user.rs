//! The user: who it is, what it has, and how it runs commands.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};

use anyhow::{Context, Result, ensure};

use crate::integration::network::ground::Ground;
use crate::{sh, workspace};

/// The user's ID and group.
pub const ID: u32 = 60_123;
/// The first subordinate ID, which is 1 in containers.
pub const SUBORDINATE: u32 = 2_000_000;
const NAME: &str = "mica-it";
/// What the user runs.
const PROGRAMS: [&str; 5] = ["mica", "mica-monitor", "mica-names", "mica-ports", "mica-holder"];
const DRIVERS: [&str; 2] = ["overlay", "vfs"];

/// A user of this machine for the time of the checks.
pub struct User {
    directory: PathBuf,
    neighbour: Child,
}

impl User {
    /// Makes the user, a copy of Mica, and an image.
    pub fn new() -> Result<Self> {
        // Checkouts may lie where only their owner may look.
        let directory = std::env::temp_dir().join(format!("mica-rootless-{}", std::process::id()));
        for folder in ["bin", "etc", "image"] {
            fs_err::create_dir_all(directory.join(folder))?;
        }
        fs_err::set_permissions(&directory, std::fs::Permissions::from_mode(0o755))?;
        let release = workspace::mica_binary()?;
        let release = release.parent().context("a binary without a directory")?;
        let drivers = DRIVERS.map(|driver| format!("libmica_storage_{driver}.so"));
        for file in PROGRAMS.iter().copied().chain(drivers.iter().map(String::as_str)) {
            fs_err::copy(release.join(file), directory.join("bin").join(file))?;
        }
        for folder in ["home", "run"] {
            let folder = directory.join(folder);
            fs_err::create_dir_all(&folder)?;
            fs_err::set_permissions(&folder, std::fs::Permissions::from_mode(0o700))?;
            chown(&folder, Some(ID), Some(ID))?;
        }
        accounts(&directory)?;
        tun(&directory)?;
        let image = Ground::image(&directory.join("image/root"))?;
        let neighbour = Ground::web_outside(&directory.join("image/root"))?;
        let user = Self { directory, neighbour };
        user.mica(&format!("import {} base", image.display()))?;
        Ok(user)
    }

    /// A file of the checks.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Runs `mica` as the user; it must succeed. Returns what it said.
    pub fn mica(&self, line: &str) -> Result<String> {
        sh::read(&mut self.command(&words(line)))
    }

    /// Runs a shell line in a container that goes away, and returns what it said.
    pub fn inside(&self, flags: &str, script: &str) -> Result<String> {
        let line = [words("run --rm"), words(flags), vec!["base", "sh", "-c", script]].concat();
        sh::read(&mut self.command(&line))
    }

    /// Runs `mica`, whatever comes of it.
    pub fn try_mica(&self, line: &str) -> Result<Output> {
        sh::output(&mut self.command(&words(line)))
    }

    /// Runs `mica`, which must be refused with this status and these words.
    pub fn refused(&self, status: i32, expected: &str, line: &str) -> Result<()> {
        let output = self.try_mica(line)?;
        let said = String::from_utf8_lossy(&output.stderr);
        let fits = output.status.code() == Some(status) && said.contains(expected);
        ensure!(fits, "`{line}` ended with {}: {said}", output.status);
        Ok(())
    }

    /// A `mica` command of the user's.
    pub fn command(&self, words: &[&str]) -> Command {
        let id = ID.to_string();
        let mut command = sh::command(&["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups", "--"]);
        command.arg(self.path("bin/mica")).args(words).env_clear().current_dir(self.path("home"));
        command.env("PATH", "/usr/bin:/bin").env("HOME", self.path("home")).env("USER", NAME);
        command.env("XDG_RUNTIME_DIR", self.path("run")).env("MICA_CONFIG", "/dev/null");
        command
    }

    /// Takes the subordinate IDs away while something is tried.
    pub fn without_ids<T>(&self, act: impl FnOnce() -> Result<T>) -> Result<T> {
        let file = self.path("etc/subuid");
        let text = fs_err::read(&file)?;
        fs_err::write(&file, "somebody:100000:65536\n")?;
        let done = act();
        fs_err::write(&file, text)?;
        done
    }

    /// The user's processes, by their command lines.
    pub fn processes() -> Result<Vec<String>> {
        let said = sh::read(&mut sh::command(&["ps", "-eo", "uid,stat,args", "--no-headers"]))?;
        let ours = |line: &str| {
            let mut fields = line.split_whitespace();
            let uid = fields.next()?.parse::<u32>().ok()?;
            let zombie = fields.next()?.starts_with('Z');
            let theirs = uid == ID || (SUBORDINATE..SUBORDINATE + 65_536).contains(&uid);
            (theirs && !zombie).then(|| fields.collect::<Vec<_>>().join(" "))
        };
        Ok(said.lines().filter_map(ours).collect())
    }

    /// After everything was removed nothing runs and nothing shows.
    pub fn is_bare(&self) -> Result<()> {
        self.mica("system prune -af --volumes")?;
        self.mica("system check")?;
        Ground::until("the namespaces have ended", || Ok(Self::processes()?.is_empty()))?;
        let run = self.path("run/mica");
        for file in ["namespaces.sock", "network.ns", "pasta.pid"] {
            ensure!(!run.join(file).exists(), "`{file}` is left");
        }
        let containers: Vec<_> = fs_err::read_dir(run.join("containers"))?.flatten().collect();
        ensure!(containers.is_empty(), "left: {containers:?}");
        Ok(())
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let _ = self.neighbour.kill();
        let _ = self.neighbour.wait();
        for line in User::processes().unwrap_or_default() {
            crate::output::line(format!("left running: {line}"));
        }
        let _ = sh::output(&mut sh::command(&["pkill", "-KILL", "-u", &ID.to_string()]));
        if let Err(error) = fs_err::remove_dir_all(&self.directory) {
            crate::output::error(&error.into());
        }
    }
}

/// The words of a line.
fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

/// Files that say who the user is.
fn accounts(directory: &Path) -> Result<()> {
    let home = directory.join("home");
    let passwd = format!("{NAME}:x:{ID}:{ID}::{}:/bin/sh\n", home.display());
    let range = format!("{NAME}:{SUBORDINATE}:65536\n");
    for (file, line) in
        [("passwd", passwd), ("group", format!("{NAME}:x:{ID}:\n")), ("subuid", range.clone()), ("subgid", range)]
    {
        let own = directory.join("etc").join(file);
        let machines = Path::new("/etc").join(file);
        let text = if file.starts_with("sub") { String::new() } else { fs_err::read_to_string(&machines)? };
        fs_err::write(&own, text + &line)?;
        if !machines.exists() {
            fs_err::write(&machines, "")?;
        }
        sh::run(sh::command(&["mount", "--bind"]).arg(&own).arg(&machines))?;
    }
    Ok(())
}

/// The device that `pasta` needs, open to everybody as udev has it. Machines without udev keep it to root.
fn tun(directory: &Path) -> Result<()> {
    let own = directory.join("etc/tun");
    sh::run(sh::command(&["mknod", "-m", "666"]).arg(&own).args(["c", "10", "200"]))?;
    sh::run(sh::command(&["mount", "--bind"]).arg(&own).arg("/dev/net/tun"))
}
