//! The configuration and the history that instructions write.

use serde_json::json;

use super::{FILES, Project, RUNS, needs};

#[test]
fn every_instruction_reaches_the_configuration() {
    if !needs(&FILES) {
        return;
    }
    let project = Project::from_scratch(
        r#"FROM scratch
MAINTAINER Someone <some@one>
ENV A=1 B="two words" C=$A
ENV legacy with spaces
ENV A=changed
ENV D=$A$C
LABEL one=1 "two words"="three words" multi="a\
b"
EXPOSE 80 443/TCP 8000-8002/udp
VOLUME /data "/more"
VOLUME ["/json"]
USER 1000:100
WORKDIR /a
WORKDIR b/../c
STOPSIGNAL SIGQUIT
SHELL ["/bin/bash", "-c"]
HEALTHCHECK --interval=1m30s --timeout=3s --start-period=500ms --retries=4 CMD curl -f http://x
ENTRYPOINT exec top
CMD ["a", "b c"]
ONBUILD RUN echo child
ONBUILD COPY . /app
"#,
    );
    project.build(&["--label", "cli=yes", "--label", "one=over"]);
    let config = project.config();
    assert_eq!(config["os"], "linux");
    let architecture = rbuild::oci::Platform::host().architecture;
    assert_eq!(config["architecture"], architecture);
    assert_eq!(config["author"], "Someone <some@one>");
    let expected = json!({
        "User": "1000:100",
        "ExposedPorts": {"443/tcp": {}, "80/tcp": {}, "8000/udp": {}, "8001/udp": {}, "8002/udp": {}},
        "Env": [
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "A=changed", "B=two words", "C=", "legacy=with spaces", "D=changed",
        ],
        "Entrypoint": ["/bin/bash", "-c", "exec top"],
        "Cmd": ["a", "b c"],
        "Volumes": {"/data": {}, "/json": {}, "/more": {}},
        "WorkingDir": "/a/c",
        "Labels": {"cli": "yes", "multi": "ab", "one": "over", "two words": "three words"},
        "StopSignal": "SIGQUIT",
        "ArgsEscaped": true,
        "OnBuild": ["RUN echo child", "COPY . /app"],
        "Healthcheck": {
            "Test": ["CMD-SHELL", "curl -f http://x"],
            "Interval": 90_000_000_000_u64, "Timeout": 3_000_000_000_u64,
            "StartPeriod": 500_000_000, "Retries": 4,
        },
        "Shell": ["/bin/bash", "-c"],
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&config["config"][name], value, "{name}");
    }
    for name in config["config"].as_object().unwrap().keys() {
        assert!(expected.get(name).is_some(), "{name} in {config}");
    }
}

#[test]
fn history_reads_as_buildkit_writes_it() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox(
        r#"FROM busybox
ARG V=1
ARG W
ENV E=$V F="a b"
LABEL l=x
WORKDIR /
WORKDIR /w
COPY --chown=1:2 --chmod=700 one Dockerfile ./
COPY <<EOF /here
x
EOF
ADD one /added
RUN true
RUN ["/bin/true", "a b"]
CMD ["sh", "-c"]
ENTRYPOINT top -b
EXPOSE 81 80
VOLUME /data
USER nobody
STOPSIGNAL 9
SHELL ["/bin/ash", "-c"]
HEALTHCHECK --interval=5m CMD true
HEALTHCHECK NONE
ONBUILD RUN x
"#,
    );
    project.file("one", "1");
    project.build(&["--build-arg", "W=2"]);
    let config = project.config();
    let history = config["history"].as_array().unwrap();
    let texts: Vec<(&str, bool)> = history
        .iter()
        .map(|entry| {
            let text = entry["created_by"].as_str().unwrap();
            (text, entry["empty_layer"].as_bool().unwrap_or(false))
        })
        .collect();
    let expected = [
        ("busybox", false),
        ("ARG V=1", true),
        ("ARG W=2", true),
        ("ENV E=1 F=a b", true),
        ("LABEL l=x", true),
        ("WORKDIR /", true),
        ("WORKDIR /w", false),
        (
            "COPY --chown=1:2 --chmod=700 one Dockerfile ./ # buildkit",
            false,
        ),
        ("COPY <<EOF /here # buildkit", false),
        ("ADD one /added # buildkit", false),
        ("RUN |2 V=1 W=2 /bin/sh -c true # buildkit", false),
        ("RUN |2 V=1 W=2 /bin/true a b # buildkit", false),
        ("CMD [\"sh\" \"-c\"]", true),
        ("ENTRYPOINT [\"/bin/sh\" \"-c\" \"top -b\"]", true),
        ("EXPOSE [80/tcp 81/tcp]", true),
        ("VOLUME [/data]", true),
        ("USER nobody", true),
        ("STOPSIGNAL 9", true),
        ("SHELL [/bin/ash -c]", true),
        (
            "HEALTHCHECK {Test:[CMD-SHELL true] Interval:5m0s Timeout:0s StartPeriod:0s \
             StartInterval:0s Retries:0}",
            true,
        ),
        (
            "HEALTHCHECK {Test:[NONE] Interval:0s Timeout:0s StartPeriod:0s StartInterval:0s Retries:0}",
            true,
        ),
    ];
    assert_eq!(texts, expected);
    for entry in &history[1..] {
        assert_eq!(entry["comment"], "buildkit.dockerfile.v0");
        assert!(entry["created"].is_string(), "{entry}");
    }
}

