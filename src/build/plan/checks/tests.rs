use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::build::RunNetwork;
use crate::build::bases::NoImage;
use crate::build::graph::BaseImage;
use crate::build::plan::{Choices, Request, check};
use crate::dockerfile::parse;
use crate::oci::{Digest, ImageConfig, ImageId, Platform};

/// Images: `base` has a variable and a shell; `foreign` is for another machine;
/// `trigger` has triggers; others are missing.
fn image(reference: &str, _platform: &Platform) -> Result<BaseImage, NoImage> {
    let mut config = ImageConfig {
        architecture: "amd64".to_owned(),
        os: "linux".to_owned(),
        ..ImageConfig::default()
    };
    match reference {
        "plain" => {}
        "base" => {
            config.config.env = vec!["BASE=1".to_owned()];
            config.config.shell = vec!["/bin/bash".to_owned(), "-c".to_owned()];
        }
        "foreign" => config.architecture = "s390x".to_owned(),
        "trigger" => {
            let triggers = ["ENV K v", "CMD x", "EXPOSE 80/TCP"];
            config.config.on_build = triggers.map(str::to_owned).to_vec();
        }
        _ => return Err("not found".to_owned().into()),
    }
    Ok(BaseImage {
        reference: reference.to_owned(),
        id: ImageId(Digest::of(reference.as_bytes())),
        config,
        diff_ids: Vec::new(),
        remote: None,
    })
}

/// The rules that fire, with their lines and messages, and the error if any.
fn found(text: &str, target: Option<&str>, args: &[(&str, &str)], ignored: &str) -> Vec<String> {
    let parsed = parse(text);
    let options = parsed.dockerfile.check.as_ref();
    let options = options.map_or("", |check| check.value.as_str());
    let options = CheckOptions::read(options).unwrap();
    let ignored = Patterns::new(&Patterns::read(ignored)).unwrap();
    let checks = Checks::new(&options, &ignored);
    let args = args
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let request = Request {
        cut: None,
        dockerfile: &parsed.dockerfile,
        build_args: &args.collect::<BTreeMap<_, _>>(),
        target,
        platform: &"linux/amd64".parse::<Platform>().unwrap(),
        several: false,
        network: RunNetwork::Default,
        allow: &BTreeSet::new(),
        checks: &checks,
        is_check: true,
        choices: &Choices::default(),
    };
    let result = check(&request, &mut image);
    let mut lines: Vec<String> = checks
        .found()
        .iter()
        .map(|found| {
            let line = found.span.line(text);
            let Level::Warning(rule) = found.level else {
                return "error".to_owned();
            };
            format!("{rule} {line}: {}", found.message)
        })
        .collect();
    lines.extend(result.err().map(|err| format!("error: {err}")));
    lines
}

fn see(text: &str, want: &[&str]) {
    assert_eq!(found(text, None, &[], ""), want, "{text}");
}

/// As [`see`], by the beginnings of the lines.
fn rules(text: &str, want: &[&str]) {
    let got = found(text, None, &[], "");
    let got: Vec<_> = got
        .iter()
        .map(|line| line.split(':').next().unwrap())
        .collect();
    assert_eq!(got, want, "{text}");
}

#[test]
fn variables_that_nothing_sets() {
    see(
        "FROM plain\nARG foo\nCOPY a${foo} .\nCOPY a$bar $baz/\n",
        &[
            "UndefinedVar 4: Usage of undefined variable '$bar'",
            "UndefinedVar 4: Usage of undefined variable '$baz'",
        ],
    );
    see(
        "FROM plain\nENV PATH=$PAHT:/x\n",
        &["UndefinedVar 2: Usage of undefined variable '$PAHT' (did you mean $PATH?)"],
    );
    see(
        "FROM scratch\nARG DIR=/x\nARG ASSET=a\nCOPY $DIR/$ASSTE /\n",
        &["UndefinedVar 4: Usage of undefined variable '$ASSTE' (did you mean $ASSET?)"],
    );
    // Every word counts for itself; one that is looked at twice does not.
    rules(
        "FROM plain\nCOPY --chown=$m $m $m /\n",
        &["UndefinedVar 2"; 3],
    );
}

