//! The checks, each from an empty host to an empty host.

use anyhow::{Result, ensure};

use super::ground::{Ground, HOST, HOST6, NEIGHBOUR};
use super::serve::ANSWER;
use crate::sh;

/// A check.
type Check = fn(&Ground) -> Result<()>;

/// All of them.
pub const ALL: [(&str, Check); 13] = [
    ("out through the host's address", outward),
    ("published ports", published),
    ("ranges, datagrams, exposed ports", ranges),
    ("ports that are taken", taken),
    ("names", names),
    ("isolation", isolation),
    ("IPv6", ipv6),
    ("connect, disconnect, macvlan, container:", connecting),
    ("ports and the way out of one network after another", moving),
    ("options", options),
    ("events", events),
    ("build", build),
    ("ends, and other people's rules", ends),
];

fn equal(what: &str, found: &str, wanted: &str) -> Result<()> {
    ensure!(found == wanted, "{what}: {found:?} instead of {wanted:?}");
    Ok(())
}

fn outward(ground: &Ground) -> Result<()> {
    equal("the neighbour sees", &ground.seen_by("run --rm base", NEIGHBOUR, 80)?, HOST)?;
    let inside = ground.mica("run --rm base ip address")?;
    ensure!(!inside.contains("inet6 fe80"), "IPv6 that nobody asked for:\n{inside}");
    let hosts = ground.mica("run --rm --add-host up:host-gateway base tail -2 /etc/hosts")?.replace('\t', " ");
    equal("the host's name", hosts.lines().next().unwrap_or_default(), "172.17.0.1 up")?;
    let none = ground.mica("run --rm --network none base ls /sys/class/net")?;
    equal("interfaces without a network", &none, "lo")
}

fn published(ground: &Ground) -> Result<()> {
    ground.web("--name web -p 8080:80 -p 127.0.0.1:8081:80 -p [::1]:8082:80")?;
    let gateway = "172.17.0.1";
    for (what, seen, wanted) in [
        ("loopback", Ground::from_host("127.0.0.1", 8080)?, gateway),
        ("the loopback of IPv6", Ground::from_host("::1", 8080)?, gateway),
        ("what is on that loopback alone", Ground::from_host("::1", 8082)?, gateway),
        ("what is on that loopback alone, at the other", Ground::from_host("127.0.0.1", 8082)?, "nobody"),
        ("what is on that loopback alone, from outside", Ground::from_outside(HOST6, 8082)?, "nobody"),
        ("the host's address", Ground::from_host(HOST, 8080)?, HOST),
        // The address of whoever asks from outside is kept (CVE-2021-20199).
        ("outside", Ground::from_outside(HOST, 8080)?, NEIGHBOUR),
        ("another container", ground.seen_by("run --rm base", HOST, 8080)?, gateway),
        ("itself", ground.seen_by("exec web", HOST, 8080)?, gateway),
        ("what is on loopback alone, from the host", Ground::from_host("127.0.0.1", 8081)?, gateway),
        ("what is on loopback alone, from outside", Ground::from_outside(HOST, 8081)?, "nobody"),
    ] {
        equal(what, &seen, wanted)?;
    }
    // A neighbour that routes to loopback through the host, and a container that tries the same (CVE-2020-8558, CVE-2025-54388).
    sh::run(&mut sh::command(&["sysctl", "-qw", "net.ipv4.conf.up0.route_localnet=0"]))?;
    sh::run(&mut sh::command(&["ip", "netns", "exec", "outside", "ip", "route", "add", "172.17.0.0/16", "via", HOST]))?;
    let address = ground.address("web", "bridge")?;
    equal("a neighbour that routes to the container", &Ground::from_outside(&address, 80)?, "nobody")?;
    equal(
        "PORTS",
        &ground.mica("ps --format {{.Ports}}")?,
        "0.0.0.0:8080->80/tcp, 127.0.0.1:8081->80/tcp, [::1]:8082->80/tcp",
    )?;
    for (filter, wanted) in [("publish=8080", "web"), ("publish=8000-8081/tcp", "web"), ("publish=80", "")] {
        equal(filter, &ground.mica(&format!("ps --filter {filter} --format {{{{.Names}}}}"))?, wanted)?;
    }
    equal("port", &ground.mica("port web 80")?, "0.0.0.0:8080\n127.0.0.1:8081\n[::1]:8082")?;
    ground.refused(125, "Bind for [::1]:8082 failed", "run --rm -p [::1]:8082:80 base true")?;
    ground.refused(125, "knows no SCTP", "run --rm -p [::1]:8083:80/sctp base true")?;
    // What carries ports stays while the container is started again.
    ground.mica("rm -f web")?;
    ground.web("--name web --restart always -p 8080:80")?;
    sh::run(&mut sh::command(&["kill", "-9", &ground.pid("web")?]))?;
    Ground::until("the container was started again", || {
        Ok(ground.mica("inspect -f {{.RestartCount}}{{.State.Status}} web")? == "1running")
    })?;
    // A container that runs again has not begun to listen yet.
    Ground::until("the loopback of IPv6 answers after a restart", || Ok(Ground::from_host("::1", 8080)? == gateway))?;
    ground.mica("rm -f web").map(drop)
}

