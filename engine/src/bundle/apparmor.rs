//! AppArmor: which profile a process gets, and the text of the one that is Mica's.
//!
//! It forbids what Docker's default profile forbids. The other walls (capabilities, the filter of system calls, read-only and
//! hidden paths) do not depend on it; where a kernel has AppArmor it stands behind them.

use crate::container::ContainerSpec;

/// Mica's own profile.
pub const DEFAULT: &str = "mica-default";
/// The word for none.
pub const UNCONFINED: &str = "unconfined";

/// The profile of a container's processes; `None` leaves it to the kernel, which is no profile. `privileged` is true for a
/// privileged `exec` too, `in_use` where containers get a profile unless they ask for none.
pub fn profile(spec: &ContainerSpec, privileged: bool, in_use: bool) -> Option<String> {
    match &spec.apparmor {
        Some(name) if name == UNCONFINED => in_use.then(|| UNCONFINED.to_owned()),
        Some(name) => Some(name.clone()),
        None if !in_use => None,
        None if privileged => Some(UNCONFINED.to_owned()),
        None => Some(DEFAULT.to_owned()),
    }
}

/// What of `/etc/apparmor.d` the text can build on, and who starts containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Around {
    /// `tunables/global` is there.
    pub tunables: bool,
    /// `abstractions/base` is there.
    pub base: bool,
    /// The profile that Mica itself runs under.
    pub own: String,
}

/// The text of [`DEFAULT`] for `apparmor_parser` (apparmor.d(5)).
pub fn text(around: &Around) -> String {
    let tunables = if around.tunables { "#include <tunables/global>" } else { "@{PROC}=/proc/" };
    let base = if around.base { "#include <abstractions/base>" } else { "" };
    let own = match around.own.as_str() {
        UNCONFINED => String::new(),
        own => format!("signal (receive) peer=\"{own}\","),
    };
    format!(
        "{tunables}

profile {DEFAULT} flags=(attach_disconnected,mediate_deleted) {{
  {base}

  # Everything that is not named below is for the other walls of a container to decide.
  network,
  capability,
  file,
  umount,

  # Whoever stops a container may send it signals: Mica, the runtimes, root of the host. Processes of containers reach only
  # each other.
  signal (receive) peer={UNCONFINED},
  signal (receive) peer=runc,
  signal (receive) peer=crun,
  {own}
  signal (send, receive) peer={DEFAULT},

  # Files of the kernel's own in /proc, but not those of processes (their names are numbers) nor /proc/sys.
  deny @{{PROC}}/* w,
  deny @{{PROC}}/{{[^1-9],[^1-9][^0-9],[^1-9s][^0-9y][^0-9s],[^1-9][^0-9][^0-9][^0-9/]*}}/** w,
  # Of /proc/sys nothing outside of kernel, and of that only the settings of shared memory, which belong to a namespace.
  deny @{{PROC}}/sys/[^k]** w,
  deny @{{PROC}}/sys/kernel/{{?,??,[^s][^h][^m]**}} w,
  deny @{{PROC}}/sysrq-trigger rwklx,
  deny @{{PROC}}/kcore rwklx,

  deny mount,

  # /sys but for the control groups.
  deny /sys/[^f]*/** wklx,
  deny /sys/f[^s]*/** wklx,
  deny /sys/fs/[^c]*/** wklx,
  deny /sys/fs/c[^g]*/** wklx,
  deny /sys/fs/cg[^r]*/** wklx,
  deny /sys/firmware/** rwklx,
  deny /sys/devices/virtual/powercap/** rwklx,
  deny /sys/kernel/security/** rwklx,

  # Debuggers and `ps` work among the processes of containers.
  ptrace (trace, read, tracedby, readby) peer={DEFAULT},
}}
"
    )
}

/// True when the kernel's list of profiles (`/sys/kernel/security/apparmor/profiles`) has one of this name.
pub fn is_listed(list: &str, name: &str) -> bool {
    list.lines().any(|line| line.rsplit_once(" (").is_some_and(|(listed, _)| listed == name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_gets_which_profile() {
        let asked = |name: Option<&str>| ContainerSpec { apparmor: name.map(str::to_owned), ..Default::default() };
        for (name, privileged, has, expected) in [
            (None, false, true, Some("mica-default")),
            (None, true, true, Some("unconfined")),
            (None, false, false, None),
            (None, true, false, None),
            (Some("unconfined"), false, true, Some("unconfined")),
            (Some("unconfined"), false, false, None),
            (Some("mine"), false, true, Some("mine")),
            // One that was asked for by name holds for a privileged container too.
            (Some("mine"), true, true, Some("mine")),
        ] {
            assert_eq!(profile(&asked(name), privileged, has).as_deref(), expected, "{name:?} {privileged} {has}");
        }
    }

    #[test]
    fn the_text_fits_what_is_around() {
        let whole = text(&Around { tunables: true, base: true, own: "micad".into() });
        for line in [
            "#include <tunables/global>",
            "#include <abstractions/base>",
            "profile mica-default flags=(attach_disconnected,mediate_deleted) {",
            "signal (receive) peer=\"micad\",",
            "signal (send, receive) peer=mica-default,",
            "deny @{PROC}/sysrq-trigger rwklx,",
            "deny @{PROC}/{[^1-9],[^1-9][^0-9],[^1-9s][^0-9y][^0-9s],[^1-9][^0-9][^0-9][^0-9/]*}/** w,",
            "deny mount,",
        ] {
            assert!(whole.lines().any(|own| own.trim() == line), "{line}\n{whole}");
        }
        let bare = text(&Around { tunables: false, base: false, own: UNCONFINED.into() });
        assert!(bare.starts_with("@{PROC}=/proc/\n") && !bare.contains("#include"), "{bare}");
        assert_eq!(bare.matches("peer=unconfined").count(), 1);
        assert_eq!(bare.matches('{').count(), bare.matches('}').count());
    }

    #[test]
    fn the_list_of_the_kernel_is_read_by_whole_names() {
        let list = "docker-default (enforce)\nmica-default-old (complain)\n/usr/bin/man (enforce)\n";
        assert!(is_listed(list, "docker-default") && is_listed(list, "/usr/bin/man"));
        assert!(!is_listed(list, DEFAULT) && !is_listed(list, "docker"));
    }
}
