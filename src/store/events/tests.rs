use super::*;

fn paths() -> (tempfile::TempDir, Paths) {
    let dir = tempfile::tempdir().unwrap();
    let paths = Paths::new(dir.path().join("d"), dir.path().join("r"));
    (dir, paths)
}

fn event(action: &str) -> EventRecord {
    EventRecord::now(EventKind::Container, action, "id").with("name", "web")
}

fn actions(events: &mut Events) -> Vec<String> {
    std::iter::from_fn(|| events.next_event().unwrap())
        .map(|event| event.action)
        .collect()
}

#[test]
fn what_is_appended_is_read_in_order_and_as_it_comes() {
    let (_dir, paths) = paths();
    append(&paths, &event("create")).unwrap();
    let mut events = Events::open(&paths).unwrap();
    assert_eq!(actions(&mut events), ["create"]);
    assert_eq!(events.wait(Some(std::time::Duration::ZERO)), Wait::TimedOut);
    append(&paths, &event("start")).unwrap();
    assert_eq!(events.wait(None), Wait::More);
    let next = events.next_event().unwrap().unwrap();
    assert_eq!(
        (next.action.as_str(), &*next.attributes["name"]),
        ("start", "web")
    );
    assert_eq!(events.next_event().unwrap(), None);
}

#[test]
fn a_follower_goes_on_after_the_log_was_put_aside() {
    let (_dir, paths) = paths();
    append(&paths, &event("0")).unwrap();
    let mut events = Events::open(&paths).unwrap();
    assert_eq!(actions(&mut events), ["0"]);
    let log = paths.events().join("log");
    append(&paths, &event("1")).unwrap();
    std::fs::rename(&log, paths.events().join("log.1")).unwrap();
    append(&paths, &event("2")).unwrap();
    assert_eq!(actions(&mut events), ["1", "2"]);
    assert_eq!(actions(&mut Events::open(&paths).unwrap()), ["0", "1", "2"]);
}

#[test]
fn the_log_is_bounded_and_survives_nonsense() {
    let (_dir, paths) = paths();
    std::fs::create_dir_all(paths.events()).unwrap();
    let log = paths.events().join("log");
    std::fs::write(&log, "nonsense\n{\"t\":1\n\u{0}\n").unwrap();
    let mut long = event("long");
    long.attributes
        .insert("x".to_owned(), "x".repeat(LINE_LIMIT));
    append(&paths, &long).unwrap();
    let mut events = Events::open(&paths).unwrap();
    let found = events.next_event().unwrap().unwrap();
    assert_eq!((found.action.as_str(), found.attributes.len()), ("long", 0));
    let big = vec![b'x'; usize::try_from(LIMIT).unwrap()];
    std::fs::write(&log, big).unwrap();
    append(&paths, &event("over")).unwrap();
    append(&paths, &event("new")).unwrap();
    assert!(std::fs::metadata(&log).unwrap().len() < 200);
    assert_eq!(actions(&mut Events::open(&paths).unwrap()), ["new"]);
}
