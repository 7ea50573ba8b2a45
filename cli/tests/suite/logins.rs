//! `login` and `logout`: what is stored, where, and that it is used, against a registry with users.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use crate::servers::{Kind, PASSWORD, Person, Server, USER, free_port, script, store};
use crate::terminal::Screen;

/// The password, and what HTTP and files make of it.
fn is_shown(text: &str) -> bool {
    [PASSWORD, "c29tZW9uZTpjb3JyZWN0"].iter().any(|secret| text.contains(secret))
}

#[test]
fn privileged_a_private_image_is_pulled_after_a_login_and_not_without() {
    let Some(store) = store() else { return };
    let server = Server::registry(&Kind { users: true, ..Kind::default() });
    server.give(&store, "team/app:v1");
    let (person, registry) = (Person::new(&store), server.address.as_str());
    let name = format!("{registry}/team/app:v1");

    let refused = person.mica(&["pull", &name]);
    assert!(refused.stderr.contains(&format!("mica login {registry}")), "{refused:#?}");
    assert_eq!(refused.code, 1);
    let wrong = person.mica_with(&["login", "-u", USER, "--password-stdin", registry], "wrong\n");
    assert!(wrong.stderr.contains("401") && wrong.stderr.contains("nothing was stored"), "{wrong:#?}");
    assert_eq!((wrong.code, person.home(".docker").exists()), (1, false));

    let done = person.mica_with(&["login", "-u", USER, "--password-stdin", registry], &format!("{PASSWORD}\n"));
    assert!(done.code == 0 && done.stdout.ends_with("Login Succeeded\n"), "{done:#?}");
    assert!(done.stderr.contains("clear text") && !is_shown(&format!("{done:?}")), "{done:#?}");
    let file = person.home(".docker/config.json");
    assert_eq!(fs_err::metadata(&file).expect("a file").permissions().mode() & 0o7777, 0o600);

    let pulled = person.mica(&["--debug", "pull", &name]);
    assert!(pulled.code == 0 && !is_shown(&format!("{pulled:?}")), "{pulled:#?}");
    assert_eq!(person.mica(&["run", "--rm", &name, "echo", "private"]).ok(), "private");
    assert_eq!(person.mica(&["image", "tags", &format!("{registry}/team/app")]).ok(), "v1");
    let json = person.mica(&["image", "tags", "--format", "json", &format!("{registry}/team/app")]).ok();
    assert_eq!(json, format!("{{\"Repository\":\"{registry}/team/app\",\"Tag\":\"v1\"}}"));
    let again = person.mica(&["login", registry]);
    assert!(again.code == 0 && again.stdout.starts_with("Authenticating with existing credentials..."), "{again:#?}");
    // What is stored is what other tools read.
    person.other("skopeo", &["list-tags", "--tls-verify=false", &format!("docker://{registry}/team/app")]).ok();

    assert_eq!(person.mica(&["logout", registry]).ok(), format!("Removing login credentials for {registry}"));
    assert_eq!(person.mica(&["logout", registry]).ok(), format!("Not logged in to {registry}"));
    assert_eq!(person.mica(&["logout"]).ok(), "Not logged in to https://index.docker.io/v1/");
    person.mica(&["image", "tags", &format!("{registry}/team/app")]).fails(1, "mica login");
}

#[test]
fn privileged_podmans_logins_are_used_and_left_alone() {
    let Some(store) = store() else { return };
    let server = Server::registry(&Kind { users: true, ..Kind::default() });
    server.give(&store, "team/app:v1");
    let (person, registry) = (Person::new(&store), server.address.as_str());
    let (ours, others) = (format!("{registry}/team/app"), format!("{registry}/other/app"));
    let file = person.home("auth.json").display().to_string();
    let login = ["login", "--tls-verify=false", "--authfile", &file, "-u", USER, "-p", PASSWORD];
    person.other("skopeo", &[&login[..], &[&ours]].concat()).ok();
    person.mica(&["image", "tags", &ours]).fails(1, "401");
    let with = person.with("REGISTRY_AUTH_FILE", &file);
    assert_eq!(with.mica(&["image", "tags", &ours]).ok(), "v1");
    with.mica(&["image", "tags", &others]).fails(1, "401");

    person.other("skopeo", &[&login[..], &[registry]].concat()).ok();
    with.mica(&["image", "tags", &others]).fails(1, "404");
    let before = fs_err::read(&file).expect("a file");
    let out = with.mica(&["logout", registry]);
    assert!(out.stdout.starts_with("Not logged in to ") && out.stderr.contains("podman logout"), "{out:#?}");
    assert_eq!(fs_err::read(&file).expect("a file"), before);
    // Where Podman puts it when nothing else is said.
    fs_err::create_dir_all(store.path("runtime/containers")).expect("a folder");
    fs_err::rename(&file, store.path("runtime/containers/auth.json")).expect("moved");
    assert_eq!(person.mica(&["image", "tags", &ours]).ok(), "v1");
}

