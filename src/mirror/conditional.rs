//! Conditional requests, RFC 9110 section 13: does the client have these bytes already?
//!
//! Pure. A store's files have strong entity tags and no modification date that would mean anything
//! (a mirror is copied), so the conditions on dates are never true, as section 13.1 asks of a
//! resource without a date.

use std::fmt;

use sealboot_core::format::digest::Sha256Digest;

/// The strong entity tag of a file: the SHA-256 of its bytes, or the digest in its name, in quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EntityTag(pub(super) Sha256Digest);

/// What the conditions of a request make of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Answer as if there were no condition.
    Proceed,
    /// 304: the client has it.
    NotModified,
    /// 412: the client asked for another version, and for nothing else.
    PreconditionFailed,
}

impl fmt::Display for EntityTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"sha256-{}\"", self.0)
    }
}

impl EntityTag {
    /// Evaluates `If-Match` and `If-None-Match`, each the values of all its header lines, in the
    /// order of section 13.2.2.
    pub(super) fn evaluate<'a>(
        self,
        if_match: impl Iterator<Item = &'a [u8]>,
        if_none_match: impl Iterator<Item = &'a [u8]>,
    ) -> Outcome {
        if self.matches(if_match, Comparison::Strong) == Some(false) {
            Outcome::PreconditionFailed
        } else if self.matches(if_none_match, Comparison::Weak) == Some(true) {
            Outcome::NotModified
        } else {
            Outcome::Proceed
        }
    }

    /// Evaluates `If-Range`: whether the range may be sent. A date and a weak tag never match (section 13.1.5).
    pub(super) fn allows_range(self, if_range: &[u8]) -> bool {
        if_range == self.to_string().as_bytes()
    }

    /// Whether one of the tags in `lines` is this one; `None` where there is no line at all.
    fn matches<'a>(
        self,
        lines: impl Iterator<Item = &'a [u8]>,
        comparison: Comparison,
    ) -> Option<bool> {
        let own = self.to_string();
        let mut any_line = false;
        for line in lines {
            any_line = true;
            if line == b"*" || Tags(line).any(|tag| tag.is(own.as_bytes(), comparison)) {
                return Some(true);
            }
        }
        any_line.then_some(false)
    }
}

/// Section 8.8.3.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    /// Both tags must be strong.
    Strong,
    /// `W/` is disregarded.
    Weak,
}

/// A tag as a client wrote it, quotes included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tag<'a> {
    weak: bool,
    opaque: &'a [u8],
}

impl Tag<'_> {
    fn is(self, own: &[u8], comparison: Comparison) -> bool {
        self.opaque == own && (comparison == Comparison::Weak || !self.weak)
    }
}

/// The tags of one header line. Ends at the first thing that is no tag: a tag may hold commas, so
/// nothing after it can be trusted to be one.
#[derive(Debug)]
struct Tags<'a>(&'a [u8]);

impl<'a> Iterator for Tags<'a> {
    type Item = Tag<'a>;

    fn next(&mut self) -> Option<Tag<'a>> {
        let start = self
            .0
            .iter()
            .position(|byte| !matches!(byte, b' ' | b'\t' | b','))?;
        let rest = &self.0[start..];
        self.0 = &[];
        let (weak, quoted) = match rest.strip_prefix(b"W/") {
            Some(quoted) => (true, quoted),
            None => (false, rest),
        };
        let inner = quoted.strip_prefix(b"\"")?;
        let end = inner.iter().position(|byte| *byte == b'"')?;
        let (opaque, after) = quoted.split_at(end + 2);
        if matches!(after.first(), None | Some(b' ' | b'\t' | b',')) {
            self.0 = after;
            Some(Tag { weak, opaque })
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn own() -> EntityTag {
        EntityTag(Sha256Digest::of(b"a manifest"))
    }

    fn other() -> EntityTag {
        EntityTag(Sha256Digest::of(b"another"))
    }

    fn evaluate(if_match: &[&str], if_none_match: &[&str]) -> Outcome {
        own().evaluate(
            if_match.iter().map(|line| line.as_bytes()),
            if_none_match.iter().map(|line| line.as_bytes()),
        )
    }

    #[test]
    fn a_client_that_has_the_bytes_gets_none() {
        let (own, other) = (own().to_string(), other().to_string());
        for lines in [
            &[own.as_str()][..],
            &["*"],
            &[&format!("W/{own}")],
            &[&format!("{other}, {own}")],
            &[&format!("{other},{own}")],
            &[&format!(", ,{other}\t,\t{own},")],
            &[&format!("\"a,b\", {own}")],
            &[&other, &own],
        ] {
            assert_eq!(evaluate(&[], lines), Outcome::NotModified, "{lines:?}");
        }
    }

    #[test]
    fn a_client_that_has_other_bytes_gets_these() {
        let (own, other) = (own().to_string(), other().to_string());
        let bare = own.trim_matches('"').to_owned();
        for lines in [
            &[][..],
            &[""],
            &[other.as_str()],
            &[&bare],
            &[&format!("\"{bare}")],
            &[&format!("{bare}\"")],
            &[&format!("\"{other}{own}")],
            &[&format!("{other}{own}")],
            &[&format!("w/{own}")],
            &["\"*\""],
            &["**"],
            &["\"\""],
            &[&own.to_uppercase()],
        ] {
            assert_eq!(evaluate(&[], lines), Outcome::Proceed, "{lines:?}");
        }
    }

    #[test]
    fn if_match_asks_for_one_version_and_comes_first() {
        let (own, other) = (own().to_string(), other().to_string());
        let weak = format!("W/{own}");
        assert_eq!(evaluate(&[&own], &[]), Outcome::Proceed);
        assert_eq!(evaluate(&["*"], &[]), Outcome::Proceed);
        assert_eq!(evaluate(&[&other], &[]), Outcome::PreconditionFailed);
        assert_eq!(evaluate(&[&weak], &[]), Outcome::PreconditionFailed);
        assert_eq!(evaluate(&[&other], &[&own]), Outcome::PreconditionFailed);
        assert_eq!(evaluate(&[&own], &[&own]), Outcome::NotModified);
    }

    #[test]
    fn only_the_strong_tag_itself_allows_a_range() {
        let text = own().to_string();
        assert!(own().allows_range(text.as_bytes()));
        for bad in [
            other().to_string(),
            format!("W/{text}"),
            "*".into(),
            String::new(),
            format!("{text}, {text}"),
            "Sat, 21 Nov 2026 12:00:00 GMT".into(),
        ] {
            assert!(!own().allows_range(bad.as_bytes()), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_to_their_end(line: Vec<u8>) {
            prop_assert!(Tags(&line).count() <= line.len());
        }

        #[test]
        fn a_list_of_tags_is_read_as_written(opaque in proptest::collection::vec("[!#-~]{0,8}", 0..6)) {
            let line = opaque.iter().map(|tag| format!("\"{tag}\"")).collect::<Vec<_>>().join(", ");
            let read: Vec<String> = Tags(line.as_bytes())
                .map(|tag| String::from_utf8(tag.opaque.to_vec()).unwrap())
                .collect();
            let expected: Vec<String> = opaque.iter().map(|tag| format!("\"{tag}\"")).collect();
            prop_assert_eq!(read, expected);
        }
    }
}