fn ranges(ground: &Ground) -> Result<()> {
    ground.web("--name web -p 9000-9002:80-82 -p 9100-9110:80 -p 5353:5353/udp --expose 7000 -P")?;
    equal("a range", &Ground::from_outside(HOST, 9000)?, NEIGHBOUR)?;
    equal("the first free of a range", &Ground::from_outside(HOST, 9100)?, NEIGHBOUR)?;
    ground.web("--name two -p 9100-9110:80")?;
    equal("the next free of a range", &ground.mica("port two 80")?, "0.0.0.0:9101")?;
    let mut server = ground.echo_in("web", 5353)?;
    let echoed = [HOST, "127.0.0.1", "::1"].map(|host| Ground::echo(std::net::SocketAddr::new(host.parse()?, 5353)));
    server.kill()?;
    server.wait()?;
    for echo in echoed {
        equal("a datagram", &echo?, "ping")?;
    }
    let exposed = ground.mica("port web 7000")?;
    ensure!(exposed.starts_with("0.0.0.0:"), "`-P` published 7000 at {exposed:?}");
    ground.mica("rm -f web two").map(drop)
}

fn taken(ground: &Ground) -> Result<()> {
    let before = (Ground::links()?, Ground::tables()?);
    let holder = std::net::TcpListener::bind("0.0.0.0:8080")?;
    let words = "Bind for 0.0.0.0:8080 failed: port is already allocated";
    ground.refused(125, words, "run --rm -p 8080:80 base true")?;
    drop(holder);
    ground.web("--name web -p 8080:80")?;
    ground.refused(125, words, "run --rm -p 8080:80 base true")?;
    ensure!(std::net::TcpListener::bind("0.0.0.0:8080").is_err(), "a published port is free for others");
    ground.mica("rm -f web")?;
    drop(std::net::TcpListener::bind("0.0.0.0:8080")?);
    Ground::until("the interfaces are gone", || Ok(Ground::links()? == before.0))?;
    ensure!(Ground::tables()? == before.1 && ground.leases()?.is_empty(), "a refused port left something");
    Ok(())
}

