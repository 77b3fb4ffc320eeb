//! Whether the head of an answer announces what was asked for.
//!
//! Pure: a status and headers in, what the body is out. What a mirror says here is not trusted, only
//! compared: the chunks are checked whatever it says. But a head that does not fit saves the download of a
//! body that cannot, and names the fault better than a wrong hash would.

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822;
use reqwest::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderName, LOCATION,
    RETRY_AFTER,
};
use reqwest::{StatusCode, Url};

use super::problem::FetchProblem;
use sealboot_core::format::shown;

/// How often a mirror may send us on: a load balancer, a content network, its nearest node, and some.
pub(super) const REDIRECTS: usize = 5;

/// Characters of a header that are shown.
const SHOWN: usize = 80;

/// A part of a file that is being asked for.
#[derive(Debug, Clone)]
pub(super) struct Part {
    /// Its first byte.
    pub(super) start: u64,
    /// The byte after its last.
    pub(super) end: u64,
    /// Bytes of the whole file.
    pub(super) size: u64,
    /// Whether the whole file is asked for, and the bytes before `start` are passed over.
    pub(super) whole: bool,
}

impl Part {
    /// The value of `Range`, where less than the whole is asked for.
    pub(super) fn range(&self) -> Option<String> {
        if self.whole || (self.start == 0 && self.end == self.size) {
            None
        } else if self.end == self.size {
            Some(format!("bytes={}-", self.start))
        } else {
            Some(format!("bytes={}-{}", self.start, self.end - 1))
        }
    }

    /// Checks that an answer has this part, and returns how many bytes come before it.
    pub(super) fn of(&self, status: StatusCode, headers: &HeaderMap) -> Result<u64, FetchProblem> {
        if !status.is_success() {
            return Err(self.refusal(status, headers));
        }
        if is_web_page(headers) {
            return Err(FetchProblem::WebPage);
        }
        if let Some(encoding) = text(headers, CONTENT_ENCODING).filter(|name| *name != "identity") {
            return Err(unusable(format!(
                "it is encoded as \"{}\"",
                shown(encoding, SHOWN)
            )));
        }
        let (skip, due) = match (status, self.range()) {
            (StatusCode::PARTIAL_CONTENT, Some(_)) => {
                self.check_range(text(headers, CONTENT_RANGE).unwrap_or_default())?;
                (0, self.end - self.start)
            }
            (StatusCode::OK, None) => (self.start, self.size),
            (StatusCode::OK, Some(_)) => {
                // What is there is said before the way in which it is sent.
                self.check_length(headers, self.size)?;
                return Err(FetchProblem::NoRanges);
            }
            (status, _) => return Err(unusable(format!("status {status} has no place here"))),
        };
        self.check_length(headers, due)?;
        Ok(skip)
    }

    /// What a status that is no success means.
    fn refusal(&self, status: StatusCode, headers: &HeaderMap) -> FetchProblem {
        match status {
            StatusCode::RANGE_NOT_SATISFIABLE => {
                let range = text(headers, CONTENT_RANGE).unwrap_or_default();
                match range
                    .strip_prefix("bytes */")
                    .and_then(|size| size.parse().ok())
                {
                    Some(found) if found < self.size => FetchProblem::Short {
                        found,
                        expected: self.size,
                    },
                    _ => FetchProblem::Status(status),
                }
            }
            _ => refusal(status, headers),
        }
    }

    /// `bytes FIRST-LAST/SIZE` (RFC 9110, section 14.4); the size may be `*`.
    fn check_range(&self, range: &str) -> Result<(), FetchProblem> {
        let parsed = range.strip_prefix("bytes ").and_then(|range| {
            let (range, size) = range.split_once('/')?;
            let (first, last) = range.split_once('-')?;
            Some((first.parse::<u64>().ok()?, last.parse::<u64>().ok()?, size))
        });
        let Some((first, last, size)) = parsed else {
            return Err(unusable(format!(
                "bytes {} to {} were due, Content-Range says \"{}\"",
                self.start,
                self.end - 1,
                shown(range, SHOWN)
            )));
        };
        match size.parse::<u64>() {
            Ok(found) if found < self.size => {
                return Err(FetchProblem::Short {
                    found,
                    expected: self.size,
                });
            }
            Ok(found) if found > self.size => {
                return Err(FetchProblem::TooLarge { limit: self.size });
            }
            Err(_) if size != "*" => {
                return Err(unusable(format!("its size is \"{}\"", shown(size, SHOWN))));
            }
            _ => {}
        }
        if (first, last) == (self.start, self.end - 1) {
            return Ok(());
        }
        Err(unusable(format!(
            "bytes {} to {} were due, Content-Range says {first} to {last}",
            self.start,
            self.end - 1
        )))
    }

