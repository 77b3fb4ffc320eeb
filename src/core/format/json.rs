//! JSON in which an object is written as an object.
//!
//! What serde derives for a struct also reads an array of its fields in order: `["relay", 42]` would be
//! a second spelling of every object, which no other reader takes and in which a name no longer says
//! what stands beside it. [`from_slice`] refuses it, for every struct at every depth. Unknown and
//! repeated fields are for the types to refuse (`deny_unknown_fields`), and depth for serde_json, which
//! stops at 128.
//!
//! What serde says of a field or a word that it does not know repeats it, whatever its length and
//! whatever it would draw on a console; nobody may have signed it. The errors from here can be shown.
//!
//! An enum that is tagged by a field of its own asks serde for anything at all: its field names
//! [`object`] as well.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_path_to_error::Segment;

/// Reads one JSON value, and nothing after it.
///
/// # Errors
///
/// What is no JSON, or not of `T`'s shape; the message names line and column, and can be shown.
pub(crate) fn from_slice<'a, T: Deserialize<'a>>(json: &'a [u8]) -> serde_json::Result<T> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    T::deserialize(Strict(&mut deserializer))
        .and_then(|value| deserializer.end().map(|()| value))
        .map_err(fit_to_be_shown)
}

/// Why a value cannot be read, and which part of it.
#[derive(Debug)]
pub(crate) struct Misplaced {
    /// The part's path, such as `mirrors[1]`, fit to be shown; none where it is the whole, or no JSON.
    pub(crate) field: Option<String>,
    /// The message names line and column, and can be shown.
    pub(crate) source: serde_json::Error,
}

/// As [`from_slice`]; an error says in which field it is.
///
/// # Errors
///
/// [`Misplaced`].
pub(crate) fn from_slice_by_field<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, Misplaced> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let misplaced = |field: Option<String>, error| Misplaced {
        field: field.map(|field| super::shown(&field, 80)),
        source: fit_to_be_shown(error),
    };
    let value = serde_path_to_error::deserialize(Strict(&mut deserializer)).map_err(|error| {
        let path = error.path();
        let is_whole = path.iter().next().is_none();
        let is_known = !path
            .iter()
            .any(|segment| matches!(segment, Segment::Unknown));
        let field = (!is_whole && is_known).then(|| path.to_string());
        misplaced(field, error.into_inner())
    })?;
    let end = deserializer.end();
    end.map_err(|error| misplaced(None, error))?;
    Ok(value)
}

/// The same error, its message cut to what fits a few console lines and escaped.
fn fit_to_be_shown(error: serde_json::Error) -> serde_json::Error {
    // serde's longest of our formats lists the ten fields of a trust policy.
    const LONGEST: usize = 300;
    let place = format!(" at line {} column {}", error.line(), error.column());
    let message = error.to_string();
    let what = message.strip_suffix(&place).unwrap_or(&message);
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
    if shown == what {
        return error;
    }
    // serde_json takes line and column out of the message again.
    serde_json::Error::custom(shown + &place)
}

/// Reads a field that must be an object, whatever its type asks for: for `deserialize_with`.
pub(crate) fn object<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    struct Object<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Object<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<T, A::Error> {
            T::deserialize(MapAccessDeserializer::new(fields))
        }
    }

    deserializer.deserialize_map(Object(PhantomData))
}

/// Passes everything on, wrapping whatever it hands out, but asks for a map where a struct is wanted.
struct Strict<T>(T);

