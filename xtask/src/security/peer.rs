//! The same look from a container of Docker's, side by side: what Docker forbids, Mica must forbid too.
//!
//! An item holds when Mica's answer is Docker's or a stricter one. Docker is the one of this system, with its defaults.

use std::path::Path;

use anyhow::{Context, Result, bail};

use super::isolation::{run_noisy, words};
use super::probe::{self, Facts};
use super::report::Report;
use crate::integration::Daemon;
use crate::mica::Sandbox;
use crate::{output, sh};

/// Compares two default containers, where there is a Docker to compare with.
pub fn run(sandbox: &Sandbox, probe: &Path, report: &mut Report) -> Result<()> {
    if !sh::exists("dockerd") && !Path::new("/usr/sbin/dockerd").exists() {
        if std::env::var_os("MICA_NO_SKIP").is_some() {
            bail!("there is no dockerd: run `cargo xtask setup`");
        }
        output::line("    skipped: there is no dockerd (`cargo xtask setup` installs it)");
        return Ok(());
    }
    let daemon = Daemon::start(sandbox)?;
    let archive = sandbox.path("for-docker.tar");
    let archive = archive.to_str().context("the path is UTF-8")?;
    sandbox.read(&["save", "-o", archive, "probe"])?;
    sh::read(&mut daemon.client(&["load", "-q", "-i", archive]))?;
    let host = probe::here(probe)?;
    let line = [&["run", "--rm", "--network", "none", "probe"], &words()[..]].concat();
    let docker = probe::facts(&mut daemon.client(&line))?;
    let mica = run_noisy(sandbox, &[])?;
    compare(&docker, &mica, &host, report);
    Ok(())
}

fn compare(docker: &Facts, mica: &Facts, host: &Facts, report: &mut Report) {
    let mut row = |item: &str, theirs: &str, ours: &str, holds: bool| {
        let ours = ours.to_owned();
        report.outcome(&format!("as docker: {item}"), theirs, if holds { Ok(ours) } else { Err(ours) });
    };
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        let name = format!("status.{set}");
        let bits = |facts: &Facts| u64::from_str_radix(facts.one(&name), 16).ok();
        let holds = bits(docker).zip(bits(mica)).is_some_and(|(theirs, ours)| ours & !theirs == 0);
        row(set, docker.one(&name), mica.one(&name), holds);
    }
    for field in ["Seccomp", "NoNewPrivs"] {
        let name = format!("status.{field}");
        let level = |facts: &Facts| facts.one(&name).parse::<u32>().ok();
        row(field, docker.one(&name), mica.one(&name), level(mica).is_some() && level(mica) >= level(docker));
    }
    for field in ["Uid", "Gid", "Groups"] {
        let name = format!("status.{field}");
        row(field, docker.one(&name), mica.one(&name), are_among(mica.one(&name), docker.one(&name)));
    }
    for name in ["fds", "dev"] {
        row(name, docker.one(name), mica.one(name), are_among(mica.one(name), docker.one(name)));
    }
    for (item, look) in [("calls refused", "call."), ("paths hidden", "hidden."), ("paths not written", "write.")] {
        for (name, theirs) in docker.under(look) {
            let ours = mica.one(&format!("{look}{name}"));
            row(&format!("{item}: {name}"), theirs, ours, !is_closed(look, theirs) || is_closed(look, ours));
        }
    }
    let own = |facts: &Facts, name: &str| if facts.one(name) == host.one(name) { "the host's" } else { "its own" };
    for kind in ["mnt", "pid", "net", "ipc", "uts", "user", "cgroup"] {
        let name = format!("ns.{kind}");
        let (theirs, ours) = (own(docker, &name), own(mica, &name));
        row(&format!("{kind} namespace"), theirs, ours, theirs == "the host's" || ours == "its own");
    }
    for (place, theirs) in flags(docker) {
        // What only Docker mounts gives nothing away.
        if let Some((_, ours)) = flags(mica).into_iter().find(|(known, _)| *known == place) {
            row(&format!("flags of {place}"), &theirs, &ours, are_among(&theirs, &ours));
        }
    }
}

/// Whether an answer of the probe means that something is out of reach. Of system calls, 1 and 38 (`ENOSYS`) are the filter's
/// words; other errors come from arguments that are wrong on purpose.
fn is_closed(look: &str, answer: &str) -> bool {
    match look {
        "call." => matches!(answer, "1" | "38"),
        "hidden." => matches!(answer, "absent" | "0 bytes" | "0 entries"),
        _ => answer != "0",
    }
}

/// True when every word of the first text is one of the second's.
fn are_among(few: &str, many: &str) -> bool {
    few.split_whitespace().all(|word| many.split_whitespace().any(|other| other == word))
}

/// The restrictions of each mount; the last one at a place is the one that is seen. An empty file system that nobody can write
/// into, as hides what is below it, has all of them.
fn flags(facts: &Facts) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for line in facts.all("mount") {
        let mut fields = line.split(' ').skip(4);
        let (Some(place), Some(options)) = (fields.next(), fields.next()) else { continue };
        let strict = ["ro", "nosuid", "nodev", "noexec"];
        let is_mask = line.contains(" - tmpfs ") && options.split(',').any(|option| option == "ro");
        let kept: Vec<&str> =
            strict.into_iter().filter(|word| is_mask || options.split(',').any(|option| option == *word)).collect();
        found.retain(|(known, _)| known != place);
        found.push((place.to_owned(), kept.join(" ")));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weaker_answers_fail_and_stricter_ones_do_not() {
        let facts = |capabilities: &str, call: &str, mount: &str| {
            let lines = [
                format!("status.CapEff\t{capabilities}"),
                format!("call.bpf\t{call}"),
                "hidden./proc/kcore\tabsent".to_owned(),
                "write./proc/x\t30".to_owned(),
                "fds\t0 1 2".to_owned(),
                format!("mount\t1 2 0:3 / /sys {mount} - sysfs sysfs rw"),
            ];
            Facts::parse(&lines.join("\n"))
        };
        let docker = facts("0f", "1", "ro,nosuid,relatime");
        let failed = |mica: &Facts| {
            let mut report = Report::default();
            compare(&docker, mica, &Facts::default(), &mut report);
            // What the facts of this test leave out is no answer, and so no good one.
            let told = ["CapEff", "bpf", "kcore", "/proc/x", "fds", "/sys"];
            report.failed().iter().filter(|item| told.iter().any(|word| item.contains(word))).count()
        };
        assert_eq!(failed(&facts("0f", "1", "ro,nosuid,relatime")), 0);
        assert_eq!(failed(&facts("01", "38", "ro,nosuid,noexec")), 0);
        assert_eq!(failed(&facts("1f", "22", "rw,nosuid")), 3);
        let mask = Facts::parse("mount\t1 2 0:3 / /sys ro,relatime - tmpfs tmpfs rw");
        assert_eq!(flags(&mask), [("/sys".to_owned(), "ro nosuid nodev noexec".to_owned())]);
    }
}
