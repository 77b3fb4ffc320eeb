//! Where a store can be read.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use url::Url;

use crate::format::Invalid;

/// The root of a store, as a URL that ends in `/`, without credentials, query or fragment, of at most 1024 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MirrorUrl(Url);

impl MirrorUrl {
    /// The URL of a file in the store; `path` is relative, as the formats have it.
    #[must_use]
    pub fn file(&self, path: &str) -> Url {
        let mut url = self.0.clone();
        url.set_path(&format!("{}{path}", self.0.path()));
        url
    }

    /// The root itself.
    #[must_use]
    pub const fn url(&self) -> &Url {
        &self.0
    }

    /// Whether bytes from this mirror come over TLS.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }
}

impl FromStr for MirrorUrl {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = || {
            Invalid::new(
                "mirror",
                text,
                "an https://HOST/ or http://HOST/ URL without user, query or fragment",
            )
        };
        if text.len() > 1024 {
            return Err(invalid());
        }
        let mut url: Url = text.parse().map_err(|_| invalid())?;
        let plain = matches!(url.scheme(), "https" | "http")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        if !plain {
            return Err(invalid());
        }
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        // As it is written from here on: what is not ASCII has become longer.
        if url.as_str().len() > 1024 {
            return Err(invalid());
        }
        Ok(Self(url))
    }
}

impl fmt::Display for MirrorUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for MirrorUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MirrorUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_is_a_root_to_which_paths_are_joined() {
        for (text, root) in [
            ("https://boot.example", "https://boot.example/"),
            ("https://boot.example/", "https://boot.example/"),
            (
                "https://boot.example:8443/a/b",
                "https://boot.example:8443/a/b/",
            ),
            ("http://[2001:db8::1]/a/", "http://[2001:db8::1]/a/"),
        ] {
            let mirror: MirrorUrl = text.parse().expect(text);
            assert_eq!(mirror.to_string(), root);
            assert_eq!(mirror.url().as_str(), root);
            assert_eq!(
                mirror.file("images/relay.json").as_str(),
                format!("{root}images/relay.json")
            );
        }
    }

    #[test]
    fn only_https_comes_over_tls() {
        let is_https = |text: &str| text.parse::<MirrorUrl>().expect(text).is_https();
        assert!(is_https("https://boot.example/"));
        assert!(is_https("HTTPS://boot.example/"));
        assert!(!is_https("http://https/"));
    }

    #[test]
    fn what_is_no_root_of_a_store_is_no_mirror() {
        for bad in [
            "",
            "boot.example",
            "//boot.example/",
            "https://",
            "file:///srv/store/",
            "ftp://boot.example/",
            "data:,x",
            "https://user@boot.example/",
            "https://:secret@boot.example/",
            "https://boot.example/?",
            "https://boot.example/?a=b",
            "https://boot.example/#",
            "https://boot.example:65536/",
        ] {
            let error = bad.parse::<MirrorUrl>().expect_err(bad);
            assert_eq!(error.field, "mirror");
        }
    }

    #[test]
    fn a_mirror_is_written_as_a_string_and_read_by_its_rule() {
        let json = r#""https://boot.example/""#;
        let mirror: MirrorUrl = serde_json::from_str(json).expect("valid");
        assert_eq!(serde_json::to_string(&mirror).expect("a string"), json);
        assert!(serde_json::from_str::<MirrorUrl>(r#""ftp://boot.example/""#).is_err());
    }

    fn with_path(path: &str) -> Result<MirrorUrl, Invalid> {
        format!("https://boot.example/{path}").parse()
    }

    // Found by fuzzing `host_config`: the bound was that of the text, and the URL written of it was not read again.
    #[test]
    fn a_mirror_that_outgrows_its_bound_by_being_encoded_is_refused() {
        let room = 1024 - "https://boot.example//".len();
        assert!(with_path(&"x".repeat(room)).is_ok());
        assert!(with_path(&"x".repeat(room + 1)).is_err());
        assert!(with_path(&"é".repeat(room / 6)).is_ok());
        assert!(with_path(&"é".repeat(room / 6 + 1)).is_err());
    }

    #[test]
    fn a_mirror_is_read_as_it_is_written() {
        for path in ["", "a b/", "%2e%2e/é", "x\\y", "../z"] {
            let mirror = with_path(path).unwrap();
            assert_eq!(mirror.to_string().parse(), Ok(mirror));
        }
    }

    #[test]
    fn a_mirror_is_bounded_as_it_is_given_too() {
        let room = 1024 - "https://boot.example//".len();
        assert!(with_path(&format!("{}/", "x".repeat(room))).is_ok());
        // It would be short once it is read.
        assert!(with_path(&"./".repeat(501)).is_ok());
        assert!(with_path(&"./".repeat(502)).is_err());
    }
}
