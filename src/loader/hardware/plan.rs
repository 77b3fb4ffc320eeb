//! Which modules are loaded first, and which at the same time: pure.

use std::collections::{BTreeMap, BTreeSet};

use sealboot_core::format::kmod::{Index, Name};

/// The modules that are wanted, with all that they need, in levels: what a module needs, and what it asks to
/// come before it, stands in an earlier level. So a level can be loaded in parallel.
///
/// What `stands` already is left out, and so is what is not baked in. A soft dependency is a wish: one that
/// would close a circle is passed over. Modules that need each other cannot be loaded in any order, and form
/// the last level.
pub(super) fn levels(
    index: &Index,
    wanted: &BTreeSet<Name>,
    stands: impl Fn(&Name) -> bool,
) -> Vec<Vec<Name>> {
    let mut graph = Graph::default();
    let mut soft = Vec::new();
    let mut rest: Vec<&Name> = wanted.iter().collect();
    while let Some(name) = rest.pop() {
        let Some((_, needs)) = index.modules.get(name) else {
            continue;
        };
        if stands(name) || graph.before.contains_key(name) {
            continue;
        }
        let needs = needs.iter().map(|path| path.name());
        graph
            .before
            .insert(name.clone(), needs.clone().cloned().collect());
        rest.extend(needs);
        if let Some(wishes) = index.soft.get(name) {
            soft.extend(wishes.before.iter().map(|before| (before, name)));
            soft.extend(wishes.after.iter().map(|after| (name, after)));
            rest.extend(wishes.before.iter().chain(&wishes.after));
        }
    }
    for (before, after) in soft {
        graph.add_wish(before, after);
    }
    graph.levels()
}

/// What comes before each module.
#[derive(Default)]
struct Graph {
    before: BTreeMap<Name, BTreeSet<Name>>,
}

impl Graph {
    /// Puts one before the other, unless that closes a circle or either is not there.
    fn add_wish(&mut self, before: &Name, after: &Name) {
        if self.before.contains_key(before)
            && !self.comes_before(after, before)
            && let Some(all) = self.before.get_mut(after)
        {
            all.insert(before.clone());
        }
    }

    /// Whether `first` is `last`, or comes somewhere before it.
    fn comes_before(&self, first: &Name, last: &Name) -> bool {
        let mut seen = BTreeSet::new();
        let mut rest = vec![last];
        while let Some(name) = rest.pop() {
            if name == first {
                return true;
            }
            if seen.insert(name) {
                rest.extend(self.before.get(name).into_iter().flatten());
            }
        }
        false
    }

    fn levels(mut self) -> Vec<Vec<Name>> {
        let mut levels = Vec::new();
        while !self.before.is_empty() {
            let is_free =
                |all: &BTreeSet<Name>| !all.iter().any(|name| self.before.contains_key(name));
            let mut level: Vec<Name> = self
                .before
                .iter()
                .filter(|(_, all)| is_free(all))
                .map(|(name, _)| name.clone())
                .collect();
            if level.is_empty() {
                level.extend(self.before.keys().cloned());
            }
            self.before.retain(|name, _| !level.contains(name));
            levels.push(level);
        }
        levels
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn index(dep: &str, soft: &str) -> Index {
        let mut index = Index::default();
        index.read_dep(dep).unwrap();
        index.read_softdep(soft);
        index
    }

    fn names<'a>(names: impl IntoIterator<Item = &'a str>) -> BTreeSet<Name> {
        names.into_iter().map(Name::new).collect()
    }

    fn plan(index: &Index, wanted: &[&str], standing: &[&str]) -> Vec<String> {
        let standing = names(standing.iter().copied());
        levels(index, &names(wanted.iter().copied()), |name| {
            standing.contains(name)
        })
        .iter()
        .map(|level| {
            let level: Vec<&str> = level.iter().map(Name::as_str).collect();
            level.join(" ")
        })
        .collect()
    }

