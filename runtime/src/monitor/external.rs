//! An external OCI runtime (runc, crun, youki, runsc, …) through the command line they share.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use mica_engine::Kind;
use serde::Deserialize;

use crate::failure::{Failure, OrFail};
use crate::oci::{Bundle, OciRuntime, Stdio};

/// One container of an external runtime.
#[derive(Debug)]
pub struct External<'a> {
    bundle: Bundle<'a>,
    program: String,
    created: bool,
}

#[derive(Deserialize)]
struct LogLine {
    level: String,
    msg: String,
}

impl<'a> External<'a> {
    /// A container not yet made.
    pub fn new(bundle: Bundle<'a>, program: &str) -> Self {
        Self { bundle, program: program.to_owned(), created: false }
    }

    /// Runs a further process from a file with an OCI `process` object. Returns its id.
    pub fn exec(&self, process: &Path, stdio: Stdio<'_>) -> Result<i32, Failure> {
        let pid_file = process.with_extension("pid");
        let mut arguments = vec!["exec", "--detach"];
        let (process, pid_text) = (process.display().to_string(), pid_file.display().to_string());
        arguments.extend(["--process", process.as_str(), "--pid-file", pid_text.as_str()]);
        let result = self.run(&arguments, Some(stdio)).and_then(|()| read_pid(&pid_file));
        fs_err::remove_file(&pid_file).ok();
        result
    }

    fn run(&self, arguments: &[&str], stdio: Option<Stdio<'_>>) -> Result<(), Failure> {
        let log = self.bundle.run_dir.join(format!("oci-{}.log", std::process::id()));
        let mut command = Command::new(&self.program);
        // To runc a root whose user has no name is root of the machine, who has control groups in any case; with one it finds
        // out. The container's environment is that of its bundle.
        command.env("USER", "mica");
        command.arg("--root").arg(self.bundle.run_dir.join("oci"));
        command.arg("--log").arg(&log).args(["--log-format", "json"]).args(arguments);
        match stdio {
            Some(Stdio::Pipes(theirs)) => {
                command.stdin(theirs.stdin).stdout(theirs.stdout).stderr(theirs.stderr);
            }
            Some(Stdio::Console(socket)) => {
                command.arg("--console-socket").arg(socket);
            }
            None => {}
        }
        let status = command.arg(self.bundle.id).status();
        // The command holds the container's ends of the pipes, which would otherwise never end.
        drop(command);
        let said = fs_err::read_to_string(&log).unwrap_or_default();
        fs_err::remove_file(&log).ok();
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(refusal(&self.program, status, &said)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(Failure::new(Kind::Unsupported, format!("the OCI runtime `{}` is not installed", self.program)))
            }
            Err(error) => Err(Failure::caused(format!("cannot run the OCI runtime `{}`", self.program), &error)),
        }
    }
}

impl OciRuntime for External<'_> {
    fn create(&mut self, stdio: Stdio<'_>) -> Result<i32, Failure> {
        let pid_file = self.bundle.run_dir.join("pid");
        let (bundle, pid_text) = (self.bundle.path.display().to_string(), pid_file.display().to_string());
        self.created = true;
        self.run(&["create", "--bundle", &bundle, "--pid-file", &pid_text], Some(stdio))?;
        let pid = read_pid(&pid_file);
        fs_err::remove_file(&pid_file).ok();
        pid
    }

    fn start(&mut self) -> Result<(), Failure> {
        self.run(&["start"], None)
    }

    fn delete(&mut self) {
        if self.created && self.bundle.run_dir.join("oci").join(self.bundle.id).exists() {
            self.run(&["delete", "--force"], None).ok();
        }
        for path in [self.bundle.run_dir.join("oci"), self.bundle.run_dir.join("pid")] {
            fs_err::remove_dir_all(&path).or_else(|_| fs_err::remove_file(&path)).ok();
        }
    }
}

fn read_pid(path: &Path) -> Result<i32, Failure> {
    let text = fs_err::read_to_string(PathBuf::from(path)).or_fail(|| "the OCI runtime wrote no process id".into())?;
    text.trim().parse().or_fail(|| format!("`{}` holds no process id", path.display()))
}

/// What the runtime's log says, with the kinds of a missing and of a refused program told apart by their texts: the command
/// line has no other way to say it.
fn refusal(program: &str, status: ExitStatus, log: &str) -> Failure {
    let mut lines = log.lines().filter_map(|line| serde_json::from_str::<LogLine>(line).ok());
    let Some(said) = lines.rfind(|line| line.level == "error").map(|line| line.msg) else {
        return Failure::new(
            Kind::Internal,
            format!("the OCI runtime `{program}` failed ({status}) and logged no reason"),
        );
    };
    let Some(at) = said.find("exec: \"") else {
        return Failure::new(Kind::Internal, format!("{program}: {said}"));
    };
    let exec = said.get(at..).unwrap_or_default();
    let any = |texts: &[&str]| texts.iter().any(|text| exec.contains(text));
    let kind = if any(&["executable file not found", "no such file or directory"]) {
        Kind::CommandNotFound
    } else if any(&["permission denied", "is a directory", "exec format error"]) {
        Kind::NotExecutable
    } else {
        Kind::Internal
    };
    Failure::new(kind, exec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_have_kinds() {
        for (log, kind, message) in [
            (
                r#"{"level":"error","msg":"runc create failed: unable to start container process: exec: \"x\": executable file not found in $PATH"}"#,
                Kind::CommandNotFound,
                "exec: \"x\": executable file not found in $PATH",
            ),
            (
                r#"{"level":"error","msg":"unable to start container process: exec: \"/etc\": permission denied"}"#,
                Kind::NotExecutable,
                "exec: \"/etc\": permission denied",
            ),
            (r#"{"level":"error","msg":"cannot mount"}"#, Kind::Internal, "runc: cannot mount"),
            ("", Kind::Internal, "the OCI runtime `runc` failed (exit status: 0) and logged no reason"),
        ] {
            assert_eq!(refusal("runc", ExitStatus::default(), log), Failure::new(kind, message));
        }
    }
}
