//! The behaviours that the distribution specification asks for: pull, push,
//! content discovery, content management.

use std::io::{Read, Write};

use rbuild::oci::Digest;
use serde_json::json;

use super::{INDEX, MANIFEST, Own, Reply, image, noise, part};
use crate::support::Home;

const MISSING: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

#[test]
fn what_is_no_part_of_the_protocol_is_refused() {
    let home = Home::new();
    let own = Own::start(&home, &[]);
    let base = own.ask("GET", "/v2/");
    assert_eq!(base.has(200).body, b"{}");
    assert_eq!(
        base.header("docker-distribution-api-version"),
        "registry/2.0"
    );
    own.ask("GET", "/").refuses(404, "NAME_UNKNOWN");
    own.ask("GET", "/token").refuses(404, "NAME_UNKNOWN");
    own.ask("POST", "/v2/").refuses(405, "UNSUPPORTED");
    own.ask("OPTIONS", "/v2/").refuses(405, "UNSUPPORTED");
    own.ask("PUT", "/v2/a/tags/list")
        .refuses(405, "UNSUPPORTED");
    for name in ["A", "..", "a/../b", "-a", "%2e%2e/x", &"a".repeat(300)] {
        let path = format!("/v2/{name}/tags/list");
        own.ask("GET", &path).refuses(400, "NAME_INVALID");
        let path = format!("/v2/{name}/blobs/uploads/");
        own.ask("POST", &path).refuses(400, "NAME_INVALID");
    }
    own.ask("GET", "/v2/a/blobs/sha256:abc")
        .refuses(400, "DIGEST_INVALID");
    own.ask("GET", "/v2/a/blobs/../../../etc/passwd").has(404);
    own.ask("GET", "/v2/a/manifests/..")
        .refuses(400, "TAG_INVALID");
    own.ask("PUT", "/v2/a/blobs/uploads/..%2f..%2findex.sqlite?digest=x")
        .has(404);
}

#[test]
fn pull() {
    let home = Home::new();
    let own = Own::start(&home, &[]);
    let (digest, [config, layer]) = own.push_image("lib/app", "v1", "one");
    let manifest = image(b"{\"seed\":\"one\"}", b"layer of one").to_string();
    for name in [
        "v1".to_owned(),
        digest.to_string(),
        digest.to_string().replace(':', "%3A"),
    ] {
        let path = format!("/v2/lib/app/manifests/{name}");
        for method in ["GET", "HEAD"] {
            let reply = own.ask(method, &path);
            reply.has(200);
            assert_eq!(reply.header("content-type"), MANIFEST);
            assert_eq!(reply.header("docker-content-digest"), digest.to_string());
            assert_eq!(reply.header("content-length"), manifest.len().to_string());
            let body = if method == "GET" {
                manifest.as_str()
            } else {
                ""
            };
            assert_eq!(reply.body, body.as_bytes());
        }
    }
    let known = format!("\"{digest}\"");
    let reply = own.send(
        "GET",
        "/v2/lib/app/manifests/v1",
        &[("If-None-Match", &known)],
        b"",
    );
    assert!(reply.has(304).body.is_empty());
    own.ask("GET", "/v2/lib/app/manifests/v2")
        .refuses(404, "MANIFEST_UNKNOWN");
    own.ask("GET", "/v2/none/manifests/v1")
        .refuses(404, "NAME_UNKNOWN");
    own.ask("HEAD", &format!("/v2/lib/app/manifests/{MISSING}"))
        .has(404);

    let path = format!("/v2/lib/app/blobs/{layer}");
    for method in ["GET", "HEAD"] {
        let reply = own.ask(method, &path);
        assert_eq!(reply.has(200).header("content-length"), "12");
        assert_eq!(reply.header("docker-content-digest"), layer.to_string());
        assert_eq!(reply.header("accept-ranges"), "bytes");
    }
    assert_eq!(own.ask("GET", &path).body, b"layer of one");
    let range = |text: &str| own.send("GET", &path, &[("Range", text)], b"");
    let check = |text: &str, want: &[u8], told: &str| {
        let reply = range(text);
        assert_eq!(reply.has(206).body, want, "{text}");
        assert_eq!(reply.header("content-range"), told);
    };
    check("bytes=0-4", b"layer", "bytes 0-4/12");
    check("bytes=9-", b"one", "bytes 9-11/12");
    check("bytes=-3", b"one", "bytes 9-11/12");
    check("bytes=9-99", b"one", "bytes 9-11/12");
    let beyond = range("bytes=12-");
    assert_eq!(beyond.has(416).header("content-range"), "bytes */12");
    assert_eq!(range("bytes=0-1,3-4").has(200).body, b"layer of one");
    own.ask("GET", &format!("/v2/lib/app/blobs/{MISSING}"))
        .refuses(404, "BLOB_UNKNOWN");
    // Another repository does not have it.
    own.ask("GET", &format!("/v2/lib/other/blobs/{config}"))
        .refuses(404, "BLOB_UNKNOWN");
}

