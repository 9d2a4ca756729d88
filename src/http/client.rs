//! Sending requests.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use ureq::config::RedirectAuthHeaders;
use ureq::{Agent, Proxy, SendBody};

use super::proxy::Proxies;
use super::{Body, HttpError, Method, Request, Response, Url, trust};

/// How a client reaches servers.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The environment: `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY` in
    /// either letter case, and `SSL_CERT_FILE`.
    pub environment: BTreeMap<String, String>,
    /// Files with further root certificates, PEM.
    pub roots: Vec<PathBuf>,
    /// A client certificate and its key, PEM.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Whether certificates are not looked at.
    pub skip_verification: bool,
    /// How long nothing may come or go while a connection is used; [`Http::IDLE`] if not said.
    pub idle: Option<Duration>,
}

/// How long until a connection stands, TLS included.
const CONNECT: Duration = Duration::from_secs(20);
/// Largest head of an answer, in bytes.
const HEAD_LIMIT: usize = 64 << 10;
/// Connections that are kept for the next request, in all and to one host.
const KEPT: (usize, usize) = (32, 16);

/// A client; cheap to clone, its connections are shared.
#[derive(Debug, Clone)]
pub struct Http {
    /// For requests without TLS and with, through their proxies.
    plain: Agent,
    tls: Agent,
    /// For what goes past the proxies.
    direct: Agent,
    proxies: Proxies,
    idle: Duration,
}

impl Http {
    /// How long nothing may come or go while a connection is used.
    pub const IDLE: Duration = Duration::from_secs(90);

    /// A client that reaches servers as `options` say.
    ///
    /// # Errors
    /// When a certificate file or a proxy's URL is malformed.
    pub fn new(options: &Options) -> Result<Self, HttpError> {
        let bundle = options
            .environment
            .get("SSL_CERT_FILE")
            .filter(|path| !path.is_empty())
            .map(PathBuf::from);
        let tls = trust::configure(
            bundle.as_deref(),
            &options.roots,
            options.identity.as_ref(),
            options.skip_verification,
        )?;
        let proxies = Proxies::new(&options.environment)?;
        let idle = options.idle.unwrap_or(Self::IDLE);
        let agent = |proxy: Option<&Proxy>| {
            let config = Agent::config_builder()
                .http_status_as_error(false)
                .max_redirects(0)
                .max_redirects_will_error(false)
                .redirect_auth_headers(RedirectAuthHeaders::Never)
                .accept_encoding("identity")
                .user_agent(concat!("rbuild/", env!("CARGO_PKG_VERSION")))
                .timeout_connect(Some(CONNECT))
                .timeout_per_read(Some(idle))
                .timeout_per_write(Some(idle))
                .timeout_recv_response(Some(idle))
                .max_response_header_size(HEAD_LIMIT)
                .max_idle_connections(KEPT.0)
                .max_idle_connections_per_host(KEPT.1)
                .tls_config(tls.clone())
                .proxy(proxy.cloned())
                .build();
            config.new_agent()
        };
        Ok(Self {
            plain: agent(proxies.plain.as_ref()),
            tls: agent(proxies.tls.as_ref()),
            direct: agent(None),
            proxies,
            idle,
        })
    }

    /// How long nothing may come or go while a connection is used.
    pub fn idle(&self) -> Duration {
        self.idle
    }

    /// Whether a request for `url` goes through a proxy.
    pub fn is_proxied(&self, url: &Url) -> bool {
        let proxy = if url.is_tls() {
            &self.proxies.tls
        } else {
            &self.proxies.plain
        };
        proxy.is_some() && !self.proxies.is_direct(url)
    }

    /// Sends a request; returns as soon as the head of the answer is there, whatever its status.
    pub fn send(&self, request: Request<'_>) -> Result<Response, HttpError> {
        let url = request.url;
        let agent = match url.is_tls() {
            _ if self.proxies.is_direct(url) => &self.direct,
            true => &self.tls,
            false => &self.plain,
        };
        let mut built = ureq::http::Request::builder()
            .method(name(request.method))
            .uri(url.request_text());
        for (header, value) in &request.headers {
            built = built.header(*header, value);
        }
        let wrong = |err: ureq::http::Error| HttpError::of(ureq::Error::Http(err), url);
        let answer = match request.body {
            Body::Empty
                if matches!(request.method, Method::Get | Method::Head | Method::Delete) =>
            {
                agent.run(built.body(()).map_err(wrong)?)
            }
            Body::Empty => agent.run(
                built
                    .header("content-length", "0")
                    .body(())
                    .map_err(wrong)?,
            ),
            Body::Bytes(bytes) => agent.run(built.body(bytes).map_err(wrong)?),
            Body::Stream { reader, length } => {
                let body = SendBody::from_reader(reader);
                if let Some(length) = length {
                    built = built.header("content-length", length);
                }
                agent.run(built.body(body).map_err(wrong)?)
            }
        };
        let answer = answer.map_err(|err| match HttpError::of(err, url) {
            // Who is asked goes to the proxy by name.
            HttpError::HostNotFound(_) if self.is_proxied(url) => {
                HttpError::HostNotFound(self.proxies.host(url))
            }
            err => err,
        })?;
        let (head, body) = answer.into_parts();
        let text = |value: &ureq::http::HeaderValue| {
            String::from_utf8_lossy(value.as_bytes()).into_owned()
        };
        Ok(Response {
            status: head.status.as_u16(),
            headers: head
                .headers
                .iter()
                .map(|(name, value)| (name.to_string(), text(value)))
                .collect(),
            body: Box::new(body.into_with_config().limit(u64::MAX).reader()),
        })
    }

    /// Cuts every connection, those that others wait on too; nothing can be sent any more.
    pub fn close(&self) {
        for agent in [&self.plain, &self.tls, &self.direct] {
            agent.clone().shutdown();
        }
    }

    /// Sends a GET and follows redirects, at most ten, never from TLS to none.
    /// `headers` go to the first server alone. Returns the last URL too.
    pub fn get(&self, url: &Url, headers: &[(&str, String)]) -> Result<(Url, Response), HttpError> {
        const LIMIT: usize = 10;
        let mut here = url.clone();
        for _ in 0..=LIMIT {
            let mut request = Request::get(&here);
            if here.same_origin(url) {
                request.headers = headers.to_vec();
            }
            let response = self.send(request)?;
            let Some(location) = response.redirect() else {
                return Ok((here, response));
            };
            let next = here.join(location)?;
            if here.is_tls() && !next.is_tls() {
                return Err(HttpError::Protocol {
                    host: here.authority().to_owned(),
                    why: format!("it redirects to `{next}`, which is not encrypted"),
                });
            }
            here = next;
        }
        Err(HttpError::Protocol {
            host: url.authority().to_owned(),
            why: format!("more than {LIMIT} redirects"),
        })
    }
}

fn name(method: Method) -> &'static str {
    match method {
        Method::Get => "GET",
        Method::Head => "HEAD",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Patch => "PATCH",
        Method::Delete => "DELETE",
    }
}
