//! Which shards serve a session with many players, and who goes where. Pure: all numbers are passed in.
//!
//! A shard's load is what its players take, in bytes per second: a send costs by the byte. A session's own shard decides,
//! and moves players of this session only; what else the others carry is as it is.
//!
//! A replica is opened where it takes a good part of the players, and let go of once the session has half as many players
//! as make it hot, or nobody there, for a while. Players move while shards differ by more than a step: half of what they
//! differ by, bounded per turn, so that nobody moves to and fro.

use sluice_contract::ShardId;
use std::time::Duration;

/// Players that move at once: each costs both shards some microseconds.
pub(super) const MOVES_MAX: usize = 128;
/// How long a replica that is not needed is kept.
pub(super) const IDLE_FOR: Duration = Duration::from_secs(30);
/// Shards that differ by less of all of the session's players are even.
const EVEN_SHARE: u64 = 16;

/// What another shard is to the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It serves none of it.
    Apart,
    /// It is about to serve it, or about to give it back.
    Changing,
    /// It serves it; `idle` is for how long nobody has been there.
    Serving {
        /// For how long it has had no players.
        idle: Duration,
    },
}

/// What a shard carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Carried {
    /// Bytes per second that players of other sessions take.
    pub others: u64,
    /// Players of this session.
    pub players: usize,
}

/// Another shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Which.
    pub shard: ShardId,
    /// What it is to the session.
    pub standing: Standing,
    /// What it carries.
    pub carried: Carried,
}

/// A session and the shards that may serve it.
#[derive(Clone, Debug)]
pub(super) struct Sight {
    /// Players that make a session hot; 0 is never.
    pub hot: usize,
    /// Bytes per second of the stream.
    pub rate: u64,
    /// What the session's own shard carries.
    pub own: Carried,
    /// The other shards.
    pub places: Vec<Place>,
    /// For how long the session has had less than half the players that make it hot.
    pub cold_for: Option<Duration>,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Have that shard serve the session too.
    Open(ShardId),
    /// Give so many players to a shard that serves it.
    Give {
        /// To whom.
        to: ShardId,
        /// How many.
        count: usize,
    },
    /// Ask for so many of a shard's players.
    Recall {
        /// From whom.
        from: ShardId,
        /// How many.
        count: usize,
    },
    /// Have that shard serve it no more; its players come back.
    Close(ShardId),
}

impl Sight {
    fn rate(&self) -> u64 {
        self.rate.max(1)
    }

    fn load(&self, carried: Carried) -> u64 {
        carried.others.saturating_add(carried.players as u64 * self.rate())
    }

    /// All players of the session.
    pub(super) fn players(&self) -> usize {
        self.own.players + self.places.iter().map(|place| place.carried.players).sum::<usize>()
    }

    /// Whether it has less than half the players that make it hot: what it is served by besides is not needed.
    pub(super) fn is_cold(&self) -> bool {
        self.players() < self.hot.div_ceil(2)
    }

    /// By how many players the own shard carries more than another one; negative if it carries less.
    fn excess(&self, own: Carried, other: Carried) -> i64 {
        (self.load(own) as i64 - self.load(other) as i64) / self.rate() as i64
    }

    /// The difference in players that moves nobody.
    fn even(&self) -> i64 {
        (self.players() as u64 / EVEN_SHARE).max(1) as i64
    }

    /// What to do now.
    pub(super) fn steps(&self) -> Vec<Step> {
        let serving = self.places.iter().filter(|place| matches!(place.standing, Standing::Serving { .. }));
        let is_over = self.hot == 0 || self.cold_for.is_some_and(|cold| cold >= IDLE_FOR);
        if is_over {
            return serving.map(|place| Step::Close(place.shard)).collect();
        }
        let mut steps = Vec::new();
        let mut own = self.own;
        for place in serving {
            match (self.balance(&mut own, place), place.standing) {
                (Some(step), _) => steps.push(step),
                (None, Standing::Serving { idle }) if idle >= IDLE_FOR => {
                    steps.push(Step::Close(place.shard))
                }
                _ => {}
            }
        }
        steps.extend(self.open());
        steps
    }

