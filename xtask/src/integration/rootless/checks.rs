//! What is true of a user's containers.

use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;

use anyhow::{Context, Result, ensure};

use super::user::{ID, SUBORDINATE, User};
use crate::integration::network::ground::{Ground, HOST, NEIGHBOUR};
use crate::sh;

type Check = fn(&User) -> Result<()>;

/// Every check with its sentence, in an order in which they need no more than the image `base`.
pub const ALL: &[(&str, Check)] = &[
    ("without subordinate IDs it is said what to add where", no_ids),
    ("root in a container is the user outside", identity),
    ("layers are unpacked, built, deleted and committed", layers),
    ("vfs works as overlay does", vfs),
    ("a life from create to rm", life),
    ("containers reach the outside, each other and published ports", network),
    ("ports are carried, let go at once, and refused clearly", ports),
    ("limits that nobody can keep are told", limits),
    ("what the host has stays the host's", isolation),
    ("a holder that is killed is replaced", killed_holder),
    ("another runtime runs too", runc),
    ("a command in the user's namespaces", unshare),
];

fn no_ids(user: &User) -> Result<()> {
    Ground::until("the namespaces have ended", || Ok(User::processes()?.is_empty()))?;
    user.without_ids(|| {
        let name = "user `mica-it` has no subordinate user IDs in `/etc/subuid`";
        user.refused(125, name, "run --rm base true")?;
        user.refused(1, "add the line `mica-it:100000:65536` to `/etc/subuid`", "images")?;
        ensure!(user.mica("version --format {{.Client.Version}}")?.starts_with("0."), "the version needs no IDs");
        Ok(())
    })?;
    ensure!(!user.path("run/mica/namespaces.sock").exists(), "a socket is left of what could not be made");
    Ok(())
}

fn identity(user: &User) -> Result<()> {
    ensure!(user.inside("", "id -u; id -g")? == "0\n0", "root in a container is not root");
    let map = user.inside("", "cat /proc/self/uid_map")?;
    let map: Vec<&str> = map.split_whitespace().collect();
    ensure!(map == ["0", &ID.to_string(), "1", "1", &SUBORDINATE.to_string(), "65536"], "the map is {map:?}");
    let shared = user.path("home/shared");
    sh::run(sh::command(&["install", "-d", "-m", "777", "-o", &ID.to_string()]).arg(&shared))?;
    let flags = format!("-v {}:/shared", shared.display());
    user.inside(&flags, "touch /shared/roots; chown 7:9 /shared/roots; touch /shared/own")?;
    user.inside(&format!("{flags} -u 1000:1000"), "touch /shared/users")?;
    let owner = |file: &str| fs_err::metadata(shared.join(file)).map(|found| (found.uid(), found.gid()));
    ensure!(owner("own")? == (ID, ID), "root's file is not the user's");
    ensure!(owner("roots")? == (SUBORDINATE + 6, SUBORDINATE + 8), "7:9 is not a subordinate user and group");
    ensure!(owner("users")? == (SUBORDINATE + 999, SUBORDINATE + 999), "1000 is not a subordinate user");
    user.inside(&flags, "rm /shared/roots /shared/users /shared/own").map(drop)
}

fn layers(user: &User) -> Result<()> {
    let context = user.path("home/context");
    fs_err::create_dir_all(&context)?;
    let text = "FROM base\n\
                RUN mkdir -p /d/e && touch /d/e/old && chown -h 1000:1000 /d/e/old && chown 5:6 /d\n\
                RUN rm -r /d/e && mkdir /d/e && touch /d/e/new && rm /bin/nslookup\n\
                USER 1000\n";
    fs_err::write(context.join("Dockerfile"), text)?;
    user.mica(&format!("build -q -t built {}", context.display()))?;
    let look =
        ["run", "--rm", "built", "sh", "-c", "id -u; ls /d/e; stat -c %u:%g /d; test -e /bin/nslookup || echo gone"];
    let seen = sh::read(&mut user.command(&look))?;
    ensure!(seen == "1000\nnew\n5:6\ngone", "the built image has {seen}");
    user.mica("run --name changed built true")?;
    user.mica("commit changed again")?;
    user.mica("rm changed")?;
    let archive = user.path("home/built.tar");
    user.mica(&format!("save -o {} again", archive.display()))?;
    user.mica("rmi again built")?;
    user.mica(&format!("load -i {}", archive.display()))?;
    let again = ["run", "--rm", "again", "sh", "-c", "ls /d/e; stat -c %u:%g /d"];
    ensure!(sh::read(&mut user.command(&again))? == "new\n5:6", "the loaded image is another");
    ensure!(user.mica("info --format {{.Driver}}")? == "overlay", "the driver is another");
    user.mica("system check")?;
    user.mica("rmi again").map(drop)
}

