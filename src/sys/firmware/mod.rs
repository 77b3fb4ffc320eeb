//! What a machine's firmware keeps and tells, read by whoever runs on the machine: the loader, and
//! `sealboot` on a running system.
//!
//! | module | holds |
//! |---|---|
//! | [`efi`] | EFI variables, over efivarfs |
//! | [`identity`] | which machine this is: serial number, UUID, asset tag, and the address of its link |

pub mod efi;
pub mod identity;
