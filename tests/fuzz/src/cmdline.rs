//! The kernel command line: the one that the loader reads of itself, and the one that an image brings.
//!
//! | property | because |
//! |---|---|
//! | every name and value, written in quotes, is read as itself again | settings must not run into each other |
//! | the last of several settings counts, and a name finds its values however it is hyphenated | as in the kernel |
//! | what an image's kernel gets is one printable line that the kernel does not cut | it is signed, and shown before |

use std::collections::BTreeMap;

use sealboot_core::format::cmdline::{Cmdline, Parameters};
use sealboot_core::format::limits::LIMITS;

use super::Verdict;

/// The bytes are a command line.
pub fn run(bytes: &[u8]) -> Verdict {
    let Ok(line) = std::str::from_utf8(bytes) else {
        return Verdict::Refused;
    };
    let parameters = Parameters::parse(line);
    agrees_with_itself(&parameters);
    assert_eq!(
        Parameters::parse(&in_quotes(&parameters)).all_in_order(),
        parameters.all_in_order()
    );
    match line.parse::<Cmdline>() {
        Ok(cmdline) => {
            assert_eq!(cmdline.as_str(), line);
            assert_eq!(cmdline.to_string(), line);
            assert!(line.len() <= LIMITS.cmdline_bytes);
            assert!(
                line.chars()
                    .all(|character| (' '..='~').contains(&character))
            );
            Verdict::Taken
        }
        Err(invalid) => {
            assert!(!invalid.to_string().contains(char::is_control));
            Verdict::Refused
        }
    }
}

/// A parameter, and its value.
type Setting = (String, String);

trait AllInOrder {
    fn all_in_order(&self) -> Vec<Setting>;
}

impl AllInOrder for Parameters {
    /// The settings one by one, by the functions that the loader has.
    fn all_in_order(&self) -> Vec<Setting> {
        let mut values = BTreeMap::new();
        self.names_with("")
            .map(|name| {
                let values = values.entry(name).or_insert_with(|| self.all(name));
                let value = values.next().expect("a name that stands there has a value");
                (name.to_owned(), value.to_owned())
            })
            .collect()
    }
}

fn agrees_with_itself(parameters: &Parameters) {
    for (name, value) in parameters.all_in_order() {
        assert!(!name.contains(['"', '-', '=']), "{name:?}");
        assert!(!value.contains('"'), "{value:?}");
        assert_eq!(parameters.last(&name), parameters.all(&name).last());
        assert_eq!(
            parameters.last(&name.replace('_', "-")),
            parameters.last(&name)
        );
    }
}

fn in_quotes(parameters: &Parameters) -> String {
    let quoted = |(name, value): Setting| format!("\"{name}={value}\"");
    let settings: Vec<String> = parameters.all_in_order().into_iter().map(quoted).collect();
    settings.join(" ")
}
