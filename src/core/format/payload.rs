//! The payload of a signed statement: from its bytes to its type.
//!
//! All four kinds of statement are read by the same rules: bounded, inside the lexical [`profile`], and with every
//! `critical` feature known. A field that this version does not know is ignored: a later version may add information
//! or permission. A word that it does not know, where a list of words is closed, is an error of its own, as an
//! unknown critical feature is: the statement needs a newer version.

use serde::Deserialize;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Invalid;
use super::json::{self, Misplaced, Read};
use super::profile::{self, OutsideProfile};

/// A kind of signed statement.
pub trait Payload: Serialize + DeserializeOwned {
    /// The DSSE payload type. It is signed with the payload, so no kind passes for another.
    const TYPE: &'static str;
    /// The name of this kind in messages.
    const NAME: &'static str;
    /// Bytes of a payload, at most.
    const LIMIT: u64;

    /// Returns an error for fields that contradict each other; what one field alone must be, its type has checked.
    ///
    /// # Errors
    ///
    /// Names the first field that contradicts another.
    fn check(&self) -> Result<(), Invalid>;
}

/// The payload of a statement cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// It is longer than its kind may be.
    #[error("it has more than {limit} bytes")]
    TooLarge {
        /// Bytes that are read.
        limit: u64,
    },
    /// Two readers could see two statements in it.
    #[error("it is outside the JSON profile of signed statements")]
    Profile(#[source] OutsideProfile),
    /// It has a critical feature that this version does not know.
    #[error("it has the critical feature \"{word}\", which this version of sealboot does not know")]
    Critical {
        /// The feature's word.
        word: String,
    },
    /// A field has a word that this version does not know.
    #[error("field {path} has a word that this version of sealboot does not know")]
    Word {
        /// The field's path.
        path: String,
        /// serde's message.
        #[source]
        source: serde_json::Error,
    },
    /// A field is not what it should be.
    #[error("field {path} is not what it should be")]
    Field {
        /// The field's path, such as `files[1].size`.
        path: String,
        /// serde's message names line and column.
        #[source]
        source: serde_json::Error,
    },
    /// The object as a whole is not what it should be; serde's message names line and column.
    #[error("it is not the JSON that it should be")]
    Json(#[source] serde_json::Error),
    /// Two fields contradict each other.
    #[error("it contradicts itself: {0}")]
    Contradiction(Invalid),
}

impl PayloadError {
    /// Returns `true` if a newer version of sealboot may be able to use the payload.
    #[must_use]
    pub const fn needs_upgrade(&self) -> bool {
        matches!(self, Self::Critical { .. } | Self::Word { .. })
    }
}

/// The critical features that this version implements. The list is part of the formats: v1 has none.
const FEATURES: &[&str] = &[];

/// Reads the payload of a statement.
///
/// # Errors
///
/// [`PayloadError`], for the first rule that the bytes break.
pub fn parse<T: Payload>(json: &[u8]) -> Result<T, PayloadError> {
    parse_with_unknown(json).map(|read| read.value)
}

/// Reads the payload of a statement, and names the fields that this version ignores.
///
/// # Errors
///
/// As [`parse`].
pub fn parse_with_unknown<T: Payload>(json: &[u8]) -> Result<Read<T>, PayloadError> {
    check_size::<T>(json)?;
    profile::check(json).map_err(PayloadError::Profile)?;
    parse_plain(json)
}

/// Reads a statement that is not signed, and names the fields that this version ignores. It need not be inside the
/// profile: a person may have written it.
///
/// # Errors
///
/// As [`parse`].
pub fn parse_plain<T: Payload>(json: &[u8]) -> Result<Read<T>, PayloadError> {
    check_size::<T>(json)?;
    check_critical(json, FEATURES)?;
    let mut read: Read<T> = json::read(json)?;
    read.unknown.retain(|path| path != "critical");
    read.value.check().map_err(PayloadError::Contradiction)?;
    Ok(read)
}

/// Encodes a statement as the bytes to sign: compact JSON in the order of its fields.
#[must_use]
pub fn encode<T: Payload>(statement: &T) -> Vec<u8> {
    serde_json::to_vec(statement)
        .unwrap_or_else(|error| unreachable!("a {} has no map and no float: {error}", T::NAME))
}

/// Encodes a statement as indented JSON that ends in a line feed, for files that people read.
#[must_use]
pub fn encode_pretty<T: Payload>(statement: &T) -> Vec<u8> {
    let mut json = serde_json::to_vec_pretty(statement)
        .unwrap_or_else(|error| unreachable!("a {} has no map and no float: {error}", T::NAME));
    json.push(b'\n');
    json
}

fn check_size<T: Payload>(json: &[u8]) -> Result<(), PayloadError> {
    if u64::try_from(json.len()).is_ok_and(|len| len <= T::LIMIT) {
        return Ok(());
    }
    Err(PayloadError::TooLarge { limit: T::LIMIT })
}

/// Checks the words of `critical`, before any other field is judged.
fn check_critical(json: &[u8], features: &[&str]) -> Result<(), PayloadError> {
    #[derive(Serialize, Deserialize)]
    struct Head {
        critical: Option<Vec<String>>,
    }
    const TAKES: &str =
        "a list of 1 to 16 distinct words of a-z, 0-9 and -, of at most 32 characters";
    let Some(words) = json::read::<Head>(json)?.value.critical else {
        return Ok(());
    };
    let invalid = |found: &str| {
        let invalid = Invalid::new("critical", found, TAKES);
        Err(PayloadError::Contradiction(invalid))
    };
    if !(1..=16).contains(&words.len()) {
        return invalid(&words.len().to_string());
    }
    for (index, word) in words.iter().enumerate() {
        let byte = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let is_word = (1..=32).contains(&word.len()) && word.bytes().all(byte);
        if !is_word || words[..index].contains(word) {
            return invalid(word);
        }
    }
    match words
        .into_iter()
        .find(|word| !features.contains(&word.as_str()))
    {
        Some(word) => Err(PayloadError::Critical { word }),
        None => Ok(()),
    }
}

impl From<Misplaced> for PayloadError {
    fn from(error: Misplaced) -> Self {
        let is_word = error.is_unknown_word();
        let Misplaced { field, source } = error;
        match field {
            Some(path) if is_word => Self::Word { path, source },
            Some(path) => Self::Field { path, source },
            None => Self::Json(source),
        }
    }
}

/// Declares an enum of the words that a field of a format may have. The list is closed: any other word is an error by
/// which a reader knows that the statement needs a newer version.
macro_rules! words {
    ($(#[$attribute:meta])* $vis:vis enum $name:ident($field:literal) {
        $($(#[$of_variant:meta])* $variant:ident = $word:literal,)+
    }) => {
        $(#[$attribute])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        $vis enum $name {
            $($(#[$of_variant])* $variant,)+
        }

        impl $name {
            /// Every word of the list.
            #[allow(dead_code, reason = "not every list of words is listed")]
            $vis const ALL: &[Self] = &[$(Self::$variant),+];

            /// Returns the word.
            #[must_use]
            $vis const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::format::Invalid;

            fn from_str(word: &str) -> Result<Self, $crate::format::Invalid> {
                let found = Self::ALL.iter().find(|known| known.as_str() == word);
                found.copied().ok_or_else(|| {
                    $crate::format::Invalid::new($field, word, concat!("one of" $(, " ", $word)+))
                })
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let word = <String as serde::Deserialize>::deserialize(deserializer)?;
                word.parse().map_err($crate::format::json::unknown_word)
            }
        }
    };
}
pub(crate) use words;

#[cfg(test)]
mod tests {
    use super::*;

    words! {
        /// A closed list.
        enum Colour("colour") {
            /// Red.
            Red = "red",
            /// Dark blue.
            DarkBlue = "dark-blue",
        }
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Inner {
        size: u64,
        colour: Colour,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Sample {
        name: String,
        inner: Inner,
        #[serde(default)]
        list: Vec<Inner>,
    }

    impl Payload for Sample {
        const TYPE: &'static str = "application/x-sample";
        const NAME: &'static str = "sample";
        const LIMIT: u64 = 400;

        fn check(&self) -> Result<(), Invalid> {
            match self.inner.size {
                0 => Err(Invalid::new("inner.size", 0, "at least 1")),
                _ => Ok(()),
            }
        }
    }

    const JSON: &str = r#"{"name":"n","inner":{"size":1,"colour":"red"}}"#;

    fn error(json: &str) -> String {
        let error = parse::<Sample>(json.as_bytes()).expect_err(json);
        let causes = crate::failure::causes(std::error::Error::source(&error));
        format!("{error}: {}", causes.join(": "))
    }

    #[test]
    fn a_statement_reads_back_as_it_was_encoded() {
        let sample: Sample = parse(JSON.as_bytes()).unwrap();
        assert_eq!(sample.inner.colour, Colour::Red);
        for json in [encode(&sample), encode_pretty(&sample)] {
            assert_eq!(parse::<Sample>(&json).unwrap(), sample);
        }
    }

    #[test]
    fn order_and_white_space_are_free() {
        let spelled = r#"{ "inner": {"colour":"red", "size":1}, "name": "n" }"#;
        assert_eq!(
            parse::<Sample>(spelled.as_bytes()).unwrap(),
            parse::<Sample>(JSON.as_bytes()).unwrap()
        );
    }

    #[test]
    fn unknown_fields_are_ignored_and_named() {
        let json = r#"{"name":"n","new":[[1]],"inner":{"size":1,"colour":"red","deep":{"a":1}},
            "list":[{"size":1,"colour":"red"},{"size":2,"colour":"dark-blue","x":""}]}"#;
        let read = parse_with_unknown::<Sample>(json.as_bytes()).unwrap();
        assert_eq!(read.unknown, ["new", "inner.deep", "list[1].x"]);
        assert_eq!(read.value.list.len(), 2);
    }

    #[test]
    fn an_array_is_not_read_as_an_object() {
        for json in [
            r#"{"name":"n","inner":[1,"red"]}"#,
            r#"{"name":"n","inner":{"size":1,"colour":"red"},"list":[[1,"red"]]}"#,
        ] {
            assert!(
                matches!(
                    parse::<Sample>(json.as_bytes()),
                    Err(PayloadError::Field { .. })
                ),
                "{json}"
            );
        }
    }

    #[test]
    fn an_unknown_word_asks_for_an_upgrade() {
        let json = JSON.replace("red", "mauve");
        let found = parse::<Sample>(json.as_bytes()).unwrap_err();
        assert!(found.needs_upgrade(), "{found:?}");
        assert!(error(&json).contains("inner.colour"), "{}", error(&json));
        // A word where a number belongs is a mistake, whatever the version.
        let json = JSON.replace(":1,", ":\"one\",");
        assert!(
            !parse::<Sample>(json.as_bytes())
                .unwrap_err()
                .needs_upgrade()
        );
    }

    #[test]
    fn an_unknown_critical_word_is_found_before_anything_else() {
        let json = r#"{"critical":["sealed"],"name":1}"#;
        let found = parse::<Sample>(json.as_bytes()).unwrap_err();
        assert!(
            matches!(&found, PayloadError::Critical { word } if word == "sealed"),
            "{found:?}"
        );
        assert!(found.needs_upgrade());
    }

    #[test]
    fn known_critical_words_pass() {
        let check = |words: &str| {
            let json = format!("{{\"critical\":{words}}}");
            check_critical(json.as_bytes(), &["sealed", "other"])
        };
        check(r#"["sealed"]"#).unwrap();
        check(r#"["other","sealed"]"#).unwrap();
        for (words, upgrade) in [
            (r#"["sealed","new"]"#, true),
            (r#"["sealed","sealed"]"#, false),
            (r#"[]"#, false),
            (r#"[""]"#, false),
            (r#"["Sealed"]"#, false),
            (r#"["a_b"]"#, false),
            (r#"[1]"#, false),
            (r#""sealed""#, false),
            (r#"{}"#, false),
            (&format!("[\"{}\"]", "a".repeat(33)), false),
            (&format!("[\"{}\"]", "a".repeat(32)), true),
            (
                &format!(
                    "[{}]",
                    (0..17)
                        .map(|n| format!("\"w{n}\""))
                        .collect::<Vec<_>>()
                        .join(",")
                ),
                false,
            ),
            (
                &format!(
                    "[{}]",
                    (0..16)
                        .map(|n| format!("\"w{n}\""))
                        .collect::<Vec<_>>()
                        .join(",")
                ),
                true,
            ),
        ] {
            let found = check(words).expect_err(words);
            assert_eq!(found.needs_upgrade(), upgrade, "{words}: {found:?}");
        }
    }

    #[test]
    fn each_rule_has_its_error() {
        let large = JSON.replace("\"n\"", &format!("\"{}\"", "n".repeat(400)));
        for (json, expected) in [
            (large.as_str(), "more than 400 bytes"),
            (r#"{"name":"é"}"#, "profile"),
            (r#"{"name":"n","name":"n"}"#, "\"name\" appears twice"),
            ("{}", "missing field"),
            (
                r#"{"name":"n","inner":{"size":0,"colour":"red"}}"#,
                "inner.size: \"0\" is not at least 1",
            ),
            (
                r#"{"name":7,"inner":{"size":1,"colour":"red"}}"#,
                "field name",
            ),
        ] {
            assert!(error(json).contains(expected), "{json}: {}", error(json));
        }
    }
}
