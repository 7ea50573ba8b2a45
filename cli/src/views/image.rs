//! `inspect` of an image, with Docker's keys.

use mica_engine::Reference;
use mica_engine::image::ContainerDefaults;
use mica_engine::ops::inspect_image::ImageDetails;
use serde_json::{Value, json};

/// Everything about an image.
pub fn details(image: &ImageDetails) -> Value {
    let config = &image.config;
    let tags: Vec<String> = image
        .references
        .iter()
        .map(|(reference, _)| reference)
        .filter(|reference| reference.tag().is_some())
        .map(Reference::familiar)
        .collect();
    let comment = config.history.last().and_then(|entry| entry.comment.clone()).unwrap_or_default();
    let zero = "0001-01-01T00:00:00Z";
    let mut view = json!({
        "Id": image.id.to_string(),
        "RepoTags": tags,
        "RepoDigests": repository_digests(image),
        "Parent": "",
        "Comment": comment,
        "Created": config.created.as_deref().unwrap_or(zero),
        "Author": config.author.as_deref().unwrap_or_default(),
        "Config": defaults(&config.config),
        "Architecture": config.architecture,
        "Os": config.os,
        "Size": image.size,
        "VirtualSize": image.size,
        "GraphDriver": { "Name": image.driver.as_deref().unwrap_or_default(), "Data": null },
        "RootFS": { "Type": config.rootfs.kind, "Layers": config.rootfs.diff_ids.iter().map(|id| id.0.to_string()).collect::<Vec<_>>() },
        "Metadata": { "LastTagTime": image.last_tagged.as_deref().unwrap_or(zero) },
    });
    if let (Some(variant), Value::Object(view)) = (&config.variant, &mut view) {
        view.insert("Variant".to_owned(), variant.as_str().into());
    }
    view
}

/// The defaults for containers, with every key that Docker always has.
pub fn defaults(config: &ContainerDefaults) -> Value {
    let mut view = json!({
        "User": config.user,
        "Env": config.env,
        "Cmd": config.cmd,
        "Entrypoint": config.entrypoint,
        "Volumes": config.volumes,
        "WorkingDir": config.working_dir,
        "OnBuild": config.on_build,
        "Labels": config.labels,
    });
    let optional = [
        ("ExposedPorts", config.exposed_ports.as_ref().map(|ports| json!(ports))),
        ("StopSignal", config.stop_signal.as_ref().map(|signal| json!(signal))),
        ("Shell", config.shell.as_ref().map(|shell| json!(shell))),
        ("Healthcheck", config.healthcheck.clone()),
    ];
    if let Value::Object(view) = &mut view {
        view.extend(optional.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
        view.extend(config.other.iter().map(|(key, value)| (key.clone(), value.clone())));
    }
    view
}

/// What registries call the image by; of one that no registry has sent, its manifest under each repository that names it.
fn repository_digests(image: &ImageDetails) -> Vec<String> {
    if !image.digests.is_empty() {
        return image.digests.iter().map(Reference::familiar).collect();
    }
    let mut digests: Vec<String> = image
        .references
        .iter()
        .filter_map(|(reference, came_with)| {
            let digest = reference.digest().or(came_with.manifest.as_ref()).or(image.manifest.as_ref())?;
            Some(format!("{}@{digest}", reference.familiar_repository()))
        })
        .collect();
    digests.sort();
    digests.dedup();
    digests
}
