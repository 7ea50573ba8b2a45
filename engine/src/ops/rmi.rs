//! `rmi`: a name goes, and with the last name the image and everything nobody else needs.

use mica_layer::Digest;
use rusqlite::Transaction;

use crate::events::{Actor, Event};
use crate::list::ManifestList;
use crate::ops::ps::{ContainerSummary, PsRequest};
use crate::storage::reap::Patience;
use crate::store::images::{self, Resolved};
use crate::store::sweep::Swept;
use crate::store::{Flush, containers, lists, manifests, remote};
use crate::{Engine, Error, Kind, Reference, Result};

/// How `rmi` behaves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RemoveImage {
    /// Remove an image that has several names, or that stopped containers use.
    pub force: bool,
}

/// One line of what `rmi` did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// A name is gone.
    Untagged(Reference),
    /// An image, or a layer of it (by chain ID), is gone.
    Deleted(Digest),
}

/// The event of a line.
fn told(line: &Removed) -> Event {
    match line {
        Removed::Untagged(name) => Event::now("image", "untag", Actor::named(&name.familiar(), &name.familiar())),
        Removed::Deleted(id) => Event::now("image", "delete", Actor::named(id.as_str(), id.as_str())),
    }
}

/// What has been decided to go.
#[derive(Debug)]
struct Verdict {
    untag: Vec<Reference>,
    delete: Option<Digest>,
}

impl Engine {
    /// Removes a name or an image. The bytes that nobody else needs are free soon.
    pub async fn remove_image(&self, name: &str, options: RemoveImage) -> Result<Vec<Removed>> {
        let containers = self.ps(PsRequest { all: true, ..PsRequest::default() }).await?;
        let name = name.to_owned();
        self.blocking(move |engine| {
            engine.store().make_room();
            let (mut removed, loose) = engine.store().write(Flush::Now, |db| {
                if let Some((reference, list)) = lists::meant(db, &name)? {
                    lists::delete(db, &reference)?;
                    let dropped = drop_nameless(db, &list)?.into_iter().map(Removed::Deleted);
                    let removed: Vec<Removed> = [Removed::Untagged(reference)].into_iter().chain(dropped).collect();
                    return Ok((removed, manifests::has_unneeded(db)?));
                }
                let resolved = images::resolve(db, &name)?;
                let names = images::tags_of(db, &resolved.id)?;
                let users: Vec<&ContainerSummary> =
                    containers.iter().filter(|container| container.record.image_id == resolved.id).collect();
                refuse_newcomers(db, &resolved.id, &users, options)?;
                let verdict = judge(&resolved, names, &users, options)?;
                let mut removed = Vec::new();
                let mut indexes = Vec::new();
                for reference in &verdict.untag {
                    indexes.extend(remote::index_of(db, reference)?);
                    let manifest = manifests::of_tag(db, reference)?;
                    images::delete_tag(db, reference)?;
                    removed.push(Removed::Untagged(reference.clone()));
                    let digests = forget_digests(db, reference, (&resolved.id, manifest.as_ref()))?;
                    removed.extend(digests.into_iter().map(Removed::Untagged));
                }
                if let Some(id) = &verdict.delete {
                    refuse_mounted(db, id)?;
                    images::delete(db, id)?;
                    removed.push(Removed::Deleted(id.clone()));
                }
                for index in &indexes {
                    removed.extend(drop_others(db, index)?.into_iter().map(Removed::Deleted));
                }
                Ok((removed, manifests::has_unneeded(db)?))
            })?;
            // Before the layers, which nobody has asked for by name.
            engine.tell_all(&removed.iter().map(told).collect::<Vec<_>>());
            if loose || removed.iter().any(|line| matches!(line, Removed::Deleted(_))) {
                removed.extend(layers_in(&engine.reclaim(Patience::Leave)?));
            }
            Ok(removed)
        })
        .await
    }
}

/// With the last tag of a repository go the digests by which that repository calls the image; with another one that of the
/// manifest it came with, if no other tag came with that.
fn forget_digests(
    db: &Transaction<'_>,
    untagged: &Reference,
    (image, manifest): (&Digest, Option<&Digest>),
) -> Result<Vec<Reference>> {
    let repository = untagged.repository();
    if !images::tags_of(db, image)?.iter().any(|name| name.repository() == repository) {
        return remote::delete_names(db, &repository, image);
    }
    let Some(manifest) = manifest else { return Ok(Vec::new()) };
    let gone = remote::delete_name_unless_tagged(db, &repository, manifest, image)?;
    gone.then(|| Reference::parse_name(&format!("{repository}@{manifest}"))).into_iter().collect()
}

/// Images of other platforms go with the last name of the index that lists them, unless they have a name or a container.
pub(crate) fn drop_others(db: &Transaction<'_>, index: &Digest) -> Result<Vec<Digest>> {
    let named = images::collect(db, "SELECT 1 FROM tags WHERE idx = ?1", [index.as_str()], |_| Ok(()))?;
    let mut dropped = Vec::new();
    for listed in if named.is_empty() { remote::listed(db, index)? } else { Vec::new() } {
        let sql = "SELECT 1 FROM tags WHERE image = ?1 UNION ALL SELECT 1 FROM containers WHERE image = ?1";
        if images::collect(db, sql, [listed.image.as_str()], |_| Ok(()))?.is_empty()
            && containers::users_of_mounted_image(db, &listed.image)?.is_empty()
        {
            images::delete(db, &listed.image)?;
            dropped.push(listed.image);
        }
    }
    Ok(dropped)
}

