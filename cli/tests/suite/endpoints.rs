//! Where registries are: certificates, mirrors, what is blocked, plain HTTP, redirects, proxies, search.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use crate::servers::{Authority, Kind, PASSWORD, Person, Server, USER, free_port, own_address, store};

const LOCAL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

#[test]
fn privileged_certificates_come_from_certs_d() {
    let Some(store) = store() else { return };
    let Some(host) = own_address() else { return };
    let authority = Authority::new(&format!("IP:{host}"));
    // Another tool cannot give it anything without the certificate that this server wants to see.
    let server = Server::registry(&Kind { host: Some(host), tls: Some(&authority), ..Kind::default() });
    let person = Person::new(&store);
    let name = format!("{}/app", server.address);
    let unknown = person.mica(&["image", "tags", &name]);
    assert!(unknown.stderr.contains("certificate") && unknown.stderr.contains("certs.d"), "{unknown:#?}");

    let folder = format!(".config/containers/certs.d/{}", server.address);
    let read = |name: &str| fs_err::read_to_string(authority.path(name)).expect("a file");
    person.writes(&format!("{folder}/ca.crt"), &read("ca.crt"));
    person.mica(&["image", "tags", &name]).fails(1, "NAME.key");
    person.writes(&format!("{folder}/client.cert"), &read("client.crt"));
    person.mica(&["image", "tags", &name]).fails(1, "has no `");
    person.writes(&format!("{folder}/client.key"), &read("client.key"));
    person.mica(&["image", "tags", &name]).fails(1, "answered 404");
    // The folder of Mica's own configuration does as well.
    fs_err::rename(person.home(".config/containers/certs.d"), person.home("own")).expect("moved");
    let config = format!("[registries]\nca_dirs = [\"{}\"]\n", person.home("own").display());
    let config = person.writes("mica.toml", &config);
    person.with("MICA_CONFIG", &config.display().to_string()).mica(&["image", "tags", &name]).fails(1, "answered 404");
}

#[test]
fn privileged_mirrors_come_first_and_the_registry_itself_last() {
    let Some(store) = store() else { return };
    let (origin, mirror) = (Server::registry(&Kind::default()), Server::registry(&Kind::default()));
    origin.give(&store, "team/app:origin");
    mirror.give(&store, "copies/team/app:mirror");
    mirror.give(&store, "copies/team/app:both");
    let person = Person::new(&store);
    let conf = format!(
        "[[registry]]\nlocation = \"{0}\"\n[[registry.mirror]]\nlocation = \"{1}/copies\"\n\
         [[registry]]\nprefix = \"{0}/bad\"\nblocked = true\n\
         [[registry]]\nprefix = \"moved.example/x\"\nlocation = \"{0}/team\"\n",
        origin.address, mirror.address
    );
    let conf = person.writes("registries.conf", &conf).display().to_string();
    let person = person.with("CONTAINERS_REGISTRIES_CONF", &conf);
    let name = |tag: &str| format!("{}/team/app:{tag}", origin.address);
    person.mica(&["pull", &name("mirror")]).ok();
    person.mica(&["pull", &name("origin")]).ok();
    assert_eq!(person.mica(&["run", "--rm", "--pull", "never", &name("mirror"), "echo", "it runs"]).ok(), "it runs");
    let blocked = person.mica(&["pull", &format!("{}/bad/app", origin.address)]);
    assert!(blocked.code == 1 && blocked.stderr.contains(&format!("is blocked by `{conf}`")), "{blocked:#?}");

    assert_eq!(person.mica(&["image", "tags", "moved.example/x/app"]).ok(), "origin");

    let tags = |person: &Person<'_>| person.mica(&["image", "tags", &format!("{}/team/app", origin.address)]).ok();
    assert_eq!(tags(&person), "both\nmirror");
    drop(mirror);
    assert_eq!(tags(&person), "origin");
    person.mica(&["rmi", &name("origin"), &name("mirror")]).ok();
    person.mica(&["pull", &name("origin")]).ok();

    let config = format!(
        "[registries]\nblocked = [\"{0}/team/evil\"]\n[registries.mirrors]\n\"{0}/other\" = [\"http://{0}/team\"]\n",
        origin.address
    );
    let config = person.writes("mica.toml", &config).display().to_string();
    let own = person.with("MICA_CONFIG", &config).with("CONTAINERS_REGISTRIES_CONF", "/dev/null");
    assert_eq!(own.mica(&["image", "tags", &format!("{}/other/app", origin.address)]).ok(), "origin");
    own.mica(&["pull", &format!("{}/team/evil", origin.address)]).fails(1, "is blocked by `registries.blocked`");
}

