use std::time::Duration;

use rbuild::progress::{Event, Layer, StepId, Usage};
use rbuild::snapshot::{ContentsEntry, ContentsKind};

use super::*;

const HOSTILE: &str = "</code><script>alert(1)</script>\"'&\u{1b}[31m";

fn record(name: &str) -> Record {
    let mut record = Record::default();
    let second = Duration::from_secs;
    let started = |step: u32, name: &str, inputs: &[u32]| Event::Started {
        step: StepId(step),
        name: name.to_owned(),
        inputs: inputs.iter().map(|input| StepId(*input)).collect(),
        line: Some(2),
    };
    let finished = |step: u32, outcome: Outcome, seconds: u64, bytes: u64| Event::Finished {
        step: StepId(step),
        outcome,
        took: second(seconds),
        layer: Some(Layer {
            snapshot: 1,
            parent: None,
            bytes,
            diff_id: Some("sha256:abc".to_owned()),
        }),
        usage: (bytes > 9).then_some(Usage {
            cpu: second(3),
            memory_peak: 5_000_000,
        }),
    };
    let events = [
        (0, started(1, "[1/3] FROM busybox", &[])),
        (0, finished(1, Outcome::Cached, 0, 5)),
        (0, started(2, name, &[1])),
        (1, started(3, "[3/3] RUN quick", &[1])),
        (2, finished(3, Outcome::Done, 1, 1500)),
        (
            8,
            finished(2, Outcome::Failed(HOSTILE.to_owned()), 8, 20_000),
        ),
        (8, Event::Warning(HOSTILE.to_owned())),
    ];
    for (at, event) in events {
        record.event(second(at), &event);
    }
    record.end(second(10));
    record
}

fn report(record: &Record) -> Report<'_> {
    Report {
        record,
        image: Some("sha256:0123".to_owned()),
        names: vec!["app:latest".to_owned()],
        failure: Some(format!("ERROR: {HOSTILE}\n")),
        ended: Timestamp::UNIX_EPOCH,
    }
}

fn hostile_contents() -> BTreeMap<usize, Vec<Contents>> {
    let entry = |name: &str, kind, children| ContentsEntry {
        name: name.to_owned(),
        kind,
        bytes: 7,
        files: 1,
        children,
        others: (2, 3),
    };
    let file = entry(HOSTILE, ContentsKind::File, Vec::new());
    let contents = Contents {
        root: entry("", ContentsKind::Directory, vec![file]),
        entries: 1,
        complete: true,
    };
    BTreeMap::from([(1, vec![contents])])
}

#[test]
fn nothing_foreign_becomes_markup() {
    let record = record(HOSTILE);
    let page = page(&report(&record), &hostile_contents());
    // The page's own script is the only one.
    assert_eq!(page.matches("<script").count(), 1);
    assert!(!page.contains("alert(1)</script>"));
    assert!(
        page.matches("&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&amp;")
            .count()
            >= 5
    );
    assert!(!page.contains('\u{1b}'));
}

#[test]
fn the_page_shows_steps_and_the_critical_path() {
    let record = record("[2/3] RUN slow");
    let page = page(&report(&record), &hostile_contents());
    let row = |number: u32| {
        let at = page.find(&format!("<tr id=\"step-{number}\"")).unwrap();
        let row = &page[at..];
        &row[..row.find("</tr>").unwrap()]
    };
    assert!(row(2).contains("data-state=\"failed\" class=\"critical\""));
    assert!(row(2).contains("left:0.000%;width:80.000%"));
    assert!(row(2).contains(">5MB<") && row(2).contains(">3.00s<"));
    assert!(row(2).contains("<a href=\"#layer-2\">20kB</a>"));
    assert!(row(3).contains("left:10.000%;width:10.000%"));
    assert!(!row(3).contains("critical"));
    assert!(row(1).contains("data-state=\"cached\" class=\"critical\""));
    // One of the rows' columns tells that there is no usage.
    assert!(row(1).contains("<td data-value=\"0\">-</td>"));
}

#[test]
fn the_summary_has_every_step_and_the_failure() {
    let record = record("[2/3] RUN a | b");
    let text = summary(&report(&record));
    for part in [
        "## Build of `app:latest` failed in 10.0s\n",
        "| 2 | `[2/3] RUN a \\| b` | 2 | failed | **8.00s** | 3.00s | 5MB | 20kB |\n",
        "| 1 | `[1/3] FROM busybox` | 2 | cached | **0.00s** | - | - | 5B |\n",
        "| Steps | 3 (1 cached) |\n",
        "| New layers | 1 (1.5kB) |\n",
        "```text\nERROR: </code><script>",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
}

#[test]
fn times_are_short() {
    for (millis, text) in [
        (0, "0.00s"),
        (1234, "1.23s"),
        (59_940, "59.9s"),
        (125_000, "2m 05s"),
        (7_500_000, "2h 05m"),
    ] {
        assert_eq!(seconds(Duration::from_millis(millis)), text);
    }
}
