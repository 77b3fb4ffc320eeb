//! The patterns of `modules.alias`, as fnmatch(3) reads them: `*`, `?` and `[…]`.

/// What a device's `modalias` must look like for a module to serve it, with `_` for every `-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pattern(String);

impl Pattern {
    /// Every text is a pattern. Within brackets a `-` stays, for there it makes a range.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let mut in_class = false;
        let canonical = text.chars().map(|character| {
            in_class = match character {
                '[' => true,
                ']' => false,
                _ => in_class,
            };
            if character == '-' && !in_class {
                '_'
            } else {
                character
            }
        });
        Self(canonical.collect())
    }

    /// The pattern as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it matches all of `alias`, which has `_` for every `-` too.
    ///
    /// Takes as many steps as both are long, multiplied, whatever they hold.
    #[must_use]
    pub(super) fn matches(&self, alias: &str) -> bool {
        let (pattern, alias) = (self.0.as_bytes(), alias.as_bytes());
        let (mut at, mut read) = (0, 0);
        // Behind the last `*`, and how much of the alias goes to it: one more at each return.
        let mut star = None;
        loop {
            let step = match (&pattern[at..], alias.get(read)) {
                ([b'*', ..], _) => {
                    at += 1;
                    star = Some((at, read));
                    continue;
                }
                ([], None) => return true,
                (rest, Some(byte)) => one(rest, *byte),
                (_, None) => None,
            };
            match (step, star) {
                (Some(length), _) => {
                    at += length;
                    read += 1;
                }
                (None, Some((after, taken))) if taken < alias.len() => {
                    star = Some((after, taken + 1));
                    (at, read) = (after, taken + 1);
                }
                (None, _) => return false,
            }
        }
    }
}

/// How long the first part of the pattern is, if it matches the byte.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [b'?', ..] => Some(1),
        [b'[', rest @ ..] => match class(rest) {
            Some((members, negated, length)) => {
                (holds(members, byte) != negated).then_some(length + 1)
            }
            // A bracket that nothing closes is a bracket.
            None => (byte == b'[').then_some(1),
        },
        [literal, ..] => (byte == *literal).then_some(1),
        [] => None,
    }
}

/// What stands in brackets, whether it is negated, and how long it is with the bracket that closes it.
fn class(rest: &[u8]) -> Option<(&[u8], bool, usize)> {
    let negated = matches!(rest, [b'!' | b'^', ..]);
    let members = &rest[usize::from(negated)..];
    // A bracket that closes nothing yet is a member.
    let length = members.iter().skip(1).position(|byte| *byte == b']')? + 1;
    Some((
        &members[..length],
        negated,
        usize::from(negated) + length + 1,
    ))
}

fn holds(members: &[u8], byte: u8) -> bool {
    let mut rest = members;
    loop {
        rest = match rest {
            [] => return false,
            [from, b'-', to, after @ ..] => {
                if (*from..=*to).contains(&byte) {
                    return true;
                }
                after
            }
            [member, after @ ..] => {
                if *member == byte {
                    return true;
                }
                after
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_as_fnmatch_has_it() {
        for (pattern, alias, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("*c", "abd", false),
            ("a*b*c", "axbxbxc", true),
            ("a*b*c", "acb", false),
            ("**", "a", true),
            ("?", "", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("[abc]x", "bx", true),
            ("[abc]x", "dx", false),
            ("[a-c]", "b", true),
            ("[a-c]", "-", false),
            ("[c-]", "-", true),
            ("[!a]", "b", true),
            ("[^a]", "a", false),
            ("[]a]", "]", true),
            ("[!]a]", "]", false),
            ("[a", "[a", true),
            ("[a", "a", false),
            ("*[0-9]v*", "x7v8", true),
            ("abc", "ab", false),
            ("ab", "abc", false),
        ] {
            let found = Pattern::new(pattern).matches(alias);
            assert_eq!(found, expected, "{pattern} {alias}");
        }
    }

    #[test]
    fn the_kernels_own_patterns_match_its_devices() {
        for (pattern, alias) in [
            (
                "pci:v00008086d000010D3sv*sd*bc*sc*i*",
                "pci:v00008086d000010D3sv00008086sd00000000bc02sc00i00",
            ),
            ("virtio:d00000001v*", "virtio:d00000001v00001AF4"),
            ("acpi*:VMBUS:*", "acpi:VMBUS:"),
            ("acpi*:VMBUS:*", "acpi:ACPI0004:VMBUS:"),
            (
                "usb:v0BDAp8153d*dc*dsc*dp*ic02isc06ip00in*",
                "usb:v0BDAp8153d3000dc00dsc00dp00ic02isc06ip00in00",
            ),
            (
                "usb:v05A9p[A-E]511d*dc*dsc*dp*ic*isc*ip*in*",
                "usb:v05A9pA511d0110dc00dsc00dp00icFFisc00ip00in00",
            ),
        ] {
            assert!(Pattern::new(pattern).matches(alias), "{pattern}");
        }
        assert!(
            !Pattern::new("pci:v00008086d000010D3sv*sd*bc*sc*i*")
                .matches("pci:v00008086d000010D4sv00008086sd00000000bc02sc00i00")
        );
    }

    #[test]
    fn many_stars_take_no_longer_than_both_are_long() {
        // 2^200 steps, were every star to try all that the ones before it have tried.
        let pattern = Pattern::new(&"*a".repeat(200));
        assert!(!pattern.matches(&format!("{}b", "a".repeat(4000))));
    }

    /// fnmatch by its definition: either the star takes a byte, or it is over.
    fn model(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern, text) {
            ([], []) => true,
            ([b'*', rest @ ..], _) => {
                model(rest, text) || !text.is_empty() && model(pattern, &text[1..])
            }
            ([b'?', rest @ ..], [_, after @ ..]) => model(rest, after),
            ([literal, rest @ ..], [byte, after @ ..]) => literal == byte && model(rest, after),
            _ => false,
        }
    }

    proptest::proptest! {
        #[test]
        fn stars_and_question_marks_match_as_the_model_says(pattern in "[ab*?]{0,8}", text in "[ab]{0,10}") {
            let expected = model(pattern.as_bytes(), text.as_bytes());
            proptest::prop_assert_eq!(Pattern::new(&pattern).matches(&text), expected);
        }

        #[test]
        fn any_pattern_and_any_text_are_survived(pattern: String, text: String) {
            let _ = Pattern::new(&pattern).matches(&text);
        }
    }
}
