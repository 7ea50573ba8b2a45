//! Volumes on file servers: NFS and CIFS by the kernel's own clients, against servers on this machine. `cargo xtask vm` has a
//! kernel with both; where one has neither, what it says is passed on.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::{Store, until};

/// What is written on one side is read on the other.
fn travels(store: &Store, exported: &Path) {
    fs_err::write(exported.join("theirs"), "from the server\n").expect("a file");
    let script = "cat /data/theirs && echo 'from a container' >/data/ours && mkdir /data/sub";
    let run = |line: &[&str]| store.mica(&[&["run", "--rm", "-v", "remote:/data"], line].concat());
    assert_eq!(run(&["base", "sh", "-c", script]).ok(), "from the server");
    assert_eq!(fs_err::read_to_string(exported.join("ours")).expect("a file"), "from a container\n");
    // Two containers at once, and a path below the top.
    store.background(&["--name", "cc", "-v", "remote:/data", "base", "sleep", "600"]);
    store.mica(&["exec", "cc", "sh", "-c", "echo both >/data/sub/file"]).ok();
    let below = ["--mount", "type=volume,source=remote,target=/data,volume-subpath=sub", "base", "cat", "/data/file"];
    assert_eq!(store.mica(&[&["run", "--rm"], &below[..]].concat()).ok(), "both");
    assert_eq!(run(&["base", "cat", "/data/sub/file"]).ok(), "both");
    store.mica(&["rm", "-f", "cc"]).ok();
    store.mica(&["volume", "rm", "remote"]).ok();
    assert!(exported.join("ours").exists(), "a volume goes without what the server has");
    let mounts = fs_err::read_to_string("/proc/self/mountinfo").expect("a table");
    assert!(!mounts.contains(" nfs4 ") && !mounts.contains(" cifs "), "nothing is mounted on the host");
}

/// True when the kernel has a file system, now that it was asked for it.
fn has(kind: &str) -> bool {
    Command::new("modprobe").arg(kind).stderr(Stdio::null()).status().ok();
    let known = fs_err::read_to_string("/proc/filesystems").unwrap_or_default();
    known.lines().any(|line| line.split_whitespace().last() == Some(kind))
}

fn run(program: &str, words: &[&str]) {
    let output = Command::new(program).args(words).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {words:?}: {output:?}");
}

/// A folder that is served, and what ends that.
struct Served {
    folder: PathBuf,
    end: Box<dyn Fn()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        (self.end)();
        fs_err::remove_dir_all(&self.folder).ok();
    }
}

/// Memory file systems cannot be exported by themselves, so it is a folder of the disk.
fn folder(kind: &str) -> PathBuf {
    let folder = PathBuf::from(format!("/srv/mica-{kind}-{}", std::process::id()));
    fs_err::create_dir_all(&folder).expect("a folder");
    folder
}

fn nfs() -> Served {
    let folder = folder("nfs");
    run("modprobe", &["nfsd"]);
    if !Path::new("/proc/fs/nfsd/threads").exists() {
        run("mount", &["-t", "nfsd", "nfsd", "/proc/fs/nfsd"]);
    }
    let export = format!("127.0.0.1:{}", folder.display());
    run("exportfs", &["-i", "-o", "rw,no_root_squash,insecure,no_subtree_check", &export]);
    run("rpc.mountd", &["-N", "2", "-N", "3"]);
    run("rpc.nfsd", &["-N", "3", "-G", "10", "-L", "10", "4"]);
    // Nobody has locks from before the server started.
    fs_err::write("/proc/fs/nfsd/v4_end_grace", "Y").ok();
    let end = || {
        for (program, words) in [("rpc.nfsd", &["0"][..]), ("exportfs", &["-ua"])] {
            Command::new(program).args(words).output().ok();
        }
    };
    Served { folder, end: Box::new(end) }
}

fn cifs(store: &Store) -> Served {
    let folder = folder("cifs");
    let own = store.path("samba");
    fs_err::create_dir_all(&own).expect("a folder");
    let config = own.join("smb.conf");
    let lines: String =
        ["private dir", "lock directory", "state directory", "cache directory", "pid directory", "ncalrpc dir"]
            .map(|key| format!("{key} = {}\n", own.display()))
            .concat();
    let text = format!(
        "[global]\n{lines}server role = standalone server\ndisable netbios = yes\nsmb ports = 445\nload printers = no\n\
         [share]\npath = {}\nread only = no\nforce user = root\n",
        folder.display()
    );
    fs_err::write(&config, text).expect("a file");
    let config = config.to_str().expect("text").to_owned();
    let mut password = Command::new("smbpasswd")
        .args(["-c", &config, "-a", "-s", "root"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("smbpasswd");
    password.stdin.take().expect("its input").write_all(b"secret\nsecret\n").expect("written");
    assert!(password.wait().expect("it ends").success());
    run("smbd", &["-D", "-s", &config, "-l", own.to_str().expect("text")]);
    until("the server to listen", || std::net::TcpStream::connect("127.0.0.1:445").is_ok());
    let pid = own.join("smbd-smb.conf.pid");
    let end = move || {
        let pid = fs_err::read_to_string(&pid).or_else(|_| fs_err::read_to_string(pid.with_file_name("smbd.pid")));
        if let Ok(pid) = pid {
            Command::new("kill").arg(pid.trim()).status().ok();
        }
    };
    Served { folder, end: Box::new(end) }
}

#[test]
fn privileged_volumes_on_nfs_servers_are_mounted() {
    let Some(store) = Store::with_base() else { return };
    let create = |device: &str| {
        let options = ["-o", "type=nfs", "-o", "o=addr=localhost,rw,nfsvers=4", "-o", device, "remote"];
        store.mica(&[&["volume", "create"], &options[..]].concat()).ok();
    };
    if !has("nfs4") {
        create("device=:/export");
        return store.mica(&["run", "--rm", "-v", "remote:/data", "base"]).fails(125, "`modprobe nfs`");
    }
    let served = nfs();
    create(&format!("device=:{}", served.folder.display()));
    travels(&store, &served.folder);
    let wrong = ["-o", "type=nfs", "-o", "o=addr=nobody.invalid", "-o", "device=:/x", "wrong"];
    store.mica(&[&["volume", "create"], &wrong[..]].concat()).ok();
    store
        .mica(&["run", "--rm", "-v", "wrong:/data", "base"])
        .fails(125, "error resolving passed in network volume address");
}

#[test]
fn privileged_volumes_on_cifs_servers_are_mounted() {
    let Some(store) = Store::with_base() else { return };
    let create = |options: &str| {
        let options = ["-o", "type=cifs", "-o", options, "-o", "device=//localhost/share", "remote"];
        store.mica(&[&["volume", "create"], &options[..]].concat()).ok();
    };
    if !has("cifs") {
        create("o=username=root,password=secret");
        let done = store.mica(&["run", "--rm", "-v", "remote:/data", "base"]);
        assert!(!done.stderr.contains("secret"), "{done:#?}");
        return done.fails(125, "`modprobe cifs`");
    }
    let served = cifs(&store);
    create("o=username=root,password=secret,vers=3.0");
    travels(&store, &served.folder);
}