#[test]
fn triggers_run_in_the_child_and_are_gone() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox(
        "FROM busybox\nONBUILD COPY one /from-context\nONBUILD RUN echo $V > /ran\nONBUILD ENV T=set\n",
    );
    project.file("one", "1");
    project.build(&["-t", "base"]);
    assert!(!project.tree().has("ran"));
    project.file("Dockerfile", "FROM base\nRUN echo $T > /own\n");
    let outcome = project.build(&[]);
    assert_eq!(
        outcome.ended("DONE"),
        [
            "COPY one /from-context",
            "RUN echo $V > /ran",
            "RUN echo $T > /own"
        ]
    );
    let tree = project.tree();
    assert_eq!(tree.text("from-context"), "1");
    assert_eq!(tree.text("own"), "set\n");
    assert!(project.config()["config"].get("OnBuild").is_none());
}

#[test]
fn a_child_takes_over_what_it_does_not_change() {
    if !needs(&FILES) {
        return;
    }
    let project = Project::from_scratch(
        "FROM scratch\nENV A=1\nCMD [\"c\"]\nLABEL l=1\nEXPOSE 1\nUSER u\nHEALTHCHECK CMD [\"h\"]\n",
    );
    project.build(&["-t", "base"]);
    project.file("one", "1");
    project.file(
        "Dockerfile",
        "FROM base\nCOPY one /\nENV B=$A\nENTRYPOINT [\"e\"]\nEXPOSE 2\nLABEL m=2\n",
    );
    project.build(&[]);
    let config = &project.config()["config"];
    assert!(config.get("Cmd").is_none(), "{config}");
    assert_eq!(config["Entrypoint"], json!(["e"]));
    assert_eq!(config["ExposedPorts"], json!({"1/tcp": {}, "2/tcp": {}}));
    assert_eq!(config["Labels"], json!({"l": "1", "m": "2"}));
    assert_eq!(config["User"], "u");
    assert_eq!(config["Healthcheck"]["Test"], json!(["CMD", "h"]));
    assert_eq!(config["Env"][2], "B=1");
    assert_eq!(project.image().manifest.layers.len(), 1);
}

#[test]
fn an_image_may_have_no_layer_at_all() {
    if !needs(&FILES) {
        return;
    }
    let project = Project::from_scratch("FROM scratch\nCMD [\"x\"]\n");
    project.build(&[]);
    assert_eq!(project.tree().len(), 0);
    let file = project.home().scratch().join("empty.tar");
    let file = file.to_str().unwrap();
    project.home().run(&["save", "-o", file, "result"]).ok();
    project.home().run(&["load", "-i", file]).ok();
}

#[test]
fn working_directories_are_made_once_and_owned_by_the_user() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox("");
    let tree = project.tree_of(
        "FROM busybox\nWORKDIR /tmp\nUSER www-data\nWORKDIR /a/b\nWORKDIR /root\nENV d=c\nWORKDIR /$d\n\
         USER 5\nWORKDIR n\n",
    );
    assert_eq!(tree.meta("tmp"), "d1777 0:0");
    assert_eq!(tree.meta("a"), "d0755 33:33");
    assert_eq!(tree.meta("a/b"), "d0755 33:33");
    assert_eq!(tree.meta("root"), "d0700 0:0");
    assert_eq!(tree.meta("c"), "d0755 33:33");
    assert_eq!(tree.meta("c/n"), "d0755 5:0");
}
