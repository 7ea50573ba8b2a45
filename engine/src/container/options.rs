//! Option strings as Docker writes them, one pure function each: `-v`, `--tmpfs`, `--ulimit`, `--device`, sizes and so on.

use std::path::{Path, PathBuf};

use super::spec::{
    ContainerSpec, DeviceSpec, LogDriver, MountSource, MountSpec, Propagation, SeccompChoice, TmpfsSpec, Ulimit,
};
use crate::{Error, Kind, Result};

/// `-v [SOURCE:]TARGET[:OPTIONS]`. A source with a slash is a path of the host and must be absolute: what it is relative
/// to is the caller's to know.
pub fn parse_volume(text: &str) -> Result<MountSpec> {
    let fields: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match fields.as_slice() {
        [target] => (None, *target, ""),
        [source, target] => (Some(*source), *target, ""),
        [source, target, options] => (Some(*source), *target, *options),
        _ => return Err(invalid(format!("invalid volume specification: `{text}`: too many colons"))),
    };
    if source == Some("") || target.is_empty() {
        return Err(invalid(format!("invalid volume specification: `{text}`: empty section between colons")));
    }
    check_target(text, target)?;
    let source = match source {
        None => MountSource::Volume { name: None },
        Some(path) if path.starts_with('/') => MountSource::Bind { path: PathBuf::from(path), create: true },
        Some(path) if path.contains('/') || path == "." || path == ".." => {
            return Err(invalid(format!(
                "invalid volume specification: `{text}`: the source `{path}` is not absolute"
            )));
        }
        Some(name) => MountSource::Volume { name: Some(volume_name(name)?) },
    };
    let mut mount = MountSpec { source, target: target.into(), read_only: false, propagation: None, no_copy: false };
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => mount.read_only = true,
            "rw" => mount.read_only = false,
            "nocopy" if matches!(mount.source, MountSource::Volume { .. }) => mount.no_copy = true,
            // Labels of SELinux, which is not in use where Mica runs; Docker too ignores them then.
            "z" | "Z" | "consistent" | "cached" | "delegated" => {}
            word => match propagation(word) {
                Some(value) if matches!(mount.source, MountSource::Bind { .. }) => mount.propagation = Some(value),
                _ => return Err(invalid(format!("invalid volume specification: `{text}`: invalid mode `{word}`"))),
            },
        }
    }
    Ok(mount)
}

/// `--tmpfs TARGET[:OPTIONS]`.
pub fn parse_tmpfs(text: &str) -> Result<TmpfsSpec> {
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    check_target(text, target)?;
    let options: Vec<String> = options.split(',').filter(|option| !option.is_empty()).map(str::to_owned).collect();
    for option in &options {
        let (key, value) = option.split_once('=').map_or((option.as_str(), None), |(key, value)| (key, Some(value)));
        let fine = match key {
            "ro" | "rw" | "exec" | "noexec" | "suid" | "nosuid" | "dev" | "nodev" | "noatime" | "relatime" => {
                value.is_none()
            }
            "size" | "nr_blocks" | "nr_inodes" => value.is_some_and(|v| v.starts_with(|c: char| c.is_ascii_digit())),
            "mode" => value.is_some_and(|v| u32::from_str_radix(v, 8).is_ok_and(|mode| mode <= 0o7777)),
            "uid" | "gid" => value.is_some_and(|v| v.parse::<u32>().is_ok()),
            _ => false,
        };
        if !fine {
            return Err(invalid(format!("invalid tmpfs option `{option}` in `{text}`")));
        }
    }
    Ok(TmpfsSpec { target: target.into(), options })
}

/// `--ulimit NAME=SOFT[:HARD]`; -1 is unlimited.
pub fn parse_ulimit(text: &str) -> Result<Ulimit> {
    const NAMES: [&str; 16] = [
        "as",
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
    ];
    let wrong = || invalid(format!("invalid ulimit argument: `{text}`"));
    let (name, limits) = text.split_once('=').ok_or_else(wrong)?;
    if !NAMES.contains(&name) {
        return Err(invalid(format!("invalid ulimit type: `{name}`")));
    }
    let number = |limit: &str| match limit {
        "-1" | "unlimited" => Ok(u64::MAX),
        limit => limit.parse::<u64>().map_err(|_| wrong()),
    };
    let (soft, hard) = match limits.split_once(':') {
        Some((soft, hard)) => (number(soft)?, number(hard)?),
        None => (number(limits)?, number(limits)?),
    };
    if soft > hard {
        return Err(invalid(format!("ulimit soft limit must be less than or equal to hard limit: `{text}`")));
    }
    Ok(Ulimit { name: name.into(), soft, hard })
}

