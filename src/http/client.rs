//! Sending requests.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use ureq::config::RedirectAuthHeaders;
use ureq::{Agent, Proxy, SendBody};

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
}

/// How long until a connection stands, TLS included.
const CONNECT: Duration = Duration::from_secs(20);
/// How long nothing may come or go while a connection is used.
const STALL: Duration = Duration::from_secs(90);
/// Largest head of an answer, in bytes.
const HEAD_LIMIT: usize = 64 << 10;
/// Connections that are kept for the next request, in all and to one host.
const IDLE: (usize, usize) = (32, 16);

/// A client; cheap to clone, its connections are shared.
#[derive(Debug, Clone)]
pub struct Http {
    plain: Agent,
    tls: Agent,
}

impl Http {
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
        let agent = |variable: &str| -> Result<Agent, HttpError> {
            let config = Agent::config_builder()
                .http_status_as_error(false)
                .max_redirects(0)
                .max_redirects_will_error(false)
                .redirect_auth_headers(RedirectAuthHeaders::Never)
                .accept_encoding("identity")
                .user_agent(concat!("rbuild/", env!("CARGO_PKG_VERSION")))
                .timeout_connect(Some(CONNECT))
                .timeout_per_read(Some(STALL))
                .timeout_per_write(Some(STALL))
                .timeout_recv_response(Some(STALL))
                .max_response_header_size(HEAD_LIMIT)
                .max_idle_connections(IDLE.0)
                .max_idle_connections_per_host(IDLE.1)
                .tls_config(tls.clone())
                .proxy(proxy(&options.environment, variable)?)
                .build();
            Ok(config.new_agent())
        };
        Ok(Self {
            plain: agent("HTTP_PROXY")?,
            tls: agent("HTTPS_PROXY")?,
        })
    }

    /// Sends a request; returns as soon as the head of the answer is there, whatever its status.
    pub fn send(&self, request: Request<'_>) -> Result<Response, HttpError> {
        let url = request.url;
        let agent = if url.is_tls() { &self.tls } else { &self.plain };
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
        let answer = answer.map_err(|err| HttpError::of(err, url))?;
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
        self.plain.clone().shutdown();
        self.tls.clone().shutdown();
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

/// The proxy that the environment names for a scheme.
fn proxy(
    environment: &BTreeMap<String, String>,
    variable: &str,
) -> Result<Option<Proxy>, HttpError> {
    let value = |name: &str| {
        let lower = name.to_ascii_lowercase();
        let found = environment.get(&lower).or_else(|| environment.get(name));
        found.map(String::as_str).filter(|text| !text.is_empty())
    };
    let Some(text) = value(variable).or_else(|| value("ALL_PROXY")) else {
        return Ok(None);
    };
    let whole = if text.contains("://") {
        text.to_owned()
    } else {
        format!("http://{text}")
    };
    let wrong = |_| HttpError::Proxy(text.to_owned());
    let named = Proxy::new(&whole).map_err(wrong)?;
    let mut builder = Proxy::builder(named.protocol())
        .host(named.host())
        .port(named.port());
    if let Some(user) = named.username() {
        builder = builder.username(user);
    }
    if let Some(password) = named.password() {
        builder = builder.password(password);
    }
    for host in value("NO_PROXY")
        .unwrap_or_default()
        .split(',')
        .map(str::trim)
        .filter(|host| !host.is_empty())
    {
        builder = builder.no_proxy(host);
    }
    builder.build().map(Some).map_err(wrong)
}
