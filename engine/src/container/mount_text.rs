//! Mounts as Docker writes them on the command line: `-v`, `--tmpfs`, `--volumes-from`, one pure function each.

use std::path::{Component, Path, PathBuf};

use super::spec::{MountSource, MountSpec, Propagation, TmpfsSpec, Treatment};
use crate::store::volumes::check_name;
use crate::{Error, Kind, Result};

/// `-v [SOURCE:]TARGET[:OPTIONS]`. A source with a slash is a path of the host and must be absolute: what it is relative
/// to is the caller's to know.
pub fn parse_volume(text: &str) -> Result<MountSpec> {
    let whole = || invalid(format!("invalid volume specification: `{text}`"));
    let fields: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match fields.as_slice() {
        [target] => ("", *target, ""),
        // Options without a target belong to nothing.
        [_, target] if Options::parse(target).is_ok() => return Err(whole()),
        [source, target] => (*source, *target, ""),
        [source, target, options] => (*source, *target, *options),
        _ => return Err(whole()),
    };
    if target.is_empty() {
        return Err(whole());
    }
    let mode = fields.get(2).copied().unwrap_or_default();
    let options = Options::parse(options)?;
    let mut mount = MountSpec::new(
        match source {
            "" => MountSource::Volume { name: None },
            path if path.starts_with('/') => MountSource::Bind { path: PathBuf::from(path), create: true },
            name => MountSource::Volume { name: Some(name.into()) },
        },
        target,
    );
    let kind = if matches!(mount.source, MountSource::Bind { .. }) { "bind" } else { "volume" };
    let config = |what: &str| reason(text, &format!("invalid mount config for type `{kind}`: {what}"));
    check_target(target).map_err(|what| config(&what))?;
    match (&mount.source, options.propagation, options.no_copy) {
        (MountSource::Volume { .. }, Some(_), _) => return Err(config("field BindOptions must not be specified")),
        (MountSource::Bind { .. }, _, true) => return Err(config("field VolumeOptions must not be specified")),
        _ => {}
    }
    if let MountSource::Volume { name: Some(name) } = &mount.source {
        check_name(name)?;
    }
    mount.read_only = options.read_only;
    mount.propagation = options.propagation;
    mount.no_copy = options.no_copy;
    mount.treatment = options.treatment;
    mode.clone_into(&mut mount.mode);
    Ok(mount)
}

/// `--tmpfs TARGET[:OPTIONS]`.
pub fn parse_tmpfs(text: &str) -> Result<TmpfsSpec> {
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    check_target(target).map_err(|what| invalid(format!("invalid mount config for type `tmpfs`: {what}")))?;
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
    Ok(TmpfsSpec { target: target.into(), options, flag: None })
}

/// `--volumes-from CONTAINER[:MODE]`: the container, and whether the mode says that nothing may be written.
pub fn parse_volumes_from(text: &str) -> Result<(&str, bool)> {
    let (container, mode) = text.split_once(':').unwrap_or((text, ""));
    if container.is_empty() {
        return Err(invalid(format!("malformed volumes-from specification: `{text}`")));
    }
    let options = Options::parse(mode)?;
    if options.propagation.is_some() || options.no_copy || options.treatment != Treatment::default() {
        return Err(invalid(format!("invalid mode: `{mode}`")));
    }
    Ok((container, options.read_only))
}

/// What stands after the second colon.
#[derive(Debug, Default)]
struct Options {
    read_only: bool,
    no_copy: bool,
    propagation: Option<Propagation>,
    treatment: Treatment,
}

impl Options {
    /// Of each kind of option, one at most.
    fn parse(text: &str) -> Result<Self> {
        let wrong = || invalid(format!("invalid mode: `{text}`"));
        let mut options = Self::default();
        let mut seen = Vec::new();
        for word in text.split(',').filter(|_| !text.is_empty()) {
            let kind = match word {
                "ro" | "rw" => "access",
                "nocopy" => "copy",
                // Labels of SELinux, which is not in use where Mica runs; Docker too ignores them then.
                "z" | "Z" => "label",
                "consistent" | "cached" | "delegated" | "default" => "consistency",
                "U" => "owner",
                "idmap" => "mapping",
                "O" => "overlay",
                _ => {
                    options.propagation = Some(Propagation::from_word(word).ok_or_else(wrong)?);
                    "propagation"
                }
            };
            if seen.contains(&kind) {
                return Err(wrong());
            }
            seen.push(kind);
            options.read_only |= word == "ro";
            options.no_copy |= word == "nocopy";
            options.treatment.chown |= word == "U";
            options.treatment.idmap |= word == "idmap";
            options.treatment.overlay |= word == "O";
        }
        Ok(options)
    }
}

/// What is wrong with a path in the container.
pub(crate) fn check_target(target: &str) -> Result<(), String> {
    if !target.starts_with('/') {
        return Err(format!("invalid mount path: `{target}` mount path must be absolute"));
    }
    let is_top = |part| matches!(part, Component::RootDir | Component::ParentDir);
    if Path::new(target).components().all(is_top) || super::super::bundle::merge::clean(target) == "/" {
        return Err("invalid specification: destination can't be `/`".into());
    }
    if target.contains('\0') {
        return Err(format!("invalid mount path: `{}` has a NUL byte", target.escape_debug()));
    }
    Ok(())
}

fn reason(text: &str, why: &str) -> Error {
    invalid(format!("invalid volume specification: `{text}`: {why}"))
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
            (":/data", volume(None), "/data", false, None),
            ("name:/data", volume(Some("name")), "/data", false, None),
            ("name:/data:ro,nocopy", volume(Some("name")), "/data", true, None),
            ("/h:/c", bind("/h"), "/c", false, None),
            ("/h:/c:ro,rslave", bind("/h"), "/c", true, Some(Propagation::Rslave)),
            ("/h:/c:z", bind("/h"), "/c", false, None),
            ("/h:/c:cached,rw,Z", bind("/h"), "/c", false, None),
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
                "/a:ro",
                "a:b",
                "/a:b",
                "../a:/b",
                "a/b:/c",
                "/a:/b:maybe",
                "/a:/b:ro:x",
                "/a:/b:ro,rw",
                "/a:/b:z,Z",
                "/a:/b:,",
                "/a:/",
                "/a:/..",
                "-x:/a",
                "n:/a:rshared",
                "/a:/b:nocopy",
            ],
            parse_volume,
        );
        for (text, words) in [
            ("one:", "invalid volume specification: `one:`"),
            (
                "one:x",
                "invalid volume specification: `one:x`: invalid mount config for type `volume`: invalid mount path: `x` \
                 mount path must be absolute",
            ),
            ("one:/x:bad", "invalid mode: `bad`"),
        ] {
            assert_eq!(parse_volume(text).unwrap_err().to_string(), words);
        }
        for (text, chown, idmap, overlay) in [
            ("/a:/b:U", true, false, false),
            ("volume:/b:idmap,ro", false, true, false),
            ("/a:/b:O,U,z", true, false, true),
        ] {
            assert_eq!(parse_volume(text).unwrap().treatment, Treatment { chown, idmap, overlay }, "{text}");
        }
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
    fn volumes_of_others_are_named_with_a_mode() {
        for (text, wanted) in [("web", ("web", false)), ("web:ro", ("web", true)), ("web:rw,z", ("web", false))] {
            assert_eq!(parse_volumes_from(text).unwrap(), wanted, "{text}");
        }
        refused(&["", ":ro", "web:bad", "web:nocopy", "web:rshared", "web:U"], |text| {
            parse_volumes_from(text).map(drop)
        });
    }
}
