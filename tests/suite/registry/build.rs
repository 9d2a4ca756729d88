//! Builds that stand on images of registries, and whose results go there.

use std::path::PathBuf;

use rbuild::oci::Digest;
use serde_json::Value;

use crate::support::{
    Home, Need, Outcome, PASSWORD, RegistryServer, USER, finish, needs, run_other,
};

/// What a build needs that stands on an image and has RUN.
const RUNS: [Need; 4] = [
    Need::Root,
    Need::Busybox,
    Need::Overlay,
    Need::DockerRegistry,
];
/// What a build from scratch needs.
const FILES: [Need; 3] = [Need::Root, Need::DockerRegistry, Need::Skopeo];

/// A registry, and a data root that has nothing of it.
struct Lab {
    server: RegistryServer,
    home: Home,
}

impl Lab {
    fn new() -> Self {
        Self {
            server: RegistryServer::plain(),
            home: Home::new(),
        }
    }

    /// With `lib/bb:1` on the registry.
    fn with_busybox() -> Self {
        let lab = Self::new();
        lab.publish(&Home::with_busybox(), "busybox", "lib/bb:1");
        lab
    }

    /// The name of an image on the registry.
    fn name(&self, path: &str) -> String {
        format!("{}/{path}", self.server.host())
    }

    /// Pushes an image of another data root; returns its digest there.
    fn publish(&self, home: &Home, image: &str, path: &str) -> String {
        let name = self.name(path);
        home.run(&["tag", image, &name]).ok();
        let pushed = home.run(&["push", &name]);
        let line = pushed.ok().lines().last().unwrap_or_default().to_owned();
        let digest = line
            .split("digest: ")
            .nth(1)
            .and_then(|rest| rest.split(' ').next());
        digest
            .unwrap_or_else(|| panic!("no digest in {line}"))
            .to_owned()
    }

    fn context(&self) -> PathBuf {
        self.home.scratch().join("context")
    }

    fn arguments(&self, dockerfile: &str, more: &[&str]) -> Vec<String> {
        let host = self.server.host();
        let dockerfile = dockerfile.replace("HOST", host);
        self.home.file("context/Dockerfile", dockerfile);
        let mut arguments = vec!["build", "--network=none", "--progress=plain"];
        arguments.extend(more);
        let arguments = arguments.iter().map(|one| one.replace("HOST", host));
        let context = self.context().to_str().unwrap().to_owned();
        arguments.chain([context]).collect()
    }

    /// Builds, to whatever end. `HOST` stands for the registry.
    fn build(&self, dockerfile: &str, more: &[&str]) -> Outcome {
        self.home.run(&self.arguments(dockerfile, more))
    }

    /// The document of a name as skopeo reads it.
    fn raw(&self, path: &str) -> Vec<u8> {
        let source = format!("docker://{}", self.name(path));
        run_other(
            "skopeo",
            &["inspect", "--tls-verify=false", "--raw", &source],
        )
    }

    fn tags(&self, path: &str) -> Value {
        let source = format!("docker://{}", self.name(path));
        let said = run_other("skopeo", &["list-tags", "--tls-verify=false", &source]);
        let said: Value = serde_json::from_slice(&said).unwrap();
        said["Tags"].clone()
    }

    fn facts(&self) -> Value {
        let bytes = std::fs::read(self.facts_file()).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }

    fn facts_file(&self) -> String {
        let path = self.home.scratch().join("facts.json");
        path.to_str().unwrap().to_owned()
    }
}

#[track_caller]
fn says(outcome: &Outcome, part: &str) {
    assert!(
        outcome.stderr.contains(part),
        "no `{part}` in {}",
        outcome.stderr
    );
}

#[track_caller]
fn says_not(outcome: &Outcome, part: &str) {
    assert!(
        !outcome.stderr.contains(part),
        "`{part}` in {}",
        outcome.stderr
    );
}

const ASKED: &str = "[internal] load metadata for";

#[test]
fn images_that_are_not_here_come_from_their_registry() {
    if !needs(&RUNS) {
        return;
    }
    let lab = Lab::with_busybox();
    let tools = Home::with_busybox();
    let digest = lab.publish(&tools, "busybox", "lib/tools:1");
    let dockerfile = format!(
        "FROM HOST/lib/bb:1\n\
         COPY --from=HOST/lib/tools:1 /bin/busybox /tool\n\
         RUN --mount=from=HOST/lib/tools@{digest},target=/mnt test -x /mnt/bin/busybox\n\
         RUN --mount=from=other,target=/mnt test -x /mnt/bin/busybox\n"
    );
    let context = "--build-context=other=docker-image://HOST/lib/tools:1";
    let built = lab.build(&dockerfile, &["-t", "app", context]);
    built.ok();
    says(&built, &format!("{ASKED} {}", lab.name("lib/bb:1")));
    says(&built, &format!("{ASKED} {}", lab.name("lib/tools:1")));
    let first = format!("[stage-0 1/4] FROM {}@sha256:", lab.name("lib/bb:1"));
    let first = first.replace("stage-0 ", "");
    says(&built, &first);
    // Layers are told as what is on its way.
    says(&built, " sha256:");
    // From now on they are here, whatever became of the registry.
    let Lab { server, home } = lab;
    let host = server.host().to_owned();
    drop(server);
    let context = home.scratch().join("context");
    let named = format!("--build-context=other=docker-image://{host}/lib/tools:1");
    let again = home.run(&[
        "build",
        "--progress=plain",
        &named,
        context.to_str().unwrap(),
    ]);
    again.ok();
    says_not(&again, ASKED);
}

