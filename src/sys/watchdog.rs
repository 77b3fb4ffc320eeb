//! The kernel's interface to hardware watchdogs (Documentation/watchdog/watchdog-api.rst).
//!
//! A watchdog resets the machine where nobody has fed it for its timeout. Opening the device arms it; closing it
//! without the magic character leaves it armed, and so does the death of the process.
#![expect(
    unsafe_code,
    reason = "the ioctls of watchdogs have no safe wrapper in nix"
)]

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::time::Duration;

/// `WDIOF_CARDRESET`: the last reset of the machine was the watchdog's.
const CARD_RESET: u32 = 0x20;

/// `struct watchdog_info` of linux/watchdog.h.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Info {
    options: u32,
    firmware_version: u32,
    identity: [u8; 32],
}

mod ioctl {
    // linux/watchdog.h: 'W', 0 to 7; int or the structure above.
    nix::ioctl_read!(support, b'W', 0, super::Info);
    nix::ioctl_read!(boot_status, b'W', 2, i32);
    nix::ioctl_read!(keep_alive, b'W', 5, i32);
    nix::ioctl_readwrite!(set_timeout, b'W', 6, i32);
}

/// A watchdog that is armed for as long as this lives, and after it unless it is disarmed.
#[derive(Debug)]
pub struct Watchdog {
    device: File,
}

impl Watchdog {
    /// Arms the watchdog behind this device.
    ///
    /// # Errors
    ///
    /// The kernel's: `ENOENT` where there is none, `EBUSY` where somebody has it open.
    pub fn open(device: &Path) -> io::Result<Self> {
        let device = OpenOptions::new().write(true).open(device)?;
        Ok(Self { device })
    }

    /// What the driver calls it.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn identity(&self) -> io::Result<String> {
        let mut info = Info {
            options: 0,
            firmware_version: 0,
            identity: [0; 32],
        };
        // SAFETY: the descriptor is open, and `info` is a watchdog_info that the kernel may write for as long as the
        // call lasts.
        unsafe { ioctl::support(self.device.as_raw_fd(), &raw mut info) }?;
        let name = info.identity.split(|byte| *byte == 0).next();
        Ok(String::from_utf8_lossy(name.unwrap_or_default()).into_owned())
    }

    /// Asks for this timeout, in whole seconds, and gives the one that the hardware took.
    ///
    /// # Errors
    ///
    /// The kernel's: `EINVAL` where it is out of range, `EOPNOTSUPP` where it is fixed.
    pub fn set_timeout(&self, timeout: Duration) -> io::Result<Duration> {
        let mut seconds = i32::try_from(timeout.as_secs()).unwrap_or(i32::MAX);
        // SAFETY: the descriptor is open, and `seconds` is an int that the kernel may read and write for as long as
        // the call lasts.
        unsafe { ioctl::set_timeout(self.device.as_raw_fd(), &raw mut seconds) }?;
        Ok(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
    }

    /// Whether the reset before this boot was the watchdog's doing, as far as the hardware knows.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn has_reset_the_machine(&self) -> io::Result<bool> {
        let mut status: i32 = 0;
        // SAFETY: the descriptor is open, and `status` is an int that the kernel may write for as long as the call
        // lasts.
        unsafe { ioctl::boot_status(self.device.as_raw_fd(), &raw mut status) }?;
        Ok(status.cast_unsigned() & CARD_RESET != 0)
    }

    /// Feeds it: it waits for its timeout anew.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn feed(&self) -> io::Result<()> {
        let mut unused: i32 = 0;
        // SAFETY: the descriptor is open, and the kernel does not touch the int that this call is declared with.
        unsafe { ioctl::keep_alive(self.device.as_raw_fd(), &raw mut unused) }?;
        Ok(())
    }

    /// Disarms it, where the hardware and the kernel let it be.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn disarm(mut self) -> io::Result<()> {
        // The magic character, after which closing disarms ("Magic Close").
        self.device.write_all(b"V")
    }
}
