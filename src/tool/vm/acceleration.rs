//! Whether this host can run guests at its own speed.

use std::fmt;
use std::fs::{self, OpenOptions};

/// How QEMU runs the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acceleration {
    /// By the processor itself.
    Kvm,
    /// By translating them: every host can, at a tenth of the speed.
    Tcg,
}

impl Acceleration {
    /// KVM where it truly works, else TCG.
    ///
    /// `/dev/kvm` alone proves nothing: a container can have the node of a host whose processor has
    /// no virtualisation, or may not open it. Both must hold, a processor with VMX or SVM and a
    /// device that opens for reading and writing.
    #[must_use]
    pub fn detect() -> Self {
        let virtualises = fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| virtualises(&text));
        let opens = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/kvm")
            .is_ok();
        if virtualises && opens {
            Self::Kvm
        } else {
            Self::Tcg
        }
    }

    /// QEMU's options for it.
    pub(super) const fn options(self) -> [&'static str; 4] {
        match self {
            Self::Kvm => ["-accel", "kvm", "-cpu", "host"],
            // `max`, because today's kernels and libraries expect more than `qemu64` has.
            Self::Tcg => ["-accel", "tcg,thread=multi", "-cpu", "max"],
        }
    }
}

impl fmt::Display for Acceleration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kvm => "KVM",
            Self::Tcg => "TCG",
        })
    }
}

/// Does `/proc/cpuinfo` name a processor with hardware virtualisation?
fn virtualises(cpuinfo: &str) -> bool {
    cpuinfo
        .lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(field, _)| field.trim() == "flags")
        .any(|(_, flags)| {
            flags
                .split_whitespace()
                .any(|flag| matches!(flag, "vmx" | "svm"))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_processor_flag_counts_as_virtualisation() {
        assert!(virtualises("processor\t: 0\nflags\t\t: fpu vmx sse\n"));
        assert!(virtualises("flags : svm\n"));
        for none in [
            "",
            "flags\t\t: fpu sse hypervisor\n",
            "model name\t: a vmx svm processor\n",
            "vmx flags\t: vnmi ept\n",
            "flags\t\t: vmx_like svmless\n",
        ] {
            assert!(!virtualises(none), "{none:?}");
        }
    }
}
