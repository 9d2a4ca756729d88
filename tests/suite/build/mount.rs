//! `RUN --mount`: what is seen, what is kept, and what never reaches a layer.

use std::time::{Duration, Instant};

use super::{Project, RUNS, needs};

/// How long something may take that has to happen.
const PATIENCE: Duration = Duration::from_mins(1);

#[test]
fn files_of_the_context_are_bound_and_not_kept() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox(
        "FROM busybox\nWORKDIR /work\n\
         RUN --mount=target=/all --mount=source=dir,target=d --mount=src=one,dst=/etc/deep/one \
         cat /all/one d/two /etc/deep/one > /seen; ls -A /all > /names; \
         ! touch /all/new 2>/dev/null && ! touch d/new 2>/dev/null\n\
         RUN --mount=target=/all,rw touch /all/new && ls /all > /written\n\
         RUN --mount=target=/all,rw ls /all > /again\n",
    );
    project.file("one", "1\n");
    project.file("dir/two", "2\n");
    project.file("secret", "hidden");
    project.file(".dockerignore", "secret\n");
    project.build(&[]);
    let tree = project.tree();
    assert_eq!(tree.text("seen"), "1\n2\n1\n");
    assert_eq!(tree.text("names"), ".dockerignore\nDockerfile\ndir\none\n");
    assert!(tree.text("written").contains("new"));
    assert!(!tree.text("again").contains("new"));
    for trace in ["all", "work/d", "etc/deep"] {
        assert!(!tree.has(trace), "{trace}: {:?}", tree.files());
    }
    project.assert_tidy();
}

#[test]
fn only_what_is_bound_decides_whether_a_step_runs_again() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox(
        "FROM busybox AS made\nCOPY all /all\nRUN mkdir -p /out && cp /all/used /out/used\n\
         FROM busybox\n\
         RUN --mount=source=dir,target=/d cat /d/* > /from-context\n\
         RUN --mount=from=made,source=/out,target=/o,rw cat /o/used > /from-stage; touch /o/new\n",
    );
    project.file("dir/a", "a");
    project.file("other", "1");
    project.file("all/used", "u");
    project.file("all/unused", "1");
    project.build(&[]);
    project.file("other", "2");
    project.file("all/unused", "2");
    let outcome = project.build(&[]);
    let ran = outcome.ended("DONE");
    assert!(ran.iter().all(|step| !step.contains("--mount")), "{ran:?}");
    assert_eq!(outcome.ended("CACHED").len(), 2, "{outcome:?}");
    project.file("dir/a", "b");
    let outcome = project.build(&["--explain-cache"]);
    assert_eq!(outcome.ended("DONE").len(), 2, "{outcome:?}");
    assert!(outcome.stderr.contains("a tree that it mounts has changed"));
    assert_eq!(project.tree().text("from-context"), "b");
    project.file("all/used", "v");
    project.build(&[]);
    assert_eq!(project.tree().text("from-stage"), "v");
}

#[test]
fn sources_are_paths_and_stay_in_their_tree() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox(
        "FROM busybox AS linked\nRUN mkdir -p /real && echo inside > /real/f && \
         ln -s /real /absolute && ln -s ../../../real /climbing && ln -s /etc/passwd /p\n\
         FROM busybox\n\
         RUN --mount=source=*,target=/star cat /star > /star-seen\n\
         RUN --mount=from=linked,source=absolute,target=/a --mount=from=linked,source=/climbing,target=/c \
         --mount=from=linked,source=p,target=/p --mount=from=busybox,source=/etc,target=/be \
         --mount=from=0,source=../../real/f,target=/f --mount=from=scratch,target=/nothing \
         cat /a/f /c/f /f > /linked && grep -q root /p && test -f /be/passwd && \
         test -z \"$(ls /nothing)\"\n",
    );
    project.file("*", "a star\n");
    project.file("x", "not this\n");
    project.build(&[]);
    let tree = project.tree();
    assert_eq!(tree.text("star-seen"), "a star\n");
    assert_eq!(tree.text("linked"), "inside\ninside\ninside\n");
    project.refuses(
        "FROM busybox\nRUN true\nRUN --mount=source=gone,target=/m true\n",
        "\"/gone\": not found",
    );
    let outcome = project.try_build(&[]);
    assert!(outcome.stderr.contains("Dockerfile:3"), "{outcome:?}");
    project.refuses(
        "FROM busybox AS a\nFROM busybox\nRUN --mount=from=a,source=/gone,target=/m true\n",
        "\"/gone\": not found",
    );
    project.refuses(
        "FROM busybox\nRUN ln -s /proc /p\nRUN --mount=type=tmpfs,target=/p/fs true\n",
        "invalid mount target \"/p/fs\"",
    );
}

