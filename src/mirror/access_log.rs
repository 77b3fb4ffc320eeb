//! The access log: off, unless somebody needs it.
//!
//! Who fetched what, when and from where is exactly what a seized server should not be able to tell.

use std::fmt;
use std::io::Write as _;
use std::net::SocketAddr;

use axum::http::{Method, StatusCode};
use jiff::Timestamp;

/// Whether requests are recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AccessLog {
    /// Nothing is recorded of any request.
    #[default]
    Off,
    /// One line a request on stderr: time, client address, method, path without query, status,
    /// bytes of body sent and its length.
    Stderr,
}

/// One request, printed when its answer ends, completely or not.
#[derive(Debug)]
pub(super) struct Entry {
    time: Timestamp,
    client: SocketAddr,
    method: String,
    path: String,
    status: StatusCode,
    length: u64,
    pub(super) sent: u64,
}

/// Characters of a method or path that are printed; the longest path of a store has 94.
const SHOWN: usize = 128;

impl Entry {
    pub(super) fn new(client: SocketAddr, method: &Method, path: &str) -> Self {
        Self {
            time: Timestamp::now(),
            client,
            method: shown(method.as_str()),
            path: shown(path),
            status: StatusCode::OK,
            length: 0,
            sent: 0,
        }
    }

    pub(super) fn answered(mut self, status: StatusCode, length: u64) -> Self {
        self.status = status;
        self.length = length;
        self
    }
}

/// A client chooses these: it must not be able to write a line of its own, nor a long one.
fn shown(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(SHOWN)
        .flat_map(char::escape_default)
        .collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            method,
            path,
            sent,
            length,
            ..
        } = self;
        let (time, client, status) = (self.time, self.client.ip(), self.status.as_u16());
        write!(
            f,
            "{time:.0} {} {method} {path} {status} {sent}/{length}",
            client.to_canonical()
        )
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        // Nobody may be reading any more; serving goes on.
        let _ = writeln!(std::io::stderr(), "{self}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str) -> String {
        Entry::new(
            "[::ffff:192.0.2.7]:4321".parse().unwrap(),
            &Method::GET,
            path,
        )
        .answered(StatusCode::PARTIAL_CONTENT, 20)
        .to_string()
    }

    #[test]
    fn a_line_says_when_who_what_and_how_much() {
        let line = entry("/images/relay.json");
        let (time, rest) = line.split_once(' ').unwrap();
        assert!(time.parse::<Timestamp>().is_ok(), "{time}");
        assert_eq!(rest, "192.0.2.7 GET /images/relay.json 206 0/20");
    }

    #[test]
    fn a_client_cannot_forge_or_flood_lines() {
        let line = entry("/a\n2026 b\u{1b}[31m");
        assert!(line.ends_with("/a\\n2026 b\\u{1b}[31m 206 0/20"), "{line}");
        assert!(entry(&"/x".repeat(10_000)).len() < 250);
    }
}
