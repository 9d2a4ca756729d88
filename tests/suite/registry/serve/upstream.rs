//! What is missing comes from another registry; images of the store by name.

use rbuild::oci::Digest;
use serde_json::json;

use super::{Own, image, noise};
use crate::support::{Home, Need, needs};

#[test]
fn what_is_missing_comes_from_upstream_and_stays() {
    let (far, near) = (Home::new(), Home::new());
    let upstream = Own::start(&far, &[]);
    let layer = noise(3_000_000, 4);
    upstream.push_blob("lib/app", b"{}");
    upstream.push_blob("lib/app", &layer);
    let manifest = upstream.push_manifest("lib/app", "1", &image(b"{}", &layer));
    let own = Own::start(&near, &["--upstream", &upstream.host]);

    let blob = format!("/v2/lib/app/blobs/{}", Digest::of(&layer));
    // Nobody has named it yet, so nobody asks for it.
    own.ask("GET", &blob).refuses(404, "BLOB_UNKNOWN");
    let reply = own.ask("GET", "/v2/lib/app/manifests/1");
    assert_eq!(
        reply.has(200).header("docker-content-digest"),
        manifest.to_string()
    );
    assert_eq!(
        own.ask("HEAD", &blob).has(200).header("content-length"),
        "3000000"
    );
    // Several at once, whole and in part.
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(own.ask("GET", &blob).has(200).body, layer));
        }
        scope.spawn(|| {
            let part = own.send("GET", &blob, &[("Range", "bytes=1000000-1000009")], b"");
            assert_eq!(part.has(206).body, layer[1_000_000..1_000_010]);
        });
    });
    let asked = upstream.log();
    let fetched = asked.matches(&format!("GET {blob}")).count();
    assert_eq!(fetched, 1, "{asked}");
    own.ask("GET", &format!("/v2/lib/app/blobs/{}", Digest::of(b"{}")))
        .has(200);
    assert_eq!(
        own.ask("GET", "/v2/lib/app/tags/list").json()["tags"],
        json!(["1"])
    );
    own.ask("GET", "/v2/lib/app/manifests/2").has(404);
    own.ask("GET", "/v2/lib/none/manifests/2").has(404);

    // What was pushed here counts, whatever upstream has.
    let (pushed, _) = own.push_image("lib/app", "1", "ours");
    let tag = |own: &Own| {
        let reply = own.ask("HEAD", "/v2/lib/app/manifests/1");
        reply.has(200).header("docker-content-digest").to_owned()
    };
    assert_eq!(tag(&own), pushed.to_string());
    upstream.ask("HEAD", "/v2/lib/app/manifests/1").has(200);

    // With the upstream gone, what came is still there.
    drop(upstream);
    own.ask("GET", &format!("/v2/lib/app/manifests/{manifest}"))
        .has(200);
    assert_eq!(own.ask("GET", &blob).has(200).body, layer);
    own.ask("GET", "/v2/lib/other/manifests/1")
        .refuses(502, "UNKNOWN");
    near.run(&["system", "prune", "-af"]).ok();
    assert_eq!(own.ask("GET", &blob).has(200).body, layer);
}

#[test]
fn an_upstream_that_lies_is_not_believed() {
    use crate::support::{Answer, HttpServer};
    let good = image(b"{}", b"layer").to_string();
    let digest = Digest::of(good.as_bytes());
    let liar = HttpServer::plain(move |asked| {
        let path = asked.path();
        if path.ends_with("/manifests/1") {
            Answer::new(200)
                .with("Content-Type", super::MANIFEST)
                .body(good.clone())
        } else if path.ends_with("/manifests/2") {
            Answer::new(200)
                .with("Content-Type", super::MANIFEST)
                .with("Docker-Content-Digest", digest.to_string())
                .body("{}")
        } else if path.contains("/blobs/") {
            Answer::new(200).body("LAYER")
        } else {
            Answer::new(200)
        }
    });
    let home = Home::new();
    let own = Own::start(&home, &["--upstream", &liar.host()]);
    own.ask("GET", "/v2/a/manifests/1").has(200);
    own.ask("GET", "/v2/a/manifests/2").refuses(502, "UNKNOWN");
    // The length is right and the bytes are not: the answer breaks off before
    // its end, and nothing of it is kept.
    let layer = Digest::of(b"layer");
    for _ in 0..2 {
        let reply = own.ask("GET", &format!("/v2/a/blobs/{layer}"));
        assert!(reply.status == 502 || reply.body.len() < 5, "{reply:?}");
    }
    assert!(!home.root().join("blobs/sha256").join(layer.hex()).exists());
}

#[test]
fn images_of_the_store_can_be_pulled_by_name() {
    if !needs(&[Need::Root, Need::Busybox, Need::Overlay]) {
        return;
    }
    let (near, far) = (Home::with_busybox(), Home::new());
    near.file("Dockerfile", "FROM busybox\nRUN echo built > /built\n");
    let context = near.scratch().display().to_string();
    near.run(&["build", "-q", "-t", "team/app:2", &context])
        .ok();
    let own = Own::start(&near, &["--images", "--read-only"]);
    let names = own.ask("GET", "/v2/_catalog").json();
    assert_eq!(names["repositories"], json!(["busybox", "team/app"]));
    let tags = own.ask("GET", "/v2/team/app/tags/list").json();
    assert_eq!(tags["tags"], json!(["2"]));
    own.ask("GET", "/v2/team/app/manifests/1").has(404);
    let manifest = own.ask("GET", "/v2/team/app/manifests/2");
    let config = manifest.has(200).json()["config"]["digest"]
        .as_str()
        .unwrap()
        .to_owned();
    own.ask("HEAD", &format!("/v2/team/app/blobs/{config}"))
        .has(200);
    // Not a name for every blob of the store.
    own.ask("HEAD", &format!("/v2/busybox/blobs/{config}"))
        .has(404);
    let name = format!("{}/team/app:2", own.host);
    let run = far.run(&["run", "--rm", "--network", "none", &name, "cat", "/built"]);
    assert_eq!(run.ok(), "built");
    // Nothing of it was copied.
    let plain = Own::start(&near, &[]);
    plain.ask("GET", "/v2/team/app/manifests/2").has(404);
}
