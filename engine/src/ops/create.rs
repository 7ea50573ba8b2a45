//! `create`: image and request become a container that has not run.

use jiff::Timestamp;

use crate::bundle::{capabilities, merge, mounts, random_id, resources};
use crate::container::{ContainerRecord, ContainerSpec, VolumeMount};
use crate::storage::Chain;
use crate::store::containers::{self, Claim, remove_directory};
use crate::store::{Flush, names, volumes};
use crate::{Engine, Error, Kind, Reference, Result};

/// How many random names are tried before the store is called full.
const NAME_ATTEMPTS: u32 = 12;

/// The file in a container's directory that names volumes made for it, before they are made.
pub(crate) const VOLUMES: &str = "volumes";

/// The mark of a container that `run` made: without a client and not started, it is a left-over.
pub(crate) const RUN: &str = "run";

/// Why a container is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To be started some time.
    Keep,
    /// To be started now.
    Run,
}

/// What to create.
#[derive(Debug, Clone, Default)]
pub struct CreateRequest {
    /// The container.
    pub spec: ContainerSpec,
    /// When a registry is asked for the image.
    pub pull: PullPolicy,
}

/// When a registry is asked for an image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PullPolicy {
    /// When the image is not local.
    #[default]
    Missing,
    /// Before every use.
    Always,
    /// Never.
    Never,
}

/// A new container.
#[derive(Debug, Clone)]
pub struct Created {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What a person should know, one sentence each.
    pub warnings: Vec<String>,
}

/// A new container that nobody else can touch yet.
pub(crate) struct Fresh {
    pub(crate) record: ContainerRecord,
    pub(crate) chain: Chain,
    pub(crate) claim: Claim,
    pub(crate) warnings: Vec<String>,
}

impl Engine {
    /// Creates a container. Its row comes last, so whatever a cut-off `create` leaves is garbage that recovery clears.
    pub async fn create(&self, request: CreateRequest) -> Result<Created> {
        let fresh = self.create_fresh(request, Purpose::Keep).await?;
        Ok(Created { id: fresh.record.id, name: fresh.record.name, warnings: fresh.warnings })
    }

    /// [`Engine::create`] for callers that go on with the container.
    pub(crate) async fn create_fresh(&self, request: CreateRequest, purpose: Purpose) -> Result<Fresh> {
        self.blocking(move |engine| engine.create_now(request, purpose)).await
    }

    fn create_now(&self, request: CreateRequest, purpose: Purpose) -> Result<Fresh> {
        let CreateRequest { spec, pull } = request;
        if let Some(name) = &spec.name {
            names::check(name.trim_start_matches('/'))?;
        }
        let image = self.store().find_image(&spec.image).map_err(|error| missing(error, &spec.image))?;
        if pull == PullPolicy::Always {
            return Err(no_registry(format!("cannot pull `{}`", shown(&spec.image))));
        }
        let config = merge::merge(&image.config.config, &spec)?;
        let volumes = merge::volumes(&config, &spec)?;
        validate(&spec)?;
        let warnings = warnings(&spec, &image.config);

        let driver = self.selected_driver()?;
        let chain = self.chain_on(&driver, &image.config.rootfs.diff_ids)?;
        let (id, claim) = self.claim_new()?;
        let mut record = ContainerRecord {
            name: spec.name.as_deref().map(|name| name.trim_start_matches('/').to_owned()).unwrap_or_default(),
            created: Timestamp::now().to_string(),
            image_id: image.id,
            image_name: spec.image.clone(),
            driver: chain.driver().to_owned(),
            diff_ids: image.config.rootfs.diff_ids,
            config,
            spec,
            volumes,
            id,
        };
        let made = self.fill(&record, &chain, purpose).and_then(|()| self.record(&mut record));
        if let Err(error) = made {
            // A commit that failed may have reached the log, and whoever reads that next finds the row: recovery decides.
            if !error.leaves_commit_open() {
                self.discard(&record);
            }
            return Err(error);
        }
        Ok(Fresh { record, chain, claim, warnings })
    }

    /// A new ID with its directory, claimed before anyone can take it for garbage.
    fn claim_new(&self) -> Result<(String, Claim)> {
        loop {
            let id = random_id();
            self.store().create_directories(&id)?;
            if let Some(claim) = self.store().try_claim(&id)? {
                return Ok((id, claim));
            }
        }
    }

