//! The host of the checks: a store, an image with a web server that says who asks, and a neighbour.

use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::serve::TASK;
use crate::mica::Sandbox;
use crate::sh;

/// The host's address as its neighbour sees it.
pub const HOST: &str = "192.0.2.1";
/// The neighbour's.
pub const NEIGHBOUR: &str = "192.0.2.2";
/// The same of IPv6.
pub const HOST6: &str = "2001:db8::1";

/// Says who asks. Addresses of IPv4 come in the form that IPv6 has for them.
const WHO: &str = "#!/bin/sh\necho 'Content-Type: text/plain'\necho\necho \"$REMOTE_ADDR\"\n";
const SERVER: [&str; 7] = ["base", "httpd", "-f", "-p", "80", "-h", "/www"];
const PATIENCE: Duration = Duration::from_secs(20);

/// Everything that a check has.
pub struct Ground {
    sandbox: Sandbox,
    servers: Vec<Child>,
}

impl Ground {
    /// Makes a neighbour of this network namespace, which is the host of the checks, and a table of rules that is not ours.
    pub fn neighbour() -> Result<()> {
        for line in [
            "ip link set lo up",
            "mkdir -p /run/netns",
            "mount -t tmpfs none /run/netns",
            "mount --make-shared /run/netns",
            "ip netns add outside",
            "ip link add up0 type veth peer name up1 netns outside",
            "ip address add 192.0.2.1/24 dev up0",
            "ip address add 2001:db8::1/64 dev up0 nodad",
            "ip link set up0 up",
            "ip -n outside address add 192.0.2.2/24 dev up1",
            "ip -n outside address add 2001:db8::2/64 dev up1 nodad",
            "ip -n outside link set up1 up",
            "ip -n outside link set lo up",
            "ip route add default via 192.0.2.2",
            "nft add table inet foreign",
        ] {
            sh::run(&mut sh::command(&line.split(' ').collect::<Vec<_>>()))?;
        }
        Ok(())
    }

    /// Makes the neighbour, the image and what is not ours and must stay.
    pub fn new() -> Result<Self> {
        Self::neighbour()?;
        let sandbox = Sandbox::new("network", "overlay")?;
        fs_err::write(sandbox.path("config.toml"), "[network]\ntag = \"it\"\n")?;
        let mut ground = Self { sandbox, servers: Vec::new() };
        ground.import()?;
        ground.servers.push(Self::web_outside(&ground.sandbox.path("image"))?);
        ground.start(ground.serving(&["ip", "netns", "exec", "outside"], &["names", "53"])?)?;
        Ok(ground)
    }

    /// Runs `mica`, which must succeed, and returns what it said.
    pub fn mica(&self, line: &str) -> Result<String> {
        sh::read(&mut self.command(line))
    }

    /// Runs `mica`, whatever comes of it.
    pub fn try_mica(&self, line: &str) -> Result<Output> {
        sh::output(&mut self.command(line))
    }

