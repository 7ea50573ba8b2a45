//! The Container Device Interface: devices by the names that their vendors' files on this machine describe.
//!
//! What such a file says is laid over a container's OCI configuration when that is written. The files belong to whoever
//! runs this machine, so what they ask for is done, hooks on the host included; what cannot be done is an error.

mod catalogue;
mod document;
mod edits;

use std::path::PathBuf;

use oci_spec::runtime::Spec;

use crate::container::{DeviceRequest, Gpus};
use crate::{Error, Kind, Result};
use catalogue::Catalogue;
use edits::Edits;

pub use document::is_qualified;

/// Where files are looked for when nobody says otherwise; what is in a later folder wins (SPEC.md, "CDI JSON Specification").
pub const FOLDERS: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];

/// The kind that NVIDIA's tools describe their devices under.
const NVIDIA: &str = "nvidia.com/gpu";

/// Lays what was asked for over a configuration.
pub fn inject(built: &mut Spec, requests: &[DeviceRequest], folders: &[PathBuf]) -> Result<()> {
    find(requests, folders)?.apply(built)
}

/// Refuses requests that no file answers, before anything is made.
pub fn check(requests: &[DeviceRequest], folders: &[PathBuf]) -> Result<()> {
    find(requests, folders).map(drop)
}

/// Everything that the devices bring along: what holds for all devices of a file comes once, before those of it that were
/// asked for.
fn find(requests: &[DeviceRequest], folders: &[PathBuf]) -> Result<Edits> {
    let mut edits = Edits::default();
    if requests.is_empty() {
        return Ok(edits);
    }
    let catalogue = Catalogue::read(folders)?;
    let mut opened = Vec::new();
    for request in requests {
        for name in names(request)? {
            let (document, device) = match (catalogue.device(&name)?, request) {
                (Some(found), _) => found,
                (None, DeviceRequest::Cdi(_)) => return Err(catalogue.missing(&name)),
                (None, DeviceRequest::Gpus(gpus)) => return Err(no_driver(gpus, &name)),
            };
            if !opened.contains(&&document.path) {
                opened.push(&document.path);
                edits.add(&document.edits, &document.path)?;
            }
            edits.add(&device.edits, &document.path)?;
        }
    }
    Ok(edits)
}

/// The qualified names that a request stands for. Processors of NVIDIA's are counted from 0, as their tools name them.
fn names(request: &DeviceRequest) -> Result<Vec<String>> {
    const CAPABILITIES: [&str; 8] = ["gpu", "nvidia", "compute", "compat32", "graphics", "utility", "video", "display"];
    match request {
        DeviceRequest::Cdi(names) => Ok(names.clone()),
        DeviceRequest::Gpus(gpus) if gpus.driver == "cdi" => Ok(gpus.devices.clone()),
        DeviceRequest::Gpus(gpus) => {
            let known = |word: &String| CAPABILITIES.contains(&word.as_str());
            if !matches!(gpus.driver.as_str(), "" | "nvidia") || !gpus.capabilities.iter().all(known) {
                return Err(no_driver(gpus, NVIDIA));
            }
            let numbered = |index: i64| format!("{NVIDIA}={index}");
            Ok(match gpus.count {
                _ if !gpus.devices.is_empty() => gpus.devices.iter().map(|id| format!("{NVIDIA}={id}")).collect(),
                count if count < 0 => vec![format!("{NVIDIA}=all")],
                count => (0..count).map(numbered).collect(),
            })
        }
    }
}

/// Docker's words, and what has to be there.
fn no_driver(gpus: &Gpus, name: &str) -> Error {
    let capabilities = gpus.capabilities.join(" ");
    let message = format!(
        "could not select device driver \"{}\" with capabilities: [[{capabilities}]]: no file describes `{name}`",
        gpus.driver
    );
    Error::refused(Kind::Unsupported, message).with_hint(
        "install the NVIDIA Container Toolkit and have it describe this machine: `nvidia-ctk cdi generate \
         --output=/etc/cdi/nvidia.yaml`",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn graphics_processors_have_nvidias_names() {
        let gpus = |count: i64, devices: &[&str]| Gpus {
            count,
            devices: devices.iter().map(|id| (*id).to_owned()).collect(),
            capabilities: vec!["utility".into(), "gpu".into()],
            ..Gpus::default()
        };
        for (request, expected) in [
            (gpus(-1, &[]), &["nvidia.com/gpu=all"][..]),
            (gpus(2, &[]), &["nvidia.com/gpu=0", "nvidia.com/gpu=1"]),
            (gpus(0, &["1", "GPU-7"]), &["nvidia.com/gpu=1", "nvidia.com/gpu=GPU-7"]),
            (Gpus { driver: "cdi".into(), ..gpus(0, &["v.com/x=y"]) }, &["v.com/x=y"]),
        ] {
            assert_eq!(names(&DeviceRequest::Gpus(request)).unwrap(), expected);
        }
        for wrong in
            [Gpus { driver: "other".into(), ..gpus(1, &[]) }, Gpus { capabilities: vec!["tpu".into()], ..gpus(1, &[]) }]
        {
            let error = names(&DeviceRequest::Gpus(wrong)).unwrap_err();
            assert!(error.to_string().starts_with("could not select device driver"), "{error}");
        }
        let error = check(&[DeviceRequest::Gpus(gpus(-1, &[]))], &[]).unwrap_err();
        assert!(error.hint().unwrap_or_default().contains("nvidia-ctk cdi generate"), "{error:?}");
    }
}
