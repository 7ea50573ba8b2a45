//! Attacks on what reaches into a container: `cp`, `exec`, volumes, logs, and what is left afterwards.

use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::canary::Canary;
use super::image::Image;
use super::report::Report;
use crate::mica::Sandbox;
use crate::sh;

/// How often a race is run.
const ROUNDS: usize = 15;

/// All of them.
pub fn run(sandbox: &Sandbox, canary: &Canary, report: &mut Report) -> Result<()> {
    copies(sandbox, canary, report)?;
    streams(sandbox, canary, report)?;
    planted(sandbox, canary, report)?;
    swapped_mount_point(sandbox, canary, report)?;
    swapped_under_copies(sandbox, canary, report)?;
    long_line(sandbox, report)?;
    let left = sandbox.leftovers()?;
    let outcome = if left.is_empty() { Ok("nothing".into()) } else { Err(left.join("; ")) };
    report.outcome("left behind after everything", "nothing", outcome);
    Ok(())
}

/// CVE-2018-15664 and its kin: links of the container in the way of `cp`, standing still and racing.
fn copies(sandbox: &Sandbox, canary: &Canary, report: &mut Report) -> Result<()> {
    let mut image = Image::new()?;
    image.link("link", canary.path())?;
    image.link("file", &format!("{}/secret", canary.path()))?;
    image.load(sandbox, "links")?;
    let race = format!(
        "while :; do mkdir /d 2>/dev/null; echo own >/d/secret; rm -r /d; ln -s {} /d; rm /d; done",
        canary.path()
    );
    let id = sandbox.read(&["run", "-d", "--network", "none", "links", "sh", "-c", &race])?;
    let source = sandbox.path("source");
    fs_err::write(&source, "sent\n")?;
    let source = source.to_str().context("the path is UTF-8")?;
    let target = sandbox.path("target");
    for (item, from, to) in [
        ("cp out through a link", format!("{id}:/link/secret"), "-".to_owned()),
        ("cp out of a link to a file", format!("{id}:/file"), "-".to_owned()),
        ("cp -L out of a link to a file", format!("{id}:/file"), target.display().to_string()),
        ("cp in below a link", source.to_owned(), format!("{id}:/link/new")),
        ("cp in onto a link to a file", source.to_owned(), format!("{id}:/file")),
        ("cp in with ..", source.to_owned(), format!("{id}:/bin/../../../../{}/new", canary.path())),
    ] {
        let follow = if item.contains("-L") { &["cp", "-L"][..] } else { &["cp"] };
        let output = sandbox.output(&[follow, &[&from, &to]].concat())?;
        let mut verdict = canary.check(&output);
        if target.symlink_metadata().is_ok_and(|found| found.is_file()) {
            let copied = fs_err::read_to_string(&target)?;
            fs_err::remove_file(&target)?;
            if copied.contains("canary") {
                verdict = Err("the canary was copied".into());
            }
        }
        report.outcome(item, "nothing of the host", verdict.map(|()| format!("{}", output.status)));
    }
    let mut verdict = Ok(());
    for round in 0..ROUNDS {
        for args in [["cp", &format!("{id}:/d/secret"), "-"], ["cp", source, &format!("{id}:/d/new{round}")]] {
            let output = sandbox.output(&args)?;
            verdict = verdict.and_then(|()| canary.check(&output));
        }
    }
    report.outcome(
        "cp while a directory turns into a link",
        "nothing of the host",
        verdict.map(|()| format!("{ROUNDS} rounds")),
    );
    sandbox.read(&["rm", "-f", &id]).map(drop)
}

