//! Greets whoever the path names, on port 8080.

use tiny_http::{Response, Server};

fn main() {
    let server = Server::http("0.0.0.0:8080").expect("port 8080 is free");
    for request in server.incoming_requests() {
        let name = request.url().trim_start_matches('/');
        let name = if name.is_empty() { "world" } else { name };
        let answer = Response::from_string(format!("Hello, {name}!\n"));
        if let Err(error) = request.respond(answer) {
            eprintln!("cannot answer: {error}");
        }
    }
}
