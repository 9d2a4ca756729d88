//! Sandboxes, end to end: what a program sees of its world, and what it can do to ours.

mod base;
mod confinement;
mod life;
mod limits;
mod mounts;
mod speed;

use std::path::PathBuf;

use rbuild::sandbox::{Error, Exit, Rlimit};

use base::{Base, run};

#[test]
fn exit_codes_and_signals_pass() {
    let Some(base) = Base::new() else { return };
    for code in [0, 1, 42, 255] {
        let outcome = run(&base.script(&format!("exit {code}"))).unwrap();
        assert_eq!(outcome.exit, Exit::Code(code));
    }
    // The first process of a pid namespace is spared its own signals, so a child dies.
    let outcome = run(&base.script("sh -c 'kill -TERM $$'; exit $?")).unwrap();
    assert_eq!(outcome.exit, Exit::Code(143));
}

#[test]
fn a_program_gets_its_arguments_environment_and_directory() {
    let Some(base) = Base::new() else { return };
    let mut spec = base.script("echo \"$A|$0|$1\"; pwd; umask; hostname; echo err >&2; env | sort");
    spec.argv.extend(["zero".to_owned(), "o n e".to_owned()]);
    spec.env.push("A=b c".to_owned());
    spec.cwd = PathBuf::from("/made/for/it");
    let outcome = run(&spec).unwrap();
    let lines: Vec<&str> = outcome.ok().lines().collect();
    assert_eq!(
        lines[..4],
        ["b c|zero|o n e", "/made/for/it", "0022", "box"]
    );
    assert_eq!(outcome.stderr, "err\n");
    assert!(lines[4..].contains(&"A=b c"), "{lines:?}");
    assert!(!outcome.stdout.contains("CARGO"), "{lines:?}");
    assert!(base.top.join("upper/made/for/it").is_dir());
}

#[test]
fn a_missing_directory_is_an_error_unless_it_is_to_be_made() {
    let Some(base) = Base::new() else { return };
    let mut spec = base.spec(&["pwd"]);
    spec.cwd = PathBuf::from("/not/there");
    spec.create_cwd = false;
    let err = run(&spec).unwrap_err();
    assert!(matches!(err, Error::SetUp { .. }), "{err:?}");
    assert!(err.to_string().contains("/not/there"), "{err}");
}

#[test]
fn users_and_groups_are_the_wanted_ones() {
    let Some(base) = Base::new() else { return };
    let mut spec =
        base.script("id -u; id -g; id -G; grep -E '^(Uid|Gid|Groups)' /proc/self/status");
    (spec.uid, spec.gid, spec.groups) = (1234, 567, vec![567, 8, 9]);
    let outcome = run(&spec).unwrap();
    let lines: Vec<&str> = outcome.ok().lines().collect();
    assert_eq!(
        lines,
        [
            "1234",
            "567",
            "567 8 9",
            "Uid:\t1234\t1234\t1234\t1234",
            "Gid:\t567\t567\t567\t567",
            "Groups:\t8 9 567"
        ]
    );
}

#[test]
fn a_user_can_open_the_streams_by_name() {
    let Some(base) = Base::new() else { return };
    let mut spec = base.script("echo out > /dev/stdout; echo err > /dev/stderr");
    spec.uid = 1234;
    let outcome = run(&spec).unwrap();
    assert_eq!(outcome.ok(), "out");
    assert_eq!(outcome.stderr, "err\n");
}

#[track_caller]
fn check_refused(base: &Base, argv: &[&str], expected: &str) -> Error {
    let err = run(&base.spec(argv)).unwrap_err();
    assert_eq!(err.to_string(), expected);
    err
}

#[test]
fn what_cannot_be_executed_is_told_apart() {
    let Some(base) = Base::new() else { return };
    let not_found = |err| assert!(matches!(err, Error::CommandNotFound(_)), "{err:?}");
    let refused = |err| assert!(matches!(err, Error::CommandNotExecutable { .. }), "{err:?}");
    let name = "exec: \"nope\": executable file not found in $PATH";
    not_found(check_refused(&base, &["nope"], name));
    let path = "exec: \"/no/pe\": stat /no/pe: no such file or directory";
    not_found(check_refused(&base, &["/no/pe"], path));
    not_found(check_refused(
        &base,
        &[""],
        "exec: \"\": executable file not found in $PATH",
    ));
    refused(check_refused(
        &base,
        &["/etc"],
        "exec: \"/etc\": is a directory",
    ));
    let passwd = "exec: \"/etc/passwd\": permission denied";
    refused(check_refused(&base, &["/etc/passwd"], passwd));
    let write = |name: &str, text: &str| {
        let path = base.top.join("lower/bin").join(name);
        std::fs::write(&path, text).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&path, mode).unwrap();
    };
    write("garbage", "\u{1}\u{2}");
    refused(check_refused(
        &base,
        &["garbage"],
        "exec: \"garbage\": exec format error",
    ));
    write("lost", "#!/no/interpreter\n");
    refused(check_refused(
        &base,
        &["lost"],
        "exec: \"lost\": no such file or directory",
    ));
}

#[test]
fn the_environments_path_finds_the_program() {
    let Some(base) = Base::new() else { return };
    let mut spec = base.spec(&["true"]);
    spec.env = vec!["PATH=/nowhere:/etc:/bin".to_owned()];
    assert_eq!(run(&spec).unwrap().exit, Exit::Code(0));
    spec.env = vec!["PATH=/etc".to_owned()];
    assert!(matches!(run(&spec), Err(Error::CommandNotFound(_))));
    spec.env = Vec::new();
    assert_eq!(run(&spec).unwrap().exit, Exit::Code(0));
}

#[test]
fn a_limit_that_cannot_be_raised_is_a_warning() {
    let Some(base) = Base::new() else { return };
    let mut spec = base.script("ulimit -n; ulimit -c");
    let rlimit = |resource, soft, hard| Rlimit {
        resource,
        soft,
        hard,
    };
    spec.rlimits = vec![rlimit(7, 123, 456), rlimit(4, 0, 0)];
    let outcome = run(&spec).unwrap();
    assert_eq!(outcome.ok(), "123\n0");
    assert_eq!(outcome.warnings, Vec::<String>::new());
    // Beyond what the kernel allows anybody.
    spec.rlimits = vec![rlimit(7, u64::MAX, u64::MAX)];
    let outcome = run(&spec).unwrap();
    assert_eq!(outcome.exit, Exit::Code(0));
    assert_eq!(outcome.warnings.len(), 1, "{outcome:?}");
    assert!(outcome.warnings[0].contains("nofile"), "{outcome:?}");
}

#[test]
fn a_long_argument_vector_arrives() {
    let Some(base) = Base::new() else { return };
    let long = "\u{1}x".repeat(50_000);
    let argv = [
        "sh",
        "-c",
        "printf %s \"$1$2$3\" | wc -c",
        "sh",
        &long,
        &long,
        &long,
    ];
    assert_eq!(run(&base.spec(&argv)).unwrap().ok(), "300000");
}
