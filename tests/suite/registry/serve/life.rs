//! What outlives connections, servers and prunes.

use std::io::Write;

use rbuild::oci::Digest;

use super::{Own, noise};
use crate::support::{Home, Need, needs};

fn files(path: &std::path::Path) -> usize {
    std::fs::read_dir(path).map_or(0, Iterator::count)
}

/// Sends the beginning of a piece and breaks off.
fn break_off(own: &Own, place: &str, from: usize, bytes: &[u8]) {
    let mut socket = own.connect();
    let head = format!(
        "PATCH {place} HTTP/1.1\r\nHost: x\r\nContent-Range: {from}-{}\r\nContent-Length: {}\r\n\r\n",
        from + 2 * bytes.len() - 1,
        2 * bytes.len()
    );
    socket.write_all(head.as_bytes()).unwrap();
    socket.write_all(bytes).unwrap();
}

/// How many bytes of an upload are there.
fn standing(own: &Own, place: &str) -> usize {
    let reply = own.ask("GET", place);
    let range = reply.has(204).header("range").to_owned();
    let last: usize = range.strip_prefix("0-").unwrap().parse().unwrap();
    if last == 0 { 0 } else { last + 1 }
}

#[test]
fn an_upload_goes_on_after_its_connection_broke() {
    let home = Home::new();
    let own = Own::start(&home, &[]);
    let bytes = noise(4_000_000, 3);
    let digest = Digest::of(&bytes);
    let place = own.begin("a");
    let mut step = 12_345;
    for _ in 0..40 {
        let at = standing(&own, &place);
        step = step * 7 % 200_003 + 1;
        let end = (at + step).min(bytes.len() / 2);
        break_off(&own, &place, at, &bytes[at..end]);
    }
    // The last one broke off as well, and may still be read.
    let at = loop {
        let at = standing(&own, &place);
        let range = format!("{at}-{}", bytes.len() - 1);
        let reply = own.send("PATCH", &place, &[("Content-Range", &range)], &bytes[at..]);
        if reply.status != 416 {
            reply.has(202);
            break at;
        }
    };
    assert!(at > 0, "something of what came was kept");
    own.ask("PUT", &format!("{place}?digest={digest}")).has(201);
    assert_eq!(own.ask("GET", &format!("/v2/a/blobs/{digest}")).body, bytes);
}

#[test]
fn an_upload_goes_on_after_the_registry_was_killed() {
    let home = Home::new();
    let bytes = noise(6_000_000, 5);
    let digest = Digest::of(&bytes);
    let mut own = Own::start(&home, &[]);
    let place = own.begin("a");
    for _ in 0..8 {
        let at = standing(&own, &place);
        let end = (at + 500_000).min(bytes.len());
        break_off(&own, &place, at, &bytes[at..end]);
        own.kill();
        own = Own::start(&home, &[]);
    }
    let at = standing(&own, &place);
    let path = format!("{place}?digest={digest}");
    let range = format!("{at}-{}", bytes.len() - 1);
    own.send("PUT", &path, &[("Content-Range", &range)], &bytes[at..])
        .has(201);
    assert_eq!(own.ask("GET", &format!("/v2/a/blobs/{digest}")).body, bytes);
    assert_eq!(files(&home.root().join("uploads")), 0);
    // Killed between two requests, everything is there.
    let (manifest, _) = own.push_image("a", "1", "one");
    own.kill();
    let own = Own::start(&home, &[]);
    let reply = own.ask("GET", "/v2/a/manifests/1");
    assert_eq!(
        reply.has(200).header("docker-content-digest"),
        manifest.to_string()
    );
}

