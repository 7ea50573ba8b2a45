//! Registries with users, with TLS and behind nginx, each in a folder of its own and gone with its value.

use std::io::Write as _;
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Done, Store, finish, signal, skip};

/// The user whom every registry with users knows.
pub const USER: &str = "someone";
/// That user's password.
pub const PASSWORD: &str = "correct horse:battery";

/// A store with the image `base`, where everything that these tests start is installed.
pub fn store() -> Option<Store> {
    let missing = |program: &&&str| Command::new(program).arg("--version").output().is_err();
    if let Some(program) = ["docker-registry", "skopeo", "htpasswd", "nginx", "openssl"].iter().find(missing) {
        assert!(std::env::var_os("MICA_NO_SKIP").is_none(), "there is no `{program}`");
        skip(&format!("no {program}"));
        return None;
    }
    Store::with_base()
}

/// A process that listens, which ends with the value.
pub struct Server {
    process: Child,
    /// Host and port.
    pub address: String,
    _folder: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        // A master of nginx that is killed outright leaves its worker behind.
        signal(&self.process, rustix::process::Signal::TERM);
        let _ = self.process.wait();
    }
}

/// What a registry is to be like.
#[derive(Default)]
pub struct Kind<'a> {
    pub host: Option<IpAddr>,
    pub users: bool,
    pub tls: Option<&'a Authority>,
}

impl Server {
    /// Debian's `docker-registry`.
    pub fn registry(kind: &Kind<'_>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let host = kind.host.unwrap_or(IpAddr::from([127, 0, 0, 1]));
        let port = free_port(host);
        let at = |name: &str| folder.path().join(name).display().to_string();
        let mut config = format!(
            "version: 0.1\nlog: {{ level: error }}\nstorage:\n  filesystem: {{ rootdirectory: {} }}\nhttp:\n  addr: {host}:{port}\n",
            at("data")
        );
        if let Some(authority) = kind.tls {
            let files = ["server.crt", "server.key", "ca.crt"].map(|name| authority.path(name).display().to_string());
            config += &format!(
                "  tls:\n    certificate: {}\n    key: {}\n    clientcas:\n      - {}\n",
                files[0], files[1], files[2]
            );
        }
        if kind.users {
            let line = run(Command::new("htpasswd").args(["-nbB", USER, PASSWORD]));
            fs_err::write(at("users"), line).expect("written");
            config += &format!("auth:\n  htpasswd: {{ realm: tests, path: {} }}\n", at("users"));
        }
        fs_err::write(at("config.yml"), config).expect("written");
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(at("config.yml"));
        Self::start(command, format!("{host}:{port}"), folder)
    }

    /// An nginx with this inside of `http { }`, in which `@FOLDER@` is a folder of its own.
    pub fn nginx(address: &str, http: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().display().to_string();
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {path}/{name};\n"))
            .concat();
        let text = format!(
            "daemon off;\nuser root;\nworker_processes 1;\npid {path}/pid;\nerror_log {path}/errors;\nevents {{}}\n\
             http {{\naccess_log off;\n{temporary}{}\n}}\n",
            http.replace("@FOLDER@", &path)
        );
        fs_err::write(folder.path().join("nginx.conf"), text).expect("written");
        let mut command = Command::new("nginx");
        command.arg("-p").arg(&path).arg("-c").arg(folder.path().join("nginx.conf"));
        command.args(["-e", &format!("{path}/errors")]);
        Self::start(command, address.to_owned(), folder)
    }

