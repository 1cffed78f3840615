//! Which of the engines that could serve a request serves it. Pure.
//!
//! Health, room and draining decide before this who is a candidate at all. Among candidates one that is in doubt comes
//! after all that are well; the rest is the operator's choice.

/// How the best of several candidates is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection {
    /// The highest score: `forwarded_bonus` for the engine with its VPN's forwarded port, minus `stream_cost` for each
    /// stream it has.
    Score {
        /// What the forwarded port is worth: peers reach such an engine.
        forwarded_bonus: u32,
        /// What each stream on an engine costs it.
        stream_cost: u32,
    },
    /// The fewest streams, then the one with the forwarded port.
    Spread,
}

impl Default for Selection {
    fn default() -> Self {
        Self::Score { forwarded_bonus: 1000, stream_cost: 10 }
    }
}

/// What counts of an engine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    /// Others go first: it is in doubt, or streams failed on it lately.
    pub(crate) is_poor: bool,
    /// It shares a VPN node or a host with an engine that plays the same broadcast: what takes the one may take the other.
    pub(crate) is_near: bool,
    /// It owns its VPN's forwarded port.
    pub(crate) is_forwarded: bool,
    /// Streams active or reserved.
    pub(crate) streams: usize,
    /// The number of the newest lease on it; lower is longer unused.
    pub(crate) used_at: u64,
}

/// What makes one engine better than another, smallest first.
pub(crate) type Rank = (bool, bool, i64, bool, u64);

impl Selection {
    /// What a candidate is worth to whoever looks at the choice; higher is better.
    pub(crate) fn score(&self, candidate: Candidate) -> i64 {
        let (_, _, cost, ..) = self.rank(candidate);
        -cost
    }

    /// Where a candidate stands among others.
    pub(crate) fn rank(&self, candidate: Candidate) -> Rank {
        let Candidate { is_poor, is_near, is_forwarded, streams, used_at } = candidate;
        let streams = i64::try_from(streams).unwrap_or(i64::MAX);
        match *self {
            Self::Score { forwarded_bonus, stream_cost } => {
                let bonus = if is_forwarded { i64::from(forwarded_bonus) } else { 0 };
                let score = bonus.saturating_sub(i64::from(stream_cost).saturating_mul(streams));
                (is_poor, is_near, -score, false, used_at)
            }
            Self::Spread => (is_poor, is_near, streams, !is_forwarded, used_at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(streams: usize, is_forwarded: bool, used_at: u64) -> Candidate {
        Candidate { is_poor: false, is_near: false, is_forwarded, streams, used_at }
    }

    /// Which of the candidates is taken.
    fn best(selection: Selection, candidates: &[Candidate]) -> usize {
        (0..candidates.len()).min_by_key(|at| selection.rank(candidates[*at])).unwrap()
    }

    /// Guards the score: the forwarded engine wins although it is fuller, up to the number of streams its bonus is worth;
    /// among equals the longest unused wins, and an engine in doubt comes last whatever its score.
    #[test]
    fn the_highest_score_wins() {
        let score = Selection::default();
        assert_eq!(best(score, &[candidate(0, false, 0), candidate(99, true, 9)]), 1);
        assert_eq!(best(score, &[candidate(0, false, 0), candidate(101, true, 9)]), 0);
        assert_eq!(best(score, &[candidate(2, false, 0), candidate(1, false, 9)]), 1);
        assert_eq!(best(score, &[candidate(1, false, 5), candidate(1, false, 4), candidate(1, false, 6)]), 1);
        let poor = Candidate { is_poor: true, ..candidate(0, true, 0) };
        assert_eq!(best(score, &[poor, candidate(2, false, 9)]), 1);
    }

    /// Guards a second engine for a broadcast: one that shares nothing with the first wins over the forwarded port, but not
    /// while it is in doubt.
    #[test]
    fn a_second_engine_shares_nothing_with_the_first() {
        for selection in [Selection::default(), Selection::Spread] {
            let near = Candidate { is_near: true, ..candidate(0, true, 0) };
            assert_eq!(best(selection, &[near, candidate(9, false, 9)]), 1);
            let doubtful = Candidate { is_poor: true, ..candidate(0, true, 0) };
            assert_eq!(best(selection, &[doubtful, near]), 1);
        }
    }

    /// Guards the weights: they are the operator's.
    #[test]
    fn weights_are_the_operators() {
        let even = Selection::Score { forwarded_bonus: 0, stream_cost: 10 };
        assert_eq!(best(even, &[candidate(0, false, 9), candidate(1, true, 0)]), 0);
        let blind = Selection::Score { forwarded_bonus: 5, stream_cost: 0 };
        assert_eq!(best(blind, &[candidate(0, false, 3), candidate(9, false, 2)]), 1, "streams cost nothing");
        assert_eq!(best(blind, &[candidate(0, false, 3), candidate(9, true, 4)]), 1);
        let huge = Selection::Score { forwarded_bonus: u32::MAX, stream_cost: u32::MAX };
        assert_eq!(best(huge, &[candidate(usize::MAX, true, 0), candidate(0, false, 0)]), 1);
    }

    /// Guards the other order: fewest streams, then the forwarded one, then the longest unused.
    #[test]
    fn spreading_looks_at_streams_first() {
        let spread = Selection::Spread;
        assert_eq!(best(spread, &[candidate(1, true, 0), candidate(0, false, 9)]), 1);
        assert_eq!(best(spread, &[candidate(1, false, 0), candidate(1, true, 9)]), 1);
        assert_eq!(best(spread, &[candidate(1, true, 8), candidate(1, true, 7)]), 1);
    }
}
