//! `generate systemd`: units by which containers survive a restart of the machine.

use crate::args::generate::{GenerateCommand, Systemd};
use crate::context::Context;
use crate::output;

/// `generate …`.
pub(super) async fn run(context: &Context, command: &GenerateCommand) -> anyhow::Result<()> {
    match command {
        GenerateCommand::Systemd(args) => systemd(context, args).await,
    }
}

async fn systemd(context: &Context, args: &Systemd) -> anyhow::Result<()> {
    let engine = context.engine()?;
    let program = engine.options().self_command.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
    let root = engine.options().root.display().to_string();
    let unit = match &args.container {
        None => restarts(&program, &root),
        Some(container) => {
            let record = engine.container(container).await?.record;
            let patience = record.spec.stop_timeout.filter(|timeout| *timeout >= 0).unwrap_or(10);
            one(&program, &root, &record.name, &args.restart_policy, patience)
        }
    };
    output::raw(unit.as_bytes())
}

/// The unit for all. It has no process of its own; what it started lives in its control group, and ends with it at shutdown:
/// a monitor passes the signal on and starts nothing again.
fn restarts(program: &str, root: &str) -> String {
    format!(
        "[Unit]\n\
         Description=Containers with a restart policy\n\
         Documentation=man:mica-start(1)\n\
         After=network-online.target local-fs.target\n\
         Wants=network-online.target\n\
         RequiresMountsFor={root}\n\
         \n\
         [Service]\n\
         Type=oneshot\n\
         RemainAfterExit=yes\n\
         Delegate=yes\n\
         ExecStart={program} start --at-boot\n\
         TimeoutStartSec=0\n\
         TimeoutStopSec=20\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n"
    )
}

/// The unit of one container. systemd watches the client, which carries the output to the journal and exits as the
/// container does.
fn one(program: &str, root: &str, name: &str, policy: &str, patience: i64) -> String {
    let stop_timeout = patience.saturating_add(10);
    format!(
        "[Unit]\n\
         Description=Container {name}\n\
         Documentation=man:mica-start(1)\n\
         After=network-online.target local-fs.target\n\
         Wants=network-online.target\n\
         RequiresMountsFor={root}\n\
         \n\
         [Service]\n\
         Type=exec\n\
         Delegate=yes\n\
         ExecStart={program} start --attach {name}\n\
         ExecStop={program} stop -t {patience} {name}\n\
         ExecStopPost=-{program} stop -t {patience} {name}\n\
         Restart={policy}\n\
         TimeoutStartSec=0\n\
         TimeoutStopSec={stop_timeout}\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n"
    )
}

/// A word as systemd reads it (systemd.service(5), "Command lines").
fn quoted(word: &str) -> String {
    let word = word.replace('%', "%%").replace('$', "$$");
    let plain = word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-=:,+@%$".contains(&byte));
    if plain && !word.is_empty() {
        return word;
    }
    format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_reach_the_program_as_they_are() {
        for (word, wanted) in [
            ("/usr/bin/mica", "/usr/bin/mica"),
            ("--root=/a b", "\"--root=/a b\""),
            ("50%", "50%%"),
            ("$HOME", "$$HOME"),
            ("a\"b\\", "\"a\\\"b\\\\\""),
            ("", "\"\""),
        ] {
            assert_eq!(quoted(word), wanted, "{word}");
        }
    }

    #[test]
    fn units_have_what_systemd_asks_for() {
        let unit = one("/usr/bin/mica", "/var/lib/mica", "web", "on-failure", 10);
        assert!(unit.contains("\nExecStart=/usr/bin/mica start --attach web\n"), "{unit}");
        assert!(unit.contains("\nTimeoutStopSec=20\n") && unit.contains("\nRestart=on-failure\n"), "{unit}");
        let unit = restarts("/usr/bin/mica", "/var/lib/mica");
        assert!(unit.contains("\nExecStart=/usr/bin/mica start --at-boot\n"), "{unit}");
        assert!(unit.contains("\nRequiresMountsFor=/var/lib/mica\n"), "{unit}");
    }
}
