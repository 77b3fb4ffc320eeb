//! The loader's machine-readable lines, found again on a console.

/// What the loader said about a stage: `sealboot: stage=image status=ok ms=1834 bytes=178257920 …`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageLine {
    fields: Vec<(String, String)>,
}

impl StageLine {
    const START: &str = "sealboot: stage=";

    /// Finds a stage line in a line of a console, where the kernel may have written before it.
    #[must_use]
    pub fn find(line: &str) -> Option<Self> {
        let start = line.find(Self::START)?;
        let mut rest = line[start..].trim_start_matches("sealboot: ");
        let mut fields = Vec::new();
        while let Some((name, value, after)) = next_field(rest) {
            fields.push((name.to_owned(), value.to_owned()));
            rest = after;
        }
        let line = Self { fields };
        (!line.stage().is_empty() && !line.status().is_empty()).then_some(line)
    }

    /// The stage's name.
    #[must_use]
    pub fn stage(&self) -> &str {
        self.field("stage").unwrap_or_default()
    }

    /// `ok` or `failed`, or a word between them.
    #[must_use]
    pub fn status(&self) -> &str {
        self.field("status").unwrap_or_default()
    }

    /// The failure code of a stage that failed.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.field("code")
    }

    /// How long the stage took.
    #[must_use]
    pub fn milliseconds(&self) -> Option<u64> {
        self.field("ms")?.parse().ok()
    }

    /// What else was said, as `name=value` in the order of the line.
    pub fn details(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .filter(|(name, _)| !matches!(*name, "stage" | "status" | "ms"))
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.as_str())
    }
}

/// The first `name=value` or `name="quoted value"`, and what follows it. What the loader has escaped
/// within quotes stays so.
fn next_field(text: &str) -> Option<(&str, &str, &str)> {
    let (name, value) = text.trim_start().split_once('=')?;
    if name.contains(char::is_whitespace) {
        return None;
    }
    let Some(quoted) = value.strip_prefix('"') else {
        let end = value.find(char::is_whitespace).unwrap_or(value.len());
        let (value, after) = value.split_at(end);
        return Some((name, value, after));
    };
    let mut escaped = false;
    let end = quoted.find(|character| {
        let ends = character == '"' && !escaped;
        escaped = character == '\\' && !escaped;
        ends
    })?;
    Some((name, &quoted[..end], &quoted[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_line_is_found_behind_what_the_kernel_wrote() {
        let line =
            "[    4.2] foo: sealboot: stage=image status=ok ms=1834 bytes=12 url=https://a/b?c=d\r";
        let found = StageLine::find(line).unwrap();
        assert_eq!(found.stage(), "image");
        assert_eq!(found.status(), "ok");
        assert_eq!(found.milliseconds(), Some(1834));
        assert_eq!(found.code(), None);
        assert_eq!(
            found.details().collect::<Vec<_>>(),
            [("bytes", "12"), ("url", "https://a/b?c=d")]
        );
    }

    #[test]
    fn a_refusal_has_its_code() {
        let found = StageLine::find("sealboot: stage=manifest status=failed code=MANIFEST-EXPIRED")
            .unwrap();
        assert_eq!(
            (found.status(), found.code()),
            ("failed", Some("MANIFEST-EXPIRED"))
        );
    }

    #[test]
    fn a_quoted_value_adds_no_field() {
        let line = r#"sealboot: stage=image status=failed note="a \"b\" status=ok \\" code=IMAGE-CHUNK ms=1"#;
        let found = StageLine::find(line).unwrap();
        assert_eq!(found.status(), "failed");
        assert_eq!(found.code(), Some("IMAGE-CHUNK"));
        assert_eq!(
            found.details().next(),
            Some(("note", r#"a \"b\" status=ok \\"#))
        );
    }

    #[test]
    fn other_lines_are_no_stage_lines() {
        for other in [
            "",
            "sealboot: fetching the image",
            "sealboot: stage=",
            "sealboot: stage= status=ok",
            "sealboot: stage=image",
            "stage=image status=ok",
        ] {
            assert_eq!(StageLine::find(other), None, "{other:?}");
        }
    }
}
