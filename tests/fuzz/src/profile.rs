//! The lexical profile of signed JSON: the bytes of any payload.
//!
//! | property | because |
//! |---|---|
//! | a second implementation accepts the same bytes | the profile is what its rules say, and nothing else |
//! | what is accepted is a JSON object to another reader, at most 16 deep | all readers see the same |
//! | written again, compact, it is accepted and the same value | nothing in it depends on its spelling |
//! | what is accepted is printable ASCII, spaces and line feeds | it can be shown |
//! | a refusal is one short line that cannot draw | it is shown on the console |

use std::collections::BTreeSet;

use sealboot_core::format::profile::check;
use serde_json::Value;

use super::Verdict;

/// The payload.
pub fn run(bytes: &[u8]) -> Verdict {
    let checked = check(bytes);
    assert_eq!(checked.is_ok(), is_inside(bytes), "{checked:?}");
    if let Err(outside) = checked {
        assert!(outside.at <= bytes.len());
        let shown = outside.to_string();
        // A name of 80 characters, each of them escaped.
        assert!(shown.len() < 1024, "{shown}");
        assert!(!shown.contains(char::is_control), "{shown:?}");
        return Verdict::Refused;
    }
    let mut plain = bytes.iter();
    assert!(plain.all(|byte| matches!(byte, b' '..=b'~' | b'\n')));
    let value: Value = serde_json::from_slice(bytes).expect("JSON");
    assert!(value.is_object());
    assert!(depth(&value) <= 16);
    let compact = serde_json::to_vec(&value).expect("JSON");
    assert_eq!(check(&compact), Ok(()));
    let again: Value = serde_json::from_slice(&compact).expect("our own");
    assert_eq!(again, value);
    Verdict::Taken
}

fn depth(value: &Value) -> usize {
    let below = match value {
        Value::Array(items) => items.iter().map(depth).max(),
        Value::Object(fields) => fields.values().map(depth).max(),
        _ => None,
    };
    1 + below.unwrap_or(0)
}

/// The profile once more: token by token, with a stack in place of recursion.
fn is_inside(bytes: &[u8]) -> bool {
    // The names so far of each open object; `None` for an open array.
    let mut open: Vec<Option<BTreeSet<&[u8]>>> = Vec::new();
    // What may come next: a value, a name, or one of the signs.
    let mut next = "v";
    let mut rest = bytes;
    loop {
        while let [b' ' | b'\n', after @ ..] = rest {
            rest = after;
        }
        let Some(&first) = rest.first() else {
            return next.is_empty();
        };
        let Some(len) = token(rest) else { return false };
        let (token, after) = rest.split_at(len);
        rest = after;
        let may = |kind: u8| next.contains(char::from(kind));
        let depth = open.len() + 1;
        match (first, open.last_mut()) {
            (b'{' | b'[', _) if may(b'v') => {
                open.push((first == b'{').then(BTreeSet::new));
                if depth > 16 || open[0].is_none() {
                    return false;
                }
                next = if first == b'{' { "n}" } else { "v]" };
                continue;
            }
            (b',', Some(of)) if may(b',') => {
                next = if of.is_some() { "n" } else { "v" };
                continue;
            }
            (b'"', Some(Some(names))) if may(b'n') => {
                if !is_name(&token[1..len - 1]) || !names.insert(token) {
                    return false;
                }
                next = ":";
                continue;
            }
            (b':', _) if may(b':') => {
                next = "v";
                continue;
            }
            (b'}' | b']', _) if may(first) => drop(open.pop()),
            (_, Some(_)) if may(b'v') && is_scalar(token) && depth <= 16 => {}
            _ => return false,
        }
        next = match open.last() {
            None => "",
            Some(None) => ",]",
            Some(Some(_)) => ",}",
        };
    }
}

/// Returns the length of the first token: a string with its quotes, a run of letters and digits, or one other byte.
fn token(bytes: &[u8]) -> Option<usize> {
    let is_run = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
    if bytes[0] != b'"' {
        return Some(bytes.iter().take_while(|byte| is_run(byte)).count().max(1));
    }
    let mut at = 1;
    loop {
        at += match bytes.get(at..)? {
            [b'"', ..] => return Some(at + 1),
            [b'\\', b'"' | b'\\', ..] => 2,
            [b'\\', ..] => return None,
            [b' '..=b'~', ..] => 1,
            _ => return None,
        }
    }
}

fn is_name(name: &[u8]) -> bool {
    let tail = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
    matches!(name, [b'a'..=b'z', rest @ ..] if rest.len() < 64 && rest.iter().all(tail))
}

fn is_scalar(token: &[u8]) -> bool {
    let number = str::from_utf8(token)
        .ok()
        .and_then(|text| text.parse().ok());
    let is_plain = |number: u64| number < 1 << 53 && number.to_string().as_bytes() == token;
    token[0] == b'"' || token == b"true" || token == b"false" || number.is_some_and(is_plain)
}
