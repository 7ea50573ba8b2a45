//! Real terminals: a pseudo-terminal in front of the program, as a person has one.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcgetattr, tcsetwinsize};

use crate::support::{Store, until};

/// A terminal with a program on it.
pub struct Screen {
    child: Child,
    keyboard: File,
    slave: OwnedFd,
    pieces: Receiver<Vec<u8>>,
    seen: String,
    whole: String,
}

impl Screen {
    pub fn start(command: &Command) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&master).expect("granted");
        unlockpt(&master).expect("unlocked");
        tcsetwinsize(&master, size(24, 80)).expect("a size");
        let name = ptsname(&master, Vec::new()).expect("a name");
        let name = name.to_str().expect("valid UTF-8");
        let slave: OwnedFd = File::options().read(true).write(true).open(name).expect("the other side").into();
        let open = || Stdio::from(slave.try_clone().expect("a copy"));
        // `setsid --ctty` makes it the controlling terminal, without which no size change is ever told.
        let mut leader = Command::new("setsid");
        leader.args(["--ctty", "--wait"]).arg(command.get_program()).args(command.get_args());
        leader.env("MICA_CONFIG", "/dev/null").env("TERM", "xterm");
        let child = leader.stdin(open()).stdout(open()).stderr(open()).spawn().expect("it starts");
        let keyboard = File::from(master);
        let mut screen = keyboard.try_clone().expect("a copy");
        let (sender, pieces) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count) = screen.read(&mut buffer) {
                if count == 0 || sender.send(buffer[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { child, keyboard, slave, pieces, seen: String::new(), whole: String::new() }
    }

    pub fn types(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("typed");
    }

    /// Waits until the screen shows a text, and forgets what stood before it.
    pub fn shows(&mut self, text: &str) {
        loop {
            if let Some(at) = self.seen.find(text) {
                self.seen.drain(..at + text.len());
                return;
            }
            match self.pieces.recv_timeout(Duration::from_secs(60)) {
                Ok(piece) => {
                    let piece = String::from_utf8_lossy(&piece);
                    self.seen.push_str(&piece);
                    self.whole.push_str(&piece);
                }
                Err(_) => panic!("the screen never showed {text:?}, only {:?}", self.seen),
            }
        }
    }

    /// True when a text was shown at any time until now.
    pub fn showed(&self, text: &str) -> bool {
        self.whole.contains(text)
    }

    /// True when what is typed is shown.
    pub fn echoes(&self) -> bool {
        tcgetattr(&self.slave).expect("attributes").local_modes.contains(rustix::termios::LocalModes::ECHO)
    }

    fn is_raw(&self) -> bool {
        !tcgetattr(&self.slave).expect("attributes").local_modes.contains(rustix::termios::LocalModes::ICANON)
    }

    pub fn ends(mut self) -> Option<i32> {
        let code = self.child.wait().expect("an end").code();
        assert!(!self.is_raw(), "the terminal is as it was");
        code
    }
}

fn size(rows: u16, columns: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

#[test]
fn privileged_a_shell_on_a_terminal() {
    let Some(store) = Store::with_base() else { return };
    let mut screen = Screen::start(&store.command(&["run", "-it", "--rm", "base", "sh"]));
    screen.types("stty size; echo ready-$((1+1))\r");
    screen.shows("24 80");
    screen.shows("ready-2");
    assert!(screen.is_raw());
    tcsetwinsize(&screen.slave, size(33, 101)).expect("a new size");
    screen.types("while test \"$(stty size)\" != '33 101'; do sleep 0.02; done; echo now-$((30+3))\r");
    screen.shows("now-33");
    // The interrupt key is the container's business, not this program's.
    screen.types("sh -c 'echo sleeping-$((1+1)); exec sleep 600'\r");
    screen.shows("sleeping-2");
    screen.types("\x03");
    screen.types("exit 6\r");
    assert_eq!(screen.ends(), Some(6));
    assert_eq!(store.mica(&["ps", "-aq"]).ok(), "");
}

/// Of CVE-2022-23471's kind: whoever changes a terminal's size often must not fill the memory of what relays it.
#[test]
fn privileged_ten_thousand_sizes_cost_no_memory() {
    let Some(store) = Store::with_base() else { return };
    store.background(&["-t", "--name", "cc", "base", "sleep", "600"]);
    let mut screen = Screen::start(&store.command(&["exec", "-it", "cc", "sh"]));
    screen.types("echo ready-$((1+1))\r");
    screen.shows("ready-2");
    // The command's monitor is its parent, which is in a process namespace above it.
    let top = store.mica(&["top", "cc", "-o", "pid,ppid,args"]).ok();
    let shell = top.lines().find(|line| line.trim().ends_with(" sh")).unwrap_or_else(|| panic!("no shell in {top}"));
    let parent = shell.split_whitespace().nth(1).expect("its parent");
    let resident = || {
        let status = fs_err::read_to_string(format!("/proc/{parent}/status")).expect("a status");
        assert!(status.contains("mica-monitor"), "{status}");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number")
    };
    let before = resident();
    for step in 0..10_000 {
        tcsetwinsize(&screen.slave, size(20 + step % 50, 80 + step % 100)).expect("a new size");
    }
    tcsetwinsize(&screen.slave, size(33, 101)).expect("a new size");
    screen.types("while test \"$(stty size)\" != '33 101'; do sleep 0.02; done; echo now-$((30+3))\r");
    screen.shows("now-33");
    let after = resident();
    assert!(after < before + 1024, "from {before} to {after} KiB");
    screen.types("exit 0\r");
    assert_eq!(screen.ends(), Some(0));
    store.mica(&["rm", "-f", "cc"]).ok();
}

#[test]
fn privileged_detach_attach_and_exec() {
    let Some(store) = Store::with_base() else { return };
    let mut screen = Screen::start(&store.command(&["run", "-it", "--name", "cc", "base", "sh"]));
    screen.types("echo first-$((1+1))\r");
    screen.shows("first-2");
    screen.types("\x10\x11");
    screen.shows("read escape sequence");
    assert_eq!(screen.ends(), Some(0));
    assert_eq!(store.mica(&["ps", "--format", "{{.Names}}"]).ok(), "cc");

    let mut screen = Screen::start(&store.command(&["exec", "-it", "--detach-keys", "ctrl-x", "cc", "sh"]));
    screen.types("echo second-$((1+1))\r");
    screen.shows("second-2");
    screen.types("exit 8\r");
    assert_eq!(screen.ends(), Some(8));

    let mut screen = Screen::start(&store.command(&["exec", "-it", "cc", "sh"]));
    screen.types("echo left-$((1+1))\r");
    screen.shows("left-2");
    screen.types("\x10\x11");
    screen.shows("read escape sequence");
    assert_eq!(screen.ends(), Some(0));

    let mut screen = Screen::start(&store.command(&["attach", "cc"]));
    screen.types("echo third-$((1+1))\r");
    screen.shows("third-2");
    tcsetwinsize(&screen.slave, size(33, 101)).expect("a new size");
    screen.types("while test \"$(stty size)\" != '33 101'; do sleep 0.02; done; exit 9\r");
    assert_eq!(screen.ends(), Some(9));
    assert_eq!(store.mica(&["wait", "cc"]).ok(), "9");

    let template = "{{.Action}} {{json .Actor.Attributes}}";
    let mut line = vec!["events", "--since", "0", "--until", "0s", "--format", template];
    for filter in ["event=attach", "event=detach", "event=exec_detach", "event=resize"] {
        line.extend(["--filter", filter]);
    }
    let told = store.mica(&line).ok();
    let actions: Vec<_> = told.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(actions, ["attach", "detach", "exec_detach", "attach", "resize"]);
    assert!(told.contains(r#""height":"33""#) && told.contains(r#""width":"101""#), "{told}");
}

#[test]
fn privileged_a_terminal_is_restored_when_a_signal_ends_the_client() {
    let Some(store) = Store::with_base() else { return };
    let mut screen = Screen::start(&store.command(&["run", "-it", "--sig-proxy=false", "--name", "cc", "base", "sh"]));
    screen.types("echo up-$((1+1))\r");
    screen.shows("up-2");
    // `setsid` becomes the program: it forks only where it leads a process group already.
    let client = rustix::process::Pid::from_child(&screen.child);
    rustix::process::kill_process(client, rustix::process::Signal::TERM).expect("sent");
    assert_eq!(screen.ends(), Some(143));
    assert_eq!(store.mica(&["ps", "--format", "{{.Names}}"]).ok(), "cc");
}

#[test]
fn privileged_a_container_with_rm_that_was_left_goes_when_it_ends() {
    let Some(store) = Store::with_base() else { return };
    let mut screen = Screen::start(&store.command(&["run", "-it", "--rm", "--name", "cc", "base", "sh"]));
    screen.types("echo up-$((1+1))\r");
    screen.shows("up-2");
    screen.types("\x10\x11");
    assert_eq!(screen.ends(), Some(0));
    assert_eq!(store.mica(&["ps", "--format", "{{.Names}}"]).ok(), "cc");
    store.mica(&["kill", "cc"]).ok();
    until("the container to go", || store.mica(&["ps", "-aq"]).ok().is_empty());
}