    const DEP: &str = "\
virtio.ko: ring.ko
ring.ko:
pci.ko: legacy.ko modern.ko virtio.ko ring.ko
legacy.ko:
modern.ko:
net.ko: failover.ko virtio.ko ring.ko
failover.ko:
nic.ko:
phy.ko:
";

    #[test]
    fn what_needs_nothing_of_each_other_is_on_one_level() {
        let index = index(DEP, "");
        assert_eq!(
            plan(&index, &["pci", "net", "nic"], &[]),
            ["failover legacy modern nic ring", "virtio", "net pci"]
        );
    }

    #[test]
    fn what_stands_and_what_is_not_baked_in_is_left_out() {
        let index = index(DEP, "");
        assert_eq!(
            plan(&index, &["net", "absent"], &["virtio", "ring"]),
            ["failover", "net"]
        );
        assert_eq!(plan(&index, &["net"], &["net"]), [""; 0]);
        assert_eq!(plan(&index, &[], &[]), [""; 0]);
    }

    #[test]
    fn soft_dependencies_come_before_and_after_where_they_are_there() {
        let soft = "softdep nic pre: phy absent post: failover\n";
        assert_eq!(
            plan(&index(DEP, soft), &["nic"], &[]),
            ["phy", "nic", "failover"]
        );
        assert_eq!(plan(&index(DEP, soft), &["failover"], &[]), ["failover"]);
        assert_eq!(
            plan(&index(DEP, soft), &["nic"], &["phy"]),
            ["nic", "failover"]
        );
    }

    #[test]
    fn a_wish_that_closes_a_circle_is_passed_over() {
        for (soft, expected) in [
            // Against what modules.dep insists on.
            ("softdep ring pre: virtio\n", &["ring", "virtio"][..]),
            ("softdep virtio post: ring\n", &["ring", "virtio"]),
            // Against an earlier wish.
            (
                "softdep virtio pre: nic\nsoftdep nic pre: virtio\n",
                &["nic ring", "virtio"],
            ),
            ("softdep virtio pre: virtio\n", &["ring", "virtio"]),
        ] {
            assert_eq!(
                plan(&index(DEP, soft), &["virtio"], &[]),
                expected,
                "{soft}"
            );
        }
    }

    #[test]
    fn modules_that_need_each_other_come_last() {
        let index = index("a.ko: b.ko\nb.ko: a.ko\nc.ko:\nd.ko: a.ko\n", "");
        assert_eq!(plan(&index, &["c", "d"], &[]), ["c", "a b d"]);
    }

    proptest! {
        /// Ten modules that need any of those before them, and wish for any at all.
        #[test]
        fn every_plan_has_what_is_needed_before_what_needs_it(
            needs in prop::collection::vec(prop::collection::btree_set(0_usize..10, 0..4), 10),
            wishes in prop::collection::vec((0_usize..10, 0_usize..10, any::<bool>()), 0..8),
            wanted in prop::collection::btree_set(0_usize..10, 0..5),
        ) {
            let mut dep = String::new();
            for (module, needs) in needs.iter().enumerate() {
                dep.push_str(&format!("m{module}.ko:"));
                for needed in needs.iter().filter(|needed| **needed < module) {
                    dep.push_str(&format!(" m{needed}.ko"));
                }
                dep.push('\n');
            }
            let soft: String = wishes
                .iter()
                .map(|(one, other, pre)| format!("softdep m{one} {}: m{other}\n", if *pre { "pre" } else { "post" }))
                .collect();
            let index = index(&dep, &soft);
            let wanted: BTreeSet<Name> = wanted.iter().map(|n| Name::new(&format!("m{n}"))).collect();
            let mut stands: BTreeSet<Name> = BTreeSet::new();
            for level in levels(&index, &wanted, |_| false) {
                for name in &level {
                    for needed in &index.modules[name].1 {
                        prop_assert!(stands.contains(needed.name()), "{name} before {:?}", needed);
                    }
                }
                for name in level {
                    prop_assert!(stands.insert(name));
                }
            }
            prop_assert!(stands.is_superset(&wanted));
        }
    }
}
