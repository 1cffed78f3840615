//! What engines have moved for our own sessions since this control started: sums over playback sessions whose own figures come
//! and go. Pure.
//!
//! The first figure of a session counts whole, later ones by what they grew; one that shrinks is a new base. A session
//! that is no longer there is forgotten, its share of the sums stays.

use crate::streams::Moved;
use std::collections::HashMap;

/// The sums, and what each session showed last.
#[derive(Debug, Default)]
pub(crate) struct Transfer {
    total: Moved,
    last: HashMap<String, Moved>,
}

impl Transfer {
    /// Takes what every session there is shows now and tells the sums. Entries are as many as sessions.
    pub(crate) fn observe(&mut self, shown: impl IntoIterator<Item = (String, Moved)>) -> Moved {
        let mut present = HashMap::new();
        for (session, now) in shown {
            let before = self.last.get(&session).copied().unwrap_or_default();
            self.total.downloaded += now.downloaded.saturating_sub(before.downloaded);
            self.total.uploaded += now.uploaded.saturating_sub(before.uploaded);
            present.insert(session, now);
        }
        self.last = present;
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(figures: &[(&str, u64, u64)]) -> Vec<(String, Moved)> {
        let bytes = |(name, downloaded, uploaded): &(&str, u64, u64)| {
            ((*name).to_owned(), Moved { downloaded: *downloaded, uploaded: *uploaded })
        };
        figures.iter().map(bytes).collect()
    }

    /// Guards: the rule of the contract for cumulative bytes, also over a counter that starts over and sessions that end.
    #[test]
    fn sums_grow_by_what_each_session_adds() {
        let mut transfer = Transfer::default();
        let total = |down, up| Moved { downloaded: down, uploaded: up };
        assert_eq!(transfer.observe(shown(&[("a", 100, 1), ("b", 10, 0)])), total(110, 1));
        assert_eq!(transfer.observe(shown(&[("a", 150, 1), ("b", 10, 2)])), total(160, 3));
        assert_eq!(transfer.observe(shown(&[("a", 20, 1)])), total(160, 3), "a smaller figure is a new base");
        assert_eq!(transfer.observe(shown(&[("a", 30, 1)])), total(170, 3));
        assert_eq!(transfer.observe(shown(&[])), total(170, 3), "sums stay when sessions end");
        assert_eq!(
            transfer.observe(shown(&[("a", 30, 0)])),
            total(200, 3),
            "another session of the same name"
        );
    }
}
