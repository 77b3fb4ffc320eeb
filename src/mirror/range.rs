//! The `Range` header, RFC 9110 section 14: which part of a file a client asks for.
//!
//! Pure: text and a length in, a [`Selection`] out. A server may always ignore `Range` and send the
//! whole (section 14.2), so everything that is not exactly one well-formed range of bytes is ignored:
//! another unit, several ranges, a typing error. Only a well-formed range that lies past the end is
//! an error, for the client must learn that the file is shorter than it thought.

use std::ops::Range;

/// The bytes that an answer carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// All of them: status 200.
    Whole,
    /// These, at least one and all inside the file: status 206.
    Part(Range<u64>),
    /// A range was asked for that holds no byte of the file: status 416.
    Unsatisfiable,
}

impl Selection {
    /// Reads the value of a `Range` header for a file of `len` bytes.
    #[must_use]
    pub fn parse(header: &str, len: u64) -> Self {
        match RangeSpec::parse(header) {
            Some(spec) => spec.of(len),
            None => Self::Whole,
        }
    }
}

/// One well-formed range, before the file's length is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RangeSpec {
    /// `FIRST-` and `FIRST-LAST`; `last` is inclusive.
    From { first: u64, last: Option<u64> },
    /// `-LENGTH`: the last bytes.
    Suffix { length: u64 },
}

impl RangeSpec {
    /// `bytes=` and one range. Unit names are case-insensitive (section 14.1); a comma makes a list.
    fn parse(header: &str) -> Option<Self> {
        let (unit, range) = header.split_once('=')?;
        if !unit.eq_ignore_ascii_case("bytes") {
            return None;
        }
        // The field's value comes without white space around it, and there is none inside one range.
        match range.split_once('-')? {
            ("", length) => Some(Self::Suffix {
                length: number(length)?,
            }),
            (first, "") => Some(Self::From {
                first: number(first)?,
                last: None,
            }),
            (first, last) => {
                let (first_byte, last_byte) = (number(first)?, number(last)?);
                // "invalid if the last-pos value is present and less than first-pos" (section 14.1.1)
                (first_byte <= last_byte).then_some(Self::From {
                    first: first_byte,
                    last: Some(last_byte),
                })
            }
        }
    }

    fn of(self, len: u64) -> Selection {
        match self {
            Self::Suffix { length: 0 } => Selection::Unsatisfiable,
            // Satisfiable by section 14.1.2, yet no Content-Range can be written for it.
            Self::Suffix { .. } if len == 0 => Selection::Whole,
            Self::Suffix { length } => Selection::Part(len.saturating_sub(length)..len),
            Self::From { first, .. } if first >= len => Selection::Unsatisfiable,
            Self::From { first, last } => {
                let end = last.map_or(len, |last| last.saturating_add(1).min(len));
                Selection::Part(first..end)
            }
        }
    }
}

/// `1*DIGIT`. Numbers past `u64` are as good as its end: no file reaches there.
fn number(digits: &str) -> Option<u64> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Selection::{Part, Unsatisfiable, Whole};
    use super::*;

    #[test]
    fn one_range_of_bytes_selects_a_part() {
        for (header, len, part) in [
            ("bytes=0-0", 10, 0..1),
            ("bytes=0-9", 10, 0..10),
            ("bytes=0-", 10, 0..10),
            ("bytes=9-", 10, 9..10),
            ("bytes=3-5", 10, 3..6),
            ("bytes=3-10", 10, 3..10),
            ("bytes=3-18446744073709551615", 10, 3..10),
            ("bytes=3-99999999999999999999999999", 10, 3..10),
            ("bytes=-1", 10, 9..10),
            ("bytes=-10", 10, 0..10),
            ("bytes=-11", 10, 0..10),
            ("bytes=-99999999999999999999999999", 10, 0..10),
            ("BYTES=1-2", 10, 1..3),
            ("bytes=0000-0001", 10, 0..2),
            (
                "bytes=18446744073709551614-18446744073709551615",
                u64::MAX,
                u64::MAX - 1..u64::MAX,
            ),
        ] {
            assert_eq!(Selection::parse(header, len), Part(part), "{header}");
        }
    }

    #[test]
    fn a_range_that_holds_no_byte_of_the_file_is_unsatisfiable() {
        for (header, len) in [
            ("bytes=10-", 10),
            ("bytes=10-20", 10),
            ("bytes=99999999999999999999999999-", 10),
            (
                "bytes=99999999999999999999999998-99999999999999999999999999",
                10,
            ),
            ("bytes=-0", 10),
            ("bytes=-0", 0),
            ("bytes=0-", 0),
            ("bytes=0-0", 0),
        ] {
            assert_eq!(Selection::parse(header, len), Unsatisfiable, "{header}");
        }
    }

    #[test]
    fn everything_else_is_ignored() {
        for header in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=--1",
            "bytes=1",
            "bytes=5-2",
            "bytes=0-1,",
            "bytes=,0-1",
            "bytes=0-1,3-4",
            "bytes=0-1, 3-4",
            "bytes= 0-1",
            "bytes=0 -1",
            "bytes=0- 1",
            "bytes=0-1 ",
            " bytes=0-1",
            "bytes =0-1",
            "bytes=+0-1",
            "bytes=0-+1",
            "bytes=0x0-1",
            "bytes=0-1-2",
            "bytes=a-b",
            "bytes=0-b",
            "bytes=１-２",
            "bytes==0-1",
            "byte=0-1",
            "items=0-1",
            "0-1",
        ] {
            assert_eq!(Selection::parse(header, 10), Whole, "{header:?}");
        }
        assert_eq!(Selection::parse("bytes=-1", 0), Whole);
    }

    proptest! {
        #[test]
        fn any_text_selects_bytes_of_the_file_or_none(header in "\\PC*", len: u64) {
            if let Part(part) = Selection::parse(&header, len) {
                prop_assert!(part.start < part.end && part.end <= len);
            }
        }

        #[test]
        fn text_that_looks_like_a_range_selects_bytes_of_the_file_or_none(
            header in "bytes=[0-9]{0,22}-[0-9]{0,22}",
            len in prop_oneof![0..100_u64, any::<u64>()],
        ) {
            if let Part(part) = Selection::parse(&header, len) {
                prop_assert!(part.start < part.end && part.end <= len);
            }
        }

        #[test]
        fn a_part_is_what_the_model_of_a_set_of_positions_says(first in 0..40_u64, last in 0..40_u64, len in 0..40_u64) {
            let asked: Vec<u64> = (first..=last).collect();
            let held: Vec<u64> = asked.iter().copied().filter(|at| *at < len).collect();
            match Selection::parse(&format!("bytes={first}-{last}"), len) {
                Whole => prop_assert!(asked.is_empty()),
                Unsatisfiable => prop_assert!(!asked.is_empty() && held.is_empty()),
                Part(part) => prop_assert_eq!(part.collect::<Vec<_>>(), held),
            }
        }

        #[test]
        fn a_suffix_is_the_end_of_the_file(length in 1..40_u64, len in 1..40_u64) {
            let positions: Vec<u64> = (0..len).collect();
            let expected: Vec<u64> = positions.iter().rev().take(usize::try_from(length).unwrap()).rev().copied().collect();
            match Selection::parse(&format!("bytes=-{length}"), len) {
                Part(part) => prop_assert_eq!(part.collect::<Vec<_>>(), expected),
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }
}
