//! Where a result goes: archives that others read, files, facts.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{FILES, Project, RUNS, needs};
use crate::support::{Home, Need, run_other};

/// A file beside the context, as an argument.
fn beside(project: &Project, name: &str) -> String {
    let path = project.home().scratch().join(name);
    path.to_str().unwrap().to_owned()
}

fn small() -> Project {
    let project = Project::from_scratch(
        "FROM scratch AS one\nCOPY tree /d\nFROM one\nCOPY --chown=12:34 foo /\nLABEL a=b\nCMD [\"x\"]\n",
    );
    project.file("foo", "data");
    project.file("tree/f", "hi\n");
    project.file("tree/sub/g", "g");
    project.link("tree/l", "f");
    let run = std::fs::Permissions::from_mode(0o750);
    std::fs::set_permissions(project.context().join("tree/f"), run).unwrap();
    project
}

/// The members of a tar by path.
fn members(bytes: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut archive = tar::Archive::new(bytes);
    let entries = archive.entries().unwrap();
    entries
        .map(|entry| {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().to_str().unwrap().to_owned();
            let mut body = Vec::new();
            entry.read_to_end(&mut body).unwrap();
            (path, body)
        })
        .collect()
}

fn json(members: &BTreeMap<String, Vec<u8>>, path: &str) -> Value {
    serde_json::from_slice(&members[path]).unwrap()
}

fn blob(members: &BTreeMap<String, Vec<u8>>, digest: &Value) -> Value {
    let hex = digest.as_str().unwrap().strip_prefix("sha256:").unwrap();
    json(members, &format!("blobs/sha256/{hex}"))
}

/// The manifest that the only descriptor of a layout leads to.
fn manifest(members: &BTreeMap<String, Vec<u8>>) -> Value {
    let index = json(members, "index.json");
    blob(members, &index["manifests"][0]["digest"])
}

fn read(path: &str) -> BTreeMap<String, Vec<u8>> {
    members(&std::fs::read(path).unwrap())
}

#[test]
fn files_go_to_a_directory_with_modes_links_and_times() {
    if !needs(&FILES) {
        return;
    }
    let project = small();
    let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_234_567_890);
    let file = std::fs::File::options()
        .write(true)
        .open(project.context().join("tree/f"))
        .unwrap();
    file.set_modified(old).unwrap();
    let out = beside(&project, "out/deep");
    project.try_build(&["-o", &out]).ok();
    let out = Path::new(&out);
    let meta = std::fs::metadata(out.join("d/f")).unwrap();
    assert_eq!(meta.mode() & 0o7777, 0o750);
    assert_eq!(meta.mtime(), 1_234_567_890);
    assert_eq!(std::fs::read_to_string(out.join("d/f")).unwrap(), "hi\n");
    assert_eq!(std::fs::read_link(out.join("d/l")).unwrap(), Path::new("f"));
    // Files are the caller's, whoever owns them in the image.
    assert_eq!(std::fs::metadata(out.join("foo")).unwrap().uid(), 0);
    // Nothing went into the store.
    project
        .home()
        .run(&["inspect", "result"])
        .fails(1, "no such");
    project.assert_tidy();
}

#[test]
fn files_are_written_beneath_the_directory_only() {
    if !needs(&FILES) {
        return;
    }
    let project = small();
    let (out, outside) = (beside(&project, "out"), beside(&project, "outside"));
    std::fs::create_dir_all(&outside).unwrap();
    std::fs::write(format!("{outside}/f"), "mine").unwrap();
    std::fs::create_dir_all(&out).unwrap();
    // Links in the place of a directory and of a file, and a directory in the place of a file.
    std::os::unix::fs::symlink(&outside, format!("{out}/d")).unwrap();
    std::fs::create_dir_all(format!("{out}/foo/x")).unwrap();
    std::fs::write(format!("{out}/kept"), "kept").unwrap();
    project.try_build(&["-o", &out]).ok();
    assert_eq!(
        std::fs::read_to_string(format!("{outside}/f")).unwrap(),
        "mine"
    );
    assert!(!Path::new(&outside).join("sub").exists());
    assert_eq!(
        std::fs::read_to_string(format!("{out}/d/f")).unwrap(),
        "hi\n"
    );
    assert_eq!(
        std::fs::read_to_string(format!("{out}/foo")).unwrap(),
        "data"
    );
    assert_eq!(
        std::fs::read_to_string(format!("{out}/kept")).unwrap(),
        "kept"
    );
    // Again, over what is there now.
    project.try_build(&["-o", &out]).ok();
    assert_eq!(
        std::fs::read_to_string(format!("{out}/d/f")).unwrap(),
        "hi\n"
    );
}

