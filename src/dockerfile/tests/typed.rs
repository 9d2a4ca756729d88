use super::super::{Copy, Form, Healthcheck, parse, parse_trigger};
use super::*;

/// The one instruction of a stage.
fn instruction(text: &str) -> Instruction {
    let mut parsed = parse(&format!("FROM x\n{text}\n"));
    assert_eq!(parsed.diagnostics, [], "{text}");
    let place = parsed.dockerfile.stages[0].instructions.pop().unwrap();
    place.value
}

fn texts(words: &[Word]) -> Vec<&str> {
    words.iter().map(|word| word.text.as_str()).collect()
}

fn copy(text: &str) -> Copy {
    match instruction(text) {
        Instruction::Copy(copy) => copy,
        other => panic!("{other:?}"),
    }
}

#[test]
fn copy_has_typed_flags() {
    let copy = copy(
        "COPY --from=a --chown=1:2 --chmod=u=rw --link --parents=false --exclude=x --exclude=y s t d",
    );
    assert_eq!(copy.from.unwrap().text, "a");
    assert_eq!(copy.flags.chown.unwrap().text, "1:2");
    assert_eq!(copy.flags.chmod.unwrap().text, "u=rw");
    assert!(copy.flags.link.unwrap().0);
    assert!(!copy.parents.unwrap().0);
    assert_eq!(texts(&copy.flags.exclude), ["x", "y"]);
    assert_eq!(texts(&copy.sources), ["s", "t"]);
    assert_eq!(copy.destination.text, "d");
}

#[test]
fn empty_flags_count_as_absent() {
    let copy = copy("COPY --from= --chown= a b");
    assert_eq!((copy.from, copy.flags.chown), (None, None));
}

#[test]
fn heredocs_of_copy_are_sources() {
    let copied = copy("COPY <<-A plain <<'B' /d/\n\ta\nA\n$b\nB");
    assert_eq!(texts(&copied.sources), ["plain"]);
    assert_eq!(copied.heredocs.len(), 2);
    assert_eq!(copied.heredocs[0].content, "a\n");
    assert!(copied.heredocs[0].expand && !copied.heredocs[1].expand);
    let copied = copy("COPY <<A <<A /d/\n1\nA\n2\nA");
    let contents = copied
        .heredocs
        .iter()
        .map(|heredoc| heredoc.content.as_str());
    assert_eq!(contents.collect::<Vec<_>>(), ["2\n", "2\n"]);
}

#[test]
fn commands_have_two_forms() {
    let form = |text: &str| match instruction(text) {
        Instruction::Run(run) => run.command.form,
        Instruction::Cmd(command) | Instruction::Entrypoint(command) => command.form,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        form("RUN [\"a\", \"b\"]"),
        Form::Exec(vec!["a".into(), "b".into()])
    );
    assert_eq!(form("RUN ['a']"), Form::Shell("['a']".into()));
    assert_eq!(
        form("RUN   a  'b' \\\n && c  "),
        Form::Shell("a  'b'  && c".into())
    );
    assert_eq!(form("CMD"), Form::Shell(String::new()));
    assert_eq!(form("CMD []"), Form::Exec(vec![]));
    assert_eq!(form("ENTRYPOINT -- --x"), Form::Shell("--x".into()));
}

#[test]
fn healthchecks() {
    let check = instruction("HEALTHCHECK --interval=1m --start-period=0s --retries=2 cmd a b");
    let Instruction::Healthcheck(Healthcheck::Cmd {
        interval,
        timeout,
        start_period,
        retries,
        command,
        ..
    }) = check
    else {
        panic!("{check:?}");
    };
    assert_eq!(
        (interval, timeout, start_period, retries),
        (60_000_000_000, 0, 0, 2)
    );
    assert_eq!(command.form, Form::Shell("a b".into()));
    assert!(matches!(
        instruction("HEALTHCHECK --interval=x none"),
        Instruction::Healthcheck(Healthcheck::None)
    ));
}

#[test]
fn words_of_other_instructions() {
    let words = |text: &str| match instruction(text) {
        Instruction::Expose(words) | Instruction::Volume(words) => {
            words.into_iter().map(|word| word.text).collect::<Vec<_>>()
        }
        Instruction::User(word) | Instruction::Workdir(word) | Instruction::Maintainer(word) => {
            vec![word.text]
        }
        Instruction::Shell(words) => words,
        other => panic!("{other:?}"),
    };
    assert_eq!(words("EXPOSE 90 80/udp $p"), ["$p", "80/udp", "90"]);
    assert_eq!(words("VOLUME [\" /a \", \"b\"]"), ["/a", "b"]);
    assert_eq!(words("VOLUME /a  /b"), ["/a", "/b"]);
    assert_eq!(words("WORKDIR  /a b "), ["/a b"]);
    assert_eq!(words("SHELL [\"x\", \"y\"]"), ["x", "y"]);
}

#[test]
fn args_and_pairs() {
    let Instruction::Arg(args) = instruction("# a what it is\nARG a b= c=d=e 'f g'") else {
        panic!();
    };
    let shown: Vec<_> = args
        .iter()
        .map(|arg| {
            (
                arg.name.text.as_str(),
                arg.default.as_ref().map(|word| word.text.as_str()),
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            ("a", None),
            ("b", Some("")),
            ("c", Some("d=e")),
            ("'f g'", None)
        ]
    );
    assert_eq!(args[0].description.as_deref(), Some("what it is"));
    let Instruction::Env(pairs) = instruction("ENV a  b c=d") else {
        panic!();
    };
    assert!(pairs[0].legacy);
    assert_eq!(
        (pairs[0].key.text.as_str(), pairs[0].value.text.as_str()),
        ("a", "b c=d")
    );
}

#[test]
fn triggers_keep_their_heredocs() {
    let Instruction::Onbuild(onbuild) = instruction("onbuild  RUN <<-A cat\n\tx\n\tA") else {
        panic!();
    };
    assert_eq!(onbuild.trigger, "RUN <<-A cat\n\tx\nA");
    let again = parse_trigger(&onbuild.trigger).unwrap();
    let Instruction::Run(run) = again.value else {
        panic!("{again:?}");
    };
    assert_eq!(run.heredocs[0].content, "x\n");
}

#[test]
fn triggers_are_one_instruction() {
    let error = |text: &str| parse_trigger(text).unwrap_err()[0].message.clone();
    assert_eq!(error(""), "the Dockerfile cannot be empty");
    assert_eq!(error("# x"), "file with no instructions");
    assert_eq!(error("FROM x"), "FROM isn't allowed as an ONBUILD trigger");
    assert_eq!(
        error("RUN x\nRUN y"),
        "onbuild trigger should be a single expression"
    );
    assert_eq!(error("FOOBAR x"), "unknown instruction: FOOBAR");
    assert_eq!(error("RUN <<A"), "unterminated heredoc");
    assert_eq!(parse_trigger("run  x").unwrap().text, "RUN  x");
}
