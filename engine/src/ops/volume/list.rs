//! `volume ls`.

use std::collections::BTreeSet;

use super::VolumeRecord;
use crate::store::{containers, volumes};
use crate::{Engine, Error, Kind, Result, filter};

/// Which volumes are listed. Values of one filter are alternatives; filters are conditions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VolumeFilters {
    dangling: Option<bool>,
    drivers: Vec<String>,
    labels: Vec<String>,
    names: Vec<String>,
}

impl VolumeFilters {
    /// Reads `name=value` pairs: `dangling`, `driver`, `label` and `name`.
    pub fn parse(pairs: &[(String, String)]) -> Result<Self> {
        filter::known(pairs, &["dangling", "driver", "label", "name"])?;
        let mut filters = Self::default();
        for (name, value) in pairs {
            match name.as_str() {
                "dangling" => {
                    let wanted = filter::boolean(name, value).map_err(|_| {
                        Error::refused(Kind::InvalidInput, format!("invalid filter `dangling=[{value}]`"))
                            .with_hint("it is `true` or `false`")
                    })?;
                    filters.dangling = Some(wanted);
                }
                "driver" => filters.drivers.push(value.clone()),
                "label" => filters.labels.push(value.clone()),
                _ => filters.names.push(value.clone()),
            }
        }
        Ok(filters)
    }

    fn chooses(&self, volume: &VolumeRecord) -> bool {
        let any = |wanted: &[String], holds: &dyn Fn(&String) -> bool| wanted.is_empty() || wanted.iter().any(holds);
        any(&self.drivers, &|driver| *driver == volume.driver)
            && any(&self.names, &|name| volume.name.contains(name.as_str()))
            && self.labels.iter().all(|label| filter::has_label(&volume.labels, label))
    }
}

impl Engine {
    /// Volumes, by name.
    pub async fn volumes(&self, filters: VolumeFilters) -> Result<Vec<VolumeRecord>> {
        self.blocking(move |engine| {
            let (mut found, used) = engine.store().read(|db| {
                let used: BTreeSet<String> = match filters.dangling {
                    None => BTreeSet::new(),
                    Some(_) => containers::holdings(db)?
                        .into_iter()
                        .flat_map(|holding| holding.volumes)
                        .map(|volume| volume.name)
                        .collect(),
                };
                Ok((volumes::all(db)?, used))
            })?;
            let in_state =
                |volume: &VolumeRecord| filters.dangling.is_none_or(|dangling| dangling != used.contains(&volume.name));
            found.retain(|volume| filters.chooses(volume) && in_state(volume));
            Ok(found)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_dockers() {
        let volume = VolumeRecord {
            name: "data".into(),
            driver: "local".into(),
            labels: [("a".to_owned(), "b".to_owned())].into(),
            ..VolumeRecord::default()
        };
        for (pairs, wanted) in [
            (vec![], true),
            (vec![("name", "at")], true),
            (vec![("name", "x"), ("name", "dat")], true),
            (vec![("name", "x")], false),
            (vec![("label", "a"), ("label", "a=b")], true),
            (vec![("label", "a=c")], false),
            (vec![("driver", "local"), ("name", "x")], false),
        ] {
            let pairs: Vec<(String, String)> = pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
            assert_eq!(VolumeFilters::parse(&pairs).unwrap().chooses(&volume), wanted, "{pairs:?}");
        }
        for (pair, words) in
            [(("dangling", "maybe"), "invalid filter `dangling=[maybe]`"), (("nope", "1"), "invalid filter `nope`")]
        {
            let pair = (pair.0.to_owned(), pair.1.to_owned());
            assert_eq!(VolumeFilters::parse(&[pair]).unwrap_err().to_string(), words);
        }
    }
}
