//! From a name to what a list says about it: an image of the store as it would be pushed, else what a registry has.

use mica_layer::Digest;
use serde_json::Value;

use super::documents;
use crate::image::ImageConfig;
use crate::list::{Member, Remarks};
use crate::manifest::{Contents, Descriptor, OCI_INDEX, require_image_types};
use crate::ops::pull::{config_bytes, config_of};
use crate::ops::push::manifest::document_of;
use crate::store::images::{self, Resolved};
use crate::store::{Store, lists, remote};
use crate::{Engine, Error, Kind, Platform, Reference, Result};

impl Engine {
    /// The members that a name stands for: one, or with `all` those of an index too.
    pub(super) async fn members(&self, name: &str, all: bool, remarks: &Remarks) -> Result<Vec<Member>> {
        let wanted = name.to_owned();
        let local = self.blocking(move |engine| local(engine.store(), &wanted, all)).await?;
        let mut members = match local {
            Some(members) => members,
            None => self.remote_members(&Reference::parse(name)?, all).await?,
        };
        match members.as_mut_slice() {
            [member] => member.remark(remarks)?,
            several if *remarks == Remarks::default() => {
                let unknown = several.iter().find(|member| member.descriptor.platform.is_none());
                if let Some(member) = unknown {
                    let message = format!("`{}` lists an image without a platform: {}", name, member.descriptor.digest);
                    return Err(Error::refused(Kind::InvalidInput, message)
                        .with_hint("`mica manifest add LIST NAME@DIGEST` adds it by itself"));
                }
            }
            several => {
                let message =
                    format!("`{name}` stands for {} images, which cannot all be for one platform", several.len());
                return Err(Error::refused(Kind::InvalidInput, message)
                    .with_hint("add them first, then use `mica manifest annotate`"));
            }
        }
        Ok(members)
    }

    /// What a registry has by this name. Only descriptors are kept of it.
    async fn remote_members(&self, reference: &Reference, all: bool) -> Result<Vec<Member>> {
        let document = self.options().registry.manifest(reference).await?;
        match document.read()? {
            Contents::Index(index) if all => Ok(entries(reference, index.manifests)),
            Contents::Index(_) => Err(is_list(reference)),
            Contents::Manifest(manifest) => {
                require_image_types(&manifest)?;
                let config =
                    config_of(reference, &config_bytes(&*self.options().registry, reference, &manifest.config).await?)?;
                let mut descriptor = document.descriptor();
                descriptor.platform = platform_of(&config);
                Ok(vec![Member { name: reference.to_string(), descriptor, image: None }])
            }
        }
    }
}

/// What the store has by this name; `None` when it has nothing.
fn local(store: &Store, name: &str, all: bool) -> Result<Option<Vec<Member>>> {
    if let Some((reference, list)) = store.read(|db| lists::meant(db, name))? {
        return if all { Ok(Some(list.members)) } else { Err(is_list(&reference)) };
    }
    let Resolved { id, reference, manifest } = match store.read(|db| images::resolve(db, name)) {
        Ok(resolved) => resolved,
        Err(error) if error.kind() == Kind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if let (true, Some(reference)) = (all, &reference)
        && let Some(index) = store.read(|db| remote::index_of(db, reference))?
        && let Contents::Index(contents) = document_of(store.read_document(&index)?, OCI_INDEX).read()?
    {
        return Ok(Some(entries(reference, contents.manifests)));
    }
    let mut descriptor = documents::of_image(store, &id, manifest.as_ref())?.descriptor();
    descriptor.platform = platform_of(&store.image_config(&id)?);
    let typed = || Reference::parse(name).ok().filter(|name| name.digest().is_some()).map(|name| name.to_string());
    let name = reference.map(|name| name.to_string()).or_else(typed).unwrap_or_else(|| id.to_string());
    Ok(Some(vec![Member { name, descriptor, image: Some(id) }]))
}

/// The entries of an index, each by its own digest.
fn entries(reference: &Reference, manifests: Vec<Descriptor>) -> Vec<Member> {
    let name = |digest: &Digest| format!("{}@{digest}", reference.repository());
    let member = |descriptor: Descriptor| Member { name: name(&descriptor.digest), descriptor, image: None };
    manifests.into_iter().map(member).collect()
}

/// The platform as the config writes it, which lists repeat.
fn platform_of(config: &ImageConfig) -> Option<Platform> {
    let text = |key: &str| config.other.get(key).and_then(Value::as_str).map(str::to_owned);
    let features = config.other.get("os.features").and_then(Value::as_array);
    let platform = Platform {
        architecture: config.architecture.clone(),
        os: config.os.clone(),
        variant: config.variant.clone().filter(|variant| !variant.is_empty()),
        os_version: text("os.version"),
        os_features: features.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect(),
    };
    (platform != Platform::default()).then_some(platform)
}

fn is_list(reference: &Reference) -> Error {
    Error::refused(Kind::InvalidInput, format!("{} is a manifest list", reference.familiar()))
        .with_hint("`--all` takes all its images, and NAME@DIGEST one of them")
}