#[test]
fn deleting_what_is_not_in_the_result_is_asked_for_and_allowed() {
    if !needs(&FILES) {
        return;
    }
    let project = small();
    let out = beside(&project, "out");
    std::fs::create_dir_all(format!("{out}/old/deep")).unwrap();
    std::fs::write(format!("{out}/old/deep/f"), "").unwrap();
    let delete = format!("type=local,dest={out},mode=delete");
    // The home's directory is the working directory, so this is beneath it.
    project.try_build(&["-o", &delete]).ok();
    assert!(!Path::new(&out).join("old").exists());
    assert!(Path::new(&out).join("d/sub/g").exists());
    let elsewhere = tempfile::tempdir().unwrap();
    let elsewhere = elsewhere.path().to_str().unwrap();
    let delete = format!("type=local,dest={elsewhere},mode=delete");
    let refused = project.try_build(&["-o", &delete]);
    refused.fails(1, "--allow buildx.local.delete");
    project
        .try_build(&["-o", &delete, "--allow=buildx.local.delete"])
        .ok();
    project
        .try_build(&["-o", &format!("type=local,dest={out},mode=move")])
        .fails(1, "invalid local exporter mode");
}

#[test]
fn hard_links_stay_links_and_setuid_does_not_change_hands() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox(
        "FROM busybox AS b\nRUN mkdir /d && echo x > /d/a && ln /d/a /d/b && cp /d/a /d/s && \
         chown 12:34 /d/s && chmod 6755 /d/s && cp /d/a /d/own && chmod 4755 /d/own && mkfifo /d/p\n\
         FROM scratch\nCOPY --from=b /d /d\n",
    );
    let out = beside(&project, "out");
    project.try_build(&["-o", &out]).ok();
    let meta = |name: &str| std::fs::symlink_metadata(format!("{out}/d/{name}")).unwrap();
    assert_eq!(meta("a").ino(), meta("b").ino());
    assert_eq!(meta("s").mode() & 0o7777, 0o755);
    assert_eq!(meta("own").mode() & 0o7777, 0o4755);
    assert_eq!(meta("p").mode() & 0o170_000, 0o010_000);
}

#[test]
fn a_tar_holds_the_files_with_their_owners() {
    if !needs(&FILES) {
        return;
    }
    let project = small();
    let out = beside(&project, "o.tar");
    project
        .try_build(&["-o", &format!("type=tar,dest={out}")])
        .ok();
    let bytes = std::fs::read(&out).unwrap();
    let mut archive = tar::Archive::new(&bytes[..]);
    let shown: Vec<String> = archive
        .entries()
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let header = entry.header();
            format!(
                "{} {:o} {}:{}",
                entry.path().unwrap().display(),
                header.mode().unwrap(),
                header.uid().unwrap(),
                header.gid().unwrap()
            )
        })
        .collect();
    let expected = [
        "d/ 755 0:0",
        "d/f 750 0:0",
        "d/l 777 0:0",
        "d/sub/ 755 0:0",
        "d/sub/g 644 0:0",
        "foo 644 12:34",
    ];
    assert_eq!(shown, expected);
    // The same on standard output.
    let streamed = project.try_build(&["-o", "-"]);
    assert_eq!(streamed.code, 0, "{}", streamed.stderr);
    assert_eq!(streamed.stdout, bytes);
}

