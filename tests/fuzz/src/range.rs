//! What a client of the provisioning server chooses: a request's path, and its `Range` header.
//!
//! | property | because |
//! |---|---|
//! | a range that is selected holds a byte, and all its bytes are the file's | the server seeks and counts by it |
//! | what is selected is what a second reading of RFC 9110 selects | a loader that resumes must get what it asks for |
//! | a path that is taken is the only spelling of a file of the store | nothing else on the machine has a name |

use std::ops::Range;
use std::path::{Component, Path};

use sealboot_mirror::range::Selection;
use sealboot_store::StorePath;

use super::Verdict;

/// A path; or a `Range` header, and on a second line the length of a file.
pub fn run(bytes: &[u8]) -> Verdict {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Verdict::Refused;
    };
    if let Some(path) = StorePath::parse(text) {
        is_one_file_of_the_store(&path, text);
        return Verdict::Taken;
    }
    let (header, len) = text.split_once('\n').unwrap_or((text, ""));
    for len in [0, 1, 1000, u64::MAX] {
        select(header, len);
    }
    match select(header, len.parse().unwrap_or(1000)) {
        Selection::Part(_) => Verdict::Taken,
        Selection::Whole | Selection::Unsatisfiable => Verdict::Refused,
    }
}

fn is_one_file_of_the_store(path: &StorePath, url_path: &str) {
    let relative = path.to_string();
    assert_eq!(format!("/{relative}"), url_path);
    assert!(relative.len() <= 128, "{relative}");
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
    assert!(relative.bytes().all(plain), "{relative}");
    for component in Path::new(&relative).components() {
        let Component::Normal(name) = component else {
            panic!("{relative} goes elsewhere");
        };
        assert!(!name.as_encoded_bytes().starts_with(b"."), "{relative}");
    }
    assert_eq!(
        Path::new(&relative)
            .iter()
            .collect::<Vec<_>>()
            .join("/".as_ref()),
        relative.as_str()
    );
}

fn select(header: &str, len: u64) -> Selection {
    let selection = Selection::parse(header, len);
    if let Selection::Part(Range { start, end }) = selection {
        assert!(start < end && end <= len, "{start}..{end} of {len}");
    }
    let expected = match asked_for(header) {
        None => Selection::Whole,
        Some(Asked::Last(0)) => Selection::Unsatisfiable,
        Some(Asked::Last(_)) if len == 0 => Selection::Whole,
        Some(Asked::Last(count)) => {
            part(u128::from(len).saturating_sub(count), u128::from(len), len)
        }
        Some(Asked::From(first, last)) => part(first, last.saturating_add(1), len),
    };
    assert_eq!(selection, expected, "{header:?} of {len}");
    selection
}

fn part(start: u128, end: u128, len: u64) -> Selection {
    let end = end.min(u128::from(len));
    if start >= end {
        return Selection::Unsatisfiable;
    }
    let within = |offset: u128| u64::try_from(offset).expect("below the length");
    Selection::Part(within(start)..within(end))
}

enum Asked {
    /// From one byte to another, which is asked for too.
    From(u128, u128),
    /// So many bytes at the end.
    Last(u128),
}

/// RFC 9110, section 14.1.1, for a single range of the unit `bytes`.
fn asked_for(header: &str) -> Option<Asked> {
    let bytes = header.as_bytes();
    let range = bytes
        .get(..6)
        .filter(|unit| unit.eq_ignore_ascii_case(b"bytes="))?;
    let range = &bytes[range.len()..];
    let dash = range.iter().position(|byte| *byte == b'-')?;
    match (&range[..dash], &range[dash + 1..]) {
        ([], count) => Some(Asked::Last(number(count)?)),
        (first, []) => Some(Asked::From(number(first)?, u128::MAX)),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(Asked::From(first, last))
        }
    }
}

/// Digits, one at least. What 64 bits do not hold is as good as their largest number.
fn number(digits: &[u8]) -> Option<u128> {
    let number = digits.iter().try_fold(0_u128, |number, digit| {
        let digit = char::from(*digit).to_digit(10)?;
        Some((number * 10 + u128::from(digit)).min(u64::MAX.into()))
    });
    number.filter(|_| !digits.is_empty())
}
