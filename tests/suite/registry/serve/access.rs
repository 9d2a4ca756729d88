//! Who may do what: users, tokens, everybody; and where it listens.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Own, Reply};
use crate::support::{Certificates, Home, Need, PASSWORD, USER, finish, needs};

/// bcrypt of cost 5 of [`PASSWORD`].
const USERS: &str = "tester:$2y$05$mbnG.cpc7cOEReZJ5BHl6e43QwFaoIDkyZC78YGNFtmc9JDczQOZO\n";

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

fn users(home: &Home) -> String {
    home.file("users", USERS).display().to_string()
}

fn as_who(own: &Own, who: &str, method: &str, path: &str) -> Reply {
    own.send(method, path, &[("Authorization", who)], b"")
}

#[test]
fn users_send_their_password() {
    let home = Home::new();
    let own = Own::start(&home, &["--htpasswd", &users(&home)]);
    let right = basic(USER, PASSWORD);
    for path in ["/v2/", "/v2/_catalog", "/v2/a/tags/list"] {
        let reply = own.ask("GET", path);
        reply.refuses(401, "UNAUTHORIZED");
        assert!(reply.header("www-authenticate").starts_with("Basic realm="));
    }
    as_who(&own, &right, "GET", "/v2/").has(200);
    as_who(&own, &right, "POST", "/v2/a/blobs/uploads/").has(202);
    for wrong in [
        basic(USER, "x"),
        basic("x", PASSWORD),
        basic("", ""),
        right.replace("Basic", "Bearer"),
        "Basic".to_owned(),
        "Basic !".to_owned(),
    ] {
        as_who(&own, &wrong, "GET", "/v2/").has(401);
    }
    assert!(!own.log().contains(PASSWORD) && !own.log().contains(&right[6..]));
}

#[test]
fn everybody_may_pull_where_that_is_said() {
    let home = Home::new();
    let path = users(&home);
    {
        let own = Own::start(&home, &[]);
        own.push_image("a", "1", "one");
    }
    let own = Own::start(&home, &["--htpasswd", &path, "--anonymous-pull"]);
    own.ask("GET", "/v2/a/manifests/1").has(200);
    own.ask("GET", "/v2/a/tags/list").has(200);
    own.ask("POST", "/v2/a/blobs/uploads/").has(401);
    own.ask("DELETE", "/v2/a/manifests/1").has(401);
    // So that clients that have a password send it.
    own.ask("GET", "/v2/").has(401);
    as_who(&own, &basic(USER, "x"), "GET", "/v2/a/manifests/1").has(401);
}

#[test]
fn tokens_are_given_for_passwords() {
    let home = Home::new();
    let own = Own::start(
        &home,
        &["--htpasswd", &users(&home), "--token", "--anonymous-pull"],
    );
    let reply = own.ask("POST", "/v2/a/blobs/uploads/");
    reply.refuses(401, "UNAUTHORIZED");
    let challenge = reply.header("www-authenticate");
    let realm = format!("Bearer realm=\"http://{}/token\"", own.host);
    assert!(challenge.starts_with(&realm), "{challenge}");
    assert!(
        challenge.ends_with("scope=\"repository:a:pull,push\""),
        "{challenge}"
    );
    let token = |who: Option<&str>, scope: &str| {
        let path = format!("/token?service=rbuild-registry&scope={scope}");
        let headers: Vec<_> = who.map(|who| ("Authorization", who)).into_iter().collect();
        own.send("GET", &path, &headers, b"")
    };
    let bearer = |reply: &Reply| {
        let document = reply.has(200).json();
        assert_eq!(document["expires_in"], 300);
        format!("Bearer {}", document["token"].as_str().unwrap())
    };
    let right = basic(USER, PASSWORD);
    token(Some(&basic(USER, "x")), "repository:a:pull").has(401);
    let both = bearer(&token(Some(&right), "repository:a:pull,push"));
    as_who(&own, &both, "POST", "/v2/a/blobs/uploads/").has(202);
    as_who(&own, &both, "GET", "/v2/").has(200);
    // Only what was asked for.
    let refused = as_who(&own, &both, "POST", "/v2/b/blobs/uploads/");
    refused.has(401);
    assert!(
        refused
            .header("www-authenticate")
            .contains("insufficient_scope")
    );
    as_who(&own, &both, "DELETE", "/v2/a/manifests/1").has(401);
    let delete = bearer(&token(Some(&right), "repository:a:delete"));
    as_who(&own, &delete, "DELETE", "/v2/a/manifests/1").has(404);
    let catalog = bearer(&token(Some(&right), "registry:catalog:*"));
    as_who(&own, &catalog, "GET", "/v2/_catalog").has(200);
    // Those without a password get no more than pulling.
    let anyone = bearer(&token(None, "repository:a:pull,push"));
    as_who(&own, &anyone, "GET", "/v2/a/tags/list").has(404);
    as_who(&own, &anyone, "POST", "/v2/a/blobs/uploads/").has(401);
    // Forged and foreign ones are none.
    for wrong in ["Bearer x", "Bearer e30.e30", &format!("{both}x"), &right] {
        as_who(&own, wrong, "GET", "/v2/").has(401);
    }
    // The form of OAuth2.
    let form =
        format!("grant_type=password&username={USER}&password={PASSWORD}&scope=repository:a:pull");
    bearer(&own.send("POST", "/token", &[], form.as_bytes()));
    own.send(
        "POST",
        "/token",
        &[],
        form.replace(PASSWORD, "x").as_bytes(),
    )
    .has(401);
    own.send("POST", "/token", &[], b"grant_type=refresh_token")
        .has(400);
}

