//! Whose turn it is to be asked about: engine by engine, a few calls at a time to each. Pure.
//!
//! Streams wait in the order they came, each at its engine; engines take turns. An engine that hangs holds back its own streams
//! and takes no more than its share of the calls that may be under way.

use std::collections::{HashMap, VecDeque};

/// Calls at once to one engine. It answers them one after the other, and has streams to play beside.
const CALLS_PER_ENGINE_MAX: usize = 4;

/// What waits, of any kind.
#[derive(Debug)]
pub(super) struct Turns<T> {
    engines: HashMap<String, Engine<T>>,
    /// Engines that could be asked now, each once.
    ready: VecDeque<String>,
    waiting: usize,
}

#[derive(Debug)]
struct Engine<T> {
    waiting: VecDeque<T>,
    under_way: usize,
    is_ready: bool,
}

impl<T> Engine<T> {
    fn may_be_asked(&self) -> bool {
        !self.waiting.is_empty() && self.under_way < CALLS_PER_ENGINE_MAX
    }
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self { engines: HashMap::new(), ready: VecDeque::new(), waiting: 0 }
    }
}

impl<T> Turns<T> {
    /// Has something wait for its turn at an engine.
    pub(super) fn push(&mut self, engine: &str, item: T) {
        let new = || Engine { waiting: VecDeque::new(), under_way: 0, is_ready: false };
        let found = self.engines.entry(engine.to_owned()).or_insert_with(new);
        found.waiting.push_back(item);
        self.waiting += 1;
        self.make_ready(engine);
    }

    /// Whose turn it is, if an engine may be asked; its call is under way from now on.
    pub(super) fn next(&mut self) -> Option<T> {
        let name = self.ready.pop_front()?;
        let engine = self.engines.get_mut(&name)?;
        engine.is_ready = false;
        let item = engine.waiting.pop_front()?;
        engine.under_way += 1;
        self.waiting -= 1;
        self.make_ready(&name);
        Some(item)
    }

    /// A call to an engine is over.
    pub(super) fn done(&mut self, engine: &str) {
        let Some(found) = self.engines.get_mut(engine) else { return };
        found.under_way = found.under_way.saturating_sub(1);
        if found.under_way == 0 && found.waiting.is_empty() {
            self.engines.remove(engine);
        } else {
            self.make_ready(engine);
        }
    }

    /// Whether something has not had its turn.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting > 0
    }

    fn make_ready(&mut self, name: &str) {
        if let Some(engine) = self.engines.get_mut(name)
            && !engine.is_ready
            && engine.may_be_asked()
        {
            engine.is_ready = true;
            self.ready.push_back(name.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Guards: engines take turns, so that one with many streams keeps none of another's waiting.
    #[test]
    fn engines_take_turns() {
        let mut turns = Turns::default();
        (0..3).for_each(|n| turns.push("many", n));
        turns.push("one", 9);
        let order: Vec<i32> = std::iter::from_fn(|| turns.next()).collect();
        assert_eq!(order, [0, 9, 1, 2]);
        assert!(!turns.is_waiting());
    }

    /// Guards: an engine that does not answer is asked no more than its share, and goes on with each answer.
    #[test]
    fn an_engine_has_its_share_and_no_more() {
        let mut turns = Turns::default();
        (0..10).for_each(|n| turns.push("hung", n));
        assert_eq!(std::iter::from_fn(|| turns.next()).count(), CALLS_PER_ENGINE_MAX);
        assert!(turns.is_waiting());
        turns.done("hung");
        assert_eq!((turns.next(), turns.next()), (Some(4), None));
    }

    proptest! {
        /// Guards: whatever the order of calls and answers, everything has its turn once, in order at its engine, no engine has
        /// more than its share, and engines without anything are forgotten.
        #[test]
        fn everything_has_its_turn_once(steps in proptest::collection::vec((0..4_usize, 0..3_u8), 0..200)) {
            let (mut turns, mut pushed, mut under_way) = (Turns::default(), [0_usize; 4], [0_usize; 4]);
            let mut taken: [Vec<usize>; 4] = Default::default();
            let mut take = |turns: &mut Turns<(usize, usize)>, under_way: &mut [usize; 4]| {
                let Some((engine, n)) = turns.next() else { return false };
                taken[engine].push(n);
                under_way[engine] += 1;
                assert!(under_way[engine] <= CALLS_PER_ENGINE_MAX);
                true
            };
            for (engine, step) in steps {
                match step {
                    0 => {
                        turns.push(&engine.to_string(), (engine, pushed[engine]));
                        pushed[engine] += 1;
                    }
                    1 => drop(take(&mut turns, &mut under_way)),
                    _ if under_way[engine] > 0 => {
                        under_way[engine] -= 1;
                        turns.done(&engine.to_string());
                    }
                    _ => {}
                }
            }
            loop {
                while take(&mut turns, &mut under_way) {}
                let Some(engine) = (0..4).find(|engine| under_way[*engine] > 0) else { break };
                under_way[engine] -= 1;
                turns.done(&engine.to_string());
            }
            prop_assert!(!turns.is_waiting() && turns.engines.is_empty());
            for engine in 0..4 {
                prop_assert_eq!(&taken[engine], &(0..pushed[engine]).collect::<Vec<_>>());
            }
        }
    }
}