/// `--device SOURCE[:TARGET][:ACCESS]`.
pub fn parse_device(text: &str) -> Result<DeviceSpec> {
    let is_access = |field: &str| !field.is_empty() && field.chars().all(|c| "rwm".contains(c));
    let fields: Vec<&str> = text.split(':').collect();
    let (source, target, access) = match fields.as_slice() {
        [source] => (*source, *source, "rwm"),
        [source, access] if is_access(access) => (*source, *source, *access),
        [source, target] => (*source, *target, "rwm"),
        [source, target, access] if is_access(access) => (*source, *target, *access),
        _ => return Err(invalid(format!("invalid device specification: `{text}`"))),
    };
    if !source.starts_with('/') {
        return Err(invalid(format!("invalid device specification: `{text}`: `{source}` is not an absolute path")));
    }
    check_target(text, target)?;
    Ok(DeviceSpec { source: source.into(), target: target.into(), access: access.into() })
}

/// A size in bytes with an optional unit: `64m`, `1.5g`, `512KiB`, `100`. Units are binary, as Docker reads memory.
pub fn parse_size(text: &str) -> Result<u64> {
    let wrong = || invalid(format!("invalid size: `{text}`"));
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let shift = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        "p" | "pb" | "pib" => 50,
        _ => return Err(wrong()),
    };
    let bytes = number * (1u64 << shift) as f64;
    if bytes >= i64::MAX as f64 { Err(wrong()) } else { Ok(bytes as u64) }
}

/// `--cpus 1.5` in thousandths of a processor.
pub fn parse_cpus(text: &str) -> Result<u64> {
    match text.parse::<f64>() {
        Ok(cpus) if (0.01..=8192.0).contains(&cpus) => Ok((cpus * 1000.0).round() as u64),
        _ => Err(invalid(format!("invalid number of processors: `{text}`"))),
    }
}

/// `--add-host NAME:ADDRESS` (or `NAME=ADDRESS`) as `NAME:ADDRESS`.
pub fn parse_add_host(text: &str) -> Result<String> {
    let wrong = || invalid(format!("bad format for add-host: `{text}`"));
    let (name, address) = text.split_once(['=', ':']).ok_or_else(wrong)?;
    let address = address.trim_start_matches('[').trim_end_matches(']');
    let clean = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    if !clean {
        return Err(wrong());
    }
    match address.parse::<std::net::IpAddr>() {
        Ok(address) => Ok(format!("{name}:{address}")),
        Err(_) => Err(invalid(format!("invalid IP address in add-host: `{address}`"))),
    }
}

/// `--sysctl NAME=VALUE`, only names the container's namespaces hold (CVE-2022-0811).
pub fn parse_sysctl(text: &str) -> Result<(String, String)> {
    let (name, value) =
        text.split_once('=').ok_or_else(|| invalid(format!("invalid sysctl: `{text}`: expected `name=value`")))?;
    const IPC: [&str; 8] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    let namespaced = IPC.contains(&name) || name.starts_with("fs.mqueue.") || name.starts_with("net.");
    let clean = name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)) && !name.contains("..");
    if !namespaced || !clean {
        return Err(invalid(format!(
            "sysctl `{name}` is not allowed: it does not belong to a namespace of the container"
        )));
    }
    if value.contains(['\n', '\0']) {
        return Err(invalid(format!("invalid value of sysctl `{name}`")));
    }
    Ok((name.into(), value.into()))
}

/// `--log-driver` and `--log-opt KEY=VALUE` laid over a request.
pub fn parse_log_option(spec: &mut ContainerSpec, text: &str) -> Result<()> {
    let (key, value) =
        text.split_once('=').ok_or_else(|| invalid(format!("invalid log option `{text}`: expected `key=value`")))?;
    if spec.log.driver == LogDriver::None {
        return Err(invalid(format!("the log driver `none` takes no options, so not `{key}`")));
    }
    match key {
        "max-size" if value == "-1" => spec.log.max_size = None,
        "max-size" => spec.log.max_size = Some(parse_size(value)?),
        "max-file" => match value.parse::<u32>() {
            Ok(files) if (1..=1000).contains(&files) => spec.log.max_files = Some(files),
            _ => return Err(invalid(format!("invalid value `{value}` of the log option `max-file`"))),
        },
        _ => return Err(invalid(format!("unknown log opt `{key}` for json-file log driver"))),
    }
    Ok(())
}

