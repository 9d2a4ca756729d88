//! Why a request is refused, in the specification's words.

use serde_json::json;

use crate::oci::Digest;
use crate::serve::{Content, Method, Response};
use crate::store;

/// The kind of a refusal.
///
/// Source: OCI distribution-spec 1.1, "Error codes"; `UNKNOWN`,
/// `PAGINATION_NUMBER_INVALID` and `TAG_INVALID` are Docker's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    BlobUnknown,
    BlobUploadInvalid,
    BlobUploadUnknown,
    DigestInvalid,
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestTooLarge,
    ManifestUnknown,
    NameInvalid,
    NameUnknown,
    SizeInvalid,
    BlobTooLarge,
    RangeInvalid,
    TagInvalid,
    PaginationInvalid,
    Unauthorized,
    Unsupported,
    TooManyRequests,
    Busy,
    UpstreamFailed,
    NoSpace,
    Malformed,
    Internal,
}

impl Code {
    fn status(self) -> u16 {
        match self {
            Self::BlobUnknown
            | Self::BlobUploadUnknown
            | Self::ManifestBlobUnknown
            | Self::ManifestUnknown
            | Self::NameUnknown => 404,
            Self::BlobUploadInvalid
            | Self::DigestInvalid
            | Self::ManifestInvalid
            | Self::NameInvalid
            | Self::SizeInvalid
            | Self::TagInvalid
            | Self::PaginationInvalid
            | Self::Malformed => 400,
            Self::ManifestTooLarge | Self::BlobTooLarge => 413,
            Self::RangeInvalid => 416,
            Self::Unauthorized => 401,
            Self::Unsupported => 405,
            Self::TooManyRequests => 429,
            Self::Busy => 503,
            Self::UpstreamFailed => 502,
            Self::NoSpace => 507,
            Self::Internal => 500,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::BlobUnknown => "BLOB_UNKNOWN",
            Self::BlobUploadInvalid | Self::RangeInvalid => "BLOB_UPLOAD_INVALID",
            Self::BlobUploadUnknown => "BLOB_UPLOAD_UNKNOWN",
            Self::DigestInvalid => "DIGEST_INVALID",
            Self::ManifestBlobUnknown => "MANIFEST_BLOB_UNKNOWN",
            Self::ManifestInvalid => "MANIFEST_INVALID",
            Self::ManifestUnknown => "MANIFEST_UNKNOWN",
            Self::NameInvalid => "NAME_INVALID",
            Self::NameUnknown => "NAME_UNKNOWN",
            Self::SizeInvalid | Self::ManifestTooLarge | Self::BlobTooLarge => "SIZE_INVALID",
            Self::TagInvalid => "TAG_INVALID",
            Self::PaginationInvalid => "PAGINATION_NUMBER_INVALID",
            Self::Unauthorized => "UNAUTHORIZED",
            Self::Unsupported => "UNSUPPORTED",
            Self::TooManyRequests | Self::Busy => "TOOMANYREQUESTS",
            Self::UpstreamFailed | Self::NoSpace | Self::Malformed | Self::Internal => "UNKNOWN",
        }
    }
}

/// A refusal: one error of the answer for each message.
#[derive(Debug)]
pub(super) struct Refusal {
    code: Code,
    errors: Vec<(String, Option<String>)>,
    headers: Vec<(&'static str, String)>,
    /// What the one who runs the registry should know, for the log alone.
    note: Option<String>,
}

impl Refusal {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            errors: vec![(message.into(), None)],
            headers: Vec::new(),
            note: None,
        }
    }

    pub(super) fn method(method: &Method) -> Self {
        Self::new(
            Code::Unsupported,
            format!("{} is not supported here", method.name()),
        )
    }

    pub(super) fn no_repository(name: &str) -> Self {
        let mut refusal = Self::new(Code::NameUnknown, "repository name not known to registry");
        refusal.errors[0].1 = Some(name.to_owned());
        refusal
    }

    pub(super) fn no_manifest(name: &str) -> Self {
        let mut refusal = Self::new(Code::ManifestUnknown, "manifest unknown");
        refusal.errors[0].1 = Some(name.to_owned());
        refusal
    }

    pub(super) fn no_blob(digest: Digest) -> Self {
        let mut refusal = Self::new(Code::BlobUnknown, "blob unknown to registry");
        refusal.errors[0].1 = Some(digest.to_string());
        refusal
    }

    /// A manifest names what the repository lacks.
    pub(super) fn missing(digests: &[Digest]) -> Self {
        /// More than that tell no more.
        const MOST: usize = 100;
        let message = "blob unknown to registry".to_owned();
        let digests = digests.iter().take(MOST);
        Self {
            errors: digests
                .map(|digest| (message.clone(), Some(digest.to_string())))
                .collect(),
            ..Self::new(Code::ManifestBlobUnknown, "")
        }
    }

    #[must_use]
    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    #[must_use]
    pub(super) fn noted(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }

    pub(super) fn into_response(self) -> Response {
        let code = self.code.name();
        let error = |(message, detail): &(String, Option<String>)| match detail {
            Some(detail) => json!({"code": code, "message": message, "detail": detail}),
            None => json!({"code": code, "message": message}),
        };
        let errors: Vec<_> = self.errors.iter().map(error).collect();
        let body = json!({ "errors": errors }).to_string();
        let mut response = Response::new(self.code.status())
            .with("Content-Type", "application/json")
            .carrying(Content::Bytes(body.into_bytes()));
        if self.code == Code::Busy {
            response = response.with("Retry-After", "1");
        }
        for (name, value) in self.headers {
            response = response.with(name, value);
        }
        response.note = self.note;
        response
    }
}

impl From<store::Error> for Refusal {
    fn from(err: store::Error) -> Self {
        if let store::Error::Damaged { want, got } = &err {
            let message = "provided digest did not match uploaded content";
            let mut refusal = Self::new(Code::DigestInvalid, message);
            refusal.errors[0].1 = Some(format!("{want} was promised, {got} came"));
            return refusal;
        }
        let mut texts = vec![err.to_string()];
        let mut next = std::error::Error::source(&err);
        let mut is_full = false;
        while let Some(cause) = next {
            let io = cause.downcast_ref::<std::io::Error>();
            is_full |= io.is_some_and(|io| io.kind() == std::io::ErrorKind::StorageFull);
            texts.push(cause.to_string());
            next = cause.source();
        }
        texts.dedup();
        let refusal = if is_full {
            Self::new(Code::NoSpace, "the registry has no room left")
        } else {
            // Paths of this machine are nobody's business.
            Self::new(Code::Internal, "the registry failed; its log says why")
        };
        refusal.noted(texts.join(": "))
    }
}
