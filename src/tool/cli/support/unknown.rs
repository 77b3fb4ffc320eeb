//! Fields that this version of a format does not have.

use serde_json::Value;

use super::near::nearest;

/// Every name of a field that a format has, at any depth.
pub(in crate::cli) struct Fields(pub(in crate::cli) &'static [&'static str]);

impl Fields {
    /// Returns what the first of some unknown fields may have been meant for.
    pub(in crate::cli) fn did_you_mean(&self, unknown: &[String]) -> Option<String> {
        unknown.iter().find_map(|path| {
            let name = path.rsplit('.').next().unwrap_or(path);
            let near = nearest(name, self.0.iter().copied())?;
            Some(format!("did you mean {near} in place of {name}?"))
        })
    }

    /// Returns what a misspelt name of a field in `json` may have been meant for, where the JSON is not of this format.
    pub(in crate::cli) fn misspelt(&self, json: &[u8]) -> Option<String> {
        let value: Value = serde_json::from_slice(json).ok()?;
        let mut names = names(&value);
        names.retain(|name| !self.0.contains(&name.as_str()));
        self.did_you_mean(&names)
    }

    /// Asserts that these are the fields of `whole` and no others.
    #[cfg(test)]
    pub(in crate::cli) fn assert_those_of(&self, whole: &Value) {
        let mut found = names(whole);
        found.push("critical".to_owned());
        for name in &found {
            assert!(self.0.contains(&name.as_str()), "{name}");
        }
        for name in self.0 {
            assert!(found.iter().any(|found| found == name), "{name}");
        }
    }
}

/// Writes the paths of unknown fields as `the field roles.rot`.
pub(in crate::cli) fn listed(unknown: &[String]) -> String {
    match unknown {
        [one] => format!("the field {one}"),
        several => format!("the fields {}", several.join(", ")),
    }
}

/// The names of fields at any depth.
fn names(value: &Value) -> Vec<String> {
    match value {
        Value::Object(fields) => {
            let inner = fields.values().flat_map(names);
            fields.keys().cloned().chain(inner).collect()
        }
        Value::Array(values) => values.iter().flat_map(names).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: Fields = Fields(&["roles", "root", "threshold"]);

    #[test]
    fn a_misspelt_field_is_explained() {
        let paths = |path: &str| vec!["zzzzzz".to_owned(), path.to_owned()];
        for (path, expected) in [
            (
                "roles.root[0].treshold",
                Some("did you mean threshold in place of treshold?"),
            ),
            ("on_failure.reboot_after", None),
        ] {
            assert_eq!(FIELDS.did_you_mean(&paths(path)).as_deref(), expected);
        }
        assert_eq!(listed(&paths("a")), "the fields zzzzzz, a");
    }

    #[test]
    fn a_misspelt_field_that_is_required_is_explained() {
        let json = br#"{"roles": {"root": [{"treshold": 1}]}}"#;
        let expected = Some("did you mean threshold in place of treshold?");
        assert_eq!(FIELDS.misspelt(json).as_deref(), expected);
        let json = br#"{"roles": {"root": [{"threshold": 1}]}}"#;
        assert_eq!(FIELDS.misspelt(json), None);
        assert_eq!(FIELDS.misspelt(b"{"), None);
    }
}