#[test]
fn archives_are_read_by_others_and_load_back() {
    if !needs(&RUNS) || !needs(&[Need::Skopeo]) {
        return;
    }
    let project = Project::on_busybox("FROM busybox\nCOPY foo /\nRUN echo more > /more\n");
    project.file("foo", "data");
    let (oci, docker) = (beside(&project, "oci.tar"), beside(&project, "docker.tar"));
    let dir = beside(&project, "layout");
    project
        .try_build(&[
            "-o",
            &format!("type=oci,dest={oci}"),
            "-o",
            &format!("type=docker,dest={docker}"),
            "-o",
            &format!("type=oci,tar=false,dest={dir}"),
            "--load",
        ])
        .ok();
    let id = project.image().id.to_string();
    for source in [
        format!("oci-archive:{oci}"),
        format!("docker-archive:{docker}"),
        format!("oci:{dir}:latest"),
    ] {
        let seen = run_other("skopeo", &["inspect", "--config", "--raw", &source]);
        assert_eq!(rbuild::oci::Digest::of(&seen).to_string(), id, "{source}");
    }
    let other = Home::new();
    for archive in [&oci, &docker] {
        let loaded = other.run(&["load", "-i", archive]);
        assert_eq!(loaded.ok(), "Loaded image: result:latest");
        let ran = other.run(&[
            "run",
            "--rm",
            "--network=none",
            "result",
            "cat",
            "/foo",
            "/more",
        ]);
        assert_eq!(ran.ok(), "datamore");
        other.run(&["rmi", "result"]).ok();
    }
}

#[test]
fn layers_are_compressed_as_asked_and_remembered() {
    if !needs(&FILES) {
        return;
    }
    let project = small();
    project.file("foo", "x".repeat(100_000));
    let out = beside(&project, "o.tar");
    let build = |options: &str| {
        let output = format!("type=oci,dest={out}{options}");
        project.try_build(&["-o", &output]).ok();
        let members = read(&out);
        let manifest = manifest(&members);
        let last = manifest["layers"]
            .as_array()
            .unwrap()
            .last()
            .unwrap()
            .clone();
        let hex = last["digest"]
            .as_str()
            .unwrap()
            .strip_prefix("sha256:")
            .unwrap();
        let bytes = members[&format!("blobs/sha256/{hex}")].clone();
        let kind = last["mediaType"].as_str().unwrap().to_owned();
        (kind, bytes)
    };
    let gzip = "application/vnd.oci.image.layer.v1.tar+gzip";
    let (kind, first) = build("");
    assert_eq!((kind.as_str(), &first[..2]), (gzip, &b"\x1f\x8b"[..]));
    let (_, again) = build(",compression=gzip");
    assert_eq!(first, again);
    let (_, stored) = build(",compression=gzip,compression-level=0");
    assert!(stored.len() > 100_000);
    let (kind, bytes) = build(",compression=zstd,compression-level=19");
    assert_eq!(kind, "application/vnd.oci.image.layer.v1.tar+zstd");
    assert_eq!(&bytes[..4], b"\x28\xb5\x2f\xfd");
    let (kind, bytes) = build(",compression=uncompressed");
    assert_eq!(kind, "application/vnd.oci.image.layer.v1.tar");
    assert_eq!(bytes.len() % 512, 0);
    let (kind, _) = build(",oci-mediatypes=false");
    assert_eq!(kind, "application/vnd.docker.image.rootfs.diff.tar.gzip");
    for (options, why) in [
        ("compression=estargz", "compression=estargz"),
        ("compression=lz4", "unsupported compression type lz4"),
        ("compression=gzip,compression-level=10", "between 0 and 9"),
        ("compression=zstd,oci-mediatypes=false", "conflicts with"),
        ("colour=red", "unknown option \"colour\""),
    ] {
        let output = format!("type=oci,dest={out},{options}");
        project.try_build(&["-o", &output]).fails(1, why);
    }
}