fn vfs(user: &User) -> Result<()> {
    let root = user.path("home/vfs");
    let global = format!("--storage-driver vfs --root {}", root.display());
    let image = user.path("image/root.tar");
    user.mica(&format!("{global} import {} base", image.display()))?;
    ensure!(user.mica(&format!("{global} run --rm base id -u"))? == "0", "vfs runs nothing");
    user.mica(&format!("{global} system prune -af")).map(drop)
}

fn life(user: &User) -> Result<()> {
    let script = "echo begun; trap 'exit 3' TERM; while true; do sleep 0.1; done";
    sh::read(&mut user.command(&["run", "-d", "--name", "life", "-v", "kept:/kept", "base", "sh", "-c", script]))?;
    Ground::until("it has begun", || Ok(user.mica("logs life")? == "begun"))?;
    ensure!(user.mica("exec -u 1000 life id -u")? == "1000", "exec is somebody else");
    user.mica("exec life touch /kept/file /own")?;
    let top = user.mica("top life")?;
    ensure!(top.contains("while true"), "the processes are {top}");
    fs_err::write(user.path("home/copied"), "copied")?;
    user.mica(&format!("cp {} life:/copied", user.path("home/copied").display()))?;
    ensure!(user.mica("exec life cat /copied")? == "copied", "the copy is another");
    ensure!(user.mica("diff life")?.contains("A /own"), "the difference has no `/own`");
    user.mica("stop life")?;
    ensure!(user.mica("wait life")? == "3", "the exit code is another");
    user.mica("start life")?;
    user.mica("rm -f life")?;
    ensure!(user.inside("-v kept:/kept", "ls /kept")? == "file", "the volume is empty");
    user.mica("volume rm kept")?;
    // A container that nobody waits for goes by itself, removed by a process that was born in the namespaces.
    user.mica("run -d --rm base true")?;
    Ground::until("the container has gone", || Ok(user.mica("ps -aq")?.is_empty()))
}

fn network(user: &User) -> Result<()> {
    let asks = |flags: &str, address: &str, port: u16| user.inside(flags, &Ground::question(address, port));
    ensure!(asks("", NEIGHBOUR, 80)?.contains(HOST), "the neighbour sees somebody other than the host");
    user.mica("network create back")?;
    user.mica("run -d --name web --network back base httpd -f -p 80 -h /www")?;
    Ground::until("a container finds another by its name", || Ok(asks("--network back", "web", 80)? != "nobody"))?;
    let template = "{{(index .NetworkSettings.Networks \"back\").IPAddress}}";
    let address = sh::read(&mut user.command(&["inspect", "-f", template, "web"]))?;
    ensure!(asks("", &address, 80)? == "nobody", "networks are not kept apart");
    user.mica("rm -f web")?;
    user.mica("network rm back")?;
    ensure!(Ground::links()? == ["lo", "up0"], "the host has interfaces of the user's");
    ensure!(Ground::tables()? == ["table inet foreign"], "the host has rules of the user's");
    let of_host = user.inside("--network host", "ip -o address show up0")?;
    ensure!(of_host.contains(HOST), "the host's network is not the host's: {of_host}");
    Ok(())
}

fn ports(user: &User) -> Result<()> {
    let flags = "-d --name web -p 8080:80 -p 127.0.0.1:8081:80 -p 5300:5300/udp";
    user.mica(&format!("run {flags} base httpd -f -p 80 -h /www"))?;
    let answers = |address: &str, port: u16| Ok(Ground::from_host(address, port)? != "nobody");
    Ground::until("the port is carried", || answers("127.0.0.1", 8080))?;
    ensure!(answers(HOST, 8080)? && answers("127.0.0.1", 8081)?, "a port is not carried from the host");
    ensure!(Ground::from_outside(HOST, 8080)? != "nobody", "the port is not carried from outside");
    ensure!(Ground::from_outside(HOST, 8081)? == "nobody", "a port of the loopback is carried from outside");
    ensure!(user.inside("", &Ground::question(HOST, 8080))? != "nobody", "a container does not reach a published port");
    let pid = user.mica("inspect -f {{.State.Pid}} web")?;
    let mut echo = sh::command(&["nsenter", "-t", &pid, "-n", "--"]);
    echo.arg(std::env::current_exe()?).args([crate::integration::network::TASK, "echo", "5300"]);
    let mut echo = echo.spawn()?;
    let answered = Ground::echo(SocketAddr::new(HOST.parse()?, 5300));
    echo.kill()?;
    echo.wait()?;
    answered.context("datagrams are not carried")?;
    user.refused(125, "Bind for 0.0.0.0:8080 failed: port is already allocated", "run --rm -p 8080:80 base true")?;
    user.refused(125, "cannot publish port 80: only root may use ports as low as this", "run --rm -p 80:80 base true")?;
    for _ in 0..5 {
        user.mica("restart -t 0 web")?;
    }
    Ground::until("the port is carried again", || answers("127.0.0.1", 8080))?;
    user.mica("rm -f web")?;
    ensure!(!answers("127.0.0.1", 8080)?, "the port is carried for ever");
    Ok(())
}

