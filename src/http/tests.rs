//! A client beside servers that behave, and that do not.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;

use super::*;

/// Answers each connection with the next of `answers`; returns the base URL and
/// a handle that gives what was asked, one head a connection.
fn server(answers: Vec<String>) -> (String, std::thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let thread = std::thread::spawn(move || {
        let mut asked = Vec::new();
        for answer in answers {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut head = String::new();
            let mut length = 0;
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                if line == "\r\n" {
                    break;
                }
                head.push_str(&line);
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            head.push_str(&String::from_utf8(body).unwrap());
            asked.push(head);
            (&stream).write_all(answer.as_bytes()).unwrap();
        }
        asked
    });
    (base, thread)
}

fn answer(head: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn http() -> Http {
    Http::new(&Options::default()).unwrap()
}

fn text(mut response: Response) -> String {
    let mut text = String::new();
    response.body.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn a_request_gets_its_answer_whatever_the_status() {
    let (base, asked) = server(vec![
        answer("404 Not Found\r\nX-A: 1\r\nx-a: 2", "gone"),
        answer("200 OK", ""),
    ]);
    let url = Url::parse(&format!("{base}/a?b")).unwrap();
    let response = http()
        .send(Request::get(&url).with("X-Test", "yes"))
        .unwrap();
    assert_eq!((response.status, response.length()), (404, Some(4)));
    assert_eq!(response.all("X-A").collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!(text(response), "gone");
    let mut reader = &b"abcdef"[..];
    let body = Body::Stream {
        reader: &mut reader,
        length: Some(6),
    };
    let sent = http()
        .send(Request::new(Method::Put, &url).with_body(body))
        .unwrap();
    assert!(sent.is_success());
    let asked = asked.join().unwrap();
    assert!(
        asked[0].starts_with("GET /a?b HTTP/1.1\r\n")
            && asked[0].to_lowercase().contains("x-test: yes")
    );
    assert!(
        asked[1].starts_with("PUT ") && asked[1].ends_with("abcdef"),
        "{}",
        asked[1]
    );
}

#[test]
fn redirects_carry_no_secret_to_another_host() {
    let (other, other_asked) = server(vec![answer("200 OK", "there")]);
    let (base, asked) = server(vec![
        answer("307 Temporary Redirect\r\nLocation: /second", ""),
        answer(&format!("302 Found\r\nLocation: {other}/third"), ""),
    ]);
    let url = Url::parse(&format!("{base}/first")).unwrap();
    let headers = [("Authorization", "Bearer secret".to_owned())];
    let (last, response) = http().get(&url, &headers).unwrap();
    assert_eq!(last.path(), "/third");
    assert_eq!(text(response), "there");
    assert!(
        asked
            .join()
            .unwrap()
            .iter()
            .all(|head| head.contains("secret"))
    );
    assert!(!other_asked.join().unwrap()[0].contains("secret"));
}

#[test]
fn endless_redirects_end() {
    let (base, asked) = server(vec![answer("302 Found\r\nLocation: /again", ""); 11]);
    let url = Url::parse(&base).unwrap();
    let err = http().get(&url, &[]).unwrap_err();
    assert!(err.to_string().contains("redirects"), "{err}");
    asked.join().unwrap();
}

#[test]
fn a_broken_answer_is_an_error_and_not_a_short_one() {
    let (base, _asked) = server(vec![
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc".to_owned(),
    ]);
    let url = Url::parse(&base).unwrap();
    let mut response = http().send(Request::get(&url)).unwrap();
    let mut bytes = Vec::new();
    assert!(response.body.read_to_end(&mut bytes).is_err());
    let (base, _asked) = server(vec!["nonsense\r\n\r\n".to_owned()]);
    let err = http()
        .send(Request::get(&Url::parse(&base).unwrap()))
        .unwrap_err();
    assert!(err.is_passing(), "{err:?}");
    let (base, _asked) = server(vec![format!(
        "HTTP/1.1 200 OK\r\nX: {}\r\n\r\n",
        "x".repeat(200_000)
    )]);
    assert!(
        http()
            .send(Request::get(&Url::parse(&base).unwrap()))
            .is_err()
    );
}

#[test]
fn what_cannot_be_reached_is_named() {
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let url = Url::parse(&format!("http://127.0.0.1:{port}/")).unwrap();
    let err = http().send(Request::get(&url)).unwrap_err();
    assert_eq!(
        err.to_string(),
        format!("cannot talk to `127.0.0.1:{port}`")
    );
    let url = Url::parse("http://no-such-host.invalid/").unwrap();
    let err = http().send(Request::get(&url)).unwrap_err();
    assert_eq!(
        err.to_string(),
        "cannot find the host `no-such-host.invalid`"
    );
}

/// Lets a client through to an answer, and returns what it asked for first.
fn tunnel(after: String) -> (String, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let thread = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut head = |answer: &str| {
            let mut lines = String::new();
            while !lines.ends_with("\r\n\r\n") {
                reader.read_line(&mut lines).unwrap();
            }
            (&stream).write_all(answer.as_bytes()).unwrap();
            lines
        };
        let first = head("HTTP/1.1 200 OK\r\n\r\n");
        head(&after);
        first
    });
    (base, thread)
}

#[test]
fn a_proxy_of_the_environment_is_used_but_not_for_exceptions() {
    let (base, asked) = tunnel(answer("200 OK", "by proxy"));
    let environment = |pairs: &[(&str, &str)]| Options {
        environment: pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        ..Options::default()
    };
    let proxied = Http::new(&environment(&[("http_proxy", &base)])).unwrap();
    let url = Url::parse("http://somewhere.example/x").unwrap();
    assert_eq!(text(proxied.send(Request::get(&url)).unwrap()), "by proxy");
    assert!(
        asked
            .join()
            .unwrap()
            .starts_with("CONNECT somewhere.example:80")
    );
    let (base, _asked) = server(vec![answer("200 OK", "direct")]);
    let excepted = Http::new(&environment(&[
        ("HTTP_PROXY", "127.0.0.1:1"),
        ("NO_PROXY", "a,127.0.0.1"),
    ]))
    .unwrap();
    let direct = Url::parse(&base).unwrap();
    assert_eq!(
        text(excepted.send(Request::get(&direct)).unwrap()),
        "direct"
    );
}