    /// A length that is announced must be the one that is due; none need be (RFC 9112, section 6.3).
    fn check_length(&self, headers: &HeaderMap, due: u64) -> Result<(), FetchProblem> {
        let Some(length) = text(headers, CONTENT_LENGTH) else {
            return Ok(());
        };
        match length.parse::<u64>() {
            Ok(found) if found > due => Err(FetchProblem::TooLarge { limit: self.size }),
            Ok(found) if found < due => Err(FetchProblem::Short {
                found,
                expected: due,
            }),
            Ok(_) => Ok(()),
            Err(_) => Err(unusable(format!(
                "its length is \"{}\"",
                shown(length, SHOWN)
            ))),
        }
    }
}

/// What a status that is no success means, whatever was asked for.
pub(super) fn refusal(status: StatusCode, headers: &HeaderMap) -> FetchProblem {
    match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => FetchProblem::Busy {
            retry_after: text(headers, RETRY_AFTER)
                .and_then(|value| retry_after(value, Timestamp::now())),
        },
        _ => FetchProblem::Status(status),
    }
}

/// Seconds, or a date (RFC 9110, section 10.2.3).
fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // However long it asks for, it is not to wait less than for a modest one.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let until = rfc2822::DateTimeParser::new().parse_timestamp(value).ok()?;
    Some(Duration::try_from(until.duration_since(now)).unwrap_or_default())
}

/// Where a redirect leads, if it may be followed: to https alone, and with nothing that could be a secret.
pub(super) fn redirect(from: &Url, headers: &HeaderMap) -> Result<Url, FetchProblem> {
    let not = |why: String| FetchProblem::Redirect(why);
    let location = text(headers, LOCATION).ok_or_else(|| not("it does not say where to".into()))?;
    let shown = shown(location, SHOWN);
    let mut to = from
        .join(location)
        .map_err(|_| not(format!("it leads to \"{shown}\"")))?;
    if to.scheme() != "https" {
        return Err(not(format!("it leads to {shown}, which is not https")));
    }
    if !to.username().is_empty() || to.password().is_some() {
        return Err(not(
            "it leads to a URL with a user name or a password".into()
        ));
    }
    to.set_fragment(None);
    Ok(to)
}

