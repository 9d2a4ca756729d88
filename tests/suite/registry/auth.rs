//! Who may do what: passwords, tokens, certificates, and what the user is told.

use std::os::unix::fs::PermissionsExt as _;

use base64::Engine as _;

use super::SERVED;
use super::scene::Scene;
use crate::support::{Outcome, PASSWORD, REFRESH, RegistryServer, USER, needs};

/// An error that is exactly this, with this hint.
#[track_caller]
fn refused(outcome: &Outcome, error: &str, hint: &str) {
    assert_eq!(outcome.code, 1, "{outcome:?}");
    let expected = format!("Error: {error}\n  hint: {hint}\n");
    let shown = outcome.stderr.replace(
        "WARNING: Using --password via the CLI is insecure. Use --password-stdin.\n",
        "",
    );
    assert_eq!(shown, expected);
}

/// No secret is told, whatever happens.
#[track_caller]
fn silent(outcome: &Outcome) {
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{PASSWORD}"));
    for secret in [PASSWORD, "wrong-password", REFRESH, &basic, "eyJ"] {
        let told = outcome.stderr.contains(secret) || outcome.text().contains(secret);
        assert!(!told, "`{secret}` in {outcome:?}");
    }
}

const BEFORE: &str = "the saved credentials were refused: log in again with";

#[test]
fn passwords_are_asked_for_checked_kept_and_forgotten() {
    if !needs(&SERVED) {
        return;
    }
    let server = RegistryServer::with_password();
    let (scene, host) = (Scene::new(), server.host());
    scene.set(host, &format!("ca = {:?}", server.ca()));
    let name = format!("{host}/team/app:1");
    // More than one layer: several threads meet the registry's first answer together.
    scene.image(&name, 1, &[100_000, 200_000, 300_000, 400_000, 500_000]);
    let login = format!("log in with `rbuild login {host}`");
    let unauthorized = format!("{host}: unauthorized: authentication required");
    refused(&scene.run(&["push", "-q", &name]), &unauthorized, &login);
    refused(&scene.run(&["pull", "-q", &name]), &unauthorized, &login);

    let wrong = scene.log_in(host, USER, "wrong-password");
    let error = format!("{host}: unauthorized: incorrect username or password");
    refused(&wrong, &error, "check the user name and the password");
    silent(&wrong);
    assert!(!scene.docker_config().exists());

    let right = scene.log_in(host, USER, PASSWORD);
    assert_eq!(right.ok(), "Login Succeeded");
    silent(&right);
    let mode = std::fs::metadata(scene.docker_config())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let pushed = scene.run(&["push", &name]);
    pushed.ok();
    silent(&pushed);
    let other = Scene::new();
    other.set(host, &format!("ca = {:?}", server.ca()));
    other.log_in(host, USER, PASSWORD).ok();
    let pulled = other.run(&["pull", &name]);
    pulled.ok();
    silent(&pulled);
    assert_eq!(other.id(&name), scene.id(&name));

    // A password that was changed since.
    let text = std::fs::read_to_string(scene.docker_config()).unwrap();
    let auth = |password: &str| {
        base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{password}"))
    };
    std::fs::write(
        scene.docker_config(),
        text.replace(&auth(PASSWORD), &auth("wrong-password")),
    )
    .unwrap();
    let stale = scene.run(&["pull", "-q", &name]);
    refused(
        &stale,
        &unauthorized,
        &format!("{BEFORE} `rbuild login {host}`"),
    );
    silent(&stale);

    let logout = scene.run(&["logout", host]);
    assert_eq!(
        logout.ok(),
        format!("Removing login credentials for {host}")
    );
    // As Docker's client: what is gone need not be there.
    assert_eq!(
        scene.run(&["logout", host]).ok(),
        format!("Removing login credentials for {host}")
    );
    refused(&scene.run(&["pull", "-q", &name]), &unauthorized, &login);
}

