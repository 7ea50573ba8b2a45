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
        "container stop",
        "container start",
        "container restart",
        "container kill",
        "container kill",
        "container die",
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