#[test]
fn a_base_keeps_its_layers_unless_forced() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox("FROM busybox\nCOPY foo /\n");
    project.file("foo", "data");
    let out = beside(&project, "o.tar");
    let kinds = |options: &str| -> Vec<String> {
        let output = format!("type=oci,dest={out},{options}");
        project.try_build(&["-o", &output]).ok();
        let manifest = manifest(&read(&out));
        let layers = manifest["layers"].as_array().unwrap().iter();
        let kind = |layer: &Value| layer["mediaType"].as_str().unwrap().to_owned();
        layers
            .map(|layer| kind(layer).split(".tar").last().unwrap().to_owned())
            .collect()
    };
    assert_eq!(kinds("compression=zstd"), ["", "+zstd"]);
    assert_eq!(
        kinds("compression=zstd,force-compression=true"),
        ["+zstd", "+zstd"]
    );
    assert_eq!(
        kinds("compression=gzip,force-compression="),
        ["+gzip", "+gzip"]
    );
}

#[test]
fn an_image_in_the_store_may_be_compressed() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox("FROM busybox\nCOPY foo /\nRUN echo more > /more\n");
    project.file("foo", "data");
    project.build(&["-o", "type=image,compression=zstd,annotation.a=b"]);
    let image = project.image();
    assert!(image.manifest.layers[2].media_type.ends_with("+zstd"));
    assert_eq!(image.manifest.annotations["a"], "b");
    project.home().run(&["system", "prune", "-f"]);
    let ran = project.home().run(&[
        "run",
        "--rm",
        "--network=none",
        "result",
        "cat",
        "/foo",
        "/more",
    ]);
    assert_eq!(ran.ok(), "datamore");
    project.assert_valid();
    // Saved and loaded, it is the same image.
    let saved = beside(&project, "saved.tar");
    project.home().run(&["save", "-o", &saved, "result"]).ok();
    let other = Home::new();
    other.run(&["load", "-i", &saved]).ok();
    let ran = other.run(&["run", "--rm", "--network=none", "result", "cat", "/more"]);
    assert_eq!(ran.ok(), "more");
}

#[test]
fn annotations_go_where_they_are_sent() {
    if !needs(&FILES) {
        return;
    }
    let project = small();
    let out = beside(&project, "o.tar");
    let output = format!("type=oci,dest={out},annotation-manifest-descriptor.c=d");
    project
        .try_build(&[
            "-o",
            &output,
            "--annotation",
            "a=b",
            "--annotation",
            "manifest[linux/s390x]:x=y",
        ])
        .ok();
    let members = read(&out);
    assert_eq!(
        manifest(&members)["annotations"],
        serde_json::json!({"a": "b"})
    );
    let index = json(&members, "index.json");
    assert_eq!(index["manifests"][0]["annotations"]["c"], "d");
    let refused = project.try_build(&["--annotation", "index:a=b"]);
    refused.fails(
        1,
        "index annotations not supported for single platform export",
    );
}

#[test]
fn facts_are_written_for_other_programs() {
    if !needs(&FILES) {
        return;
    }
    let project = small();
    let (iid, facts) = (beside(&project, "iid"), beside(&project, "facts.json"));
    let built = project.build(&["-q", "--iidfile", &iid, "--metadata-file", &facts]);
    let image = project.image();
    let id = image.id.to_string();
    assert_eq!(built.text(), id);
    assert_eq!(std::fs::read_to_string(iid).unwrap(), id);
    let facts: Value = serde_json::from_slice(&std::fs::read(&facts).unwrap()).unwrap();
    assert_eq!(facts["containerimage.config.digest"], id);
    assert_eq!(
        facts["containerimage.digest"],
        image.manifest_digest.to_string()
    );
    assert_eq!(
        facts["containerimage.descriptor"]["size"],
        image.manifest_bytes.len()
    );
    assert_eq!(facts["image.name"], "docker.io/library/result:latest");
    let reference = facts["buildx.build.ref"].as_str().unwrap();
    assert!(reference.starts_with("rbuild/rbuild/"), "{reference}");
}

