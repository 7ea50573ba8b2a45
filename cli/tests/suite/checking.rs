//! `system check`: exit codes and words for scripts, and a repair under a container that runs.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use crate::support::Store;

#[test]
fn privileged_damage_has_a_name_an_exit_code_and_a_repair() {
    let Some(store) = Store::with_base() else { return };
    assert!(store.mica(&["system", "check"]).ok().ends_with("the store is clean"));
    store.background(&["--name", "runs", "base", "sh", "-c", "sleep 600"]);
    let busybox = unpacked(&store, "bin/busybox");
    fs_err::set_permissions(&busybox, std::fs::Permissions::from_mode(0o711)).expect("a mode");

    let found = store.mica(&["system", "check"]);
    assert_eq!(found.code, 1, "{found:#?}");
    assert!(found.stdout.starts_with("damaged: snapshot `"), "{found:#?}");
    assert!(found.stdout.contains("`/bin/busybox` has mode 0711 instead of 0755; hits `base:latest`"), "{found:#?}");
    assert!(found.stderr.contains("--repair"), "{found:#?}");
    assert!(store.mica(&["system", "check", "--quick"]).ok().ends_with("the store is clean"));
    let found = store.mica(&["system", "check", "--json"]);
    assert_eq!(found.code, 1);
    let document: serde_json::Value = serde_json::from_str(&found.stdout).expect("one document");
    assert_eq!(document["clean"], false);
    assert_eq!(document["damages"][0]["images"], serde_json::json!(["base:latest"]));

    let repaired = store.mica(&["system", "check", "--repair"]);
    assert_eq!(repaired.code, 0, "{repaired:#?}");
    assert!(repaired.stdout.starts_with("repaired: snapshot `"), "{repaired:#?}");
    assert!(store.mica(&["system", "check"]).ok().ends_with("the store is clean"));
    // Whatever empties the trash now leaves what the container still needs.
    store.mica(&["run", "--rm", "base", "stat", "-c", "%a", "/bin/busybox"]).ok();
    store.mica(&["system", "prune", "-f"]).ok();
    assert_eq!(
        store.mica(&["exec", "runs", "sh", "-c", "cat /bin/busybox | wc -c"]).ok(),
        size(&unpacked(&store, "bin/busybox"))
    );
    assert_eq!(store.mica(&["run", "--rm", "base", "stat", "-c", "%a", "/bin/busybox"]).ok(), "755");
    store.mica(&["rm", "-f", "runs"]).ok();
    store.mica(&["system", "prune", "-f"]).ok();
    assert!(store.mica(&["system", "check"]).ok().ends_with("the store is clean"));

    fs_err::write(store.path("root/store.json"), "{").expect("written");
    assert_eq!(store.mica(&["system", "check"]).code, 125);
    fs_err::remove_dir_all(store.path("root")).expect("removed");
}

/// A file of an unpacked layer, in whichever driver's directory it lies.
fn unpacked(store: &Store, path: &str) -> PathBuf {
    let drivers = fs_err::read_dir(store.path("root/drivers")).expect("drivers").flatten();
    let layers = drivers.flat_map(|driver| fs_err::read_dir(driver.path().join("layers")).expect("layers").flatten());
    layers.map(|layer| layer.path().join(path)).find(|file| file.exists()).expect("an unpacked layer")
}

fn size(path: &std::path::Path) -> String {
    fs_err::metadata(path).expect("a file").len().to_string()
}