#[test]
fn variables_that_something_sets() {
    for text in [
        "FROM base\nENV x=$BASE y=$PATH\n",
        "FROM plain\nARG x\nENV y=$x\n",
        "FROM plain AS a\nARG x=1\nENV y=2\nFROM a\nLABEL z=$x$y\n",
        "FROM plain\nRUN echo $nothing\nCMD [\"$nothing\"]\nEXPOSE $nothing 80\n",
        "FROM plain\nARG TARGETARCH\nENV x=$TARGETARCH\n",
        "FROM plain\nARG a=1 b=$a\n",
        "FROM plain\nENV x=${y:-z}\n# check=skip=UndefinedVar\nENV z=$w\n",
    ] {
        let got = found(text, None, &[], "");
        let got: Vec<_> = got.iter().filter(|line| !line.contains("'$y'")).collect();
        assert!(got.is_empty(), "{text}: {got:?}");
    }
    // A base that is not there may set anything.
    see("FROM missing\nENV x=$y\n", &[]);
}

#[test]
fn an_argument_is_known_from_its_place_on() {
    rules("FROM plain\nARG b=$a\nARG a\n", &["UndefinedVar 2"]);
    rules("FROM plain\nENV a=1 b=$a\n", &["UndefinedVar 2"]);
    rules("ARG g=1\nFROM plain\nENV b=$g\n", &["UndefinedVar 3"]);
    rules("FROM plain\nARG b=$a\n", &["UndefinedVar 2"]);
    // A default that is not needed is not looked at.
    let got = found("FROM plain\nARG b=$a\n", None, &[("b", "1")], "");
    assert!(got.is_empty(), "{got:?}");
}

#[test]
fn heredocs_use_variables_too() {
    rules("FROM plain\nCOPY <<E /x\n$a\nE\n", &["UndefinedVar 2"]);
    see("FROM plain\nCOPY <<'E' /x\n$a\nE\n", &[]);
    see("FROM plain\nRUN <<E\n$a\nE\n", &[]);
}

#[test]
fn mounts_use_variables_and_nothing_has_to_be_allowed() {
    rules(
        "FROM plain\nRUN --mount=type=cache,target=/x$a true\n",
        &["UndefinedVar 2"],
    );
    see(
        "FROM plain\nRUN --security=insecure --network=host --device=a/b=c true\n",
        &[],
    );
}

#[test]
fn arguments_in_from() {
    see(
        "FROM --platform=$BULIDPLATFORM scratch\n",
        &[
            "UndefinedArgInFrom 1: FROM argument 'BULIDPLATFORM' is not declared (did you mean BUILDPLATFORM?)",
            "error: empty platform value from expression $BULIDPLATFORM",
        ],
    );
    see("ARG DEBUG\nFROM scra${DEBUG:-tch}\n", &[]);
    rules("FROM scra${DEBUG:-tch}\n", &["UndefinedArgInFrom 1"]);
    see("ARG base=scratch\nFROM $base\n", &[]);
    see(
        "FROM $x\n",
        &[
            "InvalidDefaultArgInFrom 1: Default value for ARG $x results in empty or invalid base image name",
            "UndefinedArgInFrom 1: FROM argument 'x' is not declared",
            "error: base name ($x) should not be blank",
        ],
    );
}

#[test]
fn bases_by_default() {
    rules(
        "ARG IMAGE\nFROM $IMAGE\n",
        &["InvalidDefaultArgInFrom 2", "error"],
    );
    let text = "ARG IMAGE\nARG V=\nFROM $IMAGE\nFROM plain:${V}\nFROM plain:a$V";
    let got = found(text, None, &[("IMAGE", "plain"), ("V", "x")], "");
    let got: Vec<_> = got
        .iter()
        .map(|line| line.split(':').next().unwrap())
        .collect();
    assert_eq!(
        got,
        ["InvalidDefaultArgInFrom 3", "InvalidDefaultArgInFrom 4"]
    );
    // An argument of a stage is none of FROM.
    see(
        "FROM plain\nARG ABC=bo\nFROM ${ABC}x\n",
        &["UndefinedArgInFrom 3: FROM argument 'ABC' is not declared"],
    );
}

