//! An HTTP/1.1 server: requests from whoever connects, one answer for each.
//!
//! In: a listening socket and a [`Handler`]. Out: what the handler answers, and an
//! [`Access`] for each request. A thread serves a connection, and the number of
//! connections is bounded: the one that has been idle for longest makes room.
//! Everything that comes in is hostile: heads are bounded in size and time, a body
//! has one length or the request is refused, and nobody may stall for long.
//!
//! What requests mean, who may send them and how large bodies may be belongs to
//! the handler. Source: RFC 9110 and 9112. `docs/decisions/0016-http-server.md` says
//! why it is our own.

mod body;
mod connection;
mod head;
mod request;
mod response;
mod server;
mod table;
#[cfg(test)]
mod tests;
mod tls;

pub use request::{Method, Request};
pub use response::{Content, Response};
pub use server::{Access, Handler, Observer, Server};
pub use tls::{Tls, TlsError};
