//! Registries that lie, stall, flood and point elsewhere: each is refused with a
//! clear text, within bounds, and leaves nothing behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rbuild::oci::Digest;
use serde_json::json;

use super::fake::{Content, INDEX, count, endless, fake, slowly};
use super::scene::Scene;
use crate::support::{Answer, Asked, Certificates, HttpServer, Need, Outcome, needs};

/// Replaces some answers.
type Twist = Box<dyn Fn(&Asked) -> Option<Answer> + Send + Sync>;
/// What a token server answers.
type Token = fn() -> Answer;

/// Pulls from a server; it has to fail, saying `part`, and leave nothing.
#[track_caller]
fn refused(server: &HttpServer, part: &str) -> Outcome {
    let scene = Scene::new();
    // One that is silent is not waited for so long.
    scene.set(&server.host(), "idle-timeout = 1");
    let outcome = scene.run(&["pull", "-q", &format!("{}/a/b:1", server.host())]);
    outcome.fails(1, part);
    let clean = |c: char| !c.is_control() || c == '\n';
    assert!(outcome.stderr.chars().all(clean), "{outcome:?}");
    assert!(outcome.stderr.len() < 4_000, "{outcome:?}");
    scene.assert_empty();
    outcome
}

/// The same for answers to some requests.
#[track_caller]
fn twisted(
    content: &Content,
    part: &str,
    twist: impl Fn(&Asked) -> Option<Answer> + Send + Sync + 'static,
) {
    let (server, _) = fake(content, twist);
    refused(&server, part);
}

fn manifests(asked: &Asked) -> bool {
    asked.path().contains("/manifests/")
}

#[test]
fn a_registry_that_behaves_is_believed() {
    if !needs(&[Need::Root]) {
        return;
    }
    let (server, _) = fake(&Content::new(), |_| None);
    let scene = Scene::new();
    let name = format!("{}/a/b:1", server.host());
    scene.run(&["pull", "-q", &name]).ok();
    assert_eq!(scene.assert_valid(), 1);
}

#[test]
fn documents_that_are_wrong_are_refused() {
    if !needs(&[Need::Root]) {
        return;
    }
    let content = Content::new();
    let own = content.clone();
    // Under a digest that it does not have.
    twisted(&content, "damaged or was tampered with", move |asked| {
        let lie = Digest::of(b"something else").to_string();
        let bytes = own.manifest_bytes();
        manifests(asked).then(|| {
            Answer::new(200)
                .with("Docker-Content-Digest", lie)
                .body(bytes)
        })
    });
    // Shorter, longer and larger than it says, and without an end.
    let own = content.clone();
    twisted(&content, "the connection broke", move |asked| {
        let bytes = own.manifest_bytes();
        manifests(asked).then(|| {
            Answer::raw(move |stream| {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n")?;
                stream.write_all(&bytes)
            })
        })
    });
    twisted(&content, "larger than 4194304 bytes", |asked| {
        manifests(asked).then(|| Answer::new(200).body(vec![b' '; 5 << 20]))
    });
    twisted(&content, "larger than 4194304 bytes", |asked| {
        manifests(asked).then(|| endless(""))
    });
    twisted(&content, "", |asked| {
        manifests(asked).then(|| endless("Content-Length: -1\r\n"))
    });
    twisted(&content, "", |asked| {
        manifests(asked).then(|| endless("Content-Length: 18446744073709551616\r\n"))
    });
    // No document, one of another kind, one with a name that commands the terminal.
    twisted(&content, "cannot be read", |asked| {
        manifests(asked).then(|| {
            Answer::new(200)
                .with("Content-Type", super::fake::MANIFEST)
                .body("{")
        })
    });
    twisted(&content, "is no image", |asked| {
        let body = json!({"mediaType": "text/\u{1b}[31mred\u{7}"}).to_string();
        manifests(asked).then(|| Answer::new(200).body(body))
    });
}