#[test]
fn platforms() {
    rules(
        "FROM --platform=$TARGETPLATFORM scratch\n",
        &["RedundantTargetPlatform 1"],
    );
    rules(
        "FROM --platform=${TARGETPLATFORM} scratch\n",
        &["RedundantTargetPlatform 1"],
    );
    see("FROM --platform=$BUILDPLATFORM scratch\n", &[]);
    rules(
        "FROM --platform=linux/amd64 scratch\n",
        &["FromPlatformFlagConstDisallowed 1"],
    );
    see("FROM --platform=linux/amd64 scratch AS a-amd64\n", &[]);
    see("FROM --platform=linux/amd64 scratch AS linux\n", &[]);
    see(
        "FROM foreign\n",
        &[
            "InvalidBaseImagePlatform 1: Base image foreign was pulled with platform \"linux/s390x\", expected \"linux/amd64\" for current build",
        ],
    );
}

#[test]
fn keys_and_values() {
    rules(
        "FROM plain\nENV a b\nLABEL c d\nENV e=f\n",
        &["LegacyKeyValueFormat 2", "LegacyKeyValueFormat 3"],
    );
    rules(
        "ARG TOKEN=x\nFROM plain\nENV SECRET=a b=c key=d\nARG auth public_key\n",
        &[
            "SecretsUsedInArgOrEnv 3",
            "SecretsUsedInArgOrEnv 3",
            "SecretsUsedInArgOrEnv 4",
        ],
    );
}

#[test]
fn ports() {
    see(
        "FROM plain\nARG p=80/TCP\nEXPOSE $p 1.2.3.4:1:2\n",
        &[
            "ExposeProtoCasing 3: Defined protocol '80/TCP' in EXPOSE instruction should be lowercase",
            "ExposeInvalidFormat 3: EXPOSE instruction should not define an IP address or host-port mapping, found '1.2.3.4:1:2'",
        ],
    );
}

#[test]
fn commands() {
    rules(
        "FROM plain\nCMD x\nENTRYPOINT y\n",
        &["JSONArgsRecommended 2", "JSONArgsRecommended 3"],
    );
    see("FROM base\nCMD x\n", &[]);
    see("FROM plain AS a\nSHELL [\"x\"]\nFROM a\nCMD y\n", &[]);
    see("FROM plain\nCMD [\"x\"]\nHEALTHCHECK CMD y\n", &[]);
    rules(
        "FROM plain\nCMD [\"x\"]\nHEALTHCHECK NONE\nCMD [\"y\"]\nHEALTHCHECK CMD z\n",
        &[
            "MultipleInstructionsDisallowed 2",
            "MultipleInstructionsDisallowed 3",
        ],
    );
    see("FROM plain AS a\nCMD [\"x\"]\nFROM a\nCMD [\"y\"]\n", &[]);
    // The comment of the one that counts decides.
    see(
        "FROM plain\nCMD [\"x\"]\n# check=skip=MultipleInstructionsDisallowed\nCMD [\"y\"]\n",
        &[],
    );
}

#[test]
fn directories() {
    rules(
        "FROM plain\nWORKDIR a\nWORKDIR b\n",
        &["WorkdirRelativePath 2"],
    );
    see("FROM plain AS a\nWORKDIR /app\nFROM a\nWORKDIR b\n", &[]);
    rules("FROM missing\nWORKDIR a\n", &["WorkdirRelativePath 2"]);
    see("FROM plain\nARG d=/x\nWORKDIR $d\nWORKDIR y\n", &[]);
}

