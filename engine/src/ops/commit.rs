//! `commit`: what a container has changed becomes one more layer over its image.

use mica_layer::Digest;

use crate::container::ContainerRecord;
use crate::events::Actor;
use crate::image::{HistoryEntry, ImageConfig, RootFs};
use crate::ops::publish::NewImage;
use crate::storage::Source;
use crate::store::layers::NewRows;
use crate::{Engine, Error, Kind, Reference, Result};

/// What `commit` makes.
#[derive(Debug, Clone, Default)]
pub struct CommitRequest {
    /// Container, by name or ID.
    pub container: String,
    /// `REPOSITORY[:TAG]` to give it.
    pub reference: Option<String>,
    /// The config's author.
    pub author: Option<String>,
    /// The history entry's comment.
    pub message: Option<String>,
    /// Dockerfile instructions for the config.
    pub changes: Vec<String>,
    /// Whether processes go on while their files are read.
    pub processes: Processes,
}

/// What a running container's processes do meanwhile.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Processes {
    /// They stand still.
    #[default]
    Paused,
    /// They go on, and a file that they write just then may be in the image half-written.
    Running,
}

impl Engine {
    /// Makes an image of a container and returns its ID.
    pub async fn commit(&self, request: CommitRequest) -> Result<Digest> {
        let references = request.reference.iter().map(|name| Reference::parse(name)).collect::<Result<Vec<_>>>()?;
        let record = self.container(&request.container).await?.record;
        let base = self.base_config(&record).await?;
        let mut config = committed(base, &record, &request);
        self.options().builder.change(&mut config, &request.changes)?;

        let chain = self.ensure_chain_on(&record.driver, &record.diff_ids).await?;
        let frozen = match request.processes {
            Processes::Paused => {
                let id = record.id.clone();
                Some(self.blocking(move |engine| Ok(engine.freeze(&id))).await?)
            }
            Processes::Running => None,
        };
        let sealed = self.rw_seal(&chain, &record.id, Source::Keep).await?;
        drop(frozen);
        self.require_unmoved(&record).await?;
        config.rootfs.diff_ids = sealed.chain.stack().to_vec();
        let image = NewImage::new(config, references)?;
        let teller = Actor::container(&record);
        self.blocking(move |engine| {
            let published = engine.publish(&sealed.chain.driver, &NewRows::default(), &[image], &[])?;
            engine.settle_soon()?;
            let image = published
                .into_iter()
                .map(|image| image.id)
                .next()
                .ok_or_else(|| Error::refused(Kind::Internal, "the image was not recorded"))?;
            engine.tell("container", "commit", teller.with("imageID", &image));
            Ok(image)
        })
        .await
    }

    /// Refuses what was read of a tree that went away meanwhile: then its row went first.
    async fn require_unmoved(&self, record: &ContainerRecord) -> Result<()> {
        let now = self.container(&record.id).await?.record;
        if now.driver == record.driver {
            return Ok(());
        }
        let message = format!("container `{}` was moved to driver `{}` meanwhile", now.name, now.driver);
        Err(Error::refused(Kind::Conflict, message).with_hint("run the same command again"))
    }

    /// The config of a container's image. The image may have been removed since; its layers are still there, because the
    /// container needs them, and a bare config over them is as good a base.
    async fn base_config(&self, record: &ContainerRecord) -> Result<ImageConfig> {
        let id = record.image_id.clone();
        let found = self.blocking(move |engine| engine.store().image_config(&id)).await;
        Ok(found.unwrap_or_else(|_| ImageConfig {
            architecture: architecture().to_owned(),
            os: "linux".to_owned(),
            rootfs: RootFs { diff_ids: record.diff_ids.clone(), ..RootFs::default() },
            ..ImageConfig::default()
        }))
    }
}

/// The config of the new image, before its changes and its layer.
fn committed(base: ImageConfig, record: &ContainerRecord, request: &CommitRequest) -> ImageConfig {
    let now = jiff::Timestamp::now().to_string();
    let mut history = base.history;
    history.push(HistoryEntry {
        created: Some(now.clone()),
        created_by: Some(record.args().join(" ")),
        author: request.author.clone(),
        comment: request.message.clone(),
        empty_layer: false,
    });
    ImageConfig { created: Some(now), author: request.author.clone(), config: record.config.clone(), history, ..base }
}

/// This machine's architecture as Go, and so the image spec, names it.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        "loongarch64" => "loong64",
        other => other,
    }
}
