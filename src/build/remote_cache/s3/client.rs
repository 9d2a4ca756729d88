//! Objects of one bucket: look, get, put, copy; large ones in parts.

use std::io::{self, Read};
use std::time::Duration;

use jiff::Timestamp;

use super::S3Error;
use super::identity::identity;
use super::sign::{Identity, Signed, encode, query};
use crate::build::S3Cache;
use crate::http::{Body, Http, Method, Options, Request, Response, Url};
use crate::oci::Digest;

/// How often a request is sent.
const ATTEMPTS: u32 = 4;
/// The first pause between attempts; each further one is twice as long.
const PAUSE: Duration = Duration::from_millis(300);
/// Largest answer that is read as text, in bytes.
const TEXT_LIMIT: u64 = 64 << 10;

/// A bucket.
pub(super) struct Bucket {
    http: Http,
    identity: Identity,
    /// What the path of a key is put behind.
    base: Url,
    /// The part of the path that is the bucket, in path style.
    path: String,
    region: String,
    name: String,
}

/// An object that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Object {
    /// Its length in bytes.
    pub(super) size: u64,
    /// When it was written.
    pub(super) modified: Option<Timestamp>,
}

/// One request.
struct Call<'a> {
    method: Method,
    key: &'a str,
    query: &'a [(&'a str, &'a str)],
    headers: &'a [(&'a str, String)],
    body: &'a [u8],
}

impl<'a> Call<'a> {
    fn new(method: Method, key: &'a str) -> Self {
        Self {
            method,
            key,
            query: &[],
            headers: &[],
            body: &[],
        }
    }
}