fn limits(user: &User) -> Result<()> {
    let delegated = fs_err::read_to_string("/sys/fs/cgroup/cgroup.controllers").is_ok();
    let output = user.try_mica("run --rm -m 64m base true")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success() && (delegated || said.contains("Limitation discarded")),
        "nothing was told: {said}"
    );
    user.refused(125, "NanoCPUs can not be set", "run --rm --cpus 0.5 base true")?;
    user.mica("run -d --name runs base sleep 100")?;
    user.refused(1, "has no control group", "pause runs")?;
    user.mica("rm -f runs").map(drop)
}

fn isolation(user: &User) -> Result<()> {
    let attempts = [
        ("-v /etc/shadow:/shadow", "cat /shadow"),
        ("--privileged", "mount -t ext4 /dev/vda /mnt"),
        ("--privileged --pid host", "kill -0 1"),
        ("--privileged --network host", "ip link set lo down"),
        ("--privileged", "echo 1 > /proc/sys/kernel/panic"),
        ("", "mount -t tmpfs none /etc"),
        ("", "echo x > /proc/sys/net/ipv4/ip_forward"),
        ("", "touch /sys/own"),
        ("--privileged --network host", "touch /sys/own"),
    ];
    for (flags, attempt) in attempts {
        let seen = user.inside(flags, &format!("{{ {attempt}; }} 2>/dev/null && echo done || echo refused"))?;
        ensure!(seen == "refused", "`{attempt}` with `{flags}` was not refused");
    }
    // What an image brings of devices stays out, and what a container has are the harmless ones of the host.
    ensure!(user.inside("", "echo x > /dev/null && cat /dev/null && echo fine")? == "fine", "/dev/null is broken");
    Ok(())
}

fn killed_holder(user: &User) -> Result<()> {
    user.mica("run -d --name before -u 1000 base sleep 100")?;
    sh::run(&mut sh::command(&["pkill", "-KILL", "-x", "-u", &ID.to_string(), "mica-holder"]))?;
    Ground::until("the way out has ended too", || {
        Ok(!User::processes()?.iter().any(|line| line.starts_with("slirp4netns") || line.starts_with("pasta")))
    })?;
    ensure!(user.mica("ps -q")?.lines().count() == 1, "the container is not seen any more");
    ensure!(user.mica("exec before id -u")? == "1000", "the container cannot be entered");
    ensure!(user.inside("--network container:before", "id -u")? == "0", "its network cannot be shared");
    let seen = user.inside("", &Ground::question(NEIGHBOUR, 80))?;
    ensure!(seen.contains(HOST), "new containers have no way out: {seen}");
    user.mica("restart -t 0 before")?;
    user.mica("rm -f before").map(drop)
}

fn runc(user: &User) -> Result<()> {
    ensure!(user.inside("--runtime runc", "id -u; ls / | grep www")? == "0\nwww", "runc runs something else");
    Ok(())
}

fn unshare(user: &User) -> Result<()> {
    let script = "id -u; mica=$0; $mica run --name mounted base touch /made; ls $($mica mount mounted)/made | grep -c made; \
                  $mica rm mounted";
    let mica = user.path("bin/mica").display().to_string();
    let said = sh::read(&mut user.command(&["unshare", "sh", "-c", script, &mica]))?;
    ensure!(said == "0\n1\nmounted", "the command saw {said}");
    let links = user.mica("unshare --rootless-netns cat /proc/net/dev")?;
    ensure!(!links.contains("vda"), "the links are {links}");
    Ok(())
}
