//! How a build is shown: on a terminal, as lines, to programs.

use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{Project, RUNS, needs};
use crate::support::{Terminal, assert_fits};

/// A build whose progress is shown in some way.
fn build(project: &Project, progress: &str) -> Command {
    let mut arguments = project.arguments(&[]);
    arguments.retain(|argument| argument != "--progress=plain");
    arguments.insert(1, format!("--progress={progress}"));
    project.home().command(&arguments)
}

/// `count` stages that run side by side until they are stopped, each after
/// writing what a terminal must not get to see.
fn endless(count: usize) -> String {
    let mut text = String::new();
    let mut last = String::from("FROM scratch\n");
    for stage in 0..count {
        text.push_str(&format!(
            "FROM busybox AS s{stage}\n\
             RUN printf '\\033[2J\\033[1;1H\\033[31m日本語 {stage}\\n'; printf 'a\\rb\\r'; exec sleep 1000\n"
        ));
        last.push_str(&format!("COPY --from=s{stage} /etc/passwd /p{stage}\n"));
    }
    text + &last
}

/// How many rows begin with the header.
fn headers(rows: &[String]) -> usize {
    let headers = rows.iter().filter(|row| row.starts_with("[+] Building"));
    headers.count()
}

fn says(rows: &[String], part: &str) -> bool {
    rows.iter().any(|row| row.contains(part))
}

#[test]
fn forty_steps_at_once_are_a_picture_of_the_terminals_size() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox(&endless(40));
    let mut terminal = Terminal::start(build(&project, "tty"), 80, 24);
    let rows = terminal.wait_for(|rows| says(rows, "40 running"));
    assert_eq!(headers(&rows), 1, "{rows:#?}");
    assert!(rows[0].starts_with("[+] Building"), "{rows:#?}");
    assert!(rows[0].ends_with("40 running"), "{rows:#?}");
    assert!(rows[1].starts_with(" => [s"), "{rows:#?}");
    assert_eq!(rows[22], " => … and 19 more running", "{rows:#?}");

    // With more room every step is shown, then a line of some, then all lines.
    terminal.resize(120, 50);
    let rows = terminal.wait_for(|rows| says(rows, " => => # b") && !rows[47].is_empty());
    assert_eq!(headers(&rows), 1, "{rows:#?}");
    assert!(!says(&rows, "more running"), "{rows:#?}");
    terminal.resize(120, 130);
    let rows = terminal.wait_for(|rows| says(rows, " => => # 日本語 39"));
    let written = |row: &&String| row.starts_with(" => => #");
    let clean = |row: &String| row.starts_with(" => => # 日本語 ") || row == " => => # b";
    assert!(rows.iter().filter(written).all(clean), "{rows:#?}");
    let steps = rows.iter().filter(|row| row.starts_with(" => [s"));
    assert_eq!(steps.count(), 40, "{rows:#?}");

    terminal.resize(50, 12);
    let rows = terminal.wait_for(|rows| says(rows, "more running") && headers(rows) == 1);
    assert_eq!(rows.len(), 12);
    assert!(rows[10].ends_with(" more running"), "{rows:#?}");
    assert!(rows[9].contains('…') && rows[9].ends_with('s'), "{rows:#?}");

    terminal.resize(80, 60);
    kill_process(Pid::from_child(&terminal.child), Signal::INT).unwrap();
    let (code, rows) = terminal.finish();
    assert_eq!(code, Some(130), "{rows:#?}");
    assert!(says(&rows, " => CANCELED [s"), "{rows:#?}");
    assert!(says(&rows, "FINISHED"), "{rows:#?}");
    // Nothing moves the cursor but frames, and each of them is whole.
    let text = String::from_utf8(terminal.written.clone()).unwrap();
    assert!(!text.contains("\u{1b}[2J") && !text.contains("\u{1b}[1;1H"));
    let count = |part: &str| text.matches(part).count();
    assert!(count("\u{1b}[?2026h") > 3);
    assert_eq!(count("\u{1b}[?2026h"), count("\u{1b}[?2026l"));
    project.assert_tidy();
}

#[test]
fn a_terminal_keeps_one_row_of_each_step_and_a_sum() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox("FROM busybox\nRUN echo said; echo 12345 > /n\nCOPY f /f\n");
    project.file("f", "x".repeat(1000));
    project.build(&[]);
    project.file("f", "y".repeat(2000));
    let mut command = build(&project, "auto");
    command
        .env_remove("NO_COLOR")
        .env("TERM", "xterm")
        .env("BUILDKIT_COLORS", "run=green:bad");
    let mut terminal = Terminal::start(command, 80, 24);
    let (code, rows) = terminal.finish();
    assert_eq!(code, Some(0), "{rows:#?}");
    let place = |part: &str| {
        let place = rows.iter().position(|row| row.starts_with(part));
        place.unwrap_or_else(|| panic!("no {part:?} in {rows:#?}"))
    };
    let cached = place(" => CACHED [2/3] RUN echo said");
    let copied = place(" => [3/3] COPY f /f");
    assert!(cached < copied);
    assert!(rows[copied].contains(" 2kB "), "{rows:#?}");
    assert!(rows[place("[+] Building")].ends_with(" FINISHED"));
    place(" => 2 of 3 steps cached, 1 new layer of 2kB");
    place("WARNING: could not parse BUILDKIT_COLORS component: bad");
    let text = String::from_utf8(terminal.written.clone()).unwrap();
    assert!(text.contains("\u{1b}[2m => CACHED"), "{text:?}");
    assert!(text.contains("\u{1b}[32m => [3/3]"), "{text:?}");
}