#[test]
fn credentials_come_from_helpers_files_and_the_environment() {
    if !needs(&SERVED) {
        return;
    }
    let server = RegistryServer::with_password();
    let host = server.host();
    let auth = base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{PASSWORD}"));
    let document = format!("{{\"auths\": {{\"{host}\": {{\"auth\": \"{auth}\"}}}}}}");
    let name = format!("{host}/app:1");
    let trusting = || {
        let scene = Scene::new();
        scene.set(host, &format!("ca = {:?}", server.ca()));
        scene
    };
    let first = trusting();
    first.image(&name, 2, &[1000]);
    first.run(&["push", &name]).fails(1, "unauthorized");

    // A helper keeps the password, and the file has none.
    let bin = first.home().scratch().join("bin");
    let kept = first.home().scratch().join("kept");
    let script = format!(
        "#!/bin/sh\ncase $1 in\nstore) cat > {kept};;\nget) [ -e {kept} ] && cat {kept} || \
         {{ echo credentials not found in native keychain; exit 1; }};;\nerase) rm -f {kept};;\nesac\n",
        kept = kept.display()
    );
    let helper = first.home().file("bin/docker-credential-test", script);
    std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", bin.display());
    let first = first.with("PATH", path);
    std::fs::create_dir_all(first.docker_config().parent().unwrap()).unwrap();
    std::fs::write(first.docker_config(), "{\"credsStore\": \"test\"}").unwrap();
    let outcome = first.log_in(host, USER, PASSWORD);
    outcome.ok();
    assert!(!outcome.stderr.contains("unencrypted"), "{outcome:?}");
    let text = std::fs::read_to_string(first.docker_config()).unwrap();
    assert!(!text.contains(&auth) && kept.exists(), "{text}");
    first.run(&["push", &name]).ok();
    first.run(&["logout", host]).ok();
    assert!(!kept.exists());
    first.run(&["push", &name]).fails(1, "unauthorized");

    // Podman's variable names a file that counts alone.
    let second = trusting();
    let file = second.home().file("auth.json", &document);
    let second = second.with("REGISTRY_AUTH_FILE", file.display().to_string());
    second.run(&["pull", &name]).ok();
    // CI's has the document itself.
    let third = trusting().with("DOCKER_AUTH_CONFIG", &document);
    let pulled = third.run(&["pull", &name]);
    pulled.ok();
    silent(&pulled);
    // What is no document is told without what is in it.
    let broken = trusting().with("DOCKER_AUTH_CONFIG", document.replace("}}", ""));
    let outcome = broken.run(&["pull", &name]);
    outcome.fails(1, "DOCKER_AUTH_CONFIG");
    silent(&outcome);
    // The longest fitting name counts.
    let fourth = trusting();
    let wrong = base64::engine::general_purpose::STANDARD.encode(format!("{USER}:wrong-password"));
    std::fs::create_dir_all(fourth.docker_config().parent().unwrap()).unwrap();
    std::fs::write(fourth.docker_config(), format!(
        "{{\"auths\": {{\"{host}\": {{\"auth\": \"{wrong}\"}}, \"{host}/app\": {{\"auth\": \"{auth}\"}}}}}}"
    )).unwrap();
    fourth.run(&["pull", &name]).ok();
}

#[test]
fn tokens_are_fetched_once_refreshed_and_bounded_by_rights() {
    if !needs(&SERVED) {
        return;
    }
    let server = RegistryServer::with_tokens();
    let (scene, host, tokens) = (Scene::new(), server.host(), server.tokens());
    let public = format!("{host}/public/app:1");
    scene.image(&public, 3, &[100_000, 200_000, 300_000, 400_000, 500_000]);
    let login = format!("log in with `rbuild login {host}`");
    let unauthorized = format!("{host}: unauthorized: authentication required");
    refused(&scene.run(&["push", "-q", &public]), &unauthorized, &login);

    let wrong = scene.log_in(host, USER, "wrong-password");
    refused(
        &wrong,
        &format!("{host}: unauthorized: incorrect username or password"),
        "check the user name and the password",
    );
    silent(&wrong);
    let right = scene.log_in(host, USER, PASSWORD);
    right.ok();
    silent(&right);
    // The identity token is kept, the password is not.
    let text = std::fs::read_to_string(scene.docker_config()).unwrap();
    assert!(
        text.contains(REFRESH) && !text.contains("\"auth\""),
        "{text}"
    );
    tokens.take_grants();
    let pushed = scene.run(&["push", &public]);
    pushed.ok();
    silent(&pushed);
    let grants = tokens.take_grants();
    assert!(
        grants
            .iter()
            .all(|grant| grant.kind == "refresh_token" && grant.granted),
        "{grants:?}"
    );
    // One to look, one to send: threads that need the same token ask once.
    assert!(grants.len() <= 2, "{grants:?}");

    // Into another repository: a token for both lets the registry take the blobs over.
    let other = format!("{host}/own/app:1");
    scene.run(&["tag", &public, &other]).ok();
    let mounted = scene.run(&["push", &other]);
    assert!(
        mounted.ok().contains("Mounted from public/app"),
        "{mounted:?}"
    );
    let both = tokens
        .take_grants()
        .iter()
        .any(|grant| grant.scopes.len() == 2);
    assert!(both, "no token was for two repositories");

    // Out of date tokens are replaced, also those that are so from the beginning.
    scene.run(&["rmi", &public]).ok();
    tokens.make_stale(1);
    scene.run(&["pull", &public]).ok();
    let grants = tokens.take_grants();
    assert!(grants.len() >= 2, "{grants:?}");
    tokens.set_life(1);
    scene.run(&["rmi", &public]).ok();
    scene.run(&["pull", &public]).ok();
    tokens.set_life(300);
}

