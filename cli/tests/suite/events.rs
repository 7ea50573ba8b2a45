//! Events: what every process tells, read back by another one.

use std::process::{Child, Stdio};

use crate::support::{Store, signal, until};

/// Types and actions since the beginning, in their order.
fn told(store: &Store, filters: &[&str]) -> Vec<String> {
    let mut line = vec!["events", "--since", "0", "--until", "0s", "--format", "{{.Type}} {{.Action}}"];
    for filter in filters {
        line.extend(["--filter", filter]);
    }
    store.mica(&line).ok().lines().map(str::to_owned).collect()
}

#[test]
fn privileged_a_life_is_told_from_its_beginning_to_its_end() {
    let Some(store) = Store::with_base() else { return };
    store.background(&["--name", "cc", "--label", "a=b", "base", "sleep", "600"]);
    store.mica(&["exec", "cc", "sh", "-c", "exit 3"]);
    store.mica(&["pause", "cc"]).ok();
    store.mica(&["unpause", "cc"]).ok();
    store.mica(&["rename", "cc", "dd"]).ok();
    store.mica(&["restart", "-t", "0", "dd"]).ok();
    store.mica(&["stop", "-t", "0", "dd"]).ok();
    store.mica(&["rm", "dd"]).ok();
    store.mica(&["tag", "base", "other"]).ok();
    store.mica(&["rmi", "other"]).ok();
    let wanted = [
        "image import",
        "container create",
        "network connect",
        "container start",
        "container exec_create: sh -c exit 3",
        "container exec_start: sh -c exit 3",
        "container exec_die",
        "container pause",
        "container unpause",
        "container rename",
        "container kill",
        "container kill",
        "container die",
        "network disconnect",
        "container stop",
        "network connect",
        "container start",
        "container restart",
        "container kill",
        "container kill",
        "container die",
        "network disconnect",
        "container stop",
        "container destroy",
        "image tag",
        "image untag",
    ];
    assert_eq!(told(&store, &[]), wanted);
    store.mica(&["volume", "create", "--label", "a=b", "data"]).ok();
    store.mica(&["volume", "create", "data"]).ok();
    store.mica(&["volume", "rm", "data"]).ok();
    store.mica(&["network", "create", "front"]).ok();
    store.mica(&["create", "--name", "ee", "--network", "none", "base"]).ok();
    store.mica(&["network", "connect", "front", "ee"]).ok();
    store.mica(&["network", "disconnect", "front", "ee"]).ok();
    store.mica(&["network", "rm", "front"]).ok();
    assert_eq!(told(&store, &["type=volume"]), ["volume create", "volume destroy"]);
    let networks = ["network create", "network connect", "network disconnect", "network destroy"];
    assert_eq!(told(&store, &["type=network", "network=front"]), networks);
    let lives = ["container start", "container die", "container start", "container die"];
    assert_eq!(told(&store, &["event=die", "event=start"]), lives);
    assert_eq!(told(&store, &["type=image", "event=tag"]), ["image tag"]);
    assert_eq!(told(&store, &["container=dd", "event=destroy"]), ["container destroy"]);
    assert_eq!(told(&store, &["label=a=c"]), [""; 0]);
    let line = ["events", "--since", "0", "--until", "0s", "--filter", "event=die"];
    let die = store.mica(&line).ok();
    assert!(die.contains(" container die ") && die.contains("(a=b, execDuration="), "{die}");
    assert!(die.contains("exitCode=137, image=base, "), "{die}");
    let json = store.mica(&[&line[..], &["--format", "json"]].concat()).ok();
    let json: serde_json::Value = serde_json::from_str(json.lines().next().unwrap_or_default()).expect("JSON");
    assert_eq!((json["status"].as_str(), json["Actor"]["Attributes"]["a"].as_str()), (Some("die"), Some("b")));
    store.mica(&["events", "--until", "0s", "--filter", "colour=red"]).fails(1, "invalid filter 'colour'");
}

