//! Signatures of requests, AWS Signature Version 4: values in, values out.
//!
//! Source: AWS General Reference, "Signature Version 4"; for S3 "Authenticating
//! Requests (AWS Signature Version 4)", where paths are encoded once.

use crate::oci::{Digest, Hasher};

/// SHA-256's block, in bytes.
const BLOCK: usize = 64;
const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// Who signs.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) access_key_id: String,
    pub(super) secret_access_key: String,
    pub(super) session_token: Option<String>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity(***)")
    }
}

/// What is signed.
#[derive(Debug)]
pub(super) struct Signed<'a> {
    pub(super) method: &'a str,
    /// Encoded, as it is sent.
    pub(super) path: &'a str,
    /// Names and values, not encoded.
    pub(super) query: &'a [(&'a str, &'a str)],
    /// Lower-case names and values; `host` and every `x-amz-` header are among them.
    pub(super) headers: &'a [(&'a str, String)],
    /// Digest of the body.
    pub(super) payload: Digest,
    /// `20130524T000000Z`.
    pub(super) moment: &'a str,
    pub(super) region: &'a str,
    pub(super) service: &'a str,
}

impl Signed<'_> {
    /// The value of `Authorization`.
    pub(super) fn authorization(&self, identity: &Identity) -> String {
        let scope = self.scope();
        let signature = hex(&self.signature(identity));
        let names = self.names();
        let id = &identity.access_key_id;
        format!("{ALGORITHM} Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}")
    }

    fn signature(&self, identity: &Identity) -> [u8; 32] {
        let request = Digest::of(self.canonical().as_bytes()).hex();
        let text = format!("{ALGORITHM}\n{}\n{}\n{request}", self.moment, self.scope());
        let mut key = format!("AWS4{}", identity.secret_access_key).into_bytes();
        for part in [self.day(), self.region, self.service, "aws4_request"] {
            key = hmac(&key, part.as_bytes()).to_vec();
        }
        hmac(&key, text.as_bytes())
    }

    fn day(&self) -> &str {
        self.moment.get(..8).unwrap_or(self.moment)
    }

    fn scope(&self) -> String {
        format!(
            "{}/{}/{}/aws4_request",
            self.day(),
            self.region,
            self.service
        )
    }

    fn sorted(&self) -> Vec<&(&str, String)> {
        let mut headers: Vec<_> = self.headers.iter().collect();
        headers.sort_by_key(|(name, _)| *name);
        headers
    }

    fn names(&self) -> String {
        let names: Vec<&str> = self.sorted().iter().map(|(name, _)| *name).collect();
        names.join(";")
    }

    fn canonical(&self) -> String {
        let mut headers = String::new();
        for (name, value) in self.sorted() {
            headers.push_str(&format!("{name}:{}\n", value.trim()));
        }
        format!(
            "{}\n{}\n{}\n{headers}\n{}\n{}",
            self.method,
            self.path,
            query(self.query),
            self.names(),
            self.payload.hex()
        )
    }
}

/// A query, encoded and in the order that is signed.
pub(super) fn query(pairs: &[(&str, &str)]) -> String {
    let mut pairs: Vec<String> = pairs
        .iter()
        .map(|(name, value)| format!("{}={}", encode(name, false), encode(value, false)))
        .collect();
    pairs.sort();
    pairs.join("&")
}

/// Percent-encodes everything but letters, digits and `-._~`; slashes stay in a path.
pub(super) fn encode(text: &str, is_path: bool) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        let stays = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        if stays || (is_path && byte == b'/') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

/// Source: RFC 2104, "HMAC".
fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mut block = [0; BLOCK];
    if key.len() > BLOCK {
        block[..32].copy_from_slice(Digest::of(key).raw());
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let padded = |with: u8| block.map(|byte| byte ^ with);
    let mut inner = Hasher::new();
    inner.update(&padded(0x36));
    inner.update(text);
    let mut outer = Hasher::new();
    outer.update(&padded(0x5c));
    outer.update(inner.finish().raw());
    *outer.finish().raw()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231, "Test Vectors", cases 1, 2, 3 and 6.
    #[test]
    fn codes_are_those_of_the_standard() {
        let check = |key: &[u8], text: &[u8], code: &str| assert_eq!(hex(&hmac(key, text)), code);
        check(
            &[0x0b; 20],
            b"Hi There",
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
        );
        check(
            b"Jefe",
            b"what do ya want for nothing?",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        );
        check(
            &[0xaa; 20],
            &[0xdd; 50],
            "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
        );
        check(
            &[0xaa; 131],
            b"Test Using Larger Than Block-Size Key - Hash Key First",
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        );
    }

    /// The identity and the moment of the examples in "Signature Calculations for the
    /// Authorization Header: Transferring Payload in a Single Chunk".
    fn check(
        method: &str,
        path: &str,
        query: &[(&str, &str)],
        headers: &[(&str, &str)],
        body: &[u8],
        signature: &str,
    ) {
        let payload = Digest::of(body);
        let mut all = vec![
            ("host", "examplebucket.s3.amazonaws.com".to_owned()),
            ("x-amz-content-sha256", payload.hex()),
            ("x-amz-date", "20130524T000000Z".to_owned()),
        ];
        all.extend(
            headers
                .iter()
                .map(|(name, value)| (*name, (*value).to_owned())),
        );
        let signed = Signed {
            method,
            path,
            query,
            headers: &all,
            payload,
            moment: "20130524T000000Z",
            region: "us-east-1",
            service: "s3",
        };
        let identity = Identity {
            access_key_id: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret_access_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned(),
            session_token: None,
        };
        let header = signed.authorization(&identity);
        assert!(
            header.starts_with(
                "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, \
                 SignedHeaders=",
            ),
            "{header}"
        );
        assert!(
            header.ends_with(&format!("Signature={signature}")),
            "{header}"
        );
    }

    #[test]
    fn signatures_are_those_of_the_documentation() {
        check(
            "GET",
            "/test.txt",
            &[],
            &[("range", "bytes=0-9")],
            b"",
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        );
        check(
            "PUT",
            &encode("/test$file.text", true),
            &[],
            &[
                ("date", "Fri, 24 May 2013 00:00:00 GMT"),
                ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
            ],
            b"Welcome to Amazon S3.",
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        );
        check(
            "GET",
            "/",
            &[("lifecycle", "")],
            &[],
            b"",
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        );
        check(
            "GET",
            "/",
            &[("prefix", "J"), ("max-keys", "2")],
            &[],
            b"",
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        );
    }

    #[test]
    fn names_are_encoded_once() {
        assert_eq!(encode("/a b/sha256:0~é", true), "/a%20b/sha256%3A0~%C3%A9");
        assert_eq!(query(&[("b", "/ +"), ("a", "")]), "a=&b=%2F%20%2B");
    }
}
