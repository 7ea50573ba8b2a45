//! Option strings as Docker writes them, one pure function each: `--ulimit`, `--device`, sizes and so on.

use std::path::Path;

use super::mount_text::check_target;
use super::spec::{ContainerSpec, DeviceSpec, LogDriver, LogSpec, SeccompChoice, Ulimit};
use crate::{Error, Kind, Result};

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
    check_target(target).map_err(|why| invalid(format!("invalid device specification: `{text}`: {why}")))?;
    Ok(DeviceSpec { source: source.into(), target: target.into(), access: access.into() })
}

/// `--device-cgroup-rule TYPE MAJOR:MINOR ACCESS`, as it is kept.
pub fn parse_device_rule(text: &str) -> Result<String> {
    let wrong = || invalid(format!("invalid device cgroup rule format: `{}`", text.escape_debug()));
    let fields: Vec<&str> = text.split(' ').collect();
    let [kind, numbers, access] = fields.as_slice() else { return Err(wrong()) };
    let (major, minor) = numbers.split_once(':').ok_or_else(wrong)?;
    let number = |text: &str| text == "*" || (text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u32>().is_ok());
    let fine = ["a", "b", "c"].contains(kind)
        && number(major)
        && number(minor)
        && (1..=3).contains(&access.len())
        && access.chars().all(|c| "rwm".contains(c));
    if fine { Ok(text.to_owned()) } else { Err(wrong()) }
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

/// `--storage-opt size=BYTES` or `inodes=NUMBER`; 0 is unlimited.
pub fn parse_storage_option(spec: &mut ContainerSpec, text: &str) -> Result<()> {
    match text.split_once('=') {
        Some(("size", size)) => spec.storage.size = Some(parse_size(size)?),
        Some(("inodes", number)) => {
            let number = number.parse().map_err(|_| invalid(format!("invalid number of inodes: `{number}`")))?;
            spec.storage.inodes = Some(number);
        }
        _ => {
            return Err(invalid(format!(
                "unknown storage option `{text}`: a container has `size` and `inodes`; options of the driver go before the command"
            )));
        }
    }
    Ok(())
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
    if address == "host-gateway" {
        return Ok(format!("{name}:{address}"));
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
    let files = spec.log.driver != LogDriver::Journald;
    match key {
        // A monitor writes and never waits for whoever reads, so both modes are one.
        "labels" | "env" | "tag" => {
            spec.log.options.insert(key.to_owned(), value.to_owned());
        }
        "labels-regex" | "env-regex" => {
            regex::Regex::new(value)
                .map_err(|_| invalid(format!("invalid regular expression in the log option `{key}`: `{value}`")))?;
            spec.log.options.insert(key.to_owned(), value.to_owned());
        }
        "mode" if matches!(value, "blocking" | "non-blocking") => {
            spec.log.options.insert(key.to_owned(), value.to_owned());
        }
        "max-buffer-size" => {
            parse_size(value)?;
            spec.log.options.insert(key.to_owned(), value.to_owned());
        }
        "compress" if files => {
            let compress = match value {
                "1" | "t" | "T" | "true" | "TRUE" | "True" => true,
                "0" | "f" | "F" | "false" | "FALSE" | "False" => false,
                _ => return Err(invalid(format!("invalid value `{value}` of the log option `compress`"))),
            };
            spec.log.options.insert(key.to_owned(), compress.to_string());
        }
        "compress" | "max-size" | "max-file" if !files => {
            return Err(invalid(format!("unknown log opt `{key}` for journald log driver")));
        }
        "max-size" if value == "-1" => spec.log.max_size = None,
        "max-size" => spec.log.max_size = Some(parse_size(value)?),
        "max-file" => match value.parse::<u32>() {
            Ok(files) if (1..=1000).contains(&files) => spec.log.max_files = Some(files),
            _ => return Err(invalid(format!("invalid value `{value}` of the log option `max-file`"))),
        },
        _ => return Err(invalid(format!("unknown log opt `{key}` for {} log driver", spec.log.driver.word()))),
    }
    Ok(())
}

/// Refuses options that contradict each other, once all of them are known.
pub fn check_log_options(log: &LogSpec) -> Result<()> {
    let option = |key: &str| log.options.get(key).map(String::as_str);
    if option("max-buffer-size").is_some() && option("mode") != Some("non-blocking") {
        return Err(invalid("logger: max-buffer-size option is only supported with 'mode=non-blocking'".into()));
    }
    if option("compress") != Some("true") {
        return Ok(());
    }
    match log.driver {
        LogDriver::JsonFile if log.max_files.is_none_or(|files| files < 2) || log.max_size.is_none() => {
            Err(invalid("compress cannot be true when max-file is less than 2 or max-size is not set".into()))
        }
        LogDriver::Local if log.max_files == Some(1) => {
            Err(invalid("compression cannot be enabled when max file count is 1".into()))
        }
        _ => Ok(()),
    }
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
        ("apparmor", profile) if !profile.is_empty() => spec.apparmor = Some(profile.to_owned()),
        // This turns off what is not in use here.
        ("label", "disable") => {}
        ("label", _) => {
            return Err(Error::refused(
                Kind::Unsupported,
                format!("security option `{text}`: mica does not label processes for SELinux"),
            )
            .with_hint("use `label=disable`, or no label at all"));
        }
        _ if spec.system_paths.apply(key, value)? => {}
        _ => return Err(invalid(format!("invalid --security-opt: `{text}`"))),
    }
    Ok(())
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
        for text in ["c 42:* rwm", "b 8:0 r", "a *:* m"] {
            assert_eq!(parse_device_rule(text).unwrap(), text);
        }
        refused(
            &["", "c 1:3", "c 1:3 rwmx", "d 1:3 r", "c 1 r", "c x:3 r", "c 1:3  r", "c 4294967296:0 r", "c :3 r"],
            parse_device_rule,
        );
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
        for text in ["max-file=0", "max-size=x", "colour=x", "max-size", "mode=x", "compress=x", "env-regex=("] {
            assert_eq!(parse_log_option(&mut spec, text).unwrap_err().kind(), Kind::InvalidInput, "{text}");
        }
        for (driver, texts, words) in [
            (LogDriver::JsonFile, &["compress=true", "max-size=1m"][..], "max-file is less than 2"),
            (LogDriver::JsonFile, &["compress=true", "max-file=2"], "max-size is not set"),
            (LogDriver::JsonFile, &["compress=1", "max-file=2", "max-size=1m"], ""),
            (LogDriver::Local, &["compress=true"], ""),
            (LogDriver::Local, &["compress=true", "max-file=1"], "max file count is 1"),
            (LogDriver::Journald, &["max-buffer-size=1m"], "only supported with 'mode=non-blocking'"),
            (LogDriver::Journald, &["max-buffer-size=1m", "mode=non-blocking", "labels-regex=^a"], ""),
        ] {
            let mut spec = ContainerSpec::default();
            spec.log.driver = driver;
            texts.iter().for_each(|text| parse_log_option(&mut spec, text).unwrap());
            let said = check_log_options(&spec.log).map_or_else(|error| error.to_string(), |()| String::new());
            assert!(said.contains(words) && said.is_empty() == words.is_empty(), "{texts:?}: {said}");
        }
        let read = |path: &Path| Ok(path.display().to_string());
        for text in ["no-new-privileges", "seccomp=/p.json", "apparmor=unconfined"] {
            parse_security_option(&mut spec, text, &read).unwrap();
        }
        assert!(spec.no_new_privileges);
        assert_eq!(spec.seccomp, SeccompChoice::Profile("/p.json".into()));
        parse_security_option(&mut spec, "seccomp:unconfined", &read).unwrap();
        assert_eq!(spec.seccomp, SeccompChoice::Unconfined);
        parse_security_option(&mut spec, "apparmor=mine", &read).unwrap();
        assert_eq!(spec.apparmor.as_deref(), Some("mine"));
        parse_security_option(&mut spec, "systempaths=unconfined", &read).unwrap();
        assert!(spec.system_paths.unconfined);
        for (text, kind) in
            [("label=type:x", Kind::Unsupported), ("nope", Kind::InvalidInput), ("apparmor=", Kind::InvalidInput)]
        {
            assert_eq!(parse_security_option(&mut spec, text, &read).unwrap_err().kind(), kind);
        }
    }
}
