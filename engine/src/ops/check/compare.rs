//! Looking at one thing: a blob against its digest, or a chain on a driver against the blobs of its layers.

use std::fs::File;
use std::os::fd::AsFd;

use mica_layer::{ChainId, Difference, Digest, Hasher, Target, Unpack, Verifier, Whiteouts};
use mica_storage_api::{CheckLevel, MountFlags, ObjectKind};
use mica_storage_loader::Driver;

use super::Check;
use super::known::{ChainRow, Known, chains};
use crate::storage::{key, mount};
use crate::store::images::{collect, digest};
use crate::store::layers::{self, LayerRow};
use crate::store::locks::LockName;
use crate::{Engine, Error, Kind, Result};

/// Something to look at.
#[derive(Debug)]
pub(super) enum Task {
    /// A blob with the size its row says.
    Blob(Digest, u64),
    /// An unpacked chain; its layers' blobs are verified on the way.
    Chain(Driver, ChainRow),
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Blobs that are not sound.
    pub(super) blobs: Vec<(Digest, String)>,
    /// Chains that are not sound.
    pub(super) chains: Vec<(ChainRow, Fault)>,
}

impl Findings {
    pub(super) fn extend(&mut self, more: Findings) {
        self.blobs.extend(more.blobs);
        self.chains.extend(more.chains);
    }
}

/// What is wrong with a chain's topmost object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// As a phrase that follows the name of the object.
    Object(String),
    /// Its files are not those of its layer.
    Files(Vec<Difference>),
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        /// How many paths a message names.
        const SHOWN: usize = 3;
        match self {
            Self::Object(what) => f.write_str(what),
            Self::Files(list) => {
                f.write_str("is not what its layer says: ")?;
                for (index, one) in list.iter().take(SHOWN).enumerate() {
                    let gap = if index == 0 { "" } else { "; " };
                    let path: String = one.path.to_string_lossy().chars().flat_map(char::escape_debug).collect();
                    write!(f, "{gap}`/{path}` {}", one.what)?;
                }
                match list.len().saturating_sub(SHOWN) {
                    0 => Ok(()),
                    more => write!(f, "; and {more} more"),
                }
            }
        }
    }
}

impl Check<'_> {
    /// Everything there is to look at. Chains come with their layers' blobs; the other blobs come by themselves.
    pub(super) fn tasks(&mut self) -> Result<Vec<Task>> {
        let store = self.engine.store();
        let (rows, layers, blobs) = store.read(|db| {
            let blobs: Vec<(Digest, u64)> = collect(db, "SELECT digest, size FROM blobs", [], |row| {
                Ok((digest(row, 0)?, row.get::<_, i64>(1)?.unsigned_abs()))
            })?;
            Ok((chains(db)?, layers::all_layers(db)?, blobs))
        })?;
        self.report.layers = layers.len() as u64;
        self.report.blobs = blobs.len() as u64;
        self.report.chains = rows.len() as u64;
        let unflushed = rows.iter().filter(|row| row.unflushed).count();
        if unflushed > 0 {
            self.report.notes.push(format!(
                "{unflushed} unpacked layers were not on the disk when the machine went down; each is unpacked again from its blob when it is needed"
            ));
        }
        let mut seen = std::collections::BTreeSet::new();
        let mut tasks = Vec::new();
        for row in rows {
            let Ok(driver) = self.engine.driver(&row.driver) else { continue };
            if !self.options.quick && !row.broken {
                match self.known.stack_of(&row.chain_id) {
                    Some(stack) if row.linear => seen.extend(stack.iter().cloned()),
                    _ => drop(seen.insert(row.diff_id.clone())),
                }
            }
            tasks.push(Task::Chain(driver, row));
        }
        let by_chain: std::collections::BTreeSet<&Digest> =
            layers.iter().filter(|layer| seen.contains(&layer.diff_id)).map(|layer| &layer.blob).collect();
        tasks.extend(
            blobs.into_iter().filter(|(blob, _)| !by_chain.contains(blob)).map(|(blob, size)| Task::Blob(blob, size)),
        );
        Ok(tasks)
    }
}

impl Engine {
    /// Looks at one thing. An error is one of this machine; damage is none. Blocks.
    pub(super) fn look_at(&self, known: &Known, task: &Task, quick: bool) -> Result<Findings> {
        let mut findings = Findings::default();
        match task {
            Task::Blob(digest, size) => {
                if let Some(fault) = self.blob_fault(digest, *size, quick)? {
                    findings.blobs.push((digest.clone(), fault));
                }
            }
            Task::Chain(driver, row) => {
                let fault = self.chain_fault(known, driver, row, quick, &mut findings.blobs)?;
                findings.chains.extend(fault.map(|fault| (row.clone(), fault)));
            }
        }
        Ok(findings)
    }

