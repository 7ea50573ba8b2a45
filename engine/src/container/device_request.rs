//! Devices that are asked for by a name instead of a path: `--device vendor.com/class=name` and `--gpus`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceRequest {
    /// Qualified names of the Container Device Interface.
    Cdi(Vec<String>),
    /// `--gpus`.
    Gpus(Gpus),
}

/// Graphics processors.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Gpus {
    /// The driver that was named, or nothing.
    pub driver: String,
    /// How many; -1 is all.
    pub count: i64,
    /// Which ones.
    pub devices: Vec<String>,
    /// What they must be able to do.
    pub capabilities: Vec<String>,
    /// Options of the driver.
    pub options: BTreeMap<String, String>,
}

/// True for a name of the form `vendor/class=device`.
pub fn is_cdi_name(text: &str) -> bool {
    crate::cdi::is_qualified(text)
}
