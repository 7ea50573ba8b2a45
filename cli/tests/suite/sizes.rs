//! Sizes: `ps -s`, `inspect -s` and `system df` follow what containers write, stopped or running.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::support::{Store, driver, until};

const WRITE: &str = "head -c 300000 /dev/zero > /more";

#[test]
fn privileged_sizes_follow_what_containers_write() {
    let Some(store) = Store::with_base() else { return };
    store
        .mica(&["create", "--name", "cc", "base", "sh", "-c", &format!("{WRITE}; {WRITE}2; mkdir -p /d; {WRITE}3")])
        .ok();
    let size = || store.mica(&["inspect", "-s", "-f", "{{.SizeRw}}", "cc"]).ok().parse::<u64>().expect("a number");
    let created = size();
    assert_eq!(created, size());
    fs_err::write(store.path("file"), vec![1; 500_000]).expect("written");
    store.mica(&["cp", "file", "cc:/copied"]).ok();
    let copied = size();
    assert!((created + 500_000..created + 600_000).contains(&copied), "{created}, then {copied}");
    store.mica(&["start", "-a", "cc"]).ok();
    let ran = size();
    assert!((copied + 900_000..copied + 1_100_000).contains(&ran), "{copied}, then {ran}");
    if driver() == "overlay" {
        let id = store.mica(&["inspect", "-f", "{{.Id}}", "cc"]).ok();
        assert_eq!(ran, blocks(&store.path("root/drivers/overlay/rw").join(id).join("fs")));
    }
    let whole = store.mica(&["inspect", "-s", "-f", "{{.SizeRootFs}}", "cc"]).ok().parse::<u64>().expect("a number");
    let image = store.mica(&["image", "inspect", "-f", "{{.Size}}", "base"]).ok().parse::<u64>().expect("a number");
    assert_eq!(whole, ran + image);
    let listed = store.mica(&["ps", "-as", "--format", "{{.Size}}"]).ok();
    let summed = store.mica(&["system", "df", "--format", "{{if eq .Type \"Containers\"}}{{.Size}}{{end}}"]).ok();
    assert_eq!(listed.split(' ').next(), Some(summed.trim()), "{listed}");
}

#[test]
fn privileged_the_size_of_a_running_container_grows() {
    let Some(store) = Store::with_base() else { return };
    store.background(&["--name", "cc", "-v", "vol:/vol", "base", "sleep", "600"]);
    let size = || store.mica(&["inspect", "-s", "-f", "{{.SizeRw}}", "cc"]).ok().parse::<u64>().expect("a number");
    let volume = || {
        store.mica(&["system", "df", "-v", "--format", "{{range .Volumes}}{{.Name}} {{.Links}} {{.Size}}{{end}}"]).ok()
    };
    let (before, empty) = (size(), volume());
    assert!(empty.starts_with("vol 1 "), "{empty}");
    store.mica(&["exec", "cc", "sh", "-c", &format!("{WRITE}; head -c 5000000 /dev/zero > /vol/file")]).ok();
    // A figure is good for twenty times what it cost.
    until("the container's size", || (before + 300_000..before + 400_000).contains(&size()));
    until("the volume's size", || volume() == "vol 1 5MB" || volume() == "vol 1 5.01MB");
}

#[test]
fn privileged_usage_is_told_object_by_object() {
    let Some(store) = Store::with_base() else { return };
    store.mica(&["tag", "base", "again"]).ok();
    store.mica(&["create", "--name", "cc", "-v", "vol:/vol", "base", "true"]).ok();
    let text = store.mica(&["system", "df", "-v"]).ok();
    for line in [
        "Images space usage:",
        "Containers space usage:",
        "Local Volumes space usage:",
        "Build cache usage:",
        "REPOSITORY TAG IMAGE ID CREATED SIZE SHARED SIZE UNIQUE SIZE CONTAINERS",
        "CONTAINER ID IMAGE COMMAND LOCAL VOLUMES SIZE CREATED STATUS NAMES",
        "VOLUME NAME LINKS SIZE",
    ] {
        let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.lines().any(|found| squeezed(found) == line), "`{line}` in\n{text}");
    }
    let fields = store.mica(&["system", "df", "-v", "--format", "json"]).ok();
    for key in ["\"Images\":[{", "\"Containers\":[{", "\"Volumes\":[{", "\"BuildCache\":[]", "\"SharedSize\":\"0B\""] {
        assert!(fields.contains(key), "{key} in {fields}");
    }
    let own = store.mica(&["system", "df", "-v", "--format", "{{(index .Images 0).UniqueSize}}"]).ok();
    assert_eq!(own, store.mica(&["images", "--format", "{{.Size}}", "base"]).ok());
}

fn blocks(path: &Path) -> u64 {
    let meta = fs_err::symlink_metadata(path).expect("it is there");
    let own = meta.blocks() * 512;
    if !meta.is_dir() {
        return own;
    }
    own + fs_err::read_dir(path).expect("a folder").map(|entry| blocks(&entry.expect("an entry").path())).sum::<u64>()
}
