//! JSON into the types of the formats.
//!
//! `read` adds three things to serde_json. It names the field in which an error is, and the fields that a type does
//! not have: those are ignored, and a caller may print or refuse them. It refuses an array where an object belongs,
//! which what serde derives would read as the object's fields in order: a second spelling that no other reader knows.
//! Its errors can be printed: serde's repeat what they found, which an attacker may have written.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_path_to_error::Segment;

use super::Invalid;

/// A value, and what was ignored beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read<T> {
    /// The value.
    pub value: T,
    /// The paths of the fields that its type does not have, such as `network.mtu2`, fit for a console.
    pub unknown: Vec<String>,
}

/// Why a value cannot be read, and which part of it.
#[derive(Debug)]
pub(crate) struct Misplaced {
    /// The part's path, such as `mirrors[1]`, fit for a console; `None` for the whole, or where it is not JSON.
    pub(crate) field: Option<String>,
    /// The message names line and column, and can be printed.
    pub(crate) source: serde_json::Error,
}

/// The beginning of the error of [`unknown_word`].
const UNKNOWN_WORD: &str = "unknown word: ";

/// Returns the error for a word that is not in the closed list of its field.
pub(crate) fn unknown_word<E: de::Error>(word: Invalid) -> E {
    E::custom(format_args!("{UNKNOWN_WORD}{word}"))
}

impl Misplaced {
    /// Returns `true` if a field has a word that is not in its closed list.
    pub(crate) fn is_unknown_word(&self) -> bool {
        self.source.to_string().starts_with(UNKNOWN_WORD)
    }
}

/// Reads one JSON value, and nothing after it.
///
/// # Errors
///
/// [`Misplaced`] for what is not JSON, or not of the shape of `T`.
pub(crate) fn read<T: DeserializeOwned + Serialize>(json: &[u8]) -> Result<Read<T>, Misplaced> {
    let mut unknown = Vec::new();
    let value: T = typed(json, &mut |path| unknown.push(path))?;
    let found: Value = typed(json, &mut |_| ())?;
    let Ok(expected) = serde_json::to_value(&value) else {
        unreachable!("the formats have no map with other keys than strings");
    };
    match array_for_object(&expected, &found) {
        None => Ok(Read { value, unknown }),
        Some(field) => Err(Misplaced {
            field: Some(field).filter(|field| !field.is_empty()),
            source: de::Error::custom("invalid type: sequence, expected an object"),
        }),
    }
}

/// Reads a list of objects, for a field whose type is written in another shape than it is read, which [`read`] cannot
/// compare: for `deserialize_with`.
pub(crate) fn objects<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<T>>, D::Error> {
    struct Object<T>(T);

    struct OfMap<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_map(OfMap(PhantomData)).map(Self)
        }
    }

    impl<'de, T: Deserialize<'de>> Visitor<'de> for OfMap<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<T, A::Error> {
            T::deserialize(MapAccessDeserializer::new(fields))
        }
    }

    let objects = Vec::<Object<T>>::deserialize(deserializer)?;
    Ok(Some(objects.into_iter().map(|object| object.0).collect()))
}

fn typed<'a, T: Deserialize<'a>>(
    json: &'a [u8],
    ignored: &mut impl FnMut(String),
) -> Result<T, Misplaced> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let mut ignore = |path: serde_ignored::Path<'_>| ignored(super::shown(&join(&path), 80));
    let noting = serde_ignored::Deserializer::new(&mut deserializer, &mut ignore);
    let value = serde_path_to_error::deserialize(noting).map_err(|error| {
        let path = error.path();
        let is_whole = path.iter().next().is_none();
        let is_known = !path
            .iter()
            .any(|segment| matches!(segment, Segment::Unknown));
        let field = (!is_whole && is_known).then(|| super::shown(&path.to_string(), 80));
        Misplaced {
            field,
            source: printable(error.into_inner()),
        }
    })?;
    deserializer.end().map_err(|error| Misplaced {
        field: None,
        source: printable(error),
    })?;
    Ok(value)
}

