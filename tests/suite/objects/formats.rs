//! `--format` and `--filter` where they are used.

use serde_json::Value;

use super::{home, up};

/// A command line and what it prints for a container `web` with a volume `data`.
type Case = (&'static [&'static str], &'static str);

const CASES: &[Case] = &[
    (
        &[
            "ps",
            "--format",
            "{{.Names}} {{.Image}} {{.State}} {{.Label \"stage\"}}",
        ],
        "web busybox running test",
    ),
    (
        &[
            "ps",
            "--format",
            "{{range split .Image \"y\"}}[{{.}}]{{end}}",
        ],
        "[bus][box]",
    ),
    (
        &[
            "ps",
            "--format",
            "{{upper .Names}}{{with .Ports}}x{{else}}-{{end}}",
        ],
        "WEB-",
    ),
    (
        &["images", "--format", "{{.Repository}}:{{.Tag}}"],
        "busybox:latest",
    ),
    (
        &["volume", "ls", "--format", "{{.Name}}|{{.Scope}}"],
        "data|local",
    ),
    (
        &[
            "inspect",
            "-f",
            "{{.Name}} {{.State.Running}} {{json .Config.Labels}}",
            "web",
        ],
        "/web true {\"stage\":\"test\"}",
    ),
    (
        &[
            "inspect",
            "-f",
            "{{index .Config.Cmd 1}} {{len .Config.Cmd}}",
            "web",
        ],
        "600 2",
    ),
    (&["version", "--format", "{{.Client.Os}}"], "linux"),
    (
        &["info", "--format", "{{.Containers}} {{.ContainersRunning}}"],
        "1 1",
    ),
    (
        &["system", "df", "--format", "{{.Type}}={{.TotalCount}}"],
        "Images=1\nContainers=1\nLocal Volumes=1\nBuild Cache=0",
    ),
];

#[test]
fn listings_take_templates_tables_and_json() {
    let Some(home) = home() else { return };
    let id = up(&home, "web", &["-l", "stage=test", "-v", "data:/d"]);
    for (words, want) in CASES {
        assert_eq!(home.run(words).ok(), *want, "{words:?}");
    }
    let whole = home.run(&["ps", "--no-trunc", "--format", "{{.ID}}"]);
    assert_eq!(whole.ok(), id);
    assert_eq!(home.run(&["inspect", "-f", "{{.ID}}", "web"]).ok(), id);
    let sized = home
        .run(&["ps", "-s", "--format", "{{.Size}}"])
        .ok()
        .to_owned();
    assert!(sized.contains("(virtual "), "{sized}");
    let row: Value = serde_json::from_str(home.run(&["ps", "--format", "json"]).ok()).unwrap();
    assert_eq!(row["Names"], "web");
    assert_eq!(row["LocalVolumes"], "1");
}

#[test]
fn mistakes_in_templates_are_told_with_their_place() {
    let Some(home) = home() else { return };
    up(&home, "web", &[]);
    for (words, part) in [
        (
            &["ps", "--format", "{{.Nope}}"][..],
            "at <.Nope>: can't evaluate field Nope",
        ),
        (
            &["ps", "--format", "{{.Names"],
            "template parsing error: template: :1: unclosed action",
        ),
        (
            &["inspect", "-f", "{{.State.Nope}}", "web"],
            ":1:8: executing \"\" at <.State.Nope>: map has no entry for key \"Nope\"",
        ),
        (
            &["inspect", "-f", "{{index .Config.Cmd 9}}", "web"],
            "index out of range: 9",
        ),
        (&["inspect", "nosuch"], "No such object: nosuch"),
        (
            &["inspect", "--type", "container", "busybox"],
            "No such container: busybox",
        ),
    ] {
        home.run(words).fails(1, part);
    }
    home.run(&["inspect", "-f", "{{nope}}", "web"])
        .fails(64, "function \"nope\" not defined");
    let both = home.run(&["inspect", "-f", "{{.Name}}", "nosuch", "web"]);
    assert_eq!((both.code, both.text()), (1, "/web"));
}

#[test]
fn df_shows_every_object() {
    let Some(home) = home() else { return };
    up(&home, "web", &["-v", "data:/d"]);
    let text = home.run(&["system", "df", "-v"]).ok().to_owned();
    for part in [
        "Images space usage:",
        "SHARED SIZE",
        "Containers space usage:",
        "LOCAL VOLUMES",
        "Local Volumes space usage:",
        "VOLUME NAME",
        "Build cache usage: 0B",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(
        text.lines()
            .any(|line| line.starts_with("data ") && line.contains(" 1 ")),
        "{text}"
    );
    let json = home.run(&["system", "df", "-v", "--format", "json"]);
    let document: Value = serde_json::from_str(json.ok()).unwrap();
    assert_eq!(document["Volumes"][0]["Links"], "1");
    assert_eq!(document["Images"][0]["Containers"], "1");
}
