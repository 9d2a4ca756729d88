//! What is mounted, and where.

use std::path::{Path, PathBuf};

use rbuild::sandbox::{Error, Exit, Mount, MountKind};

use super::base::{Base, bind, run};

/// Everything beneath a directory, sorted.
fn tree(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut waiting = vec![dir.to_owned()];
    while let Some(dir) = waiting.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                waiting.push(path.clone());
            }
            found.push(path.display().to_string());
        }
    }
    found.sort();
    found
}

#[test]
fn the_upper_layer_gets_what_the_program_wrote_and_nothing_else() {
    let Some(base) = Base::new() else { return };
    let hosts = base.top.join("hosts");
    std::fs::write(&hosts, "127.0.0.1 box\n").unwrap();
    let mut spec = base
        .script("cat /etc/hosts; echo x > /dev/shm/y; rm /etc/passwd; ls /proc/self >/dev/null");
    spec.mounts.push(bind(&hosts, "/etc/hosts", true));
    assert_eq!(run(&spec).unwrap().ok(), "127.0.0.1 box");
    let upper = base.top.join("upper");
    let names: Vec<String> = tree(&upper)
        .iter()
        .map(|path| path.replace(upper.to_str().unwrap(), ""))
        .collect();
    assert_eq!(names, ["/etc", "/etc/passwd"]);
}

#[test]
fn standard_mounts_have_dockers_options() {
    let Some(base) = Base::new() else { return };
    let mounts = base.sh("cat /proc/mounts");
    for expected in [
        "proc /proc proc rw,nosuid,nodev,noexec",
        "tmpfs /dev tmpfs rw,nosuid",
        "devpts /dev/pts devpts rw,nosuid,noexec",
        "shm /dev/shm tmpfs rw,nosuid,nodev,noexec,relatime,size=65536k",
        "mqueue /dev/mqueue mqueue rw,nosuid,nodev,noexec",
        "sysfs /sys sysfs ro,nosuid,nodev,noexec",
        "proc /proc/sys proc ro",
    ] {
        assert!(mounts.contains(expected), "{expected} in\n{mounts}");
    }
    let host = base.top.display().to_string();
    let others = mounts
        .lines()
        .filter(|line| !line.starts_with("overlay / overlay "));
    for line in others {
        assert!(!line.contains(&host), "{line}");
    }
    assert_eq!(base.sh("ls /dev").lines().last(), Some("zero"));
}

#[test]
fn binds_are_made_where_they_are_missing_and_can_be_read_only() {
    let Some(base) = Base::new() else { return };
    let volume = base.top.join("volume");
    std::fs::create_dir(&volume).unwrap();
    std::fs::write(volume.join("f"), "content").unwrap();
    let mut spec =
        base.script("cat /a/b/vol/f; cat /new/file; echo x > /a/b/vol/g; echo x > /ro/h");
    spec.mounts = vec![
        bind(&volume, "/a/b/vol", false),
        bind(&volume.join("f"), "/new/file", true),
        bind(&volume, "/ro", true),
    ];
    let outcome = run(&spec).unwrap();
    assert_eq!(outcome.exit, Exit::Code(1));
    assert_eq!(outcome.stdout, "contentcontent");
    assert!(
        outcome.stderr.contains("Read-only file system"),
        "{outcome:?}"
    );
    assert!(volume.join("g").exists());
    assert!(!volume.join("h").exists());
}

#[test]
fn links_of_the_image_do_not_lead_out() {
    let Some(base) = Base::new() else { return };
    let outside = base.top.join("outside");
    std::fs::create_dir(&outside).unwrap();
    let link = |target: &str, name: &str| {
        std::os::unix::fs::symlink(target, base.top.join("lower").join(name)).unwrap();
    };
    // To a path of the host, relative and absolute; dangling inside.
    link(outside.to_str().unwrap(), "absolute");
    link("../../../../../../../../../../etc", "relative");
    link("/proc/self/cwd", "magic");
    let file = base.top.join("file");
    std::fs::write(&file, "inside").unwrap();
    let mut spec = base.script("cat /absolute/x /relative/y /etc/y");
    spec.mounts = vec![
        bind(&file, "/absolute/x", true),
        bind(&file, "/relative/y", true),
    ];
    assert_eq!(run(&spec).unwrap().ok(), "insideinsideinside");
    assert_eq!(tree(&outside), Vec::<String>::new());
    let beneath_upper = base
        .top
        .join("upper")
        .join(outside.strip_prefix("/").unwrap());
    assert!(beneath_upper.join("x").exists());
    spec.mounts = vec![bind(&file, "/magic/z", true)];
    assert!(matches!(run(&spec), Err(Error::SetUp { .. })));
    // Descriptors of the host are open while the directory is looked up.
    let script = format!(
        "ls ../../../../../../../../{} 2>/dev/null; true",
        base.top.display()
    );
    let mut spec = base.script(&script);
    for fd in 0..20 {
        spec.cwd = PathBuf::from(format!("/proc/self/fd/{fd}"));
        if let Ok(outcome) = run(&spec) {
            assert!(!outcome.stdout.contains("lower"), "fd {fd}: {outcome:?}");
        }
    }
}

