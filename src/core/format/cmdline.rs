//! The kernel command line: the one that an image carries, and the one that the loader was booted with.
//!
//! [`Cmdline`] is what an image's kernel gets, one line that a kernel accepts. [`Parameters`] reads
//! the loader's own `/proc/cmdline` by the kernel's rules (`lib/cmdline.c`, `next_arg`): parameters
//! are separated by white space, double quotes protect it, `-` and `_` in a name are the same, and
//! what follows a lone `--` belongs to init.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::Invalid;
use super::limits::LIMITS;

/// The command line for an image's kernel: at most 2,047 printable ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cmdline(String);

impl Cmdline {
    /// The line as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Cmdline {
    type Err = Invalid;

    fn from_str(line: &str) -> Result<Self, Invalid> {
        let printable = line
            .bytes()
            .all(|byte| byte == b' ' || byte.is_ascii_graphic());
        if line.len() <= LIMITS.cmdline_bytes && printable {
            Ok(Self(line.to_owned()))
        } else {
            Err(Invalid::new(
                "cmdline",
                line,
                "one line of at most 2047 printable ASCII characters",
            ))
        }
    }
}

impl fmt::Display for Cmdline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Cmdline {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Cmdline {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

/// The parameters of a kernel command line, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Parameters(Vec<(String, Option<String>)>);

impl Parameters {
    /// Splits a command line; every string has a reading, as it has for the kernel.
    #[must_use]
    pub fn parse(line: &str) -> Self {
        let mut parameters = Vec::new();
        let mut rest = line.trim_matches(is_space);
        while !rest.is_empty() {
            let (argument, after) = next_argument(rest);
            if argument == "--" {
                break;
            }
            let (name, value) = match argument.split_once('=') {
                Some((name, value)) => (name, Some(unquote(value))),
                None => (argument, None),
            };
            parameters.push((canonical(&unquote(name)), value));
            rest = after.trim_start_matches(is_space);
        }
        Self(parameters)
    }

    /// The values of every `name=value`, in order; a bare `name` has the value "".
    pub fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        let name = canonical(name);
        self.0
            .iter()
            .filter(move |(found, _)| *found == name)
            .map(|(_, value)| value.as_deref().unwrap_or_default())
    }

    /// The value of the last `name=value`: later settings override earlier ones, as in the kernel.
    #[must_use]
    pub fn last(&self, name: &str) -> Option<&str> {
        self.all(name).last()
    }

    /// The parameters whose names start with `prefix`, by what follows it, in order; a bare name has no value.
    pub fn below<'a>(
        &'a self,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a str, Option<&'a str>)> {
        self.0
            .iter()
            .filter_map(move |(name, value)| Some((name.strip_prefix(prefix)?, value.as_deref())))
    }

    /// The names that start with `prefix`, in order.
    pub fn names_with<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .map(|(name, _)| name.as_str())
            .filter(move |name| name.starts_with(prefix))
    }
}

/// White space by the kernel's `isspace`.
fn is_space(character: char) -> bool {
    matches!(
        character,
        ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c' | '\u{a0}'
    )
}

/// The first argument of `line`, and what follows it. Quotes hide white space up to the next quote.
fn next_argument(line: &str) -> (&str, &str) {
    let mut quoted = false;
    let end = line
        .char_indices()
        .find(|(_, character)| {
            quoted ^= *character == '"';
            !quoted && is_space(*character)
        })
        .map_or(line.len(), |(at, _)| at);
    line.split_at(end)
}

fn unquote(text: &str) -> String {
    text.replace('"', "")
}

/// The kernel takes `-` and `_` in a parameter's name for the same character.
fn canonical(name: &str) -> String {
    name.replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_a_kernel_would_cut_or_split_is_refused() {
        let longest = "x".repeat(2047);
        assert!(longest.parse::<Cmdline>().is_ok());
        for bad in [
            format!("{longest}x"),
            "a\nb".into(),
            "a\tb".into(),
            "a\0".into(),
            "é".into(),
        ] {
            assert!(bad.parse::<Cmdline>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn parameters_are_split_as_the_kernel_splits_them() {
        let parameters = Parameters::parse(
            " quiet ip=dhcp\ta-b=1 name=\"two words\" \"whole=a b\" ip=10.0.0.2 empty= -- ip=none\n",
        );
        assert_eq!(parameters.last("ip"), Some("10.0.0.2"));
        assert_eq!(
            parameters.all("ip").collect::<Vec<_>>(),
            ["dhcp", "10.0.0.2"]
        );
        assert_eq!(parameters.last("quiet"), Some(""));
        assert_eq!(parameters.last("empty"), Some(""));
        assert_eq!(parameters.last("a_b"), Some("1"));
        assert_eq!(parameters.last("a-b"), Some("1"));
        assert_eq!(parameters.last("name"), Some("two words"));
        assert_eq!(parameters.last("whole"), Some("a b"));
        assert_eq!(parameters.last("absent"), None);
    }

    #[test]
    fn an_open_quote_runs_to_the_end() {
        assert_eq!(Parameters::parse("a=\"b c d").last("a"), Some("b c d"));
        assert_eq!(Parameters::parse("").last("a"), None);
    }

    proptest::proptest! {
        #[test]
        fn any_text_has_a_reading(line in "\\PC*") {
            let _ = Parameters::parse(&line);
        }
    }

    #[test]
    fn a_line_is_kept_as_it_is() {
        for text in ["", " ", "root=/dev/ram0  quiet \"a b\" ~!"] {
            let line: Cmdline = text.parse().expect("valid");
            assert_eq!(line.as_str(), text);
            assert_eq!(line.to_string(), text);
            let json = serde_json::to_string(&line).expect("a string");
            assert_eq!(json, serde_json::to_string(text).expect("a string"));
            assert_eq!(serde_json::from_str::<Cmdline>(&json).expect("valid"), line);
        }
        assert!(serde_json::from_str::<Cmdline>(r#""a\nb""#).is_err());
    }

    #[test]
    fn every_kind_of_white_space_separates() {
        for space in [' ', '\t', '\n', '\r', '\x0b', '\x0c', '\u{a0}'] {
            let parameters = Parameters::parse(&format!("{space}a=1{space}{space}b=2{space}"));
            assert_eq!(parameters.last("a"), Some("1"), "{space:?}");
            assert_eq!(parameters.last("b"), Some("2"), "{space:?}");
        }
        // To the kernel, white space of other alphabets is part of a word.
        assert_eq!(
            Parameters::parse("a=1\u{2003}b").last("a"),
            Some("1\u{2003}b")
        );
    }

    #[test]
    fn what_belongs_to_init_is_no_parameter() {
        let parameters = Parameters::parse("a=1 --b=2 -- a=3 sealboot.image=evil");
        assert_eq!(parameters.last("a"), Some("1"));
        assert_eq!(parameters.last("__b"), Some("2"));
        assert_eq!(parameters.last("sealboot.image"), None);
    }

    #[test]
    fn names_are_found_by_their_start_in_order() {
        let parameters =
            Parameters::parse("sealboot.mirror=a sealboot.log quiet xsealboot.image=b");
        let names: Vec<_> = parameters.names_with("sealboot.").collect();
        assert_eq!(names, ["sealboot.mirror", "sealboot.log"]);
    }
}
