//! `create`: image and request become a container that has not run.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use mica_storage_api::Caps;

use crate::bundle::apparmor::UNCONFINED;
use crate::bundle::{capabilities, host, merge, mounts, namespaces, random_id, resources, support};
use crate::container::{
    ContainerRecord, ContainerSpec, IdMappings, PointSource, Resources, RestartPolicy, VolumeMount, mount_points,
};
use crate::events::{Actor, Event};
use crate::ops::foreign;
use crate::ops::pull::Pulling;
use crate::storage::{Chain, limits};
use crate::store::containers::{self, Claim, remove_directory};
use crate::store::images::FoundImage;
use crate::store::volumes::{LOCAL, VolumeHold, check_name, check_spec};
use crate::store::{Flush, names, private_directory, volumes};
use crate::{Engine, Error, Kind, Reference, Result, cdi};

/// The shortest time of a health check, in nanoseconds.
const MILLISECOND: u64 = 1_000_000;

/// How many random names are tried before the store is called full.
const NAME_ATTEMPTS: u32 = 12;

/// The directory in a container's that has the names of volumes made for it, before they are made. Names and not a list in
/// a file: on btrfs a power cut may bring back a file without its bytes beside the volumes that it should have named.
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
    /// When and how a registry is asked for the image.
    pub pulling: Pulling,
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
}

/// A new container that nobody else can touch yet.
pub(crate) struct Fresh {
    pub(crate) record: ContainerRecord,
    pub(crate) chain: Chain,
    pub(crate) claim: Claim,
}

impl Engine {
    /// Creates a container. Its row comes last, so whatever a cut-off `create` leaves is garbage that recovery clears.
    pub async fn create(&self, request: CreateRequest) -> Result<Created> {
        let fresh = self.create_fresh(request, Purpose::Keep).await?;
        Ok(Created { id: fresh.record.id, name: fresh.record.name })
    }

    /// [`Engine::create`] for callers that go on with the container.
    pub(crate) async fn create_fresh(&self, request: CreateRequest, purpose: Purpose) -> Result<Fresh> {
        let CreateRequest { mut spec, mut pulling } = request;
        if let Some(name) = &spec.name {
            names::check(name.trim_start_matches('/'))?;
        }
        if let Some(platform) = &spec.platform {
            pulling.platform = Some(platform.parse()?);
        }
        // Asking the kernel takes as long as other parts of `create`, so nothing is asked for nothing.
        if spec.resources != Resources::default() {
            for warning in support::fit(&mut spec.resources, &support::Facts::read(self.options().rootless))? {
                pulling.progress.warning(&warning);
            }
        }
        let image = self.image_for(&spec.image, &pulling).await.map_err(|error| missing(error, &spec.image))?;
        // Before anything is made: a program that then cannot be executed has its reason here.
        if let Some(warning) = foreign::warning(&spec, &image.config) {
            pulling.progress.warning(&warning);
        }
        self.blocking(move |engine| engine.create_now(spec, image, purpose)).await
    }

