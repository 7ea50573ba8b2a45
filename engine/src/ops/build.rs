//! `build`: a builder's steps, run on the store.
//!
//! The engine is the builder's host: a step's root is a writable snapshot like a container's, a RUN is a process in the
//! same cage, and what the step has written becomes the next layer by rename where the driver can.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use mica_layer::Digest;
use mica_storage_api::{Caps, ObjectKind};

use crate::build::{
    Base, BuildHost, BuildOutcome, BuildProgress, BuildRequest, CachedStep, RunOutput, RunStep, Stack, Workspace,
};
use crate::image::ImageConfig;
use crate::ops::create::PullPolicy;
use crate::ops::publish::NewImage;
use crate::ops::pull::Pulling;
use crate::storage::reap::Patience;
use crate::storage::{Chain, Hold, Source, Volatility, stage};
use crate::store::fresh_id;
use crate::store::layers::NewRows;
use crate::store::locks::{Lock, LockName};
use crate::{Engine, Error, Kind, Platform, Reference, Result};

impl Engine {
    /// Builds an image.
    pub async fn build(&self, request: BuildRequest, progress: &dyn BuildProgress) -> Result<BuildOutcome> {
        let host = Host { engine: self.clone(), held: Arc::default() };
        let outcome = self.options().builder.clone().build(&host, request, progress).await;
        drop(host);
        self.blocking(Engine::drop_inner_trees).await?;
        outcome
    }

    /// A driver that keeps whole trees keeps those of tops alone; the steps of a build leave one each.
    fn drop_inner_trees(&self) -> Result<()> {
        match self.opened_driver() {
            Some(driver) if driver.info().caps.contains(Caps::LINEAR_SNAPSHOT) => {
                self.reclaim(Patience::Leave).map(drop)
            }
            _ => Ok(()),
        }
    }
}

/// What a build holds on to until it ends, so that no other command removes it meanwhile.
#[derive(Debug, Default)]
struct Held {
    chains: Vec<Chain>,
    stacks: Vec<Hold>,
    steps: Vec<(Digest, CachedStep)>,
}

#[derive(Debug)]
struct Host {
    engine: Engine,
    held: Arc<Mutex<Held>>,
}

impl Host {
    fn held(&self) -> MutexGuard<'_, Held> {
        lock(&self.held)
    }
}