#[test]
fn privileged_volumes_and_networks_are_told_with_whoever_uses_them() {
    let Some(store) = Store::with_base() else { return };
    let id = store.mica(&["create", "--name", "cc", "-v", "data:/d:ro", "-v", "/tmp:/t", "base", "true"]).ok();
    store.mica(&["start", "-a", "cc"]).ok();
    store.mica(&["export", "-o", &store.path("out.tar").display().to_string(), "cc"]).ok();
    fs_err::write(store.path("file"), "x").expect("written");
    let file = store.path("file").display().to_string();
    store.mica(&["cp", &file, "cc:/file"]).ok();
    store.mica(&["cp", "cc:/file", &file]).ok();
    store.mica(&["container", "prune", "-f"]).ok();
    store.mica(&["volume", "prune", "-af"]).ok();
    let wanted = [
        "volume create",
        "container create",
        "container attach",
        "network connect",
        "volume mount",
        "container start",
        "container die",
        "network disconnect",
        "volume unmount",
        "container export",
        "container extract-to-dir",
        "container archive-path",
        "container destroy",
        "container prune",
        "volume destroy",
        "volume prune",
    ];
    let of_others = |line: &String| !line.starts_with("image ");
    assert_eq!(told(&store, &[]).into_iter().filter(of_others).collect::<Vec<_>>(), wanted);
    let attributes = |filter: &str| {
        let format = "{{.Actor.ID}} {{json .Actor.Attributes}}";
        let line = ["events", "--since", "0", "--until", "0s", "--format", format, "--filter", filter];
        store.mica(&line).ok()
    };
    let mount = format!(
        r#"data {{"container":"{id}","destination":"/d","driver":"local","propagation":"","read/write":"false"}}"#
    );
    assert_eq!(attributes("event=mount"), mount);
    assert_eq!(attributes("event=unmount"), format!(r#"data {{"container":"{id}","driver":"local"}}"#));
    let none = attributes("event=connect");
    assert!(none.ends_with(&format!(r#"{{"container":"{id}","name":"none","type":"null"}}"#)), "{none}");
    assert_eq!(attributes("event=prune").lines().count(), 2);
    assert!(attributes("event=prune").contains(r#""reclaimed":""#));
}

#[test]
fn privileged_the_end_of_a_container_whose_monitor_was_killed_is_told() {
    let Some(store) = Store::with_base() else { return };
    let id = store.background(&["--name", "cc", "-v", "data:/d", "base", "sleep", "600"]);
    let state = fs_err::read_to_string(store.path("run").join("containers").join(&id).join("state.json"));
    let state: serde_json::Value = serde_json::from_str(&state.expect("a state")).expect("JSON");
    let monitor = state["monitor_pid"].as_i64().and_then(|pid| rustix::process::Pid::from_raw(pid as i32));
    rustix::process::kill_process(monitor.expect("a monitor"), rustix::process::Signal::KILL).expect("killed");
    until("its end", || store.mica(&["ps", "-q"]).ok().is_empty());
    let told = told(&store, &["event=die", "event=disconnect", "event=unmount"]);
    assert_eq!(told, ["container die", "network disconnect", "volume unmount"]);
}

#[test]
fn privileged_who_listens_hears_what_others_do() {
    let Some(store) = Store::with_base() else { return };
    let heard = store.path("heard");
    let file = fs_err::File::create(&heard).expect("a file").into_parts().0;
    let mut listener: Child = store
        .command(&["events", "--filter", "type=container", "--format", "{{.Action}} {{.Actor.Attributes.name}}"])
        .stdout(Stdio::from(file))
        .spawn()
        .expect("it starts");
    let lines = || fs_err::read_to_string(&heard).expect("readable").lines().map(str::to_owned).collect::<Vec<_>>();
    // It listens once it has heard of something.
    until("the listener", || {
        store.mica(&["create", "--name", "first", "base"]);
        store.mica(&["rm", "first"]);
        !lines().is_empty()
    });
    let health = ["--health-cmd", "true", "--health-interval", "20ms"];
    store.background(&[&health[..], &["--name", "cc", "--restart", "on-failure:1", "base", "sleep", "600"]].concat());
    until("the health", || lines().contains(&"health_status: healthy cc".to_owned()));
    store.mica(&["kill", "-s", "KILL", "cc"]).ok();
    until("the end", || lines().contains(&"die cc".to_owned()));
    store.mica(&["rm", "cc"]).ok();
    until("the removal", || lines().contains(&"destroy cc".to_owned()));
    let own: Vec<String> = lines().into_iter().filter(|line| line.ends_with(" cc")).collect();
    assert_eq!(own, ["create cc", "start cc", "health_status: healthy cc", "kill cc", "die cc", "destroy cc"]);
    // Not INT, which whoever is started in a script's background inherits as ignored.
    signal(&listener, rustix::process::Signal::TERM);
    listener.wait().expect("it ends");
}
