//! Where a store can be read by one machine: a mirror's URL in which the machine's identity may stand.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use url::Url;

use super::mirror::MirrorUrl;
use crate::format::Invalid;

/// What a machine is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KnownBy {
    /// Its serial number, as the vendor gave it.
    Serial,
    /// Its UUID, in lower case.
    Uuid,
    /// The address of the link that was taken, as `aa-bb-cc-dd-ee-ff`.
    Mac,
    /// The number that its owner has given it.
    AssetTag,
}

impl KnownBy {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Serial, Self::Uuid, Self::Mac, Self::AssetTag];

    /// As it stands in a URL, without the dollar.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Serial => "serial",
            Self::Uuid => "uuid",
            Self::Mac => "mac",
            Self::AssetTag => "asset_tag",
        }
    }
}

impl fmt::Display for KnownBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Serial => "serial number",
            Self::Uuid => "UUID",
            Self::Mac => "link address",
            Self::AssetTag => "asset tag",
        })
    }
}

/// The root of a store, as a URL in whose path `$serial`, `$uuid`, `$mac` and `$asset_tag` may stand, or `${serial}` where a
/// letter, digit or `_` follows; `$$` is a dollar. Nothing can be fetched from it: [`Self::of`] makes the URL of one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MirrorTemplate {
    text: String,
    /// Of every machine's URL: scheme, host and port.
    origin: Url,
}

/// A part of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece<'a> {
    Literal(&'a str),
    Name(KnownBy),
}

impl MirrorTemplate {
    /// Scheme, host and port, which are the same for every machine, and the path `/`.
    #[must_use]
    pub const fn origin(&self) -> &Url {
        &self.origin
    }

    /// Whether bytes from this mirror come over TLS.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.origin.scheme() == "https"
    }

    /// What it asks of a machine, in the order of the path.
    pub fn names(&self) -> impl Iterator<Item = KnownBy> {
        names(pieces(&self.text).unwrap_or_default())
    }

    /// The URL for the machine that is known by what `value` gives. Whatever it is, it stays within the path: all but the
    /// unreserved characters of RFC 3986 are encoded.
    ///
    /// # Errors
    ///
    /// Where the URL would be longer than a mirror's may be.
    pub fn of(&self, value: impl Fn(KnownBy) -> String) -> Result<MirrorUrl, Invalid> {
        url(&pieces(&self.text).unwrap_or_default(), value)
    }
}

impl FromStr for MirrorTemplate {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = |takes| Invalid::new("mirror", text, takes);
        let bounded = |text: String| match text.len() {
            ..=1024 => Ok(text),
            _ => Err(invalid("a URL of at most 1024 bytes")),
        };
        bounded(text.to_owned())?;
        let pieces = pieces(text).ok_or_else(|| {
            invalid(
                "a URL in which each dollar begins $serial, $uuid, $mac or $asset_tag, or is doubled",
            )
        })?;
        // What a name stands for is but letters.
        let sample = url(&pieces, |_| "x".to_owned())?;
        let other = url(&pieces, |_| "yz".to_owned());
        let origin = origin(&sample);
        let stays_in_the_path = other.is_ok_and(|other| self::origin(&other) == origin);
        if text[..path(text)].contains('$') || !stays_in_the_path {
            return Err(invalid(
                "a URL whose host and port are the same for every machine: $serial, $uuid, $mac and $asset_tag stand in its path",
            ));
        }
        if names(pieces.clone()).next().is_none() {
            // As it is written from here on.
            let text = bounded(sample.to_string().replace('$', "$$"))?;
            return Ok(Self { text, origin });
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(invalid("a URL in ASCII, without spaces"));
        }
        if splits_an_escape(&pieces) {
            return Err(invalid("a URL in which each percent sign has two digits"));
        }
        let slash = if text.ends_with('/') { "" } else { "/" };
        let text = bounded(format!("{text}{slash}"))?;
        Ok(Self { text, origin })
    }
}