    /// Who moves between the own shard and another one that serves the session.
    fn balance(&self, own: &mut Carried, place: &Place) -> Option<Step> {
        let excess = self.excess(*own, place.carried);
        if excess.abs() <= self.even() {
            return None;
        }
        let wanted = (excess.unsigned_abs() / 2) as usize;
        if excess > 0 {
            let count = wanted.min(own.players).min(MOVES_MAX);
            own.players -= count;
            (count > 0).then_some(Step::Give { to: place.shard, count })
        } else {
            let count = wanted.min(place.carried.players).min(MOVES_MAX);
            own.players += count;
            (count > 0).then_some(Step::Recall { from: place.shard, count })
        }
    }

    /// Another shard to serve the session, if it is hot and there is one that would take a good part of its players.
    fn open(&self) -> Option<Step> {
        let is_changing = self.places.iter().any(|place| place.standing == Standing::Changing);
        if is_changing || self.players() < self.hot || self.cold_for.is_some() {
            return None;
        }
        let apart = self.places.iter().filter(|place| place.standing == Standing::Apart);
        let least = apart.min_by_key(|place| (place.carried.others, place.shard))?;
        let would_move = (self.excess(self.own, least.carried) / 2).min(self.own.players as i64);
        (would_move >= (self.hot as i64 / 4).max(self.even())).then_some(Step::Open(least.shard))
    }

