//! `--network`, `-p` and their companions, to what a container asks of networks.

use mica_engine::container::{
    ContainerSpec, DEFAULT_NETWORK, EndpointSpec, NetworkChoice, NetworkMode, parse_expose, parse_network,
    parse_publish,
};

use crate::args::networking::NetworkArgs;

/// Lays the flags over a request.
pub fn apply(spec: &mut ContainerSpec, args: &NetworkArgs, default: &str) -> anyhow::Result<()> {
    let choices = if args.networks.is_empty() { vec![parse_network(default)?] } else { args.networks.clone() };
    for choice in choices {
        match choice {
            NetworkChoice::Endpoint(endpoint) => spec.networks.push(endpoint),
            NetworkChoice::Mode(mode) if args.networks.len() < 2 => spec.network = mode,
            NetworkChoice::Mode(_) => {
                anyhow::bail!("conflicting options: `none`, `host` and `container:` go with no other network")
            }
        }
    }
    if !spec.networks.is_empty() {
        spec.network = NetworkMode::Networks;
    }
    first(spec, args)?;
    for text in &args.publish {
        spec.ports.extend(parse_publish(text)?);
    }
    for text in &args.expose {
        spec.expose.extend(parse_expose(text)?);
    }
    spec.publish_all = args.publish_all;
    Ok(())
}

/// What is said without naming a network is said of the first one.
fn first(spec: &mut ContainerSpec, args: &NetworkArgs) -> anyhow::Result<()> {
    let asks = !args.aliases.is_empty() || args.ip.is_some() || args.ip6.is_some() || args.mac_address.is_some();
    let Some(place) = spec.networks.first_mut() else {
        if asks {
            anyhow::bail!("conflicting options: addresses and aliases need a network to be in");
        }
        return Ok(());
    };
    place.aliases.extend(args.aliases.iter().cloned());
    place.ip = args.ip.or(place.ip);
    place.ip6 = args.ip6.or(place.ip6);
    place.mac = args.mac_address.clone().or(place.mac.take());
    let on_default = |place: &EndpointSpec| place.network == DEFAULT_NETWORK;
    if spec.networks.iter().any(|place| on_default(place) && (place.ip.is_some() || place.ip6.is_some())) {
        anyhow::bail!("user specified IP address is supported on user defined networks only");
    }
    if spec.networks.iter().any(|place| on_default(place) && !place.aliases.is_empty()) {
        anyhow::bail!("network-scoped alias is supported only for containers in user defined networks");
    }
    Ok(())
}