#[test]
fn privileged_clear_text_is_for_this_machine_and_for_what_is_listed() {
    let Some(store) = store() else { return };
    let Some(host) = own_address() else { return };
    let server = Server::registry(&Kind { host: Some(host), ..Kind::default() });
    server.give(&store, "app:v1");
    let person = Person::new(&store);
    let name = format!("{}/app", server.address);
    let refused = person.mica(&["image", "tags", &name]);
    assert!(refused.code == 1 && refused.stderr.contains("registries.insecure"), "{refused:#?}");
    let config = person.writes("mica.toml", &format!("[registries]\ninsecure = [\"{}\"]\n", server.address));
    let listed = person.with("MICA_CONFIG", &config.display().to_string());
    assert_eq!(listed.mica(&["image", "tags", &name]).ok(), "v1");
    listed.mica(&["pull", &format!("{name}:v1")]).ok();
    let conf = person.writes("r.conf", &format!("[[registry]]\nlocation = \"{}\"\ninsecure = true\n", server.address));
    let listed = person.with("CONTAINERS_REGISTRIES_CONF", &conf.display().to_string());
    assert_eq!(listed.mica(&["image", "tags", &name]).ok(), "v1");
}

#[test]
fn privileged_credentials_do_not_follow_a_redirect() {
    let Some(store) = store() else { return };
    let registry = Server::registry(&Kind { users: true, ..Kind::default() });
    registry.give(&store, "app:v1");
    let (front, elsewhere) = (free_port(LOCAL), free_port(LOCAL));
    let auth = "c29tZW9uZTpjb3JyZWN0IGhvcnNlOmJhdHRlcnk=";
    let nginx = Server::nginx(
        &format!("127.0.0.1:{front}"),
        &format!(
            "log_format seen '$http_authorization|$request';\n\
             server {{ listen 127.0.0.1:{front}; access_log @FOLDER@/front seen;\n\
               location ~ /blobs/ {{ return 307 http://127.0.0.1:{elsewhere}$request_uri; }}\n\
               location / {{ proxy_pass http://{0}; proxy_set_header Host $http_host; }} }}\n\
             server {{ listen 127.0.0.1:{elsewhere}; access_log @FOLDER@/elsewhere seen;\n\
               location / {{ proxy_pass http://{0}; proxy_set_header Authorization 'Basic {auth}'; }} }}",
            registry.address
        ),
    );
    let person = Person::new(&store);
    person.mica(&["login", "-u", USER, "-p", PASSWORD, &nginx.address]).ok();
    person.mica(&["rmi", "-f", "base"]).ok();
    person.mica(&["pull", &format!("{}/app:v1", nginx.address)]).ok();
    let (front, elsewhere) = (nginx.file("front"), nginx.file("elsewhere"));
    assert!(front.lines().any(|line| line.starts_with(&format!("Basic {auth}|GET /v2/app/blobs/"))), "{front}");
    assert!(
        elsewhere.lines().count() >= 2 && elsewhere.lines().all(|line| line.starts_with("-|GET /v2/app/blobs/")),
        "{elsewhere}"
    );
}

#[test]
fn privileged_proxies_of_the_environment_are_used() {
    let Some(store) = store() else { return };
    let authority = Authority::new("DNS:registry.proxied.example");
    let server = Server::registry(&Kind::default());
    server.give(&store, "app:v1");
    let tls = free_port(LOCAL);
    let nginx = Server::nginx(
        &format!("127.0.0.1:{tls}"),
        &format!(
            "server {{ listen 127.0.0.1:{tls} ssl; ssl_certificate {}; ssl_certificate_key {}; location / {{ proxy_pass http://{}; }} }}",
            authority.path("server.crt").display(),
            authority.path("server.key").display(),
            server.address
        ),
    );
    let (proxy, asked) = proxy(nginx.address.clone());
    let person = Person::new(&store);
    let authority = fs_err::read_to_string(authority.path("ca.crt")).expect("a file");
    person.writes(".config/containers/certs.d/registry.proxied.example/ca.crt", &authority);
    let tags = ["image", "tags", "registry.proxied.example/app"];
    person.mica(&tags).fails(1, "cannot reach registry `registry.proxied.example`");
    let proxied = person.with("HTTPS_PROXY", &proxy);
    assert_eq!(proxied.mica(&tags).ok(), "v1");
    assert_eq!(asked.lock().expect("a list").as_slice(), ["CONNECT registry.proxied.example:443 HTTP/1.1"]);
    proxied.with("NO_PROXY", ".proxied.example").mica(&tags).fails(1, "cannot reach registry");
    // This machine is never asked through a proxy.
    assert_eq!(
        proxied.with("HTTP_PROXY", &proxy).mica(&["image", "tags", &format!("{}/app", server.address)]).ok(),
        "v1"
    );
    assert_eq!(asked.lock().expect("a list").len(), 1);
}

