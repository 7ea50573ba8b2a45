//! `-v` with a relative source, and `--mount`.

use std::path::Path;

use anyhow::bail;
use mica_engine::container::{MountSource, MountSpec, Propagation, TmpfsSpec, parse_tmpfs, parse_volume};

/// What `--mount` asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Mount {
    Volume(MountSpec),
    Tmpfs(TmpfsSpec),
}

/// `-v`: a source that begins with a dot is relative to the working directory.
pub(super) fn volume(text: &str) -> anyhow::Result<MountSpec> {
    match text.split_once(':') {
        Some((source, rest))
            if source == "." || source == ".." || source.starts_with("./") || source.starts_with("../") =>
        {
            let source = std::path::absolute(Path::new(source))?;
            let Some(source) = source.to_str() else {
                bail!("`{}` is not valid UTF-8", source.display());
            };
            Ok(parse_volume(&format!("{source}:{rest}"))?)
        }
        _ => Ok(parse_volume(text)?),
    }
}

/// `--mount type=bind,source=…,target=…[,readonly]`.
pub(super) fn parse(text: &str) -> anyhow::Result<Mount> {
    let mut fields = Fields::default();
    for field in text.split(',') {
        fields.read(field, text)?;
    }
    let Some(target) = fields.target.filter(|target| target.starts_with('/')) else {
        bail!("invalid mount `{text}`: `target` must be an absolute path");
    };
    let (source, is_bind) = match fields.kind.unwrap_or("volume") {
        "bind" => match fields.source {
            Some(path) if path.starts_with('/') => (MountSource::Bind { path: path.into(), create: false }, true),
            _ => bail!("invalid mount `{text}`: `source` of a bind must be an absolute path"),
        },
        "volume" => (MountSource::Volume { name: volume_name(fields.source)? }, false),
        "tmpfs" => {
            if fields.source.is_some() || fields.propagation.is_some() || fields.no_copy {
                bail!("invalid mount `{text}`: a tmpfs takes `target`, `readonly`, `tmpfs-size` and `tmpfs-mode`");
            }
            if fields.read_only {
                fields.tmpfs.push("ro".to_owned());
            }
            return Ok(Mount::Tmpfs(parse_tmpfs(&format!("{target}:{}", fields.tmpfs.join(",")))?));
        }
        other => bail!("invalid mount `{text}`: type `{other}` is none of bind, volume and tmpfs"),
    };
    if !fields.tmpfs.is_empty() || (fields.propagation.is_some() && !is_bind) || (fields.no_copy && is_bind) {
        bail!("invalid mount `{text}`: an option does not belong to its type");
    }
    let target = target.to_owned();
    Ok(Mount::Volume(MountSpec {
        source,
        target,
        read_only: fields.read_only,
        propagation: fields.propagation,
        no_copy: fields.no_copy,
    }))
}

#[derive(Default)]
struct Fields<'a> {
    kind: Option<&'a str>,
    source: Option<&'a str>,
    target: Option<&'a str>,
    read_only: bool,
    no_copy: bool,
    propagation: Option<Propagation>,
    tmpfs: Vec<String>,
}

impl<'a> Fields<'a> {
    fn read(&mut self, field: &'a str, text: &str) -> anyhow::Result<()> {
        let (key, value) = field.split_once('=').map_or((field, None), |(key, value)| (key, Some(value)));
        match (key, value) {
            ("type", Some(kind)) => self.kind = Some(kind),
            ("source" | "src", Some(source)) => self.source = Some(source).filter(|source| !source.is_empty()),
            ("target" | "destination" | "dst", Some(target)) => self.target = Some(target),
            ("readonly" | "ro", None | Some("true" | "1")) => self.read_only = true,
            ("readonly" | "ro", Some("false" | "0")) => self.read_only = false,
            ("volume-nocopy", None | Some("true" | "1")) => self.no_copy = true,
            ("volume-nocopy", Some("false" | "0")) => self.no_copy = false,
            ("bind-propagation", Some(word)) => {
                let all = [
                    Propagation::Rprivate,
                    Propagation::Private,
                    Propagation::Rshared,
                    Propagation::Shared,
                    Propagation::Rslave,
                    Propagation::Slave,
                ];
                self.propagation = all.into_iter().find(|propagation| propagation.word() == word);
                if self.propagation.is_none() {
                    bail!("invalid mount `{text}`: unknown propagation `{word}`");
                }
            }
            ("tmpfs-size", Some(size)) => {
                self.tmpfs.push(format!("size={}", mica_engine::container::parse_size(size)?))
            }
            ("tmpfs-mode", Some(mode)) => self.tmpfs.push(format!("mode={mode}")),
            _ => bail!("invalid mount `{text}`: unknown option `{field}`"),
        }
        Ok(())
    }
}

/// Names have the same rules as in `-v`, so the same parser reads them.
fn volume_name(source: Option<&str>) -> anyhow::Result<Option<String>> {
    let Some(name) = source else {
        return Ok(None);
    };
    match parse_volume(&format!("{name}:/target"))?.source {
        MountSource::Volume { name } => Ok(name),
        MountSource::Bind { .. } => bail!("a volume's `source` is its name, not the path `{name}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_sources_become_absolute() {
        let here = std::env::current_dir().expect("a working directory");
        for (text, expected) in [("./x:/c", here.join("x")), (".:/c:ro", here.clone()), ("/a:/c", "/a".into())] {
            let mount = volume(text).expect(text);
            assert_eq!(mount.source, MountSource::Bind { path: expected, create: true }, "{text}");
        }
        assert_eq!(volume("data:/c").expect("a name").source, MountSource::Volume { name: Some("data".into()) });
    }

    #[test]
    fn mounts_by_keys() {
        let bind = |read_only| {
            Mount::Volume(MountSpec {
                source: MountSource::Bind { path: "/s".into(), create: false },
                target: "/t".into(),
                read_only,
                propagation: None,
                no_copy: false,
            })
        };
        assert_eq!(parse("type=bind,source=/s,target=/t").expect("a bind"), bind(false));
        assert_eq!(parse("type=bind,src=/s,dst=/t,readonly").expect("a bind"), bind(true));
        assert_eq!(parse("type=bind,src=/s,dst=/t,ro=true").expect("a bind"), bind(true));
        assert!(matches!(
            parse("source=data,target=/t"),
            Ok(Mount::Volume(MountSpec { source: MountSource::Volume { name: Some(_) }, .. }))
        ));
        let tmpfs = parse("type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=0700").expect("a tmpfs");
        assert_eq!(
            tmpfs,
            Mount::Tmpfs(TmpfsSpec { target: "/t".into(), options: vec!["size=1048576".into(), "mode=0700".into()] })
        );
        for wrong in [
            "type=bind,target=/t",
            "type=bind,source=rel,target=/t",
            "type=bind,source=/s",
            "type=tmpfs,source=/x,target=/t",
            "type=volume,source=/x,target=/t",
            "type=bind,source=/s,target=/t,what",
            "type=bind,source=/s,target=/t,bind-propagation=odd",
            "type=bind,source=/s,target=/t,tmpfs-size=1",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