    fn create_now(&self, mut spec: ContainerSpec, image: FoundImage, purpose: Purpose) -> Result<Fresh> {
        self.name_donors(&mut spec)?;
        let config = merge::merge(&image.config.config, &spec)?;
        let inherited = self.inherit(&mut spec)?;
        self.find_mounted_images(&mut spec)?;
        let volumes = merge::volumes(&config, &spec, inherited)?;
        validate(&spec, &volumes)?;
        cdi::check(&spec.device_requests, &self.options().cdi_folders)?;

        let driver = self.driver_for(&image.config.rootfs.diff_ids)?;
        limits::must_keep(&driver, spec.storage)?;
        let chain = self.chain_on(&driver, &image.config.rootfs.diff_ids)?;
        let chosen = self.choose_ids(&spec, &config.user, &chain)?;
        let (id, claim) = self.claim_new()?;
        let mut record = ContainerRecord {
            name: spec.name.as_deref().map(|name| name.trim_start_matches('/').to_owned()).unwrap_or_default(),
            created: Timestamp::now().to_string(),
            image_id: image.id,
            image_name: spec.image.clone(),
            driver: chain.driver().to_owned(),
            diff_ids: image.config.rootfs.diff_ids,
            config,
            spec: Box::new(spec),
            volumes,
            ids: chosen.ids.clone(),
            id,
        };
        // Volumes are held until the row says that they are in use.
        let made = self.fill(&record, &chain, purpose).and_then(|_held| self.record(&mut record));
        if let Err(error) = made {
            // A commit that failed may have reached the log, and whoever reads that next finds the row: recovery decides.
            if !error.leaves_commit_open() {
                self.discard(&record);
            }
            return Err(error);
        }
        Ok(Fresh { record, chain, claim })
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

    /// Everything of a container but its row, on the disk unless the container goes away by itself. Its writable tree comes
    /// last: where making it commits all that was named before, nothing else has to.
    fn fill(&self, record: &ContainerRecord, chain: &Chain, purpose: Purpose) -> Result<Vec<VolumeHold>> {
        if purpose == Purpose::Run && record.spec.auto_remove {
            let mark = self.store().directories(&record.id).state.join(RUN);
            fs_err::write(&mark, "").map_err(Error::io("write", mark))?;
        }
        let (held, filled) = self.prepare_volumes(record, chain)?;
        self.create_rw(&chain.driver, &chain.keys, &record.id, record.spec.storage)?;
        let kept = !record.spec.auto_remove && !chain.driver.info().caps.contains(Caps::RW_DURABLE);
        if kept || filled {
            self.flush(&chain.driver)?;
        }
        Ok(held)
    }

    /// Makes and fills volumes. True when one that outlives the container was filled.
    fn prepare_volumes(&self, record: &ContainerRecord, chain: &Chain) -> Result<(Vec<VolumeHold>, bool)> {
        if record.volumes.is_empty() {
            return Ok((Vec::new(), false));
        }
        let names = self.store().directories(&record.id).state.join(VOLUMES);
        private_directory(&names)?;
        for volume in record.volumes.iter().filter(|volume| self.is_own(volume)) {
            let name = names.join(&volume.name);
            fs_err::write(&name, "").map_err(Error::io("write", name))?;
        }
        // What is copied from there then belongs to whom the container takes for its owner.
        let spaces = record.ids.as_ref().map(|ids| super::ids::make(ids, false)).transpose()?;
        let view = self.mapped_view(chain, spaces.as_ref().map(|spaces| spaces.user.as_fd()))?;
        // In one order, or two containers with the same volumes could wait for each other.
        let mut order: Vec<&VolumeMount> = record.volumes.iter().collect();
        order.sort_by(|a, b| a.name.cmp(&b.name));
        let (mut held, mut filled): (Vec<(&str, VolumeHold)>, bool) = (Vec::new(), false);
        for volume in order {
            if held.last().is_none_or(|(name, _)| *name != volume.name) {
                held.push((&volume.name, self.store().hold_volume(&volume.name)?));
            }
            let Some((_, hold)) = held.last() else { continue };
            if volume.copy_up && volume.subpath.is_none() {
                let copied = self.fill_volume(volume, hold, &view, record.ids.as_ref())?;
                filled |= copied && !(volume.anonymous && record.spec.auto_remove);
            }
        }
        Ok((held.into_iter().map(|(_, hold)| hold).collect(), filled))
    }

    /// True for a volume that is made for a container that is being made: one of another container's has a row.
    fn is_own(&self, volume: &VolumeMount) -> bool {
        volume.anonymous && !self.store().read(|db| volumes::is_known(db, &volume.name)).unwrap_or(true)
    }

    /// Fills an empty volume with what the image has where it is mounted.
    fn fill_volume(
        &self,
        volume: &VolumeMount,
        hold: &VolumeHold,
        view: &OwnedFd,
        ids: Option<&IdMappings>,
    ) -> Result<bool> {
        let root = ids.map(IdMappings::root);
        let known = match self.store().read(|db| volumes::find(db, &volume.name)) {
            Ok(known) => known,
            Err(error) if error.kind() == Kind::NotFound => volumes::of_mount(volume, ""),
            Err(error) => return Err(error),
        };
        if known.options.is_empty() {
            return volumes::fill(hold.data(&volume.name)?, view, &volume.target, &volume.name, root);
        }
        // What is in memory would be gone before the container starts.
        if known.options.get("type").is_some_and(|kind| kind == "tmpfs") {
            return Ok(false);
        }
        let tree = self.volume_tree(&known)?;
        super::apart::apart(|| {
            let place = self.store().run_root();
            let top = super::sources::attach(&tree, place)?;
            volumes::fill(top, view, &volume.target, &volume.name, root)
        })
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
                let mut events = Vec::new();
                for volume in &record.volumes {
                    if volumes::insert(db, volume, &record.created)? {
                        events.push(Event::now("volume", "create", Actor::volume(&volume.name, LOCAL)));
                    }
                }
                Ok(events)
            });
            match inserted {
                Err(error) if error.kind() == Kind::AlreadyExists => {
                    // The name may belong to a container that ought to be gone, left by a client that was killed.
                    let cleared = attempt == 0 && asked && self.clear_finished(&record.name)?;
                    if asked && !cleared {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
                Ok(mut events) => {
                    events.push(Event::now("container", "create", Actor::container(record)));
                    self.tell_all(&events);
                    return Ok(());
                }
            }
        }
        Err(Error::refused(Kind::AlreadyExists, "no free name was found").with_hint("choose one with `--name`"))
    }