    /// Runs `mica`, which must be refused with this status and these words.
    pub fn refused(&self, status: i32, words: &str, line: &str) -> Result<()> {
        let output = self.try_mica(line)?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code() == Some(status) && said.contains(words),
            "`{line}` ended with {}: {said}",
            output.status
        );
        Ok(())
    }

    /// Starts a web server in a container.
    pub fn web(&self, flags: &str) -> Result<()> {
        self.mica(&format!("run -d {flags} {}", SERVER.join(" "))).map(drop)
    }

    /// A shell line that asks a web server who asks it; `nobody` when there is no answer.
    pub fn question(address: &str, port: u16) -> String {
        format!(
            "for i in 1 2 3; do a=$(printf 'GET /cgi-bin/who HTTP/1.0\\r\\n\\r\\n' | busybox nc -w 2 {address} {port} 2>/dev/null | tail -1); \
             [ -n \"$a\" ] && break; done; echo ${{a:-nobody}}"
        )
    }

    /// Asks from the host.
    pub fn from_host(address: &str, port: u16) -> Result<String> {
        sh::read(&mut sh::command(&["sh", "-c", &Self::question(address, port)])).map(plain)
    }

    /// Asks from the neighbour.
    pub fn from_outside(address: &str, port: u16) -> Result<String> {
        let question = Self::question(address, port);
        sh::read(&mut sh::command(&["ip", "netns", "exec", "outside", "sh", "-c", &question])).map(plain)
    }

    /// Starts the neighbour's web server, which says who asks.
    pub fn web_outside(image: &Path) -> Result<Child> {
        let root = image.join("www").display().to_string();
        let words = ["ip", "netns", "exec", "outside", "busybox", "httpd", "-f", "-p", "80", "-h", &root];
        Ok(sh::command(&words).spawn()?)
    }

    /// Asks from a running container, or from a new one with `run --rm …`.
    pub fn seen_by(&self, how: &str, address: &str, port: u16) -> Result<String> {
        let mut command = self.command(how);
        command.args(["sh", "-c", &Self::question(address, port)]);
        sh::read(&mut command).map(plain)
    }

    /// A container's address in a network.
    pub fn address(&self, container: &str, network: &str) -> Result<String> {
        let template = format!("{{{{(index .NetworkSettings.Networks \"{network}\").IPAddress}}}}");
        sh::read(self.command("inspect -f").args([&template, container]))
    }

    /// The first process of a container.
    pub fn pid(&self, container: &str) -> Result<String> {
        self.mica(&format!("inspect -f {{{{.State.Pid}}}} {container}"))
    }

    /// Starts a server of datagrams in a container's network.
    pub fn echo_in(&self, container: &str, port: u16) -> Result<Child> {
        let pid = self.pid(container)?;
        let mut command = self.serving(&["nsenter", "-t", &pid, "-n"], &["echo", &port.to_string()])?;
        Ok(command.spawn()?)
    }

    /// What comes back of a datagram.
    pub fn echo(address: SocketAddr) -> Result<String> {
        let socket = UdpSocket::bind(if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
        socket.set_read_timeout(Some(Duration::from_millis(500)))?;
        let deadline = Instant::now() + PATIENCE;
        let mut buffer = [0; 64];
        loop {
            // A server that is not up yet refuses.
            let sent = socket.send_to(b"ping", address).and_then(|_| socket.recv(&mut buffer));
            match sent {
                Ok(length) => return Ok(String::from_utf8_lossy(&buffer[..length]).into_owned()),
                Err(error) => ensure!(Instant::now() < deadline, "no echo from {address}: {error}"),
            }
        }
    }

    /// Waits until something holds.
    pub fn until(what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !holds()? {
            ensure!(Instant::now() < deadline, "waited in vain until {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Names of interfaces of the host.
    pub fn links() -> Result<Vec<String>> {
        interfaces(&["ip", "-br", "link"])
    }

    /// Those of them that are one end of a pair: `up0`, and one for each place that a container has in a bridge.
    pub fn pairs() -> Result<Vec<String>> {
        interfaces(&["ip", "-br", "link", "show", "type", "veth"])
    }

    /// Tables of packet rules of the host.
    pub fn tables() -> Result<Vec<String>> {
        Ok(sh::read(&mut sh::command(&["nft", "list", "tables"]))?.lines().map(str::to_owned).collect())
    }

    /// Files of addresses that somebody has.
    pub fn leases(&self) -> Result<Vec<String>> {
        let networks = self.sandbox.run_root().join("networks");
        let said = sh::read(sh::command(&["find"]).arg(networks).args(["-path", "*/members/*"]))?;
        Ok(said.lines().map(str::to_owned).collect())
    }

    /// A path of the task's own.
    pub fn path(&self, name: &str) -> PathBuf {
        self.sandbox.path(name)
    }

    /// After everything was removed: only what was there before.
    pub fn is_bare(&self) -> Result<()> {
        let all = self.mica("ps -aq")?;
        ensure!(all.is_empty(), "containers are left: {all}");
        self.mica("network prune -f")?;
        let links = Self::links()?;
        ensure!(links == ["lo", "up0"], "interfaces are left: {links:?}");
        let tables = Self::tables()?;
        ensure!(tables == ["table inet foreign"], "tables are left: {tables:?}");
        let files: Vec<_> = fs_err::read_dir(self.sandbox.run_root().join("networks"))?.flatten().collect();
        ensure!(files.iter().all(|entry| entry.file_name() == "lock"), "files are left: {files:?}");
        let left = self.sandbox.leftovers()?;
        ensure!(left.is_empty(), "left behind: {left:#?}");
        Ok(())
    }

    fn command(&self, line: &str) -> Command {
        let mut command = self.sandbox.command(&line.split_whitespace().collect::<Vec<_>>());
        command.env_remove("MICA_NETWORK").env("MICA_CONFIG", self.sandbox.path("config.toml"));
        command
    }

    fn serving(&self, prefix: &[&str], task: &[&str]) -> Result<Command> {
        let mut command = sh::command(prefix);
        command.arg(std::env::current_exe()?).arg(TASK).args(task).stdin(Stdio::null());
        Ok(command)
    }

    fn start(&mut self, mut command: Command) -> Result<()> {
        self.servers.push(command.spawn()?);
        Ok(())
    }

    fn import(&self) -> Result<()> {
        let archive = Self::image(&self.sandbox.path("image"))?;
        let archive = archive.to_str().context("a path that is not UTF-8")?.to_owned();
        self.mica(&format!("import {archive} base")).map(drop)
    }

    /// Makes the root of an image with a web server that says who asks, and an archive of it.
    pub fn image(root: &Path) -> Result<PathBuf> {
        for folder in ["bin", "etc", "www/cgi-bin"] {
            fs_err::create_dir_all(root.join(folder))?;
        }
        fs_err::copy("/bin/busybox", root.join("bin/busybox"))?;
        for applet in [
            "sh", "cat", "echo", "sleep", "ls", "nc", "httpd", "ip", "nslookup", "ping", "hostname", "true", "tail",
            "printf", "id", "rm", "mkdir", "touch", "chown", "mount", "kill", "stat", "test", "grep",
        ] {
            fs_err::os::unix::fs::symlink("busybox", root.join("bin").join(applet))?;
        }
        let who = root.join("www/cgi-bin/who");
        fs_err::write(&who, WHO)?;
        fs_err::set_permissions(&who, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        let archive = root.with_extension("tar");
        sh::run(sh::command(&["tar", "-C"]).arg(root).arg("-cf").arg(&archive).arg("."))?;
        Ok(archive)
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        for server in &mut self.servers {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

fn interfaces(command: &[&str]) -> Result<Vec<String>> {
    let said = sh::read(&mut sh::command(command))?;
    Ok(said.lines().filter_map(|line| line.split(['@', ' ']).next()).map(str::to_owned).collect())
}

/// `[::ffff:192.0.2.1]` is 192.0.2.1.
fn plain(text: String) -> String {
    text.trim_matches(['[', ']']).trim_start_matches("::ffff:").to_owned()
}