#[test]
fn a_cache_outlives_steps_and_builds_and_reaches_no_layer() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox("");
    let step = |more: &str, script: &str| format!("RUN --mount=type=cache,{more} {script}\n");
    let tree = project.tree_of(&format!(
        "FROM busybox\nARG NAME=named\n{}{}{}{}{}{}",
        step("target=/c", "touch /c/1 && echo kept > /c/2"),
        step("target=/c/", "cat /c/2 > /read"),
        step(
            "id=$NAME,target=/x,mode=750,uid=5,gid=6",
            "stat -c '%a %u %g' /x > /made"
        ),
        step("id=named,target=/y", "ls /y | wc -l > /other-base"),
        step("target=/c,ro", "! touch /c/3 2>/dev/null; ls /c > /listed"),
        step("target=/c,source=2", "cat /c >> /read"),
    ));
    assert_eq!(tree.text("read"), "kept\nkept\n");
    assert_eq!(tree.text("made"), "750 5 6\n");
    assert_eq!(tree.text("other-base"), "0\n");
    assert_eq!(tree.text("listed"), "1\n2\n");
    assert!(!tree.has("c") && !tree.has("x"), "{:?}", tree.files());
    // Another build, with another namespace and without.
    let text = format!(
        "FROM busybox\n{}",
        step("id=/c,target=/d", "ls /d | wc -l > /n")
    );
    project.file("Dockerfile", &text);
    project.build(&["--build-arg", "BUILDKIT_CACHE_MOUNT_NS=mine"]);
    assert_eq!(project.tree().text("n"), "0\n");
    assert_eq!(project.build(&[]).ended("CACHED").len(), 1);
    project.build(&["--no-cache"]);
    assert_eq!(project.tree().text("n"), "2\n");
    let caches = project.store().cache_mounts().unwrap();
    let names: Vec<(&str, &str)> = caches
        .iter()
        .map(|row| (row.namespace.as_str(), row.key.as_str()))
        .collect();
    assert_eq!(
        names,
        [("", "/c"), ("", "named"), ("", "named"), ("mine", "/c")]
    );
}

#[test]
fn a_cache_begins_with_what_it_is_told() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox("");
    let tree = project.tree_of(
        "FROM busybox AS seed\nRUN mkdir -p /s/d && echo seed > /s/d/f && chown 3:4 /s/d/f && \
         chmod 640 /s/d/f && ln -s d/f /s/l\n\
         FROM busybox\n\
         RUN --mount=type=cache,from=seed,source=/s,target=/c cat /c/l > /one && \
         stat -c '%a %u %g' /c/d/f >> /one && echo more >> /c/d/f\n\
         RUN --mount=type=cache,from=seed,source=/s,target=/c cat /c/d/f > /two\n",
    );
    assert_eq!(tree.text("one"), "seed\n640 3 4\n");
    assert_eq!(tree.text("two"), "seed\nmore\n");
    project.refuses(
        "FROM busybox AS seed\nFROM busybox\nRUN --mount=type=cache,from=seed,source=/x,target=/c true\n",
        "\"/x\": not found",
    );
    project.refuses(
        "FROM busybox\nRUN --mount=type=cache,target=/c,id=empty,source=x true\n",
        "\"/x\": not found",
    );
}

/// Two stages at once count in a cache, each a step at a time.
fn counting(sharing: &str) -> String {
    let step = format!(
        "RUN --mount=type=cache,id=count,target=/c,sharing={sharing} \
         for i in 1 2 3 4 5; do n=$(cat /c/n 2>/dev/null || echo 0); usleep 2000; \
         echo $((n + 1)) > /c/n; done; cp /c/n /n"
    );
    format!(
        "FROM busybox AS one\n{step}\nFROM busybox AS two\nRUN true\n{step}\n\
         FROM scratch\nCOPY --from=one /n /1\nCOPY --from=two /n /2\n"
    )
}

