//! The pure part of `create`: an image's defaults and a request become the config a container keeps.

use std::collections::BTreeMap;

use crate::container::{ContainerSpec, HealthCheck, MountFlag, MountSource, Treatment, VolumeMount, VolumeSpec};
use crate::image::ContainerDefaults;
use crate::{Error, Kind, Result};

/// Where commands are looked for when nobody says otherwise.
pub const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Lays a request over an image's defaults.
pub fn merge(image: &ContainerDefaults, spec: &ContainerSpec) -> Result<ContainerDefaults> {
    let mut config = image.clone();
    match &spec.entrypoint {
        // An entrypoint of one's own leaves the image's command behind, as that was written for the image's entrypoint.
        Some(words) => {
            config.entrypoint = if words.iter().all(String::is_empty) { None } else { Some(words.clone()) };
            config.cmd = Some(spec.command.clone());
        }
        None if !spec.command.is_empty() => config.cmd = Some(spec.command.clone()),
        None => {}
    }
    if let Some(user) = &spec.user {
        config.user.clone_from(user);
    }
    if let Some(workdir) = &spec.workdir {
        if !workdir.starts_with('/') {
            return Err(Error::refused(
                Kind::InvalidInput,
                format!("the working directory `{workdir}` is invalid, it needs to be an absolute path"),
            ));
        }
        config.working_dir.clone_from(workdir);
    }
    config.env = environment(&image.env, &spec.env, &spec.env_remove);
    if !spec.labels.is_empty() {
        config.labels.get_or_insert_default().extend(spec.labels.clone());
    }
    let anonymous = spec
        .mounts
        .iter()
        .filter(|mount| mount.flag == MountFlag::Volume && matches!(mount.source, MountSource::Volume { name: None }));
    for mount in anonymous {
        config.volumes.get_or_insert_default().insert(mount.target.clone(), serde_json::json!({}));
    }
    if let Some(signal) = &spec.stop_signal {
        config.stop_signal = Some(signal.clone());
    }
    if let Some(own) = &spec.health {
        let image = image.healthcheck.as_ref().map(HealthCheck::of).transpose()?.unwrap_or_default();
        let merged = serde_json::to_value(own.clone().over(image));
        config.healthcheck = Some(merged.map_err(|error| Error::refused(Kind::Internal, error.to_string()))?);
    }
    let words = config.entrypoint.iter().chain(&config.cmd).flatten();
    if words.count() == 0 {
        return Err(Error::refused(Kind::InvalidInput, "no command specified")
            .with_hint("the image names no command; add one after the image"));
    }
    Ok(config)
}

/// The volumes of a container: those of others that nothing of its own is mounted on, those asked for, then the image's that
/// nothing else is mounted on.
pub fn volumes(
    config: &ContainerDefaults,
    spec: &ContainerSpec,
    inherited: Vec<VolumeMount>,
) -> Result<Vec<VolumeMount>> {
    let own = |target: &str| spec.mounts.iter().any(|mount| clean(&mount.target) == target);
    let mut found: Vec<VolumeMount> = inherited.into_iter().filter(|volume| !own(&volume.target)).collect();
    for mount in &spec.mounts {
        if let MountSource::Volume { name } = &mount.source {
            found.push(VolumeMount {
                name: name.clone().unwrap_or_else(super::random_id),
                target: clean(&mount.target),
                read_only: mount.read_only,
                anonymous: name.is_none(),
                copy_up: !mount.no_copy,
                subpath: mount.subpath.clone(),
                treatment: mount.treatment,
                mode: mount.mode.clone(),
                spec: VolumeSpec {
                    driver: mount.volume.driver.clone().or_else(|| spec.volume_driver.clone()),
                    ..mount.volume.clone()
                },
            });
        }
    }
    let taken = |target: &str| {
        spec.mounts.iter().any(|mount| clean(&mount.target) == target)
            || spec.tmpfs.iter().any(|tmpfs| clean(&tmpfs.target) == target)
    };
    for declared in config.volumes.iter().flat_map(BTreeMap::keys) {
        let target = clean(declared);
        if target == "/" || declared.contains('\0') {
            return Err(Error::refused(
                Kind::InvalidInput,
                format!("invalid volume `{}` in the image", declared.escape_debug()),
            ));
        }
        if !taken(&target) && !found.iter().any(|volume| volume.target == target) {
            found.push(VolumeMount {
                name: super::random_id(),
                target,
                read_only: false,
                anonymous: true,
                copy_up: true,
                subpath: None,
                treatment: Treatment::default(),
                mode: String::new(),
                spec: VolumeSpec::default(),
            });
        }
    }
    Ok(found)
}

