//! `-v` with a relative source, and `--mount`, whose refusals are in Docker's words.

use std::path::Path;

use mica_engine::container::{
    MountFlag, MountSource, MountSpec, Propagation, Recursion, TmpfsSpec, Treatment, VolumeSpec, parse_size,
    parse_tmpfs, parse_volume,
};

/// What `--mount` asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Mount {
    Volume(MountSpec),
    Tmpfs(TmpfsSpec),
}

/// `-v`: a source that begins with a dot is relative to the working directory.
pub(super) fn volume(text: &str) -> anyhow::Result<MountSpec> {
    match text.split_once(':') {
        Some((source, rest)) if is_relative(source) => Ok(parse_volume(&format!("{}:{rest}", absolute(source)?))?),
        _ => Ok(parse_volume(text)?),
    }
}

/// `--mount type=bind,source=…,target=…[,readonly]`.
pub(super) fn parse(text: &str) -> anyhow::Result<Mount> {
    let fields =
        Fields::read(text).map_err(|why| anyhow::anyhow!("invalid argument \"{text}\" for \"--mount\" flag: {why}"))?;
    fields.mount().map_err(|(kind, why)| anyhow::anyhow!("invalid mount config for type \"{kind}\": {why}"))
}

#[derive(Debug, Default)]
struct Fields {
    kind: String,
    source: String,
    target: String,
    read_only: Option<bool>,
    no_copy: bool,
    propagation: String,
    recursion: Recursion,
    subpath: Option<String>,
    treatment: Treatment,
    volume: VolumeSpec,
    tmpfs: Vec<String>,
}