macro_rules! pass_on {
    ($($method:ident($($argument:ident: $type:ty),*))*) => {$(
        fn $method<V: Visitor<'de>>(self, $($argument: $type,)* visitor: V) -> Result<V::Value, D::Error> {
            self.0.$method($($argument,)* Strict(visitor))
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Strict<D> {
    type Error = D::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_map(Strict(visitor))
    }

    // The enums of our formats that are no objects are names alone, which hold no struct.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_enum(name, variants, visitor)
    }

    pass_on! {
        deserialize_bool() deserialize_i8() deserialize_i16() deserialize_i32() deserialize_i64()
        deserialize_i128() deserialize_u8() deserialize_u16() deserialize_u32() deserialize_u64()
        deserialize_u128() deserialize_f32() deserialize_f64() deserialize_char() deserialize_str()
        deserialize_string() deserialize_bytes() deserialize_byte_buf() deserialize_option()
        deserialize_unit() deserialize_seq() deserialize_map() deserialize_identifier()
        deserialize_ignored_any() deserialize_any()
        deserialize_unit_struct(name: &'static str)
        deserialize_newtype_struct(name: &'static str)
        deserialize_tuple(len: usize)
        deserialize_tuple_struct(name: &'static str, len: usize)
    }
}

macro_rules! visit_as_is {
    ($($method:ident($type:ty))*) => {$(
        fn $method<E: Error>(self, value: $type) -> Result<V::Value, E> {
            self.0.$method(value)
        }
    )*};
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Strict<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    visit_as_is! {
        visit_bool(bool) visit_i64(i64) visit_u64(u64) visit_f64(f64)
        visit_str(&str) visit_borrowed_str(&'de str) visit_string(String)
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.0.visit_unit()
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.0.visit_none()
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        self.0.visit_some(Strict(inner))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        self.0.visit_newtype_struct(Strict(inner))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<V::Value, A::Error> {
        self.0.visit_seq(Strict(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(Strict(fields))
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Strict<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        self.0.deserialize(Strict(deserializer))
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Strict<A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        self.0.next_element_seed(Strict(seed))
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Strict<A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        // A key is a string: no struct stands in it.
        self.0.next_key_seed(seed)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.0.next_value_seed(Strict(seed))
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::{from_slice, from_slice_by_field};

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        name: String,
        count: u64,
        inner: Inner,
        #[serde(default)]
        maybe: Option<Inner>,
        #[serde(default)]
        list: Vec<Inner>,
        #[serde(deserialize_with = "super::object")]
        tagged: Tagged,
        word: Word,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        on: bool,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
    enum Tagged {
        Plain { depth: i64 },
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Word {
        One,
    }

    const WHOLE: &str = r#"{"name": "n", "count": 3, "inner": {"on": true}, "maybe": {"on": false},
        "list": [{"on": true}, {"on": false}], "tagged": {"kind": "plain", "depth": -1}, "word": "one"}"#;

    #[test]
    fn objects_are_read_as_serde_reads_them() {
        let whole: Outer = from_slice(WHOLE.as_bytes()).expect("valid");
        assert_eq!(whole, serde_json::from_str(WHOLE).expect("valid"));
        for (from, to) in [
            (r#""maybe": {"on": false},"#, ""),
            (r#"{"on": false},"#, "null,"),
            (r#"{"on": true}, {"on": false}"#, ""),
        ] {
            let json = WHOLE.replacen(from, to, 1);
            let read: Outer = from_slice(json.as_bytes()).expect(&json);
            assert_eq!(read, serde_json::from_str(&json).expect(&json));
        }
    }

    #[test]
    fn an_array_is_no_object_at_any_depth() {
        // Such is what serde derives.
        assert!(serde_json::from_str::<Inner>("[true]").is_ok());
        for (from, to) in [
            (r#"{"on": true}, "maybe""#, r#"[true], "maybe""#),
            (r#""maybe": {"on": false}"#, r#""maybe": [false]"#),
            (r#"[{"on": true}, "#, r#"[[true], "#),
            (
                r#"{"kind": "plain", "depth": -1}"#,
                r#"["plain", {"depth": -1}]"#,
            ),
        ] {
            assert!(WHOLE.contains(from), "{from}");
            let json = WHOLE.replacen(from, to, 1);
            let error = from_slice::<Outer>(json.as_bytes()).expect_err(&json);
            assert!(error.to_string().contains("sequence"), "{error}");
            assert!(error.line() > 0, "{error}");
        }
        let error = from_slice::<Inner>(b"[true]").expect_err("an array");
        assert!(
            error.to_string().contains("expected struct Inner"),
            "{error}"
        );
    }

    #[test]
    fn an_error_can_be_shown_and_keeps_its_place() {
        let error = from_slice::<Inner>(b"{\n  \"\\u001b[2J\\u202e\": true}").expect_err("unknown");
        assert_eq!(
            error.to_string(),
            r"unknown field `\u{1b}[2J\u{202e}`, expected `on` at line 2 column 19"
        );
        assert_eq!((error.line(), error.column()), (2, 19));

        let flood = format!("{{\"{}\": true}}", "a".repeat(10_000));
        let error = from_slice::<Inner>(flood.as_bytes()).expect_err("unknown");
        let said = error.to_string();
        let (what, place) = said.split_once('…').expect(&said);
        assert_eq!(what, format!("unknown field `{}", "a".repeat(285)));
        assert_eq!(place, " at line 1 column 10003");
        assert_eq!(error.column(), 10_003);
    }

    #[test]
    fn the_rest_is_refused_as_serde_refuses_it() {
        for (from, to) in [
            (r#""count": 3"#, r#""count": 3.0"#),
            (r#""count": 3"#, r#""count": -3"#),
            (r#""count": 3"#, r#""count": 3, "count": 3"#),
            (r#""count": 3"#, r#""count": 3, "more": 3"#),
            (r#""count": 3,"#, ""),
            (r#""name": "n""#, r#""name": null"#),
            (r#""one""#, r#""two""#),
            ("-1", "true"),
            (r#""one"}"#, r#""one"} {}"#),
        ] {
            assert!(WHOLE.contains(from), "{from}");
            let json = WHOLE.replacen(from, to, 1);
            let error = from_slice::<Outer>(json.as_bytes()).expect_err(&json);
            let serdes = serde_json::from_str::<Outer>(&json).expect_err(&json);
            assert_eq!(error.to_string(), serdes.to_string());
        }
    }

    #[test]
    fn an_array_for_a_tagged_object_is_told_what_it_should_be() {
        let json = WHOLE.replacen(r#"{"kind": "plain", "depth": -1}"#, "[]", 1);
        let error = from_slice::<Outer>(json.as_bytes()).expect_err(&json);
        let said = error.to_string();
        assert!(
            said.starts_with("invalid type: sequence, expected an object at line 2"),
            "{said}"
        );
    }

    #[test]
    fn an_error_is_shown_whole_up_to_300_characters_and_cut_after() {
        const AROUND: usize = "unknown field ``, expected `on`".len();
        let unknown = |name: &str| {
            let json = format!("\n {{\"{name}\": true}}");
            let error = from_slice::<Inner>(json.as_bytes()).expect_err(&json);
            let serdes = serde_json::from_str::<Inner>(&json).expect_err(&json);
            assert_eq!(
                (error.line(), error.column()),
                (serdes.line(), serdes.column())
            );
            (error.to_string(), serdes.to_string())
        };
        let (said, serdes) = unknown(&"x".repeat(300 - AROUND));
        assert_eq!(said, serdes);
        let (said, serdes) = unknown(&"x".repeat(301 - AROUND));
        let whole = serdes.replacen("`on`", "`on…", 1);
        assert_eq!(said.replacen('…', "", 1), whole.replacen('…', "", 1));
        assert!(said.contains("`on… at line 2 column "), "{said}");
        let (said, _) = unknown(&"x".repeat(1_000));
        assert!(
            said.contains(&format!("field `{}… at line 2", "x".repeat(285))),
            "{said}"
        );
    }

    #[test]
    fn an_error_cannot_draw_on_a_console() {
        let json = "{\"it's \u{1b}[2J \u{202e}é\": true}".replace('\u{1b}', r"\u001b");
        let error = from_slice::<Inner>(json.as_bytes()).expect_err(&json);
        assert_eq!(
            error.to_string(),
            r"unknown field `it's \u{1b}[2J \u{202e}\u{e9}`, expected `on` at line 1 column 23"
        );
    }

    #[test]
    fn the_field_that_is_wrong_is_named_by_its_path() {
        for (from, to, field) in [
            (r#""count": 3"#, r#""count": -3"#, Some("count")),
            (r#"{"on": false}]"#, r#"{"on": 0}]"#, Some("list[1].on")),
            (r#"[{"on": true}, "#, r#"[[true], "#, Some("list[0]")),
            (r#""on": true"#, r#""off": true"#, Some("inner.off")),
            (r#""depth": -1"#, r#""depth": true"#, Some("tagged")),
            (r#""count": 3,"#, "", None),
            (r#""one"}"#, r#""one"} {}"#, None),
            (r#""one"}"#, r#""one""#, None),
        ] {
            assert!(WHOLE.contains(from), "{from}");
            let json = WHOLE.replacen(from, to, 1);
            let error = from_slice_by_field::<Outer>(json.as_bytes()).expect_err(&json);
            assert_eq!(error.field.as_deref(), field, "{json}");
            let plain = from_slice::<Outer>(json.as_bytes()).expect_err(&json);
            assert_eq!(error.source.to_string(), plain.to_string());
        }
        let whole: Outer = from_slice_by_field(WHOLE.as_bytes()).expect("valid");
        assert_eq!(whole, from_slice(WHOLE.as_bytes()).expect("valid"));
    }

    #[test]
    fn a_path_of_strange_names_can_be_shown() {
        let json = format!("{{\"\\u001b[2J\\u202e{}\": true}}", "x".repeat(1_000));
        let error = from_slice_by_field::<Inner>(json.as_bytes()).expect_err("unknown");
        let field = error.field.expect("a field");
        assert!(field.starts_with(r"\u{1b}[2J\u{202e}xxx"), "{field}");
        assert!(field.len() < 200, "{field}");
    }
}