    fn start(mut command: Command, address: String, folder: tempfile::TempDir) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().expect("a server starts");
        let server = Self { process, address, _folder: folder };
        let deadline = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(&server.address).is_err() {
            assert!(Instant::now() < deadline, "`{}` does not answer", server.address);
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    /// A file of the server's folder.
    pub fn file(&self, name: &str) -> String {
        fs_err::read_to_string(self._folder.path().join(name)).unwrap_or_default()
    }

    /// Puts the store's image `base` into this registry, with another tool.
    pub fn give(&self, store: &Store, name: &str) {
        let archive = store.path("given.tar");
        if !archive.exists() {
            store.mica(&["save", "-o", "given.tar", "base"]).ok();
        }
        let mut command = Command::new("skopeo");
        command.args(["copy", "--insecure-policy", "--dest-tls-verify=false", "--dest-creds"]);
        command.arg(format!("{USER}:{PASSWORD}")).arg(format!("docker-archive:{}", archive.display()));
        run(command.arg(format!("docker://{}/{name}", self.address)));
    }
}

/// A port that nobody listens on.
pub fn free_port(host: IpAddr) -> u16 {
    TcpListener::bind((host, 0)).and_then(|listener| listener.local_addr()).expect("a free port").port()
}

/// An address of this machine that other machines could reach it by. Nothing is sent.
pub fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.200:9").ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|address| !address.is_loopback())
}

/// An authority that has signed a server's certificate and a client's.
pub struct Authority {
    folder: tempfile::TempDir,
}

impl Authority {
    /// For a server with these names, as `subjectAltName` has them.
    pub fn new(names: &str) -> Self {
        let authority = Self { folder: tempfile::tempdir().expect("a folder") };
        let openssl = |args: &str, more: &[&str]| {
            let mut command = Command::new("openssl");
            command.current_dir(authority.folder.path()).args(args.split(' ')).args(more);
            run(&mut command);
        };
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
        openssl(&format!("req -x509 {key} -days 2 -subj /CN=tests -keyout ca.key -out ca.crt"), &[]);
        for (name, extension) in
            [("server", format!("subjectAltName={names}")), ("client", "extendedKeyUsage=clientAuth".to_owned())]
        {
            openssl(
                &format!(
                    "req -x509 {key} -days 2 -subj /CN={name} -keyout {name}.key -out {name}.crt -CA ca.crt -CAkey ca.key"
                ),
                &["-addext", &extension, "-addext", "basicConstraints=critical,CA:FALSE"],
            );
        }
        authority
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// A person with a home of its own, where no file of this machine's people is read.
pub struct Person<'a> {
    pub store: &'a Store,
    environment: Vec<(String, String)>,
}

impl<'a> Person<'a> {
    pub fn new(store: &'a Store) -> Self {
        let home = store.path("home");
        fs_err::create_dir_all(&home).expect("a home");
        let environment = vec![
            ("HOME".to_owned(), home.display().to_string()),
            ("XDG_RUNTIME_DIR".to_owned(), store.path("runtime").display().to_string()),
            ("CONTAINERS_REGISTRIES_CONF".to_owned(), "/dev/null".to_owned()),
        ];
        Self { store, environment }
    }

    /// The same with one more variable.
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut environment = self.environment.clone();
        environment.push((name.to_owned(), value.to_owned()));
        Self { store: self.store, environment }
    }

    pub fn home(&self, name: &str) -> PathBuf {
        self.store.path("home").join(name)
    }

    /// Writes a file below the home.
    pub fn writes(&self, name: &str, text: &str) -> PathBuf {
        let path = self.home(name);
        fs_err::create_dir_all(path.parent().unwrap_or(Path::new("/"))).expect("a folder");
        fs_err::write(&path, text).expect("written");
        path
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = self.store.command(args);
        for name in ["DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "XDG_CONFIG_HOME", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"]
        {
            command.env_remove(name).env_remove(name.to_ascii_lowercase());
        }
        command.envs(self.environment.iter().cloned());
        command
    }

    pub fn mica(&self, args: &[&str]) -> Done {
        finish(self.command(args), b"")
    }

    pub fn mica_with(&self, args: &[&str], input: &str) -> Done {
        finish(self.command(args), input.as_bytes())
    }

    /// Another tool with the same home.
    pub fn other(&self, program: &str, args: &[&str]) -> Done {
        let mut command = Command::new(program);
        command.args(args).envs(self.environment.iter().cloned()).current_dir(self.store.path(""));
        finish(command, b"")
    }
}

/// Writes a program into a folder.
pub fn script(path: &Path, text: &str) {
    let mut file = fs_err::File::create(path).expect("a file");
    write!(file, "#!/bin/sh\n{text}\n").expect("written");
    drop(file);
    fs_err::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("executable");
}

fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().expect("it starts");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
