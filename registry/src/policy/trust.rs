//! [`Trust`]: whether the policy of this machine admits an image. From the rule for its name to the signatures that have to be
//! there; the file is read when the first image is asked for.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use mica_engine::manifest::{Descriptor, Document};
use mica_engine::registry::Registry;
use mica_engine::{Error, Kind, Reference, Result};
use mica_layer::Digest;

use super::attached;
use super::file::{PolicyFile, Rule};
use super::requirement::Requirement;
use super::wanted::Wanted;
use crate::config::text::{read, refused};

/// The most signatures of an image that are looked at.
const SIGNATURES_MAX: usize = 64;

/// The policy of this machine.
#[derive(Debug, Default)]
pub struct Trust {
    named: Option<PathBuf>,
    usual: Vec<PathBuf>,
    policy: Mutex<Option<Option<Arc<Policy>>>>,
}

/// A policy and the file that it stands in.
#[derive(Debug)]
struct Policy {
    path: PathBuf,
    file: PolicyFile,
}

impl Trust {
    /// By the file that is `named`, which has to exist; else by the first of the `usual` ones that exists. Without one, every
    /// image is admitted.
    pub fn new(named: Option<PathBuf>, usual: Vec<PathBuf>) -> Trust {
        Trust { named, usual, policy: Mutex::default() }
    }

    /// Asks whether an image is admitted. `chain` leads from what the name stands for down to the image's manifest, all
    /// verified: a signature of any of them is one of the image. `Kind::Denied` when it is not admitted, `InvalidInput` for
    /// a policy that is not understood.
    pub async fn admit(&self, registry: &dyn Registry, image: &Reference, chain: &[Document]) -> Result<()> {
        let Some(policy) = self.policy()? else { return Ok(()) };
        let rule = policy.file.rule(image);
        let refuse = |reason: String| {
            let (name, path) = (image.familiar(), policy.path.display());
            let message = format!("`{name}` is refused by `{path}` ({}): {reason}", rule.place);
            Error::refused(Kind::Denied, message)
        };
        let mut wanted = wanted(&rule).map_err(refuse)?;
        if wanted.is_empty() {
            return Ok(());
        }
        let mut search = Search { registry, image, digests: digests(chain), seen: 0, last: None };
        search.run(chain, &mut wanted).await?;
        let Some(missing) = wanted.first() else { return Ok(()) };
        if search.seen >= SIGNATURES_MAX {
            let reason = format!("{}; no more than {SIGNATURES_MAX} signatures are looked at", missing.missing());
            return Err(refuse(reason));
        }
        let error = refuse(missing.missing());
        Err(match missing.remedy() {
            Some(remedy) => error.with_hint(remedy),
            None => error,
        })
    }

    fn policy(&self) -> Result<Option<Arc<Policy>>> {
        let mut policy = self.policy.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(policy) = &*policy {
            return Ok(policy.clone());
        }
        let found = self.load()?.map(Arc::new);
        *policy = Some(found.clone());
        Ok(found)
    }

    fn load(&self) -> Result<Option<Policy>> {
        if let Some(path) = &self.named {
            let missing = || refused(path, "there is no such file, and `registries.policy` of the config names it");
            return policy_at(path)?.ok_or_else(missing).map(Some);
        }
        for path in &self.usual {
            if let Some(policy) = policy_at(path)? {
                return Ok(Some(policy));
            }
        }
        Ok(None)
    }
}

fn policy_at(path: &Path) -> Result<Option<Policy>> {
    let Some(text) = read(path)? else { return Ok(None) };
    let file = PolicyFile::parse(&text).map_err(|reason| refused(path, reason))?;
    Ok(Some(Policy { path: path.to_owned(), file }))
}

/// The signatures that a rule wants; the error is why no image has what it wants.
fn wanted<'a>(rule: &Rule<'a>) -> Result<Vec<Wanted<'a>>, String> {
    let mut wanted = Vec::new();
    for requirement in rule.requirements {
        match requirement {
            Requirement::Accept => {}
            Requirement::Reject => return Err("its rule is `reject`".to_owned()),
            Requirement::Unsupported(what) => return Err(format!("its rule is {what}, which is not supported")),
            Requirement::Sigstore(sigstore) => wanted.push(Wanted::load(sigstore)?),
        }
    }
    Ok(wanted)
}

/// What a signature of one of these may say that it signs.
fn digests(chain: &[Document]) -> Vec<Digest> {
    let mut digests: Vec<Digest> =
        chain.iter().flat_map(|document| [Digest::sha256_of(&document.bytes), document.digest.clone()]).collect();
    digests.dedup();
    digests
}

/// A walk through an image's signatures.
struct Search<'a> {
    registry: &'a dyn Registry,
    image: &'a Reference,
    digests: Vec<Digest>,
    /// Signatures that were looked at.
    seen: usize,
    /// The payload that was fetched last: an image that was signed twice has it twice.
    last: Option<(Digest, Vec<u8>)>,
}

impl Search<'_> {
    /// Looks until all that is wanted was found, and leaves what was not. Tags first, because nearly everybody uses them.
    async fn run(&mut self, chain: &[Document], wanted: &mut Vec<Wanted<'_>>) -> Result<()> {
        let signable: Vec<Digest> = chain.iter().map(|document| Digest::sha256_of(&document.bytes)).collect();
        for digest in &signable {
            let layers = attached::tagged(self.registry, self.image, digest).await?;
            self.judge(&layers, wanted).await?;
            if wanted.is_empty() {
                return Ok(());
            }
        }
        for digest in &signable {
            let layers = attached::referring(self.registry, self.image, digest).await?;
            self.judge(&layers, wanted).await?;
            if wanted.is_empty() {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn judge(&mut self, layers: &[Descriptor], wanted: &mut Vec<Wanted<'_>>) -> Result<()> {
        for layer in layers {
            if wanted.is_empty() || self.seen >= SIGNATURES_MAX {
                return Ok(());
            }
            self.seen += 1;
            let Some(signature) = attached::signature(layer) else { continue };
            if self.last.as_ref().is_none_or(|(digest, _)| *digest != layer.digest) {
                let payload = attached::payload(self.registry, self.image, layer).await?;
                self.last = payload.map(|payload| (layer.digest.clone(), payload));
            }
            let Some((_, payload)) = &self.last else { continue };
            wanted.retain_mut(|wanted| !wanted.is_met_by(payload, signature, &self.digests, self.image));
        }
        Ok(())
    }
}