#[test]
fn a_moved_tag_is_found_by_those_who_ask() {
    if !needs(&RUNS) {
        return;
    }
    let lab = Lab::with_busybox();
    let dockerfile = "FROM HOST/lib/bb:1\nRUN cat /version || true\n";
    lab.build(dockerfile, &[]).ok();
    let current = lab.build(dockerfile, &["--pull"]);
    current.ok();
    says(&current, ASKED);
    says_not(&current, " / ");

    let other = Home::with_busybox();
    other.file("v2/Dockerfile", "FROM busybox\nRUN echo two > /version\n");
    let v2 = other.scratch().join("v2");
    other
        .run(&["build", "--network=none", "-t", "v2", v2.to_str().unwrap()])
        .ok();
    lab.publish(&other, "v2", "lib/bb:1");
    let old = lab.build(dockerfile, &["--no-cache"]);
    old.ok();
    says_not(&old, " two");
    let new = lab.build(dockerfile, &["--pull", "--no-cache"]);
    new.ok();
    says(&new, " two");

    let Lab { server, home } = lab;
    drop(server);
    let context = home.scratch().join("context");
    let build = |flag: &str| home.run(&["build", flag, context.to_str().unwrap()]);
    build("--pull").fails(1, "failed to resolve source metadata");
    build("--pull=newer").ok();
    build("--pull=false").ok();
    build("--pull=never").ok();
    build("--pull=perhaps").fails(1, "invalid argument");
}

#[test]
fn a_missing_image_is_told_with_its_line() {
    if !needs(&RUNS) {
        return;
    }
    let lab = Lab::with_busybox();
    let name = lab.name("lib/none:1");
    let text = format!("failed to resolve source metadata for {name}: {name}: not found");
    let built = lab.build("FROM HOST/lib/bb:1\nFROM HOST/lib/none:1\n", &[]);
    built.fails(1, &format!("failed to solve: {name}: {text}"));
    says(&built, "Dockerfile:2:1");
    let copied = lab.build(
        "FROM HOST/lib/bb:1\nCOPY --from=HOST/lib/none:1 /x /\n",
        &[],
    );
    copied.fails(1, &text);
    says(&copied, "Dockerfile:2:");
    let never = lab.build("FROM HOST/lib/tools:1\n", &["--pull=never"]);
    never.fails(1, "not found in the local store");
    // Nothing is downloaded for a build that cannot be.
    says_not(&built, " / ");
}

#[test]
fn a_private_base_needs_a_login() {
    if !needs(&RUNS) {
        return;
    }
    let server = RegistryServer::with_password();
    let home = Home::with_busybox();
    let host = server.host();
    let settings = home.file(
        "registries.toml",
        format!("[registry.\"{host}\"]\nca = {:?}\n", server.ca()),
    );
    let config = home.scratch().join("client");
    let run = |arguments: &[&str], input: &str| {
        let arguments = [&["--config", config.to_str().unwrap()], arguments].concat();
        let mut command = home.command(&arguments);
        command.env("RBUILD_REGISTRIES", &settings);
        finish(command, input.as_bytes())
    };
    let login = ["login", "-u", USER, "--password-stdin", host];
    let name = format!("{host}/private/bb:1");
    home.file("context/Dockerfile", format!("FROM {name}\nLABEL a=b\n"));
    let context = home.scratch().join("context");
    let context = context.to_str().unwrap();
    let build = ["build", "--progress=plain", context];

    let refused = run(&build, "");
    refused.fails(1, "unauthorized");
    says(&refused, &format!("rbuild login {host}"));
    says(&refused, "Dockerfile:1:1");
    let pushed = run(
        &["build", "--push", "-t", &name, "-"],
        "FROM scratch\nLABEL a=b\n",
    );
    pushed.fails(1, &format!("failed to push {name}"));
    says(&pushed, &format!("rbuild login {host}"));

    run(&login, PASSWORD).ok();
    home.run(&["tag", "busybox", &name]).ok();
    run(&["push", &name], "").ok();
    home.run(&["rmi", "-f", &name, "busybox"]).ok();
    let built = run(&build, "");
    built.ok();
    says(&built, ASKED);
    says_not(&built, PASSWORD);

    // Without the settings its certificate is nobody's.
    std::fs::write(&settings, "").unwrap();
    let name = format!("{host}/private/other");
    let output = format!("-o=type=registry,name={name}");
    run(&["build", &output, "-"], "FROM scratch\nLABEL a=b\n").fails(1, "certificate");
    let output = format!("{output},registry.insecure=true");
    run(&["build", &output, "-"], "FROM scratch\nLABEL a=b\n").ok();
}