#[test]
fn several_registries_serve_one_data_root() {
    let home = Home::new();
    let (one, two) = (Own::start(&home, &[]), Own::start(&home, &[]));
    let bytes = noise(300_000, 9);
    let place = one.begin("a");
    one.send("PATCH", &place, &[], &bytes[..100_000]).has(202);
    two.send("PATCH", &place, &[], &bytes[100_000..200_000])
        .has(202);
    let digest = Digest::of(&bytes);
    one.send(
        "PUT",
        &format!("{place}?digest={digest}"),
        &[],
        &bytes[200_000..],
    )
    .has(201);
    assert_eq!(two.ask("GET", &format!("/v2/a/blobs/{digest}")).body, bytes);
    std::thread::scope(|scope| {
        for (index, own) in [&one, &two, &one, &two].into_iter().enumerate() {
            scope.spawn(move || {
                for round in 0..10 {
                    own.push_image("busy", &format!("{index}-{round}"), &format!("{round}"));
                }
            });
        }
    });
    let tags = two.ask("GET", "/v2/busy/tags/list").json();
    assert_eq!(tags["tags"].as_array().unwrap().len(), 40);
}

#[test]
fn prune_takes_what_was_deleted_and_nothing_else() {
    let home = Home::new();
    let own = Own::start(&home, &[]);
    let large = noise(2_000_000, 1);
    let shared = noise(1_000_000, 2);
    let push = |tag: &str, layer: &[u8]| {
        own.push_blob("a", b"{}");
        own.push_blob("a", layer);
        own.push_manifest("a", tag, &super::image(b"{}", layer))
    };
    let gone = push("gone", &large);
    let stays = push("stays", &shared);
    let blobs = || files(&home.root().join("blobs/sha256"));
    assert_eq!(blobs(), 3);
    home.run(&["system", "prune", "-af"]).ok();
    assert_eq!(blobs(), 3, "all of it is served");
    own.ask("GET", &format!("/v2/a/blobs/{}", Digest::of(&large)))
        .has(200);

    own.ask("DELETE", &format!("/v2/a/manifests/{gone}"))
        .has(202);
    let said = home.run(&["image", "prune", "-f"]);
    assert!(said.ok().contains("Total reclaimed space: 2MB"), "{said:?}");
    assert_eq!(blobs(), 2);
    let reply = own.ask("GET", &format!("/v2/a/blobs/{}", Digest::of(&shared)));
    assert_eq!(reply.has(200).body, shared);
    own.ask("GET", &format!("/v2/a/manifests/{stays}")).has(200);

    // What was sent but not named yet stays for a day, an upload too.
    let alone = own.push_blob("b", b"alone");
    let place = own.begin("b");
    own.send("PATCH", &place, &[], b"12345").has(202);
    home.run(&["system", "prune", "-af"]).ok();
    own.ask("HEAD", &format!("/v2/b/blobs/{alone}")).has(200);
    assert_eq!(standing(&own, &place), 5);
}

#[test]
fn images_and_repositories_share_blobs() {
    if !needs(&[Need::Root, Need::Busybox, Need::Overlay]) {
        return;
    }
    let home = Home::with_busybox();
    let own = Own::start(&home, &[]);
    let name = format!("{}/lib/bb:1", own.host);
    home.run(&["tag", "busybox", &name]).ok();
    home.run(&["push", &name]).ok();
    home.run(&["rmi", &name]).ok();
    home.run(&["rmi", "busybox"]).ok();
    home.run(&["system", "prune", "-af"]).ok();
    // The local image is gone, what was pushed is not.
    let run = home.run(&["run", "--rm", "--network", "none", &name, "echo", "pulled"]);
    assert_eq!(run.ok(), "pulled");
    // And the other way round.
    let reply = own.ask("HEAD", "/v2/lib/bb/manifests/1");
    let digest = reply.header("docker-content-digest").to_owned();
    own.ask("DELETE", &format!("/v2/lib/bb/manifests/{digest}"))
        .has(202);
    home.run(&["image", "prune", "-f"]).ok();
    let run = home.run(&["run", "--rm", "--network", "none", &name, "echo", "still"]);
    assert_eq!(run.ok(), "still");
}

#[test]
fn it_ends_when_it_is_asked_to() {
    let home = Home::new();
    let own = Own::start(&home, &[]);
    let idle = own.connect();
    own.ask("GET", "/v2/").has(200);
    let log = own.log();
    assert!(log.contains("GET /v2/ 200"), "{log}");
    assert_eq!(own.stop(), Some(0));
    drop(idle);
    let quiet = Own::start(&home, &["--quiet"]);
    quiet.ask("GET", "/v2/").has(200);
    assert_eq!(quiet.log(), "");
}