#[test]
fn manifests_with_wrong_numbers_are_refused() {
    if !needs(&[Need::Root]) {
        return;
    }
    let content = Content::new();
    let changed = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut own = content.clone();
        change(&mut own.manifest);
        fake(&own, |_| None).0
    };
    for size in [
        json!(-1),
        json!(-9_223_372_036_854_775_808_i64),
        json!("3"),
        json!(1.5),
        json!(1e30),
    ] {
        let server = changed(&|manifest| manifest["layers"][0]["size"] = size.clone());
        refused(&server, "manifest cannot be read");
    }
    let server = changed(&|manifest| manifest["layers"][0]["size"] = json!(u64::MAX));
    refused(&server, "");
    let server = changed(&|manifest| manifest["layers"][0]["size"] = json!(1_u64 << 50));
    refused(&server, "");
    let server = changed(&|manifest| manifest["config"]["size"] = json!(1_u64 << 40));
    refused(&server, "configuration is larger than");
    let server = changed(&|manifest| {
        let layer = manifest["layers"][0].clone();
        manifest["layers"] = vec![layer; 10_000].into();
    });
    refused(&server, "more than 500 layers");
    let server = changed(&|manifest| manifest["layers"] = json!([]));
    refused(&server, "disagree about the number of layers");
    let server =
        changed(&|manifest| manifest["layers"][0]["digest"] = json!("sha256:../../etc/passwd"));
    refused(&server, "manifest cannot be read");
    let server = changed(&|manifest| {
        let kind = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
        manifest["layers"][0]["mediaType"] = json!(kind);
    });
    refused(&server, "foreign layer");
}

#[test]
fn indexes_without_a_bottom_are_refused() {
    if !needs(&[Need::Root]) {
        return;
    }
    // Each index names a further one; a digest cannot name itself.
    let host = rbuild::oci::Platform::host().architecture;
    let mut levels: Vec<Vec<u8>> = vec![b"{}".to_vec()];
    for _ in 0..50 {
        let below = levels.last().unwrap();
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [{
            "mediaType": INDEX, "digest": Digest::of(below), "size": below.len(),
            "platform": {"architecture": host, "os": "linux"},
        }]});
        levels.push(index.to_string().into_bytes());
    }
    let content = Content::new();
    let top = levels.last().unwrap().clone();
    let (server, log) = fake(&content, move |asked| {
        let name = asked.path().rsplit('/').next()?;
        let level = levels
            .iter()
            .find(|level| name == Digest::of(level).to_string());
        manifests(asked).then(|| {
            let bytes = level.unwrap_or(&top).clone();
            Answer::new(200).with("Content-Type", INDEX).body(bytes)
        })
    });
    refused(&server, "is no image");
    assert!(count(&log, "/manifests/") < 10);
    // One that says it is its own part is found out by its digest.
    let lie = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [{
        "mediaType": INDEX, "digest": Digest::of(b"itself"), "size": 500,
        "platform": {"architecture": host, "os": "linux"},
    }]})
    .to_string();
    twisted(&content, "damaged or was tampered with", move |asked| {
        manifests(asked).then(|| {
            Answer::new(200)
                .with("Content-Type", INDEX)
                .body(lie.clone())
        })
    });
}

