//! Which unwatched session gives its engine to a play that waits for one. Pure.
//!
//! Sessions outlive their last player, so that whoever comes back finds them. That comfort ends where somebody is
//! waiting: for each waiting play one session is asked to end, the one that nobody has watched for longest, on an engine
//! that only lacks room. The shard decides, since somebody may just have come back to it.
//!
//! Owned by the engines service's task.

use sluice_contract::{EngineId, ShardId, StreamKey};
use std::collections::HashSet;
use std::time::{Duration, Instant, SystemTime};

/// Players probe, leave and come back within a second; that is not taken from them.
const SPARED: Duration = Duration::from_secs(1);
/// A session that was asked has ended by then, or somebody watches it again.
const PATIENCE: Duration = Duration::from_secs(5);

/// A session that nobody watches.
#[derive(Clone, Debug)]
pub(super) struct Idle {
    pub(super) shard: ShardId,
    pub(super) key: StreamKey,
    pub(super) engine: EngineId,
    pub(super) since: SystemTime,
}

/// Sessions that were asked to end and have not yet.
#[derive(Debug, Default)]
pub(super) struct Yields(Vec<(StreamKey, EngineId, Instant)>);

impl Yields {
    /// Chooses who is asked now. `wants` has the engines that would do for each waiting play if they had room, `idle`
    /// the unwatched sessions, `alive` the keys of all that live.
    pub(super) fn choose(
        &mut self,
        (now, wall): (Instant, SystemTime),
        wants: &[HashSet<EngineId>],
        mut idle: Vec<Idle>,
        alive: impl Fn(&StreamKey) -> bool,
    ) -> Vec<Idle> {
        self.0.retain(|(key, _, at)| now.saturating_duration_since(*at) < PATIENCE && alive(key));
        idle.retain(|session| !self.0.iter().any(|(key, ..)| *key == session.key));
        idle.retain(|session| wall.duration_since(session.since).is_ok_and(|idle| idle >= SPARED));
        idle.sort_by_key(|session| session.since);
        let mut coming: Vec<EngineId> = self.0.iter().map(|(_, engine, _)| engine.clone()).collect();
        let mut chosen = Vec::new();
        for engines in wants {
            if let Some(at) = coming.iter().position(|engine| engines.contains(engine)) {
                coming.swap_remove(at);
            } else if let Some(at) = idle.iter().position(|session| engines.contains(&session.engine)) {
                let session = idle.remove(at);
                self.0.push((session.key.clone(), session.engine.clone(), now));
                chosen.push(session);
            }
        }
        chosen
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_contract::{Hex40, Options, StreamName};

    fn key(n: u8) -> StreamKey {
        StreamKey { name: StreamName::Infohash(Hex40::from_bytes([n; 20])), options: Options::default() }
    }

    fn engine(n: u8) -> EngineId {
        EngineId(format!("engine-{n}").into())
    }

    /// A session `n` on an engine, left so many seconds ago.
    fn idle(n: u8, on: u8, wall: SystemTime, ago: u64) -> Idle {
        let since = wall - Duration::from_secs(ago);
        Idle { shard: ShardId(0), key: key(n), engine: engine(on), since }
    }

    fn keys(chosen: &[Idle]) -> Vec<StreamKey> {
        chosen.iter().map(|session| session.key.clone()).collect()
    }

    /// Guards: for each waiting play the session left longest ago on an engine that would do is asked, once; a session
    /// that was just left is spared.
    #[test]
    fn each_waiting_play_gets_the_oldest_unwatched_session_once() {
        let (now, wall) = (Instant::now(), SystemTime::now());
        let mut yields = Yields::default();
        let sessions =
            || vec![idle(1, 0, wall, 5), idle(2, 0, wall, 9), idle(3, 1, wall, 60), idle(4, 0, wall, 0)];
        let on_first = HashSet::from([engine(0)]);
        let one = std::slice::from_ref(&on_first);
        assert_eq!(keys(&yields.choose((now, wall), one, sessions(), |_| true)), [key(2)]);
        assert_eq!(
            keys(&yields.choose((now, wall), one, sessions(), |_| true)),
            [],
            "asked twice for one play"
        );
        let three = [on_first.clone(), on_first.clone(), on_first.clone()];
        assert_eq!(keys(&yields.choose((now, wall), &three, sessions(), |_| true)), [key(1)]);
        let anywhere = [HashSet::from([engine(0), engine(1)])];
        assert_eq!(keys(&Yields::default().choose((now, wall), &anywhere, sessions(), |_| true)), [key(3)]);
        assert_eq!(keys(&Yields::default().choose((now, wall), &[], sessions(), |_| true)), []);
    }

    /// Guards: a session that ended, or did not end because somebody came back, no longer counts as on its way.
    #[test]
    fn what_was_asked_in_vain_is_made_up_for() {
        let (now, wall) = (Instant::now(), SystemTime::now());
        let wants = [HashSet::from([engine(0)])];
        let sessions = || vec![idle(1, 0, wall, 5), idle(2, 0, wall, 9)];
        let mut yields = Yields::default();
        assert_eq!(keys(&yields.choose((now, wall), &wants, sessions(), |_| true)), [key(2)]);
        let rest = vec![idle(1, 0, wall, 5)];
        assert_eq!(
            keys(&yields.choose((now, wall), &wants, rest.clone(), |living| *living != key(2))),
            [key(1)]
        );
        let mut yields = Yields::default();
        yields.choose((now, wall), &wants, sessions(), |_| true);
        assert_eq!(keys(&yields.choose((now + PATIENCE, wall), &wants, rest, |_| true)), [key(1)]);
    }
}
