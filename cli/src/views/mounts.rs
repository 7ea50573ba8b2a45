//! What is mounted in a container, as `inspect` shows it: what there is (`Mounts`), and what was asked for (`Binds` and
//! `Mounts` of the `HostConfig`).

use std::path::Path;

use mica_engine::container::{
    ContainerRecord, MountFlag, MountSource, MountSpec, PointSource, Propagation, Recursion, TmpfsSpec,
};
use mica_engine::ops::ps::ContainerSummary;
use serde_json::{Map, Value, json};

/// The binds, volumes, images and memory file systems of a container.
pub fn mounts(summary: &ContainerSummary) -> Vec<Value> {
    let record = &summary.record;
    let points = record.mount_points().into_iter().map(|point| {
        let mut view = Map::new();
        let (kind, source, mode) = match &point.source {
            PointSource::Bind(path, _) => ("bind", path.clone(), point.mode.clone()),
            PointSource::Volume(name) => {
                view.insert("Name".into(), name.clone().into());
                view.insert("Driver".into(), "local".into());
                // Docker labels a volume that has a name for several containers, whether or not SELinux is in use.
                let named = record.spec.mounts.iter().any(|mount| is_of(mount, name, &point.target));
                let mode = if named && point.mode.is_empty() { "z".to_owned() } else { point.mode.clone() };
                ("volume", summary.volumes.join(name).join("_data"), mode)
            }
            PointSource::Image { reference, .. } => ("image", reference.into(), String::new()),
        };
        // Templates name these of every mount.
        for name in ["Name", "Driver"] {
            view.entry(name).or_insert_with(|| "".into());
        }
        let propagation = match kind {
            "bind" => point.propagation.map_or("rprivate", Propagation::word),
            _ => "",
        };
        view.insert("Type".into(), kind.into());
        view.insert("Source".into(), source.display().to_string().into());
        view.insert("Destination".into(), point.target.into());
        view.insert("Mode".into(), mode.into());
        view.insert("RW".into(), (!point.read_only).into());
        view.insert("Propagation".into(), propagation.into());
        Value::Object(view)
    });
    let memory = record.spec.tmpfs.iter().filter(|tmpfs| tmpfs.flag.is_some()).map(|tmpfs| {
        json!({
            "Type": "tmpfs", "Name": "", "Driver": "", "Source": "", "Destination": tmpfs.target, "Mode": "", "RW": !is_read_only(tmpfs),
            "Propagation": "",
        })
    });
    points.chain(memory).collect()
}

fn is_of(mount: &MountSpec, name: &str, target: &str) -> bool {
    matches!(&mount.source, MountSource::Volume { name: Some(own) } if own == name) && mount.target == target
}

fn is_read_only(tmpfs: &TmpfsSpec) -> bool {
    tmpfs.options.iter().any(|option| option == "ro")
}

/// What `-v` asked for, a name or path before each colon.
pub fn binds(record: &ContainerRecord) -> Vec<String> {
    let asked = record.spec.mounts.iter().filter(|mount| mount.flag == MountFlag::Volume);
    let bind = |mount: &MountSpec| {
        let source = match &mount.source {
            MountSource::Bind { path, .. } => path.display().to_string(),
            MountSource::Volume { name } => name.clone()?,
            MountSource::Image { .. } => return None,
        };
        let suffix = match (mount.mode.as_str(), mount.read_only) {
            ("", true) => ":ro".to_owned(),
            ("", false) => String::new(),
            (mode, _) => format!(":{mode}"),
        };
        Some(format!("{source}:{}{suffix}", mount.target))
    };
    asked.filter_map(bind).collect()
}

/// What `--mount` asked for; `None` without any.
pub fn asked(record: &ContainerRecord) -> Option<Vec<Value>> {
    let mounts = record.spec.mounts.iter().filter(|mount| mount.flag == MountFlag::Mount).map(mount);
    let memory = record.spec.tmpfs.iter().filter(|tmpfs| tmpfs.flag.is_some()).map(|tmpfs| {
        let mut view = Map::new();
        view.insert("Type".into(), "tmpfs".into());
        view.insert("Target".into(), tmpfs.target.clone().into());
        if is_read_only(tmpfs) {
            view.insert("ReadOnly".into(), true.into());
        }
        let value = |name: &str, radix: u32| {
            let text = tmpfs.options.iter().find_map(|option| option.strip_prefix(name)?.strip_prefix('='))?;
            u64::from_str_radix(text, radix).ok()
        };
        let sizes = [("SizeBytes", value("size", 10)), ("Mode", value("mode", 8))];
        let options: Map<String, Value> =
            sizes.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.into()))).collect();
        if !options.is_empty() {
            view.insert("TmpfsOptions".into(), options.into());
        }
        Value::Object(view)
    });
    let all: Vec<Value> = mounts.chain(memory).collect();
    (!all.is_empty()).then_some(all)
}

fn mount(mount: &MountSpec) -> Value {
    let (kind, source) = match &mount.source {
        MountSource::Bind { path, .. } => ("bind", path.as_path()),
        MountSource::Volume { name } => ("volume", Path::new(name.as_deref().unwrap_or_default())),
        MountSource::Image { reference, .. } => ("image", Path::new(reference)),
    };
    let mut view = Map::new();
    view.insert("Type".into(), kind.into());
    if !source.as_os_str().is_empty() {
        view.insert("Source".into(), source.display().to_string().into());
    }
    view.insert("Target".into(), mount.target.clone().into());
    if mount.read_only {
        view.insert("ReadOnly".into(), true.into());
    }
    let mut options = Map::new();
    if let Some(propagation) = mount.propagation {
        options.insert("Propagation".into(), propagation.word().into());
    }
    match mount.recursion {
        Recursion::Enabled => {}
        Recursion::Disabled => drop(options.insert("NonRecursive".into(), true.into())),
        Recursion::Writable => drop(options.insert("ReadOnlyNonRecursive".into(), true.into())),
        Recursion::ReadOnly => drop(options.insert("ReadOnlyForceRecursive".into(), true.into())),
    }
    if mount.no_copy {
        options.insert("NoCopy".into(), true.into());
    }
    if let Some(subpath) = &mount.subpath {
        options.insert("Subpath".into(), subpath.clone().into());
    }
    if !mount.volume.labels.is_empty() {
        options.insert("Labels".into(), json!(mount.volume.labels));
    }
    if mount.volume.driver.is_some() || !mount.volume.options.is_empty() {
        let mut driver = Map::new();
        if let Some(name) = &mount.volume.driver {
            driver.insert("Name".into(), name.clone().into());
        }
        if !mount.volume.options.is_empty() {
            driver.insert("Options".into(), json!(mount.volume.options));
        }
        options.insert("DriverConfig".into(), driver.into());
    }
    if !options.is_empty() {
        let name = match kind {
            "bind" => "BindOptions",
            "volume" => "VolumeOptions",
            _ => "ImageOptions",
        };
        view.insert(name.into(), options.into());
    }
    Value::Object(view)
}