/// Archives into a container that are meant for the host.
fn streams(sandbox: &Sandbox, canary: &Canary, report: &mut Report) -> Result<()> {
    let id = sandbox.read(&["run", "-d", "--network", "none", "links", "sleep", "600"])?;
    let deep = format!("../../../../../../../..{}/new", canary.path());
    let absolute = format!("{}/new", canary.path());
    for (item, name, link, kind) in [
        ("tar in: ..", deep.as_str(), "", tar::EntryType::Regular),
        ("tar in: absolute", absolute.as_str(), "", tar::EntryType::Regular),
        ("tar in: through a link", "link/new", "", tar::EntryType::Regular),
        ("tar in: hard link to the host", "hard", &format!("{}/secret", canary.path()), tar::EntryType::Link),
        ("tar in: symbolic link, then through it", "sym", canary.path(), tar::EntryType::Symlink),
    ] {
        let mut archive = tar::Builder::new(Vec::new());
        let mut add = |name: &str, kind: tar::EntryType, link: &str, bytes: &[u8]| -> Result<()> {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_mode(0o644);
            header.set_size(bytes.len() as u64);
            // The library refuses such names, so they go into the header's bytes.
            let raw = header.as_gnu_mut().context("a GNU header")?;
            for (place, byte) in raw.name.iter_mut().zip(name.bytes()) {
                *place = byte;
            }
            for (place, byte) in raw.linkname.iter_mut().zip(link.bytes()) {
                *place = byte;
            }
            header.set_cksum();
            Ok(archive.append(&header, bytes)?)
        };
        let bytes: &[u8] = if kind == tar::EntryType::Regular { b"evil\n" } else { b"" };
        add(name, kind, link, bytes)?;
        if kind != tar::EntryType::Regular {
            add(&format!("{name}/new"), tar::EntryType::Regular, "", b"evil\n")?;
            add(name, tar::EntryType::Regular, "", b"evil\n")?;
        }
        let bytes = archive.into_inner()?;
        let mut child = sandbox
            .command(&["cp", "-", &format!("{id}:/tmp")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // A refusal closes the pipe early.
            drop(std::io::Write::write_all(&mut stdin, &bytes));
        }
        let output = child.wait_with_output()?;
        report.outcome(item, "nothing of the host", canary.check(&output).map(|()| output.status.to_string()));
    }
    sandbox.read(&["rm", "-f", &id]).map(drop)
}

/// CVE-2019-14271: programs and libraries of the container that tools of the host might run.
fn planted(sandbox: &Sandbox, canary: &Canary, report: &mut Report) -> Result<()> {
    let mark = sandbox.path("ran-on-the-host");
    let script = format!("#!/bin/sh\ntouch {}\n", mark.display());
    let mut image = Image::new()?;
    for name in ["tar", "gzip", "pigz", "unpigz", "xz", "zstd", "unzstd"] {
        image.file(&format!("bin/{name}"), &script)?;
        image.file(&format!("usr/bin/{name}"), &script)?;
    }
    for name in ["libnss_files.so.2", "libnss_dns.so.2"] {
        image.file(&format!("lib/x86_64-linux-gnu/{name}"), "not a library")?;
    }
    image.load(sandbox, "planted")?;
    let id = sandbox.read(&["run", "-d", "--network", "none", "planted", "sleep", "600"])?;
    let out = sandbox.path("copied-out");
    for args in [
        &["cp", &format!("{id}:/bin"), out.to_str().context("the path is UTF-8")?][..],
        &["exec", &id, "true"],
        &["commit", &id, "committed"],
        &["export", "-o", "/dev/null", &id],
        &["diff", &id],
    ] {
        sandbox.output(args)?;
    }
    let outcome = if mark.exists() { Err("it ran".into()) } else { canary.unchanged().map(|()| "it did not".into()) };
    report.outcome("planted programs run on the host", "it did not", outcome);
    sandbox.read(&["rm", "-f", &id])?;
    sandbox.read(&["rmi", "committed"]).map(drop)
}

/// CVE-2021-30465: the place of a mount is swapped for a link by another container that shares the volume.
fn swapped_mount_point(sandbox: &Sandbox, canary: &Canary, report: &mut Report) -> Result<()> {
    let shared = sandbox.path("shared");
    fs_err::create_dir_all(shared.join("target"))?;
    let volume = format!("{}:/v", shared.display());
    let swap =
        format!("cd /v; while :; do mv target t2; ln -s {} target; rm target; mv t2 target; done", canary.path());
    let id = sandbox.read(&["run", "-d", "--network", "none", "-v", &volume, "links", "sh", "-c", &swap])?;
    let mut verdict = Ok(());
    for _ in 0..ROUNDS {
        let args = [
            "run",
            "--rm",
            "--network",
            "none",
            "-v",
            &volume,
            "--tmpfs",
            "/v/target",
            "-w",
            "/v/target/made",
            "links",
            "touch",
            "/v/target/x",
        ];
        let output = sandbox.output(&args)?;
        verdict = verdict.and_then(|()| canary.check(&output));
    }
    sandbox.read(&["rm", "-f", &id])?;
    report.outcome(
        "a mount's place swapped for a link",
        "nothing of the host",
        verdict.map(|()| format!("{ROUNDS} rounds")),
    );
    Ok(())
}

/// CVE-2026-41568 and CVE-2026-42306: `cp` sees a container with its volumes, and the container swaps what is above the place
/// of one for a link to the host while that view is made.
fn swapped_under_copies(sandbox: &Sandbox, canary: &Canary, report: &mut Report) -> Result<()> {
    let volume = "swapped:/a/b/place";
    // Both of the path's parts that the container can rename, each with a link that would lead the place to the canary.
    let swap = format!(
        "ln -s {0} /to; while :; do mv /a /was; ln -s /to /a; rm /a; mv /was /a; \
         mv /a/b /a/was; ln -s {0} /a/b; rm /a/b; mv /a/was /a/b; done",
        canary.path()
    );
    let id = sandbox.read(&["run", "-d", "--network", "none", "-v", volume, "links", "sh", "-c", &swap])?;
    let source = sandbox.path("swapped-source");
    fs_err::create_dir_all(source.join("sub"))?;
    for name in ["new", "sub/file"] {
        fs_err::write(source.join(name), "sent\n")?;
    }
    let source = format!("{}/.", source.display());
    let target = sandbox.path("swapped-target");
    let before = fs_err::read_to_string("/proc/self/mountinfo")?;
    let (mut verdict, mut came_in, mut came_out) = (Ok(()), 0, 0);
    for _ in 0..ROUNDS * 2 {
        let (inside, out) = (format!("{id}:/a/b/place"), target.display().to_string());
        for args in [["cp", &source, &inside], ["cp", &inside, &out], ["cp", &format!("{id}:/a"), "-"]] {
            let output = sandbox.output(&args)?;
            let crashed = !matches!(output.status.code(), Some(0 | 1));
            verdict = verdict.and_then(|()| canary.check(&output));
            verdict = verdict.and_then(|()| if crashed { Err(format!("{output:?}")) } else { Ok(()) });
            came_in += usize::from(output.status.success() && args[1] == source);
            came_out += usize::from(output.status.success() && args[1] == inside);
        }
        if target.exists() {
            let stolen = sh::output(sh::command(&["grep", "-rqs", "canary"]).arg(&target))?.status.success();
            verdict = verdict.and_then(|()| if stolen { Err("the canary was copied".into()) } else { Ok(()) });
            fs_err::remove_dir_all(&target)?;
        }
    }
    let after = fs_err::read_to_string("/proc/self/mountinfo")?;
    verdict = verdict.and_then(|()| if before == after { Ok(()) } else { Err("a mount was left on the host".into()) });
    let shown = format!("{} rounds: {came_in} went in, {came_out} came out", ROUNDS * 2);
    report.outcome("cp while a volume's place is swapped", "nothing of the host", verdict.map(|()| shown));
    sandbox.read(&["rm", "-f", &id])?;
    sandbox.read(&["volume", "rm", "swapped"]).map(drop)
}

/// A line of 30 MB in the log, and what the monitor holds of it at its worst.
fn long_line(sandbox: &Sandbox, report: &mut Report) -> Result<()> {
    let id = sandbox.read(&[
        "run",
        "-d",
        "--network",
        "none",
        "links",
        "sh",
        "-c",
        "head -c 30000000 /dev/zero; echo; echo done; sleep 600",
    ])?;
    for _ in 0..600 {
        let output = Command::new("timeout")
            .arg("5")
            .arg(sandbox.command(&["logs", "--tail", "1", &id]).get_program())
            .args(sandbox.command(&["logs", "--tail", "1", &id]).get_args())
            .output()?;
        if String::from_utf8_lossy(&output.stdout).contains("done") {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let status = |pid: &str| fs_err::read_to_string(format!("/proc/{}/status", pid.trim()));
    let field = |text: &str, name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name).map(str::to_owned));
        line.unwrap_or_default().trim_start_matches(':').split_whitespace().next().unwrap_or_default().to_owned()
    };
    let first = status(&sandbox.read(&["inspect", "--format", "{{.State.Pid}}", &id])?)?;
    let monitor = status(&field(&first, "PPid"))?;
    let peak: u64 = field(&monitor, "VmHWM").parse().unwrap_or(u64::MAX);
    let shown = format!("{peak} kB");
    let outcome = if peak < 64 << 10 { Ok(shown) } else { Err(shown) };
    report.outcome("the monitor's memory after a line of 30 MB", "less than 64 MiB", outcome);
    sandbox.read(&["rm", "-f", &id]).map(drop)
}