impl Bucket {
    /// The bucket of a cache.
    pub(super) fn open(cache: &S3Cache) -> Result<Self, S3Error> {
        let host = match &cache.endpoint_url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => format!("https://s3.{}.amazonaws.com", cache.region),
        };
        let url = Url::parse(&host)?;
        // A name in front of an address is no name, and one with dots fits no certificate.
        let fits = !cache.bucket.contains('.') && has_subdomains(&url);
        let in_path = cache.use_path_style.unwrap_or(!fits);
        let (scheme, rest) = host.split_once("://").unwrap_or(("https", &host));
        let base = if in_path {
            url
        } else {
            Url::parse(&format!("{scheme}://{}.{rest}", cache.bucket))?
        };
        let own = base.path().trim_end_matches('/').to_owned();
        Ok(Self {
            http: Http::new(&Options {
                environment: cache.environment.clone(),
                ..Options::default()
            })?,
            identity: identity(cache)?,
            path: if in_path {
                format!("{own}/{}", encode(&cache.bucket, false))
            } else {
                own
            },
            base,
            region: cache.region.clone(),
            name: cache.bucket.clone(),
        })
    }

    /// Looks whether an object is there.
    pub(super) fn head(&self, key: &str) -> Result<Option<Object>, S3Error> {
        let response = self.send(&Call::new(Method::Head, key))?;
        if response.status == 404 {
            return Ok(None);
        }
        let response = self.check(key, response)?;
        let modified = response.header("last-modified");
        Ok(Some(Object {
            size: response.length().unwrap_or(0),
            modified: modified.and_then(http_date),
        }))
    }

    /// Opens an object from byte `from` on; nothing when it is not there.
    pub(super) fn get(&self, key: &str, from: u64) -> Result<Option<Response>, S3Error> {
        let range = [("range", format!("bytes={from}-"))];
        let response = self.send(&Call {
            headers: if from > 0 { &range } else { &[] },
            ..Call::new(Method::Get, key)
        })?;
        if response.status == 404 {
            return Ok(None);
        }
        let mut response = self.check(key, response)?;
        if response.status != 206 {
            // A server that knows no ranges sends everything again.
            let skipped = io::copy(&mut (&mut response.body).take(from), &mut io::sink());
            skipped.map_err(|source| S3Error::broke(key, source))?;
        }
        Ok(Some(response))
    }

    /// Writes a small object.
    pub(super) fn put(&self, key: &str, bytes: &[u8]) -> Result<(), S3Error> {
        let response = self.send(&Call {
            body: bytes,
            ..Call::new(Method::Put, key)
        })?;
        self.check(key, response).map(drop)
    }

    /// Makes an object look as if it were written now, its bytes as they are.
    pub(super) fn touch(&self, key: &str) -> Result<(), S3Error> {
        // Not every server reads more than what has to be encoded.
        let encoded = encode(key, true).replace("%3A", ":");
        let source = format!("/{}/{encoded}", encode(&self.name, false));
        let headers = [
            ("x-amz-copy-source", source),
            ("x-amz-metadata-directive", "REPLACE".to_owned()),
        ];
        let response = self.send(&Call {
            headers: &headers,
            ..Call::new(Method::Put, key)
        })?;
        self.whole(key, response)
    }

    /// Begins an object in parts; returns its upload's ID.
    pub(super) fn begin(&self, key: &str) -> Result<String, S3Error> {
        let response = self.send(&Call {
            query: &[("uploads", "")],
            ..Call::new(Method::Post, key)
        })?;
        let text = text_of(self.check(key, response)?);
        element(&text, "UploadId").ok_or_else(|| S3Error::protocol(key, "it began no upload"))
    }

    /// Sends one part, from 1 on; returns its tag.
    pub(super) fn part(
        &self,
        key: &str,
        upload: &str,
        number: u32,
        bytes: &[u8],
    ) -> Result<String, S3Error> {
        let number = number.to_string();
        let response = self.send(&Call {
            query: &[("partNumber", &number), ("uploadId", upload)],
            body: bytes,
            ..Call::new(Method::Put, key)
        })?;
        let response = self.check(key, response)?;
        let tag = response.header("etag").map(str::to_owned);
        tag.ok_or_else(|| S3Error::protocol(key, "a part has no tag"))
    }

    /// Makes an object of its parts, whose tags are in order.
    pub(super) fn complete(&self, key: &str, upload: &str, tags: &[String]) -> Result<(), S3Error> {
        let mut parts = String::new();
        for (number, tag) in (1u32..).zip(tags) {
            let tag = tag.replace('&', "&amp;").replace('<', "&lt;");
            parts.push_str(&format!(
                "<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>"
            ));
        }
        let body = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
        let response = self.send(&Call {
            query: &[("uploadId", upload)],
            body: body.as_bytes(),
            ..Call::new(Method::Post, key)
        })?;
        self.whole(key, response)
    }

    /// Forgets an upload's parts.
    pub(super) fn abort(&self, key: &str, upload: &str) -> Result<(), S3Error> {
        let response = self.send(&Call {
            query: &[("uploadId", upload)],
            ..Call::new(Method::Delete, key)
        })?;
        self.check(key, response).map(drop)
    }

    /// Sends a request, again where that may help.
    fn send(&self, call: &Call<'_>) -> Result<Response, S3Error> {
        let mut pause = PAUSE;
        for attempt in 1.. {
            match self.attempt(call) {
                Ok(response) if attempt == ATTEMPTS || !is_busy(response.status) => {
                    return Ok(response);
                }
                Err(S3Error::Http(err)) if attempt < ATTEMPTS && err.is_passing() => {}
                Err(err) => return Err(err),
                Ok(_busy) => {}
            }
            std::thread::sleep(pause);
            pause *= 2;
        }
        unreachable!("the last attempt returns")
    }

    fn attempt(&self, call: &Call<'_>) -> Result<Response, S3Error> {
        let moment = Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
        let payload = Digest::of(call.body);
        let path = format!("{}/{}", self.path, encode(call.key, true));
        let mut headers = vec![
            ("host", self.base.authority().to_owned()),
            ("x-amz-content-sha256", payload.hex()),
            ("x-amz-date", moment.clone()),
        ];
        headers.extend(call.headers.iter().cloned());
        if let Some(token) = &self.identity.session_token {
            headers.push(("x-amz-security-token", token.clone()));
        }
        let method = method_name(call.method);
        let signed = Signed {
            method,
            path: &path,
            query: call.query,
            headers: &headers,
            payload,
            moment: &moment,
            region: &self.region,
            service: "s3",
        };
        let authorization = signed.authorization(&self.identity);
        let mark = if call.query.is_empty() { "" } else { "?" };
        let url = self
            .base
            .join(&format!("{path}{mark}{}", query(call.query)))?;
        let mut request = Request::new(call.method, &url).with("authorization", authorization);
        // The client writes the host by itself.
        for (name, value) in headers.into_iter().filter(|(name, _)| *name != "host") {
            request = request.with(name, value);
        }
        if matches!(call.method, Method::Put | Method::Post) {
            request = request.with_body(Body::Bytes(call.body));
        }
        Ok(self.http.send(request)?)
    }

    /// The response if it says that it worked.
    fn check(&self, key: &str, response: Response) -> Result<Response, S3Error> {
        if response.is_success() {
            return Ok(response);
        }
        let status = response.status;
        let text = text_of(response);
        Err(self.refused(key, status, &text))
    }

    /// Some answers say that it worked before it did, and the body tells.
    fn whole(&self, key: &str, response: Response) -> Result<(), S3Error> {
        let text = text_of(self.check(key, response)?);
        match element(&text, "Error") {
            None => Ok(()),
            Some(_) => Err(self.refused(key, 200, &text)),
        }
    }

    fn refused(&self, key: &str, status: u16, text: &str) -> S3Error {
        let told = [element(text, "Code"), element(text, "Message")];
        let told: Vec<String> = told.into_iter().flatten().collect();
        S3Error::Refused {
            what: format!("s3://{}/{key}", self.name),
            status,
            why: if told.is_empty() {
                "it does not say why".to_owned()
            } else {
                told.join(": ")
            },
        }
    }
}