    /// Takes back what a failed `create` made. Errors are left to recovery.
    fn discard(&self, record: &ContainerRecord) {
        let removed = self.remove_rw(&record.driver, &record.id);
        let volumes = record.volumes.iter().filter(|volume| self.is_own(volume));
        let volumes = volumes.map(|volume| self.store().remove_volume_directory(&volume.name));
        let directory = remove_directory(&self.store().directories(&record.id).state);
        for error in volumes.chain([removed, directory]).filter_map(Result::err) {
            tracing::debug!(container = record.id, %error, "left to recovery");
        }
    }
}

/// What can be known to be wrong before anything is made.
fn validate(spec: &ContainerSpec, volumes: &[VolumeMount]) -> Result<()> {
    capabilities::resolve(spec, u64::MAX)?;
    super::networking::validate(spec)?;
    resources::resources(&spec.resources, Vec::new())?;
    resources::rlimits(&spec.ulimits)?;
    if let Some(check) = &spec.health {
        let times = [check.interval, check.timeout, check.start_period, check.start_interval];
        if times.iter().any(|time| (1..MILLISECOND).contains(time)) {
            return Err(Error::refused(Kind::InvalidInput, "a time of a health check cannot be less than 1ms"));
        }
    }
    if spec.auto_remove && spec.restart != RestartPolicy::No {
        return Err(Error::refused(
            Kind::InvalidInput,
            "conflicting options: cannot specify both `--restart` and `--rm`",
        ));
    }
    namespaces::check(spec)?;
    if let Some(profile) = spec.apparmor.as_deref().filter(|name| *name != UNCONFINED && !host::has_apparmor()) {
        return Err(Error::refused(
            Kind::Unsupported,
            format!("security option `apparmor={profile}`: AppArmor is not enabled on this machine"),
        ));
    }
    if let Some(name) = &spec.domainname {
        check_host_name("domainname", name)?;
    }
    if let Some(signal) = &spec.stop_signal {
        super::kill::parse_signal(signal)?;
    }
    if let Some(hostname) = &spec.hostname {
        check_host_name("hostname", hostname)?;
    }
    for volume in volumes {
        check_spec(&volume.name, &volume.spec)?;
        check_name(&volume.name)?;
    }
    let points: Vec<_> = mount_points(spec, volumes).into_iter().map(|point| (point, PathBuf::from("/"))).collect();
    for (point, _) in &points {
        if let PointSource::Bind(path, false) = &point.source
            && path.symlink_metadata().is_err()
        {
            return Err(super::sources::missing(path));
        }
    }
    let input = mounts::MountInput {
        spec,
        files: Path::new("/"),
        points: &points,
        devices: &[],
        shm: None,
        groups: &[],
        init: None,
        host: &host::Host { recursive_read_only: true, ..host::Host::default() },
        ids: None,
    };
    mounts::mounts(&input).map(drop)
}

/// A host or domain name that the kernel takes and that can stand in `/etc/hosts`.
fn check_host_name(what: &str, name: &str) -> Result<()> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if name.is_empty() || name.len() > 64 || !name.chars().all(fits) {
        return Err(Error::refused(Kind::InvalidInput, format!("invalid {what}: `{}`", name.escape_debug())));
    }
    Ok(())
}

fn missing(error: Error, image: &str) -> Error {
    // A registry that does not have it says so in its own words.
    if error.kind() != Kind::NotFound || !error.to_string().starts_with("no such image: ") {
        return error;
    }
    Error::refused(Kind::NotFound, format!("no such image: `{}`", shown(image)))
}

fn shown(image: &str) -> String {
    Reference::parse(image).map_or_else(|_| image.escape_debug().to_string(), |reference| reference.familiar())
}
