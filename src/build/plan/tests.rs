//! Plans of whole Dockerfiles.

use std::collections::BTreeMap;

use super::cut::Point;
use super::*;
use crate::context::Patterns;
use crate::dockerfile;
use crate::oci::{DiffId, Digest, ImageConfig, ImageId};

fn base(reference: &str, _platform: &Platform) -> Result<BaseImage, NoImage> {
    if reference == "missing" {
        return Err("missing: not found".to_owned().into());
    }
    let mut config = ImageConfig::default();
    config.config.env = vec!["PATH=/bin".to_owned(), "BASE=1".to_owned()];
    config.config.cmd = Some(vec!["sh".to_owned()]);
    if reference == "trigger" {
        config.config.on_build = vec!["RUN echo triggered".to_owned(), "ENV T=1".to_owned()];
    }
    Ok(BaseImage {
        reference: reference.to_owned(),
        id: ImageId(Digest::of(reference.as_bytes())),
        config,
        diff_ids: vec![DiffId(Digest::of(reference.as_bytes()))],
        remote: None,
    })
}

fn make(text: &str, args: &[(&str, &str)], target: Option<&str>) -> Result<Graph, PlanError> {
    let parsed = dockerfile::parse(text);
    assert!(parsed.diagnostics.is_empty(), "{:?}", parsed.diagnostics);
    let build_args: BTreeMap<String, String> = args
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let allow = BTreeSet::new();
    let (options, ignored) = (dockerfile::CheckOptions::default(), Patterns::default());
    let request = Request {
        several: false,
        allow: &allow,
        dockerfile: &parsed.dockerfile,
        build_args: &build_args,
        target,
        platform: &Platform::host(),
        network: RunNetwork::Default,
        choices: &Choices::default(),
        checks: &Checks::new(&options, &ignored),
        is_check: false,
        cut: None,
    };
    plan(&request, &mut base)
}

fn names(graph: &Graph) -> Vec<&str> {
    graph
        .vertices
        .iter()
        .map(|vertex| vertex.name.as_str())
        .collect()
}

fn history(graph: &Graph) -> Vec<&str> {
    graph
        .history
        .iter()
        .map(|item| item.created_by.as_str())
        .collect()
}

#[test]
fn unreachable_stages_are_left_out() {
    let text = "FROM a AS one\nRUN x\nFROM b AS two\nRUN y\nFROM scratch\nCOPY --from=two /f /\n";
    let graph = make(text, &[], None).unwrap();
    assert_eq!(
        names(&graph),
        [
            "[two 1/2] FROM b",
            "[two 2/2] RUN y",
            "[stage-2 1/1] COPY --from=two /f /"
        ]
    );
}

#[test]
fn targets_are_found_by_name_and_number() {
    let text = "FROM a AS One\nRUN x\nFROM b\nRUN y\n";
    for target in ["one", "ONE", "0"] {
        assert_eq!(
            names(&make(text, &[], Some(target)).unwrap())[1],
            "[one 2/2] RUN x"
        );
    }
    let err = make(text, &[], Some("on")).unwrap_err();
    assert_eq!(err.message, "target stage \"on\" could not be found");
    assert_eq!(err.hint.as_deref(), Some("did you mean one?"));
}

#[test]
fn a_stage_takes_over_its_base_stage() {
    let text = "FROM a AS x\nARG A=1\nENV E=2\nWORKDIR /w\nUSER u\nFROM x\nRUN id\n";
    let graph = make(text, &[], None).unwrap();
    let Op::Run(run) = &graph.vertices.last().unwrap().op else {
        unreachable!()
    };
    assert_eq!((run.cwd.as_str(), run.user.as_str()), ("/w", "u"));
    let env: Vec<String> = run
        .env
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    assert_eq!(env, ["PATH=/bin", "BASE=1", "A=1", "E=2"]);
    assert_eq!(
        history(&graph),
        [
            "ARG A=1",
            "ENV E=2",
            "WORKDIR /w",
            "USER u",
            "RUN |1 A=1 /bin/sh -c id # buildkit"
        ]
    );
}

#[test]
fn arguments_have_docker_scope() {
    let text = "ARG V=1\nFROM a:$V\nRUN echo\nARG V\nARG D=${V}x\nENV O=$D$BASE\nENV V=9 W=$V\n";
    let graph = make(text, &[], None).unwrap();
    assert_eq!(graph.base.as_ref().unwrap().reference, "a:1");
    assert!(graph.config.config.env.contains(&"O=1x1".to_owned()));
    assert!(graph.config.config.env.contains(&"W=1".to_owned()));
    let graph = make(text, &[("V", "2")], None).unwrap();
    assert_eq!(graph.base.as_ref().unwrap().reference, "a:2");
    assert!(graph.config.config.env.contains(&"O=2x1".to_owned()));
}