    /// Everything of a container but its row.
    fn fill(&self, record: &ContainerRecord, chain: &Chain, purpose: Purpose) -> Result<()> {
        if purpose == Purpose::Run && record.spec.auto_remove {
            let mark = self.store().directories(&record.id).state.join(RUN);
            fs_err::write(&mark, "").map_err(Error::io("write", mark))?;
        }
        self.create_rw(&chain.driver, &chain.keys, &record.id)?;
        if record.volumes.is_empty() {
            return Ok(());
        }
        let own: Vec<&str> =
            record.volumes.iter().filter(|volume| volume.anonymous).map(|volume| volume.name.as_str()).collect();
        let list = self.store().directories(&record.id).state.join(VOLUMES);
        fs_err::write(&list, own.join("\n")).map_err(Error::io("write", &list))?;
        let view = self.view(chain)?;
        record.volumes.iter().try_for_each(|volume: &VolumeMount| self.store().prepare_volume(volume, &view))
    }

    /// The row, with a random name where none was asked for.
    fn record(&self, record: &mut ContainerRecord) -> Result<()> {
        let asked = !record.name.is_empty();
        for attempt in 0..NAME_ATTEMPTS {
            if !asked {
                record.name = names::random(attempt);
            }
            // A container that goes away by itself needs no flush; one that a person keeps does.
            let flush = if record.spec.auto_remove { Flush::Later } else { Flush::Now };
            let inserted = self.store().write(flush, |db| {
                containers::insert(db, record)?;
                record.volumes.iter().try_for_each(|volume| volumes::insert(db, volume, &record.created))
            });
            match inserted {
                Err(error) if error.kind() == Kind::AlreadyExists => {
                    // The name may belong to a container that ought to be gone, left by a client that was killed.
                    let cleared = attempt == 0 && asked && self.clear_finished(&record.name)?;
                    if asked && !cleared {
                        return Err(error);
                    }
                }
                result => return result,
            }
        }
        Err(Error::refused(Kind::AlreadyExists, "no free name was found").with_hint("choose one with `--name`"))
    }

    /// Takes back what a failed `create` made. Errors are left to recovery.
    fn discard(&self, record: &ContainerRecord) {
        let removed = self.remove_rw(&record.driver, &record.id);
        let volumes = record.volumes.iter().filter(|volume| volume.anonymous);
        let volumes = volumes.map(|volume| self.store().remove_volume_directory(&volume.name));
        let directory = remove_directory(&self.store().directories(&record.id).state);
        for error in volumes.chain([removed, directory]).filter_map(Result::err) {
            tracing::debug!(container = record.id, %error, "left to recovery");
        }
    }
}

/// What can be known to be wrong before anything is made.
fn validate(spec: &ContainerSpec) -> Result<()> {
    capabilities::resolve(spec, u64::MAX)?;
    resources::resources(&spec.resources, Vec::new())?;
    resources::rlimits(&spec.ulimits)?;
    if let Some(signal) = &spec.stop_signal {
        super::kill::parse_signal(signal)?;
    }
    if let Some(hostname) = &spec.hostname {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        if hostname.is_empty() || hostname.len() > 64 || !hostname.chars().all(fits) {
            return Err(Error::refused(Kind::InvalidInput, format!("invalid hostname: `{}`", hostname.escape_debug())));
        }
    }
    let files = std::path::Path::new("/");
    mounts::mounts(&mounts::MountInput { spec, files, volumes: &[], init: None, recursive_read_only: false }).map(drop)
}

fn warnings(spec: &ContainerSpec, image: &crate::image::ImageConfig) -> Vec<String> {
    let mut warnings = Vec::new();
    let machine = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    if !image.architecture.is_empty() && image.architecture != machine {
        warnings.push(format!(
            "The image's platform (linux/{}) does not match this machine's (linux/{machine}).",
            image.architecture.chars().filter(|c| c.is_ascii_alphanumeric()).take(16).collect::<String>(),
        ));
    } else if let Some(platform) =
        spec.platform.as_deref().filter(|platform| !platform.split('/').any(|part| part == machine))
    {
        warnings.push(format!("The requested platform ({platform}) does not match the image's (linux/{machine})."));
    }
    warnings
}

fn missing(error: Error, image: &str) -> Error {
    if error.kind() != Kind::NotFound {
        return error;
    }
    no_registry(format!("unable to find image `{}` locally", shown(image)))
}

fn no_registry(message: String) -> Error {
    Error::refused(Kind::NotFound, message).with_hint(
        "this version has no registry client yet: bring the image with `mica load`, `mica import` or `mica build`",
    )
}

fn shown(image: &str) -> String {
    Reference::parse(image).map_or_else(|_| image.escape_debug().to_string(), |reference| reference.familiar())
}