#[test]
fn privileged_helpers_keep_what_the_file_does_not() {
    let Some(store) = store() else { return };
    let server = Server::registry(&Kind { users: true, ..Kind::default() });
    server.give(&store, "app:v1");
    let folder = store.path("bin");
    fs_err::create_dir(&folder).expect("a folder");
    script(
        &folder.join("docker-credential-shell"),
        "cd \"$(dirname \"$0\")\"\ncase $1 in\nstore) cat > kept;;\nerase) rm kept;;\n\
         get) read -r server; echo \"$server\" >> asked; cat kept 2>/dev/null || { echo 'credentials not found in native keychain'; exit 1; };;\nesac",
    );
    script(&folder.join("docker-credential-locked"), "echo the keyring is locked; exit 1");
    let path = format!("{}:/usr/bin:/bin", folder.display());
    let person = Person::new(&store).with("PATH", &path);
    let registry = server.address.as_str();
    let name = format!("{registry}/app");
    let config = person.writes(".docker/config.json", "{\"credsStore\": \"shell\", \"detachKeys\": \"ctrl-x\"}");

    person.mica(&["image", "tags", &name]).fails(1, "401");
    let done = person.mica(&["login", "-u", USER, "-p", PASSWORD, registry]);
    assert!(done.code == 0 && done.stderr.contains("Using --password via the CLI is insecure"), "{done:#?}");
    assert!(!done.stderr.contains("clear text"), "{done:#?}");
    let text = fs_err::read_to_string(&config).expect("a file");
    assert!(!is_shown(&text) && text.contains("ctrl-x") && text.contains(registry), "{text}");
    let kept = folder.join("kept");
    assert!(is_shown(&fs_err::read_to_string(&kept).expect("a file")));
    assert_eq!(fs_err::metadata(&kept).expect("a file").permissions().mode() & 0o7777, 0o600);
    assert_eq!(person.mica(&["image", "tags", &name]).ok(), "v1");
    let asked = fs_err::read_to_string(folder.join("asked")).expect("a file");
    assert!(asked.lines().all(|line| line == registry), "{asked}");
    person.mica(&["logout", registry]).ok();
    assert!(!kept.exists());

    // A helper that fails is an error, although the file has what would do.
    let entry = format!("\"auths\": {{\"{registry}\": {{\"auth\": \"c29tZW9uZTpjb3JyZWN0\"}}}}");
    for (helper, words) in
        [("locked", "`docker-credential-locked` failed to get: the keyring is locked"), ("none", "not in `PATH`")]
    {
        person
            .writes(".docker/config.json", &format!("{{\"credHelpers\": {{\"{registry}\": \"{helper}\"}}, {entry}}}"));
        let done = person.mica(&["image", "tags", &name]);
        assert!(done.stderr.contains(words) && done.stderr.contains("hint: "), "{done:#?}");
    }
}

#[test]
fn privileged_passwords_are_asked_for_and_not_shown() {
    let Some(store) = store() else { return };
    let server = Server::registry(&Kind { users: true, ..Kind::default() });
    let (person, registry) = (Person::new(&store), server.address.as_str());
    let told = "Cannot perform an interactive login from a non TTY device";
    person.mica(&["login", registry]).fails(1, told);
    person.mica(&["login", "-u", USER, registry]).fails(1, told);

    let on_screen = |args: &[&str]| {
        let mica = person.command(args);
        let mut command = Command::new("env");
        command
            .args(mica.get_envs().filter_map(|(name, value)| Some(format!("{}={}", name.to_str()?, value?.to_str()?))));
        command.arg(mica.get_program()).args(mica.get_args());
        Screen::start(&command)
    };
    let mut screen = on_screen(&["login", registry]);
    screen.shows("Username: ");
    screen.types(&format!("{USER}\r"));
    screen.shows("Password: ");
    screen.types("wrong\r");
    screen.shows("nothing was stored");
    assert_eq!(screen.ends(), Some(1));
    let mut screen = on_screen(&["login", "-u", USER, registry]);
    screen.shows("Password: ");
    assert!(!screen.echoes());
    screen.types(&format!("{PASSWORD}\r"));
    screen.shows("Login Succeeded");
    assert!(!screen.showed(PASSWORD));
    assert_eq!(screen.ends(), Some(0));
    let mut screen = on_screen(&["login", "-u", USER, registry]);
    screen.shows("Password: ");
    screen.types("\x03");
    assert_eq!(screen.ends(), Some(130));
}