#[test]
fn our_own_client_logs_in_both_ways() {
    let home = Home::new();
    let path = users(&home);
    for more in [&["--quiet"][..], &["--token"]] {
        let own = Own::start(&home, &[&["--htpasswd", &path], more].concat());
        let config = home.scratch().join("client").display().to_string();
        let run = |config: &str, arguments: &[&str], input: &str| {
            let mut command = home.command(arguments);
            command.env("DOCKER_CONFIG", config);
            finish(command, input.as_bytes())
        };
        let login = |password: &str| {
            let arguments = ["login", "-u", USER, "--password-stdin", &own.host];
            run(&config, &arguments, password)
        };
        login("wrong").fails(1, "unauthorized");
        assert_eq!(login(PASSWORD).ok(), "Login Succeeded");
        let repositories = ["registry", "repos", &own.host];
        run(&config, &repositories, "").ok();
        run("/nowhere", &repositories, "").fails(1, "unauthorized");
    }
}

#[test]
fn a_read_only_registry_takes_nothing() {
    let home = Home::new();
    let place = {
        let own = Own::start(&home, &[]);
        own.push_image("a", "1", "one");
        own.begin("a")
    };
    let own = Own::start(&home, &["--read-only"]);
    own.ask("GET", "/v2/a/manifests/1").has(200);
    own.ask("POST", "/v2/a/blobs/uploads/")
        .refuses(405, "UNSUPPORTED");
    own.send("PUT", "/v2/a/manifests/2", &[], b"{}")
        .refuses(405, "UNSUPPORTED");
    own.ask("DELETE", "/v2/a/manifests/1")
        .refuses(405, "UNSUPPORTED");
    own.ask("PATCH", &place).refuses(405, "UNSUPPORTED");
}

#[test]
fn it_is_not_offered_to_other_machines_by_accident() {
    let home = Home::new();
    let path = users(&home);
    let serve = |more: &[&str]| {
        let base = ["registry", "serve", "--port", "0", "--listen", "0.0.0.0"];
        home.run(&[&base, more].concat())
    };
    serve(&[]).fails(1, "name users with --htpasswd");
    serve(&["--htpasswd", &path]).fails(1, "without TLS");
    serve(&["--token"]).fails(1, "--htpasswd");
    serve(&["--htpasswd", "/nowhere"]).fails(1, "");
    let weak = home.file("weak", "me:{SHA}x\n").display().to_string();
    home.run(&["registry", "serve", "--port", "0", "--htpasswd", &weak])
        .fails(1, "line 1: only bcrypt");
    home.run(&[
        "registry",
        "serve",
        "--upstream",
        "not a host",
        "--port",
        "0",
    ])
    .fails(1, "is not the host of a registry");
    let own = Own::start(&home, &["--insecure", "--listen", "0.0.0.0"]);
    let port = own.host.rsplit(':').next().unwrap();
    // Said, not asked: the address is every one of this machine.
    assert!(port.parse::<u16>().is_ok());
    let taken = Own::start(&home, &[]);
    let port = taken.host.rsplit(':').next().unwrap();
    home.run(&["registry", "serve", "--port", port])
        .fails(1, "cannot listen on 127.0.0.1");
}

#[test]
fn with_a_certificate_it_speaks_tls() {
    if !needs(&[Need::Root, Need::Busybox, Need::DockerRegistry]) {
        return;
    }
    let home = Home::with_busybox();
    let certificates = Certificates::new(&home.scratch().join("certificates"));
    let (certificate, key) = certificates.server();
    let text = |path: &std::path::Path| path.display().to_string();
    let (certificate, key) = (text(&certificate), text(&key));
    let tls = ["--tls-cert", &certificate, "--tls-key", &key];
    let own = Own::start(&home, &[&tls[..], &["--htpasswd", &users(&home)]].concat());
    let settings = home.file(
        "registries.toml",
        format!(
            "[registry.\"{}\"]\nca = {:?}\n",
            own.host,
            certificates.ca()
        ),
    );
    let run = |arguments: &[&str], input: &str| {
        let mut command = home.command(arguments);
        command.env("DOCKER_CONFIG", home.scratch().join("client"));
        command.env("RBUILD_REGISTRIES", &settings);
        finish(command, input.as_bytes())
    };
    let name = format!("{}/lib/bb:1", own.host);
    home.run(&["tag", "busybox", &name]).ok();
    let login = ["login", "-u", USER, "--password-stdin", &own.host];
    run(&login, PASSWORD).ok();
    run(&["push", &name], "").ok();
    home.run(&["rmi", &name]).ok();
    run(&["pull", &name], "").ok();
    // Whoever does not know the authority, or speaks no TLS, gets nothing.
    home.run(&["pull", &name]).fails(1, "certificate");
    let mut socket = own.connect();
    std::io::Write::write_all(&mut socket, b"GET /v2/ HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _reset = std::io::Read::read_to_end(&mut socket, &mut answer);
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    home.run(&[
        "registry",
        "serve",
        "--port",
        "0",
        "--tls-cert",
        &key,
        "--tls-key",
        &key,
    ])
    .fails(1, "has no certificate");
    home.run(&[
        "registry",
        "serve",
        "--port",
        "0",
        "--tls-cert",
        &certificate,
        "--tls-key",
        &certificate,
    ])
    .fails(1, "has no private key");
}