/// `--security-opt`, with a profile's text already read: the pure part of `seccomp=PATH` is the caller's closure.
pub fn parse_security_option(
    spec: &mut ContainerSpec,
    text: &str,
    read: &dyn Fn(&Path) -> Result<String>,
) -> Result<()> {
    let (key, value) = text.split_once(['=', ':']).unwrap_or((text, ""));
    match (key, value) {
        ("no-new-privileges", "" | "true") => spec.no_new_privileges = true,
        ("no-new-privileges", "false") => spec.no_new_privileges = false,
        ("seccomp", "unconfined") => spec.seccomp = SeccompChoice::Unconfined,
        ("seccomp", "" | "builtin") => spec.seccomp = SeccompChoice::Default,
        ("seccomp", path) => spec.seccomp = SeccompChoice::Profile(read(Path::new(path))?),
        // These turn off what is not in use here.
        ("apparmor", "unconfined") | ("label", "disable") | ("systempaths", "") => {}
        ("apparmor" | "label", _) => {
            return Err(Error::refused(
                Kind::Unsupported,
                format!("security option `{text}`: this version has no `{key}`"),
            ));
        }
        _ => return Err(invalid(format!("invalid --security-opt: `{text}`"))),
    }
    Ok(())
}

fn check_target(text: &str, target: &str) -> Result<()> {
    if !target.starts_with('/') {
        return Err(invalid(format!(
            "invalid specification `{text}`: the path in the container must be absolute: `{target}`"
        )));
    }
    if Path::new(target)
        .components()
        .all(|part| matches!(part, std::path::Component::RootDir | std::path::Component::ParentDir))
    {
        return Err(invalid(format!("invalid specification `{text}`: the path in the container cannot be `/`")));
    }
    Ok(())
}

/// Volume names are file names, so nothing but Docker's characters may be in one.
fn volume_name(name: &str) -> Result<String> {
    let clean = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(clean)
        && (2..=255).contains(&name.len())
    {
        return Ok(name.into());
    }
    Err(invalid(format!(
        "`{name}` includes invalid characters for a local volume name, only `[a-zA-Z0-9][a-zA-Z0-9_.-]` are allowed"
    ))
    .with_hint("to mount a directory of the host, name it by an absolute path"))
}

fn propagation(word: &str) -> Option<Propagation> {
    Some(match word {
        "rprivate" => Propagation::Rprivate,
        "private" => Propagation::Private,
        "rshared" => Propagation::Rshared,
        "shared" => Propagation::Shared,
        "rslave" => Propagation::Rslave,
        "slave" => Propagation::Slave,
        _ => return None,
    })
}