#[test]
fn a_pushed_result_is_what_the_facts_say_and_nothing_stays() {
    if !needs(&FILES) {
        return;
    }
    let lab = Lab::new();
    lab.home.file("context/f", "content");
    let facts = format!("--metadata-file={}", lab.facts_file());
    let more = ["--push", "-t=HOST/app/one:1", "-t=HOST/app/one:2", &facts];
    let built = lab.build("FROM scratch\nCOPY f /\n", &more);
    built.ok();
    says(&built, "pushing layers");
    let digest = lab.facts()["containerimage.digest"]
        .as_str()
        .unwrap()
        .to_owned();
    for tag in ["1", "2"] {
        let name = lab.name(&format!("app/one:{tag}"));
        says(&built, &format!("pushing manifest for {name}@{digest}"));
        let manifest = lab.raw(&format!("app/one:{tag}"));
        assert_eq!(Digest::of(&manifest).to_string(), digest);
    }
    let manifest: Value = serde_json::from_slice(&lab.raw("app/one:1")).unwrap();
    let layer = manifest["layers"][0]["mediaType"].as_str().unwrap();
    assert_eq!(layer, "application/vnd.oci.image.layer.v1.tar+gzip");
    assert_eq!(lab.home.run(&["images", "-aq"]).ok(), "");
    assert_eq!(
        lab.facts()["image.name"],
        format!("{},{}", lab.name("app/one:1"), lab.name("app/one:2"))
    );
    // It is one that others can use.
    let other = Home::new();
    other.run(&["pull", &lab.name("app/one:2")]).ok();
}

#[test]
fn several_platforms_go_as_one_index() {
    if !needs(&FILES) {
        return;
    }
    let lab = Lab::new();
    let facts = format!("--metadata-file={}", lab.facts_file());
    let id = lab.home.scratch().join("id");
    let iidfile = format!("--iidfile={}", id.to_str().unwrap());
    let platforms = "--platform=linux/amd64,linux/arm64";
    let more = [
        "-o=type=registry",
        "-t=HOST/app/two:1",
        platforms,
        &facts,
        &iidfile,
    ];
    let dockerfile = "FROM scratch\nARG TARGETARCH\nCOPY <<-EOF /arch\n\t$TARGETARCH\nEOF\n";
    lab.build(dockerfile, &more).ok();
    let bytes = lab.raw("app/two:1");
    let digest = Digest::of(&bytes).to_string();
    assert_eq!(lab.facts()["containerimage.digest"], digest);
    assert_eq!(std::fs::read_to_string(id).unwrap(), digest);
    assert!(lab.facts().get("containerimage.config.digest").is_none());
    let index: Value = serde_json::from_slice(&bytes).unwrap();
    let found: Vec<&Value> = index["manifests"].as_array().unwrap().iter().collect();
    assert_eq!(found.len(), 2);
    for (manifest, architecture) in found.into_iter().zip(["amd64", "arm64"]) {
        assert_eq!(manifest["platform"]["architecture"], architecture);
        let own = manifest["digest"].as_str().unwrap();
        let bytes = lab.raw(&format!("app/two@{own}"));
        assert_eq!(Digest::of(&bytes).to_string(), own);
    }
    assert_eq!(lab.home.run(&["images", "-aq"]).ok(), "");
    // A build on it takes the fitting part; both parts of one index where two are built.
    let dockerfile = "FROM HOST/app/two:1\nLABEL a=b\n";
    let both = lab.build(dockerfile, &[platforms, "-o=type=cacheonly"]);
    both.ok();
    says(&both, "[linux/arm64 internal] load metadata for");
}

#[test]
fn a_result_can_be_pushed_by_its_digest_alone() {
    if !needs(&FILES) {
        return;
    }
    let lab = Lab::new();
    let facts = format!("--metadata-file={}", lab.facts_file());
    let by_digest = "type=image,push=true,store=false,push-by-digest=true,name=HOST/app/three";
    let dockerfile = "FROM scratch\nLABEL a=b\n";
    lab.build(dockerfile, &["-o", by_digest, &facts]).ok();
    let digest = lab.facts()["containerimage.digest"]
        .as_str()
        .unwrap()
        .to_owned();
    let manifest = lab.raw(&format!("app/three@{digest}"));
    assert_eq!(Digest::of(&manifest).to_string(), digest);
    assert_eq!(lab.home.run(&["images", "-aq"]).ok(), "");
    let tagged = lab.build(dockerfile, &["-o", &format!("{by_digest}:1")]);
    tagged.fails(1, "can't push tagged ref");
    lab.build(dockerfile, &["--push"])
        .fails(1, "tag is needed when pushing to registry");
    // A tag beside it does not disturb.
    lab.build(dockerfile, &["--push", "-t=HOST/app/three:x"])
        .ok();
    assert_eq!(lab.tags("app/three"), serde_json::json!(["x"]));
}