#[test]
fn an_image_whose_proc_is_a_link_is_refused() {
    let Some(base) = Base::new() else { return };
    let elsewhere = base.top.join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, base.top.join("lower/proc")).unwrap();
    let err = run(&base.spec(&["true"])).unwrap_err();
    assert_eq!(err.to_string(), "cannot set up the sandbox: mount `/proc`");
}

#[test]
fn a_dangling_link_as_a_mount_point_is_filled() {
    let Some(base) = Base::new() else { return };
    let etc = base.top.join("lower/etc/resolv.conf");
    std::os::unix::fs::symlink("../run/systemd/resolve/stub-resolv.conf", etc).unwrap();
    let file = base.top.join("file");
    std::fs::write(&file, "nameserver").unwrap();
    let mut spec = base.script("cat /etc/resolv.conf");
    spec.mounts = vec![bind(&file, "/etc/resolv.conf", true)];
    assert_eq!(run(&spec).unwrap().ok(), "nameserver");
}

#[test]
fn tmpfs_takes_its_options() {
    let Some(base) = Base::new() else { return };
    let mut spec = base.script("grep ' /t ' /proc/mounts; echo x > /t/f; stat -c %a /t");
    let tmpfs = |options: &str, read_only| Mount {
        kind: MountKind::Tmpfs {
            options: options.to_owned(),
        },
        target: PathBuf::from("/t"),
        read_only,
    };
    spec.mounts = vec![tmpfs("noexec,size=1m,mode=1770", false)];
    let outcome = run(&spec).unwrap();
    let text = outcome.ok();
    assert!(
        text.contains("rw,nosuid,nodev,noexec,relatime,size=1024k"),
        "{text}"
    );
    assert!(text.ends_with("1770"), "{text}");
    spec.mounts = vec![tmpfs("nonsense=1", false)];
    let err = run(&spec).unwrap_err();
    assert!(err.to_string().contains("nonsense"), "{err}");
}

#[test]
fn a_read_only_root_leaves_mounts_alone() {
    let Some(base) = Base::new() else { return };
    let volume = base.top.join("volume");
    std::fs::create_dir(&volume).unwrap();
    let mut spec = base.script("touch /vol/x /dev/shm/x /dev/x && touch /x");
    spec.read_only = true;
    spec.mounts = vec![bind(&volume, "/vol", false)];
    let outcome = run(&spec).unwrap();
    assert_eq!(outcome.exit, Exit::Code(1));
    assert!(
        outcome.stderr.contains("touch: /x: Read-only"),
        "{outcome:?}"
    );
    assert!(volume.join("x").exists());
}

#[test]
fn hundreds_of_layers_can_be_mounted() {
    let Some(base) = Base::new() else { return };
    let mut spec = base.script("cat /layer-0 /layer-299; ls / | grep -c layer");
    let layers: Vec<PathBuf> = (0..300)
        .map(|number| {
            let dir = base
                .top
                .join(format!("layers/{number}/a-name-that-is-rather-long/fs"));
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::write(dir.join(format!("layer-{number}")), "x").unwrap();
            dir
        })
        .collect();
    spec.rootfs.overlay.lower.splice(0..0, layers);
    assert_eq!(run(&spec).unwrap().ok(), "xx300");
}

#[test]
fn layers_with_odd_and_long_paths_can_be_mounted() {
    let Some(base) = Base::new() else { return };
    let odd = base
        .top
        .join(format!("a:b,c\\d/{}/{}", "x".repeat(200), "y".repeat(200)));
    std::fs::create_dir_all(&odd).unwrap();
    std::fs::write(odd.join("f"), "odd").unwrap();
    let mut spec = base.script("cat /f");
    spec.rootfs.overlay.lower.insert(0, odd);
    assert_eq!(run(&spec).unwrap().ok(), "odd");
}

#[test]
fn a_missing_layer_is_named() {
    let Some(base) = Base::new() else { return };
    let mut spec = base.spec(&["true"]);
    spec.rootfs.overlay.lower.insert(0, base.top.join("gone"));
    let err = run(&spec).unwrap_err();
    assert!(err.to_string().contains("overlay"), "{err}");
}

#[test]
fn a_volatile_mount_can_follow_another() {
    let Some(base) = Base::new() else { return };
    assert_eq!(base.sh("echo 1 > /f; cat /f"), "1");
    // What a crash leaves.
    std::fs::create_dir_all(base.top.join("work/work/incompat/volatile")).unwrap();
    assert_eq!(base.sh("cat /f"), "1");
}
