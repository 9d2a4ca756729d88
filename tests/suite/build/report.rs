//! What is written about a build that is over.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{FILES, Project, RUNS, needs};
use crate::support::{Browser, Need};

/// Looks at a page from inside, and leaves what it saw as JSON in an element.
const PROBE: &str = r##"<pre id="probe"></pre><script>
const say = (id) => document.getElementById(id);
const rows = () => [...document.querySelectorAll("#steps tbody tr")];
const shown = () => rows().filter((row) => row.getClientRects().length > 0).length;
const cell = (row, column) => row.cells[column].textContent;
const share = (row) => {
  const bar = row.querySelector(".bar").getBoundingClientRect();
  const track = row.querySelector(".track").getBoundingClientRect();
  return [(bar.left - track.left) / track.width, bar.width / track.width];
};
const seen = { errors: window.errors, rows: shown(), controls: !say("controls").hidden };
seen.bars = Object.fromEntries(rows().map((row) => [row.id, share(row)]));
seen.critical = rows().filter((row) => row.classList.contains("critical")).map((row) => row.id);
seen.wide = document.documentElement.scrollWidth <= innerWidth;
seen.background = getComputedStyle(document.body).backgroundColor;
say("find").value = "COPY";
say("find").dispatchEvent(new Event("input"));
seen.found = shown();
say("find").value = "";
say("show").value = "critical";
say("show").dispatchEvent(new Event("change"));
seen.onPath = shown();
say("show").value = "all";
say("show").dispatchEvent(new Event("change"));
document.querySelectorAll("#steps th")[8].querySelector("button").click();
seen.sorted = rows().map((row) => Number(row.cells[8].dataset.value));
seen.images = document.images.length;
seen.requests = performance.getEntriesByType("resource").length;
const layer = document.querySelector("details.layer");
location.hash = layer ? layer.id : "";
setTimeout(() => {
  seen.opened = layer ? layer.open : null;
  say("probe").textContent = JSON.stringify(seen);
}, 500);
</script>"##;

/// A page of a project's build.
fn page(project: &Project) -> PathBuf {
    project.home().scratch().join("report.html")
}

/// What the probe saw on a page.
fn probe(project: &Project) -> Value {
    let text = std::fs::read_to_string(page(project)).unwrap();
    // The page lets no script in but its own: for the probe, that has to go.
    let policy = text
        .find("<meta http-equiv=\"Content-Security-Policy\"")
        .unwrap();
    let end = policy + text[policy..].find('>').unwrap() + 1;
    let errors = "<script>window.errors = []; addEventListener(\"error\", (e) => errors.push(e.message));</script>";
    let text = format!("{}{errors}{}{PROBE}", &text[..policy], &text[end..]);
    let path = project.home().file("probed.html", text);
    let document = Browser::new().document(&path);
    let said = document.split("<pre id=\"probe\">").nth(1).unwrap();
    let said = said.split("</pre>").next().unwrap();
    serde_json::from_str(said).unwrap_or_else(|err| panic!("{err}: {said}"))
}

fn report(project: &Project) -> String {
    format!("--report={}", page(project).display())
}

#[test]
fn a_browser_shows_the_steps_of_a_build() {
    if !needs(&RUNS) || !needs(&[Need::Chromium]) {
        return;
    }
    // A file whose name is markup, in a layer and in the Dockerfile.
    let project = Project::on_busybox(
        "FROM busybox AS slow\nRUN sleep 2; touch '/<img src=x onerror=errors.push(1)>'\n\
         FROM busybox AS quick\nRUN mkdir /d; echo 1 > /d/one; seq 1000 > /d/many\n\
         FROM scratch\nCOPY --from=slow /bin/busybox /<b>\nCOPY --from=quick /d /d\n",
    );
    project.build(&[&report(&project)]);
    let text = std::fs::read_to_string(page(&project)).unwrap();
    assert!(text.contains("&lt;img src=x onerror"));
    for outside in ["http://", "https://", "url(", " src=\"", "@import"] {
        assert!(!text.contains(outside), "the page has {outside:?}");
    }
    let seen = probe(&project);
    assert_eq!(seen["errors"], serde_json::json!([]), "{seen}");
    assert_eq!((&seen["images"], &seen["requests"]), (&0.into(), &0.into()));
    let rows = text.matches("<tr id=").count();
    assert_eq!(seen["rows"], rows);
    assert_eq!(
        (&seen["controls"], &seen["wide"]),
        (&true.into(), &true.into())
    );
    assert_eq!(seen["found"], 2);
    // Bars lie within the time of the build, one after the other along the path.
    for (_, bar) in seen["bars"].as_object().unwrap() {
        let (left, width) = (bar[0].as_f64().unwrap(), bar[1].as_f64().unwrap());
        assert!(left > -0.01 && width > 0.0 && left + width < 1.02, "{seen}");
    }
    let path = seen["critical"].as_array().unwrap();
    assert_eq!(seen["onPath"], path.len());
    let name = |step: &Value| {
        let row = text.split(&format!("<tr id={step}")).nth(1).unwrap();
        row.split("</summary>").next().unwrap().to_owned()
    };
    assert!(path.iter().any(|step| name(step).contains("RUN sleep 2")));
    assert!(!path.iter().any(|step| name(step).contains("RUN mkdir /d")));
    let sizes: Vec<u64> = serde_json::from_value(seen["sorted"].clone()).unwrap();
    assert!(
        sizes.is_sorted_by(|a, b| a >= b) && sizes[0] > 100_000,
        "{sizes:?}"
    );
    assert_eq!(seen["opened"], true);
}