#[test]
fn what_is_stored_and_pushed_is_the_same() {
    if !needs(&FILES) {
        return;
    }
    let lab = Lab::new();
    lab.home.file("context/f", "content");
    let facts = format!("--metadata-file={}", lab.facts_file());
    let output = "type=image,push=true,name-canonical=true,compression=zstd,annotation.a=b,\
                  \"name=HOST/app/four:1,HOST/other/four:2\"";
    lab.build("FROM scratch\nCOPY f /\n", &["-o", output, &facts])
        .ok();
    let digest = lab.facts()["containerimage.digest"]
        .as_str()
        .unwrap()
        .to_owned();
    for path in ["app/four:1", "other/four:2"] {
        let bytes = lab.raw(path);
        assert_eq!(Digest::of(&bytes).to_string(), digest);
        let manifest: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(manifest["annotations"]["a"], "b");
        let layer = manifest["layers"][0]["mediaType"].as_str().unwrap();
        assert_eq!(layer, "application/vnd.oci.image.layer.v1.tar+zstd");
        lab.home.run(&["image", "inspect", &lab.name(path)]).ok();
        let repository = path.split(':').next().unwrap();
        let canonical = format!("{}@{digest}", lab.name(repository));
        lab.home.run(&["image", "inspect", &canonical]).ok();
    }
    // `--load` beside `--push` keeps it too.
    let more = ["--push", "--load", "-t=HOST/app/five:1"];
    lab.build("FROM scratch\nCOPY f /\n", &more).ok();
    lab.home
        .run(&["image", "inspect", &lab.name("app/five:1")])
        .ok();
    lab.raw("app/five:1");
}

#[test]
fn what_no_step_needs_is_not_downloaded() {
    if !needs(&RUNS) {
        return;
    }
    let lab = Lab::with_busybox();
    let dockerfile = "FROM HOST/lib/bb:1\nRUN true > /made\n";
    lab.build(dockerfile, &["--check"]).ok();
    let unused = "FROM HOST/lib/bb:1 AS base\nFROM scratch\nCOPY Dockerfile /\n";
    lab.build(unused, &["-t", "unused"]).ok();
    assert_eq!(lab.home.run(&["images", "-aq", "lib/bb"]).ok(), "");
    assert!(blobs(&lab.home).is_empty());

    lab.home.run(&["rmi", "unused"]).ok();
    lab.build(dockerfile, &["-t", "app"]).ok();
    assert!(!blobs(&lab.home).is_empty());
    lab.home.run(&["rmi", "-f", "app"]).ok();
    let base = lab.home.run(&["images", "-q", &lab.name("lib/bb")]);
    let base = base.ok().lines().next().unwrap().to_owned();
    lab.home.run(&["rmi", "-f", &base]).ok();
    // The tree stays with the cache; what it came in may be gone.
    for blob in blobs(&lab.home) {
        std::fs::remove_file(blob).unwrap();
    }
    // Everything is cached; the registry has the base's layer already, so that
    // it need not come here to be pushed.
    let pushed = lab.build(dockerfile, &["--push", "-t=HOST/app/lazy:1"]);
    pushed.ok();
    assert_eq!(lab.home.run(&["images", "-aq"]).ok(), "");
    assert_eq!(
        blobs(&lab.home).len(),
        1,
        "only the new layer is compressed"
    );
    let other = Home::new();
    let name = lab.name("app/lazy:1");
    other.run(&["pull", &name]).ok();
    // The store is to have all of what it keeps.
    let kept = lab.build(dockerfile, &["-t", "app"]);
    kept.ok();
    says(&kept, "exporting to image");
    let archive = lab.home.scratch().join("app.tar");
    lab.home
        .run(&["save", "-o", archive.to_str().unwrap(), "app"])
        .ok();
}

/// The files of blobs in a data root.
fn blobs(home: &Home) -> Vec<PathBuf> {
    let dir = home.root().join("blobs/sha256");
    let Ok(entries) = std::fs::read_dir(dir) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for entry in entries.map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            let inner = std::fs::read_dir(&entry).unwrap();
            found.extend(inner.map(|one| one.unwrap().path()));
        } else {
            found.push(entry);
        }
    }
    found
}
