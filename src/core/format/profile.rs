//! The lexical profile of signed JSON.
//!
//! Readers of JSON disagree about repeated fields, numbers beyond 2^53, escapes, white space and the case of names. In
//! a signed payload each such disagreement is a second statement under one signature. [`check`] therefore accepts only
//! bytes in which all readers see the same: it runs on the payload before anything else reads it.
//!
//! - one object, and nothing after it;
//! - printable ASCII, spaces and line feeds; the only escapes are `\"` and `\\`;
//! - field names `[a-z][a-z0-9_]{0,63}`, none twice in any object, known or unknown;
//! - numbers from 0 to 2^53-1 in plain decimal; no `null`;
//! - values at most 16 deep.
//!
//! Within it, order, white space and unknown fields are free: the signature covers the bytes.

use std::collections::BTreeSet;
use std::fmt;

use super::limits::LIMITS;

/// The greatest depth of a value; the statement itself is at depth 1.
const DEPTH: usize = 16;

/// A byte string that is not inside the profile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem} at byte {at}")]
pub struct OutsideProfile {
    /// The offset of the first byte that is outside, from 0.
    pub at: usize,
    /// Why it is outside.
    pub problem: Problem,
}

/// Why a byte string is outside the profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// It does not begin with `{`.
    NotAnObject,
    /// Something follows the object.
    Trailing,
    /// It ends before the object does.
    Truncated,
    /// Another token belongs here.
    Expected(&'static str),
    /// A string has a byte outside of printable ASCII.
    Byte(u8),
    /// A string has another escape than `\"` and `\\`.
    Escape,
    /// A field has a name that no format uses.
    Name(String),
    /// An object has a field twice.
    Repeated(String),
    /// A number is not a plain decimal from 0 to 2^53-1.
    Number,
    /// `null` is not a value: a field without a value is left out.
    Null,
    /// A value is more than 16 deep.
    TooDeep,
}

/// Returns an error for the first byte of `json` that is outside the profile.
///
/// # Errors
///
/// [`OutsideProfile`], which can be printed: it repeats only names that are in printable ASCII.
pub fn check(json: &[u8]) -> Result<(), OutsideProfile> {
    let mut scanner = Scanner { json, at: 0 };
    scanner.skip_space();
    if scanner.peek() != Some(b'{') {
        return Err(scanner.outside(Problem::NotAnObject));
    }
    scanner.value(1)?;
    scanner.skip_space();
    match scanner.peek() {
        None => Ok(()),
        Some(_) => Err(scanner.outside(Problem::Trailing)),
    }
}

/// Returns `true` if a field of a format may have this name.
#[must_use]
pub(crate) fn is_field_name(name: &[u8]) -> bool {
    (1..=64).contains(&name.len())
        && name[0].is_ascii_lowercase()
        && name
            .iter()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'_')
}