fn names(ground: &Ground) -> Result<()> {
    ground.mica("network create front")?;
    ground.web("--name web --network front --network-alias www")?;
    let id = ground.mica("ps -q")?;
    for name in ["web", "www", "WEB", "web.front", &id] {
        let seen = ground.seen_by("run --rm --network front base", name, 80)?;
        ensure!(seen.starts_with("172.18.0."), "`{name}` was asked by {seen}");
    }
    let host = ground.mica("run --rm --network front base nslookup host.docker.internal")?;
    ensure!(host.contains("Address: 172.18.0.1"), "the host has no name:\n{host}");
    let forwarded = format!("run --rm --network front --dns {NEIGHBOUR} base nslookup example.org");
    ensure!(ground.mica(&forwarded)?.contains(&ANSWER.to_string()), "other names are not asked of others");
    equal(
        "resolv.conf",
        ground
            .mica("exec web cat /etc/resolv.conf")?
            .lines()
            .find(|line| line.starts_with("nameserver"))
            .unwrap_or_default(),
        "nameserver 127.0.0.11",
    )?;
    // Another name is known at once, by those who ask and by what is told.
    let hosts = ground.mica("exec web cat /etc/hosts")?;
    ground.mica("rename web site")?;
    let said = ground.mica("run --rm --network front base nslookup site")?;
    ensure!(said.contains("172.18.0."), "the new name is not known:\n{said}");
    let said = ground.try_mica(&format!("run --rm --network front --dns {NEIGHBOUR} base nslookup web"))?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    ensure!(!said.contains("172.18.0.2"), "the old name is still known:\n{said}");
    ensure!(ground.mica("run --rm --network front base nslookup www")?.contains("172.18.0."), "the alias is gone");
    ensure!(ground.mica("network inspect front")?.contains("\"site\""), "inspect shows the old name");
    equal("hosts", &ground.mica("exec site cat /etc/hosts")?, &hosts)?;
    sh::run(&mut sh::command(&["kill", "-9", &ground.pid("site")?]))?;
    let told = || ground.mica("events --since 0 --until 0s --filter event=die --format {{.Actor.Attributes.name}}");
    Ground::until("its end is told by its new name", || Ok(told()?.lines().any(|name| name == "site")))?;
    ground.mica("rename site web")?;
    ground.mica("start web")?;
    // The container may serve names itself, on every address.
    ground.mica("exec -d web nc -l -p 53 -e /bin/true")?;
    ensure!(ground.mica("exec web nslookup web")?.contains("172.18.0."), "a name server inside is in the way");
    ground.mica("rm -f web")?;
    ground.mica("network rm front").map(drop)
}

fn isolation(ground: &Ground) -> Result<()> {
    ground.mica("network create front")?;
    ground.mica("network create --internal back")?;
    ground.web("--name one --network front -p 8080:80")?;
    ground.web("--name two --network back -p 8082:80")?;
    let (one, two) = (ground.address("one", "front")?, ground.address("two", "back")?);
    for (from, to, name) in
        [("bridge", &one, "front"), ("back", &one, "front"), ("front", &two, "back"), ("bridge", &two, "back")]
    {
        let seen = ground.seen_by(&format!("run --rm --network {from} base"), to, 80)?;
        equal(&format!("`{from}` to `{name}`"), &seen, "nobody")?;
    }
    equal(
        "within an internal network",
        &ground.seen_by("run --rm --network back base", "two", 80)?.replace("172.19.0.3", "."),
        ".",
    )?;
    equal("from an internal network", &ground.seen_by("run --rm --network back base", NEIGHBOUR, 80)?, "nobody")?;
    equal("a port of an internal network", &Ground::from_host("127.0.0.1", 8082)?, "nobody")?;
    // No question of an internal network is asked outside (CVE-2024-29018).
    let asked = ground.try_mica(&format!("run --rm --network back --dns {NEIGHBOUR} base nslookup example.org"))?;
    let said = String::from_utf8_lossy(&asked.stdout);
    ensure!(
        said.contains("NXDOMAIN") && !said.contains(&ANSWER.to_string()),
        "an internal network asked others:\n{said}"
    );
    let across = ground.seen_by("run --rm base", HOST, 8080)?;
    ensure!(across.starts_with("172."), "a published port of another network: {across}");
    ground.mica("rm -f one two")?;
    ground.mica("network rm front back").map(drop)
}

