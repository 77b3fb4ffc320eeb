//! The host config among the OEM strings of SMBIOS (DMTF DSP0134, type 11), which hypervisors and vendors' tools set.
//!
//! A table is a row of structures: a type, the length of the formatted area, a handle, the rest of that area, and
//! strings that end in a NUL each, with one more after the last. It is read as the kernel reads it
//! (`dmi_decode_table`): up to the end mark, or up to the first structure that does not fit. Firmware is often sloppy, and
//! a machine that has its host config elsewhere must boot all the same; so a table that is cut is an error only where a
//! host config is meant to be in it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::shown;

/// What an OEM string that is of this loader begins with.
pub const PREFIX: &str = "sealboot.host-config";

/// The types of structures: OEM strings, and the end of the table.
const OEM_STRINGS: u8 = 11;
const END: u8 = 127;

/// Type, length and handle.
const HEADER: usize = 4;

/// The OEM strings hold no host config that could be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SmbiosError {
    /// More than one string: which is meant?
    #[error("{0} SMBIOS OEM strings hold a host config")]
    Several(usize),
    /// It begins as one and goes on differently.
    #[error("the SMBIOS OEM string \"{0}\" is neither {PREFIX}:JSON nor {PREFIX}.base64:TEXT")]
    Kind(String),
    /// The text is not base64.
    #[error("the SMBIOS OEM string {PREFIX}.base64 is not base64")]
    Base64(#[source] base64::DecodeError),
    /// The table ends in the midst of a structure.
    #[error("the SMBIOS table breaks off, and \"{PREFIX}\" stands in what cannot be read")]
    Cut,
}

impl SmbiosError {
    /// What to do about it.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Several(_) => "leave one of them, in the hypervisor's or the firmware's settings",
            Self::Kind(_) => {
                "write the string as sealboot.host-config:{…} or as sealboot.host-config.base64:…, in the hypervisor's or the firmware's settings"
            }
            Self::Base64(_) => {
                "make the text with `base64 -w0 host.json`, and see whether the hypervisor or the firmware cuts long strings"
            }
            Self::Cut => {
                "see whether the hypervisor or the firmware cuts long strings; a host config may stand in an EFI variable or in the initramfs as well"
            }
        }
    }
}

/// The host config in a table's OEM strings, as it stands there and decoded; none where no string is one.
///
/// # Errors
///
/// [`SmbiosError`].
pub fn host_config(table: &[u8]) -> Result<Option<Vec<u8>>, SmbiosError> {
    let (strings, rest) = oem_strings(table);
    if contains(rest, PREFIX.as_bytes()) {
        return Err(SmbiosError::Cut);
    }
    let mut ours = Vec::new();
    for string in strings {
        ours.extend(string.strip_prefix(PREFIX.as_bytes()));
    }
    let only = match ours[..] {
        [] => return Ok(None),
        [only] => only,
        _ => return Err(SmbiosError::Several(ours.len())),
    };
    if let Some(json) = only.strip_prefix(b":") {
        return Ok(Some(json.to_vec()));
    }
    let Some(text) = only.strip_prefix(b".base64:") else {
        let begins = String::from_utf8_lossy(only);
        return Err(SmbiosError::Kind(shown(&format!("{PREFIX}{begins}"), 60)));
    };
    let decoded = STANDARD.decode(text).map_err(SmbiosError::Base64)?;
    Ok(Some(decoded))
}

/// The OEM strings, in order, and what follows the last structure that is whole; nothing where the table is.
fn oem_strings(table: &[u8]) -> (Vec<&[u8]>, &[u8]) {
    let mut strings = Vec::new();
    let mut rest = table;
    while let Some((kind, set, after)) = structure(rest) {
        match kind {
            END => return (strings, &[]),
            OEM_STRINGS => strings.extend(set.split(|byte| *byte == 0)),
            _ => {}
        }
        rest = after;
    }
    (strings, rest)
}

/// The first structure's type, its strings without the two NULs at their end, and what follows.
fn structure(table: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (kind, len) = (*table.first()?, usize::from(*table.get(1)?));
    if len < HEADER {
        return None;
    }
    let strings = table.get(len..)?;
    let end = strings.windows(2).position(|pair| pair == [0, 0])?;
    Some((kind, &strings[..end], &strings[end + 2..]))
}