#[test]
fn a_locked_cache_is_for_one_step_at_a_time_and_a_private_one_for_each() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox("");
    let tree = project.tree_of(&counting("locked"));
    let mut counts = [tree.text("1"), tree.text("2")];
    counts.sort();
    assert_eq!(counts, ["10\n", "5\n"]);
    // The copies differ only where both steps ran at once.
    let project = Project::on_busybox("");
    let tree = project.tree_of(&counting("private"));
    let copies = project.store().cache_mounts().unwrap().len();
    let mut counts = [tree.text("1"), tree.text("2")];
    counts.sort();
    match copies {
        1 => assert_eq!(counts, ["10\n", "5\n"]),
        2 => assert_eq!(counts, ["5\n", "5\n"]),
        other => panic!("{other} copies"),
    }
}

#[test]
fn a_killed_build_lets_go_of_its_cache() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox(
        "FROM busybox\nRUN --mount=type=cache,id=held,target=/c,sharing=locked \
         echo here > /c/sign && sleep 1000\n",
    );
    let mut build = project.start(&[]);
    let began = Instant::now();
    let is_there = || {
        let rows = project.store().cache_mounts().unwrap();
        rows.iter().any(|row| row.path.join("sign").exists())
    };
    while !is_there() {
        assert!(began.elapsed() < PATIENCE, "the step never ran");
        std::thread::sleep(Duration::from_millis(10));
    }
    let row = project.store().cache_mounts().unwrap().remove(0);
    assert!(project.store().cache_mount_in_use(&row).unwrap());
    assert!(!project.store().cache_mount_remove(row.id).unwrap());
    build.kill().unwrap();
    build.wait().unwrap();
    let tree = project.tree_of(
        "FROM busybox\nRUN --mount=type=cache,id=held,target=/c,sharing=locked cp /c/sign /\n",
    );
    assert_eq!(tree.text("sign"), "here\n");
    assert!(project.store().cache_mount_remove(row.id).unwrap());
    assert!(!row.path.exists());
}

#[test]
fn mount_points_leave_no_trace() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox("");
    project.file("f", "");
    let tree = project.tree_of(
        "FROM busybox\n\
         RUN mkdir -p /old/dir && echo x > /old/f && touch -d @1000 /etc /usr && ln -s /usr /link\n\
         RUN rm -rf /old && touch -d @1000 /\n\
         RUN --mount=type=cache,target=/var/.cache/a --mount=type=tmpfs,target=/old/dir/new \
         --mount=type=bind,source=f,target=/etc/f --mount=type=tmpfs,target=/link/t/u \
         --mount=type=tmpfs,target=/var/.cache/a/b \
         touch /var/.cache/a/b/x /old/dir/new/x /usr/t/u/x && echo done > /root/made\n",
    );
    for trace in ["var/.cache", "old", "etc/f", "usr/t", "link/t"] {
        assert!(!tree.has(trace), "{trace}: {:?}", tree.files());
    }
    assert_eq!((tree.mtime("etc"), tree.mtime("usr")), (1000, 1000));
    assert_eq!(tree.text("root/made"), "done\n");
    // What a step writes beside its mounts is kept.
    let tree = project.tree_of(
        "FROM busybox\nRUN --mount=type=tmpfs,target=/a/b/c echo x > /a/b/f && ls /a/b > /ls\n",
    );
    assert_eq!(tree.text("a/b/f"), "x\n");
    assert!(!tree.has("a/b/c"));
}

#[test]
fn a_tmpfs_is_empty_and_gone() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox("");
    let tree = project.tree_of(
        "FROM busybox\nRUN --mount=type=tmpfs,target=/root/t,size=1m \
         ls /root/t | wc -l > /count && ! head -c 2m /dev/zero > /root/t/f 2>/dev/null && \
         stat -c %a /root/t > /mode\n\
         RUN --mount=type=tmpfs,target=/bin/in ls /bin/in | wc -l >> /count\n",
    );
    assert_eq!(tree.text("count"), "0\n0\n");
    assert_eq!(tree.text("mode"), "1777\n");
    assert!(!tree.has("root/t"));
}