fn ipv6(ground: &Ground) -> Result<()> {
    ground.mica("network create --ipv6 --subnet 10.77.0.0/24 --subnet fd00:77::/64 six")?;
    ground.web("--name web --network six --ip 10.77.0.9 -p 8086:80")?;
    let inside = ground.mica("exec web ip -6 address")?;
    ensure!(inside.contains("fd00:77::9/64"), "the address is not that of the same host number:\n{inside}");
    equal("from outside", &Ground::from_outside(HOST6, 8086)?, "2001:db8::2")?;
    equal("from the loopback", &Ground::from_host("::1", 8086)?, "fd00:77::1")?;
    equal("out", &ground.seen_by("exec web", "2001:db8::2", 80)?, HOST6)?;
    let peer = ground.seen_by("run --rm --network six base", "fd00:77::9", 80)?;
    ensure!(peer.starts_with("fd00:77::"), "a neighbour in the network is {peer}");
    // Nobody tells a container where to route (CVE-2020-13401).
    equal("accept_ra", &ground.mica("exec web cat /proc/sys/net/ipv6/conf/eth0/accept_ra")?, "0")?;
    equal("without IPv6", &ground.mica("run --rm base cat /proc/sys/net/ipv6/conf/eth0/disable_ipv6")?, "1")?;
    ground.refused(125, "has no IPv6", "run --rm -p [2001:db8::1]:80:80 base true")?;
    ground.mica("rm -f web")?;
    ground.mica("network rm six").map(drop)
}

fn connecting(ground: &Ground) -> Result<()> {
    for network in ["one", "two"] {
        ground.mica(&format!("network create {network}"))?;
    }
    ground.web("--name web --network one --mac-address 02:00:00:00:00:07")?;
    ensure!(ground.mica("exec web ip link")?.contains("02:00:00:00:00:07"), "the link address is another");
    ground.mica("network connect --alias there two web")?;
    let seen = ground.seen_by("run --rm --network two base", "there", 80)?;
    ensure!(seen.starts_with("172.19."), "after connecting: {seen}");
    equal("networks", &ground.mica("ps --format {{.Networks}}")?, "one,two")?;
    ground.mica("network disconnect two web")?;
    equal("after disconnecting", &ground.seen_by("run --rm --network two base", "there", 80)?, "nobody")?;
    // From the default network to one with names.
    ground.web("--name late")?;
    ground.mica("network connect one late")?;
    let seen = ground.seen_by("exec late", "web", 80)?;
    ensure!(seen.starts_with("172.18."), "a name after connecting: {seen}");
    equal(
        "the name of another's network",
        &ground.mica("run --rm --network container:web base hostname")?,
        &ground.mica("exec web hostname")?,
    )?;
    equal(
        "another's network",
        &ground.seen_by("run --rm --network container:web base", "127.0.0.1", 80)?,
        "127.0.0.1",
    )?;
    ground.refused(1, "has active endpoints", "network rm one")?;
    ground
        .mica(&format!("network create -d macvlan -o parent=up0 --subnet 192.0.2.0/24 --gateway {NEIGHBOUR} vlan"))?;
    let seen = ground.seen_by("run --rm --network vlan --ip 192.0.2.77 base", NEIGHBOUR, 80)?;
    equal("a macvlan", &seen, "192.0.2.77")?;
    ground.mica("rm -f web late")?;
    ground.mica("network rm one two vlan").map(drop)
}