#[test]
fn triggers_are_checked_where_the_base_stands() {
    rules(
        "FROM plain\nFROM trigger\n",
        &[
            "LegacyKeyValueFormat 2",
            "JSONArgsRecommended 2",
            "ExposeProtoCasing 2",
        ],
    );
}

#[test]
fn sources_that_are_ignored() {
    let rules = |text: &str, ignored: &str, want: &[&str]| {
        let got = found(text, None, &[], ignored);
        let got: Vec<_> = got.iter().map(String::as_str).collect();
        assert_eq!(got, want, "{text} {ignored}");
    };
    let copied =
        ["CopyIgnoredFile 2: Attempting to Copy file \"a\" that is excluded by .dockerignore"];
    rules("FROM plain\nCOPY a /", "a\n", &copied);
    rules("FROM plain\nCOPY ./a/ /", "/a\n", &copied);
    rules("FROM plain\nCOPY a /", "b\n!c\n", &[]);
    rules("FROM plain\nCOPY a /", "a\n!a/b\n", &[]);
    rules("FROM plain\nCOPY . /", "a\n", &[]);
    rules(
        "FROM plain\nADD . /",
        "*\n",
        &["CopyIgnoredFile 2: Attempting to Add file \".\" that is excluded by .dockerignore"],
    );
    rules(
        "FROM plain\nCOPY *.txt x/y /",
        "*.txt\nx\n",
        &[
            "CopyIgnoredFile 2: Attempting to Copy file \"*.txt\" that is excluded by .dockerignore",
            "CopyIgnoredFile 2: Attempting to Copy file \"x/y\" that is excluded by .dockerignore",
        ],
    );
    rules("FROM plain AS b\nFROM plain\nCOPY --from=b a /", "a\n", &[]);
    rules("FROM plain\nCOPY <<a /\na\n", "a\n", &[]);
}

#[test]
fn only_stages_that_the_target_needs_are_looked_at() {
    let text = "FROM plain AS a\nENV a b\nFROM plain AS b\nENV c d\nFROM a AS c\nFROM $no AS d\n";
    let got = found(text, Some("c"), &[], "");
    // FROM is looked at everywhere, as BuildKit does.
    assert_eq!(
        got.last().unwrap(),
        "error: base name ($no) should not be blank"
    );
    let text = text.replace("FROM $no AS d\n", "");
    let got = found(&text, Some("c"), &[], "");
    assert_eq!(got.len(), 1, "{got:?}");
    assert_eq!(found(&text, None, &[], "").len(), 2);
}

#[test]
fn stages_that_refer_to_each_other() {
    let error = |text: &str, want: &str| {
        let got = found(text, None, &[], "");
        assert_eq!(got, [format!("error: {want}")], "{text}");
    };
    error(
        "FROM plain AS a\nCOPY --from=b x /\nFROM plain AS b\nCOPY --from=a x /\n",
        "circular dependency detected on stage: a",
    );
    error(
        "FROM plain AS a\nCOPY --from=a x /\n",
        "circular dependency detected on stage: a",
    );
    error(
        "FROM plain\nCOPY --from=0 x /\n",
        "circular dependency detected on stage: stage-0",
    );
    error("FROM plain\nCOPY --from=1 x /\n", "invalid stage index 1");
    error("FROM plain\nCOPY --from=-1 x /\n", "invalid stage index -1");
    error(
        "FROM plain\nCOPY --from=b x /\nFROM plain AS b\n",
        "cannot copy from stage \"b\", it needs to be defined before current stage \"stage-0\"",
    );
}

#[test]
fn a_long_chain_of_stages_is_planned() {
    let mut text = "FROM plain AS s0\n".to_owned();
    for stage in 1..1_000 {
        text.push_str(&format!(
            "FROM s{} AS s{stage}\nCOPY --from=s{0} a /\n",
            stage - 1
        ));
    }
    assert_eq!(found(&text, None, &[], ""), [""; 0]);
}