fn contains(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// A structure with a formatted area of `area` bytes after the header.
    fn of(kind: u8, area: &[u8], strings: &[&[u8]]) -> Vec<u8> {
        let len = u8::try_from(HEADER + area.len()).unwrap();
        let mut bytes = vec![kind, len, 0, kind];
        bytes.extend(area);
        for string in strings {
            bytes.extend_from_slice(string);
            bytes.push(0);
        }
        if strings.is_empty() {
            bytes.push(0);
        }
        bytes.push(0);
        bytes
    }

    fn oem(strings: &[&str]) -> Vec<u8> {
        let count = u8::try_from(strings.len()).unwrap();
        let strings: Vec<&[u8]> = strings.iter().map(|string| string.as_bytes()).collect();
        of(OEM_STRINGS, &[count], &strings)
    }

    /// As a machine has it: other structures around.
    fn table(between: &[Vec<u8>]) -> Vec<u8> {
        let mut table = of(0, &[1, 2, 0, 0xe8, 3], &[b"SeaBIOS", b"1.16"]);
        table.extend(of(32, &[0; 7], &[]));
        table.extend(between.concat());
        table.extend(of(END, &[], &[]));
        table
    }

    #[test]
    fn a_table_without_a_string_of_ours_has_no_host_config() {
        for between in [
            vec![],
            vec![oem(&[])],
            vec![oem(&["Dell System", "5[0000]"])],
            vec![of(1, &[1], &[b"sealboot.host-config:{}"])],
            vec![oem(&["x sealboot.host-config:{}"])],
        ] {
            assert_eq!(host_config(&table(&between)), Ok(None), "{between:?}");
        }
        assert_eq!(host_config(b""), Ok(None));
    }

    #[test]
    fn a_string_of_ours_is_found_in_either_form_wherever_it_stands() {
        for between in [
            vec![oem(&["sealboot.host-config:{\"a\": 1}"])],
            vec![oem(&["other", "sealboot.host-config:{\"a\": 1}", "more"])],
            vec![
                oem(&["other"]),
                oem(&["sealboot.host-config.base64:eyJhIjogMX0="]),
            ],
        ] {
            let found = host_config(&table(&between)).unwrap().unwrap();
            assert_eq!(found, b"{\"a\": 1}", "{between:?}");
        }
        let empty = host_config(&table(&[oem(&["sealboot.host-config:"])]));
        assert_eq!(empty, Ok(Some(Vec::new())));
    }

    #[test]
    fn two_strings_of_ours_are_refused_even_if_they_are_equal() {
        let json = "sealboot.host-config:{}";
        let base64 = "sealboot.host-config.base64:e30=";
        for between in [
            vec![oem(&[json, json])],
            vec![oem(&[json]), oem(&[base64])],
            vec![oem(&[base64, "other", "sealboot.host-config"])],
        ] {
            assert_eq!(
                host_config(&table(&between)),
                Err(SmbiosError::Several(2)),
                "{between:?}"
            );
        }
    }

    #[test]
    fn a_string_that_is_nearly_ours_is_refused_not_ignored() {
        for text in [
            "sealboot.host-config",
            "sealboot.host-config={}",
            "sealboot.host-config.json:{}",
            "sealboot.host-config.base64",
            "sealboot.host-config\u{1b}[2J",
        ] {
            let error = host_config(&table(&[oem(&[text])])).unwrap_err();
            assert!(matches!(&error, SmbiosError::Kind(_)), "{text}: {error}");
            assert!(!error.to_string().contains('\u{1b}'), "{error:?}");
        }
        for text in ["e30", "e3 0=", "{}", "e30=\n"] {
            let string = format!("sealboot.host-config.base64:{text}");
            let error = host_config(&table(&[oem(&[&string])])).unwrap_err();
            assert!(matches!(&error, SmbiosError::Base64(_)), "{text}: {error}");
        }
    }

    #[test]
    fn a_table_that_breaks_off_is_refused_only_where_a_host_config_is_meant_to_be_in_it() {
        let whole = table(&[
            oem(&["sealboot.host-config:{}"]),
            of(1, &[0; 20], &[b"QEMU"]),
        ]);
        let begins = whole
            .windows(8)
            .position(|window| window == b"sealboot")
            .unwrap();
        let found = begins + "sealboot.host-config:{}".len() + 2;
        for len in 0..whole.len() {
            let result = host_config(&whole[..len]);
            match len {
                _ if len < begins + PREFIX.len() => assert_eq!(result, Ok(None), "{len}"),
                _ if len < found => assert_eq!(result, Err(SmbiosError::Cut), "{len}"),
                _ => assert_eq!(result, Ok(Some(b"{}".to_vec())), "{len}"),
            }
        }
        // A length that no header has: everything behind it is out of reach.
        let mut broken = table(&[oem(&["sealboot.host-config:{}"])]);
        broken[1] = 3;
        assert_eq!(host_config(&broken), Err(SmbiosError::Cut));
    }

    #[test]
    fn what_stands_behind_the_end_mark_is_not_read() {
        let mut table = table(&[]);
        table.extend(oem(&["sealboot.host-config:{}"]));
        assert_eq!(host_config(&table), Ok(None));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in vec(any::<u8>(), 0..400)) {
            let _ = host_config(&bytes);
        }

        #[test]
        fn any_strings_around_it_leave_it_as_it_is(
            before in vec("[ -~]{1,20}", 0..4),
            json in "[ -~]{0,60}",
            after in vec("[ -~]{1,20}", 0..4),
            area in vec(any::<u8>(), 0..200),
        ) {
            prop_assume!(before.iter().chain(&after).all(|string| !string.starts_with(PREFIX)));
            let ours = format!("{PREFIX}:{json}");
            let mut strings: Vec<&str> = before.iter().map(String::as_str).collect();
            strings.push(&ours);
            strings.extend(after.iter().map(String::as_str));
            let table = table(&[of(17, &area, &[b"DIMM 0"]), oem(&strings), of(221, &area, &[])]);
            prop_assert_eq!(host_config(&table), Ok(Some(json.clone().into_bytes())));
            let encoded = format!("{PREFIX}.base64:{}", STANDARD.encode(&json));
            let table = self::table(&[oem(&[&encoded])]);
            prop_assert_eq!(host_config(&table), Ok(Some(json.into_bytes())));
        }
    }
}
