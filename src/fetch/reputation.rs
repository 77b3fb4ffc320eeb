//! Which mirrors have lied since this loader began to run.

use tracing::warn;

use crate::format::host_config::MirrorUrl;

/// What is remembered of mirrors from one attempt to the next.
///
/// A mirror that sent a chunk which was not as signed is not asked for anything again, as long as there is
/// another. Where all have lied, all are asked again: their stores may have been mended meanwhile, and a
/// machine that asks nobody never comes up.
#[derive(Debug, Clone, Default)]
pub struct Reputation {
    liars: Vec<MirrorUrl>,
}

impl Reputation {
    /// Remembers mirrors that have lied.
    pub fn add(&mut self, liars: impl IntoIterator<Item = MirrorUrl>) {
        for liar in liars {
            if !self.liars.contains(&liar) {
                self.liars.push(liar);
            }
        }
    }

    /// Leaves those of `mirrors` that may be asked, in their order.
    pub fn sift(&mut self, mirrors: &mut Vec<MirrorUrl>) {
        if mirrors.iter().all(|mirror| self.liars.contains(mirror)) {
            if !self.liars.is_empty() {
                warn!("every mirror has sent data that was not signed; all are asked again");
            }
            self.liars.clear();
        }
        mirrors.retain(|mirror| !self.liars.contains(mirror));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_liar_is_left_out_until_all_have_lied() {
        let all: Vec<MirrorUrl> = ["https://a/", "https://b/"]
            .map(|url| url.parse().unwrap())
            .into();
        let mut reputation = Reputation::default();
        let left = |reputation: &mut Reputation| {
            let mut mirrors = all.clone();
            reputation.sift(&mut mirrors);
            mirrors
        };
        assert_eq!(left(&mut reputation), all);
        reputation.add([all[0].clone(), all[0].clone()]);
        assert_eq!(left(&mut reputation), all[1..]);
        assert_eq!(left(&mut reputation), all[1..]);
        reputation.add([all[1].clone()]);
        assert_eq!(left(&mut reputation), all);
        assert_eq!(left(&mut reputation), all);
    }
}
