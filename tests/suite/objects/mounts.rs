//! `-v`, `--mount` and what volumes begin with.

use super::{home, sh, up};

#[test]
fn the_local_drivers_options_are_mounted_inside() {
    let Some(home) = home() else { return };
    let options = [
        "-o",
        "type=tmpfs",
        "-o",
        "device=tmpfs",
        "-o",
        "o=size=5m,uid=77",
    ];
    home.run(&[&["volume", "create"][..], &options, &["fast"]].concat())
        .ok();
    let look = sh(
        &home,
        &["-v", "fast:/v"],
        "df -k /v | tail -1 | awk '{print $2}'; stat -c %u /v",
    );
    assert_eq!(look, "5120\n77");
    let source = home.scratch().join("source");
    std::fs::create_dir_all(&source).unwrap();
    std::fs::write(source.join("f"), "text").unwrap();
    let device = format!("device={}", source.display());
    let options = ["-o", "type=none", "-o", device.as_str(), "-o", "o=bind,ro"];
    home.run(&[&["volume", "create"][..], &options, &["bound"]].concat())
        .ok();
    let look = sh(
        &home,
        &["-v", "bound:/v"],
        "cat /v/f; touch /v/x 2>/dev/null || echo ro",
    );
    assert_eq!(look, "textro");
    let opts = "type=volume,dst=/v,src=made,volume-opt=type=tmpfs,volume-opt=device=tmpfs,\
                \"volume-opt=o=size=1m,mode=0700\",volume-label=a=b";
    assert_eq!(sh(&home, &["--mount", opts], "stat -c %a /v"), "700");
    let labels = [
        "volume",
        "inspect",
        "-f",
        "{{.Options.o}} {{.Labels.a}}",
        "made",
    ];
    assert_eq!(home.run(&labels).ok(), "size=1m,mode=0700 b");
}

#[test]
fn a_subpath_leads_nowhere_else() {
    let Some(home) = home() else { return };
    sh(
        &home,
        &["-v", "data:/v"],
        "mkdir -p /v/a/b; echo 1 > /v/a/b/f; ln -s /etc /v/out; ln -s a/b /v/in",
    );
    let part = |path: &str| {
        let mount = format!("type=volume,src=data,dst=/d,volume-subpath={path}");
        home.run(&[
            "run",
            "--rm",
            "--network",
            "none",
            "--mount",
            &mount,
            "busybox",
            "cat",
            "/d/f",
        ])
    };
    assert_eq!(part("a/b").ok(), "1");
    assert_eq!(part("in").ok(), "1");
    part("nosuch").fails(125, "nosuch");
    part("../..").fails(125, "subpath");
    part("out").fails(125, "out");
}

#[test]
fn images_are_mounted_read_only_and_stay() {
    let Some(home) = home() else { return };
    home.run(&["tag", "busybox", "other:1"]).ok();
    let mount = "type=image,source=other:1,target=/i";
    let look = sh(
        &home,
        &["--mount", mount],
        "ls /i/bin/busybox; touch /i/x 2>/dev/null || echo ro",
    );
    assert_eq!(look, "/i/bin/busybox\nro");
    let mount = "type=image,source=other:1,target=/i,image-subpath=bin";
    assert_eq!(
        sh(&home, &["--mount", mount], "ls /i/busybox"),
        "/i/busybox"
    );
    let missing = [
        "run",
        "--rm",
        "--mount",
        "type=image,source=none,target=/i",
        "busybox",
        "true",
    ];
    home.run(&missing).fails(125, "none");
}

#[test]
fn binds_take_what_is_beneath_as_asked() {
    let Some(home) = home() else { return };
    let source = home.scratch().join("source");
    std::fs::create_dir_all(source.join("sub")).unwrap();
    let bind = |more: &str| format!("type=bind,src={},dst=/d{more}", source.display());
    let write = "touch /d/x 2>/dev/null && echo top; touch /d/sub/x 2>/dev/null && echo sub; true";
    assert_eq!(sh(&home, &["--mount", &bind("")], write), "top\nsub");
    for more in [
        ",readonly",
        ",ro,bind-recursive=readonly,bind-propagation=rprivate",
        ",ro,bind-recursive=disabled",
    ] {
        assert_eq!(sh(&home, &["--mount", &bind(more)], write), "", "{more}");
    }
    let made = format!(
        "type=bind,src={}/made,dst=/d,bind-create-src",
        source.display()
    );
    sh(&home, &["--mount", &made], "touch /d/f");
    assert!(source.join("made/f").exists());
    let tmpfs = "type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=0711,readonly";
    assert_eq!(
        sh(
            &home,
            &["--mount", tmpfs],
            "stat -c %a /t; touch /t/x 2>/dev/null || echo ro"
        ),
        "711\nro"
    );
}

#[test]
fn wrong_mounts_are_told_before_anything_is_made() {
    let Some(home) = home() else { return };
    for (flag, value, part) in [
        ("-v", "/tmp:/", "destination can't be '/'"),
        ("-v", "/a:/b:ro:x", "invalid volume specification"),
        ("--mount", "type=volume,source=x", "target is required"),
        (
            "--mount",
            "type=bind,src=/nosuch-dir,dst=/x",
            "bind source path does not exist: /nosuch-dir",
        ),
        ("--mount", "type=tmpfs,dst=/x,tmpfs-size=lots", "lots"),
        (
            "--mount",
            "type=bind,src=/tmp,dst=/x,volume-nocopy",
            "cannot mix 'volume-*' options",
        ),
    ] {
        home.run(&["run", "--rm", flag, value, "busybox", "true"])
            .fails(125, part);
    }
    let twice = [
        "run", "--rm", "-v", "/tmp:/x", "--tmpfs", "/x", "busybox", "true",
    ];
    home.run(&twice).fails(125, "Duplicate mount point: /x");
    assert_eq!(home.run(&["volume", "ls", "-q"]).ok(), "");
}

#[test]
fn an_empty_volume_starts_with_the_images_files() {
    let Some(home) = home() else { return };
    let dockerfile = "FROM busybox\nRUN mkdir -p /d/s && echo 1 > /d/s/f && chown -R 5:6 /d && chmod 2750 /d\nVOLUME /d\n";
    let context = home.file("context/Dockerfile", dockerfile);
    let context = context.parent().unwrap().to_str().unwrap();
    home.run(&["build", "-q", "--network", "none", "-t", "app", context])
        .ok();
    let look = "cat /d/s/f; stat -c '%u:%g %a' /d";
    let run = |flags: &[&str]| {
        let words = [
            &["run", "--rm", "--network", "none"][..],
            flags,
            &["app", "sh", "-c", look],
        ]
        .concat();
        home.run(&words)
    };
    assert_eq!(run(&["-v", "data:/d"]).ok(), "1\n5:6 2750");
    assert_eq!(run(&[]).ok(), "1\n5:6 2750");
    assert_ne!(run(&["-v", "bare:/d:nocopy"]).ok(), "1\n5:6 2750");
    // A container of an image that was built on another one has that for an ancestor.
    home.run(&["create", "--name", "child", "app"]).ok();
    let children = [
        "ps",
        "-a",
        "--filter",
        "ancestor=busybox",
        "--format",
        "{{.Names}}",
    ];
    assert_eq!(home.run(&children).ok(), "child");
    let id = up(&home, "ct", &["-v", "bare:/e"]);
    let mounts = [
        "inspect",
        "-f",
        "{{range .Mounts}}{{.Type}} {{.Name}} {{.Destination}} {{.RW}}{{end}}",
        &id,
    ];
    assert_eq!(home.run(&mounts).ok(), "volume bare /e true");
}
