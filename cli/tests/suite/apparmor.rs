//! AppArmor: the profile that containers get where the kernel has it (`cargo xtask vm` has such a guest), and what it forbids
//! where nothing else does.

use std::path::Path;

use crate::support::{Store, until};

/// The kernel's list of profiles, which needs securityfs to be mounted.
const PROFILES: &str = "/sys/kernel/security/apparmor/profiles";

fn is_loaded() -> bool {
    fs_err::read_to_string(PROFILES).is_ok_and(|list| list.lines().any(|line| line == "mica-default (enforce)"))
}

fn unload() {
    if is_loaded() {
        fs_err::write("/sys/kernel/security/apparmor/.remove", "mica-default").expect("unloaded");
    }
}

#[test]
fn privileged_containers_are_confined_by_a_profile_of_micas() {
    let Some(store) = Store::with_base() else { return };
    if !Path::new(PROFILES).exists() {
        // `cargo xtask vm` has such a kernel. This one's containers have no profile, and nothing says that they have one.
        store.background(&["--name", "cc", "base", "sleep", "600"]);
        return assert_eq!(store.mica(&["inspect", "-f", "<{{.AppArmorProfile}}>", "cc"]).ok(), "<>");
    }
    let show = ["base", "cat", "/proc/self/attr/apparmor/current"];
    let label = |flags: &[&str]| store.mica(&[&["run", "--rm"], flags, &show[..]].concat()).ok();
    unload();
    assert_eq!(label(&[]), "mica-default (enforce)");
    assert!(is_loaded());
    // It may go at any time, and is there again for the next one.
    unload();
    for (flags, expected) in [
        (&[][..], "mica-default (enforce)"),
        (&["--runtime", "runc"], "mica-default (enforce)"),
        (&["--security-opt", "apparmor=mica-default"], "mica-default (enforce)"),
        (&["--security-opt", "apparmor=unconfined"], "unconfined"),
        (&["--privileged"], "unconfined"),
        (&["--privileged", "--security-opt", "apparmor=mica-default"], "mica-default (enforce)"),
    ] {
        assert_eq!(label(flags), expected, "{flags:?}");
    }
    store.mica(&["run", "--rm", "--security-opt", "apparmor=nonesuch", "base", "true"]).fails(125, "");
    // With the capability and without the filter it is only the profile that forbids to mount and to write into /proc/sys.
    let bare =
        ["--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined", "--security-opt", "systempaths=unconfined"];
    let script = "mount -t tmpfs none /tmp 2>/dev/null && echo mounted || echo refused; \
                  (echo x >/proc/sysrq-trigger) 2>/dev/null && echo wrote || echo refused; \
                  (echo 1 >/proc/sys/vm/laptop_mode) 2>/dev/null && echo wrote || echo refused";
    let tried =
        |more: &[&str]| store.mica(&[&["run", "--rm"][..], &bare, more, &["base", "sh", "-c", script]].concat()).ok();
    assert_eq!(tried(&[]), "refused\nrefused\nrefused");
    assert!(tried(&["--security-opt", "apparmor=unconfined"]).starts_with("mounted\n"));
    // Ordinary life goes on below it: signals, `exec`, `ps`, an end that is asked for.
    let trap = "trap 'echo ended; exit 7' TERM; echo up; while :; do sleep 0.1; done";
    store.background(&["--name", "cc", "base", "sh", "-c", trap]);
    until("the container to be up", || store.mica(&["logs", "cc"]).stdout == "up\n");
    assert_eq!(store.mica(&["inspect", "-f", "{{.AppArmorProfile}}", "cc"]).ok(), "mica-default");
    assert_eq!(store.mica(&[&["exec", "cc"], &show[1..]].concat()).ok(), "mica-default (enforce)");
    assert_eq!(store.mica(&[&["exec", "--privileged", "cc"], &show[1..]].concat()).ok(), "unconfined");
    store.mica(&["exec", "cc", "sh", "-c", "sleep 600 & kill $!; wait; ps"]).ok();
    store.mica(&["stop", "cc"]).ok();
    assert_eq!(store.mica(&["wait", "cc"]).ok(), "7");
    let containerfile = store.path("Containerfile");
    fs_err::write(&containerfile, "FROM base\nRUN cat /proc/self/attr/apparmor/current >/label\n").expect("a file");
    store.mica(&["build", "-q", "-t", "built", "-f", containerfile.to_str().expect("text"), "."]).ok();
    assert_eq!(store.mica(&["run", "--rm", "built", "cat", "/label"]).ok(), "mica-default (enforce)");
}
