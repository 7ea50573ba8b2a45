//! The builder boundary: what a builder asks of the engine, and what the engine asks of a builder.
//!
//! A builder turns text into steps; it never learns where snapshots live or how processes start. It works on stacks of
//! layers, which it names by their diff IDs, and on directory descriptors of their mounted roots.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use async_trait::async_trait;
use mica_layer::{DiffId, Digest};
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::image::ImageConfig;

/// Turns a build request into an image.
#[async_trait]
pub trait Builder: Send + Sync + std::fmt::Debug {
    /// Builds, reporting to `progress`. Dropping the future stops the build and discards what is unfinished.
    async fn build(
        &self,
        host: &dyn BuildHost,
        request: BuildRequest,
        progress: &dyn BuildProgress,
    ) -> Result<BuildOutcome>;

    /// Applies Dockerfile instructions of `commit --change` and `import --change` to a config.
    fn change(&self, config: &mut ImageConfig, instructions: &[String]) -> Result<()>;
}

/// What a person asked to build.
#[derive(Debug, Clone, Default)]
pub struct BuildRequest {
    /// The context directory; `None` when only a Dockerfile was given on standard input.
    pub context: Option<PathBuf>,
    /// The Dockerfile's text and the name to use in messages.
    pub dockerfile: String,
    /// Path of the Dockerfile as messages show it.
    pub dockerfile_name: String,
    /// Text of the ignore file, if any.
    pub ignore: Option<String>,
    /// Image references to tag the result with, already normalised.
    pub tags: Vec<String>,
    /// `--build-arg`.
    pub args: BTreeMap<String, String>,
    /// `--label`.
    pub labels: BTreeMap<String, String>,
    /// Stage to stop at.
    pub target: Option<String>,
    /// Ignore the layer cache.
    pub no_cache: bool,
    /// `--network` for RUN steps: `none` or `host`.
    pub network: String,
    /// `--pull`: always ask the registry.
    pub pull: bool,
    /// Target platform, `os/arch[/variant]`.
    pub platform: Option<String>,
    /// `--add-host` entries, `name:address`.
    pub add_hosts: Vec<String>,
}

/// What a build made.
#[derive(Debug, Clone)]
pub struct BuildOutcome {
    /// Digest of the image's config, which is the image's ID.
    pub image: Digest,
}

/// A stack of layers, bottom first; empty is `scratch`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Stack {
    /// Diff IDs, bottom first.
    pub diff_ids: Vec<DiffId>,
}

/// A base image.
#[derive(Debug, Clone)]
pub struct Base {
    /// Digest of its config.
    pub image: Digest,
    /// Its config; the stack is `config.rootfs.diff_ids`.
    pub config: ImageConfig,
}

/// The result of a cached step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CachedStep {
    /// The stack after the step.
    pub stack: Stack,
}

/// What a builder may do to the world.
#[async_trait]
pub trait BuildHost: Send + Sync {
    /// Finds a base image, by the policy of the request.
    async fn base(&self, reference: &str, platform: Option<&str>, pull: bool) -> Result<Base>;

    /// The result recorded for a step's key, if all its layers are still there.
    async fn cached(&self, key: &Digest) -> Result<Option<CachedStep>>;

    /// Records a step's result.
    async fn record(&self, key: &Digest, step: &CachedStep) -> Result<()>;

    /// A writable root over a stack. Dropping it discards what was written.
    async fn begin(&self, parent: &Stack) -> Result<Box<dyn Workspace>>;

    /// A read-only detached mount of a stack's root.
    async fn view(&self, stack: &Stack) -> Result<OwnedFd>;

    /// Stores a config over a stack as an image and gives it its tags. The tags come last.
    async fn publish(&self, config: &ImageConfig, tags: &[String]) -> Result<Digest>;
}

/// A writable root that becomes a layer.
#[async_trait]
pub trait Workspace: Send {
    /// A directory descriptor of the merged, writable root.
    fn root(&self) -> Result<OwnedFd>;

    /// Runs a process in the root; returns its exit status.
    async fn run(&mut self, step: RunStep, output: &dyn RunOutput) -> Result<i32>;

    /// Seals what was written as one more layer on the parent stack.
    async fn commit(self: Box<Self>) -> Result<Stack>;
}

/// One process of a RUN step.
#[derive(Debug, Clone, Default)]
pub struct RunStep {
    /// The argument vector.
    pub args: Vec<String>,
    /// `NAME=value` entries, complete.
    pub env: Vec<String>,
    /// Working directory in the root; created when missing.
    pub cwd: String,
    /// `user[:group]` as in the config; empty is root.
    pub user: String,
    /// `none` or `host`.
    pub network: String,
    /// `name:address` entries for `/etc/hosts`.
    pub add_hosts: Vec<String>,
}

/// Where a RUN step's output goes.
pub trait RunOutput: Send + Sync {
    /// Bytes the process wrote to its standard output.
    fn stdout(&self, bytes: &[u8]);
    /// Bytes the process wrote to its standard error.
    fn stderr(&self, bytes: &[u8]);
}

/// What a build reports while it goes on. Steps are numbered from 0 in the order in which they were announced.
pub trait BuildProgress: Send + Sync {
    /// A step begins; `name` is what a person sees, for example `[stage-1 2/3] COPY server.js .`.
    fn begin(&self, step: usize, name: &str);
    /// The step's result came from the cache.
    fn cached(&self, step: usize);
    /// Output of the step; `stderr` says which stream.
    fn output(&self, step: usize, stream: Stream, bytes: &[u8]);
    /// The step ended; an error text when it failed.
    fn end(&self, step: usize, error: Option<&str>);
    /// A warning about the Dockerfile.
    fn warning(&self, text: &str);
}

/// Which stream bytes came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}