/// Images go with the list that is their only name, unless they have a container.
fn drop_nameless(db: &Transaction<'_>, list: &ManifestList) -> Result<Vec<Digest>> {
    let kept = remote::images_of_others(db)?;
    let mut dropped = Vec::new();
    for image in lists::entries(db, list)?.into_iter().filter_map(|(_, image)| image) {
        let sql = "SELECT 1 FROM tags WHERE image = ?1 UNION ALL SELECT 1 FROM containers WHERE image = ?1
                   UNION ALL SELECT 1 FROM digests WHERE image = ?1";
        let named = !images::collect(db, sql, [image.as_str()], |_| Ok(()))?.is_empty();
        let mounted = !containers::users_of_mounted_image(db, &image)?.is_empty();
        if !named && !mounted && !kept.contains(&image) && !dropped.contains(&image) {
            images::delete(db, &image)?;
            dropped.push(image);
        }
    }
    Ok(dropped)
}

/// The layers of a sweep as `rmi` and `prune` report them, each chain once.
pub(crate) fn layers_in(swept: &Swept) -> Vec<Removed> {
    let mut chains: Vec<Removed> = Vec::new();
    for (_, chain_id) in &swept.chains {
        let line = Removed::Deleted(chain_id.0.clone());
        if !chains.contains(&line) {
            chains.push(line);
        }
    }
    chains
}

/// Docker's rules: a name may go while others are left; an image in use goes only by force, and never under a running container.
fn judge(
    resolved: &Resolved,
    names: Vec<Reference>,
    users: &[&ContainerSummary],
    options: RemoveImage,
) -> Result<Verdict> {
    let short = resolved.id.short();
    let running = users.iter().find(|container| container.state.is_running());
    let Some(reference) = &resolved.reference else {
        if let Some(container) = running {
            let container = container.record.short_id();
            return Err(conflict(
                format!(
                    "conflict: unable to delete {short} (cannot be forced) - image is being used by running container {container}"
                ),
                "stop and remove the container first",
            ));
        }
        if let (Some(container), false) = (users.first(), options.force) {
            let container = container.record.short_id();
            return Err(conflict(
                format!(
                    "conflict: unable to delete {short} (must be forced) - image is being used by stopped container {container}"
                ),
                "remove the container, or use `--force`",
            ));
        }
        if names.len() > 1 && !options.force {
            return Err(conflict(
                format!(
                    "conflict: unable to delete {short} (must be forced) - image is referenced in multiple repositories"
                ),
                "remove it by its names, or use `--force`",
            ));
        }
        return Ok(Verdict { untag: names, delete: Some(resolved.id.clone()) });
    };
    let last = names.iter().all(|name| name == reference);
    if let (true, Some(container), false) = (last, running.or(users.first()), options.force) {
        let (name, container) = (reference.familiar(), container.record.short_id());
        return Err(conflict(
            format!(
                "conflict: unable to remove repository reference \"{name}\" (must force) - container {container} is using its referenced image {short}"
            ),
            "remove the container, or use `--force` to take the name away",
        ));
    }
    // Under a running container the image loses its name and stays.
    let delete = (last && running.is_none()).then(|| resolved.id.clone());
    Ok(Verdict { untag: vec![reference.clone()], delete })
}

/// A container that was made while we looked at the others counts as one that uses the image.
fn refuse_newcomers(
    db: &rusqlite::Connection,
    id: &Digest,
    users: &[&ContainerSummary],
    options: RemoveImage,
) -> Result<()> {
    let now: Vec<String> =
        images::collect(db, "SELECT id FROM containers WHERE image = ?1", [id.as_str()], |row| row.get(0))?;
    let Some(newcomer) = now.iter().find(|id| !users.iter().any(|container| container.record.id == **id)) else {
        return Ok(());
    };
    if options.force {
        return Ok(());
    }
    let (short, newcomer) = (id.short(), newcomer.get(..12).unwrap_or(newcomer));
    Err(conflict(
        format!("conflict: unable to delete {short} - container {newcomer} was made of it meanwhile"),
        "try again",
    ))
}

/// An image that a container mounts somewhere stays, by force too: the container could not start again.
fn refuse_mounted(db: &rusqlite::Connection, id: &Digest) -> Result<()> {
    let Some(container) = containers::users_of_mounted_image(db, id)?.into_iter().next() else { return Ok(()) };
    let (short, container) = (id.short(), container.get(..12).unwrap_or(&container).to_owned());
    Err(conflict(
        format!("conflict: unable to delete {short} (cannot be forced) - image is mounted in container {container}"),
        "remove the container first",
    ))
}

fn conflict(message: String, hint: &str) -> Error {
    Error::refused(Kind::Conflict, message).with_hint(hint)
}