#[test]
fn entrypoint_clears_an_inherited_command_only() {
    let inherited = make("FROM a\nENTRYPOINT [\"e\"]\n", &[], None).unwrap();
    assert_eq!(inherited.config.config.cmd, None);
    let own = make("FROM a\nCMD [\"c\"]\nENTRYPOINT e\n", &[], None).unwrap();
    assert_eq!(own.config.config.cmd, Some(vec!["c".to_owned()]));
    assert_eq!(
        history(&own),
        ["CMD [\"c\"]", "ENTRYPOINT [\"/bin/sh\" \"-c\" \"e\"]"]
    );
}

#[test]
fn triggers_run_first_and_are_gone() {
    let graph = make("FROM trigger\nENV U=$T\n", &[], None).unwrap();
    assert!(graph.config.config.on_build.is_empty());
    assert!(graph.config.config.env.contains(&"U=1".to_owned()));
    assert_eq!(graph.vertices.len(), 2);
}

#[test]
fn circles_and_missing_images_are_refused() {
    let err = make("FROM missing\n", &[], None).unwrap_err();
    assert_eq!(err.message, "missing: not found");
    let err = make("FROM a AS x\nCOPY --from=y /a /\nFROM x AS y\n", &[], None).unwrap_err();
    assert!(
        err.message
            .contains("needs to be defined before current stage"),
        "{}",
        err.message
    );
    let err = make("FROM $NONE\n", &[], None).unwrap_err();
    assert_eq!(err.message, "base name ($NONE) should not be blank");
}

#[test]
fn heredocs_become_scripts() {
    let text =
        "FROM a\nRUN <<EOF\necho 1\necho 2\nEOF\nRUN <<S\n#!/bin/x\ny\nS\nRUN cat <<A\nz\nA\n";
    let graph = make(text, &[], None).unwrap();
    let argv = |at: usize| match &graph.vertices[at].op {
        Op::Run(run) => (run.argv[2].clone(), run.script.clone()),
        _ => unreachable!(),
    };
    assert_eq!(argv(1).0, "echo 1\necho 2\n");
    assert_eq!(argv(2).0, "/dev/pipes/S");
    assert_eq!(argv(2).1.unwrap().content, "#!/bin/x\ny\n");
    assert_eq!(argv(3).0, "cat <<A\nz\nA");
}

/// The mounts of the last step, each with the name of the step it takes a tree of.
fn mounts(text: &str, args: &[(&str, &str)]) -> Vec<(String, String)> {
    let graph = make(text, args, None).unwrap();
    let Op::Run(run) = &graph.vertices.last().unwrap().op else {
        unreachable!()
    };
    let from = |mount: &crate::build::mount::RunMount| {
        let from = mount.from();
        from.map_or_else(String::new, |from| graph.vertices[from.0].name.clone())
    };
    let shown = run.mounts.iter();
    shown.map(|one| (one.key_text(), from(one))).collect()
}

#[test]
fn mounts_have_their_defaults() {
    let text = "FROM a AS one\nRUN x\nFROM b\nARG K=cache\nWORKDIR /w\n\
        RUN --mount=target=d --mount=from=one,source=../s/./t,target=/x/../y,rw \
        --mount=type=$K,target=c --mount=type=tmpfs,target=/t,size=1k \
        --mount=type=secret,id=a/s --mount=type=secret,id=e,env= --mount=type=ssh --mount=type=ssh \
        --mount=from=one,target=/z --mount=source=/f,target=/f --mount=source=f,target=/g true\n";
    let mounts = mounts(text, &[]);
    let shown: Vec<(&str, &str)> = mounts
        .iter()
        .map(|(key, from)| (key.as_str(), from.as_str()))
        .collect();
    let (secret, socket) = ("mode=400,uid=0,gid=0", "mode=600,uid=0,gid=0");
    assert_eq!(
        shown,
        [
            (
                "type=bind,source=,target=/w/d,readonly=true",
                "[internal] load build context"
            ),
            (
                "type=bind,source=s/t,target=/y,readonly=false",
                "[one 2/2] RUN x"
            ),
            ("type=cache,source=,target=/w/c,readonly=false", ""),
            ("type=tmpfs,size=1024,target=/t,readonly=false", ""),
            (
                &format!("type=secret,id=a/s,{secret},target=/run/secrets/s,readonly=true"),
                ""
            ),
            (
                &format!("type=secret,id=e,env=e,{secret},target=,readonly=true"),
                ""
            ),
            (
                &format!(
                    "type=ssh,id=default,{socket},target=/run/buildkit/ssh_agent.0,readonly=true"
                ),
                ""
            ),
            (
                &format!(
                    "type=ssh,id=default,{socket},target=/run/buildkit/ssh_agent.1,readonly=true"
                ),
                ""
            ),
            (
                "type=bind,source=,target=/z,readonly=true",
                "[one 2/2] RUN x"
            ),
            (
                "type=bind,source=f,target=/f,readonly=true",
                "[internal] load build context f"
            ),
            (
                "type=bind,source=f,target=/g,readonly=true",
                "[internal] load build context f"
            ),
        ]
    );
}

