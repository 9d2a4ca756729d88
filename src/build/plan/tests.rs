//! Plans of whole Dockerfiles.

use std::collections::BTreeMap;

use super::*;
use crate::dockerfile;
use crate::oci::{DiffId, Digest, ImageConfig, ImageId};

fn base(reference: &str) -> Result<BaseImage, String> {
    if reference == "missing" {
        return Err("missing: not found".to_owned());
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
    let request = Request {
        allow: &allow,
        dockerfile: &parsed.dockerfile,
        build_args: &build_args,
        target,
        platform: &Platform::host(),
        network: RunNetwork::Default,
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