/// An absolute path without `.`, `..`, or repeated slashes. `..` is resolved by its text, as Docker does: the kernel
/// resolves the result once more inside the root.
pub fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// One environment over another. Entries without `=` never reach a container: they would be taken from the host
/// somewhere (CVE-2026-57231).
pub fn environment(base: &[String], over: &[String], remove: &[String]) -> Vec<String> {
    let mut merged: Vec<String> = Vec::with_capacity(base.len() + over.len());
    for entry in base.iter().chain(over) {
        let Some((name, _)) = entry.split_once('=') else { continue };
        if name.is_empty() || entry.contains('\0') {
            continue;
        }
        match merged.iter_mut().find(|known| named(known, name)) {
            Some(known) => known.clone_from(entry),
            None => merged.push(entry.clone()),
        }
    }
    merged.retain(|entry| {
        let gone = remove.iter().any(|name| named(entry, name));
        !gone || over.iter().any(|own| own == entry)
    });
    merged
}

fn named(entry: &str, name: &str) -> bool {
    entry.split_once('=').is_some_and(|(known, _)| known == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn entrypoint_and_command_combine_as_docker_does() {
        // image entrypoint, image command, request entrypoint, request command, result
        for (entrypoint, cmd, own_entrypoint, own, wanted) in [
            (None, Some("sh"), None, "", Some("sh")),
            (None, Some("sh"), None, "ls -l", Some("ls -l")),
            (Some("tini --"), Some("app"), None, "", Some("tini -- app")),
            (Some("tini --"), Some("app"), None, "other", Some("tini -- other")),
            (Some("tini --"), Some("app"), Some("sh"), "", Some("sh")),
            (Some("tini --"), Some("app"), Some("sh"), "-c id", Some("sh -c id")),
            (Some("tini --"), Some("app"), Some(""), "id", Some("id")),
            (Some("tini --"), Some("app"), Some(""), "", None),
            (Some("tini"), None, None, "", Some("tini")),
            (None, None, None, "", None),
        ] {
            let image =
                ContainerDefaults { entrypoint: entrypoint.map(words), cmd: cmd.map(words), ..Default::default() };
            let own_entrypoint: Option<Vec<String>> = own_entrypoint.map(|e| vec![e.to_owned()]);
            let spec = ContainerSpec { entrypoint: own_entrypoint, command: words(own), ..Default::default() };
            let merged = merge(&image, &spec);
            match wanted {
                Some(wanted) => {
                    let merged = merged.unwrap();
                    let args: Vec<String> = merged.entrypoint.into_iter().chain(merged.cmd).flatten().collect();
                    assert_eq!(args, words(wanted), "{entrypoint:?} {cmd:?} {own:?}");
                }
                None => assert_eq!(merged.unwrap_err().kind(), Kind::InvalidInput),
            }
        }
    }

    #[test]
    fn later_environment_wins_and_the_host_never_does() {
        let merged = environment(&words("PATH=/bin A=1 B=2 HOME *  =x"), &words("A=3 C=4 D="), &words("B"));
        assert_eq!(merged, words("PATH=/bin A=3 C=4 D="));
    }

    #[test]
    fn image_volumes_give_way_to_mounts() {
        let image = ContainerDefaults {
            volumes: Some(
                ["/data", "/cache/", "/../etc/x"]
                    .iter()
                    .map(|path| ((*path).to_owned(), serde_json::json!({})))
                    .collect(),
            ),
            ..Default::default()
        };
        let spec = ContainerSpec {
            mounts: vec![crate::container::parse_volume("named:/data:ro").unwrap()],
            tmpfs: vec![crate::container::parse_tmpfs("/cache").unwrap()],
            ..Default::default()
        };
        let inherited = |name: &str, target: &str| VolumeMount {
            name: name.into(),
            target: target.into(),
            read_only: true,
            anonymous: false,
            copy_up: false,
            subpath: None,
            treatment: Treatment::default(),
            mode: String::new(),
            spec: VolumeSpec::default(),
        };
        let found = volumes(&image, &spec, vec![inherited("theirs", "/data")]).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(
            (found[0].name.as_str(), found[0].target.as_str(), found[0].read_only, found[0].anonymous),
            ("named", "/data", true, false)
        );
        assert_eq!((found[1].target.as_str(), found[1].anonymous), ("/etc/x", true));
        let found = volumes(&image, &spec, vec![inherited("theirs", "/etc/x")]).unwrap();
        assert_eq!((found[0].name.as_str(), found.len()), ("theirs", 2));
        let bad = ContainerDefaults {
            volumes: Some([("/..".to_owned(), serde_json::json!({}))].into()),
            ..Default::default()
        };
        assert_eq!(volumes(&bad, &ContainerSpec::default(), Vec::new()).unwrap_err().kind(), Kind::InvalidInput);
    }
}
