//! What of `/proc` and `/sys` a container may see and change, where a request differs from the default.

use serde::{Deserialize, Serialize};

use crate::{Error, Kind, Result};

/// Changes of what is hidden and what is read-only.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SystemPaths {
    /// Nothing is hidden or read-only.
    pub unconfined: bool,
    /// Paths to hide besides the default ones.
    pub mask: Vec<String>,
    /// Paths to leave as the kernel has them; a trailing `*` stands for everything below.
    pub unmask: Vec<String>,
    /// Options of the mount of `/proc`.
    pub proc_options: Vec<String>,
}

impl SystemPaths {
    /// `systempaths=unconfined`, `mask=`, `unmask=` and `proc-opts=` laid over a request. False when the key is another.
    pub fn apply(&mut self, key: &str, value: &str) -> Result<bool> {
        let invalid = || {
            Error::refused(
                Kind::InvalidInput,
                format!("invalid --security-opt: `{}`", format!("{key}={value}").escape_debug()),
            )
        };
        match key {
            "systempaths" if value == "unconfined" => self.unconfined = true,
            "mask" => self.mask.extend(paths(value).ok_or_else(invalid)?),
            "unmask" if value.eq_ignore_ascii_case("all") => self.unconfined = true,
            "unmask" => self.unmask.extend(paths(value).ok_or_else(invalid)?),
            "proc-opts" => {
                let options = value.split(',').map(str::to_owned).collect::<Vec<_>>();
                if !options.iter().all(|option| is_proc_option(option)) {
                    return Err(invalid());
                }
                self.proc_options.extend(options);
            }
            "systempaths" => return Err(invalid()),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The default paths less those that are laid open. A pattern opens what it names and what lies below.
    pub fn kept(&self, defaults: &[&str]) -> Vec<String> {
        if self.unconfined {
            return Vec::new();
        }
        let opened = |path: &str| {
            self.unmask.iter().any(|pattern| match pattern.strip_suffix('*') {
                Some(head) => path.starts_with(head),
                None => path == pattern,
            })
        };
        defaults.iter().filter(|path| !opened(path)).map(|path| (*path).to_owned()).collect()
    }
}

/// Absolute paths between colons.
fn paths(text: &str) -> Option<Vec<String>> {
    let found: Vec<String> = text.split(':').map(str::to_owned).collect();
    let fine = |path: &String| path.starts_with('/') && path.len() > 1 && !path.contains("..") && !path.contains('\0');
    found.iter().all(fine).then_some(found)
}

/// Options that only take something away (proc(5)).
fn is_proc_option(option: &str) -> bool {
    match option.split_once('=') {
        Some(("hidepid", value)) => ["0", "1", "2", "4", "off", "noaccess", "invisible", "ptraceable"].contains(&value),
        Some(("gid", value)) => value.parse::<u32>().is_ok(),
        Some(("subset", value)) => value == "pid",
        Some(_) => false,
        None => ["nosuid", "nodev", "noexec", "ro"].contains(&option),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_open_and_hide_paths() {
        let mut paths = SystemPaths::default();
        for (key, value) in
            [("mask", "/proc/a:/sys/b"), ("unmask", "/proc/kcore:/sys/dev*"), ("proc-opts", "hidepid=2,nosuid")]
        {
            assert!(paths.apply(key, value).unwrap());
        }
        assert_eq!(paths.mask, ["/proc/a", "/sys/b"]);
        assert_eq!(paths.kept(&["/proc/kcore", "/proc/keys", "/sys/devices/x"]), ["/proc/keys"]);
        assert_eq!(paths.proc_options, ["hidepid=2", "nosuid"]);
        for (key, value) in [("systempaths", "unconfined"), ("unmask", "ALL")] {
            let mut paths = SystemPaths::default();
            assert!(paths.apply(key, value).unwrap() && paths.unconfined);
            assert!(paths.kept(&["/proc/kcore"]).is_empty());
        }
        assert!(!paths.apply("seccomp", "x").unwrap());
        for (key, value) in [
            ("systempaths", ""),
            ("mask", ""),
            ("mask", "rel"),
            ("mask", "/"),
            ("unmask", "/proc/../x"),
            ("proc-opts", "exec"),
            ("proc-opts", "hidepid=9"),
            ("proc-opts", ""),
        ] {
            assert!(paths.apply(key, value).is_err(), "{key}={value}");
        }
    }
}
