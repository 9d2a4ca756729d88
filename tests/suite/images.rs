//! Images from end to end: import, list, name, inspect, save, load, remove.

use serde_json::Value;

use crate::support::{Home, Need, needs};

/// A tar with one file, as `import` takes it.
fn tree(content: &str) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    header.set_mtime(1);
    tar.append_data(&mut header, "file", content.as_bytes())
        .unwrap();
    tar.into_inner().unwrap()
}

fn import(home: &Home, content: &str, name: &str) -> String {
    let outcome = home.run_with(&["import", "-", name], &tree(content));
    outcome.ok().to_owned()
}

fn inspect(home: &Home, name: &str) -> Value {
    let text = home.run(&["image", "inspect", name]).ok().to_owned();
    let mut list: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(list.len(), 1);
    list.remove(0)
}

#[test]
fn an_imported_image_is_listed_and_inspected() {
    if !needs(&[Need::Root]) {
        return;
    }
    let home = Home::new();
    let changes = [
        "CMD [\"sh\"]",
        "ENV A=1 B=\"2 3\"",
        "EXPOSE 80",
        "LABEL k=v",
        "WORKDIR /w",
    ];
    let mut arguments = vec!["import", "-m", "by hand"];
    for change in changes {
        arguments.extend(["-c", change]);
    }
    arguments.extend(["-", "user/app"]);
    let id = home.run_with(&arguments, &tree("x")).ok().to_owned();
    assert!(id.starts_with("sha256:"), "{id}");

    let table = home.run(&["images"]).ok().to_owned();
    let mut lines = table.lines();
    let header = lines.next().unwrap();
    assert!(
        header.starts_with("REPOSITORY   TAG       IMAGE ID       CREATED"),
        "{header}"
    );
    let row = lines.next().unwrap();
    assert!(row.starts_with("user/app     latest    "), "{row}");
    assert!(row.contains(&id[7..19]), "{row}");
    assert_eq!(home.run(&["images", "-q"]).ok(), &id[7..19]);
    assert_eq!(home.run(&["image", "ls", "-q", "--no-trunc"]).ok(), id);

    let image = inspect(&home, "user/app");
    assert_eq!(image["Id"], id.as_str());
    assert_eq!(image["RepoTags"][0], "user/app:latest");
    assert_eq!(image["Os"], "linux");
    assert_eq!(image["Config"]["Cmd"], serde_json::json!(["sh"]));
    assert_eq!(image["Config"]["Env"], serde_json::json!(["A=1", "B=2 3"]));
    assert_eq!(image["Config"]["Labels"]["k"], "v");
    assert_eq!(image["Config"]["WorkingDir"], "/w");
    assert!(image["Config"]["ExposedPorts"]["80/tcp"].is_object());
    assert_eq!(image["RootFS"]["Layers"].as_array().unwrap().len(), 1);
    let format = |template| {
        home.run(&["inspect", "-f", template, "user/app"])
            .ok()
            .to_owned()
    };
    assert_eq!(format("{{.Id}}"), id);
    assert_eq!(format("{{json .Config.Cmd}}"), "[\"sh\"]");
    assert_eq!(format("{{range .Config.Env}}{{.}};{{end}}"), "A=1;B=2 3;");

    let history = home.run(&["history", "user/app"]).ok().to_owned();
    assert!(history.starts_with("IMAGE          CREATED"), "{history}");
    assert!(history.contains("by hand"), "{history}");
}

#[test]
fn names_come_and_go_and_the_last_one_takes_the_image() {
    if !needs(&[Need::Root]) {
        return;
    }
    let home = Home::new();
    let id = import(&home, "x", "a:1");
    assert_eq!(home.run(&["tag", "a:1", "org/b:2"]).ok(), "");
    assert_eq!(inspect(&home, "org/b:2")["Id"], id.as_str());
    home.run(&["rmi", &id[7..19]]).fails(1, "must be forced");
    assert_eq!(home.run(&["rmi", "a:1"]).ok(), "Untagged: a:1");
    let text = home.run(&["image", "rm", "org/b:2"]).ok().to_owned();
    assert_eq!(text, format!("Untagged: org/b:2\nDeleted: {id}"));
    home.run(&["image", "inspect", &id])
        .fails(1, "No such image");
    home.run(&["rmi", "a:1"]).fails(1, "No such image: a:1");
    for wrong in ["UPPER", "a:b:c", "x y", "-x:1", "a/../b", ""] {
        assert_ne!(home.run(&["tag", "busybox", wrong]).code, 0, "{wrong}");
    }
}

