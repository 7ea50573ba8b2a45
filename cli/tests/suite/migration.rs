//! `storage migrate`: a container that has run goes to another driver, runs on there, and so does everything else.

use crate::support::Store;

#[test]
fn privileged_a_container_runs_on_where_it_was_moved_to() {
    let Some(store) = Store::with_base() else { return };
    // What the store uses, which no flag may override.
    let mica = |args: &[&str]| store.mica_unnamed(args);
    mica(&["run", "--name", "box", "base", "sh", "-c", "mkdir /new; echo one > /new/file; rm /bin/cat"]).ok();
    mica(&["run", "-d", "--name", "runs", "base", "sleep", "600"]).ok();
    let describe = "{{.Id}} {{.Image}} {{.Name}} {{.State.ExitCode}}";
    let told = |name: &str| mica(&["inspect", "--format", describe, name]).ok();
    let (image, before, changed) =
        (mica(&["images", "-q", "--no-trunc"]).ok(), told("box"), mica(&["diff", "box"]).ok());

    let from = crate::support::driver();
    let to = if from == "vfs" { "overlay" } else { "vfs" };
    mica(&["storage", "migrate", "--to", to, "runs"]).fails(1, "cannot move running containers: `runs`");
    let dry = mica(&["storage", "migrate", "--to", to, "--dry-run"]).ok();
    assert!(dry.contains(&format!("container box: would come from {from}, ")), "{dry}");
    let partly = mica(&["storage", "migrate", "--to", to]);
    assert_eq!(partly.code, 1, "{partly:#?}");
    assert!(partly.stdout.contains(&format!("image base:latest: moved from {from}")), "{partly:#?}");
    assert!(partly.stdout.contains(&format!("container box: moved from {from}")), "{partly:#?}");
    assert!(partly.stdout.contains("New images still go to driver"), "{partly:#?}");
    assert!(partly.stderr.contains("container runs stays where it is: it is running"), "{partly:#?}");
    assert_eq!(mica(&["exec", "runs", "cat", "/etc/hostname"]).code, 0);

    mica(&["stop", "-t", "0", "runs"]).ok();
    let rest = mica(&["storage", "migrate", "--to", to]).ok();
    assert!(rest.contains("container box: is there"), "{rest}");
    assert!(rest.contains(&format!("container runs: moved from {from}")), "{rest}");
    assert!(rest.ends_with(&format!("New images and containers go to driver {to}")), "{rest}");
    assert_eq!(mica(&["storage", "migrate", "-q", "--to", to]).ok(), "");

    assert_eq!(mica(&["images", "-q", "--no-trunc"]).ok(), image);
    assert_eq!((told("box"), mica(&["diff", "box"]).ok()), (before, changed));
    assert_eq!(mica(&["start", "-a", "box"]).code, 1, "the directory is there already");
    mica(&["start", "runs"]).ok();
    assert_eq!(mica(&["run", "--rm", "--name", "again", "base", "cat", "/etc/hostname"]).code, 0);
    assert_eq!(mica(&["create", "base"]).code, 0);
    mica(&["system", "check"]).ok();
    mica(&["rm", "-f", "runs"]).ok();
    mica(&["system", "prune", "-f"]).ok();
    for place in ["layers", "rw", "stage", "trash"] {
        let folder = store.path("root/drivers").join(&from).join(place);
        assert_eq!(fs_err::read_dir(&folder).map_or(0, Iterator::count), 0, "{}", folder.display());
    }
}
