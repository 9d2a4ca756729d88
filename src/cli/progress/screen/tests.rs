use std::collections::BTreeMap;

use rbuild::progress::Stream;

use super::*;

const SIZE: Size = Size {
    columns: 80,
    rows: 24,
};

fn screen(start: Instant) -> Screen {
    Screen::new(&Settings::read(&BTreeMap::new(), false), start)
}

fn started(step: u32, name: &str) -> Event {
    Event::Started {
        step: StepId(step),
        name: name.to_owned(),
        inputs: Vec::new(),
        line: None,
    }
}

fn log(step: u32, text: &str) -> Event {
    Event::Log {
        step: StepId(step),
        stream: Stream::Stdout,
        bytes: text.as_bytes().to_vec(),
    }
}

fn finished(step: u32, outcome: Outcome, bytes: u64) -> Event {
    Event::Finished {
        step: StepId(step),
        outcome,
        took: Duration::from_millis(1234),
        layer: Some(Layer {
            snapshot: 1,
            parent: None,
            bytes,
            diff_id: None,
        }),
        usage: None,
    }
}

fn texts(rows: &[Row]) -> Vec<&str> {
    rows.iter().map(|row| row.text.as_str()).collect()
}

#[test]
fn running_steps_show_their_last_lines() {
    let start = Instant::now();
    let mut screen = screen(start);
    screen.event(start, &Event::Planned { steps: 9 });
    screen.event(start, &started(1, "[1/2] RUN make"));
    let lines: Vec<String> = (1..=8).map(|number| format!("line {number}\n")).collect();
    screen.event(start, &log(1, &lines.concat()));
    screen.event(start, &log(1, "\u{1b}[32m 10%\r 20%"));
    let rows = screen.moving(start + Duration::from_secs(3), SIZE);
    let header = "[+] Building 3.0s (0/9)                                               1 running";
    let step = " => [1/2] RUN make                                                         3.0s";
    let mut expected = vec![header, step];
    let lines = ["line 4", "line 5", "line 6", "line 7", "line 8", " 20%"];
    let lines = lines.map(|line| format!(" => => # {line}"));
    expected.extend(lines[0..].iter().map(String::as_str));
    assert_eq!(texts(&rows), expected);
}

#[test]
fn forty_steps_fit_on_a_small_terminal() {
    let start = Instant::now();
    let mut screen = screen(start);
    for step in 0..40 {
        screen.event(
            start,
            &started(step, &format!("[stage-{step} 2/2] RUN make")),
        );
        screen.event(start, &log(step, "a\nb\nc\nd\ne\nf\ng\n"));
    }
    for rows in 1..60 {
        for columns in [1, 20, 80] {
            let moving = screen.moving(start, Size { columns, rows });
            assert!(
                moving.len() < rows.max(2),
                "{} rows of {rows}",
                moving.len()
            );
            assert!(moving.iter().all(|row| width(&row.text) < columns.max(1)));
        }
    }
    let moving = screen.moving(start, SIZE);
    assert_eq!(moving.len(), 23);
    assert_eq!(moving[22].text, " => … and 19 more running");
    // A row that has to do for a step shows its last line as well.
    let shared = " => [stage-3 2/2] RUN make       # g                                       0.0s";
    assert_eq!(moving[4].text, shared);
    // Where there is more room, every step shows a line, then another one.
    let moving = screen.moving(
        start,
        Size {
            columns: 80,
            rows: 90,
        },
    );
    assert_eq!(moving.len(), 89);
    assert_eq!(texts(&moving[2..4]), [" => => # f", " => => # g"]);
    assert_eq!(moving[88].text, " => => # g");
}

#[test]
fn what_ended_is_one_row_and_shown_once() {
    let start = Instant::now();
    let mut screen = screen(start);
    for event in [
        started(1, "[1/3] FROM busybox"),
        finished(1, Outcome::Cached, 9),
        started(2, "[2/3] RUN make"),
        Event::Note {
            step: StepId(2),
            text: "not cached: files changed".to_owned(),
        },
        log(2, "lines\nlines\n"),
        finished(2, Outcome::Done, 1500),
        started(3, "[3/3] RUN more"),
    ] {
        screen.event(start, &event);
    }
    assert_eq!(
        texts(&screen.take_ended(40)),
        [
            " => CACHED [1/3] FROM busybox      1.2s",
            " => [2/3] RUN make           1.5kB 1.2s",
            " => => not cached: files changed",
        ]
    );
    assert!(screen.take_ended(40).is_empty());
    assert_eq!(
        texts(&screen.end(start + Duration::from_secs(5), 60)),
        [
            " => CANCELED [3/3] RUN more                            5.0s",
            "[+] Building 5.0s (3/3) FINISHED",
            " => 1 of 2 steps cached, 1 new layer of 1.5kB",
        ]
    );
}

#[test]
fn transfers_are_bars() {
    let start = Instant::now();
    let mut screen = screen(start);
    screen.event(start, &started(1, "ADD https://example.com/x.tar"));
    for (name, done, total) in [
        ("x.tar", 10_000_000, Some(40_000_000)),
        ("whole", 5, Some(5)),
        ("y\u{1b}[2J", 7, None),
    ] {
        screen.event(
            start,
            &Event::Transfer {
                step: StepId(1),
                name: name.to_owned(),
                done,
                total,
            },
        );
    }
    let shared = " => ADD https://example.com/x.t… # 10MB / 40MB x.tar                       0.0s";
    let rows = screen.moving(start, Size { rows: 3, ..SIZE });
    assert_eq!(texts(&rows)[1], shared);
    let rows = screen.moving(start, SIZE);
    assert_eq!(
        texts(&rows[2..]),
        [
            " => => x.tar                                 [=====>              ] 10MB / 40MB",
            " => => y                                                                     7B",
        ]
    );
}