#[test]
fn a_saved_image_loads_with_the_same_id() {
    if !needs(&[Need::Root]) {
        return;
    }
    let home = Home::new();
    let (a, b) = (import(&home, "a", "a:1"), import(&home, "b", "b:1"));
    home.run(&["tag", "a:1", "a2:1"]).ok();
    let archive = home.run(&["save", "a:1", "b:1", "a2:1"]);
    assert_eq!(archive.code, 0, "{}", archive.stderr);
    let file = home.scratch().join("images.tar");
    home.run(&["save", "-o", file.to_str().unwrap(), "a:1", "b:1", "a2:1"])
        .ok();
    assert_eq!(
        std::fs::read(&file).unwrap(),
        archive.stdout,
        "the archive is deterministic"
    );
    home.run(&["rmi", "-f", "a:1", "b:1", "a2:1"]).ok();
    assert_eq!(home.run(&["images", "-q"]).ok(), "");

    let text = home.run_with(&["load"], &archive.stdout).ok().to_owned();
    for name in ["a:1", "b:1", "a2:1"] {
        assert!(text.contains(&format!("Loaded image: {name}")), "{text}");
    }
    assert_eq!(inspect(&home, "a2:1")["Id"], a.as_str());
    assert_eq!(inspect(&home, "b:1")["Id"], b.as_str());
    let text = home
        .run(&["load", "-q", "-i", file.to_str().unwrap()])
        .ok()
        .to_owned();
    assert!(text.contains("Loaded image: a:1"), "{text}");
    home.run(&["load", "-i", "nowhere.tar"])
        .fails(1, "nowhere.tar");
    home.run(&["save", "nowhere"])
        .fails(1, "No such image: nowhere");
}

#[test]
fn filters_choose_images() {
    if !needs(&[Need::Root]) {
        return;
    }
    let home = Home::new();
    home.run_with(&["import", "-c", "LABEL k=v", "-", "one:1"], &tree("1"))
        .ok();
    import(&home, "2", "two/x:1");
    import(&home, "3", "two/x:2");
    let list = |filters: &[&str]| {
        let mut arguments = vec!["images", "--format", "{{.Repository}}:{{.Tag}}"];
        for filter in filters {
            arguments.extend(["--filter", filter]);
        }
        let mut names: Vec<String> = home
            .run(&arguments)
            .ok()
            .lines()
            .map(str::to_owned)
            .collect();
        names.sort();
        names
    };
    assert_eq!(list(&["label=k"]), ["one:1"]);
    assert_eq!(list(&["label=k=w"]), [""; 0]);
    assert_eq!(list(&["reference=two/*:2"]), ["two/x:2"]);
    assert_eq!(list(&["reference=two/x"]), ["two/x:1", "two/x:2"]);
    assert_eq!(list(&["dangling=true"]), [""; 0]);
    assert_eq!(
        home.run(&["images", "-q", "two/x:2"]).ok().lines().count(),
        1
    );
    home.run(&["images", "--filter", "nosuch=1"])
        .fails(1, "nosuch");

    // A name that moves leaves its old image dangling, and a prune takes that.
    let old = inspect(&home, "one:1")["Id"].as_str().unwrap().to_owned();
    import(&home, "4", "one:1");
    assert!(
        home.run(&["images", "-q", "-f", "dangling=true"])
            .ok()
            .contains(&old[7..19])
    );
    let asked = home.run_with(&["image", "prune"], b"n\n");
    assert!(asked.ok().contains("[y/N]"));
    assert!(
        home.run(&["images", "-q", "-f", "dangling=true"])
            .ok()
            .contains(&old[7..19])
    );
    let text = home.run(&["image", "prune", "-f"]).ok().to_owned();
    assert!(
        text.contains(&old) && text.contains("Total reclaimed space"),
        "{text}"
    );
    home.run(&["image", "inspect", &old])
        .fails(1, "No such image");
}

#[test]
fn the_base_image_of_the_tests_is_sound() {
    if !needs(&[Need::Root, Need::Busybox]) {
        return;
    }
    let home = Home::with_busybox();
    assert_eq!(inspect(&home, "busybox")["RepoTags"][0], "busybox:latest");
    let text = home.run(&["system", "df"]).ok().to_owned();
    assert!(
        text.starts_with("TYPE            TOTAL     ACTIVE    SIZE"),
        "{text}"
    );
}