#[test]
fn tokens_without_the_right_are_told_apart_from_strangers() {
    if !needs(&SERVED) {
        return;
    }
    let server = RegistryServer::with_tokens();
    let (scene, host, tokens) = (Scene::new(), server.host(), server.tokens());
    let public = format!("{host}/public/app:1");
    scene.image(&public, 3, &[1000]);
    scene.log_in(host, USER, PASSWORD).ok();
    scene.run(&["push", &public]).ok();
    // No right to push there, none at all there.
    let hint = format!(
        "check that the repository is yours and its name is right, or log in as somebody else with `rbuild login {host}`"
    );
    for (repository, verb) in [
        ("readonly/app", "push"),
        ("forbidden/app", "push"),
        ("forbidden/app", "pull"),
    ] {
        let name = format!("{host}/{repository}:1");
        scene.run(&["tag", &public, &name]).ok();
        let outcome = scene.run(&[verb, "-q", &name]);
        assert_eq!(outcome.code, 1, "{outcome:?}");
        let denied = ": access denied: requested access to the resource is denied\n";
        assert!(
            outcome
                .stderr
                .starts_with(&format!("Error: {host}/{repository}")),
            "{outcome:?}"
        );
        assert!(outcome.stderr.contains(denied), "{outcome:?}");
        assert!(
            outcome.stderr.ends_with(&format!("hint: {hint}\n")),
            "{outcome:?}"
        );
    }

    // An identity token that was taken back.
    tokens.revoke();
    let revoked = scene.run(&["pull", "-q", &public]);
    refused(
        &revoked,
        &format!("{host}: unauthorized: incorrect username or password"),
        &format!("{BEFORE} `rbuild login {host}`"),
    );
    silent(&revoked);
    scene.run(&["logout", host]).ok();
    // Without a name, what is public can still be had.
    scene.run(&["pull", &public]).ok();
    // A server without refresh tokens: the password is kept.
    tokens.offer_refresh(false);
    scene.log_in(host, USER, PASSWORD).ok();
    scene.run(&["push", &public]).ok();
}

#[test]
fn servers_prove_who_they_are_and_clients_may_have_to() {
    if !needs(&SERVED) {
        return;
    }
    let server = RegistryServer::with_client_certificates();
    let (scene, host) = (Scene::new(), server.host());
    let name = format!("{host}/app:1");
    scene.image(&name, 4, &[1000]);
    // Nobody vouches for it.
    let unknown = scene.run(&["push", "-q", &name]);
    refused(
        &unknown,
        &format!(
            "cannot make a secure connection to `{host}`: invalid peer certificate: UnknownIssuer"
        ),
        "give the registry's root certificate as `ca` in registries.toml or in /etc/docker/certs.d/HOST/ca.crt; \
         for a registry without a certificate that you trust, set `skip-tls-verification` there",
    );
    // It is known, and wants to know us.
    let certificates = server.certificates();
    let (certificate, key) = certificates.client();
    scene.set(host, &format!("ca = {:?}", server.ca()));
    let outcome = scene.run(&["push", "-q", &name]);
    assert_eq!(outcome.code, 1, "{outcome:?}");
    scene.unset();
    scene.set(
        host,
        &format!(
            "ca = {:?}\nclient-certificate = {certificate:?}\nclient-key = {key:?}",
            server.ca()
        ),
    );
    scene.run(&["push", "-q", &name]).ok();
    // All of that by the places where Docker has it.
    scene.unset();
    let dir = scene.settings_dir().join("certs.d").join(host);
    std::fs::create_dir_all(&dir).unwrap();
    for (from, to) in [
        (server.ca(), "ca.crt"),
        (certificate, "client.cert"),
        (key, "client.key"),
    ] {
        std::fs::copy(from, dir.join(to)).unwrap();
    }
    scene.run(&["rmi", &name]).ok();
    scene.run(&["pull", "-q", &name]).ok();
    // A key that does not belong to anything.
    std::fs::write(
        dir.join("client.key"),
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    )
    .unwrap();
    scene.run(&["pull", "-q", &name]).fails(1, "client.key");
}

#[test]
fn proofs_are_not_asked_for_where_the_user_says_so() {
    if !needs(&SERVED) {
        return;
    }
    let server = RegistryServer::with_password();
    let (scene, host) = (Scene::new(), server.host());
    let name = format!("{host}/app:1");
    scene.image(&name, 5, &[1000]);
    scene.set(host, "skip-tls-verification = true");
    scene.log_in(host, USER, PASSWORD).ok();
    scene.run(&["push", "-q", &name]).ok();
    scene.unset();
    scene.run(&["push", "-q", &name]).fails(1, "UnknownIssuer");
    scene.run(&["push", "-q", "--tls-verify=false", &name]).ok();
    scene.run(&["rmi", &name]).ok();
    scene.run(&["pull", "-q", "--tls-verify=false", &name]).ok();
    scene
        .run_with(
            &[
                "login",
                "--tls-verify=false",
                "-u",
                USER,
                "--password-stdin",
                host,
            ],
            PASSWORD,
        )
        .ok();
    // Blocked is blocked.
    scene.set(host, "blocked = true");
    scene
        .run(&["pull", "-q", &name])
        .fails(1, "is blocked by registries.toml");
}
