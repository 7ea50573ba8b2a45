//! The engine's `Builder`: text to tree, tree to plan, plan to image, in that order and each complete before the next.

use async_trait::async_trait;
use mica_engine::build::{Base as BaseImage, BuildHost, BuildOutcome, BuildProgress, BuildRequest, Builder};
use mica_engine::image::ImageConfig;

use crate::error::{Error, Fault, Result, Source};
use crate::execute::{Execution, schedule};
use crate::plan::stages::{Base, FileSource, Stages};
use crate::plan::{Bases, lower};
use crate::platform::Platform;
use crate::scope::Global;
use crate::syntax::ast::{Dockerfile, Span};
use crate::syntax::parse;

/// Builds images from Dockerfiles.
#[derive(Debug, Clone, Copy, Default)]
pub struct DockerfileBuilder;

#[async_trait]
impl Builder for DockerfileBuilder {
    async fn build(
        &self,
        host: &dyn BuildHost,
        request: BuildRequest,
        progress: &dyn BuildProgress,
    ) -> mica_engine::Result<BuildOutcome> {
        Ok(build(host, &request, progress).await?)
    }

    fn change(&self, config: &mut ImageConfig, instructions: &[String]) -> mica_engine::Result<()> {
        Ok(crate::change::change(config, instructions)?)
    }
}

async fn build(host: &dyn BuildHost, request: &BuildRequest, progress: &dyn BuildProgress) -> Result<BuildOutcome> {
    let source = Source { name: &request.dockerfile_name, text: &request.dockerfile };
    let file = parse(source.text).map_err(|error| source.syntax(error))?;
    check_frontend(&file)?;
    for warning in &file.warnings {
        progress.warning(&format!("{}:{}: {}", source.name, warning.line, warning.text));
    }
    let target = match &request.platform {
        None => Platform::host(),
        Some(text) => Platform::parse(text).ok_or_else(|| {
            Error::Request(Fault::Invalid(format!("`{text}` is no platform: write `os/arch` or `os/arch/variant`")))
        })?,
    };
    let mut global = Global::new(&request.args, &target, file.directives.escape);
    let stages = Stages::new(&file, &mut global, source, request.target.as_deref())?;
    for name in global.unused(&stages.declared) {
        progress.warning(&format!("build argument `{name}` was not consumed: no `ARG` declares it"));
    }
    let bases = bases(host, &stages, request, source).await?;
    let plan = lower(&stages, &global, &bases, request, source)?;
    for warning in &plan.warnings {
        progress.warning(warning);
    }
    let execution = Execution::new(host, progress, source, request)?;
    let image = execution.run(&plan, request).await?;
    Ok(BuildOutcome { image })
}

/// Dockerfiles name the frontend that understands them. This is the one for Docker's own language, in every version
/// of it, so an instruction it does not know is an error and nothing is ever fetched to parse a text.
fn check_frontend(file: &Dockerfile) -> Result<()> {
    let Some(syntax) = &file.directives.syntax else { return Ok(()) };
    let image = syntax.strip_prefix("docker.io/").unwrap_or(syntax);
    let known = ["docker/dockerfile", "docker/dockerfile-upstream", "dockerfile.v0"];
    let name = image.split([':', '@']).next().unwrap_or_default();
    match known.contains(&name) {
        true => Ok(()),
        false => Err(Error::Request(Fault::Unsupported(format!("the external frontend `{syntax}`")))),
    }
}

/// Finds all base images at once, before anything is planned: their configs are part of what a plan says.
async fn bases(host: &dyn BuildHost, stages: &Stages<'_>, request: &BuildRequest, source: Source<'_>) -> Result<Bases> {
    let mut wanted: Vec<((String, Option<String>), Span)> = Vec::new();
    for index in &stages.needed {
        let stage = &stages.all[*index];
        if let Base::Image(name) = &stage.base {
            wanted.push(((name.clone(), stage.platform.as_ref().map(ToString::to_string)), stage.span));
        }
        for (from, span) in &stage.sources {
            if let FileSource::Image(name) = from {
                wanted.push(((name.clone(), None), *span));
            }
        }
    }
    wanted.sort_by(|a, b| a.0.cmp(&b.0));
    wanted.dedup_by(|a, b| a.0 == b.0);
    let needs = vec![Vec::new(); wanted.len()];
    let found: Vec<BaseImage> = schedule::run(&needs, |index, _| {
        let ((name, platform), span) = &wanted[index];
        let platform = platform.as_deref().or(request.platform.as_deref());
        Box::pin(async move {
            host.base(name, platform, request.pull).await.map_err(|error| Fault::from(error).at(&source, *span))
        })
    })
    .await?;
    Ok(wanted.into_iter().map(|(key, _)| key).zip(found).collect())
}