/// What is published, and where packets leave, is of the networks that a container is in now.
fn moving(ground: &Ground) -> Result<()> {
    for network in ["one", "two"] {
        ground.mica(&format!("network create {network}"))?;
    }
    ground.web("--name web --network one -p 8080:80 -p 8080:80/udp -p 8080:80/sctp")?;
    ground.mica("network connect two web")?;
    for (line, gateway) in [
        ("network inspect one", "172.18.0.1"),
        ("network disconnect one web", "172.19.0.1"),
        ("network connect one web", "172.19.0.1"),
        ("network disconnect two web", "172.18.0.1"),
        ("network disconnect one web", "nobody"),
        ("network connect two web", "172.19.0.1"),
    ] {
        ground.mica(line)?;
        let there = gateway != "nobody";
        let or_nobody = |address: &'static str| if there { address } else { "nobody" };
        equal(&format!("{line}: from the loopback"), &Ground::from_host("127.0.0.1", 8080)?, gateway)?;
        equal(&format!("{line}: from the loopback of IPv6"), &Ground::from_host("::1", 8080)?, gateway)?;
        equal(&format!("{line}: from outside"), &Ground::from_outside(HOST, 8080)?, or_nobody(NEIGHBOUR))?;
        equal(&format!("{line}: out"), &ground.seen_by("exec web", NEIGHBOUR, 80)?, or_nobody(HOST))?;
        let ports = ground.mica("port web")?;
        equal(&format!("{line}: ports"), &ports.lines().count().to_string(), if there { "3" } else { "0" })?;
        if there {
            ground.refused(125, "port is already allocated", "run --rm -p 8080:80 base true")?;
        } else {
            ground.mica("run --rm -p 8080:80 base true")?;
        }
    }
    // Without a place for the ports the container is as it was.
    ground.mica("network disconnect two web")?;
    ground.web("--name other -p 8080:80")?;
    ground.refused(1, "port is already allocated", "network connect two web")?;
    equal("networks", &ground.mica("ps --filter name=web --format {{.Networks}}")?, "")?;
    equal("interfaces", &ground.mica("exec web ls /sys/class/net")?, "lo")?;
    ground.mica("rm -f web other")?;
    ground.mica("network rm one two").map(drop)
}

fn options(ground: &Ground) -> Result<()> {
    let prefix = "com.docker.network";
    ground.mica(&format!(
        "network create -o {prefix}.container_iface_prefix=net -o {prefix}.bridge.host_binding_ipv4=127.0.0.1 \
         --interface-name br-it --subnet 10.78.0.0/24 --aux-address router=10.78.0.2 --dns {NEIGHBOUR} opted"
    ))?;
    ground.mica("network create --disable-dns --subnet 10.79.0.0/24 mute")?;
    ground.web("--name web --network opted -p 8080:80")?;
    ensure!(Ground::links()?.contains(&"br-it".to_owned()), "the bridge has another name");
    equal("the address of somebody else", &ground.address("web", "opted")?, "10.78.0.3")?;
    equal("the name of an interface", &ground.mica("exec web ls /sys/class/net")?, "lo\nnet0")?;
    equal("where ports are published", &ground.mica("port web 80")?, "127.0.0.1:8080")?;
    equal("a port of the network's address, from outside", &Ground::from_outside(HOST, 8080)?, "nobody")?;
    equal("the same from the host", &Ground::from_host("127.0.0.1", 8080)?, "10.78.0.1")?;
    ensure!(ground.mica("exec web nslookup example.org")?.contains(&ANSWER.to_string()), "`--dns` of the network");
    let said = ground.mica("run --rm --network mute base cat /etc/resolv.conf")?;
    ensure!(!said.contains("127.0.0.11"), "a network without names has a name server:\n{said}");
    let routes = |first: i32, second: i32| {
        ground.mica(&format!(
            "run --rm --network name=opted,gw-priority={first} \
             --network name=mute,gw-priority={second},driver-opt={prefix}.endpoint.ifname=up base ip route"
        ))
    };
    ensure!(routes(0, 0)?.contains("default via 10.78.0.1 dev net0"), "the first network leads out");
    ensure!(routes(1, 2)?.contains("default via 10.79.0.1 dev up"), "the higher priority leads out");
    ground.mica("rm -f web")?;
    ground.mica("network rm opted mute").map(drop)
}

