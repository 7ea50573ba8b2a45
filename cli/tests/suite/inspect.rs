//! `inspect`: Docker's keys, templates, and what is not there.

use crate::support::Store;

#[test]
fn privileged_templates_that_scripts_use() {
    let Some(store) = Store::with_base() else { return };
    let id = store.background(&[
        "--name",
        "cc",
        "-e",
        "A=1",
        "-l",
        "role=web",
        "-v",
        "/etc:/host:ro",
        "--memory",
        "64m",
        "base",
        "sleep",
        "600",
    ]);
    let cases = [
        ("{{.Id}}", id.as_str()),
        ("{{.Name}}", "/cc"),
        ("{{.State.Running}} {{.State.Status}} {{.State.ExitCode}}", "true running 0"),
        ("{{.Config.Image}}", "base"),
        ("{{json .Config.Cmd}}", "[\"sleep\",\"600\"]"),
        ("{{index .Config.Labels \"role\"}}{{index .Config.Labels \"none\"}}", "web"),
        ("{{.Config.Labels.none}}", "<no value>"),
        ("{{range .Config.Env}}{{println .}}{{end}}", "A=1"),
        ("{{.HostConfig.NetworkMode}} {{.HostConfig.Memory}}", "none 67108864"),
        ("{{range .Mounts}}{{.Type}} {{.Source}} {{.Destination}} {{.RW}}{{end}}", "bind /etc /host false"),
        ("{{range $name, $_ := .NetworkSettings.Networks}}{{$name}}{{end}}", "none"),
        ("{{if gt .State.Pid 0}}alive{{end}}", "alive"),
        ("{{join .Args \",\"}} {{.Path}}", "600 sleep"),
    ];
    for (template, expected) in cases {
        let text = store.mica(&["inspect", "-f", template, "cc"]).ok();
        assert!(text == expected || text.lines().any(|line| line == expected), "{template}: {text}");
    }
    store
        .mica(&["inspect", "-f", "{{.Nope}}", "cc"])
        .fails(1, "template parsing error: template: :1:2: executing \"\" at <.Nope>");
    store.mica(&["inspect", "-f", "{{", "cc"]).fails(1, "template parsing error: template: :1: unclosed action");
}

#[test]
fn privileged_objects_have_dockers_keys() {
    let Some(store) = Store::with_base() else { return };
    store.mica(&["create", "--name", "cc", "base"]).ok();
    let container = store.mica(&["container", "inspect", "-s", "cc"]).ok();
    for key in [
        "Id",
        "State",
        "Config",
        "HostConfig",
        "Mounts",
        "GraphDriver",
        "NetworkSettings",
        "SizeRw",
        "SizeRootFs",
        "LogConfig",
    ] {
        assert!(container.contains(&format!("\"{key}\":")), "{key} in {container}");
    }
    let image = store.mica(&["image", "inspect", "base"]).ok();
    for key in [
        "Id",
        "RepoTags",
        "RepoDigests",
        "Config",
        "RootFS",
        "Layers",
        "Architecture",
        "Os",
        "Size",
        "GraphDriver",
        "Metadata",
    ] {
        assert!(image.contains(&format!("\"{key}\":")), "{key} in {image}");
    }
    assert_eq!(
        store.mica(&["inspect", "-f", "{{index .RepoTags 0}} {{.Config.Labels.made}}", "base"]).ok(),
        "base:latest here"
    );
}

#[test]
fn privileged_what_is_missing_is_told_after_what_is_there() {
    let Some(store) = Store::with_base() else { return };
    store.mica(&["create", "--name", "cc", "base"]).ok();
    let done = store.mica(&["inspect", "-f", "{{.Name}}", "nothere", "cc"]);
    assert_eq!((done.code, done.stdout.as_str()), (1, "/cc\n"));
    assert!(done.stderr.contains("No such object: nothere"), "{}", done.stderr);
    let done = store.mica(&["inspect", "nothere"]);
    assert_eq!((done.code, done.stdout.as_str()), (1, "[]\n"));
    store.mica(&["inspect", "--type", "image", "cc"]).fails(1, "No such image: cc");
    store.mica(&["inspect", "--type", "container", "base"]).fails(1, "No such container: base");
}