impl Fields {
    /// The pairs, as far as they are right by themselves.
    fn read(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("value is empty".into());
        }
        let mut fields = Self { kind: "volume".into(), ..Self::default() };
        let mut groups = Vec::new();
        for field in split(text)? {
            let (key, value) = field.split_once('=').map_or((field.as_str(), None), |(key, value)| (key, Some(value)));
            let key = key.to_lowercase();
            let value = match (value, key.as_str()) {
                (Some(value), _) => value,
                (None, "readonly" | "ro" | "volume-nocopy" | "bind-nonrecursive" | "u" | "chown" | "idmap") => "true",
                (None, _) => return Err(format!("invalid field '{field}' must be a key=value pair")),
            };
            if let Some((group @ ("bind" | "volume" | "image" | "tmpfs"), _)) = key.split_once('-') {
                groups.push(group.to_owned());
            }
            fields.set(&key, value, &field)?;
        }
        if fields.target.is_empty() {
            return Err("target is required".into());
        }
        if let Some(group) = groups.iter().find(|group| **group != fields.kind) {
            return Err(format!("cannot mix '{group}-*' options with mount type '{}'", fields.kind));
        }
        let read_only = fields.read_only == Some(true);
        match fields.recursion {
            Recursion::Writable if !read_only => {
                Err("option 'bind-recursive=writable' requires 'readonly' to be specified in conjunction".into())
            }
            Recursion::ReadOnly if !read_only => {
                Err("option 'bind-recursive=readonly' requires 'readonly' to be specified in conjunction".into())
            }
            Recursion::ReadOnly if fields.propagation != "rprivate" => Err(
                "option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be specified in conjunction"
                    .into(),
            ),
            _ => Ok(fields),
        }
    }

    fn set(&mut self, key: &str, value: &str, field: &str) -> Result<(), String> {
        let wrong = || format!("invalid value for {key}: {value}");
        let pair = |value: &str| {
            let (name, value) = value.split_once('=').unwrap_or((value, ""));
            (name.to_owned(), value.to_owned())
        };
        match key {
            "type" => self.kind = value.to_lowercase(),
            "source" | "src" => value.clone_into(&mut self.source),
            "target" | "destination" | "dst" => value.clone_into(&mut self.target),
            "readonly" | "ro" => self.read_only = Some(boolean(value).ok_or_else(wrong)?),
            // How Docker's desktop products keep copies of files: there are none here.
            "consistency" => {}
            // Podman's.
            "u" | "chown" => self.treatment.chown = boolean(value).ok_or_else(wrong)?,
            "idmap" => self.treatment.idmap = boolean(value).ok_or_else(wrong)?,
            "bind-propagation" => self.propagation = value.to_lowercase(),
            "bind-nonrecursive" => {
                if boolean(value).ok_or_else(wrong)? {
                    self.recursion = Recursion::Disabled;
                }
            }
            "bind-recursive" => {
                self.recursion = match value {
                    "enabled" => Recursion::Enabled,
                    "disabled" => Recursion::Disabled,
                    "writable" => Recursion::Writable,
                    "readonly" => Recursion::ReadOnly,
                    _ => {
                        return Err(format!(
                            "{}, must be one of \"enabled\", \"disabled\", \"writable\", or \"readonly\"",
                            wrong()
                        ));
                    }
                }
            }
            "volume-nocopy" => self.no_copy = boolean(value).ok_or_else(wrong)?,
            "volume-subpath" | "image-subpath" => self.subpath = Some(value.to_owned()).filter(|path| !path.is_empty()),
            "volume-driver" => self.volume.driver = Some(value.to_owned()),
            "volume-opt" => self.volume.options.extend([pair(value)]),
            "volume-label" => self.volume.labels.extend([pair(value)]),
            "tmpfs-size" => self.tmpfs.push(format!("size={}", parse_size(value).map_err(|_| wrong())?)),
            "tmpfs-mode" => {
                let mode = u32::from_str_radix(value, 8).ok().filter(|mode| *mode <= 0o7777).ok_or_else(wrong)?;
                self.tmpfs.push(format!("mode={mode:o}"));
            }
            _ => return Err(format!("unexpected key '{key}' in '{field}'")),
        }
        Ok(())
    }

    /// The mount, or the type of one that cannot be, and why.
    fn mount(self) -> Result<Mount, (String, String)> {
        let kind = self.kind.clone();
        let fail = |why: String| Err((kind.clone(), why));
        if !self.target.starts_with('/') {
            return fail(format!("invalid mount path: '{}' mount path must be absolute", self.target));
        }
        let source = match self.kind.as_str() {
            "bind" if self.source.is_empty() => return fail("field Source must not be empty".into()),
            "bind" => {
                let path = if is_relative(&self.source) {
                    absolute(&self.source).map_err(|error| (kind.clone(), error.to_string()))?
                } else {
                    self.source
                };
                if !path.starts_with('/') {
                    return fail(format!("invalid mount path: '{path}' mount path must be absolute"));
                }
                MountSource::Bind { path: path.into(), create: false }
            }
            "volume" => MountSource::Volume { name: Some(self.source).filter(|name| !name.is_empty()) },
            "image" if self.source.is_empty() => return fail("field Source must not be empty".into()),
            "image" if self.read_only == Some(false) => return fail("an image is mounted read-only".into()),
            "image" => MountSource::Image { reference: self.source, id: None },
            "tmpfs" if !self.source.is_empty() => return fail("field Source must not be specified".into()),
            "tmpfs" => {
                let access = if self.read_only == Some(true) { vec!["ro".to_owned()] } else { Vec::new() };
                let options = [self.tmpfs, access].concat();
                let tmpfs = parse_tmpfs(&format!("{}:{}", self.target, options.join(",")));
                let tmpfs = tmpfs.map_err(|error| (kind.clone(), error.to_string()))?;
                return Ok(Mount::Tmpfs(TmpfsSpec { flag: Some(MountFlag::Mount), ..tmpfs }));
            }
            _ => return fail("mount type unknown".into()),
        };
        if Path::new(&self.target).components().all(|part| matches!(part, std::path::Component::RootDir)) {
            return fail("invalid specification: destination can't be '/'".into());
        }
        let propagation = match self.propagation.as_str() {
            "" => None,
            word => match Propagation::from_word(word) {
                None => return fail(format!("invalid propagation mode: {word}")),
                found => found,
            },
        };
        Ok(Mount::Volume(MountSpec {
            read_only: self.read_only == Some(true),
            propagation,
            no_copy: self.no_copy,
            recursion: self.recursion,
            subpath: self.subpath,
            treatment: self.treatment,
            flag: MountFlag::Mount,
            volume: self.volume,
            ..MountSpec::new(source, self.target)
        }))
    }
}

/// Fields between commas; one in quotation marks may hold commas, and a doubled mark in it stands for itself.
pub(super) fn split(text: &str) -> Result<Vec<String>, String> {
    let mut fields = vec![String::new()];
    let mut chars = text.chars().peekable();
    let mut quoted = false;
    while let Some(c) = chars.next() {
        let begins = fields.last().is_none_or(String::is_empty);
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                fields.last_mut().into_iter().for_each(|field| field.push('"'));
            }
            '"' if quoted => quoted = false,
            '"' if begins => quoted = true,
            '"' => return Err("bare \" in non-quoted field".into()),
            ',' if !quoted => fields.push(String::new()),
            c => fields.last_mut().into_iter().for_each(|field| field.push(c)),
        }
    }
    if quoted { Err("extraneous or missing \" in quoted-field".into()) } else { Ok(fields) }
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn is_relative(source: &str) -> bool {
    source == "." || source == ".." || source.starts_with("./") || source.starts_with("../")
}