/// The JSON, and the offset of the next byte.
struct Scanner<'a> {
    json: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    fn peek(&self) -> Option<u8> {
        self.json.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n')) {
            self.at += 1;
        }
    }

    const fn outside(&self, problem: Problem) -> OutsideProfile {
        OutsideProfile {
            at: self.at,
            problem,
        }
    }

    /// Skips `token`; `name` is what to call it.
    fn token(&mut self, token: u8, name: &'static str) -> Result<(), OutsideProfile> {
        match self.peek() {
            Some(found) if found == token => {
                self.at += 1;
                Ok(())
            }
            Some(_) => Err(self.outside(Problem::Expected(name))),
            None => Err(self.outside(Problem::Truncated)),
        }
    }

    fn value(&mut self, depth: usize) -> Result<(), OutsideProfile> {
        self.skip_space();
        if depth > DEPTH {
            return Err(self.outside(Problem::TooDeep));
        }
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => self.string().map(drop),
            Some(b'0'..=b'9') => self.number(),
            Some(b't') => self.word(b"true"),
            Some(b'f') => self.word(b"false"),
            Some(b'n') => Err(self.outside(Problem::Null)),
            Some(b'-' | b'+' | b'.') => Err(self.outside(Problem::Number)),
            Some(_) => Err(self.outside(Problem::Expected("a value"))),
            None => Err(self.outside(Problem::Truncated)),
        }
    }

    fn object(&mut self, depth: usize) -> Result<(), OutsideProfile> {
        self.at += 1;
        self.skip_space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        let mut names = BTreeSet::new();
        loop {
            self.skip_space();
            let start = self.at;
            if self.peek().is_some_and(|byte| byte != b'"') {
                return Err(self.outside(Problem::Expected("a field name")));
            }
            let name = self.string()?;
            let problem = if !is_field_name(name) {
                Problem::Name
            } else if !names.insert(name) {
                Problem::Repeated
            } else {
                self.skip_space();
                self.token(b':', "a colon")?;
                self.value(depth + 1)?;
                if self.next_item(b'}', "a comma or }")? {
                    continue;
                }
                return Ok(());
            };
            return Err(OutsideProfile {
                at: start,
                problem: problem(super::shown(&String::from_utf8_lossy(name), 80)),
            });
        }
    }

    fn array(&mut self, depth: usize) -> Result<(), OutsideProfile> {
        self.at += 1;
        self.skip_space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.value(depth + 1)?;
            if !self.next_item(b']', "a comma or ]")? {
                return Ok(());
            }
        }
    }

    /// Skips what follows an item; returns `true` for a comma and `false` for `close`.
    fn next_item(&mut self, close: u8, name: &'static str) -> Result<bool, OutsideProfile> {
        self.skip_space();
        if self.peek() == Some(b',') {
            self.at += 1;
            return Ok(true);
        }
        self.token(close, name).map(|()| false)
    }

    /// Skips a string and returns its bytes, with their escapes.
    fn string(&mut self) -> Result<&'a [u8], OutsideProfile> {
        self.token(b'"', "a string")?;
        let start = self.at;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(&self.json[start..self.at - 1]);
                }
                Some(b'\\') => match self.json.get(self.at + 1) {
                    Some(b'"' | b'\\') => self.at += 2,
                    Some(_) => return Err(self.outside(Problem::Escape)),
                    None => return Err(self.outside(Problem::Truncated)),
                },
                Some(b' '..=b'~') => self.at += 1,
                Some(byte) => return Err(self.outside(Problem::Byte(byte))),
                None => return Err(self.outside(Problem::Truncated)),
            }
        }
    }

    fn number(&mut self) -> Result<(), OutsideProfile> {
        let rest = &self.json[self.at..];
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let plain = matches!(rest[..digits], [b'0'] | [b'1'..=b'9', ..])
            && !matches!(rest.get(digits), Some(b'.' | b'e' | b'E'));
        let number = str::from_utf8(&rest[..digits])
            .ok()
            .and_then(|digits| digits.parse::<u64>().ok());
        if !plain || number.is_none_or(|number| number > LIMITS.number_max) {
            return Err(self.outside(Problem::Number));
        }
        self.at += digits;
        Ok(())
    }

    fn word(&mut self, word: &'static [u8]) -> Result<(), OutsideProfile> {
        if !self.json[self.at..].starts_with(word) {
            return Err(self.outside(Problem::Expected("a value")));
        }
        self.at += word.len();
        Ok(())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAnObject => f.write_str("expected a JSON object"),
            Self::Trailing => f.write_str("something follows the object"),
            Self::Truncated => f.write_str("the JSON ends early"),
            Self::Expected(what) => write!(f, "expected {what}"),
            Self::Byte(byte) => write!(f, "byte 0x{byte:02x} is not printable ASCII"),
            Self::Escape => f.write_str(r#"the only escapes are \" and \\"#),
            Self::Name(name) => write!(
                f,
                "field name \"{name}\" is not 1 to 64 of a-z, 0-9 and _, a letter first"
            ),
            Self::Repeated(name) => write!(f, "field \"{name}\" appears twice in one object"),
            Self::Number => f.write_str("a number is not a plain decimal from 0 to 2^53-1"),
            Self::Null => f.write_str("null is not a value; leave the field out"),
            Self::TooDeep => write!(f, "a value is more than {DEPTH} deep"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nested arrays, so many deep below the statement.
    fn nested(deep: usize) -> String {
        format!("{{\"a\":{}{}}}", "[".repeat(deep), "]".repeat(deep))
    }

    #[test]
    fn plain_json_is_inside() {
        for json in [
            "{}",
            "{\"a\":0}",
            "{\"a\":9007199254740991}",
            r#"{"a":"x \" \\"}"#,
            "{ \"a\": [1, {\"b\": true}],\n \"c\": {}, \"d\": [ ] , \"e\": { }}\n",
            "\n {\"a\":[false,[],[[\"\"]]]} ",
            "{\"f\":{\"a\":1},\"g\":{\"a\":2}}",
            &format!("{{\"a{}\":1}}", "b".repeat(63)),
            &nested(15),
        ] {
            assert_eq!(check(json.as_bytes()), Ok(()), "{json}");
        }
    }

    #[test]
    fn what_two_readers_could_disagree_on_is_outside() {
        use Problem as P;
        let name = |name: &str| P::Name(name.to_owned());
        let repeated = |name: &str| P::Repeated(name.to_owned());
        let long = format!("a{}", "b".repeat(64));
        let cases = [
            ("", 0, P::NotAnObject),
            ("[]", 0, P::NotAnObject),
            (r#"["relay",43]"#, 0, P::NotAnObject),
            ("\u{feff}{}", 0, P::NotAnObject),
            (" null", 1, P::NotAnObject),
            (r#"{"a":1}x"#, 7, P::Trailing),
            ("{}{}", 2, P::Trailing),
            (r#"{"a":1,"a":2}"#, 7, repeated("a")),
            (r#"{"f":{"a":1,"a":2}}"#, 12, repeated("a")),
            (r#"{"a":[{"b":1,"c":1,"b":1}]}"#, 19, repeated("b")),
            (r#"{"Version":1}"#, 1, name("Version")),
            (r#"{"":1}"#, 1, name("")),
            (r#"{"1a":1}"#, 1, name("1a")),
            (r#"{"a-b":1}"#, 1, name("a-b")),
            (r#"{"__proto__":1}"#, 1, name("__proto__")),
            (r#"{"a\\b":1}"#, 1, name(r"a\\\\b")),
            (&format!("{{\"{long}\":1}}"), 1, name(&long)),
            (r#"{"v":1,"\u0076":2}"#, 8, P::Escape),
            (r#"{"a":"\u0041"}"#, 6, P::Escape),
            (r#"{"a":"\ud800"}"#, 6, P::Escape),
            (r#"{"a":"\/"}"#, 6, P::Escape),
            (r#"{"a":"\n"}"#, 6, P::Escape),
            ("{\"a\":\"\u{202e}\"}", 6, P::Byte(0xe2)),
            ("{\"a\":\"\n\"}", 6, P::Byte(b'\n')),
            ("{\"a\":\"\x7f\"}", 6, P::Byte(0x7f)),
            (r#"{"a":null}"#, 5, P::Null),
            (r#"{"a":-0}"#, 5, P::Number),
            (r#"{"a":1.0}"#, 5, P::Number),
            (r#"{"a":1e0}"#, 5, P::Number),
            (r#"{"a":1E0}"#, 5, P::Number),
            (r#"{"a":01}"#, 5, P::Number),
            (r#"{"a":00}"#, 5, P::Number),
            (r#"{"a":9007199254740992}"#, 5, P::Number),
            (r#"{"a":99999999999999999999}"#, 5, P::Number),
            (r#"{"a":1,}"#, 7, P::Expected("a field name")),
            (r#"{,}"#, 1, P::Expected("a field name")),
            (r#"{a:1}"#, 1, P::Expected("a field name")),
            (r#"{"a" 1}"#, 5, P::Expected("a colon")),
            (r#"{"a":1 "b":1}"#, 7, P::Expected("a comma or }")),
            (r#"{"a":[1 2]}"#, 8, P::Expected("a comma or ]")),
            (r#"{"a":[1,]}"#, 8, P::Expected("a value")),
            (r#"{"a":tru}"#, 5, P::Expected("a value")),
            (r#"{"a":truee}"#, 9, P::Expected("a comma or }")),
            ("{\"a\":\t1}", 5, P::Expected("a value")),
            ("{\"a\":1\r\n}", 6, P::Expected("a comma or }")),
            (r#"{"a":1 // x"#, 7, P::Expected("a comma or }")),
            (r#"{"a":'x'}"#, 5, P::Expected("a value")),
            ("{", 1, P::Truncated),
            (r#"{"a"#, 3, P::Truncated),
            (r#"{"a""#, 4, P::Truncated),
            (r#"{"a":"#, 5, P::Truncated),
            (r#"{"a":1"#, 6, P::Truncated),
            (r#"{"a":1,"#, 7, P::Truncated),
            (r#"{"a":"\"#, 6, P::Truncated),
            (r#"{"a":["#, 6, P::Truncated),
            (&nested(16), 20, P::TooDeep),
        ];
        for (json, at, problem) in cases {
            let expected = Err(OutsideProfile { at, problem });
            assert_eq!(check(json.as_bytes()), expected, "{json}");
        }
    }

    #[test]
    fn a_problem_is_printed_in_one_line_of_ascii() {
        let error = check("{\"\u{202e}\":1}".as_bytes()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "byte 0xe2 is not printable ASCII at byte 2"
        );
        let error = check(br#"{"a":1,"a":2}"#).unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"field "a" appears twice in one object at byte 7"#
        );
    }

    proptest::proptest! {
        /// serde_json reads everything that the profile accepts.
        #[test]
        fn what_is_inside_is_json(json in r#"[{}\[\]",:0-9a-b\\ tfn]{0,24}"#) {
            if check(json.as_bytes()).is_ok() {
                let read: serde_json::Value = serde_json::from_str(&json).unwrap();
                proptest::prop_assert!(read.is_object());
            }
        }
    }
}