/// Literals and names in their order; none where a dollar begins something else.
fn pieces(text: &str) -> Option<Vec<Piece<'_>>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        pieces.push(Piece::Literal(&rest[..dollar]));
        let after = &rest[dollar + 1..];
        let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        if let Some(doubled) = after.strip_prefix('$') {
            pieces.push(Piece::Literal("$"));
            rest = doubled;
            continue;
        }
        let (word, len) = if let Some(braced) = after.strip_prefix('{') {
            let end = braced.find('}')?;
            (&braced[..end], end + 2)
        } else {
            let end = after.bytes().take_while(is_word).count();
            (&after[..end], end)
        };
        let name = KnownBy::ALL.into_iter().find(|name| name.word() == word)?;
        pieces.push(Piece::Name(name));
        rest = &after[len..];
    }
    pieces.push(Piece::Literal(rest));
    Some(pieces)
}

fn names(pieces: Vec<Piece<'_>>) -> impl Iterator<Item = KnownBy> {
    pieces.into_iter().filter_map(|piece| match piece {
        Piece::Literal(_) => None,
        Piece::Name(name) => Some(name),
    })
}

fn url(pieces: &[Piece<'_>], value: impl Fn(KnownBy) -> String) -> Result<MirrorUrl, Invalid> {
    let mut url = String::new();
    for piece in pieces {
        match piece {
            Piece::Literal(text) => url.push_str(text),
            Piece::Name(name) => encode(&value(*name), &mut url),
        }
    }
    url.parse()
}

fn encode(value: &str, url: &mut String) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            url.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(url, "%{byte:02X}");
        }
    }
}

fn origin(mirror: &MirrorUrl) -> Url {
    let mut origin = mirror.url().clone();
    origin.set_path("/");
    origin
}

/// Where the path of a URL begins.
fn path(text: &str) -> usize {
    let authority = text.find("://").map_or(text.len(), |colon| colon + 3);
    let after = &text[authority..];
    authority + after.find(['/', '\\', '?', '#']).unwrap_or(after.len())
}