fn unusable(why: String) -> FetchProblem {
    FetchProblem::Answer(why)
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Whether an answer is a page for people.
pub(super) fn is_web_page(headers: &HeaderMap) -> bool {
    text(headers, CONTENT_TYPE).is_some_and(is_html)
}

fn is_html(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("text/html") || kind.eq_ignore_ascii_case("application/xhtml+xml")
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    const SIZE: u64 = 1000;

    fn part(start: u64, end: u64) -> Part {
        Part {
            start,
            end,
            size: SIZE,
            whole: false,
        }
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_str(value).unwrap(),
            )
        });
        pairs.collect()
    }

    fn judged(
        part: &Part,
        status: u16,
        pairs: &[(&'static str, &str)],
    ) -> Result<u64, FetchProblem> {
        part.of(StatusCode::from_u16(status).unwrap(), &headers(pairs))
    }

    #[test]
    fn the_part_that_was_asked_for_is_taken() {
        let middle = part(100, 200);
        assert_eq!(middle.range().unwrap(), "bytes=100-199");
        for pairs in [
            &[
                ("content-range", "bytes 100-199/1000"),
                ("content-length", "100"),
            ][..],
            &[("content-range", "bytes 100-199/1000")],
            &[("content-range", "bytes 100-199/*")],
            &[
                ("content-range", "bytes 100-199/1000"),
                ("content-encoding", "identity"),
            ],
        ] {
            assert_eq!(judged(&middle, 206, pairs), Ok(0), "{pairs:?}");
        }
        assert_eq!(part(900, 1000).range().unwrap(), "bytes=900-");
        assert_eq!(part(0, 1000).range(), None);
        assert_eq!(
            judged(&part(0, 1000), 200, &[("content-length", "1000")]),
            Ok(0)
        );
        let whole = Part {
            whole: true,
            ..middle
        };
        assert_eq!((whole.range(), judged(&whole, 200, &[])), (None, Ok(100)));
    }

    #[test]
    fn a_header_is_shown_no_longer_than_a_line_takes() {
        let long = "x".repeat(30_000);
        for (status, name) in [
            (206, "content-range"),
            (206, "content-encoding"),
            (200, "content-encoding"),
        ] {
            let problem = judged(&part(100, 200), status, &[(name, &long)]).unwrap_err();
            assert!(
                problem.to_string().len() < 200,
                "{status} {name}: {problem}"
            );
        }
        let size = format!("bytes 100-199/{long}");
        let problem = judged(&part(100, 200), 206, &[("content-range", &size)]).unwrap_err();
        assert!(problem.to_string().len() < 200, "{problem}");
    }

    #[test]
    fn whoever_asks_for_ages_is_not_asked_sooner_than_who_asks_for_a_minute() {
        let now = Timestamp::UNIX_EPOCH;
        for (value, seconds) in [
            ("60", Some(60)),
            (" 60 ", Some(60)),
            ("99999999999999999999999", Some(u64::MAX)),
            ("-1", None),
            ("soon", None),
            ("", None),
        ] {
            let expected = seconds.map(Duration::from_secs);
            assert_eq!(retry_after(value, now), expected, "{value:?}");
        }
    }

    #[test]
    fn each_head_that_does_not_fit_is_named() {
        let short = |found, expected| FetchProblem::Short { found, expected };
        let large = FetchProblem::TooLarge { limit: SIZE };
        for (status, pairs, expected) in [
            (
                206,
                &[("content-range", "bytes 100-199/999")][..],
                short(999, 1000),
            ),
            (
                206,
                &[("content-range", "bytes 100-199/1001")],
                large.clone(),
            ),
            (
                206,
                &[
                    ("content-range", "bytes 100-199/1000"),
                    ("content-length", "101"),
                ],
                large.clone(),
            ),
            (
                206,
                &[
                    ("content-range", "bytes 100-199/1000"),
                    ("content-length", "99"),
                ],
                short(99, 100),
            ),
            (200, &[("content-length", "1000")], FetchProblem::NoRanges),
            (200, &[], FetchProblem::NoRanges),
            (200, &[("content-length", "999")], short(999, 1000)),
            (
                200,
                &[("content-type", "text/html; charset=utf-8")],
                FetchProblem::WebPage,
            ),
            (
                206,
                &[
                    ("content-type", "TEXT/HTML"),
                    ("content-range", "bytes 100-199/1000"),
                ],
                FetchProblem::WebPage,
            ),
            (416, &[("content-range", "bytes */50")], short(50, 1000)),
            (
                416,
                &[],
                FetchProblem::Status(StatusCode::RANGE_NOT_SATISFIABLE),
            ),
            (404, &[], FetchProblem::Status(StatusCode::NOT_FOUND)),
            (503, &[], FetchProblem::Busy { retry_after: None }),
            (
                429,
                &[("retry-after", "7")],
                FetchProblem::Busy {
                    retry_after: Some(Duration::from_secs(7)),
                },
            ),
        ] {
            assert_eq!(
                judged(&part(100, 200), status, pairs),
                Err(expected),
                "{status} {pairs:?}"
            );
        }
    }

    #[test]
    fn a_range_that_is_another_or_none_is_unusable() {
        for range in [
            "",
            "bytes",
            "bytes 100-199",
            "bytes 100/1000",
            "bytes 101-199/1000",
            "bytes 100-198/1000",
            "bytes 100-200/1000",
            "bytes -1-199/1000",
            "bytes 100-199/1e3",
            "lines 100-199/1000",
            "bytes 100-99999999999999999999/1000",
            "bytes 100-199/1000, 1-2/3",
        ] {
            let found = judged(&part(100, 200), 206, &[("content-range", range)]);
            assert!(
                matches!(found, Err(FetchProblem::Answer(_))),
                "{range:?}: {found:?}"
            );
        }
        for status in [201, 204, 206] {
            let found = judged(&part(0, 1000), status, &[]);
            assert!(
                matches!(found, Err(FetchProblem::Answer(_))),
                "{status}: {found:?}"
            );
        }
        let zipped = judged(&part(0, 1000), 200, &[("content-encoding", "gzip")]);
        assert!(matches!(zipped, Err(FetchProblem::Answer(_))), "{zipped:?}");
    }

    #[test]
    fn when_to_come_again_is_said_in_seconds_or_as_a_date() {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        for (value, expected) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Sat, 21 Nov 2026 12:01:40 GMT", Some(100)),
            ("Sat, 21 Nov 2026 11:00:00 GMT", Some(0)),
            ("-5", None),
            ("soon", None),
            ("", None),
            ("Sat, 31 Feb 2026 12:01:40 GMT", None),
        ] {
            let expected = expected.map(Duration::from_secs);
            assert_eq!(retry_after(value, now), expected, "{value:?}");
        }
    }

    #[test]
    fn a_redirect_is_followed_to_https_alone() {
        let from: Url = "https://boot.example/store/blobs/a.tar".parse().unwrap();
        let to = |location: &str| redirect(&from, &headers(&[("location", location)]));
        for (location, expected) in [
            ("https://cdn.example/a?b=c#d", "https://cdn.example/a?b=c"),
            ("/other/a.tar", "https://boot.example/other/a.tar"),
            ("//cdn.example/a", "https://cdn.example/a"),
            ("b.tar", "https://boot.example/store/blobs/b.tar"),
        ] {
            assert_eq!(to(location).unwrap().as_str(), expected);
        }
        for location in [
            "http://boot.example/a",
            "file:///etc/passwd",
            "https://user@cdn.example/",
            "https://:word@cdn.example/",
            "https://",
            "javascript:alert(1)",
        ] {
            let found = to(location);
            assert!(
                matches!(found, Err(FetchProblem::Redirect(_))),
                "{location}: {found:?}"
            );
        }
        assert!(matches!(
            redirect(&from, &HeaderMap::new()),
            Err(FetchProblem::Redirect(_))
        ));
        let plain: Url = "http://boot.example/".parse().unwrap();
        assert!(redirect(&plain, &headers(&[("location", "/a")])).is_err());
    }
}
