//! Limits of block devices, which a configuration names by number.

use std::path::Path;

use oci_spec::runtime::{
    LinuxBlockIo, LinuxBlockIoBuilder, LinuxThrottleDevice, LinuxThrottleDeviceBuilder, LinuxWeightDevice,
    LinuxWeightDeviceBuilder,
};

use super::devices::block_number;
use super::seccomp::unbuildable;
use crate::Result;
use crate::container::{BlockIo, DeviceRate};

/// The limits with the numbers of their devices; `None` when there are none.
pub fn block_io(limits: &BlockIo) -> Result<Option<LinuxBlockIo>> {
    if limits.is_empty() {
        return Ok(None);
    }
    with_numbers(limits, &block_number).map(Some)
}

fn with_numbers(limits: &BlockIo, number: &dyn Fn(&Path) -> Result<(i64, i64)>) -> Result<LinuxBlockIo> {
    let throttle = |rates: &[DeviceRate]| -> Result<Vec<LinuxThrottleDevice>> {
        let one = |rate: &DeviceRate| {
            let (major, minor) = number(&rate.path)?;
            LinuxThrottleDeviceBuilder::default().major(major).minor(minor).rate(rate.rate).build().map_err(unbuildable)
        };
        rates.iter().map(one).collect()
    };
    let mut weights: Vec<LinuxWeightDevice> = Vec::new();
    for device in &limits.weights {
        let (major, minor) = number(&device.path)?;
        let built = LinuxWeightDeviceBuilder::default().major(major).minor(minor).weight(device.weight);
        weights.push(built.build().map_err(unbuildable)?);
    }
    let mut built = LinuxBlockIoBuilder::default();
    if let Some(weight) = limits.weight {
        built = built.weight(weight);
    }
    if !weights.is_empty() {
        built = built.weight_device(weights);
    }
    if !limits.read_bps.is_empty() {
        built = built.throttle_read_bps_device(throttle(&limits.read_bps)?);
    }
    if !limits.write_bps.is_empty() {
        built = built.throttle_write_bps_device(throttle(&limits.write_bps)?);
    }
    if !limits.read_iops.is_empty() {
        built = built.throttle_read_iops_device(throttle(&limits.read_iops)?);
    }
    if !limits.write_iops.is_empty() {
        built = built.throttle_write_iops_device(throttle(&limits.write_iops)?);
    }
    built.build().map_err(unbuildable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;
    use crate::container::{parse_bytes_rate, parse_device_weight, parse_operations_rate};

    #[test]
    fn devices_become_numbers() {
        let limits = BlockIo {
            weight: Some(300),
            weights: vec![parse_device_weight("/dev/a:100").unwrap()],
            read_bps: vec![parse_bytes_rate("/dev/a:1mb").unwrap()],
            write_iops: vec![parse_operations_rate("/dev/a:5").unwrap()],
            ..Default::default()
        };
        let built = serde_json::to_value(with_numbers(&limits, &|_| Ok((8, 16))).unwrap()).unwrap();
        assert_eq!(
            built,
            serde_json::json!({
                "weight": 300,
                "weightDevice": [{ "major": 8, "minor": 16, "weight": 100 }],
                "throttleReadBpsDevice": [{ "major": 8, "minor": 16, "rate": 1 << 20 }],
                "throttleWriteIOPSDevice": [{ "major": 8, "minor": 16, "rate": 5 }],
            })
        );
    }

    #[test]
    fn what_is_no_block_device_is_refused() {
        for path in ["/dev/null:1", "/dev/nonesuch:1"] {
            let limits = BlockIo { read_bps: vec![parse_bytes_rate(path).unwrap()], ..Default::default() };
            assert!(matches!(block_io(&limits).unwrap_err().kind(), Kind::InvalidInput | Kind::NotFound), "{path}");
        }
        assert_eq!(block_io(&BlockIo::default()).unwrap(), None);
    }
}
