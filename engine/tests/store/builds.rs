//! What a build leaves: layers that the image needs, cached steps that live as long as the image, and nothing else.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use mica_engine::build::{BuildHost, BuildOutcome, BuildProgress, BuildRequest, Builder, CachedStep, Stack, Stream};
use mica_engine::image::ImageConfig;
use mica_engine::ops::rmi::RemoveImage;
use mica_engine::{Engine, Error, Kind, Result};
use mica_layer::Digest;

use crate::ground::{DRIVERS, Ground, docker_archive, is_root, open_with, read, sample, wait, write};

/// Two stages: a tool is made in the first and copied to the second, which becomes the image.
#[derive(Debug, Default)]
struct TwoStages {
    hit: AtomicBool,
    fail: AtomicBool,
    /// A store that is pruned before the image is published.
    pruned: Mutex<Option<Engine>>,
}

#[async_trait]
impl Builder for TwoStages {
    async fn build(
        &self,
        host: &dyn BuildHost,
        request: BuildRequest,
        _progress: &dyn BuildProgress,
    ) -> Result<BuildOutcome> {
        let base = host.base("base", None, false).await?;
        let bottom = Stack { diff_ids: base.config.rootfs.diff_ids.clone() };
        let keys = [Digest::sha256_of(b"first"), Digest::sha256_of(b"second")];
        let cached = (host.cached(&keys[0]).await?, host.cached(&keys[1]).await?);
        self.hit.store(cached.0.is_some() && cached.1.is_some(), Ordering::SeqCst);
        let tool = match cached.0 {
            Some(step) => step.stack,
            None => {
                let stage = host.begin(&bottom).await?;
                write(&stage.root()?, "tool", "tool");
                let stack = stage.commit().await?;
                host.record(&keys[0], &CachedStep { stack: stack.clone() }).await?;
                stack
            }
        };
        let made = match cached.1 {
            Some(step) => step.stack,
            None => {
                let stage = host.begin(&bottom).await?;
                let content = read(&host.view(&tool).await?, "tool").unwrap();
                write(&stage.root()?, "made", &content);
                if self.fail.load(Ordering::SeqCst) {
                    return Err(Error::refused(Kind::InvalidInput, "the step failed"));
                }
                let stack = stage.commit().await?;
                host.record(&keys[1], &CachedStep { stack: stack.clone() }).await?;
                stack
            }
        };
        let mut config = base.config;
        config.rootfs.diff_ids = made.diff_ids;
        let pruned = self.pruned.lock().unwrap().take();
        if let Some(engine) = pruned {
            engine.prune(Default::default()).await?;
        }
        Ok(BuildOutcome { image: host.publish(&config, &request.tags).await? })
    }

    fn change(&self, _config: &mut ImageConfig, _instructions: &[String]) -> Result<()> {
        Ok(())
    }
}

/// Three steps in a row, each a layer of its own, none of them cached.
#[derive(Debug)]
struct Steps;

#[async_trait]
impl Builder for Steps {
    async fn build(
        &self,
        host: &dyn BuildHost,
        request: BuildRequest,
        _progress: &dyn BuildProgress,
    ) -> Result<BuildOutcome> {
        let base = host.base("base", None, false).await?;
        let mut config = base.config;
        for step in 0..3 {
            let stage = host.begin(&Stack { diff_ids: config.rootfs.diff_ids.clone() }).await?;
            write(&stage.root()?, "step", &format!("{step} of {:?}", request.tags));
            config.rootfs.diff_ids = stage.commit().await?.diff_ids;
        }
        Ok(BuildOutcome { image: host.publish(&config, &request.tags).await? })
    }

    fn change(&self, _config: &mut ImageConfig, _instructions: &[String]) -> Result<()> {
        Ok(())
    }
}

struct Unseen;

impl BuildProgress for Unseen {
    fn begin(&self, _step: usize, _name: &str) {}
    fn cached(&self, _step: usize) {}
    fn output(&self, _step: usize, _stream: Stream, _bytes: &[u8]) {}
    fn end(&self, _step: usize, _error: Option<&str>) {}
    fn warning(&self, _text: &str) {}
}

fn request() -> BuildRequest {
    BuildRequest { tags: vec!["made:1".into()], ..BuildRequest::default() }
}

