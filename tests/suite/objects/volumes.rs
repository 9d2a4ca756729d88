//! `volume ...`

use serde_json::Value;

use super::{home, sh, up};

#[test]
fn volumes_are_made_listed_inspected_and_removed() {
    let Some(home) = home() else { return };
    assert_eq!(
        home.run(&["volume", "create", "--label", "a=b", "data"])
            .ok(),
        "data"
    );
    assert_eq!(home.run(&["volume", "create", "data"]).ok(), "data");
    let unnamed = home.run(&["volume", "create"]).ok().to_owned();
    assert_eq!(unnamed.len(), 64);
    let list = home.run(&["volume", "ls"]);
    assert!(list.ok().starts_with("DRIVER    VOLUME NAME\n"), "{list:?}");
    for (filter, want) in [
        ("name=dat", "data"),
        ("label=a=b", "data"),
        ("label!=a", unnamed.as_str()),
        ("dangling=false", ""),
    ] {
        let found = home.run(&["volume", "ls", "-q", "--filter", filter]);
        assert_eq!(found.ok(), want, "{filter}");
    }
    home.run(&["volume", "ls", "--filter", "nosuch=1"])
        .fails(1, "invalid filter 'nosuch'");
    let text = home.run(&["volume", "inspect", "data"]).ok().to_owned();
    let documents: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(documents[0]["Name"], "data");
    assert_eq!(documents[0]["Labels"]["a"], "b");
    assert_eq!(documents[0]["Options"], Value::Null);
    let format = [
        "volume",
        "inspect",
        "-f",
        "{{.Driver}} {{.Scope}} {{.Labels.a}}",
        "data",
    ];
    assert_eq!(home.run(&format).ok(), "local local b");
    let any = ["inspect", "-f", "{{.Name}}", "data"];
    assert_eq!(home.run(&any).ok(), "data");
    assert_eq!(home.run(&["volume", "rm", "data"]).ok(), "data");
    home.run(&["volume", "rm", "data"])
        .fails(1, "get data: no such volume");
    home.run(&["volume", "rm", "-f", "data"]).ok();
    home.run(&["volume", "inspect", "data"])
        .fails(1, "get data: no such volume");
    home.run(&["volume", "create", "bad/name"])
        .fails(1, "includes invalid characters");
    home.run(&["volume", "create", "-d", "other", "xy"])
        .fails(1, "plugin \"other\" not found");
    home.run(&["volume", "create", "-o", "nosuch=1", "xy"])
        .fails(1, "invalid option: \"nosuch\"");
}

#[test]
fn a_volume_in_use_stays() {
    let Some(home) = home() else { return };
    let id = up(&home, "user", &["-v", "data:/d", "-v", "/own"]);
    home.run(&["volume", "rm", "data"])
        .fails(1, &format!("volume is in use - [{id}]"));
    home.run(&["volume", "prune", "-af"]).ok();
    assert_eq!(home.run(&["volume", "ls", "-q"]).ok().lines().count(), 2);
    assert_eq!(
        home.run(&["volume", "ls", "-q", "-f", "dangling=true"])
            .ok(),
        ""
    );
    let volumes = ["ps", "--format", "{{.LocalVolumes}} {{.Mounts}}"];
    assert!(home.run(&volumes).ok().starts_with("2 data,"));
    assert_eq!(home.run(&["ps", "-q", "-f", "volume=/own"]).ok(), &id[..12]);
    // Without -v the volume without a name stays, and dangles.
    home.run(&["rm", "-f", "user"]).ok();
    assert_eq!(
        home.run(&["volume", "ls", "-q", "-f", "dangling=true"])
            .ok()
            .lines()
            .count(),
        2
    );
    let pruned = home.run(&["volume", "prune", "-f"]);
    assert!(pruned.ok().contains("Deleted Volumes:"), "{pruned:?}");
    assert_eq!(home.run(&["volume", "ls", "-q"]).ok(), "data");
    home.run(&["volume", "rm", "data"]).ok();
}

#[test]
fn volumes_without_a_name_go_with_their_container_when_asked() {
    let Some(home) = home() else { return };
    sh(&home, &["-v", "/d", "-v", "kept:/k"], "touch /d/x");
    assert_eq!(home.run(&["volume", "ls", "-q"]).ok(), "kept");
    up(&home, "user", &["-v", "/d"]);
    home.run(&["rm", "-f", "-v", "user"]).ok();
    assert_eq!(home.run(&["volume", "ls", "-q"]).ok(), "kept");
}

#[test]
fn a_volume_survives_its_container_and_a_tar() {
    let Some(home) = home() else { return };
    sh(
        &home,
        &["-v", "one:/v"],
        "mkdir /v/d; echo text > /v/d/f; chown 5:6 /v/d/f; ln -s d/f /v/l",
    );
    let tar = home.run(&["volume", "export", "one"]);
    assert_eq!(tar.code, 0, "{}", tar.stderr);
    home.run(&["volume", "create", "two"]).ok();
    home.run_with(&["volume", "import", "two"], &tar.stdout)
        .ok();
    let look = sh(&home, &["-v", "two:/v"], "cat /v/l; stat -c %u:%g /v/d/f");
    assert_eq!(look, "text\n5:6");
    let path = home.scratch().join("one.tar");
    let to = path.to_str().unwrap();
    home.run(&["volume", "export", "-o", to, "one"]).ok();
    assert_eq!(std::fs::read(&path).unwrap(), tar.stdout);
    home.run_with(&["volume", "import", "two", "-"], b"nonsense")
        .fails(1, "archive is damaged");
    home.run(&["volume", "export", "none"])
        .fails(1, "no such volume");
}