#[test]
fn push_of_blobs() {
    let home = Home::new();
    let own = Own::start(&home, &[]);
    let bytes = noise(3 << 20, 7);
    let digest = Digest::of(&bytes);
    let blob = |repository: &str| format!("/v2/{repository}/blobs/{digest}");
    let there =
        |repository: &str| assert_eq!(own.ask("GET", &blob(repository)).has(200).body, bytes);
    let is_created = |reply: &Reply, repository: &str| {
        assert_eq!(reply.has(201).header("location"), blob(repository));
        assert_eq!(reply.header("docker-content-digest"), digest.to_string());
    };

    // In one request.
    let path = format!("/v2/a/blobs/uploads/?digest={digest}");
    is_created(&own.send("POST", &path, &[], &bytes), "a");
    there("a");
    // In two.
    let place = own.begin("b");
    is_created(
        &own.send("PUT", &format!("{place}?digest={digest}"), &[], &bytes),
        "b",
    );
    there("b");
    // An answer that was lost.
    is_created(
        &own.send("PUT", &format!("{place}?digest={digest}"), &[], &bytes),
        "b",
    );
    own.ask("GET", &place).refuses(404, "BLOB_UPLOAD_UNKNOWN");
    // In pieces, with their places told.
    let place = own.begin("c");
    let patch = |range: &str, piece: &[u8]| {
        let headers = [
            ("Content-Range", range),
            ("Content-Type", "application/octet-stream"),
        ];
        own.send("PATCH", &place, &headers, piece)
    };
    let reply = patch("0-999999", &bytes[..1_000_000]);
    assert_eq!(reply.has(202).header("range"), "0-999999");
    assert_eq!(reply.header("location"), place);
    let state = own.ask("GET", &place);
    assert_eq!(state.has(204).header("range"), "0-999999");
    for wrong in [
        "0-999999",
        "999999-1000000",
        "1000001-1000002",
        "5-1",
        "x",
        "1000000-",
    ] {
        let reply = patch(wrong, &bytes[..2]);
        assert_eq!(reply.has(416).header("range"), "0-999999", "{wrong}");
        assert_eq!(reply.header("location"), place);
    }
    patch("1000000-1000005", &bytes[..2]).refuses(400, "SIZE_INVALID");
    patch("1000000-1999999", &bytes[1_000_000..2_000_000]).has(202);
    let path = format!("{place}?digest={digest}");
    let range = format!("2000000-{}", bytes.len() - 1);
    let reply = own.send(
        "PUT",
        &path,
        &[("Content-Range", &range)],
        &bytes[2_000_000..],
    );
    is_created(&reply, "c");
    there("c");
}

