//! One node of a plan: from the cache if its result is there, else by the host; progress around it.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mica_engine::build::{BuildProgress, CachedStep, RunOutput, RunStep, Stack, Stream};
use mica_layer::Digest;
use mica_layer::beneath::{self, NewDir};

use super::tree::files;
use super::{Context, Execution, copy, key, owner};
use crate::error::Fault;
use crate::plan::{CopyWork, Node, Owner, RunWork, Sources, Work};

impl Execution<'_> {
    /// Makes the stack after a node. `parent` is the stack before it, `reads` the one it copies from.
    pub(super) async fn step(&self, node: &Node, parent: Stack, reads: Option<Stack>) -> Result<Stack, Fault> {
        let Some(title) = &node.title else { return self.work(node, parent, reads, 0).await };
        let step = self.announced.fetch_add(1, Ordering::Relaxed);
        self.progress.begin(step, title);
        let result = self.work(node, parent, reads, step).await;
        self.progress.end(step, result.as_ref().err().map(ToString::to_string).as_deref());
        result
    }

    async fn work(&self, node: &Node, parent: Stack, reads: Option<Stack>, step: usize) -> Result<Stack, Fault> {
        match &node.work {
            Work::Base(stack) => Ok(stack.clone()),
            Work::Config => Ok(parent),
            Work::Directory(path) => self.directory(path, parent, step).await,
            Work::Run(run) => self.run_program(run, parent, step).await,
            Work::Copy(copy) => self.copy(copy, parent, reads, step).await,
        }
    }

    async fn directory(&self, path: &str, parent: Stack, step: usize) -> Result<Stack, Fault> {
        let key = key::directory(&parent, path);
        if let Some(stack) = self.cached(&key, step).await? {
            return Ok(stack);
        }
        let workspace = self.host.begin(&parent).await?;
        let root = workspace.root()?;
        let stack = if beneath::open_dir(&root, Path::new(path)).is_ok() {
            parent
        } else {
            beneath::mkdir_all(&root, Path::new(path), NewDir::default()).map_err(files("create", Path::new(path)))?;
            drop(root);
            workspace.commit().await?
        };
        self.record(&[key], stack).await
    }

    async fn run_program(&self, work: &RunWork, parent: Stack, step: usize) -> Result<Stack, Fault> {
        let key = key::run(&parent, work);
        if let Some(stack) = self.cached(&key, step).await? {
            return Ok(stack);
        }
        let mut workspace = self.host.begin(&parent).await?;
        let run = RunStep {
            args: work.args.clone(),
            env: work.env.iter().chain(&work.silent_env).cloned().collect(),
            cwd: work.cwd.clone(),
            user: work.user.clone(),
            network: work.network.clone(),
            add_hosts: work.add_hosts.clone(),
        };
        let status = workspace.run(run, &Output { progress: self.progress, step }).await?;
        if status != 0 {
            return Err(Fault::Exit { command: work.args.join(" "), status });
        }
        let stack = workspace.commit().await?;
        self.record(&[key], stack).await
    }

    async fn copy(&self, work: &CopyWork, parent: Stack, reads: Option<Stack>, step: usize) -> Result<Stack, Fault> {
        let source = match &work.from {
            Sources::Context => None,
            Sources::Stack(stack) => Some(stack.clone()),
            Sources::Node => Some(reads.ok_or_else(|| Fault::Invalid("the stage to copy from was not built".into()))?),
        };
        let mut keys = Vec::new();
        if let Some(source) = &source {
            // Layers never change, so when both stacks are known nothing has to be mounted and read again.
            let key = key::copy_of_stack(&parent, work, source);
            if let Some(stack) = self.cached(&key, step).await? {
                return Ok(stack);
            }
            keys.push(key);
        }
        let owner = match &work.owner {
            Owner::Named { .. } => owner::resolve(&work.owner, self.host.view(&parent).await?.as_fd())?,
            Owner::Kept => None,
            Owner::Ids(user, group) => Some((*user, *group)),
        };
        let files = Arc::new(match &source {
            Some(source) => Files::Stack(self.host.view(source).await?),
            None => Files::Context(self.context.clone()),
        });
        let prepared = {
            let (files, work) = (files.clone(), work.clone());
            blocking(move || copy::prepare(files.root(), files.ignore(), &work, owner)).await?
        };
        let content_key = key::copy_of_content(&parent, work, &prepared.content);
        if let Some(stack) = self.cached(&content_key, step).await? {
            return self.record(&keys, stack).await;
        }
        keys.push(content_key);
        let workspace = self.host.begin(&parent).await?;
        let root = workspace.root()?;
        let work = work.clone();
        let stop = Stop::default();
        let stopped = stop.0.clone();
        blocking(move || copy::copy(files.root(), root.as_fd(), &work, &prepared, &stopped)).await?;
        drop(stop);
        let stack = workspace.commit().await?;
        self.record(&keys, stack).await
    }

    async fn cached(&self, key: &Digest, step: usize) -> Result<Option<Stack>, Fault> {
        if self.no_cache {
            return Ok(None);
        }
        let found = self.host.cached(key).await?;
        tracing::debug!(step, %key, cached = found.is_some(), "looked a step up");
        if found.is_some() {
            self.progress.cached(step);
        }
        Ok(found.map(|found| found.stack))
    }

    async fn record(&self, keys: &[Digest], stack: Stack) -> Result<Stack, Fault> {
        let step = CachedStep { stack };
        for key in keys {
            self.host.record(key, &step).await?;
        }
        Ok(step.stack)
    }
}

/// The root that a copy reads.
enum Files {
    Context(Option<Arc<Context>>),
    Stack(OwnedFd),
}

impl Files {
    fn root(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        match self {
            Self::Context(context) => context.as_ref().map(|context| context.root.as_fd()),
            Self::Stack(root) => Some(root.as_fd()),
        }
    }

    fn ignore(&self) -> Option<&crate::ignore::Ignore> {
        match self {
            Self::Context(context) => context.as_ref().map(|context| &context.ignore),
            Self::Stack(_) => None,
        }
    }
}

/// Says when its owner is gone: a thread cannot be dropped like the future that waits for it.
#[derive(Default)]
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Output of a RUN, passed on with its step's number.
struct Output<'a> {
    progress: &'a dyn BuildProgress,
    step: usize,
}

impl RunOutput for Output<'_> {
    fn stdout(&self, bytes: &[u8]) {
        self.progress.output(self.step, Stream::Stdout, bytes);
    }

    fn stderr(&self, bytes: &[u8]) {
        self.progress.output(self.step, Stream::Stderr, bytes);
    }
}

/// Files are read and written on threads that may wait.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Fault> + Send + 'static) -> Result<T, Fault> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(Fault::Invalid("the build was stopped".into())),
        },
    }
}