#[test]
fn privileged_cached_steps_live_and_go_with_their_image() {
    if !is_root() {
        return;
    }
    for driver in DRIVERS {
        let ground = Ground::new(driver);
        let builder = std::sync::Arc::new(TwoStages::default());
        let engine = open_with(ground.directory.path(), driver, builder.clone());
        ground.load(&engine, &docker_archive(&[sample("base"), sample("other")])).unwrap();
        let before = ground.settled_weight();

        let first = wait(engine.build(request(), &Unseen)).unwrap();
        assert!(!builder.hit.load(Ordering::SeqCst));
        wait(engine.remove_image("other", RemoveImage::default())).unwrap();
        let again = wait(engine.build(request(), &Unseen)).unwrap();
        assert!(builder.hit.load(Ordering::SeqCst), "{driver}: both stages are cached, also after a sweep");
        assert_eq!(again.image, first.image, "{driver}");
        let found = wait(engine.find_image("made:1")).unwrap();
        let chain = wait(engine.ensure_chain(&found.config.rootfs.diff_ids)).unwrap();
        assert_eq!(read(&wait(engine.view_mount(&chain)).unwrap(), "made").unwrap(), "tool", "{driver}");
        drop(chain);

        wait(engine.remove_image("made:1", RemoveImage::default())).unwrap();
        let other = docker_archive(&[sample("other")]);
        ground.load(&engine, &other).unwrap();
        assert_eq!(ground.settled_weight(), before, "{driver}: with the image go the steps of both its stages");
        assert!(wait(engine.check(Default::default())).unwrap().is_clean());
    }
}

#[test]
fn privileged_a_sweep_before_the_image_is_there_costs_no_cached_step() {
    if !is_root() {
        return;
    }
    for driver in DRIVERS {
        let ground = Ground::new(driver);
        let builder = std::sync::Arc::new(TwoStages::default());
        let engine = open_with(ground.directory.path(), driver, builder.clone());
        ground.load(&engine, &docker_archive(&[sample("base")])).unwrap();
        *builder.pruned.lock().unwrap() = Some(ground.engine());
        wait(engine.build(request(), &Unseen)).unwrap();
        wait(engine.build(request(), &Unseen)).unwrap();
        assert!(builder.hit.load(Ordering::SeqCst), "{driver}");
    }
}

#[test]
fn privileged_a_failed_build_leaves_no_tree_and_no_name() {
    if !is_root() {
        return;
    }
    for driver in DRIVERS {
        let ground = Ground::new(driver);
        let builder = std::sync::Arc::new(TwoStages::default());
        let engine = open_with(ground.directory.path(), driver, builder.clone());
        ground.load(&engine, &docker_archive(&[sample("base")])).unwrap();
        let before = ground.settled_weight();
        builder.fail.store(true, Ordering::SeqCst);
        wait(engine.build(request(), &Unseen)).unwrap_err();
        assert_eq!(wait(engine.find_image("made:1")).unwrap_err().kind(), Kind::NotFound);
        let (_, names) = ground.weight();
        assert!(!names.iter().any(|name| name.contains("/rw/")), "{driver}: {names:?}");
        wait(engine.prune(Default::default())).unwrap();
        assert_eq!(ground.settled_weight(), before, "{driver}");
    }
}

#[test]
fn privileged_a_sweep_takes_nothing_from_a_build_that_runs() {
    if !is_root() {
        return;
    }
    for driver in DRIVERS {
        let ground = Ground::new(driver);
        ground.load(&ground.engine(), &docker_archive(&[sample("base")])).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let engine = ground.engine();
                    while !done.load(Ordering::SeqCst) {
                        wait(engine.prune(Default::default())).unwrap();
                    }
                });
            }
            let engine = open_with(ground.directory.path(), driver, std::sync::Arc::new(Steps));
            let built = (0..20).try_for_each(|number| {
                let request = BuildRequest { tags: vec![format!("made:{number}")], ..BuildRequest::default() };
                wait(engine.build(request, &Unseen)).map(drop)
            });
            done.store(true, Ordering::SeqCst);
            built.unwrap();
        });
        assert!(wait(ground.engine().check(Default::default())).unwrap().is_clean(), "{driver}");
    }
}
