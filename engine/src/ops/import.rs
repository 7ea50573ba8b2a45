//! `import`: the archive of a root file system becomes an image of one layer.

use std::io::{Read, Seek as _};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use mica_layer::{DiffId, Digest, Unpack};

use crate::events::Actor;
use crate::image::{HistoryEntry, ImageConfig};
use crate::ops::commit::architecture;
use crate::ops::load::{ArchiveSource, Silent};
use crate::ops::publish::NewImage;
use crate::storage::materialise::{Keep, LayerInput, LayerSource};
use crate::store::content::Ingest;
use crate::{Engine, Error, Kind, Reference, Result};

/// What `import` makes.
#[derive(Debug)]
pub struct ImportRequest {
    /// The archive, compressed or not.
    pub source: ArchiveSource,
    /// How `history` names where it came from, for example the file name or `-`.
    pub source_name: String,
    /// `REPOSITORY[:TAG]` to give it.
    pub reference: Option<String>,
    /// The history entry's comment.
    pub message: Option<String>,
    /// Dockerfile instructions for the config.
    pub changes: Vec<String>,
    /// `os/arch[/variant]`; this machine's when `None`.
    pub platform: Option<String>,
}

impl Engine {
    /// Makes an image of an archive and returns its ID.
    pub async fn import(&self, request: ImportRequest) -> Result<Digest> {
        let references = request.reference.iter().map(|name| Reference::parse(name)).collect::<Result<Vec<_>>>()?;
        let mut config = imported(&request)?;
        self.options().builder.change(&mut config, &request.changes)?;
        self.blocking(move |engine| {
            let driver = engine.selected_driver()?;
            let archive = engine.spool(request.source)?;
            config.rootfs.diff_ids = vec![archive.diff_id.clone()];
            let made = engine.materialise(&driver, &config.rootfs.diff_ids, &archive, &Silent)?;
            let image = NewImage::new(config, references)?;
            let published = engine.publish(&driver, &made.rows, &[image], &[])?;
            engine.settle_soon()?;
            let image = published
                .into_iter()
                .map(|image| image.id)
                .next()
                .ok_or_else(|| Error::refused(Kind::Internal, "the image was not recorded"))?;
            engine.tell("image", "import", Actor::named(image.as_str(), image.as_str()));
            Ok(image)
        })
        .await
    }

    /// Takes an archive in and computes its digests; its bytes become the layer's blob as they came.
    fn spool(&self, source: ArchiveSource) -> Result<Spooled> {
        let (mut input, name): (Box<dyn Read + Send>, PathBuf) = match source {
            ArchiveSource::File(path) => {
                let file = fs_err::File::open(&path).map_err(Error::io("open", &path))?;
                (Box::new(file), path)
            }
            ArchiveSource::Stream(stream) => (stream, "standard input".into()),
        };
        let mut ingest = self.store().ingest()?;
        let mut unpack = Unpack::new(&mut *input);
        unpack.blob = Some(ingest.file());
        let unpacked = mica_layer::unpack::unpack(unpack).map_err(|source| Error::Layer {
            operation: "read",
            layer: name.display().to_string(),
            source,
        })?;
        Ok(Spooled {
            diff_id: unpacked.diff_id,
            blob: unpacked.blob,
            size: unpacked.blob_size,
            ingest: Mutex::new(Some(ingest)),
        })
    }
}

/// An archive in the store's ingest area.
struct Spooled {
    diff_id: DiffId,
    blob: Digest,
    size: u64,
    ingest: Mutex<Option<Ingest>>,
}

impl LayerSource for Spooled {
    fn open(&self, _index: usize) -> Result<LayerInput> {
        let taken = self.ingest.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut ingest = taken.ok_or_else(|| Error::refused(Kind::Internal, "the archive was taken in already"))?;
        let path = ingest.path().to_owned();
        let mut file = ingest.file().try_clone().map_err(Error::io("reopen", &path))?;
        file.rewind().map_err(Error::io("rewind", path))?;
        Ok(LayerInput {
            bytes: Box::new(file),
            keep: Some(Keep::Ingest(ingest)),
            expected: Some(self.blob.clone()),
            size: self.size,
        })
    }
}

/// The config of the new image, before its changes and its layer.
fn imported(request: &ImportRequest) -> Result<ImageConfig> {
    let now = jiff::Timestamp::now().to_string();
    let platform = request.platform.clone().unwrap_or_else(|| format!("linux/{}", architecture()));
    let mut parts = platform.split('/').map(str::to_owned);
    let (Some(os), Some(architecture)) = (parts.next(), parts.next()) else {
        return Err(Error::refused(Kind::InvalidInput, format!("`{platform}` is not a platform"))
            .with_hint("write it as os/architecture, for example linux/amd64"));
    };
    Ok(ImageConfig {
        created: Some(now.clone()),
        architecture,
        os,
        variant: parts.next(),
        history: vec![HistoryEntry {
            created: Some(now),
            comment: Some(request.message.clone().unwrap_or_else(|| format!("Imported from {}", request.source_name))),
            ..HistoryEntry::default()
        }],
        ..ImageConfig::default()
    })
}
