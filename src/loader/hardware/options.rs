//! What the kernel command line says about modules: `NAME.PARAMETER=VALUE`, and lists of those that are not
//! wanted, `modprobe.blacklist=` and `module_blacklist=`.

use std::collections::BTreeSet;
use std::ffi::CString;

use sealboot_core::format::cmdline::Parameters;
use sealboot_core::format::kmod::Name;

/// What a module is given before what the command line says, which comes later and wins. By itself `bonding` makes a
/// `bond0` as it is loaded, of a mode that nobody has asked for, which then stands where the bond of the host config
/// is to be.
const BEFORE: [(&str, &str); 1] = [("bonding", "max_bonds=0")];

/// The command line, as far as modules go.
#[derive(Debug, Default)]
pub(super) struct Options {
    parameters: Parameters,
    blacklist: BTreeSet<Name>,
}

impl Options {
    pub(super) fn new(parameters: &Parameters) -> Self {
        // modprobe's own, which takes effect where a device asks; and the kernel's, which would refuse the
        // module with EPERM.
        let lists = ["modprobe.blacklist", "module_blacklist"];
        let blacklist = lists
            .into_iter()
            .flat_map(|list| parameters.all(list))
            .flat_map(|names| names.split(','))
            .filter(|name| !name.is_empty())
            .map(Name::new)
            .collect();
        Self {
            parameters: parameters.clone(),
            blacklist,
        }
    }

    pub(super) fn is_blacklisted(&self, name: &Name) -> bool {
        self.blacklist.contains(name)
    }

    /// Whether the module is given this parameter.
    pub(super) fn gives(&self, name: &Name, parameter: &str) -> bool {
        self.parameters
            .last(&format!("{name}.{parameter}"))
            .is_some()
    }

    /// The options of a module, in their order, as finit_module(2) takes them: it splits them at white space
    /// that is not quoted, and takes `-` and `_` in their names for the same.
    pub(super) fn of(&self, name: &Name) -> CString {
        let prefix = format!("{name}.");
        let before = BEFORE
            .iter()
            .filter(|(module, _)| *name == Name::new(module));
        let mut options: Vec<String> = before.map(|(_, option)| (*option).to_owned()).collect();
        for (parameter, value) in self.parameters.below(&prefix) {
            let splits = |text: &str| text.contains(|c: char| c.is_whitespace() || c == '\0');
            if parameter.is_empty() || splits(parameter) {
                continue;
            }
            options.push(match value {
                None => parameter.to_owned(),
                Some(value) if splits(value) => format!("{parameter}=\"{value}\""),
                Some(value) => format!("{parameter}={value}"),
            });
        }
        // /proc/cmdline is a C string.
        CString::new(options.join(" ")).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(line: &str) -> Options {
        Options::new(&Parameters::parse(line))
    }

    #[test]
    fn options_reach_their_module_and_no_other() {
        let options = options(
            "quiet virtio-net.napi-tx=0 virtio_net.csum nic.a=1 virtio_net.mode=\"two words\" \
             \"virtio_net.also=two more\" virtio_net.a.b=c=d virtio_net.= nic=1 -- virtio_net.late=1",
        );
        for (name, expected) in [
            (
                "virtio_net",
                "napi_tx=0 csum mode=\"two words\" also=\"two more\" a.b=c=d",
            ),
            ("nic", "a=1"),
            ("virtio", ""),
            ("net", ""),
        ] {
            let found = options.of(&Name::new(name));
            assert_eq!(found.to_str(), Ok(expected), "{name}");
        }
        assert!(options.gives(&Name::new("virtio-net"), "csum"));
        assert!(!options.gives(&Name::new("nic"), "csum"));
    }

    #[test]
    fn bonding_makes_no_bond_unless_it_is_asked_to() {
        for (line, expected) in [
            ("quiet", "max_bonds=0"),
            ("bonding.max_bonds=2", "max_bonds=0 max_bonds=2"),
        ] {
            let found = options(line).of(&Name::new("bonding"));
            assert_eq!(found.to_str(), Ok(expected));
        }
    }

    #[test]
    fn both_blacklists_count_and_any_spelling() {
        let options = options(
            "modprobe.blacklist=a,b-c modprobe.blacklist=d module_blacklist=e_f,,g blacklist=h",
        );
        for (name, expected) in [
            ("a", true),
            ("b_c", true),
            ("d", true),
            ("e-f", true),
            ("g", true),
            ("h", false),
            ("", false),
        ] {
            assert_eq!(options.is_blacklisted(&Name::new(name)), expected, "{name}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_command_line_is_survived(line: String) {
            let _ = options(&format!("a.x={line}")).of(&Name::new("a"));
        }
    }
}