/// Writes a path as `serde_path_to_error` does.
fn join(path: &serde_ignored::Path<'_>) -> String {
    use serde_ignored::Path;
    match path {
        Path::Root => String::new(),
        Path::Seq { parent, index } => format!("{}[{index}]", join(parent)),
        Path::Map { parent, key } => match join(parent) {
            parent if parent.is_empty() => key.clone(),
            parent => format!("{parent}.{key}"),
        },
        Path::Some { parent }
        | Path::NewtypeStruct { parent }
        | Path::NewtypeVariant { parent } => join(parent),
    }
}

/// Returns the path of the first array of `found` that was read as an object.
fn array_for_object(expected: &Value, found: &Value) -> Option<String> {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => {
            expected.iter().find_map(|(name, value)| {
                let inner = array_for_object(value, found.get(name)?)?;
                let separator = if inner.is_empty() || inner.starts_with('[') {
                    ""
                } else {
                    "."
                };
                Some(format!("{name}{separator}{inner}"))
            })
        }
        (Value::Array(expected), Value::Array(found)) => {
            let mut pairs = expected.iter().zip(found).enumerate();
            pairs.find_map(|(index, (expected, found))| {
                let inner = array_for_object(expected, found)?;
                let separator = if inner.is_empty() || inner.starts_with('[') {
                    ""
                } else {
                    "."
                };
                Some(format!("[{index}]{separator}{inner}"))
            })
        }
        (Value::Object(_), Value::Array(_)) => Some(String::new()),
        _ => None,
    }
}

/// Returns the same error, its message cut to what fits a few console lines, escaped, and without names of Rust types.
fn printable(error: serde_json::Error) -> serde_json::Error {
    const LONGEST: usize = 300;
    let place = format!(" at line {} column {}", error.line(), error.column());
    let message = error.to_string();
    let before = message.strip_suffix(&place).unwrap_or(&message);
    let what = &in_terms_of_json(before);
    let mut shown = String::new();
    for char in what.chars().take(LONGEST) {
        if char.is_ascii_graphic() || char == ' ' {
            shown.push(char);
        } else {
            shown.extend(char.escape_default());
        }
    }
    if what.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    if shown == before {
        return error;
    }
    // serde_json takes line and column out of the message again.
    de::Error::custom(shown + &place)
}

