//! Limits of reading and writing block devices, and their flags' values.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::options::parse_size;
use crate::{Error, Kind, Result};

/// Limits of block devices. Empty lists and `None` set nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BlockIo {
    /// Share of the devices' time against other containers, 10 to 1000.
    pub weight: Option<u16>,
    /// The same for single devices.
    pub weights: Vec<DeviceWeight>,
    /// Bytes that may be read in a second.
    pub read_bps: Vec<DeviceRate>,
    /// Bytes that may be written in a second.
    pub write_bps: Vec<DeviceRate>,
    /// Reads in a second.
    pub read_iops: Vec<DeviceRate>,
    /// Writes in a second.
    pub write_iops: Vec<DeviceRate>,
}

/// A device's share of time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceWeight {
    /// Path on the host.
    pub path: PathBuf,
    /// 10 to 1000.
    pub weight: u16,
}

/// How much may be done with a device in a second.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRate {
    /// Path on the host.
    pub path: PathBuf,
    /// Bytes or operations.
    pub rate: u64,
}

impl BlockIo {
    /// True when nothing is limited.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// These limits with others over them, which replace those of the same devices.
    pub(crate) fn with(&self, over: Self) -> Self {
        Self {
            weight: over.weight.or(self.weight),
            weights: replaced(&self.weights, over.weights, |device| &device.path),
            read_bps: replaced(&self.read_bps, over.read_bps, |device| &device.path),
            write_bps: replaced(&self.write_bps, over.write_bps, |device| &device.path),
            read_iops: replaced(&self.read_iops, over.read_iops, |device| &device.path),
            write_iops: replaced(&self.write_iops, over.write_iops, |device| &device.path),
        }
    }
}

fn replaced<T: Clone>(base: &[T], over: Vec<T>, path: fn(&T) -> &PathBuf) -> Vec<T> {
    let kept = base.iter().filter(|known| over.iter().all(|other| path(other) != path(known))).cloned();
    kept.collect::<Vec<_>>().into_iter().chain(over).collect()
}

/// `--blkio-weight`; 0 is the kernel's own.
pub fn parse_weight(text: &str) -> Result<Option<u16>> {
    match text.parse::<u16>() {
        Ok(0) => Ok(None),
        Ok(weight) if (10..=1000).contains(&weight) => Ok(Some(weight)),
        _ => Err(invalid(format!("range of blkio weight is from 10 to 1000, not `{text}`"))),
    }
}

/// `--blkio-weight-device PATH:WEIGHT`.
pub fn parse_device_weight(text: &str) -> Result<DeviceWeight> {
    let (path, weight) = device(text)?;
    match weight.parse::<u16>() {
        Ok(weight) if (10..=1000).contains(&weight) => Ok(DeviceWeight { path, weight }),
        _ => Err(invalid(format!("invalid weight for device: `{text}`: it is from 10 to 1000"))),
    }
}

/// `--device-read-bps PATH:SIZE` and its like for writing.
pub fn parse_bytes_rate(text: &str) -> Result<DeviceRate> {
    let (path, rate) = device(text)?;
    match parse_size(rate) {
        Ok(rate) => Ok(DeviceRate { path, rate }),
        Err(_) => Err(invalid(format!(
            "invalid rate for device: `{text}`: the form is PATH:NUMBER[UNIT], with `kb`, `mb` or `gb` as unit"
        ))),
    }
}

/// `--device-read-iops PATH:NUMBER` and its like for writing.
pub fn parse_operations_rate(text: &str) -> Result<DeviceRate> {
    let (path, rate) = device(text)?;
    match rate.parse() {
        Ok(rate) => Ok(DeviceRate { path, rate }),
        Err(_) => Err(invalid(format!("invalid rate for device: `{text}`: the form is PATH:NUMBER"))),
    }
}

fn device(text: &str) -> Result<(PathBuf, &str)> {
    let (path, value) = text.rsplit_once(':').ok_or_else(|| invalid(format!("bad format: `{text}`")))?;
    if !path.starts_with("/dev/") {
        return Err(invalid(format!("bad format for device path: `{text}`: it is below `/dev`")));
    }
    Ok((path.into(), value))
}

fn invalid(message: String) -> Error {
    Error::refused(Kind::InvalidInput, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_weights_belong_to_devices() {
        assert_eq!(parse_bytes_rate("/dev/vda:1mb").unwrap(), DeviceRate { path: "/dev/vda".into(), rate: 1 << 20 });
        assert_eq!(parse_operations_rate("/dev/vda:70").unwrap().rate, 70);
        assert_eq!(parse_device_weight("/dev/vda:10").unwrap().weight, 10);
        assert_eq!((parse_weight("0").unwrap(), parse_weight("1000").unwrap()), (None, Some(1000)));
        for text in ["", "/dev/vda", "vda:1", "/etc/x:1", "/dev/vda:", "/dev/vda:-1", "/dev/vda:1xb"] {
            assert!(parse_bytes_rate(text).is_err() && parse_operations_rate(text).is_err(), "{text}");
            assert!(parse_device_weight(text).is_err(), "{text}");
        }
        for text in ["9", "1001", "x", "-1", ""] {
            assert!(parse_weight(text).is_err(), "{text}");
            assert!(parse_device_weight(&format!("/dev/vda:{text}")).is_err(), "{text}");
        }
        assert!(parse_operations_rate("/dev/vda:1mb").is_err());
    }
}
