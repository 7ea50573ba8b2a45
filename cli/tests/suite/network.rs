//! `network …`, `port`, and what `inspect` says of networks: rows, JSON and refusals. Packets are in `cargo xtask integration
//! network`; nothing here makes an interface.

use serde_json::{Value, json};

use crate::support::Store;

fn inspect(store: &Store, kind: &str, name: &str) -> Value {
    let text = store.mica(&[kind, "inspect", name]).ok();
    serde_json::from_str::<Vec<Value>>(&text).expect("JSON").remove(0)
}

#[test]
fn privileged_networks_are_created_listed_and_removed() {
    let Some(store) = Store::privileged() else { return };
    let names = |args: &[&str]| store.mica(&[&["network", "ls", "--format", "{{.Name}}"], args].concat()).ok();
    assert_eq!(names(&[]), "bridge\nhost\nnone");
    let line = [
        "network",
        "create",
        "--subnet",
        "10.213.0.0/16",
        "--gateway",
        "10.213.0.254",
        "--ip-range",
        "10.213.5.0/24",
        "--label",
        "tier=front",
        "-o",
        "com.docker.network.driver.mtu=1400",
        "--attachable",
        "--aux-address",
        "router=10.213.5.1",
        "--scope=local",
        "--ipam-driver=default",
        "--ipv4",
        "front",
    ];
    let id = store.mica(&line).ok();
    assert!(id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    store.mica(&["network", "create", "--internal", "--ipv6", "back"]).ok();
    let front = inspect(&store, "network", &id[..12]);
    assert_eq!(front["Name"], "front");
    assert_eq!(
        front["IPAM"]["Config"],
        json!([{ "Subnet": "10.213.0.0/16", "IPRange": "10.213.5.0/24", "Gateway": "10.213.0.254",
            "AuxiliaryAddresses": { "router": "10.213.5.1" } }])
    );
    assert_eq!(
        (&front["Driver"], &front["Scope"], &front["Attachable"]),
        (&json!("bridge"), &json!("local"), &json!(true))
    );
    assert_eq!((&front["Labels"], &front["Containers"]), (&json!({ "tier": "front" }), &json!({})));
    assert_eq!(store.mica(&["inspect", "-f", "{{.Name}}", "front"]).ok(), "front");
    assert_eq!(store.mica(&["inspect", "--type", "network", "-f", "{{.Driver}}", "none"]).ok(), "null");
    let back = inspect(&store, "network", "back");
    assert_eq!((&back["Internal"], &back["EnableIPv6"]), (&json!(true), &json!(true)));
    let ipv6 = back["IPAM"]["Config"][1]["Subnet"].as_str().expect("a subnet").to_owned();
    assert!(ipv6.starts_with("fd") && ipv6.ends_with("::/64"), "{ipv6}");
    for (filter, wanted) in [
        ("label=tier=front", "front"),
        ("name=ron", "front"),
        ("driver=host", "host"),
        ("type=custom", "back\nfront"),
        ("dangling=true", "back\nfront"),
        (&format!("id={}", &id[..8]), "front"),
        ("scope=swarm", ""),
    ] {
        assert_eq!(names(&["-f", filter]), wanted, "{filter}");
    }
    store.mica(&["network", "ls", "-f", "nope=1"]).fails(1, "the filters are dangling, driver, id");
    for (args, words) in [
        (&["front"][..], "network with name front already exists"),
        (&["--subnet", "10.213.7.0/24", "x"], "Pool overlaps"),
        (&["--subnet", "10.214.0.0/16", "--gateway", "10.1.0.1", "x"], "no matching subnet for gateway"),
        (&["-d", "overlay", "x"], "could not find a network driver `overlay`"),
        (&["-d", "macvlan", "--subnet", "10.215.0.0/16", "x"], "-o parent=NAME"),
        (&["--subnet", "10.214.0.0/16", "--aux-address", "a=10.1.0.1", "x"], "no matching subnet for aux-address"),
        (&["-o", "com.docker.network.bridge.gateway_mode_ipv4=routed", "x"], "the gateway mode `routed`"),
        (&["-o", "com.docker.network.bridge.nonsense=1", "x"], "means nothing here"),
        (&["-o", "mtu=9", "x"], "invalid value of network option `mtu`"),
        (&["host"], "predefined host network"),
        (&["../x"], "invalid network name"),
    ] {
        store.mica(&[&["network", "create"], args].concat()).fails(1, words);
    }
    for (args, words) in [
        (&["--scope", "swarm", "x"][..], "networks are of this machine alone"),
        (&["--ipv4=false", "x"], "networks without IPv4 are not there"),
        (&["--ipam-driver", "dhcp", "x"], "addresses are given by mica itself"),
        (&["--ipam-opt", "a=b", "x"], "takes no options for it"),
        (&["--config-only", "x"], "networks are of this machine alone"),
        (&["--ingress", "x"], "networks are of this machine alone"),
        (&["--route", "10.2.0.0/16,10.1.0.1", "x"], "the ones there are"),
    ] {
        store.mica(&[&["network", "create"], args].concat()).fails(125, words);
    }
    store.mica(&["network", "rm", "bridge"]).fails(1, "pre-defined network");
    store.mica(&["network", "rm", "nope"]).fails(1, "network nope not found");
    store.mica(&["network", "rm", "-f", "nope"]).ok();
    assert_eq!(store.mica(&["network", "rm", "front"]).ok(), "front");
    assert_eq!(store.mica(&["network", "prune", "-f"]).ok(), "Deleted Networks:\nback");
    assert_eq!(names(&["-q"]).lines().count(), 3);
}

#[test]
fn privileged_containers_remember_what_they_asked_of_networks() {
    let Some(store) = Store::with_base() else { return };
    store.mica(&["network", "create", "--subnet", "10.216.0.0/16", "front"]).ok();
    store.mica(&["network", "create", "--subnet", "10.217.0.0/16", "back"]).ok();
    store
        .mica(&[
            "create",
            "--name",
            "web",
            "--network",
            "front",
            "--network-alias",
            "www",
            "--ip",
            "10.216.0.9",
            "-p",
            "127.0.0.1:8000-8001:80-81",
            "-p",
            "53:53/udp",
            "--expose",
            "7000",
            "-P",
            "base",
            "sleep",
            "600",
        ])
        .ok();
    let web = inspect(&store, "container", "web");
    assert_eq!(web["HostConfig"]["NetworkMode"], "front");
    assert_eq!(
        web["HostConfig"]["PortBindings"],
        json!({
            "53/udp": [{ "HostIp": "", "HostPort": "53" }],
            "80/tcp": [{ "HostIp": "127.0.0.1", "HostPort": "8000" }],
            "81/tcp": [{ "HostIp": "127.0.0.1", "HostPort": "8001" }],
        })
    );
    assert_eq!(web["HostConfig"]["PublishAllPorts"], true);
    assert_eq!(web["Config"]["ExposedPorts"], json!({ "53/udp": {}, "80/tcp": {}, "81/tcp": {}, "7000/tcp": {} }));
    let place = &web["NetworkSettings"]["Networks"]["front"];
    assert_eq!(place["IPAMConfig"], json!({ "IPv4Address": "10.216.0.9" }));
    assert_eq!((&place["Aliases"][0], &place["IPAddress"]), (&json!("www"), &json!("")));
    store.mica(&["network", "connect", "--alias", "two", "back", "web"]).ok();
    store.mica(&["network", "connect", "back", "web"]).fails(1, "already exists in network back");
    let networks = || store.mica(&["ps", "-a", "--format", "{{.Networks}}"]).ok();
    assert_eq!(networks(), "front,back");
    let back = store.mica(&["network", "inspect", "-f", "{{.Id}}", "back"]).ok();
    for (filter, count) in [
        ("network=back", 1),
        (&format!("network={}", &back[..12]), 1),
        ("expose=7000", 1),
        ("expose=80-90/tcp", 1),
        ("expose=7001", 0),
        ("publish=8000", 0),
    ] {
        let found = store.mica(&["ps", "-aq", "--filter", filter]).ok();
        assert_eq!(found.lines().count(), count, "{filter}");
    }
    store.mica(&["network", "disconnect", "front", "web"]).ok();
    assert_eq!(networks(), "back");
    store.mica(&["network", "disconnect", "front", "web"]).fails(1, "is not connected to network front");
    assert_eq!(store.mica(&["network", "ls", "-f", "dangling=true", "--format", "{{.Name}}"]).ok(), "front");
    assert_eq!(store.mica(&["port", "web"]).ok(), "", "nothing is published of what does not run");
    store.mica(&["port", "web", "80"]).fails(1, "no public port '80/tcp' published for web");
    store.mica(&["create", "--network", "none", "--name", "alone", "base"]).ok();
    store.mica(&["create", "--network", "host", "--name", "hosted", "base"]).ok();
    store.mica(&["network", "connect", "front", "hosted"]).fails(1, "cannot be connected to any other network");
    store.mica(&["run", "--rm", "--network", "nope", "base", "true"]).fails(125, "network nope not found");
    store.mica(&["run", "--rm", "--network", "container:alone", "base", "true"]).fails(125, "non running container");
    assert_eq!(store.mica(&["ps", "-aq"]).ok().lines().count(), 3, "refused containers with `--rm` leave nothing");
}