    /// What is wrong with a blob.
    pub(super) fn blob_fault(&self, digest: &Digest, size: u64, quick: bool) -> Result<Option<String>> {
        let path = self.store().blob_path(digest);
        let mut file = match fs_err::File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Some("is missing".to_owned())),
            Err(error) => return Err(Error::io("open", path)(error)),
        };
        let found = file.metadata().map_err(Error::io("stat", &path))?.len();
        if found != size {
            return Ok(Some(format!("has {found} bytes instead of {size}")));
        }
        if quick {
            return Ok(None);
        }
        let mut hasher = Hasher::with(digest.algorithm());
        match std::io::copy(&mut file, &mut hasher) {
            Ok(_) if hasher.finish() == *digest => Ok(None),
            Ok(_) => Ok(Some("is damaged: its bytes have another digest".to_owned())),
            Err(error) => Ok(Some(format!("cannot be read: {error}"))),
        }
    }

    /// What is wrong with the object on top of a chain, held in place while it is looked at.
    fn chain_fault(
        &self,
        known: &Known,
        driver: &Driver,
        row: &ChainRow,
        quick: bool,
        bad: &mut Vec<(Digest, String)>,
    ) -> Result<Option<Fault>> {
        if row.unflushed {
            return Ok(None);
        }
        if row.broken {
            return Ok(Some(Fault::Object("is marked as damaged".to_owned())));
        }
        let level = if quick { CheckLevel::Present } else { CheckLevel::Deep };
        if let Err(error) = driver.check(ObjectKind::Layer, key(&row.key)?, level) {
            let missing = error.kind() == mica_storage_api::ErrorKind::NotFound;
            let what = if missing { "is missing".to_owned() } else { format!("is damaged: {error}") };
            return Ok(Some(Fault::Object(what)));
        }
        if quick {
            return Ok(None);
        }
        let stack = match (row.linear, known.stack_of(&row.chain_id)) {
            (true, Some(stack)) => stack,
            // Nobody needs it, and the next sweep takes it.
            (true, None) => return Ok(None),
            (false, _) => std::slice::from_ref(&row.diff_id),
        };
        let mut held = Vec::new();
        let mut layers: Vec<LayerRow> = Vec::new();
        for diff_id in stack {
            held.push(self.store().lock_shared(&LockName::Layer(diff_id.clone()))?);
            // A layer without a row was told about when the rows were compared.
            let Some(layer) = self.store().read(|db| layers::layer(db, diff_id))? else { return Ok(None) };
            layers.push(layer);
        }
        held.push(self.store().lock_shared(&LockName::Chain(row.driver.clone(), row.chain_id.clone()))?);
        let keys = |chain: &ChainId| self.store().read(|db| layers::chain_keys(db, &row.driver, chain));
        // What stands on something broken is rebuilt with it.
        let Some(own) = keys(&row.chain_id)? else { return Ok(None) };
        for below in own.iter().skip(1) {
            // So is what stands on something missing, which has its own row.
            if driver.check(ObjectKind::Layer, key(below)?, CheckLevel::Present).is_err() {
                return Ok(None);
            }
        }
        let view = match mount(driver, &own, None, MountFlags::READONLY) {
            Ok(view) => view,
            Err(error) => return Ok(Some(Fault::Object(format!("cannot be mounted: {}", chain_of(&error))))),
        };
        let below = match &row.parent {
            Some(parent) if !row.linear => match keys(parent)? {
                Some(below) => Some(mount(driver, &below, None, MountFlags::READONLY)?),
                None => return Ok(None),
            },
            _ => None,
        };
        let merged = below.as_ref().map(AsFd::as_fd);
        let mut verifier = Verifier::new(Target { root: view.as_fd(), merged, whiteouts: Whiteouts::Direct });
        let mut sound = true;
        for layer in &layers {
            if let Some(fault) = self.stream(layer, &mut verifier)? {
                bad.push((layer.blob.clone(), fault));
                sound = false;
            }
        }
        let differences = if sound { verifier.finish() } else { Vec::new() };
        Ok((!differences.is_empty()).then_some(Fault::Files(differences)))
    }

    /// Streams a layer into a comparison, and verifies it; says what is wrong with its blob.
    fn stream(&self, layer: &LayerRow, verifier: &mut Verifier<'_>) -> Result<Option<String>> {
        let mut file: File = match self.store().open_blob(&layer.blob) {
            Ok(file) => file,
            Err(error) if error.kind() == Kind::Corrupt => return Ok(Some("is missing".to_owned())),
            Err(error) => return Err(error),
        };
        let mut reader = |archive: &mut dyn std::io::BufRead| verifier.layer(archive);
        let mut request = Unpack::new(&mut file);
        request.reader = Some(&mut reader);
        request.expected_digest = Some(layer.blob.clone());
        request.expected_size = Some(layer.blob_size);
        request.expected_diff_id = Some(layer.diff_id.clone());
        match mica_layer::unpack::unpack(request) {
            Ok(_) => Ok(None),
            Err(mica_layer::Error::DigestMismatch { .. }) => {
                Ok(Some("is damaged: its bytes have another digest".to_owned()))
            }
            Err(mica_layer::Error::Source(error)) => Ok(Some(format!("cannot be read: {error}"))),
            Err(error) => Ok(Some(format!("is damaged: {error}"))),
        }
    }
}

fn chain_of(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