/// Returns serde's message with what JSON has in place of the Rust type that was expected.
fn in_terms_of_json(message: &str) -> String {
    let Some((found, expected)) = message.rsplit_once(", expected ") else {
        return message.to_owned();
    };
    let expected = match expected {
        "u8" => "a whole number up to 255",
        "u16" => "a whole number up to 65535",
        "u32" => "a whole number up to 4294967295",
        "u64" | "usize" => "a whole number",
        name if name.starts_with("struct ") => "an object",
        other => other,
    };
    format!("{found}, expected {expected}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Outer {
        name: String,
        count: u32,
        inner: Inner,
        #[serde(skip_serializing_if = "Option::is_none")]
        maybe: Option<Inner>,
        #[serde(default)]
        list: Vec<Inner>,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Inner {
        on: bool,
    }

    const WHOLE: &str = r#"{"name": "n", "count": 3, "inner": {"on": true}, "maybe": {"on": false},
        "list": [{"on": true}, {"on": false}]}"#;

    fn replaced(from: &str, to: &str) -> String {
        assert!(WHOLE.contains(from), "{from}");
        WHOLE.replacen(from, to, 1)
    }

    fn failed(json: &str) -> Misplaced {
        read::<Outer>(json.as_bytes()).expect_err(json)
    }

    #[test]
    fn objects_are_read_as_serde_reads_them() {
        for json in [
            WHOLE.to_owned(),
            replaced(r#""maybe": {"on": false},"#, ""),
            replaced(r#"{"on": true}, {"on": false}"#, ""),
        ] {
            let found = read::<Outer>(json.as_bytes()).expect(&json);
            assert_eq!(found.value, serde_json::from_str(&json).expect(&json));
            assert!(found.unknown.is_empty(), "{found:?}");
        }
    }

    #[test]
    fn ignored_fields_are_named_by_their_paths() {
        let json = replaced("{\"name\"", "{\"new\": {\"a\": [null]}, \"name\"");
        let json = json.replacen(r#"{"on": false}]"#, r#"{"on": false, "\u001b[2J": 1}]"#, 1);
        let found = read::<Outer>(json.as_bytes()).expect(&json);
        assert_eq!(found.unknown, ["new", r"list[1].\u{1b}[2J"]);
    }

    #[test]
    fn an_array_is_not_an_object_at_any_depth() {
        // serde's derived code reads it.
        assert!(serde_json::from_str::<Inner>("[true]").is_ok());
        for (from, to, field) in [
            (r#"{"on": true}, "maybe""#, r#"[true], "maybe""#, "inner"),
            (r#""maybe": {"on": false}"#, r#""maybe": [false]"#, "maybe"),
            (r#"[{"on": true}, "#, r#"[[true], "#, "list[0]"),
        ] {
            let error = failed(&replaced(from, to));
            assert_eq!(error.field.as_deref(), Some(field));
            assert!(error.source.to_string().contains("sequence"), "{error:?}");
        }
        let error = read::<Inner>(b"[true]").expect_err("an array");
        assert_eq!(error.field, None);
    }

    #[test]
    fn the_field_that_is_wrong_is_named_by_its_path() {
        for (from, to, field) in [
            (r#""count": 3"#, r#""count": -3"#, Some("count")),
            (r#""count": 3"#, r#""count": 3.0"#, Some("count")),
            (r#"{"on": false}]"#, r#"{"on": 0}]"#, Some("list[1].on")),
            (r#"{"on": true}, "maybe""#, r#"{}, "maybe""#, Some("inner")),
            (r#""name": "n""#, r#""name": null"#, Some("name")),
            (r#""count": 3,"#, "", None),
            (r#""count": 3"#, r#""count": 3, "count": 3"#, None),
            ("}]}", "}]} {}", None),
            ("}]}", "}]", None),
        ] {
            let json = replaced(from, to);
            let error = failed(&json);
            assert_eq!(error.field.as_deref(), field, "{json}");
            let serdes = serde_json::from_str::<Outer>(&json).expect_err(&json);
            let expected = (serdes.to_string()).replace("u32", "a whole number up to 4294967295");
            assert_eq!(error.source.to_string(), expected);
        }
    }

    #[test]
    fn an_error_names_no_rust_type() {
        for (json, expected) in [
            (
                "3".to_owned(),
                "invalid type: integer `3`, expected an object at line 1 column 1",
            ),
            (
                replaced(r#"{"on": true}, "maybe""#, r#"3, "maybe""#),
                "invalid type: integer `3`, expected an object at line 1 column 36",
            ),
            (
                replaced("3", "\"3\""),
                "invalid type: string \"3\", expected a whole number up to 4294967295 at line 1 column 26",
            ),
            (
                replaced("3", "\", expected u32\""),
                "invalid type: string \", expected u32\", expected a whole number up to 4294967295 at line 1 column 39",
            ),
        ] {
            assert_eq!(failed(&json).source.to_string(), expected);
        }
    }

    #[test]
    fn an_error_cannot_draw_on_a_console() {
        let json = replaced("3", r#""\u001b[2J \u202e""#);
        let said = failed(&json).source.to_string();
        assert!(said.is_ascii(), "{said}");
        assert!(said.contains(r"\u{202e}"), "{said}");
        assert!(said.ends_with("at line 1 column 41"), "{said}");
    }

    #[test]
    fn a_long_error_is_cut() {
        let json = replaced("3", &format!("\"{}\"", "x".repeat(1000)));
        let error = failed(&json).source;
        let said = error.to_string();
        let (what, place) = said.split_once('…').expect(&said);
        assert_eq!(what.len(), 300);
        assert_eq!(place, " at line 1 column 1025");
        assert_eq!((error.line(), error.column()), (1, 1025));
    }
}