/// Whether a value would become part of a percent-encoded character.
fn splits_an_escape(pieces: &[Piece<'_>]) -> bool {
    pieces.windows(2).any(|pair| match pair {
        [Piece::Literal(text), Piece::Name(_)] => {
            let bytes = text.as_bytes();
            bytes.ends_with(b"%") || bytes.iter().nth_back(1) == Some(&b'%')
        }
        _ => false,
    })
}

impl From<MirrorUrl> for MirrorTemplate {
    /// The one that is the same for every machine.
    fn from(mirror: MirrorUrl) -> Self {
        Self {
            text: mirror.to_string().replace('$', "$$"),
            origin: origin(&mirror),
        }
    }
}

impl fmt::Display for MirrorTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for MirrorTemplate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MirrorTemplate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn template(text: &str) -> MirrorTemplate {
        text.parse().expect(text)
    }

    fn of(text: &str, value: &str) -> String {
        let mirror = template(text).of(|name| format!("{value}{}", name.word()));
        mirror.expect(text).to_string()
    }

    #[test]
    fn a_name_outside_the_path_is_refused() {
        for bad in [
            "https://$serial.boot.example/",
            "https://$serial/",
            "https:///$serial/",
            "https:\\\\$serial/",
            "https:/\\/$serial/x/",
            "https:$serial/",
            "$serial://boot.example/",
            "https://boot.example:$serial/",
            "https://${mac}@boot.example/",
            "https://boot.$$example/",
            "https://boot.example/?$serial",
            "https://boot.example/#$serial",
        ] {
            let error = bad.parse::<MirrorTemplate>().expect_err(bad);
            assert_eq!(error.field, "mirror", "{bad}");
        }
    }

    #[test]
    fn a_dollar_that_begins_nothing_known_is_refused() {
        for bad in [
            "$",
            "$/",
            "a$",
            "$hostname",
            "$serials",
            "$Serial",
            "${serial",
            "${}",
            "${ serial}",
            "$serial$",
            "$$$",
            "$_",
            "${asset-tag}",
            "%$serial",
            "%2$serial",
            "é$serial",
            "a b$serial",
            "$serial\u{1b}[2J",
        ] {
            let text = format!("https://boot.example/{bad}");
            assert!(text.parse::<MirrorTemplate>().is_err(), "{text}");
        }
    }

    #[test]
    fn names_are_replaced_and_a_doubled_dollar_is_one() {
        for (path, url) in [
            ("", ""),
            ("$serial", "1serial/"),
            ("$serial/", "1serial/"),
            ("a/$serial/b-$mac/", "a/1serial/b-1mac/"),
            ("$serial$uuid", "1serial1uuid/"),
            ("${serial}s/${asset_tag}_", "1serials/1asset_tag_/"),
            ("$asset_tag", "1asset_tag/"),
            ("$$serial", "$serial/"),
            ("$$$serial", "$1serial/"),
            ("%20$serial", "%201serial/"),
        ] {
            let text = format!("https://boot.example:8443/{path}");
            assert_eq!(of(&text, "1"), format!("https://boot.example:8443/{url}"));
        }
    }

    #[test]
    fn a_value_stays_within_its_part_of_the_path() {
        for (value, encoded) in [
            ("../", "..%2F"),
            ("a/b", "a%2Fb"),
            ("?q#f", "%3Fq%23f"),
            ("@host:1\\", "%40host%3A1%5C"),
            ("%2e", "%252e"),
            (" é\n", "%20%C3%A9%0A"),
            ("A-z_0.~", "A-z_0.~"),
            ("$mac", "%24mac"),
        ] {
            let url = of("https://boot.example/$serial/", value);
            assert_eq!(url, format!("https://boot.example/{encoded}serial/"));
        }
    }

    #[test]
    fn a_url_that_grows_too_long_is_refused() {
        let text = template("https://boot.example/$serial/");
        let value = |len: usize| text.of(|_| "x".repeat(len));
        let room = 1024 - "https://boot.example//".len();
        assert!(value(room).is_ok());
        assert!(value(room + 1).is_err());
        for path in [
            "$$".repeat(502),
            format!("$$$$$$$${}", "é".repeat(166)),
            format!("${{mac}}{}", "x".repeat(997)),
        ] {
            let long = format!("https://boot.example/{path}");
            assert!(
                long.len() <= 1026 && long.parse::<MirrorTemplate>().is_err(),
                "{long}"
            );
        }
    }

    #[test]
    fn a_template_is_written_as_it_was_read() {
        for (text, written) in [
            ("https://boot.example", "https://boot.example/"),
            ("HTTPS://Boot.example:443/é", "https://boot.example/%C3%A9/"),
            ("https://boot.example/$$a", "https://boot.example/$$a/"),
            (
                "https://boot.example/$serial",
                "https://boot.example/$serial/",
            ),
            (
                "https://boot.example/${mac}/a/",
                "https://boot.example/${mac}/a/",
            ),
        ] {
            let read = template(text);
            assert_eq!(read.to_string(), written);
            assert_eq!(template(written), read);
            let json = serde_json::to_string(&read).expect("a string");
            assert_eq!(
                serde_json::from_str::<MirrorTemplate>(&json).expect("valid"),
                read
            );
        }
        let plain: MirrorUrl = "https://boot.example/$a".parse().expect("valid");
        let read = MirrorTemplate::from(plain.clone());
        assert_eq!(read.to_string(), "https://boot.example/$$a/");
        assert_eq!(read.of(|_| String::new()), Ok(plain));
    }

    #[test]
    fn what_a_template_asks_for_is_known_before_it_is_given() {
        let names = |text: &str| template(text).names().collect::<Vec<_>>();
        assert_eq!(names("https://boot.example/$$serial"), []);
        assert_eq!(
            names("https://boot.example/$mac/${serial}"),
            [KnownBy::Mac, KnownBy::Serial]
        );
    }

    proptest! {
        #[test]
        fn no_value_leads_to_another_host(path in "[a-z$/{}.]{0,20}", value in "\\PC{1,20}") {
            prop_assume!(value.chars().any(|character| character != '.'));
            let text = format!("https://boot.example/{path}$serial/");
            if let Ok(template) = text.parse::<MirrorTemplate>() {
                let mirror = template.of(|_| value.clone()).expect("short");
                prop_assert_eq!(&origin(&mirror), template.origin());
                prop_assert!(mirror.url().query().is_none() && mirror.url().fragment().is_none());
            }
        }
    }
}
