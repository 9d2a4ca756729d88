//! `--link`: what a container knows of another one, while networks and addresses change.

use super::base::{exec, home, of};
use crate::support::Home;

fn address(home: &Home, name: &str) -> String {
    let address = of(home, name, "/NetworkSettings/IPAddress");
    address.as_str().unwrap().to_owned()
}

/// The address that `/etc/hosts` of `web` has for a name.
fn known(home: &Home, name: &str) -> String {
    let hosts = exec(home, "web", "cat /etc/hosts");
    let line = hosts.lines().find(|line| {
        let mut words = line.split_whitespace().skip(1);
        words.any(|word| word == name)
    });
    let address = line.and_then(|line| line.split_whitespace().next());
    address.unwrap_or_default().to_owned()
}

#[test]
fn a_linked_container_stays_known() {
    let Some(home) = home() else { return };
    let up = |name: &str, flags: &[&str]| {
        let words = [&["run", "-d", "--name", name], flags, &["busybox"]].concat();
        home.run(&[&words[..], &["sleep", "600"]].concat()).ok();
    };
    up("db", &["-h", "store"]);
    up("web", &["--link", "db:data"]);
    let first = address(&home, "db");
    for name in ["data", "store"] {
        assert_eq!(known(&home, name), first, "{name}");
    }
    assert_eq!(exec(&home, "web", "echo $DATA_NAME"), "/web/data");
    // Other networks come and go.
    home.run(&["network", "create", "back"]).ok();
    home.run(&["network", "connect", "back", "web"]).ok();
    assert_eq!(known(&home, "data"), first);
    home.run(&["network", "disconnect", "back", "web"]).ok();
    assert_eq!(known(&home, "data"), first);
    // The other one starts again, elsewhere.
    home.run(&["restart", "-t", "0", "db"]).ok();
    let second = address(&home, "db");
    assert_ne!(first, second);
    assert_eq!(known(&home, "data"), second);
    home.run(&["network", "connect", "back", "web"]).ok();
    assert_eq!(known(&home, "data"), second);
    exec(&home, "web", "ping -c1 -w5 data");
    // Both start again.
    home.run(&["restart", "-t", "0", "db", "web"]).ok();
    assert_eq!(known(&home, "data"), address(&home, "db"));
    home.run(&["rm", "-f", "web", "db"]).ok();
}