fn events(ground: &Ground) -> Result<()> {
    for network in ["first", "second", "third"] {
        ground.mica(&format!("network create {network}"))?;
    }
    ground.web("--name web --network first --network second")?;
    ground.mica("network disconnect first web")?;
    ground.mica("network connect third web")?;
    ground.mica("rm -f web")?;
    let line = "events --since 0 --until 0s --filter event=connect --filter event=disconnect \
                --filter network=first --filter network=second --filter network=third --format";
    let told = ground.mica(&format!("{line} {{{{.Action}}}}:{{{{.Actor.Attributes.name}}}}"))?.replace('\n', " ");
    // What it is in at its end is what it lets go.
    equal(
        "events",
        &told,
        "connect:first connect:second disconnect:first connect:third disconnect:second disconnect:third",
    )?;
    ground.mica("network rm first second third").map(drop)
}

fn build(ground: &Ground) -> Result<()> {
    let context = ground.path("context");
    fs_err::create_dir_all(&context)?;
    let question = Ground::question(NEIGHBOUR, 80);
    fs_err::write(context.join("Dockerfile"), format!("FROM base\nRUN {question} > /seen\n"))?;
    for (network, wanted) in [("default", HOST), ("none", "nobody")] {
        ground.mica(&format!("build -q --no-cache --network {network} -t built {}", context.display()))?;
        let seen = ground.mica("run --rm --network none built cat /seen")?;
        ensure!(seen.contains(wanted), "`--network {network}`: the neighbour saw {seen}");
    }
    ensure!(ground.leases()?.is_empty(), "a step left its address");
    ground.mica("rmi built").map(drop)
}

fn ends(ground: &Ground) -> Result<()> {
    ground.web("--name web -p 8080:80")?;
    ground.mica("network create front")?;
    ground.web("--name named --network front")?;
    let before = Ground::links()?;
    for container in ["web", "named"] {
        let id = ground.mica(&format!("inspect -f {{{{.Id}}}} {container}"))?;
        let state = fs_err::read_to_string(ground.path(&format!("run/containers/{id}/state.json")))?;
        let state: serde_json::Value = serde_json::from_str(&state)?;
        sh::run(&mut sh::command(&["kill", "-9", &state["monitor_pid"].to_string()]))?;
    }
    for address in ["0.0.0.0:8080", "[::1]:8080"] {
        Ground::until("the port is free", || Ok(std::net::TcpListener::bind(address).is_ok()))?;
    }
    Ground::until("the containers are known to have ended", || Ok(ground.mica("ps -q")?.is_empty()))?;
    Ground::until("the interfaces are gone", || Ok(Ground::links()?.len() == before.len() - 2))?;
    ensure!(ground.leases()?.is_empty(), "addresses of killed monitors: {:?}", ground.leases()?);
    let tables = Ground::tables()?;
    ensure!(tables == ["table inet foreign", "table inet mica-it"], "after killed monitors: {tables:?}");
    // What others do to the rules, and what is done to theirs.
    ground.mica("start web")?;
    sh::run(&mut sh::command(&["nft", "delete", "table", "inet", "mica-it"]))?;
    equal("a published port", &Ground::from_outside(HOST, 8080)?, NEIGHBOUR)?;
    equal("a start after the rules were deleted", &ground.seen_by("run --rm base", NEIGHBOUR, 80)?, HOST)?;
    sh::run(&mut sh::command(&["nft", "flush", "ruleset"]))?;
    equal("a published port after a flush", &Ground::from_outside(HOST, 8080)?, NEIGHBOUR)?;
    equal("a start after a flush", &ground.seen_by("run --rm base", NEIGHBOUR, 80)?, HOST)?;
    sh::run(&mut sh::command(&["nft", "add", "table", "inet", "foreign"]))?;
    ground.mica("rm -f web named")?;
    ground.mica("network rm front").map(drop)
}
