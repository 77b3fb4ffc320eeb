//! A request and its answer: GET and HEAD of the files of a store, as RFC 9110 has it.
//!
//! The order is that of the RFC: the method, the file, the condition (section 13.2.2), the range (section 14.2), which
//! is defined for GET alone. An answer with a body always says its length.
//!
//! Loaders send no condition: signatures, sizes and hashes decide. Files that are replaced under their names have an entity
//! tag, and `If-None-Match` is obeyed, for the sake of caches between: a proxy that asks each time gets a 304. A blob never
//! changes, so it has no tag. A part is never sent under `If-Range`, whose tag or date cannot come from this server.

use std::fs::File;
use std::io::{self, Read as _};
use std::ops::Range;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, State};
use axum::http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header, request,
};
use axum::response::Response;
use nix::errno::Errno;
use tokio::task::spawn_blocking;

use super::access_log::{AccessLog, Entry};
use super::body::{AnswerBody, Content, FilePart};
use super::connection::Peer;
use super::range::Selection;
use super::store::{Store, StoredFile};
use sealboot_core::format::digest::Sha256Digest;
use sealboot_core::format::limits::LIMITS;
use sealboot_core::format::manifest::Encoding;
use sealboot_store::StorePath;

/// What every request needs.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) store: Store,
    pub(super) access_log: AccessLog,
}

/// A blob is named after its bytes; it can be kept for as long as anybody likes.
const IMMUTABLE: HeaderValue = HeaderValue::from_static("max-age=31536000, immutable");

/// An envelope is replaced, or gains signatures: a cache asks each time, and gets a 304.
const REVALIDATE: HeaderValue = HeaderValue::from_static("no-cache");

/// Errors pass. A cache that kept a 404 would hide an image that is published a second later.
const FORGET: HeaderValue = HeaderValue::from_static("no-store");

/// Answers one request.
pub(super) async fn answer(
    State(service): State<Arc<Service>>,
    ConnectInfo(Peer(client)): ConnectInfo<Peer>,
    request: Request<Body>,
) -> Response {
    // A request's body means nothing here; hyper closes the connection on one that keeps coming.
    let (request, _) = request.into_parts();
    let entry = match service.access_log {
        AccessLog::Off => None,
        AccessLog::Stderr => Some(Entry::new(client, &request.method, request.uri.path())),
    };
    let answer = Answer::to(&service, &request).await;
    let length = answer.content.len();
    let entry = entry.map(|entry| entry.answered(answer.status, length));
    answer.into_response(entry)
}

/// An answer before it is sent.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    content: Content,
}

