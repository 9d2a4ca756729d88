//! What the build cache holds, and less of it.

use serde_json::Value;

use super::{Project, RUNS, needs};

/// A stage with 300 kB in three steps, and an image with one small layer.
const DOCKERFILE: &str = "FROM busybox AS make\n\
    RUN head -c 100000 /dev/urandom > /1\n\
    RUN head -c 100000 /dev/urandom > /2\n\
    RUN head -c 100000 /dev/urandom > /3 && echo made > /made\n\
    FROM busybox\n\
    COPY --from=make /made /\n";

fn built() -> Project {
    let project = Project::on_busybox(DOCKERFILE);
    project.build(&[]);
    project
}

/// The items, as `du --format json` lists them.
fn items(project: &Project, more: &[&str]) -> Vec<Value> {
    let arguments = [&["du", "--format", "json"], more].concat();
    let outcome = project.home().run(&arguments);
    let lines = outcome.ok().lines().map(str::to_owned).collect::<Vec<_>>();
    let parse = |line: &String| serde_json::from_str(line).unwrap();
    lines.iter().map(parse).collect()
}

fn ids(items: &[Value]) -> Vec<String> {
    let id = |item: &Value| item["ID"].as_str().unwrap().to_owned();
    items.iter().map(id).collect()
}

fn prune(project: &Project, more: &[&str]) -> String {
    let arguments = [&["prune", "-f"], more].concat();
    project.home().run(&arguments).ok().to_owned()
}

#[test]
fn items_are_listed_with_what_they_are() {
    if !needs(&RUNS) {
        return;
    }
    let project = built();
    let all = items(&project, &[]);
    // The base's layer, three of the first stage, one of the image.
    assert_eq!(all.len(), 5, "{all:?}");
    let own = items(&project, &["--filter", "private"]);
    assert_eq!(own.len(), 3);
    for item in &own {
        assert_eq!(item["Reclaimable"], true, "{item}");
        assert_eq!(item["Type"], "regular");
        assert_eq!(item["Size"], "100kB");
        assert!(
            item["Description"]
                .as_str()
                .unwrap()
                .starts_with("RUN head")
        );
    }
    let shared = items(&project, &["--filter=shared"]);
    assert!(shared.iter().all(|item| item["Reclaimable"] == false));
    let table = project.home().run(&["builder", "du"]);
    let lines: Vec<&str> = table.ok().lines().collect();
    assert!(lines[0].starts_with("ID "), "{lines:?}");
    let totals: Vec<&str> = lines[6..]
        .iter()
        .map(|line| line.split_once(':').unwrap().0)
        .collect();
    assert_eq!(totals, ["Shared", "Private", "Reclaimable", "Total"]);
    let verbose = project.home().run(&["buildx", "du", "--verbose"]);
    assert!(
        verbose
            .ok()
            .contains("Description:   COPY --from=make /made /")
    );
    let template = [
        "du",
        "--format",
        "{{.ID}} {{.Type}}",
        "--filter=description~=/2$",
    ];
    assert_eq!(project.home().run(&template).ok(), "layer-3 regular");
    project
        .home()
        .run(&["du", "--filter=nope=1"])
        .fails(1, "unknown filter");
    let df = project.home().run(&["system", "df"]);
    assert!(df.ok().contains("300kB"), "{df:?}");
}

#[test]
fn pruning_takes_what_no_image_has() {
    if !needs(&RUNS) {
        return;
    }
    let project = built();
    project.file("kept", "k");
    let tree = project.tree();
    let wanted = ids(&items(&project, &["--filter=private"]));
    let would = prune(&project, &["--dry-run"]);
    assert!(wanted.iter().all(|id| would.contains(id)), "{would}");
    assert!(would.ends_with("Total:\t300kB"), "{would}");
    assert_eq!(items(&project, &[]).len(), 5);
    let did = prune(&project, &[]);
    assert!(did.ends_with("Total:\t300kB"), "{did}");
    assert_eq!(items(&project, &[]).len(), 2);
    assert_eq!(project.tree(), tree);
    project.assert_tidy();
    // The image's own step is still known; with `-a` it is not.
    let outcome = project.build(&[]);
    assert_eq!(outcome.ended("DONE").len(), 0, "{}", outcome.stderr);
    prune(&project, &["-a"]);
    assert_eq!(items(&project, &[]).len(), 0);
    assert_eq!(project.tree(), tree);
    assert_eq!(project.build(&[]).ended("DONE").len(), 4);
}