#[test]
fn a_page_runs_no_script_but_its_own() {
    if !needs(&FILES) || !needs(&[Need::Chromium]) {
        return;
    }
    let project = Project::from_scratch("FROM scratch\nCOPY Dockerfile /\n");
    project.build(&[&report(&project)]);
    let text = std::fs::read_to_string(page(&project)).unwrap();
    let foreign = "<script>document.title = \"foreign\"</script><p onclick=x id=late>late</p>";
    let path = project.home().file("foreign.html", text + foreign);
    let document = Browser::new().document(&path);
    assert!(document.contains("id=\"late\""));
    assert!(document.contains("<title>Build of result:latest succeeded</title>"));
    // Its own has run.
    assert!(document.contains("<form id=\"controls\">"), "{document}");
}

#[test]
fn five_hundred_steps_are_one_page() {
    if !needs(&FILES) || !needs(&[Need::Chromium]) {
        return;
    }
    let mut text = String::new();
    let mut last = String::from("FROM scratch\n");
    for stage in 0..10 {
        let _written = writeln!(text, "FROM scratch AS s{stage}");
        for step in 0..49 {
            let _written = writeln!(text, "COPY Dockerfile /{stage}/{step}");
        }
        let _written = writeln!(last, "COPY --from=s{stage} /{stage} /{stage}");
    }
    let project = Project::in_memory(&(text + &last));
    project.build(&[&report(&project)]);
    let bytes = std::fs::metadata(page(&project)).unwrap().len();
    assert!(bytes < 4 << 20, "the page has {bytes} bytes");
    let seen = probe(&project);
    assert_eq!(seen["errors"], serde_json::json!([]), "{seen}");
    assert!(seen["rows"].as_u64().unwrap() >= 500, "{seen}");
    assert_eq!(seen["found"], 500);
}

#[test]
fn a_failed_build_is_told_of_as_well() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox("FROM busybox\nRUN echo '</pre>```'; exit 3\nRUN true\n");
    let summary = project.home().scratch().join("summary.md");
    let flag = format!("--summary={}", summary.display());
    project
        .try_build(&[&report(&project), &flag])
        .fails(1, "exit code: 3");
    let text = std::fs::read_to_string(page(&project)).unwrap();
    assert!(text.contains("<span class=\"badge failed\">failed</span></h1>"));
    assert!(text.contains("exit code: 3") && text.contains("Dockerfile:2"));
    assert!(text.contains("&lt;/pre&gt;```") && !text.contains("</pre>```"));
    let text = std::fs::read_to_string(summary).unwrap();
    assert!(text.starts_with("## Build of "), "{text}");
    assert!(text.contains("\n````text\n"), "{text}");
    assert!(text.contains("| failed |"), "{text}");
}

#[test]
fn a_summary_tells_of_each_step() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox("FROM busybox\nRUN echo 'a|b' > /f\n");
    let summary = project.file("summary.md", "old");
    let flag = format!("--summary={}", summary.display());
    // Progress does not say why steps ran, though the summary's maker asked.
    let outcome = project.build(&[&flag]);
    assert!(!outcome.stderr.contains("not cached"), "{outcome:?}");
    let text = std::fs::read_to_string(&summary).unwrap();
    assert!(
        text.contains("| `[2/2] RUN echo 'a\\|b' > /f` | 2 | ran | "),
        "{text}"
    );
    assert!(
        text.contains(&format!("`{}`", project.image().id)),
        "{text}"
    );
    assert!(text.contains("(0 cached)"), "{text}");
    project.build(&[&flag]);
    let text = std::fs::read_to_string(&summary).unwrap();
    assert!(
        text.contains("| `[2/2] RUN echo 'a\\|b' > /f` | 2 | cached | "),
        "{text}"
    );
    // Nothing but the file itself is left beside it.
    assert_eq!(entries(&project.context()), ["Dockerfile", "summary.md"]);
}

fn entries(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_report_that_cannot_be_written_is_an_error_after_the_build() {
    if !needs(&FILES) {
        return;
    }
    let project = Project::from_scratch("FROM scratch\nCOPY Dockerfile /\n");
    project
        .try_build(&["--report=missing/report.html"])
        .fails(1, "missing");
    project.image();
    // A failed build stays the reason.
    project.file("Dockerfile", "FROM scratch\nCOPY none /\n");
    let outcome = project.try_build(&["--summary=missing/summary.md"]);
    outcome.fails(1, "failed to build");
    outcome.fails(1, "missing");
    // What is no file stays what it is.
    project.file("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    let outcome = project.build(&["--summary=/dev/stdout"]);
    assert!(
        outcome.text().starts_with("## Build of `result:latest`"),
        "{outcome:?}"
    );
    assert!(Path::new("/dev/stdout").is_symlink());
}
