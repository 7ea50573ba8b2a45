//! Devices by their names in the Container Device Interface: what a made-up vendor's file does to a container.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::{Store, until};

/// A vendor's files: `/etc` and `/run` as folders of this test.
struct Vendor {
    folders: [PathBuf; 2],
    traces: PathBuf,
}

impl Vendor {
    fn new(store: &Store) -> Self {
        let vendor = Self { folders: [store.path("etc"), store.path("run-cdi")], traces: store.path("traces") };
        for folder in vendor.folders.iter().chain([&vendor.traces]) {
            fs_err::create_dir_all(folder).expect("a folder");
        }
        vendor
    }

    fn write(&self, folder: usize, name: &str, text: &str) {
        fs_err::write(self.folders[folder].join(name), text).expect("a file");
    }

    /// A hook of the host that keeps the state it is given.
    fn hook(&self, moment: &str) -> Value {
        let script = format!("cat >{}/{moment}.$TAG", self.traces.display());
        json!({ "hookName": moment, "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["TAG=x", "PATH=/usr/bin:/bin"] })
    }

    fn trace(&self, moment: &str) -> Option<Value> {
        let text = fs_err::read_to_string(self.traces.join(format!("{moment}.x"))).ok()?;
        serde_json::from_str(&text).ok()
    }

    fn run<'a>(&'a self, words: &[&'a str]) -> Vec<&'a str> {
        let [etc, run] = &self.folders;
        let folder = |path: &'a Path| path.to_str().expect("text");
        [&["--cdi-spec-dir", folder(etc), "--cdi-spec-dir", folder(run)], words].concat()
    }
}

#[test]
fn privileged_a_device_brings_nodes_mounts_environment_and_hooks() {
    let Some(store) = Store::with_base() else { return };
    let vendor = Vendor::new(&store);
    fs_err::create_dir_all(store.path("lib")).expect("a folder");
    fs_err::write(store.path("lib/driver"), "theirs").expect("a file");
    let moments = ["prestart", "createRuntime", "poststart", "poststop"];
    let mut hooks: Vec<Value> = moments.iter().map(|moment| vendor.hook(moment)).collect();
    hooks.push(
        json!({ "hookName": "startContainer", "path": "/bin/sh", "args": ["sh", "-c", "echo hook >/from-hook"] }),
    );
    let document = json!({
        "cdiVersion": "0.7.0",
        "kind": "vendor.test/thing",
        "containerEdits": { "env": ["VENDOR=yes"], "hooks": hooks, "additionalGids": [4242] },
        "devices": [
            { "name": "one", "containerEdits": {
                "env": ["ONE=1"],
                "deviceNodes": [{ "path": "/dev/thing0", "hostPath": "/dev/null", "fileMode": 0o640, "permissions": "rw" }],
                "mounts": [{ "hostPath": store.path("lib"), "containerPath": "/usr/lib/thing", "options": ["ro", "nosuid", "nodev", "rbind"] }],
            } },
            { "name": "all", "containerEdits": {
                "deviceNodes": [{ "path": "/dev/thing1", "type": "c", "major": 1, "minor": 5, "uid": 7, "gid": 8 }],
            } },
        ],
    });
    vendor.write(0, "thing.json", &document.to_string());
    let script = "stat -c '%n %t:%T %a %u:%g' /dev/thing0 /dev/thing1; cat /usr/lib/thing/driver /from-hook; \
                  touch /usr/lib/thing/x 2>&1 | grep -o Read-only; echo $VENDOR $ONE; id -G; head -c 1 /dev/thing1 | wc -c; \
                  echo x >/dev/thing0 && grep -c ' /usr/lib/thing ro,nosuid,nodev' /proc/self/mountinfo";
    for runtime in [None, Some("runc")] {
        if runtime.is_some() && !["/usr/sbin/runc", "/usr/bin/runc"].iter().any(|path| Path::new(path).exists()) {
            continue;
        }
        let mut flags =
            vec!["run", "--name", "it", "--device", "vendor.test/thing=one", "--device", "vendor.test/thing=all"];
        flags.extend(runtime.iter().flat_map(|runtime| ["--runtime", runtime]));
        let output = store.mica(&vendor.run(&[&flags[..], &["base", "sh", "-c", script]].concat())).ok();
        assert_eq!(
            output.lines().collect::<Vec<_>>(),
            [
                "/dev/thing0 1:3 640 0:0",
                "/dev/thing1 1:5 666 7:8",
                "theirshook",
                "Read-only",
                "yes 1",
                "0 4242",
                "1",
                "1"
            ],
            "{runtime:?}"
        );
        let id = store.mica(&["inspect", "-f", "{{.Id}}", "it"]).ok();
        for moment in moments {
            until(&format!("the hook `{moment}`"), || vendor.trace(moment).is_some());
            let state = vendor.trace(moment).expect("a state");
            assert_eq!(state["id"], id.as_str(), "{runtime:?} {moment}");
            fs_err::remove_file(vendor.traces.join(format!("{moment}.x"))).expect("a trace");
        }
        let requests = store.mica(&["inspect", "-f", "{{json .HostConfig.DeviceRequests}}", "it"]).ok();
        let expected = json!([{ "Driver": "cdi", "Count": 0, "Capabilities": [], "Options": {},
            "DeviceIDs": ["vendor.test/thing=one", "vendor.test/thing=all"] }]);
        assert_eq!(serde_json::from_str::<Value>(&requests).expect("JSON"), expected);
        store.mica(&["rm", "-f", "it"]).ok();
    }
    // A hook that fails keeps the container from running.
    let failing = json!({ "cdiVersion": "0.7.0", "kind": "vendor.test/bad", "devices": [{ "name": "x", "containerEdits":
        { "hooks": [{ "hookName": "createRuntime", "path": "/bin/false" }] } }] });
    vendor.write(1, "bad.json", &failing.to_string());
    store
        .mica(&vendor.run(&["run", "--rm", "--device", "vendor.test/bad=x", "base", "echo", "ran"]))
        .fails(125, "hook");
    assert_eq!(store.mica(&["ps", "-aq"]).ok(), "");
}

#[test]
fn privileged_names_without_a_device_say_what_there_is() {
    let Some(store) = Store::with_base() else { return };
    let vendor = Vendor::new(&store);
    let gpus = |minor: u32| {
        format!(
            "cdiVersion: 0.6.0\nkind: nvidia.com/gpu\ndevices:\n- name: \"0\"\n  containerEdits:\n    deviceNodes:\n    - \
             {{path: /dev/gpu, type: c, major: 1, minor: {minor}}}\n"
        )
    };
    let ran = |words: &[&str]| store.mica(&vendor.run(&[&["run", "--rm"], words].concat()));
    ran(&["--gpus", "all", "base", "true"]).fails(125, "nvidia-ctk cdi generate");
    ran(&["--device", "v.example/gpu=all", "base", "true"]).fails(125, "unresolvable CDI devices v.example/gpu=all");
    vendor.write(0, "nvidia.yaml", &gpus(3));
    let stat = ["base", "stat", "-c", "%T", "/dev/gpu"];
    assert_eq!(ran(&[&["--gpus", "1"], &stat[..]].concat()).ok(), "3");
    vendor.write(1, "nvidia.yaml", &gpus(5));
    assert_eq!(ran(&[&["--gpus", "device=0"], &stat[..]].concat()).ok(), "5");
    ran(&["--gpus", "2", "base", "true"]).fails(125, "nvidia.com/gpu=1");
    ran(&["--device", "nvidia.com/gpu=7", "base", "true"]).fails(125, "there are: nvidia.com/gpu=0");
    vendor.write(1, "twin.yaml", &gpus(5));
    let conflict = ran(&["--device", "nvidia.com/gpu=0", "base", "true"]);
    assert!(conflict.stderr.contains("twin.yaml") && conflict.stderr.contains("nvidia.yaml"), "{conflict:#?}");
    conflict.fails(125, "in conflict");
}
