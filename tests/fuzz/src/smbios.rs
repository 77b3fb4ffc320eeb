//! The firmware's SMBIOS table, and the host config that may stand in it.
//!
//! | property | because |
//! |---|---|
//! | structures before the others change nothing | firmware has dozens, in any order |
//! | a host config beside the one that is there makes two, and both are refused | nobody knows which was meant |
//! | what is found is no longer than the table | nothing is made up |
//! | a refusal can be printed | the strings are somebody else's |

use sealboot_core::format::smbios::{SmbiosError, host_config};
use sealboot_init::boot::stages::configure::FindError;

use super::{Verdict, spoken};

/// A type 1 with a formatted area and a string, and a type 32 without strings.
const OTHERS: &[u8] = b"\x01\x06\x01\x00\x01\x00QEMU\0\0\x20\x04\x02\x00\0\0";

/// A type 11 with a host config.
const ANOTHER: &[u8] = b"\x0b\x05\x03\x00\x01sealboot.host-config:{}\0\0";

/// The bytes are a table.
pub fn run(bytes: &[u8]) -> Verdict {
    let found = host_config(bytes);
    assert_eq!(host_config(&[OTHERS, bytes].concat()), found);
    let with_another = host_config(&[ANOTHER, bytes].concat());
    match found {
        Ok(Some(config)) => {
            assert!(config.len() < bytes.len());
            assert_eq!(with_another, Err(SmbiosError::Several(2)));
            Verdict::Taken
        }
        Ok(None) => {
            assert_eq!(with_another, Ok(Some(b"{}".to_vec())));
            Verdict::Taken
        }
        Err(error) => {
            assert!(with_another.is_err());
            spoken::is_safe_to_print(&FindError::Smbios(error));
            Verdict::Refused
        }
    }
}
