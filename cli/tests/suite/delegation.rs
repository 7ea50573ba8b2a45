//! Control groups of a user without privileges, which systemd gives where there is one hierarchy for everything. In the guest of
//! `cargo xtask vm` alone, because it makes a user and has systemd start what a login starts.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Done, Store, base_archive, finish, skip, until};

const USER: &str = "mica-groups";

/// A user with a service manager, and the programs where the user may run them.
struct User {
    runtime: String,
    programs: PathBuf,
}

impl User {
    fn new(programs: PathBuf) -> Self {
        let run = |words: &[&str]| {
            let mut command = Command::new(words[0]);
            command.args(&words[1..]);
            finish(command, b"").ok()
        };
        run(&["useradd", "-m", USER]);
        let id = run(&["id", "-u", USER]);
        run(&["systemctl", "start", &format!("user@{id}.service")]);
        let built = Path::new(env!("CARGO_BIN_EXE_mica")).parent().expect("a target folder");
        fs_err::create_dir(&programs).expect("a folder");
        for name in ["mica", "mica-holder", "mica-monitor", "libmica_storage_overlay.so"] {
            fs_err::copy(built.join(name), programs.join(name)).expect(name);
        }
        Self { runtime: format!("/run/user/{id}"), programs }
    }

    fn shell(&self, script: &str) -> Done {
        let mut command = Command::new("runuser");
        command.args(["-u", USER, "--", "env", "-i", &format!("HOME=/home/{USER}")]);
        command.arg(format!("PATH={}:/usr/bin:/bin", self.programs.display()));
        command.arg(format!("XDG_RUNTIME_DIR={}", self.runtime));
        command.args(["MICA_NETWORK=none", "sh", "-c", &format!("cd && {script}")]);
        finish(command, b"")
    }
}

#[test]
fn privileged_users_have_limits_where_systemd_gives_them_groups() {
    if std::env::var_os("MICA_TEST_GUEST").is_none() || !Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        return skip("not in the guest of `cargo xtask vm`, or not with version 2");
    }
    let Some(store) = Store::privileged() else { return };
    fs_err::set_permissions(store.path(""), std::fs::Permissions::from_mode(0o755)).expect("open to all");
    let archive = store.path("base.tar");
    base_archive(&archive);
    let user = User::new(store.path("bin"));
    user.shell(&format!("mica import {} base", archive.display())).ok();
    let shown = "cd /sys/fs/cgroup; cat memory.max cpu.max pids.max; cat /proc/self/cgroup";
    let limited = user.shell(&format!("mica run --rm -m 64m --cpus 0.5 --pids-limit 50 base sh -c '{shown}'"));
    assert!(limited.stderr.is_empty(), "{limited:#?}");
    assert_eq!(limited.ok(), "67108864\n50000 100000\n50\n0::/");
    // One line of 40 MB is more than there may be.
    let hungry =
        "mica run --rm -m 16m base sh -c 'head -c 40000000 /dev/zero | busybox tail -n 1 > /dev/null; exit $?'";
    assert_eq!(user.shell(hungry).code, 137);
    user.shell("mica run -d --name cc -m 32m base sleep 600").ok();
    user.shell("mica pause cc").ok();
    assert!(user.shell("mica ps").ok().contains("(Paused)"));
    user.shell("mica unpause cc && mica update -m 48m --memory-swap 96m cc").ok();
    assert_eq!(user.shell("mica exec cc cat /sys/fs/cgroup/memory.max /proc/self/cgroup").ok(), "50331648\n0::/");
    assert!(user.shell("mica stats --no-stream --format {{.MemUsage}} cc").ok().ends_with("/ 48MiB"));
    // Whoever follows a holder that was killed takes its scope over.
    user.shell("pkill -9 -x mica-holder").ok();
    assert_eq!(user.shell("mica exec cc cat /proc/self/cgroup").ok(), "0::/");
    user.shell("mica pause cc && mica rm -f cc").ok();
    assert_eq!(user.shell("mica run --rm -m 20m base cat /sys/fs/cgroup/memory.max").ok(), "20971520");
    let scopes = || user.shell("systemctl --user --no-legend --plain list-units 'mica-holder-*'").ok();
    assert_eq!(scopes().lines().count(), 1, "{}", scopes());
    until("the scope to go with the last command", || scopes().is_empty());
    // Without a manager there are no groups, and everything else goes on.
    let alone = user.shell("unset XDG_RUNTIME_DIR; mica --run-root ~/run run --rm -m 64m base cat /proc/self/cgroup");
    assert!(alone.code == 0 && alone.stderr.contains("Limitation discarded"), "{alone:#?}");
}
