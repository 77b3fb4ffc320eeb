//! Initramfs.
