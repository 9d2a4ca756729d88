//! The servers that the other tests stand on: they answer, and let in whom they should.

use crate::support::{Home, Need, PASSWORD, RegistryServer, USER, needs};

#[test]
fn each_kind_of_registry_takes_and_gives_an_image() {
    if !needs(&[Need::Root, Need::Busybox, Need::DockerRegistry]) {
        return;
    }
    let home = Home::with_busybox();
    let config = home.scratch().join("client");
    let config = config.to_str().unwrap();
    let settings = home.scratch().join("registries.toml");
    for server in [
        RegistryServer::plain(),
        RegistryServer::with_password(),
        RegistryServer::with_tokens(),
    ] {
        let host = server.host();
        if server.url("").starts_with("https") {
            let text = format!("[registry.\"{host}\"]\nca = {:?}\n", server.ca());
            std::fs::write(&settings, text).unwrap();
        }
        let run = |arguments: &[&str], input: &str| {
            let arguments = [&["--config", config], arguments].concat();
            let mut command = home.command(&arguments);
            command.env("RBUILD_REGISTRIES", &settings);
            crate::support::finish(command, input.as_bytes())
        };
        let login = ["login", "-u", USER, "--password-stdin", host];
        run(&login, PASSWORD).ok();
        let name = format!("{host}/public/bb:1");
        home.run(&["tag", "busybox", &name]).ok();
        run(&["push", &name], "").ok();
        home.run(&["rmi", &name]).ok();
        run(&["pull", &name], "").ok();
        home.run(&["rmi", &name]).ok();
    }
}
