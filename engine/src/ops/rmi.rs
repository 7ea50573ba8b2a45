//! `rmi`: a name goes, and with the last name the image and everything nobody else needs.

use mica_layer::Digest;

use crate::ops::ps::{ContainerSummary, PsRequest};
use crate::storage::reap::Patience;
use crate::store::Flush;
use crate::store::images::{self, Resolved};
use crate::store::sweep::Swept;
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
            let verdict = engine.store().write(Flush::Now, |db| {
                let resolved = images::resolve(db, &name)?;
                let names = images::tags_of(db, &resolved.id)?;
                let users: Vec<&ContainerSummary> =
                    containers.iter().filter(|container| container.record.image_id == resolved.id).collect();
                refuse_newcomers(db, &resolved.id, &users, options)?;
                let verdict = judge(&resolved, names, &users, options)?;
                for reference in &verdict.untag {
                    images::delete_tag(db, reference)?;
                }
                if let Some(id) = &verdict.delete {
                    images::delete(db, id)?;
                }
                Ok(verdict)
            })?;
            let mut removed: Vec<Removed> = verdict.untag.into_iter().map(Removed::Untagged).collect();
            if let Some(id) = verdict.delete {
                removed.push(Removed::Deleted(id));
                removed.extend(layers_in(&engine.reclaim(Patience::Leave)?));
            }
            Ok(removed)
        })
        .await
    }
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

fn conflict(message: String, hint: &str) -> Error {
    Error::refused(Kind::Conflict, message).with_hint(hint)
}