fn invalid(message: String) -> Error {
    Error::refused(Kind::InvalidInput, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused<T: std::fmt::Debug>(texts: &[&str], parse: impl Fn(&str) -> Result<T>) {
        for text in texts {
            assert_eq!(parse(text).expect_err(text).kind(), Kind::InvalidInput, "{text}");
        }
    }

    #[test]
    fn volumes_are_paths_or_names() {
        let bind = |path: &str| MountSource::Bind { path: path.into(), create: true };
        let volume = |name: Option<&str>| MountSource::Volume { name: name.map(str::to_owned) };
        for (text, source, target, read_only, propagation) in [
            ("/data", volume(None), "/data", false, None),
            ("name:/data", volume(Some("name")), "/data", false, None),
            ("name:/data:ro,nocopy", volume(Some("name")), "/data", true, None),
            ("/h:/c", bind("/h"), "/c", false, None),
            ("/h:/c:ro,rslave", bind("/h"), "/c", true, Some(Propagation::Rslave)),
            ("/h:/c:z", bind("/h"), "/c", false, None),
        ] {
            let found = parse_volume(text).unwrap();
            assert_eq!(
                (found.source, found.target.as_str(), found.read_only, found.propagation),
                (source, target, read_only, propagation)
            );
        }
        refused(
            &[
                "",
                ":",
                "/a:",
                ":/a",
                "a:b",
                "/a:b",
                "../a:/b",
                "a/b:/c",
                "/a:/b:maybe",
                "/a:/b:ro:x",
                "/a:/",
                "/a:/..",
                "-x:/a",
                "n:/a:rshared",
                "/a:/b:nocopy",
            ],
            parse_volume,
        );
    }

    #[test]
    fn memory_file_systems_take_harmless_options() {
        assert_eq!(parse_tmpfs("/run").unwrap().options, Vec::<String>::new());
        assert_eq!(
            parse_tmpfs("/run:size=64m,mode=1777,exec,uid=7").unwrap().options,
            ["size=64m", "mode=1777", "exec", "uid=7"]
        );
        refused(
            &["run", "/", "/a:size", "/a:size=big", "/a:mode=9", "/a:bind", "/a:mpol=x", "/a:ro=1", "/a:uid=-1"],
            parse_tmpfs,
        );
    }

    #[test]
    fn numbers_have_units_and_bounds() {
        for (text, bytes) in [
            ("0", 0),
            ("100", 100),
            ("1k", 1024),
            ("64m", 64 << 20),
            ("1.5g", 3 << 29),
            ("2GiB", 2 << 30),
            ("1 kb", 1024),
        ] {
            assert_eq!(parse_size(text).unwrap(), bytes, "{text}");
        }
        refused(&["", "m", "-1", "1x", "1.2.3", "1e5", "99999999999p", "inf", "nan"], parse_size);
        assert_eq!(parse_cpus("1.5").unwrap(), 1500);
        refused(&["0", "-1", "nan", "1e9", ""], parse_cpus);
        let limit = parse_ulimit("nofile=10:-1").unwrap();
        assert_eq!((limit.name.as_str(), limit.soft, limit.hard), ("nofile", 10, u64::MAX));
        refused(&["nofile", "nofile=", "nofile=2:1", "nofile=a", "bogus=1", "nofile=1:2:3"], parse_ulimit);
    }

    #[test]
    fn devices_hosts_and_settings() {
        for (text, wanted) in [
            ("/dev/x", ("/dev/x", "/dev/x", "rwm")),
            ("/dev/x:/dev/y", ("/dev/x", "/dev/y", "rwm")),
            ("/dev/x:r", ("/dev/x", "/dev/x", "r")),
            ("/dev/x:/dev/y:rw", ("/dev/x", "/dev/y", "rw")),
        ] {
            let found = parse_device(text).unwrap();
            assert_eq!(
                (found.source.to_str().unwrap(), found.target.as_str(), found.access.as_str()),
                wanted,
                "{text}"
            );
        }
        refused(&["", "x", "/dev/x:y", "/dev/x:/y:rwx", "/a:/b:r:w"], parse_device);
        assert_eq!(parse_add_host("db:10.0.0.1").unwrap(), "db:10.0.0.1");
        assert_eq!(parse_add_host("six=[fe80::1]").unwrap(), "six:fe80::1");
        refused(&["db", "db:", ":1.2.3.4", "db:x", "a b:1.2.3.4", "a\nb:1.2.3.4"], parse_add_host);
        assert_eq!(parse_sysctl("net.core.somaxconn=9").unwrap(), ("net.core.somaxconn".into(), "9".into()));
        refused(
            &[
                "kernel.core_pattern=x",
                "kernel.shmmax",
                "vm.swappiness=1",
                "net./../kernel=1",
                "net..x=1",
                "kernel.shmmax=1\nx",
            ],
            parse_sysctl,
        );
    }

    #[test]
    fn log_and_security_options_are_laid_over_a_request() {
        let mut spec = ContainerSpec::default();
        parse_log_option(&mut spec, "max-size=10m").unwrap();
        parse_log_option(&mut spec, "max-file=3").unwrap();
        assert_eq!((spec.log.max_size, spec.log.max_files), (Some(10 << 20), Some(3)));
        for text in ["max-file=0", "max-size=x", "tag=x", "max-size"] {
            assert_eq!(parse_log_option(&mut spec, text).unwrap_err().kind(), Kind::InvalidInput, "{text}");
        }
        let read = |path: &Path| Ok(path.display().to_string());
        for text in ["no-new-privileges", "seccomp=/p.json", "apparmor=unconfined"] {
            parse_security_option(&mut spec, text, &read).unwrap();
        }
        assert!(spec.no_new_privileges);
        assert_eq!(spec.seccomp, SeccompChoice::Profile("/p.json".into()));
        parse_security_option(&mut spec, "seccomp:unconfined", &read).unwrap();
        assert_eq!(spec.seccomp, SeccompChoice::Unconfined);
        for (text, kind) in [("apparmor=mine", Kind::Unsupported), ("nope", Kind::InvalidInput)] {
            assert_eq!(parse_security_option(&mut spec, text, &read).unwrap_err().kind(), kind);
        }
    }
}
