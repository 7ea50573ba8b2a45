//! Images and requests that attack the runtime: each class of security.md's runtime section that made a CVE somewhere.

use std::process::Output;

use anyhow::Result;
use serde_json::json;

use super::canary::Canary;
use super::image::Image;
use super::report::Report;
use crate::mica::Sandbox;

/// What must become of a run.
enum Wanted<'a> {
    /// Refused, whatever the reason.
    Refused,
    /// Refused, or it prints this.
    Prints(&'a str),
    /// Anything that leaves the canary alone.
    Anything,
}

struct Attack<'a> {
    sandbox: &'a Sandbox,
    canary: &'a Canary,
    report: &'a mut Report,
}

/// All of them.
pub fn run(sandbox: &Sandbox, canary: &Canary, report: &mut Report) -> Result<()> {
    let mut attack = Attack { sandbox, canary, report };
    attack.links()?;
    attack.directories()?;
    attack.users()?;
    attack.environment()?;
    attack.requests()?;
    attack.executables()
}

impl Attack<'_> {
    fn run(&mut self, item: &str, args: &[&str], wanted: Wanted<'_>) -> Result<()> {
        let limited = [&["run", "--rm", "--network", "none"], args].concat();
        let output = self.within_time(&limited)?;
        self.judge(item, &output, wanted);
        Ok(())
    }

    /// A command that may not take longer than 30 seconds.
    fn within_time(&self, args: &[&str]) -> Result<Output> {
        let inner = self.sandbox.command(args);
        let mut command = crate::sh::command(&["timeout", "30"]);
        command.arg(inner.get_program()).args(inner.get_args());
        crate::sh::output(&mut command)
    }

    fn judge(&mut self, item: &str, output: &Output, wanted: Wanted<'_>) {
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let code = output.status.code();
        let shown = match code {
            Some(0) => format!("ran: {said}"),
            Some(code) => format!("{code}: {}", String::from_utf8_lossy(&output.stderr).trim()),
            None => "killed".into(),
        };
        let (expected, fine) = match wanted {
            Wanted::Refused => ("refused".to_owned(), code != Some(0)),
            Wanted::Prints(text) => (format!("refused or `{text}`"), code != Some(0) || said == text),
            Wanted::Anything => ("nothing on the host".to_owned(), true),
        };
        let crashed = code == Some(101) || code == Some(124) || code.is_none();
        let outcome = match self.canary.check(output) {
            Err(hole) => Err(hole),
            Ok(()) if fine && !crashed => Ok(shown),
            Ok(()) => Err(shown),
        };
        self.report.outcome(item, &expected, outcome);
    }

    /// Links of the image where the runtime mounts and makes nodes.
    fn links(&mut self) -> Result<()> {
        let to = self.canary.path().to_owned();
        for name in ["proc", "sys", "dev", "etc"] {
            let mut image = Image::new()?;
            image.link(name, &to)?;
            if image.load(self.sandbox, "linked")? {
                self.run(
                    &format!("/{name} of the image is a link to the host"),
                    &["linked", "ls", "/"],
                    Wanted::Anything,
                )?;
                self.run(&format!("/{name} is a link, with a terminal"), &["-t", "linked", "true"], Wanted::Anything)?;
            }
        }
        for name in
            ["dev/pts", "dev/shm", "dev/mqueue", "dev/console", "etc/hosts", "etc/resolv.conf", "sys/fs", "proc/sys"]
        {
            let mut image = Image::new()?;
            image.link(name, &format!("{to}/sub"))?;
            if image.load(self.sandbox, "linked")? {
                self.run(&format!("/{name} of the image is a link"), &["-t", "linked", "true"], Wanted::Anything)?;
            }
        }
        // CVE-2025-31133 and CVE-2025-52565: what masks paths and what becomes the console is the attacker's.
        let hostile = self.sandbox.path("hostile-dev");
        fs_err::create_dir_all(&hostile)?;
        for name in ["null", "console", "pts", "ptmx", "tty"] {
            std::os::unix::fs::symlink("/proc/sys/kernel/core_pattern", hostile.join(name))?;
        }
        let volume = format!("{}:/dev", hostile.display());
        let look = "cat /proc/self/mountinfo | grep -c core_pattern; true";
        Image::new()?.load(self.sandbox, "plain")?;
        for terminal in [&["-v", volume.as_str()][..], &["-t", "-v", volume.as_str()]] {
            let args = [terminal, &["plain", "sh", "-c", look]].concat();
            self.run("a volume on /dev with links for devices", &args, Wanted::Prints("0"))?;
        }
        Ok(())
    }

    /// Working directories and volumes below links, and through descriptors.
    fn directories(&mut self) -> Result<()> {
        let to = self.canary.path().to_owned();
        for number in 3..14 {
            let directory = format!("/proc/self/fd/{number}");
            self.run(
                &format!("-w {directory}"),
                &["-w", &directory, "plain", "cat", "../../../etc/shadow"],
                Wanted::Refused,
            )?;
        }
        let id = self.sandbox.read(&["run", "-d", "--network", "none", "plain", "sleep", "600"])?;
        for number in [3, 5, 7, 8, 9] {
            let directory = format!("/proc/self/fd/{number}");
            let output = self.within_time(&["exec", "-w", &directory, &id, "cat", "../../../etc/shadow"])?;
            self.judge(&format!("exec -w {directory}"), &output, Wanted::Refused);
        }
        self.sandbox.read(&["rm", "-f", &id])?;
        let mut image = Image::new()?;
        image.link("w", "/proc/self/fd/7")?;
        image.link("link", &to)?;
        image.says("WorkingDir", json!("/w/x")).load(self.sandbox, "workdir")?;
        self.run("WORKDIR is a link to a descriptor", &["workdir", "pwd"], Wanted::Anything)?;
        self.run("WORKDIR below a link to the host", &["-w", "/link/new", "workdir", "pwd"], Wanted::Anything)?;
        self.run("a volume below a link to the host", &["-v", "/link/vol", "workdir", "true"], Wanted::Anything)?;
        for volume in ["/link/volume", "../../../../link", "/..", "/proc", "/proc/self/attr"] {
            let mut image = Image::new()?;
            image.link("link", &to)?;
            if image.says("Volumes", json!({ volume: {} })).load(self.sandbox, "volumes")? {
                self.run(&format!("VOLUME {volume}"), &["volumes", "ls", "/proc/self"], Wanted::Anything)?;
            }
        }
        for target in ["/proc", "/proc/self/attr", "/proc/sys", "/proc/1/../sys/kernel", "/"] {
            let volume = format!("{to}:{target}");
            self.run(&format!("-v onto {target}"), &["-v", &volume, "plain", "true"], Wanted::Refused)?;
        }
        Ok(())
    }

    /// Users that are to become root, and files that are no files.
    fn users(&mut self) -> Result<()> {
        for user in
            ["4294967296", "4294967295", "-1", "0x0", "+0", "\u{ff10}", "2147483648", "evil", " 0", "1000:4294967296"]
        {
            let mut image = Image::new()?;
            image.file("etc/passwd", "root:x:0:0::/:/bin/sh\nhuge:x:4294967296:0::/:\n")?;
            if image.says("User", json!(user)).load(self.sandbox, "user")? {
                self.run(&format!("USER {}", user.escape_debug()), &["user", "id", "-u"], Wanted::Refused)?;
            }
        }
        let mut image = Image::new()?;
        image.file("etc/passwd", "1000:x:0:0::/:/bin/sh\nroot:x:0:0::/:/bin/sh\nmember:x:1001:1001::/:\n")?;
        image.file("etc/group", "root:x:0:member\n1000:x:0:\n")?;
        image.load(self.sandbox, "named")?;
        self.run("a user named by a number", &["-u", "1000:1000", "named", "id", "-u"], Wanted::Prints("1000"))?;
        self.run("its groups", &["-u", "1001:1001", "named", "id", "-G"], Wanted::Prints("1001"))?;
        for file in ["etc/passwd", "etc/group"] {
            let mut image = Image::new()?;
            image.entry(file, tar::EntryType::Fifo, 0o644, b"")?;
            image.load(self.sandbox, "fifo")?;
            self.run(&format!("/{file} is a FIFO"), &["-u", "evil:evil", "fifo", "id"], Wanted::Refused)?;
            let mut image = Image::new()?;
            image.link(file, &format!("{}/passwd", self.canary.path()))?;
            image.load(self.sandbox, "away")?;
            self.run(&format!("/{file} is a link to the host"), &["-u", "evil", "away", "id"], Wanted::Refused)?;
        }
        self.sandbox.read(&[
            "run",
            "--name",
            "huge",
            "--network",
            "none",
            "plain",
            "sh",
            "-c",
            "mkdir -p /etc; truncate -s 512M /etc/passwd",
        ])?;
        let output = self.within_time(&["start", "-a", "huge"])?;
        self.judge("/etc/passwd of 512 MiB", &output, Wanted::Refused);
        self.sandbox.read(&["rm", "huge"]).map(drop)
    }

    /// Names without values, line breaks, and labels that are instructions elsewhere.
    fn environment(&mut self) -> Result<()> {
        let env = json!(["PATH=/bin", "MICA_CANARY_SECRET", "*", "=x", "HOME=/x\nroot::0:0::/:/bin/sh"]);
        let labels = json!({
            "run.oci.hooks.stage": "x", "io.podman.annotations.privileged": "TRUE", "run.oci.keep_original_groups": "1",
            "org.criu.config": "/etc/shadow", "io.kubernetes.cri-o.userns-mode": "host", "io.containers.capabilities": "SYS_ADMIN",
        });
        let mut image = Image::new()?;
        image.file("etc/passwd", "root:x:0:0::/root:/bin/sh\n")?;
        image.says("Env", env).says("Labels", labels).load(self.sandbox, "env")?;
        let mut command = self.sandbox.command(&["run", "--rm", "--network", "none", "env", "env"]);
        command.env("MICA_CANARY_SECRET", "canary-4f1d7e-secret");
        let output = crate::sh::output(&mut command)?;
        self.judge("Env entries without a value", &output, Wanted::Anything);
        self.run("a line break in HOME", &["env", "grep", "-c", "", "/etc/passwd"], Wanted::Prints("1"))?;
        let caps = ["env", "grep", "CapEff", "/proc/self/status"];
        self.run("labels that ask for privileges", &caps, Wanted::Prints("CapEff:\t00000000a80425fb"))
    }

    /// Requests with more in them than they say.
    fn requests(&mut self) -> Result<()> {
        for sysctl in [
            "kernel.core_pattern=x",
            "kernel.shmmax=1+kernel.core_pattern=x",
            "net./../kernel/core_pattern=x",
            "vm.swappiness=1",
            "net.core.somaxconn=1\nkernel.core_pattern=x",
        ] {
            self.run(
                &format!("--sysctl {}", sysctl.escape_debug()),
                &["--sysctl", sysctl, "plain", "true"],
                Wanted::Refused,
            )?;
        }
        let output = self.sandbox.output(&["run", "--rm", "--network", "host", "plain", "cat", "/proc/net/unix"])?;
        let said = String::from_utf8_lossy(&output.stdout);
        let ours = said.lines().filter(|line| line.contains("@mica") || line.contains("@youki")).count();
        self.report.equal("abstract sockets of ours on the host's network", "0", ours.to_string());
        Ok(())
    }

    /// CVE-2019-5736: programs that are the runtime's own, and a container that writes to every executable it can see.
    fn executables(&mut self) -> Result<()> {
        let monitor = crate::workspace::mica_binary()?.with_file_name("mica-monitor");
        let before = fs_err::read(&monitor)?;
        let mut image = Image::new()?;
        image.file("script", "#!/proc/self/exe\n")?;
        image.load(self.sandbox, "own")?;
        self.run("the program is /proc/self/exe", &["own", "/proc/self/exe"], Wanted::Anything)?;
        self.run("the program's interpreter is /proc/self/exe", &["own", "/script"], Wanted::Anything)?;
        let write = "while :; do for exe in /proc/[0-9]*/exe; do (: >>$exe) 2>/dev/null; done; done";
        let id = self.sandbox.read(&[
            "run",
            "-d",
            "--cap-add",
            "SYS_PTRACE",
            "--network",
            "none",
            "plain",
            "sh",
            "-c",
            write,
        ])?;
        for _ in 0..10 {
            self.sandbox.output(&["exec", &id, "true"])?;
        }
        self.sandbox.read(&["rm", "-f", &id])?;
        let unchanged = fs_err::read(&monitor)? == before;
        let outcome = if unchanged { Ok("as before".into()) } else { Err("overwritten".into()) };
        self.report.outcome("the monitor's file after 10 execs", "as before", outcome);
        Ok(())
    }
}