#[test]
fn a_failure_shows_the_log_of_its_step() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox("FROM busybox\nRUN echo hint; false\n");
    let mut terminal = Terminal::start(build(&project, "tty"), 80, 40);
    let (code, rows) = terminal.finish();
    assert_eq!(code, Some(1), "{rows:#?}");
    assert!(
        says(&rows, " => ERROR [2/2] RUN echo hint; false"),
        "{rows:#?}"
    );
    assert!(says(&rows, " > [2/2] RUN echo hint; false:"), "{rows:#?}");
    assert!(rows.iter().any(|row| row.ends_with(" hint")), "{rows:#?}");
    assert!(says(&rows, "Dockerfile:2"), "{rows:#?}");
}

#[test]
fn endless_output_is_clipped_unless_one_asks_for_it() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox("FROM busybox\nRUN yes 0123456789abcdef | head -c 3000000\n");
    let plain = |size: &str, speed: &str| {
        let output = build(&project, "plain")
            .arg("--no-cache")
            .env("BUILDKIT_STEP_LOG_MAX_SIZE", size)
            .env("BUILDKIT_STEP_LOG_MAX_SPEED", speed)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let text = plain("", "-1");
    assert!(text.contains("[output clipped, log limit 2MiB reached]\n"));
    assert!(
        text.contains("#4 DONE") || text.contains("#3 DONE"),
        "{}",
        &text[text.len() - 300..]
    );
    let text = plain("-1", "-1");
    assert!(!text.contains("[output clipped"));
    assert_eq!(text.matches("0123456789abcdef\n").count(), 3_000_000 / 17);
    assert!(plain("1024", "-1").contains("[output clipped, log limit 1KiB reached]\n"));
}

/// The lines of a build for programs, each fitting the schema.
#[track_caller]
fn events(project: &Project) -> Vec<Value> {
    let schema = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/events.schema.json");
    let schema = serde_json::from_slice(&std::fs::read(schema).unwrap()).unwrap();
    let output = build(project, "rawjson").output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    let lines = text.lines().take_while(|line| line.starts_with('{'));
    let lines: Vec<Value> = lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for line in &lines {
        assert_fits(&schema, line);
    }
    lines
}

/// The last that is told of a step.
#[track_caller]
fn step<'a>(events: &'a [Value], name: &str) -> &'a Value {
    let mut steps = events.iter().rev().map(|line| &line["rbuild"]["step"]);
    let of_name = |step: &&Value| step["name"].as_str().is_some_and(|own| own.contains(name));
    steps.find(of_name).unwrap()
}

#[test]
fn programs_get_events_that_fit_the_schema() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox(
        "FROM busybox AS made\nWORKDIR /w\nRUN echo foo; echo bar > f\nFROM busybox\nCOPY --from=made /w/f /f\n",
    );
    let first = events(&project);
    let run = step(&first, "RUN echo foo");
    assert_eq!(run["stage"], "made");
    assert_eq!(run["line"], 3);
    assert_eq!(run["outcome"], "done");
    assert_eq!(run["layer"]["bytes"], 4);
    assert_eq!(
        run["reason"][0],
        "not cached: this instruction has not been built before"
    );
    let input = step(&first, "WORKDIR");
    assert_eq!(run["inputs"], serde_json::json!([input["step"]]));
    // The diff ID of a layer of the image is told once it is known.
    let copy = step(&first, "COPY --from=made");
    let image = project.image();
    let diff_id = image.config.rootfs.diff_ids.last().unwrap().to_string();
    assert_eq!(copy["layer"]["diffId"], diff_id);
    let vertexes = |events: &[Value]| -> Vec<Value> {
        let lines = events.iter().filter_map(|line| line["vertexes"].as_array());
        lines.flatten().cloned().collect()
    };
    let vertex = vertexes(&first);
    let vertex = vertex
        .iter()
        .find(|vertex| vertex["digest"] == run["digest"] && !vertex["completed"].is_null())
        .unwrap();
    assert_eq!(vertex["inputs"], serde_json::json!([input["digest"]]));
    let log = first.iter().find(|line| !line["logs"].is_null()).unwrap();
    assert_eq!(log["logs"][0]["data"], "Zm9vCg==");
    assert_eq!(log["logs"][0]["vertex"], run["digest"]);
    let result = &first.last().unwrap()["rbuild"]["result"];
    assert_eq!(result["outcome"], "done");
    assert_eq!(result["image"], image.id.to_string());

    // The next build tells of the same vertices, all of them cached.
    let second = events(&project);
    let again = step(&second, "RUN echo foo");
    assert_eq!(
        (&again["digest"], &again["cached"]),
        (&run["digest"], &Value::Bool(true))
    );
    assert_eq!(again["layer"], run["layer"]);
    let cached = vertexes(&second);
    assert!(cached.iter().any(|vertex| vertex["cached"] == true));

    project.file("Dockerfile", "FROM busybox\nRUN echo no >&2; exit 3\n");
    let failed = events(&project);
    let run = step(&failed, "exit 3");
    assert_eq!(run["outcome"], "failed");
    let log = failed.iter().find(|line| !line["logs"].is_null()).unwrap();
    assert_eq!(log["logs"][0]["stream"], 2);
    let result = &failed.last().unwrap()["rbuild"]["result"];
    assert!(
        result["error"].as_str().unwrap().contains("exit code: 3"),
        "{result}"
    );
}