#[test]
fn blobs_are_streamed_and_mounted() {
    let home = Home::new();
    let own = Own::start(&home, &[]);
    let bytes = noise(3 << 20, 7);
    let digest = own.push_blob("a", &bytes);
    let blob = |repository: &str| format!("/v2/{repository}/blobs/{digest}");
    let there = |repository: &str| {
        assert_eq!(own.ask("GET", &blob(repository)).has(200).body, bytes);
    };
    // As a stream without a length.
    let place = own.begin("d");
    let mut socket = own.connect();
    let head = format!(
        "PATCH {place} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).unwrap();
    for piece in bytes.chunks(100_000) {
        socket
            .write_all(format!("{:x}\r\n", piece.len()).as_bytes())
            .unwrap();
        socket.write_all(piece).unwrap();
        socket.write_all(b"\r\n").unwrap();
    }
    socket.write_all(b"0\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    own.ask("PUT", &format!("{place}?digest={digest}")).has(201);
    there("d");
    // Taken over from another repository, or not.
    let mount = |from: &str| format!("/v2/e/blobs/uploads/?mount={digest}&from={from}");
    for from in ["none", "..", ""] {
        own.ask("POST", &mount(from)).has(202);
    }
    let reply = own.ask("POST", &mount("a"));
    assert_eq!(reply.has(201).header("location"), blob("e"));
    there("e");
}

#[test]
fn a_blob_is_what_its_digest_says_or_it_is_refused() {
    let home = Home::new();
    let own = Own::start(&home, &[]);
    let digest = Digest::of(b"this");
    let path = format!("/v2/a/blobs/uploads/?digest={digest}");
    own.send("POST", &path, &[], b"that")
        .refuses(400, "DIGEST_INVALID");
    let place = own.begin("a");
    let path = format!("{place}?digest={digest}");
    own.send("PUT", &path, &[], b"that")
        .refuses(400, "DIGEST_INVALID");
    own.ask("GET", &place).refuses(404, "BLOB_UPLOAD_UNKNOWN");
    own.ask("GET", &format!("/v2/a/blobs/{digest}"))
        .refuses(404, "BLOB_UNKNOWN");
    let place = own.begin("a");
    own.send("PUT", &place, &[], b"this")
        .refuses(400, "DIGEST_INVALID");
    own.send("PUT", &format!("{place}?digest=sha512:00"), &[], b"")
        .refuses(400, "DIGEST_INVALID");
    own.ask("POST", "/v2/a/blobs/uploads/?digest-algorithm=sha512")
        .refuses(400, "DIGEST_INVALID");
    // An upload belongs to one repository, and can be given up.
    let id = place.rsplit('/').next().unwrap();
    own.ask("GET", &format!("/v2/b/blobs/uploads/{id}"))
        .refuses(404, "BLOB_UPLOAD_UNKNOWN");
    own.ask("DELETE", &place).has(204);
    own.ask("DELETE", &place)
        .refuses(404, "BLOB_UPLOAD_UNKNOWN");
    own.send("PATCH", &place, &[], b"x")
        .refuses(404, "BLOB_UPLOAD_UNKNOWN");
    // More than is ever taken is refused before it comes.
    let place = own.begin("a");
    let huge = [("Content-Length", "9999999999999")];
    own.send("PATCH", &place, &huge, b"")
        .refuses(413, "SIZE_INVALID");
    // The empty blob is one.
    own.push_blob("a", b"");
    let empty = Digest::of(b"");
    assert!(
        own.ask("GET", &format!("/v2/a/blobs/{empty}"))
            .has(200)
            .body
            .is_empty()
    );
}

#[test]
fn push_of_manifests() {
    let home = Home::new();
    let own = Own::start(&home, &[]);
    let put = |name: &str, kind: &str, bytes: &[u8]| {
        let path = format!("/v2/a/manifests/{name}");
        own.send("PUT", &path, &[("Content-Type", kind)], bytes)
    };
    let manifest = image(b"{}", b"layer").to_string();
    let digest = Digest::of(manifest.as_bytes());
    let reply = put("1", MANIFEST, manifest.as_bytes());
    let errors = reply.refuses(404, "MANIFEST_BLOB_UNKNOWN").json();
    assert_eq!(errors["errors"].as_array().unwrap().len(), 2);
    assert_eq!(
        errors["errors"][1]["detail"],
        Digest::of(b"layer").to_string()
    );
    own.push_blob("a", b"{}");
    own.push_blob("a", b"layer");
    let reply = put("1", MANIFEST, manifest.as_bytes());
    let location = format!("/v2/a/manifests/{digest}");
    assert_eq!(reply.has(201).header("location"), location);
    assert_eq!(reply.header("docker-content-digest"), digest.to_string());
    put(&digest.to_string(), MANIFEST, manifest.as_bytes()).has(201);
    put(MISSING, MANIFEST, manifest.as_bytes()).refuses(400, "DIGEST_INVALID");
    // Several tags at once.
    let reply = put(
        &format!("{digest}?tag=x&tag=y"),
        MANIFEST,
        manifest.as_bytes(),
    );
    assert_eq!(reply.has(201).header("oci-tag"), "x");
    own.ask("HEAD", "/v2/a/manifests/y").has(200);
    put(&format!("{digest}?tag=.."), MANIFEST, manifest.as_bytes()).refuses(400, "TAG_INVALID");

    // An index of what is there, and of what is not.
    let index = |child: &str| {
        json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [
            {"mediaType": MANIFEST, "digest": child, "size": manifest.len()}]})
        .to_string()
    };
    put("index", INDEX, index(&digest.to_string()).as_bytes()).has(201);
    put("index", INDEX, index(MISSING).as_bytes()).refuses(404, "MANIFEST_BLOB_UNKNOWN");

    // What is no manifest, or another one than it says.
    let invalid = |kind: &str, text: &str| {
        put("z", kind, text.as_bytes()).refuses(400, "MANIFEST_INVALID");
    };
    invalid(MANIFEST, "");
    invalid(MANIFEST, "{");
    invalid(INDEX, &manifest);
    invalid("application/json", &manifest);
    invalid(MANIFEST, r#"{"schemaVersion":1,"fsLayers":[]}"#);
    let nested = "[".repeat(100_000);
    invalid(MANIFEST, &nested);

    // Four mebibytes are taken, one byte more is not.
    let sized = |length: usize| {
        let mut text = manifest.clone();
        text.pop();
        let frame = r#","annotations":{"a":""}}"#.len();
        let fill = "x".repeat(length - text.len() - frame);
        format!("{text},\"annotations\":{{\"a\":\"{fill}\"}}}}")
    };
    put("large", MANIFEST, sized(4 << 20).as_bytes()).has(201);
    assert_eq!(own.ask("GET", "/v2/a/manifests/large").body.len(), 4 << 20);
    put("large", MANIFEST, sized((4 << 20) + 1).as_bytes()).refuses(413, "SIZE_INVALID");
}

#[test]
fn content_discovery() {
    let home = Home::new();
    let own = Own::start(&home, &[]);
    own.ask("GET", "/v2/a/tags/list")
        .refuses(404, "NAME_UNKNOWN");
    for tag in ["b", "a", "C", "1.0", "latest"] {
        own.push_image("a", tag, "one");
    }
    own.push_image("b/c", "x", "one");
    let list = |path: &str| {
        let reply = own.ask("GET", path);
        reply.has(200);
        let link = reply.header("link").to_owned();
        (reply.json(), link)
    };
    let (tags, link) = list("/v2/a/tags/list");
    assert_eq!(
        tags,
        json!({"name": "a", "tags": ["1.0", "C", "a", "b", "latest"]})
    );
    assert_eq!(link, "");
    let (tags, link) = list("/v2/a/tags/list?n=2");
    assert_eq!(tags["tags"], json!(["1.0", "C"]));
    assert_eq!(link, "</v2/a/tags/list?last=C&n=2>; rel=\"next\"");
    let (tags, _) = list("/v2/a/tags/list?last=C&n=2");
    assert_eq!(tags["tags"], json!(["a", "b"]));
    let (tags, link) = list("/v2/a/tags/list?last=b&n=2");
    assert_eq!((&tags["tags"], link.as_str()), (&json!(["latest"]), ""));
    assert_eq!(list("/v2/a/tags/list?n=0").0["tags"], json!([]));
    assert_eq!(list("/v2/a/tags/list?last=zzz").0["tags"], json!([]));
    own.ask("GET", "/v2/a/tags/list?n=-1")
        .refuses(400, "PAGINATION_NUMBER_INVALID");
    own.ask("GET", "/v2/a/tags/list?n=x")
        .refuses(400, "PAGINATION_NUMBER_INVALID");
    assert_eq!(
        list("/v2/_catalog").0,
        json!({"repositories": ["a", "b/c"]})
    );
    let (_, link) = list("/v2/_catalog?n=1");
    assert_eq!(link, "</v2/_catalog?last=a&n=1>; rel=\"next\"");
    assert_eq!(
        list("/v2/_catalog?n=1&last=a").0["repositories"],
        json!(["b/c"])
    );
}

#[test]
fn referrers() {
    let home = Home::new();
    let own = Own::start(&home, &[]);
    let (subject, _) = own.push_image("a", "1", "one");
    let list = |query: &str| own.ask("GET", &format!("/v2/a/referrers/{subject}{query}"));
    let empty = list("");
    assert_eq!(empty.has(200).header("content-type"), INDEX);
    assert_eq!(empty.json()["manifests"], json!([]));
    // The subject need not be there; an empty configuration tells no type.
    let artifact = |kind: &str, subject: &str| {
        json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": kind,
            "config": part("application/vnd.oci.empty.v1+json", b"{}"),
            "layers": [part("text/plain", b"{}")],
            "subject": {"mediaType": MANIFEST, "digest": subject, "size": 1},
            "annotations": {"org.example": kind},
        })
    };
    own.push_blob("a", b"{}");
    let mut digests = Vec::new();
    for kind in ["a/sbom", "a/signature"] {
        let manifest = artifact(kind, &subject.to_string());
        let bytes = manifest.to_string().into_bytes();
        let digest = Digest::of(&bytes);
        let path = format!("/v2/a/manifests/{digest}");
        let reply = own.send("PUT", &path, &[("Content-Type", MANIFEST)], &bytes);
        assert_eq!(reply.has(201).header("oci-subject"), subject.to_string());
        digests.push(digest.to_string());
    }
    let missing = artifact("a/sbom", MISSING);
    own.push_manifest("a", "orphan", &missing);
    // One by its configuration's type, and an index.
    let mut plain = image(b"{}", b"{}");
    plain["subject"] = json!({"mediaType": MANIFEST, "digest": subject, "size": 1});
    own.push_manifest("a", "plain", &plain);
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [],
        "subject": {"mediaType": MANIFEST, "digest": subject, "size": 1}});
    own.push_manifest("a", "index", &index);

    let all = list("");
    assert_eq!(all.header("oci-filters-applied"), "");
    assert_eq!(all.json()["manifests"].as_array().unwrap().len(), 4);
    let filtered = list("?artifactType=a%2Fsignature");
    assert_eq!(filtered.header("oci-filters-applied"), "artifactType");
    let found = filtered.json()["manifests"].clone();
    assert_eq!(found.as_array().unwrap().len(), 1);
    assert_eq!(found[0]["digest"], digests[1].as_str());
    assert_eq!(found[0]["artifactType"], "a/signature");
    assert_eq!(
        found[0]["annotations"],
        json!({"org.example": "a/signature"})
    );
    let config = list("?artifactType=application/vnd.oci.image.config.v1%2Bjson");
    assert_eq!(config.json()["manifests"].as_array().unwrap().len(), 1);
    let orphan = own.ask("GET", &format!("/v2/a/referrers/{MISSING}"));
    assert_eq!(
        orphan.has(200).json()["manifests"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    own.ask("GET", "/v2/a/referrers/x")
        .refuses(400, "DIGEST_INVALID");

    // They go with their manifests.
    own.ask("DELETE", &format!("/v2/a/manifests/{}", digests[1]))
        .has(202);
    assert_eq!(
        list("?artifactType=a%2Fsignature").json()["manifests"],
        json!([])
    );
}

#[test]
fn content_management() {
    let home = Home::new();
    let own = Own::start(&home, &[]);
    let (digest, [config, _]) = own.push_image("a", "1", "one");
    own.push_image("a", "2", "one");
    own.push_image("a", "3", "one");
    own.ask("DELETE", "/v2/a/manifests/1").has(202);
    own.ask("GET", "/v2/a/manifests/1")
        .refuses(404, "MANIFEST_UNKNOWN");
    own.ask("DELETE", "/v2/a/manifests/1")
        .refuses(404, "MANIFEST_UNKNOWN");
    // The manifest and its other tags are still there.
    own.ask("GET", "/v2/a/manifests/2").has(200);
    own.ask("DELETE", &format!("/v2/a/manifests/{digest}"))
        .has(202);
    for name in ["2", "3", &digest.to_string()] {
        own.ask("GET", &format!("/v2/a/manifests/{name}")).has(404);
    }
    own.ask("DELETE", &format!("/v2/a/manifests/{digest}"))
        .refuses(404, "MANIFEST_UNKNOWN");
    own.push_image("a", "1", "one");
    let blob = format!("/v2/a/blobs/{config}");
    own.ask("DELETE", &blob).has(202);
    own.ask("GET", &blob).refuses(404, "BLOB_UNKNOWN");
    own.ask("DELETE", &blob).refuses(404, "BLOB_UNKNOWN");
}