#[test]
fn privileged_clear_text_goes_through_its_own_proxy() {
    let Some(store) = store() else { return };
    let server = Server::registry(&Kind::default());
    server.give(&store, "app:v1");
    let port = free_port(LOCAL);
    let proxy = Server::nginx(
        &format!("127.0.0.1:{port}"),
        &format!(
            "log_format seen '$request';\nserver {{ listen 127.0.0.1:{port}; access_log @FOLDER@/seen seen; location / {{ proxy_pass http://{}; }} }}",
            server.address
        ),
    );
    let person = Person::new(&store);
    let config = person.writes("mica.toml", "[registries]\ninsecure = [\"*.plain.example\"]\n");
    let person = person.with("MICA_CONFIG", &config.display().to_string());
    let tags = ["image", "tags", "registry.plain.example:8080/app"];
    person.mica(&tags).fails(1, "cannot reach registry");
    assert_eq!(person.with("HTTP_PROXY", &format!("http://{}", proxy.address)).mica(&tags).ok(), "v1");
    let seen = proxy.file("seen");
    assert!(seen.starts_with("GET http://registry.plain.example:8080/v2/"), "{seen}");
}

/// A proxy that leads every tunnel to one server, and what it was asked.
fn proxy(to: String) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    let asked = Arc::new(Mutex::new(Vec::new()));
    let list = Arc::clone(&asked);
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let mut reader = BufReader::new(client.try_clone().expect("a copy"));
            let mut lines = Vec::new();
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap_or(0) <= 2 {
                    break;
                }
                lines.push(line.trim_end().to_owned());
            }
            list.lock().expect("a list").extend(lines.first().cloned());
            let server = TcpStream::connect(&to).expect("the server");
            (&client).write_all(b"HTTP/1.1 200 OK\r\n\r\n").expect("written");
            for (mut from, mut to) in [(client.try_clone(), server.try_clone()), (Ok(server), Ok(client))]
                .map(|(from, to)| (from.expect("a copy"), to.expect("a copy")))
            {
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(std::net::Shutdown::Write);
                });
            }
        }
    });
    (address, asked)
}

#[test]
fn privileged_search_asks_registries_that_can() {
    let Some(store) = store() else { return };
    let registry = Server::registry(&Kind::default());
    let port = free_port(LOCAL);
    let answer = r#"{"results":[{"name":"team/app","description":"An application\nwith a description that is longer than a line of a table","star_count":7,"is_official":true},{"name":"other/app","star_count":1}]}"#;
    let file = store.path("answer.json");
    fs_err::write(&file, answer).expect("written");
    let nginx = Server::nginx(
        &format!("127.0.0.1:{port}"),
        &format!(
            "log_format seen '$request_uri';\nserver {{ listen 127.0.0.1:{port}; access_log @FOLDER@/seen seen; default_type application/json; location = /v1/search {{ alias {}; }} }}",
            file.display()
        ),
    );
    let person = Person::new(&store);
    let term = format!("{}/app", nginx.address);
    let table = person.mica(&["search", "--limit", "9", &term]).ok();
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("NAME ") && lines[0].ends_with("OFFICIAL"), "{table}");
    assert!(lines[1].starts_with(&format!("{}/team/app ", nginx.address)) && lines[1].ends_with("[OK]"), "{table}");
    assert!(lines[1].contains("An application with a description that is lo…   7"), "{table}");
    assert!(nginx.file("seen").ends_with("/v1/search?q=app&n=9\n"), "{}", nginx.file("seen"));
    let names = |more: &[&str]| person.mica(&[&["search", "--format", "{{.Name}}"], more, &[&term]].concat()).ok();
    assert_eq!(names(&["-f", "stars=3"]), format!("{}/team/app", nginx.address));
    assert_eq!(names(&["-f", "is-official=false"]), format!("{}/other/app", nginx.address));
    let json = person.mica(&["search", "--no-trunc", "-f", "stars=3", "--format", "json", &term]).ok();
    assert!(json.contains("longer than a line of a table") && json.contains("\"IsOfficial\":\"true\""), "{json}");

    person.mica(&["search", &format!("{}/app", registry.address)]).fails(1, "cannot search");
    person.mica(&["search", "-f", "colour=red", &term]).fails(1, "invalid filter 'colour'");
    let config = format!("[registries]\nsearch = [\"{}\", \"{}\"]\n", registry.address, nginx.address);
    let config = person.writes("mica.toml", &config);
    let both = person.with("MICA_CONFIG", &config.display().to_string()).mica(&["search", "app"]);
    assert!(both.code == 0 && both.stdout.lines().count() == 3 && both.stderr.contains("cannot search"), "{both:#?}");
}