#[test]
fn variables_in_mounts_split_nothing() {
    let text = "FROM a\nARG T\nRUN --mount=type=tmpfs,target=/x/$T true\n";
    let mounts = mounts(text, &[("T", "a,ro")]);
    assert_eq!(
        mounts[0].0,
        "type=tmpfs,size=0,target=/x/a\\,ro,readonly=false"
    );
}

#[test]
fn rights_that_were_not_given_are_refused_in_their_place() {
    for (flag, message) in [
        ("--network=host", "network.host is not allowed"),
        ("--security=insecure", "security.insecure is not allowed"),
        ("--mount=type=cache,target=/", "invalid mount target \"/\""),
        ("--mount=type=tmpfs", "invalid mount target \"/\""),
    ] {
        let text = format!("FROM a\nRUN {flag} true\n");
        let err = make(&text, &[], None).unwrap_err();
        assert_eq!(err.message, message);
        assert!(flag.contains(&text[err.span.start..err.span.end]), "{flag}");
    }
}

/// Plans up to a cut; the steps' names, and the command of the last one.
fn cut_at(text: &str, cut: Cut) -> Result<(Vec<String>, Vec<String>), PlanError> {
    let parsed = dockerfile::parse(text);
    let (options, ignored) = (dockerfile::CheckOptions::default(), Patterns::default());
    let request = Request {
        choices: &Choices::default(),
        checks: &Checks::new(&options, &ignored),
        is_check: false,
        several: false,
        dockerfile: &parsed.dockerfile,
        build_args: &BTreeMap::new(),
        target: None,
        platform: &Platform::host(),
        network: RunNetwork::Default,
        allow: &BTreeSet::new(),
        cut: Some(cut),
    };
    let mut graph = plan(&request, &mut base)?;
    let argv = cut::take_ending(&mut graph).map_or(Vec::new(), |ending| ending.op.argv);
    let names = graph.vertices.iter().map(|vertex| vertex.name.clone());
    Ok((names.collect(), argv))
}

const CUT: &str = "FROM img AS a\nRUN one\nFROM a AS b\nSHELL [\"/bin/bash\", \"-ec\"]\n\
    RUN --mount=from=c2,target=/m two\nENV A=1\nRUN three\nFROM b\nRUN four\n";

#[test]
fn a_plan_ends_where_it_is_cut() {
    let check = |stage, point, after, probe, names: &[&str], argv: &[&str]| {
        let cut = Cut {
            stage,
            point,
            after,
            probe,
        };
        let (got, last) = cut_at(CUT, cut).unwrap();
        assert_eq!((got, last), (strings(names), strings(argv)), "{cut:?}");
    };
    let first = ["[a 1/2] FROM img", "[a 2/2] RUN one"];
    let with_mount = ["[a 1/2] FROM img", "[a 2/2] RUN one", "FROM c2"];
    let bash = &["/bin/bash"];
    // The shell of the stage, with what the step mounts and without the step.
    check(1, Point::Step(1), false, true, &with_mount, bash);
    check(1, Point::Own(1), false, true, &with_mount, bash);
    check(1, Point::At(1), false, true, &with_mount, bash);
    // Before an instruction that changes the shell, it has not.
    check(1, Point::Own(0), false, true, &first, &["/bin/sh"]);
    check(0, Point::From, false, true, &first[..1], &["/bin/sh"]);
    check(0, Point::Step(1), false, true, &first[..1], &["/bin/sh"]);
    check(0, Point::End, false, true, &first, &["/bin/sh"]);
    // Without a shell the plan ends with the step itself.
    check(
        0,
        Point::Step(2),
        true,
        false,
        &first[..1],
        &["/bin/sh", "-c", "one"],
    );
    let missing = Cut {
        stage: 1,
        point: Point::Step(3),
        after: false,
        probe: true,
    };
    let error = cut_at(CUT, missing).unwrap_err();
    assert_eq!(error.message, "stage \"b\" has no step 3");
    assert_eq!(
        error.hint.as_deref(),
        Some("its steps are numbered up to 2")
    );
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn vertices_know_their_instruction() {
    let graph = make(
        "FROM trigger AS a\nWORKDIR /w\nFROM img\nCOPY --from=a /x /\n",
        &[],
        None,
    );
    let graph = graph.unwrap();
    let places: Vec<_> = graph
        .places
        .iter()
        .map(|place| place.map(|place| (place.stage, place.at)))
        .collect();
    let names = names(&graph);
    // Triggers of the base image come before the stage's own instructions.
    let expected = [None, Some((0, 0)), Some((0, 2)), None, Some((1, 0))];
    assert_eq!(places, expected, "{names:?}");
}