fn absolute(source: &str) -> anyhow::Result<String> {
    let source = std::path::absolute(Path::new(source))?;
    match source.to_str() {
        Some(source) => Ok(source.to_owned()),
        None => anyhow::bail!("`{}` is not valid UTF-8", source.display()),
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

    fn plain(source: MountSource) -> MountSpec {
        MountSpec { flag: MountFlag::Mount, ..MountSpec::new(source, "/t") }
    }

    #[test]
    fn mounts_by_keys() {
        let bind = || plain(MountSource::Bind { path: "/s".into(), create: false });
        let named = || plain(MountSource::Volume { name: Some("data".into()) });
        let image = || plain(MountSource::Image { reference: "img:1".into(), id: None });
        let options = |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        for (text, wanted) in [
            ("type=bind,source=/s,target=/t", bind()),
            ("type=bind,src=/s,dst=/t,readonly", MountSpec { read_only: true, ..bind() }),
            ("Type=BIND,src=/s,dst=/t,ro=true,consistency=cached", MountSpec { read_only: true, ..bind() }),
            ("type=bind,src=/s,dst=/t,readonly=false", bind()),
            (
                "type=bind,src=/s,dst=/t,bind-propagation=rslave,bind-nonrecursive",
                MountSpec { propagation: Some(Propagation::Rslave), recursion: Recursion::Disabled, ..bind() },
            ),
            (
                "type=bind,src=/s,dst=/t,ro,bind-recursive=writable",
                MountSpec { read_only: true, recursion: Recursion::Writable, ..bind() },
            ),
            ("target=/t", plain(MountSource::Volume { name: None })),
            (
                "source=data,target=/t,volume-nocopy,volume-subpath=a/b",
                MountSpec { no_copy: true, subpath: Some("a/b".into()), ..named() },
            ),
            (
                "source=data,target=/t,volume-driver=local,volume-opt=type=tmpfs,\"volume-opt=o=size=1m,uid=7\",volume-label=a=b",
                MountSpec {
                    volume: VolumeSpec {
                        driver: Some("local".into()),
                        options: options(&[("type", "tmpfs"), ("o", "size=1m,uid=7")]),
                        labels: options(&[("a", "b")]),
                    },
                    ..named()
                },
            ),
            (
                "type=image,source=img:1,target=/t,image-subpath=etc",
                MountSpec { subpath: Some("etc".into()), ..image() },
            ),
        ] {
            assert_eq!(parse(text).expect(text), Mount::Volume(wanted), "{text}");
        }
        let tmpfs = parse("type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=0700,readonly").expect("a tmpfs");
        let options = vec!["size=1048576".into(), "mode=700".into(), "ro".into()];
        assert_eq!(tmpfs, Mount::Tmpfs(TmpfsSpec { target: "/t".into(), options, flag: Some(MountFlag::Mount) }));
    }

    #[test]
    fn refusals_are_dockers() {
        for (text, why) in [
            ("", "value is empty"),
            ("foo", "invalid field 'foo' must be a key=value pair"),
            ("type=bind,src=/tmp", "target is required"),
            ("dst=/x,what=1", "unexpected key 'what' in 'what=1'"),
            ("dst=/x,bind-propagation=rshared", "cannot mix 'bind-*' options with mount type 'volume'"),
            ("type=bind,src=/s,dst=/x,volume-nocopy", "cannot mix 'volume-*' options with mount type 'bind'"),
            ("type=bind,src=/s,dst=/x,tmpfs-size=1", "cannot mix 'tmpfs-*' options with mount type 'bind'"),
            ("type=tmpfs,dst=/x,tmpfs-mode=abc", "invalid value for tmpfs-mode: abc"),
            ("type=tmpfs,dst=/x,tmpfs-size=abc", "invalid value for tmpfs-size: abc"),
            ("type=bind,src=/s,dst=/x,readonly=maybe", "invalid value for readonly: maybe"),
            ("dst=/x,\"a", "extraneous or missing \" in quoted-field"),
        ] {
            let said = parse(text).expect_err(text).to_string();
            assert_eq!(said, format!("invalid argument \"{text}\" for \"--mount\" flag: {why}"));
        }
        for (text, why) in [
            ("type=bind,src=rel,dst=/x", "invalid mount path: 'rel' mount path must be absolute"),
            ("type=bind,dst=/x", "field Source must not be empty"),
            ("type=what,dst=/x", "mount type unknown"),
            ("type=volume,dst=x", "invalid mount path: 'x' mount path must be absolute"),
            ("type=tmpfs,src=/tmp,dst=/x", "field Source must not be specified"),
            ("type=bind,src=/s,dst=/x,bind-propagation=odd", "invalid propagation mode: odd"),
            ("type=bind,src=/s,dst=/", "invalid specification: destination can't be '/'"),
        ] {
            let said = parse(text).expect_err(text).to_string();
            assert!(said.starts_with("invalid mount config for type \"") && said.ends_with(why), "{text}: {said}");
        }
    }
}