impl Answer {
    async fn to(service: &Arc<Service>, request: &request::Parts) -> Self {
        let head = match request.method {
            Method::GET => false,
            Method::HEAD => true,
            _ => {
                return Self::error(StatusCode::METHOD_NOT_ALLOWED)
                    .with(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            }
        };
        let answer = match StorePath::parse(request.uri.path()) {
            None => Self::error(StatusCode::NOT_FOUND),
            Some(path) => {
                let service = Arc::clone(service);
                let opening = path.clone();
                // Opening may wait for a disk, and an envelope is hashed.
                match spawn_blocking(move || Representation::open(&service.store, &opening)).await {
                    Ok(Ok(Some(file))) => Self::of(path, file, &request.method, &request.headers),
                    Ok(Ok(None)) => Self::error(StatusCode::NOT_FOUND),
                    Ok(Err(error)) => Self::fault(&path, &error),
                    Err(error) => Self::fault(&path, &io::Error::other(error)),
                }
            }
        };
        if head { answer.without_body() } else { answer }
    }

    /// The answer where the file is there.
    fn of(path: StorePath, file: Representation, method: &Method, headers: &HeaderMap) -> Self {
        let len = file.len;
        let (status, part) = match file.select(method, headers) {
            None => (StatusCode::NOT_MODIFIED, None),
            Some(Selection::Unsatisfiable) => {
                return Self::error(StatusCode::RANGE_NOT_SATISFIABLE)
                    .with(header::CONTENT_RANGE, ascii(format!("bytes */{len}")));
            }
            Some(Selection::Whole) => (StatusCode::OK, Some(0..len)),
            Some(Selection::Part(part)) => (StatusCode::PARTIAL_CONTENT, Some(part)),
        };
        let mut answer = Self::new(status).with(header::CACHE_CONTROL, caching(&path));
        if let Some(tag) = file.tag {
            answer = answer.with(header::ETAG, ascii(tag));
        }
        let Some(part) = part else {
            // Else axum says 0, where section 8.6 wants what a 200 would say, or nothing.
            return answer.with(header::CONTENT_LENGTH, HeaderValue::from(len));
        };
        let answer = answer
            .with(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"))
            .with(header::CONTENT_TYPE, content_type(&path));
        let answer = if status == StatusCode::PARTIAL_CONTENT {
            let Range { start, end } = part;
            let range = ascii(format!("bytes {start}-{}/{len}", end - 1));
            answer.with(header::CONTENT_RANGE, range)
        } else {
            answer
        };
        answer.carrying(Content::File(FilePart::new(path, file.file, part)))
    }

    fn new(status: StatusCode) -> Self {
        Self {
            status,
            headers: HeaderMap::new(),
            content: Content::Empty,
        }
    }

    /// An error, with a line for whoever looks at it with curl.
    fn error(status: StatusCode) -> Self {
        let text = HeaderValue::from_static("text/plain; charset=utf-8");
        Self::new(status)
            .with(header::CACHE_CONTROL, FORGET)
            .with(header::CONTENT_TYPE, text)
            .carrying(Content::Text(Bytes::from(format!("{status}\n"))))
    }

    /// The file is there and cannot be sent. The operator learns why; the client does not.
    fn fault(path: &StorePath, error: &io::Error) -> Self {
        tracing::warn!("cannot send {path}: {error}");
        let passes = [Errno::EMFILE, Errno::ENFILE, Errno::ENOMEM].map(|errno| errno as i32);
        if error
            .raw_os_error()
            .is_some_and(|errno| passes.contains(&errno))
        {
            Self::error(StatusCode::SERVICE_UNAVAILABLE)
                .with(header::RETRY_AFTER, HeaderValue::from_static("1"))
        } else {
            Self::error(StatusCode::INTERNAL_SERVER_ERROR)
        }
    }

    fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    fn carrying(self, content: Content) -> Self {
        let length = HeaderValue::from(content.len());
        Self { content, ..self }.with(header::CONTENT_LENGTH, length)
    }

    /// The header stays what GET would get, the length included.
    fn without_body(self) -> Self {
        Self {
            content: Content::Empty,
            ..self
        }
    }

    fn into_response(self, entry: Option<Entry>) -> Response {
        let mut response = Response::new(Body::new(AnswerBody::new(self.content, entry)));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}

/// A file that is there.
#[derive(Debug)]
struct Representation {
    file: File,
    len: u64,
    /// The strong entity tag of a file that can be replaced, the SHA-256 of its bytes, in quotes.
    tag: Option<String>,
}

impl Representation {
    /// Opens a file of the store. Blocks.
    fn open(store: &Store, path: &StorePath) -> io::Result<Option<Self>> {
        let Some(StoredFile { mut file, len }) = store.open(path)? else {
            return Ok(None);
        };
        let tag = match path {
            StorePath::Archive(..) | StorePath::ChunkList(_) | StorePath::Attachment(_) => None,
            // Envelopes are replaced by renaming, never written into: the file that is hashed here is
            // the one that is sent, whatever its name stands for by then.
            StorePath::Newest(_)
            | StorePath::Version(..)
            | StorePath::Policy(_)
            | StorePath::Sums => Some(format!("\"sha256-{}\"", hash(&mut file, len)?)),
        };
        Ok(Some(Self { file, len, tag }))
    }

    /// Returns what is to be sent; `None` where the client has it.
    fn select(&self, method: &Method, headers: &HeaderMap) -> Option<Selection> {
        if self.is_known(headers) {
            return None;
        }
        let range = only(headers, &header::RANGE).and_then(|range| range.to_str().ok());
        let is_conditional = headers.contains_key(header::IF_RANGE);
        match range {
            Some(range) if method == Method::GET && !is_conditional => {
                Some(Selection::parse(range, self.len))
            }
            _ => Some(Selection::Whole),
        }
    }

    /// Returns `true` if `If-None-Match` names the tag, weak or not. No quote can be within a tag, so where this one
    /// occurs it is one of the list.
    fn is_known(&self, headers: &HeaderMap) -> bool {
        let Some(tag) = &self.tag else { return false };
        let mut lines = headers.get_all(header::IF_NONE_MATCH).iter();
        lines.any(|line| line == "*" || line.to_str().is_ok_and(|line| line.contains(tag)))
    }
}

/// SHA-256 of a channel or an envelope, which is read once for this and once more to be sent: held in memory, the
/// largest ones would be a megabyte for each of hundreds of connections.
fn hash(file: &mut File, len: u64) -> io::Result<Sha256Digest> {
    if len > LIMITS.channel_bytes {
        return Err(io::Error::other(format!(
            "it has {len} bytes, and no loader reads a channel of more than {}",
            LIMITS.channel_bytes
        )));
    }
    Sha256Digest::of_rest(file.take(len))
}

/// The header's value, where it stands exactly once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

const fn caching(path: &StorePath) -> HeaderValue {
    match path {
        StorePath::Archive(..) | StorePath::ChunkList(_) | StorePath::Attachment(_) => IMMUTABLE,
        StorePath::Newest(_) | StorePath::Version(..) | StorePath::Policy(_) | StorePath::Sums => {
            REVALIDATE
        }
    }
}

/// The types that any static web server gives to these names.
const fn content_type(path: &StorePath) -> HeaderValue {
    HeaderValue::from_static(match path {
        StorePath::Archive(_, Encoding::None) => "application/x-tar",
        StorePath::Archive(_, Encoding::Gzip) => "application/gzip",
        StorePath::Archive(_, Encoding::Zstd) => "application/zstd",
        StorePath::Newest(_) | StorePath::Version(..) | StorePath::Policy(_) => "application/json",
        StorePath::ChunkList(_) | StorePath::Attachment(_) => "application/octet-stream",
        StorePath::Sums => "text/plain",
    })
}

fn ascii(text: String) -> HeaderValue {
    HeaderValue::try_from(text)
        .unwrap_or_else(|error| unreachable!("digits, hex and ASCII words: {error}"))
}
