//! Which module may have been meant.

use sealboot_core::format::kmod::{Index, Name};

/// Up to three names that `unknown` may have been meant for, nearest first.
pub(super) fn near<'a>(index: &'a Index, unknown: &Name) -> Vec<&'a Name> {
    let mut near: Vec<(usize, &Name)> = index
        .modules
        .keys()
        .chain(&index.builtin)
        .filter_map(|name| {
            let within = unknown.as_str().len() >= 3 && name.as_str().contains(unknown.as_str());
            let distance = match distance(name.as_str(), unknown.as_str()) {
                _ if within => 2,
                distance => distance,
            };
            (distance <= 2).then_some((distance, name))
        })
        .collect();
    near.sort();
    near.into_iter().take(3).map(|(_, name)| name).collect()
}
/// How many insertions, deletions and replacements of bytes make `a` into `b` (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_name_brings_near_ones() {
        let mut index = Index::default();
        index
            .read_dep("virtio_net.ko:\nvirtio_pci.ko:\nnet_failover.ko:\ne1000.ko:\ne1000e.ko:\n")
            .expect("valid");
        let neighbours = |name: &str| -> Vec<String> {
            let near = near(&index, &Name::new(name));
            near.into_iter().map(Name::to_string).collect()
        };
        assert_eq!(neighbours("virtio_nte"), ["virtio_net"]);
        assert_eq!(neighbours("e1000"), ["e1000", "e1000e"]);
        assert_eq!(neighbours("failover"), ["net_failover"]);
        assert_eq!(neighbours("mlx5_core"), [""; 0]);
    }
}
