//! Flags of limits and namespaces laid over a [`ContainerSpec`].

use std::collections::BTreeMap;

use mica_engine::container::{
    BlockIo, CgroupnsMode, ContainerSpec, IpcMode, NamedIds, PidMode, Resources, UsernsMode, UtsMode, parse_bytes_rate,
    parse_device_rule, parse_device_weight, parse_id_map, parse_operations_rate, parse_size, parse_userns,
    parse_weight,
};

use crate::args::namespaces::NamespaceArgs;
use crate::args::resources::{Adjustable, ResourceArgs};
use crate::output;

/// Limits of memory, processors and block devices.
pub fn resources(spec: &mut ContainerSpec, args: &ResourceArgs) -> anyhow::Result<()> {
    adjustable(&mut spec.resources, &args.adjustable)?;
    spec.resources.oom_kill_disable = args.oom_kill_disable;
    spec.cgroup_parent.clone_from(&args.cgroup_parent);
    spec.device_rules = args.device_rules.iter().map(|text| parse_device_rule(text)).collect::<Result<_, _>>()?;
    Ok(())
}

/// Limits that `update` can change too.
pub fn adjustable(limits: &mut Resources, args: &Adjustable) -> anyhow::Result<()> {
    if let Some(size) = &args.kernel_memory {
        parse_size(size)?;
        output::warn("Flag --kernel-memory has been deprecated, and no longer supported by the kernel");
    }
    let all = |texts: &[String], parse: fn(&str) -> mica_engine::Result<_>| {
        texts.iter().map(|text| parse(text)).collect::<Result<Vec<_>, _>>()
    };
    limits.memory_swappiness = match args.memory_swappiness {
        None | Some(-1) => None,
        Some(value) => match u8::try_from(value) {
            Ok(value) if value <= 100 => Some(value),
            _ => anyhow::bail!("invalid value: {value}, valid memory swappiness range is 0-100"),
        },
    };
    limits.cpu_period = args.cpu_period;
    limits.cpu_quota = args.cpu_quota;
    limits.cpu_rt_period = args.cpu_rt_period;
    limits.cpu_rt_runtime = args.cpu_rt_runtime;
    limits.block_io = BlockIo {
        weight: args.blkio_weight.as_deref().map(parse_weight).transpose()?.flatten(),
        weights: args.blkio_weight_device.iter().map(|text| parse_device_weight(text)).collect::<Result<_, _>>()?,
        read_bps: all(&args.device_read_bps, parse_bytes_rate)?,
        write_bps: all(&args.device_write_bps, parse_bytes_rate)?,
        read_iops: all(&args.device_read_iops, parse_operations_rate)?,
        write_iops: all(&args.device_write_iops, parse_operations_rate)?,
    };
    Ok(())
}

/// Namespaces and names.
pub fn namespaces(spec: &mut ContainerSpec, args: &NamespaceArgs) -> anyhow::Result<()> {
    let modes = &mut spec.namespaces;
    modes.ipc = IpcMode::parse(args.ipc.as_deref().unwrap_or_default())?;
    modes.pid = PidMode::parse(args.pid.as_deref().unwrap_or_default())?;
    modes.uts = UtsMode::parse(args.uts.as_deref().unwrap_or_default())?;
    modes.cgroup = CgroupnsMode::parse(args.cgroupns.as_deref().unwrap_or_default())?;
    user_namespace(spec, args)?;
    spec.domainname.clone_from(&args.domainname);
    spec.annotations = annotations(&args.annotations)?;
    match args.isolation.as_deref() {
        None | Some("" | "default") => Ok(()),
        Some(other) => Err(anyhow::anyhow!("invalid isolation `{other}` on linux: there is only `default`")),
    }
}

/// Ids that are named mean a namespace of its own.
fn user_namespace(spec: &mut ContainerSpec, args: &NamespaceArgs) -> anyhow::Result<()> {
    let maps = |texts: &[String]| texts.iter().map(|text| parse_id_map(text)).collect::<Result<Vec<_>, _>>();
    spec.named_ids = NamedIds {
        uids: maps(&args.uid_maps)?,
        gids: maps(&args.gid_maps)?,
        subuid_name: args.subuid_name.clone(),
        subgid_name: args.subgid_name.clone(),
    };
    spec.userns = match args.userns.as_deref() {
        None if !spec.named_ids.is_empty() => UsernsMode::Private,
        text => parse_userns(text.unwrap_or_default())?,
    };
    if !spec.named_ids.is_empty() && spec.userns != UsernsMode::Private {
        anyhow::bail!(
            "conflicting options: `--userns {}` and ids that `--uidmap`, `--gidmap`, `--subuidname` or `--subgidname` name",
            args.userns.as_deref().unwrap_or_default()
        );
    }
    Ok(())
}

fn annotations(texts: &[String]) -> anyhow::Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    for text in texts {
        match text.split_once('=') {
            Some((name, value)) if !name.is_empty() => found.insert(name.to_owned(), value.to_owned()),
            _ => anyhow::bail!("invalid annotation `{text}`: expected `name=value`"),
        };
    }
    Ok(found)
}