#[test]
fn limits_and_filters_leave_the_rest() {
    if !needs(&RUNS) {
        return;
    }
    let project = built();
    let private = || items(&project, &["--filter=private"]);
    prune(&project, &["--filter=until=24h"]);
    assert_eq!(private().len(), 3);
    prune(&project, &["--keep-storage=1g"]);
    prune(&project, &["--max-used-space=1g"]);
    assert_eq!(private().len(), 3);
    // Steps stand on those before them, so the last one goes first.
    prune(&project, &["--max-used-space=250k"]);
    let left = private();
    assert_eq!(left.len(), 2);
    assert!(left[1]["Description"].as_str().unwrap().ends_with("/2"));
    prune(&project, &["--max-used-space=1", "--reserved-space=150k"]);
    assert_eq!(private().len(), 1);
    let id = ids(&private()).remove(0);
    prune(&project, &[&format!("--filter=id!={id}")]);
    assert_eq!(private().len(), 1);
    prune(&project, &["--filter", &format!("id={id}")]);
    assert_eq!(private().len(), 0);
    project.assert_tidy();
}

#[test]
fn what_is_pinned_stays() {
    if !needs(&RUNS) {
        return;
    }
    let project = built();
    let second = ids(&items(&project, &["--filter=description~=/2$"])).remove(0);
    let pinned = project.home().run(&["builder", "pin", &second]);
    assert_eq!(pinned.ok(), second);
    prune(&project, &["-a"]);
    let left = items(&project, &["--filter=private"]);
    // And what it stands on.
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(left.iter().all(|item| item["Pinned"] == true));
    let outcome = project.build(&[]);
    assert_eq!(outcome.ended("CACHED").len(), 2, "{}", outcome.stderr);
    project.home().run(&["builder", "unpin", &second]).ok();
    prune(&project, &["-a"]);
    assert_eq!(items(&project, &["--filter=private"]).len(), 0);
    project
        .home()
        .run(&["builder", "pin", "layer-999"])
        .fails(1, "no such item");
    project
        .home()
        .run(&["builder", "pin", "nope"])
        .fails(1, "nope");
    // An image's layers stay when the image goes.
    project.build(&[]);
    project
        .home()
        .run(&["builder", "pin", super::project::NAME])
        .ok();
    project.home().run(&["rmi", super::project::NAME]).ok();
    prune(&project, &["-a"]);
    assert_eq!(
        project.build(&[]).ended("CACHED").last().unwrap(),
        "COPY --from=make /made /"
    );
}

#[test]
fn a_limit_holds_while_the_build_runs() {
    if !needs(&RUNS) {
        return;
    }
    let project = built();
    let bytes = || -> u64 {
        let rows = project.store().layer_uses().unwrap();
        let own = rows.iter().filter(|row| !row.is_shared);
        own.map(|row| row.bytes).sum()
    };
    assert_eq!(bytes(), 300_005);
    // Old results make room for new ones.
    project.file(
        "Dockerfile",
        "FROM busybox AS other\nRUN head -c 150000 /dev/urandom > /4 && echo o > /o\n\
         FROM busybox\nCOPY --from=other /o /\n",
    );
    let outcome = project.build(&["--cache-max-size=320k"]);
    assert!(!outcome.stderr.contains("limit"), "{}", outcome.stderr);
    assert!(bytes() <= 320 << 10, "{}", bytes());
    assert!(bytes() > 200_000, "{}", bytes());
    assert_eq!(project.build(&[]).ended("DONE").len(), 0);
    // A build that alone is larger is told of, works, and leaves no more than that.
    project.file("Dockerfile", DOCKERFILE);
    let mut command = project.home().command(&project.arguments(&["--no-cache"]));
    let output = command.env("RBUILD_CACHE_MAX", "120k").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    assert_eq!(said.matches("larger than its limit").count(), 1, "{said}");
    assert!(bytes() <= 120 << 10, "{}", bytes());
    assert_eq!(project.tree().text("made"), "made\n");
    project.assert_valid();
    project.assert_tidy();
}

#[test]
fn a_build_removes_what_a_killed_one_left() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox("FROM busybox\nRUN echo 1 > /1\n");
    project.build(&[]);
    let text = "FROM busybox\nRUN head -c 1000 /dev/zero > /big; sleep 100\n";
    project.file("Dockerfile", text);
    let mut child = project.start(&[]);
    let half_done = || {
        let rows = project.store().snapshot_list().unwrap();
        rows.iter()
            .any(|row| row.state == rbuild::store::SnapshotState::Active)
    };
    while !half_done() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    project.assert_quiet();
    assert!(half_done());
    project.file("Dockerfile", "FROM busybox\nRUN echo 1 > /1\n");
    project.build(&[]);
    assert!(!half_done());
    project.assert_tidy();
}

#[test]
fn a_pruned_stage_still_leads_to_the_image() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox(
        "FROM busybox AS make\nCOPY in /in\nRUN cp /in /out\nFROM busybox\nCOPY --from=make /out /\n",
    );
    project.file("in", "in");
    project.build(&[]);
    prune(&project, &[]);
    let outcome = project.build(&[]);
    assert_eq!(outcome.ended("DONE").len(), 0, "{}", outcome.stderr);
    project.file("in", "other");
    assert_eq!(project.build(&[]).ended("DONE").len(), 3);
    prune(&project, &["-a"]);
    assert_eq!(project.build(&[]).ended("DONE").len(), 3);
}