#[test]
fn squashing_keeps_the_base_and_the_tree() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox(
        "FROM busybox\nRUN mkdir -p /d/gone && echo 1 > /d/a && echo big > /d/gone/b && ln /d/a /d/link\n\
         RUN rm -r /d/gone /etc/group && echo 2 > /d/a && rm -r /home && mkdir /home && echo x > /home/x\n\
         COPY foo /d/foo\nENV A=b\n",
    );
    project.file("foo", "data");
    let plain = project.build(&[]);
    drop(plain);
    let (whole, tree) = (project.image(), project.tree());
    project.build(&["--squash"]);
    let squashed = project.image();
    assert!(project.tree() == tree, "{:?}", project.tree().files());
    assert_eq!(squashed.config.rootfs.diff_ids.len(), 2);
    assert_eq!(
        squashed.config.rootfs.diff_ids[0],
        whole.config.rootfs.diff_ids[0]
    );
    let history = &squashed.config.history;
    assert_eq!(history.len(), whole.config.history.len() + 1);
    assert!(
        history[1..history.len() - 1]
            .iter()
            .all(|one| one.empty_layer)
    );
    let last = history.last().unwrap();
    assert!(!last.empty_layer);
    let comment = last.comment.as_deref().unwrap();
    assert!(
        comment.starts_with(&format!("merge {} to sha256:", whole.id)),
        "{comment}"
    );
    // Once more gives the very same image.
    project.build(&["--squash"]);
    assert_eq!(project.image().id, squashed.id);
}

#[test]
fn what_cannot_be_done_is_refused_before_anything_runs() {
    if !needs(&FILES) {
        return;
    }
    let project = small();
    let file = project.file("foo", "data");
    let file = file.to_str().unwrap();
    let dir = project.context();
    let dir = dir.to_str().unwrap();
    for (output, why) in [
        ("type=unheard", "exporter \"unheard\" could not be found"),
        ("dest=x,tar=true", "type is required for output"),
        ("type=oci,dest", "invalid value dest"),
        ("type=local", "dest is required for local exporter"),
        (
            "type=local,dest=-",
            "dest cannot be stdout for local exporter",
        ),
        (
            "type=registry",
            "failed to push docker.io/library/result:latest",
        ),
        (&format!("type=local,dest={file}"), "is a file"),
        (&format!("type=tar,dest={dir}"), "is a directory"),
        ("type=oci,tar=maybe,dest=x", "non-bool value"),
    ] {
        project.try_build(&["-o", output]).fails(1, why);
    }
    project.try_build(&["--sbom=true"]).fails(1, "--sbom");
    project
        .try_build(&["--attest", "type=provenance"])
        .fails(1, "--attest");
    project.assert_tidy();
    project.build(&[
        "--sbom=false",
        "--provenance=false",
        "--attest=type=sbom,disabled=true",
    ]);
}

#[test]
fn a_failed_build_leaves_the_old_output_alone() {
    if !needs(&FILES) {
        return;
    }
    let project = small();
    let out = beside(&project, "o.tar");
    let output = format!("type=oci,dest={out}");
    project.try_build(&["-o", &output]).ok();
    let before = std::fs::read(&out).unwrap();
    project.file("Dockerfile", "FROM scratch\nCOPY missing /\n");
    project.try_build(&["-o", &output]).fails(1, "not found");
    assert_eq!(std::fs::read(&out).unwrap(), before);
    let beside: Vec<PathBuf> = std::fs::read_dir(project.home().scratch())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(beside.len(), 2, "{beside:?}");
}

#[test]
fn the_cache_alone_is_an_output_too() {
    if !needs(&FILES) {
        return;
    }
    let project = small();
    project.try_build(&["-o", "type=cacheonly"]).ok();
    project
        .home()
        .run(&["inspect", "result"])
        .fails(1, "no such");
    let again = project.build(&[]);
    assert_eq!(again.ended("CACHED").len(), 2);
}