/// Whether names can stand in front of a host.
fn has_subdomains(url: &Url) -> bool {
    let host = url.host();
    host != "localhost" && !host.starts_with('[') && host.parse::<std::net::Ipv4Addr>().is_err()
}

fn method_name(method: Method) -> &'static str {
    match method {
        Method::Get => "GET",
        Method::Head => "HEAD",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Patch => "PATCH",
        Method::Delete => "DELETE",
    }
}

fn is_busy(status: u16) -> bool {
    matches!(status, 408 | 429 | 500 | 502 | 503 | 504)
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`.
fn http_date(text: &str) -> Option<Timestamp> {
    let parsed = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(parsed.timestamp())
}

/// A small answer as text; what cannot be read of it is not missed.
fn text_of(response: Response) -> String {
    let mut bytes = Vec::new();
    let _incomplete = response.body.take(TEXT_LIMIT).read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The content of the first element of this name, control characters left out.
fn element(text: &str, name: &str) -> Option<String> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    let (content, _) = rest.split_once(&format!("</{name}>"))?;
    let content = content.replace("&quot;", "\"").replace("&lt;", "<");
    let content = content.replace("&gt;", ">").replace("&amp;", "&");
    Some(
        content
            .chars()
            .filter(|c| !c.is_control())
            .take(500)
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(name: &str, endpoint: Option<&str>, path_style: Option<bool>) -> (String, String) {
        let cache = S3Cache {
            endpoint_url: endpoint.map(str::to_owned),
            use_path_style: path_style,
            access_key_id: Some("a".to_owned()),
            secret_access_key: Some("b".to_owned()),
            ..S3Cache::new(name.to_owned(), "eu-1".to_owned())
        };
        let bucket = Bucket::open(&cache).unwrap();
        (bucket.base.authority().to_owned(), bucket.path)
    }

    #[test]
    fn buckets_are_hosts_or_paths() {
        let check = |name, endpoint, style, host: &str, path: &str| {
            let expected = (host.to_owned(), path.to_owned());
            assert_eq!(bucket(name, endpoint, style), expected);
        };
        check("b", None, None, "b.s3.eu-1.amazonaws.com", "");
        check("b", None, Some(true), "s3.eu-1.amazonaws.com", "/b");
        check("b.c", None, None, "s3.eu-1.amazonaws.com", "/b.c");
        check(
            "b",
            Some("http://127.0.0.1:9000/"),
            None,
            "127.0.0.1:9000",
            "/b",
        );
        check(
            "b",
            Some("http://localhost:9000"),
            None,
            "localhost:9000",
            "/b",
        );
        check(
            "b",
            Some("http://localhost:9"),
            Some(false),
            "b.localhost:9",
            "",
        );
        check("b", Some("https://r2.dev/x"), None, "b.r2.dev", "/x");
        check("b", Some("https://r2.dev/x"), Some(true), "r2.dev", "/x/b");
    }

    #[test]
    fn answers_are_read() {
        let text =
            "<?xml?><Error><Code>NoSuchKey</Code><Message>a &lt;b&gt;\u{1b}</Message></Error>";
        assert_eq!(element(text, "Code").as_deref(), Some("NoSuchKey"));
        assert_eq!(element(text, "Message").as_deref(), Some("a <b>"));
        assert_eq!(element(text, "UploadId"), None);
        let date = http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        assert_eq!(date.as_second(), 784_111_777);
    }
}