    /// Which other shard takes a player that has just come to the own one, if one carries less.
    pub(super) fn place(&self) -> Option<ShardId> {
        let is_serving = |place: &&Place| matches!(place.standing, Standing::Serving { .. });
        let least = self.places.iter().filter(is_serving).min_by_key(|place| self.load(place.carried))?;
        (self.hot > 0 && self.excess(self.own, least.carried) >= 1).then_some(least.shard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RATE: u64 = 1_000_000;

    fn carried(others: u64, players: usize) -> Carried {
        Carried { others: others * RATE, players }
    }

    fn place(shard: u16, standing: Standing, carried: Carried) -> Place {
        Place { shard: ShardId(shard), standing, carried }
    }

    const SERVING: Standing = Standing::Serving { idle: Duration::ZERO };

    fn sight(hot: usize, own: Carried, places: Vec<Place>) -> Sight {
        Sight { hot, rate: RATE, own, places, cold_for: None }
    }

    /// Guards: a session is served elsewhere once it is hot and somebody carries clearly less, one shard at a time, the least
    /// loaded first; never when that is switched off.
    #[test]
    fn a_hot_session_is_opened_where_it_helps() {
        let free = |shard, others| place(shard, Standing::Apart, carried(others, 0));
        let steps = |hot, players, places| sight(hot, carried(0, players), places).steps();
        assert_eq!(steps(100, 99, vec![free(1, 0)]), []);
        assert_eq!(steps(100, 100, vec![free(1, 0)]), [Step::Open(ShardId(1))]);
        assert_eq!(steps(0, 100_000, vec![free(1, 0)]), []);
        assert_eq!(steps(100, 200, vec![free(1, 90), free(2, 10)]), [Step::Open(ShardId(2))]);
        assert_eq!(steps(100, 200, vec![free(1, 170)]), [], "it would take hardly anybody");
        let changing = place(1, Standing::Changing, carried(0, 0));
        assert_eq!(steps(100, 200, vec![changing, free(2, 0)]), [], "one at a time");
    }

    /// Guards: players go where less is carried, half of the difference, bounded, and come back when that shard has become
    /// the fuller one; small differences move nobody.
    #[test]
    fn players_move_until_shards_are_even() {
        let steps = |own, other| sight(10, own, vec![place(1, SERVING, other)]).steps();
        let give = |count| vec![Step::Give { to: ShardId(1), count }];
        assert_eq!(steps(carried(0, 4), carried(0, 0)), give(2));
        assert_eq!(steps(carried(0, 40), carried(10, 0)), give(15));
        assert_eq!(steps(carried(0, 21), carried(0, 19)), []);
        assert_eq!(steps(carried(0, 1000), carried(0, 0)), give(MOVES_MAX));
        let back = vec![Step::Recall { from: ShardId(1), count: 10 }];
        assert_eq!(steps(carried(0, 10), carried(20, 10)), back, "all of them, and no more");
        assert_eq!(steps(carried(50, 0), carried(0, 0)), [], "there is nobody to give");
    }

    /// Guards: what is not needed is let go of after a while, and at once when it is switched off.
    #[test]
    fn what_is_not_needed_is_let_go_of() {
        let close = vec![Step::Close(ShardId(1))];
        let mut cold = sight(100, carried(0, 10), vec![place(1, SERVING, carried(0, 10))]);
        assert!(cold.is_cold());
        cold.cold_for = Some(IDLE_FOR / 2);
        assert_eq!(cold.steps(), []);
        cold.cold_for = Some(IDLE_FOR);
        assert_eq!(cold.steps(), close);
        let idle = place(1, Standing::Serving { idle: IDLE_FOR }, carried(500, 0));
        assert_eq!(sight(100, carried(0, 100), vec![idle]).steps(), close);
        let off = sight(0, carried(0, 100), vec![place(1, SERVING, carried(0, 100))]);
        assert_eq!((off.steps(), off.place()), (close, None));
    }

    /// Guards: a player that comes is served where less is carried, on its session's own shard if that is nowhere.
    #[test]
    fn whoever_comes_goes_where_less_is_carried() {
        let serving = |shard, others| place(shard, SERVING, carried(others, 0));
        let goes = |own, places| sight(10, own, places).place();
        assert_eq!(goes(carried(0, 5), vec![serving(1, 6), serving(2, 4)]), Some(ShardId(2)));
        assert_eq!(goes(carried(0, 5), vec![serving(1, 5)]), None);
        assert_eq!(goes(carried(0, 5), vec![place(1, Standing::Apart, carried(0, 0))]), None);
    }

    fn places() -> impl Strategy<Value = Vec<Place>> {
        let standing = prop_oneof![
            Just(Standing::Apart),
            Just(Standing::Changing),
            (0u64..60).prop_map(|idle| Standing::Serving { idle: Duration::from_secs(idle) }),
        ];
        let one = (standing, 0u64..3000, 0usize..3000).prop_map(|(standing, others, players)| {
            let players = if matches!(standing, Standing::Serving { .. }) { players } else { 0 };
            (standing, carried(others, players))
        });
        prop::collection::vec(one, 1..6).prop_map(|all| {
            (1u16..).zip(all).map(|(shard, (standing, carried))| place(shard, standing, carried)).collect()
        })
    }

    /// Does what a plan says, as shards would.
    fn act(sight: &mut Sight, steps: &[Step]) {
        for step in steps {
            let at = |shard: ShardId| usize::from(shard.0) - 1;
            match *step {
                Step::Open(shard) => sight.places[at(shard)].standing = SERVING,
                Step::Give { to, count } => {
                    sight.own.players -= count;
                    sight.places[at(to)].carried.players += count;
                }
                Step::Recall { from, count } => {
                    sight.places[at(from)].carried.players -= count;
                    sight.own.players += count;
                }
                Step::Close(shard) => {
                    let place = &mut sight.places[at(shard)];
                    sight.own.players += std::mem::take(&mut place.carried.players);
                    place.standing = Standing::Apart;
                }
            }
        }
    }

    proptest! {
        /// Guards: whatever the shards carry, nobody moves who is not there, a turn is bounded, and after some turns nothing
        /// moves any more, with every pair of serving shards as even as the players allow.
        #[test]
        fn the_shards_come_to_rest(hot in 0usize..2000, others in 0u64..3000, players in 0usize..4000, places in places()) {
            let mut sight = sight(hot, carried(others, players), places);
            let all = sight.players();
            // One shard is opened at a time, which may leave one that is not needed: its time has passed in between.
            let mut rested = false;
            for _ in 0..400 {
                let steps = sight.steps();
                let opened = steps.iter().filter(|step| matches!(step, Step::Open(_))).count();
                prop_assert!(opened <= 1 && (hot > 0 || opened == 0));
                for step in &steps {
                    if let Step::Give { count, .. } | Step::Recall { count, .. } = step {
                        prop_assert!((1..=MOVES_MAX).contains(count));
                    }
                }
                act(&mut sight, &steps);
                prop_assert_eq!(sight.players(), all);
                sight.places.iter_mut().for_each(|place| if let Standing::Serving { idle } = &mut place.standing {
                    *idle = Duration::ZERO;
                });
                if steps.is_empty() {
                    rested = true;
                    break;
                }
            }
            prop_assert!(rested, "it never comes to rest: {:?}", sight);
            let even = sight.even();
            for place in sight.places.iter().filter(|place| matches!(place.standing, Standing::Serving { .. })) {
                let excess = sight.excess(sight.own, place.carried);
                let is_even = excess.abs() <= even + 1;
                let is_spent = (excess > 0 && sight.own.players == 0) || (excess < 0 && place.carried.players == 0);
                prop_assert!(is_even || is_spent, "{:?}", sight);
            }
        }
    }
}