#[test]
fn privileged_a_broken_file_breaks_what_needs_it() {
    let Some(store) = store() else { return };
    let server = Server::registry(&Kind { users: true, ..Kind::default() });
    let (person, registry) = (Person::new(&store), server.address.as_str());
    let name = format!("{registry}/app");
    person.writes(".docker/config.json", "{\n\"auths\": {\"secret-text\" 1");
    let person = person.with(
        "CONTAINERS_REGISTRIES_CONF",
        &person.writes("r.conf", "[[registry]]\nprefix = 1\n").display().to_string(),
    );
    assert_eq!(person.mica(&["images", "--format", "{{.Repository}}"]).ok(), "base");
    assert_eq!(person.mica(&["run", "--rm", "base", "echo", "works"]).ok(), "works");
    person.mica(&["image", "tags", &name]).fails(1, "r.conf:2: ");
    let info = person.mica(&["info"]);
    assert!(info.code == 0 && info.stderr.contains("r.conf:2: "), "{info:#?}");
    person.writes("r.conf", "[[registry]]\nlocation = \"docker.io\"\nmirror = [{ location = \"m.example/hub\" }]\n");
    let mirrors = person.mica(&["info", "-f", "{{json .RegistryConfig.Mirrors}}"]).ok();
    assert_eq!(mirrors, "[\"https://m.example/hub\"]");
    let done = person.mica(&["image", "tags", &name]);
    assert!(
        done.stderr.contains("config.json`: line 2 is not JSON") && !done.stderr.contains("secret-text"),
        "{done:#?}"
    );
    let done = person.mica(&["login", "-u", USER, "-p", PASSWORD, registry]);
    assert!(done.code == 1 && done.stderr.contains("config.json`: line 2 is not JSON"), "{done:#?}");
    assert!(person.mica(&["logout", registry]).stderr.contains("config.json`: line 2 is not JSON"));
}

#[test]
fn privileged_a_token_server_hears_the_password_once() {
    let Some(store) = store() else { return };
    let port = free_port(std::net::Ipv4Addr::LOCALHOST.into());
    let nginx = Server::nginx(
        &format!("127.0.0.1:{port}"),
        &format!(
            "log_format seen '$request_method $http_authorization|$uri|$args|$request_body';\n\
             server {{ listen 127.0.0.1:{port}; access_log @FOLDER@/seen seen; default_type application/json;\n\
               location = /token {{ proxy_pass http://127.0.0.1:{port}/issued; }}\n\
               location = /issued {{ return 200 '{{\"token\":\"short\",\"refresh_token\":\"long-lived\"}}'; }}\n\
               location / {{ add_header WWW-Authenticate 'Bearer realm=\"http://127.0.0.1:{port}/token\",service=\"s\"' always;\n\
                 if ($http_authorization != 'Bearer short') {{ return 401; }}\n\
                 return 200 '{{\"tags\":[\"v1\"]}}'; }} }}"
        ),
    );
    let (person, registry) = (Person::new(&store), nginx.address.as_str());
    person.mica(&["login", "-u", USER, "-p", PASSWORD, registry]).ok();
    let text = fs_err::read_to_string(person.home(".docker/config.json")).expect("a file");
    assert!(text.contains("\"identitytoken\": \"long-lived\"") && !is_shown(&text), "{text}");
    let asked = |line: &&str| line.contains("|/token|");
    let before = nginx.file("seen");
    assert!(
        before.lines().filter(asked).all(|line| line.starts_with("GET Basic ") && line.contains("offline_token=true"))
    );
    assert_eq!(person.mica(&["image", "tags", &format!("{registry}/app")]).ok(), "v1");
    let seen = nginx.file("seen");
    let after: Vec<&str> = seen[before.len()..].lines().filter(asked).collect();
    assert!(after.len() == 1 && after[0].starts_with("POST -|"), "{seen}");
    assert!(after[0].contains("grant_type=refresh_token&refresh_token=long-lived"), "{seen}");
    assert!(after[0].contains("scope=repository%3Aapp%3Apull"), "{seen}");
    assert!(person.mica(&["login", registry]).stdout.contains("Login Succeeded"));
}