#[test]
fn layers_that_are_wrong_are_refused() {
    if !needs(&[Need::Root]) {
        return;
    }
    let content = Content::new();
    let layer = |change: fn(Vec<u8>) -> Vec<u8>| {
        let own = content.clone();
        move |asked: &Asked| {
            let answer = || Answer::new(200).body(change(own.layer.clone()));
            own.is_layer(asked).then(answer)
        }
    };
    // Swapped, truncated, longer.
    twisted(
        &content,
        "damaged or was tampered with",
        layer(|bytes| vec![b'y'; bytes.len()]),
    );
    twisted(
        &content,
        "bytes instead of",
        layer(|bytes| bytes[..1000].to_vec()),
    );
    twisted(
        &content,
        "bytes instead of",
        layer(|bytes| [bytes.clone(), bytes].concat()),
    );
    // Without a length: it ends early each time, or has no end.
    let own = content.clone();
    twisted(&content, "the connection broke 6 times", move |asked| {
        own.is_layer(asked)
            .then(|| Answer::raw(|stream| stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nabc")))
    });
    let own = content.clone();
    twisted(&content, "damaged or was tampered with", move |asked| {
        own.is_layer(asked).then(|| endless(""))
    });
    // A part that was not asked for.
    let own = content.clone();
    twisted(&content, "broke the protocol", move |asked| {
        let bytes = own.layer.clone();
        own.is_layer(asked).then(|| match asked.header("range") {
            None => Answer::raw(move |stream| {
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", bytes.len());
                stream.write_all(head.as_bytes())?;
                stream.write_all(&bytes[..100_000])
            }),
            Some(_) => Answer::new(206)
                .with("Content-Range", "bytes 0-99/100")
                .body(vec![0; 100]),
        })
    });
    // Gone, although the manifest names it.
    let own = content.clone();
    twisted(&content, "not found", move |asked| {
        own.is_layer(asked).then(|| Answer::new(404))
    });
}

#[test]
fn a_layer_that_unpacks_to_something_else_or_without_end_is_refused() {
    if !needs(&[Need::Root]) {
        return;
    }
    let honest = Content::new();
    let other = Digest::of(b"another tree");
    let lie = Content::with_layer(
        &honest.layer,
        "application/vnd.oci.image.layer.v1.tar",
        other,
    );
    let (server, _) = fake(&lie, |_| None);
    let scene = Scene::new();
    let name = format!("{}/a/b:1", server.host());
    scene
        .run(&["pull", "-q", &name])
        .fails(1, "layer 0 is damaged");
    // The blob is what its digest says; `prune` takes it when it is old.
    assert_eq!(scene.assert_valid(), 0);
    // Small on the way, two gigabytes when it is unpacked: a file system of 64 MiB takes
    // no harm but that it is full for a moment.
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(2 << 30);
    header.set_path("bomb").unwrap();
    header.set_cksum();
    std::io::Write::write_all(&mut encoder, header.as_bytes()).unwrap();
    let mut zeros = std::io::Read::take(std::io::repeat(b'z'), 2 << 30);
    std::io::copy(&mut zeros, &mut encoder).unwrap();
    let bomb = encoder.finish().unwrap();
    let kind = "application/vnd.oci.image.layer.v1.tar+zstd";
    let (server, _) = fake(&Content::with_layer(&bomb, kind, other), |_| None);
    let scene = Scene::new();
    let name = format!("{}/a/b:1", server.host());
    let root = scene.home().root();
    let script = format!(
        "mkdir -p {root} && mount -t tmpfs -o size=64m none {root} && {{ \"$@\"; code=$?; \
         find {root} -type f -size +1M; exit $code; }}",
        root = root.display()
    );
    let wrapper = [
        "unshare",
        "-m",
        "--propagation",
        "private",
        "sh",
        "-c",
        &script,
        "sh",
    ];
    let outcome = scene.home().run_in(&wrapper, &["pull", "-q", &name]);
    outcome.fails(1, "no space left");
    assert_eq!(outcome.text(), "", "something was left behind");
}

#[test]
fn redirects_are_bounded_and_carry_nothing() {
    if !needs(&[Need::Root]) {
        return;
    }
    let content = Content::new();
    // In a circle.
    let own = content.clone();
    let (server, log) = fake(&content, move |asked| {
        let here = asked.target.clone();
        own.is_layer(asked)
            .then(|| Answer::new(307).with("Location", here))
    });
    refused(&server, "more than 10 redirects");
    assert!(count(&log, &Digest::of(&content.layer).to_string()) <= 11);
    // To things that are no servers.
    for location in [
        "file:///etc/passwd",
        "gopher://127.0.0.1/",
        "http://",
        "http://a b/",
        "//",
    ] {
        let own = content.clone();
        twisted(&content, "invalid URL", move |asked| {
            own.is_layer(asked)
                .then(|| Answer::new(302).with("Location", location))
        });
    }
    // To another host, which gets no password and may not ask for one.
    let own = content.clone();
    let (elsewhere, asked_there) = fake(&content, move |asked| {
        asked.path().starts_with("/cdn").then(|| {
            if asked.query("ask") == ["yes"] {
                let realm = format!(
                    "Bearer realm=\"http://{}/token\"",
                    asked.header("host").unwrap()
                );
                Answer::new(401).with("WWW-Authenticate", realm)
            } else {
                Answer::new(200).body(own.layer.clone())
            }
        })
    });
    for ask in ["no", "yes"] {
        let (own, target) = (content.clone(), elsewhere.url(&format!("/cdn?ask={ask}")));
        let (server, log) = fake(&content, move |asked| {
            if asked.basic().is_none() {
                return Some(Answer::new(401).with("WWW-Authenticate", "Basic realm=\"x\""));
            }
            own.is_layer(asked)
                .then(|| Answer::new(307).with("Location", target.clone()))
        });
        let scene = Scene::new();
        let host = server.host();
        scene.log_in(&host, "somebody", "a-secret").ok();
        let outcome = scene.run(&["pull", "-q", &format!("{host}/a/b:1")]);
        if ask == "no" {
            outcome.ok();
        } else {
            outcome.fails(1, "where the registry sent us");
            scene.assert_empty();
        }
        assert!(
            log.lock()
                .unwrap()
                .iter()
                .any(|asked| asked.basic().is_some())
        );
    }
    let log = asked_there.lock().unwrap();
    assert!(
        log.iter()
            .all(|asked| asked.header("authorization").is_none()),
        "{log:?}"
    );
    assert!(
        log.iter().all(|asked| !asked.path().contains("token")),
        "{log:?}"
    );
}

#[test]
fn nothing_leads_from_an_encrypted_registry_to_one_that_is_not() {
    if !needs(&[Need::Root, Need::DockerRegistry]) {
        return;
    }
    let scene = Scene::new();
    let certificates = Certificates::new(&scene.home().scratch().join("certificates"));
    let (certificate, key) = certificates.server();
    let content = Content::new();
    let (plain, asked) = fake(&content, |_| None);
    let target = plain.url("/cdn");
    let secure = |twist: Twist| {
        let own = content.clone();
        let server = HttpServer::tls(&certificate, &key, move |asked| {
            twist(asked).unwrap_or_else(|| own.answer(asked))
        });
        scene.set(&server.host(), &format!("ca = {:?}", certificates.ca()));
        server
    };
    let pull =
        |server: &HttpServer| scene.run(&["pull", "-q", &format!("{}/a/b:1", server.host())]);
    let (own, location) = (content.clone(), target.clone());
    let server = secure(Box::new(move |asked| {
        own.is_layer(asked)
            .then(|| Answer::new(307).with("Location", location.clone()))
    }));
    pull(&server).fails(1, "which is not encrypted");
    // A token server without encryption would see the password.
    let realm = format!("Bearer realm=\"{target}\",service=\"x\"");
    let server = secure(Box::new(move |_| {
        Some(Answer::new(401).with("WWW-Authenticate", realm.clone()))
    }));
    let login = scene.log_in(&server.host(), "somebody", "a-secret");
    login.fails(1, "is not encrypted");
    assert!(asked.lock().unwrap().is_empty());
    scene.assert_empty();
}

#[test]
fn token_servers_are_not_believed_either() {
    if !needs(&[Need::Root]) {
        return;
    }
    let content = Content::new();
    let challenge = |header: String, token: fn() -> Answer| {
        fake(&content, move |asked| {
            if asked.path() == "/token" {
                return Some(token());
            }
            let header = header.replace("HERE", asked.header("host").unwrap());
            let known = asked.header("authorization").is_some();
            (!known).then(|| Answer::new(401).with("WWW-Authenticate", header))
        })
        .0
    };
    let nothing: fn() -> Answer = || Answer::new(500);
    for realm in [
        "file:///etc/passwd",
        "ftp://127.0.0.1/",
        "http://",
        "http://x:99999/",
    ] {
        let server = challenge(format!("Bearer realm=\"{realm}\""), nothing);
        refused(&server, "its token server: invalid URL");
    }
    for header in [
        "Negotiate",
        "Bearer service=\"x\"",
        "",
        "Bearer realm=\"open",
    ] {
        refused(
            &challenge(header.to_owned(), nothing),
            "names no way to authenticate",
        );
    }
    // Larger than any real one.
    let long = format!("Bearer realm=\"http://HERE/{}\"", "x".repeat(10_000));
    refused(&challenge(long, nothing), "names no way to authenticate");
    let long = format!("Bearer realm=\"http://HERE/{}\"", "x".repeat(100_000));
    refused(&challenge(long, nothing), "");
    let good = "Bearer realm=\"http://HERE/token\"".to_owned();
    let tokens: [(Token, &str); 7] = [
        (|| Answer::new(200).body("{}"), "sent no token"),
        (|| Answer::new(200).body("<html>"), "sent no token document"),
        (
            || Answer::new(200).body(r#"{"token": "a\r\nX-Evil: 1"}"#),
            "sent no token",
        ),
        (
            || Answer::new(200).body(json!({"token": "x".repeat(100_000)}).to_string()),
            "a token of 100000 bytes",
        ),
        (
            || Answer::new(200).body(vec![b' '; 2 << 20]),
            "larger than 1048576 bytes",
        ),
        (|| endless(""), "larger than 1048576 bytes"),
        (
            || Answer::new(403).body("{\"details\": \"go \u{1b}]0;away\u{7}\"}"),
            "go ]0;away",
        ),
    ];
    for (token, part) in tokens {
        refused(&challenge(good.clone(), token), part);
    }
}

#[test]
fn error_texts_are_short_and_harmless() {
    if !needs(&[Need::Root]) {
        return;
    }
    let content = Content::new();
    let huge = json!({"errors": [{"code": "DENIED", "message": "\u{1b}[2J\u{9b}31m\r\n".to_owned() + &"z".repeat(200_000)}]});
    twisted(&content, "answered 418", move |asked| {
        manifests(asked).then(|| Answer::new(418).body(huge.to_string()))
    });
    twisted(&content, "access denied: [31mred", |asked| {
        let body = json!({"errors": [{"message": "\u{1b}[31mred\u{202e}\u{7}"}]}).to_string();
        manifests(asked).then(|| Answer::new(403).body(body))
    });
    twisted(&content, "answered 418", |asked| {
        manifests(asked).then(|| {
            Answer::raw(|stream| {
                stream.write_all(b"HTTP/1.1 418 X\r\n\r\n")?;
                let piece = vec![0x1b; 64 << 10];
                loop {
                    stream.write_all(&piece)?;
                }
            })
        })
    });
}

#[test]
fn servers_that_stall_are_left() {
    if !needs(&[Need::Root]) {
        return;
    }
    let content = Content::new();
    // Silent: in the head, in a document, in a layer.
    let own = content.clone();
    twisted(&content, "", move |asked| {
        own.is_layer(asked).then(|| {
            Answer::raw(|stream| {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\nabc")?;
                stream.flush()?;
                std::thread::sleep(std::time::Duration::from_secs(4));
                Ok(())
            })
        })
    });
    // A byte now and then.
    twisted(&content, "", |asked| {
        manifests(asked).then(|| {
            Answer::raw(|stream| {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")?;
                slowly(stream, &[b' '; 1000])
            })
        })
    });
    let own = content.clone();
    twisted(&content, "too slow", move |asked| {
        own.is_layer(asked).then(|| {
            Answer::raw(|stream| {
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
                slowly(stream, &[b' '; 1000])
            })
        })
    });
}

#[test]
fn busy_servers_are_asked_again_but_not_for_ever() {
    if !needs(&[Need::Root]) {
        return;
    }
    let content = Content::new();
    // Twice busy, then there.
    let times = Arc::new(AtomicUsize::new(0));
    let own = Arc::clone(&times);
    let (server, _) = fake(&content, move |asked| {
        let busy = manifests(asked) && own.fetch_add(1, Ordering::SeqCst) < 2;
        busy.then(|| Answer::new(503).with("Retry-After", "1"))
    });
    let scene = Scene::new();
    scene
        .run(&["pull", "-q", &format!("{}/a/b:1", server.host())])
        .ok();
    assert_eq!(times.load(Ordering::SeqCst), 3);
    // Always.
    let (server, log) = fake(&content, |asked| {
        manifests(asked).then(|| Answer::new(500).body("out of order"))
    });
    refused(&server, "answered 500: out of order");
    assert_eq!(count(&log, "/manifests/"), 5);
    // Who wants us to come tomorrow is not waited for, and what it said is told.
    let (server, log) = fake(&content, |asked| {
        manifests(asked).then(|| {
            Answer::new(429)
                .with("Retry-After", "86400")
                .with("RateLimit-Limit", "100;w=21600")
                .with("RateLimit-Remaining", "0;w=21600")
                .body("{\"errors\": [{\"code\": \"TOOMANYREQUESTS\", \"message\": \"pull rate limit\"}]}")
        })
    });
    let host = server.host();
    let outcome = refused(
        &server,
        "hint: log in with `rbuild login` for a higher limit",
    );
    let text = format!(
        "Error: {host}: too many requests: pull rate limit (limit 100;w=21600, remaining 0;w=21600, try again after 86400)\n"
    );
    assert!(outcome.stderr.starts_with(&text), "{outcome:?}");
    assert_eq!(count(&log, "/manifests/"), 1);
}

#[test]
fn warnings_are_passed_on() {
    if !needs(&[Need::Root]) {
        return;
    }
    let content = Content::new();
    let own = content.clone();
    let (server, _) = fake(&content, move |asked| {
        manifests(asked).then(|| {
            own.answer(asked)
                .with("Warning", "299 - \"this tag goes away \u{202e}[31msoon\"")
                .with("Warning", "110 - \"nothing for us\"")
        })
    });
    let scene = Scene::new();
    let outcome = scene.run(&["pull", "-q", &format!("{}/a/b:1", server.host())]);
    outcome.ok();
    let text = format!("WARNING: {}: this tag goes away [31msoon\n", server.host());
    assert_eq!(outcome.stderr, text);
}

#[test]
fn lists_without_an_end_are_left() {
    if !needs(&[Need::Root]) {
        return;
    }
    let content = Content::new();
    let lists = |tags: &'static [&'static str], next: fn(&Asked) -> String| {
        fake(&content, move |asked| {
            asked.path().ends_with("/tags/list").then(|| {
                let body = json!({"name": "a/b", "tags": tags}).to_string();
                Answer::new(200)
                    .with("Link", format!("<{}>; rel=\"next\"", next(asked)))
                    .body(body)
            })
        })
    };
    let scene = Scene::new();
    let list =
        |server: &HttpServer| scene.run(&["registry", "tags", &format!("{}/a/b", server.host())]);
    // The same page again, ever new empty pages, another host.
    let (server, _) = lists(&["x"], |asked| asked.target.clone());
    list(&server).fails(1, "its list has no end");
    let (server, log) = lists(&[], |asked| format!("{}x", asked.target));
    list(&server).fails(1, "its list has no end");
    assert!(count(&log, "/tags/list") < 30);
    let (server, _) = lists(&["x"], |_| "http://127.0.0.1:1/v2/a/b/tags/list".to_owned());
    list(&server).fails(1, "its list has no end");
}
