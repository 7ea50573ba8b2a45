//! `image inspect --remote`: Docker's keys as far as a registry tells, and what the registry has beside them.

use mica_engine::manifest::{Contents, Descriptor};
use mica_engine::ops::inspect_remote::RemoteImage;
use serde_json::{Value, json};

use super::image::defaults;

/// Everything that a registry says about an image. Sizes are those of compressed layers.
pub fn details(image: &RemoteImage) -> mica_engine::Result<Value> {
    let config = &image.config;
    let repository = image.reference.familiar_repository();
    let size: u64 = image.manifest.layers.iter().map(|layer| layer.size).sum();
    let tags: Vec<String> = image.reference.tag().map(|tag| format!("{repository}:{tag}")).into_iter().collect();
    let mut view = json!({
        "Id": image.manifest.config.digest.to_string(),
        "RepoTags": tags,
        "RepoDigests": [format!("{repository}@{}", image.named.digest)],
        "Created": config.created.as_deref().unwrap_or("0001-01-01T00:00:00Z"),
        "Author": config.author.as_deref().unwrap_or_default(),
        "Config": defaults(&config.config),
        "Architecture": config.architecture,
        "Os": config.os,
        "Size": size,
        "RootFS": { "Type": config.rootfs.kind, "Layers": config.rootfs.diff_ids.iter().map(|id| id.0.to_string()).collect::<Vec<_>>() },
        "Manifest": descriptor(&image.document.descriptor()),
        "Layers": image.manifest.layers.iter().map(descriptor).collect::<Vec<_>>(),
    });
    if let Value::Object(view) = &mut view {
        if let Some(variant) = &config.variant {
            view.insert("Variant".to_owned(), variant.as_str().into());
        }
        if let Contents::Index(index) = image.named.read()? {
            let mut shown = descriptor(&image.named.descriptor());
            shown["Manifests"] = index.manifests.iter().map(descriptor).collect();
            view.insert("Index".to_owned(), shown);
        }
    }
    Ok(view)
}

fn descriptor(descriptor: &Descriptor) -> Value {
    let mut view = json!({
        "MediaType": descriptor.media_type,
        "Digest": descriptor.digest.to_string(),
        "Size": descriptor.size,
    });
    if let Value::Object(view) = &mut view {
        if let Some(platform) = &descriptor.platform {
            view.insert("Platform".to_owned(), platform.to_string().into());
        }
        if !descriptor.annotations.is_empty() {
            view.insert("Annotations".to_owned(), json!(descriptor.annotations));
        }
    }
    view
}