fn lock(held: &Mutex<Held>) -> MutexGuard<'_, Held> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl BuildHost for Host {
    async fn base(&self, reference: &str, platform: Option<&str>, pull: bool) -> Result<Base> {
        let pulling = Pulling {
            policy: if pull { PullPolicy::Always } else { PullPolicy::Missing },
            platform: platform.map(str::parse).transpose()?,
            ..Pulling::default()
        };
        let found = self.engine.image_for(reference, &pulling).await?;
        if let Some(platform) = platform {
            let own = found.config.platform();
            if platform.parse::<Platform>()?.rank(&own).is_none() {
                let message = format!("image `{reference}` is for `{own}`, not for `{platform}`");
                return Err(Error::refused(Kind::InvalidInput, message));
            }
        }
        Ok(Base { image: found.id, config: found.config })
    }

    async fn cached(&self, key: &Digest) -> Result<Option<CachedStep>> {
        let wanted = key.clone();
        let found = self.engine.blocking(move |engine| engine.store().cached_step(&wanted)).await?;
        let Some(step) = found else { return Ok(None) };
        // What was found may be removed at any moment: it counts once it is held. Its tree is not made: the next step may
        // be cached too, and a driver that keeps whole trees would copy one for each.
        let (wanted, stack) = (key.clone(), step.stack.diff_ids.clone());
        let hold = self.engine.blocking(move |engine| {
            let hold = engine.hold_stack(&engine.selected_driver()?, &stack)?;
            Ok(engine.store().cached_step(&wanted)?.map(|_| hold))
        });
        let Some(hold) = hold.await? else { return Ok(None) };
        let mut held = self.held();
        held.stacks.push(hold);
        held.steps.push((key.clone(), step.clone()));
        Ok(Some(step))
    }

    async fn record(&self, key: &Digest, step: &CachedStep) -> Result<()> {
        let (key, step) = (key.clone(), step.clone());
        self.held().steps.push((key.clone(), step.clone()));
        self.engine.blocking(move |engine| engine.store().record_step(&key, &step)).await
    }

    async fn begin(&self, parent: &Stack) -> Result<Box<dyn Workspace>> {
        let chain = self.engine.ensure_chain(&parent.diff_ids).await?;
        let id = fresh_id();
        let name = LockName::Stage(chain.driver().to_owned(), id.clone());
        let lock = self.engine.blocking(move |engine| engine.store().lock_exclusive(&name)).await?;
        // From here on, dropping the step takes the tree away.
        let mut step = Step {
            engine: self.engine.clone(),
            held: self.held.clone(),
            chain,
            id,
            root: None,
            sealed: false,
            _lock: lock,
        };
        self.engine.rw_create(&step.chain, &step.id).await?;
        step.root = Some(self.engine.rw_mount(&step.chain, &step.id, Volatility::Volatile).await?);
        Ok(Box::new(step))
    }

    async fn view(&self, stack: &Stack) -> Result<OwnedFd> {
        let chain = self.engine.ensure_chain(&stack.diff_ids).await?;
        let mount = self.engine.view_mount(&chain).await?;
        self.held().chains.push(chain);
        Ok(mount)
    }

    async fn publish(&self, config: &ImageConfig, tags: &[String]) -> Result<Digest> {
        let references = tags.iter().map(|tag| Reference::parse(tag)).collect::<Result<Vec<_>>>()?;
        let steps = self.held().steps.clone();
        let image = NewImage::new(config.clone(), references)?;
        self.engine
            .blocking(move |engine| {
                let driver = engine.selected_driver()?;
                let published = engine.publish(&driver, &NewRows::default(), &[image], &steps)?;
                engine.settle_soon()?;
                Ok(published.into_iter().map(|image| image.id).next())
            })
            .await?
            .ok_or_else(|| Error::refused(Kind::Internal, "the image was not recorded"))
    }
}

/// The root of one step.
#[derive(Debug)]
struct Step {
    engine: Engine,
    held: Arc<Mutex<Held>>,
    chain: Chain,
    id: String,
    root: Option<OwnedFd>,
    sealed: bool,
    // Tells a sweep that the tree, which has no row, belongs to somebody who lives.
    _lock: Lock,
}

impl Step {
    /// One more descriptor of the mount. The mount itself cannot be cloned while it is detached (before Linux 6.15), so a
    /// process of a RUN step gets this very mount, and a step has one process.
    fn mount(&self) -> Result<OwnedFd> {
        let root = self.root.as_ref().ok_or_else(|| Error::refused(Kind::Internal, "the step has no root"))?;
        root.try_clone().map_err(Error::io("duplicate the mount of", &self.id))
    }
}

#[async_trait]
impl Workspace for Step {
    fn root(&self) -> Result<OwnedFd> {
        self.mount()
    }

    async fn run(&mut self, step: RunStep, output: &dyn RunOutput) -> Result<i32> {
        let root = self.mount()?;
        self.engine.run_step(root, step, output).await
    }

    async fn commit(mut self: Box<Self>) -> Result<Stack> {
        // The driver takes the tree as a layer, so nobody may write through the mount any more.
        self.root = None;
        let sealed = self.engine.rw_seal(&self.chain, &self.id, Source::Consume).await?;
        self.sealed = true;
        let stack = Stack { diff_ids: sealed.chain.stack().to_vec() };
        lock(&self.held).chains.push(sealed.chain);
        Ok(stack)
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.root = None;
        if !self.sealed {
            // A tree that cannot be removed now has no row, so a later sweep takes it.
            let _ = stage::remove(&self.chain.driver, ObjectKind::Rw, &self.id);
        }
    }
}
