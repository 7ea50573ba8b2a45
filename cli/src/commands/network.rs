//! `network …` and `port`.

use mica_engine::Kind;
use mica_engine::container::{EndpointSpec, parse_expose};
use mica_engine::ops::network::NetworkRequest;

use super::inspect::show;
use super::prune::agreed;
use super::{each, pairs};
use crate::args::network::{Connect, Create, Disconnect, Ls, NetworkCommand, Port, Prune, Rm};
use crate::context::Context;
use crate::output::listing::{self, Style};
use crate::views::network::{NETWORKS, details, host, network};
use crate::views::row::Detail;
use crate::{output, spec};

/// `network …`.
pub(super) async fn run(context: &Context, command: &NetworkCommand) -> anyhow::Result<()> {
    match command {
        NetworkCommand::Connect(args) => connect(context, args).await,
        NetworkCommand::Create(args) => create(context, args).await,
        NetworkCommand::Disconnect(args) => disconnect(context, args).await,
        NetworkCommand::Inspect(args) => {
            let engine = context.engine()?;
            let find = async |name: &str| Ok(details(&engine.inspect_network(name).await?));
            show(args.format.as_deref(), &args.names, find).await
        }
        NetworkCommand::Ls(args) => list(context, args).await,
        NetworkCommand::Prune(args) => prune(context, args).await,
        NetworkCommand::Rm(args) => remove(context, args).await,
    }
}

async fn create(context: &Context, args: &Create) -> anyhow::Result<()> {
    let mut options = spec::labels(&[], &args.options)?;
    if let Some(name) = &args.interface_name {
        let option = if args.driver == "macvlan" { "parent" } else { "com.docker.network.bridge.name" };
        options.insert(option.to_owned(), name.clone());
    }
    let request = NetworkRequest {
        name: args.name.clone(),
        driver: args.driver.clone(),
        subnets: args.subnets.clone(),
        gateways: args.gateways.clone(),
        ranges: args.ranges.clone(),
        others: args.others.iter().cloned().collect(),
        ipv6: args.ipv6.unwrap_or(false),
        internal: args.internal,
        attachable: args.attachable,
        nameless: args.disable_dns,
        name_servers: args.name_servers.clone(),
        labels: spec::labels(&[], &args.labels)?,
        options,
    };
    output::line(context.engine()?.create_network(request).await?.id)
}

async fn connect(context: &Context, args: &Connect) -> anyhow::Result<()> {
    let endpoint = EndpointSpec {
        network: args.network.clone(),
        aliases: args.aliases.clone(),
        ip: args.ip,
        ip6: args.ip6,
        mac: args.mac_address.clone(),
        ..EndpointSpec::default()
    };
    Ok(context.engine()?.connect_network(&args.container, endpoint).await?)
}

async fn disconnect(context: &Context, args: &Disconnect) -> anyhow::Result<()> {
    Ok(context.engine()?.disconnect_network(&args.container, &args.network, args.force).await?)
}

async fn list(context: &Context, args: &Ls) -> anyhow::Result<()> {
    let found = context.engine()?.networks(pairs(&args.filters)?).await?;
    let detail = if args.no_trunc { Detail::Whole } else { Detail::Short };
    let rows: Vec<_> = found.iter().map(|record| network(record, detail)).collect();
    let style = Style { format: args.format.as_deref(), quiet: args.quiet };
    output::raw(listing::render(&NETWORKS, style, &rows)?.as_bytes())
}

async fn prune(context: &Context, args: &Prune) -> anyhow::Result<()> {
    let filters = pairs(&args.prune.filters)?;
    if !args.prune.force && !agreed("This will remove all custom networks not used by at least one container.")? {
        return Ok(());
    }
    prune_now(context, filters).await
}

/// Removes networks and says which.
pub(super) async fn prune_now(context: &Context, filters: Vec<(String, String)>) -> anyhow::Result<()> {
    let pruned = context.engine()?.prune_networks(filters).await?;
    if pruned.networks.is_empty() {
        return Ok(());
    }
    output::line(format!("Deleted Networks:\n{}\n", pruned.networks.join("\n")))
}

async fn remove(context: &Context, args: &Rm) -> anyhow::Result<()> {
    let engine = context.engine()?;
    each(&args.names, async |name| match engine.remove_network(name).await {
        Ok(_) => output::line(name),
        Err(error) if args.force && error.kind() == Kind::NotFound => Ok(()),
        Err(error) => Err(error.into()),
    })
    .await
}

/// `port`.
pub(super) async fn port(context: &Context, args: &Port) -> anyhow::Result<()> {
    let summary = context.engine()?.container(&args.container).await?;
    let mut bindings = summary.network.ports;
    bindings.sort_by_key(|binding| (binding.container.port, binding.container.protocol, binding.address, binding.port));
    let Some(wanted) = &args.port else {
        for binding in bindings {
            output::line(format!("{} -> {}:{}", binding.container, host(binding.address), binding.port))?;
        }
        return Ok(());
    };
    let [port] = parse_expose(wanted)?[..] else { anyhow::bail!("invalid port: `{wanted}`") };
    let found: Vec<_> = bindings.iter().filter(|binding| binding.container == port).collect();
    if found.is_empty() {
        anyhow::bail!("no public port '{port}' published for {}", args.container);
    }
    found.iter().try_for_each(|binding| output::line(format!("{}:{}", host(binding.address), binding.port)))
}
