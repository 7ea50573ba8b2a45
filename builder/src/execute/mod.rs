//! Running a plan: each node as soon as those it waits for are done, independent ones side by side.

mod copy;
mod history;
mod key;
mod owner;
pub(crate) mod schedule;
mod source;
mod step;
mod tree;
mod unpack;

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use mica_engine::build::{BuildHost, BuildProgress, BuildRequest, Stack};
use mica_engine::image::ImageConfig;
use mica_layer::Digest;

use crate::error::{Error, Fault, Result, Source};
use crate::ignore::Ignore;
use crate::plan::{NodeId, Plan};

/// What all steps of a build share.
pub(crate) struct Execution<'a> {
    pub host: &'a dyn BuildHost,
    pub progress: &'a dyn BuildProgress,
    pub source: Source<'a>,
    pub no_cache: bool,
    /// The context's root and what is left out of it.
    pub context: Option<Arc<Context>>,
    announced: AtomicUsize,
}

/// The files a build may copy.
#[derive(Debug)]
pub(crate) struct Context {
    pub root: OwnedFd,
    pub ignore: Ignore,
}

impl<'a> Execution<'a> {
    /// Opens the context, which is the only path of the host a build ever reads.
    pub fn new(
        host: &'a dyn BuildHost,
        progress: &'a dyn BuildProgress,
        source: Source<'a>,
        request: &BuildRequest,
    ) -> Result<Self> {
        let ignore = Ignore::parse(request.ignore.as_deref().unwrap_or_default());
        let ignore = ignore.map_err(|error| Error::Request(Fault::Invalid(error.to_string())))?;
        let context = match &request.context {
            None => None,
            Some(path) => {
                let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
                let root = rustix::fs::open(path, flags, rustix::fs::Mode::empty()).map_err(|errno| {
                    Error::Request(Fault::from(mica_engine::Error::Io {
                        operation: "open the build context",
                        path: path.clone(),
                        source: errno.into(),
                    }))
                })?;
                Some(Arc::new(Context { root, ignore }))
            }
        };
        Ok(Self { host, progress, source, no_cache: request.no_cache, context, announced: AtomicUsize::new(0) })
    }

    /// Runs the plan and stores its image.
    pub async fn run(&self, plan: &Plan, request: &BuildRequest) -> Result<Digest> {
        let stacks = self.stacks(plan).await?;
        let config = history::finish(plan, &stacks, request.args.get("SOURCE_DATE_EPOCH").map(String::as_str))?;
        self.publish(config, &request.tags).await
    }

    /// The stack of every node.
    async fn stacks(&self, plan: &Plan) -> Result<Vec<Stack>> {
        let needs = |id: NodeId| plan.nodes[id].parent.into_iter().chain(plan.nodes[id].reads).collect::<Vec<_>>();
        let needs: Vec<Vec<NodeId>> = (0..plan.nodes.len()).map(needs).collect();
        schedule::run(&needs, |id, done: &[Option<Stack>]| {
            let node = &plan.nodes[id];
            let of = |id: Option<NodeId>| id.and_then(|id| done[id].clone());
            let (parent, reads) = (of(node.parent).unwrap_or_default(), of(node.reads));
            Box::pin(
                async move { self.step(node, parent, reads).await.map_err(|fault| fault.at(&self.source, node.span)) },
            )
        })
        .await
    }

    async fn publish(&self, config: ImageConfig, tags: &[String]) -> Result<Digest> {
        self.host.publish(&config, tags).await.map_err(|error| Error::Request(error.into()))
    }
}
