//! The process-wide directory: every known way of asking for a stream, mapped to its key.
//!
//! Written by control alone, read by every shard on every play request without a lock. Kept in 64 buckets of
//! copy-on-write maps: a write copies one bucket, and reads are one atomic load and one look-up.

use crate::ids::{Alias, Hex40, Options, Selector, StreamKey, StreamName};
use arc_swap::ArcSwap;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

const BUCKETS: usize = 64;

/// Aliases kept at most. A public appliance sees arbitrary ids; an attacker must not be able to grow the map for
/// ever. 65,536 aliases are about 10 MiB and far above any real channel list.
pub const ALIASES_MAX: usize = 65_536;

/// Map from numbers to canonical infohashes. Options are not part of it: they travel unchanged into the key.
pub struct Directory {
    buckets: [ArcSwap<HashMap<Hex40, Hex40>>; BUCKETS],
    /// Keys whose broadcast already plays under another key, because it could not be resolved when its session began.
    /// One entry per such session, gone with it.
    elsewhere: ArcSwap<HashMap<StreamKey, StreamKey>>,
    /// Numbers that must not be played.
    blocked: ArcSwap<HashSet<Hex40>>,
}

impl Default for Directory {
    fn default() -> Self {
        Self {
            buckets: std::array::from_fn(|_| ArcSwap::default()),
            elsewhere: ArcSwap::default(),
            blocked: ArcSwap::default(),
        }
    }
}

impl Directory {
    fn bucket(&self, number: Hex40) -> &ArcSwap<HashMap<Hex40, Hex40>> {
        &self.buckets[usize::from(number.as_bytes()[19]) % BUCKETS]
    }

    /// The key for an alias, when it is known.
    ///
    /// `infohash=X` is canonical as it stands unless X was learned to be a content id; `id=X` is known once it was
    /// resolved, or once X was seen as an infohash: 160-bit numbers do not collide by chance, and an engine answers
    /// for either.
    pub fn find(&self, alias: &Alias) -> Option<StreamKey> {
        let number = alias.selector.value();
        let infohash = match (self.bucket(number).load().get(&number).copied(), alias.selector) {
            (Some(infohash), _) => infohash,
            (None, Selector::Infohash(infohash)) => infohash,
            (None, Selector::ContentId(_)) => return None,
        };
        let key = StreamKey { name: StreamName::Infohash(infohash), options: alias.options.clone() };
        Some(self.living(&key).unwrap_or(key))
    }

    /// The key under which the broadcast of `key` plays, if it is another one.
    pub fn living(&self, key: &StreamKey) -> Option<StreamKey> {
        self.elsewhere.load().get(key).cloned()
    }

    /// Sends whoever asks for `key` to the session that plays its broadcast under `living`, unless another one was
    /// named before. Answers which one holds.
    pub fn lead(&self, key: &StreamKey, living: &StreamKey) -> StreamKey {
        self.elsewhere.rcu(|old| {
            let mut new = HashMap::clone(old);
            new.entry(key.clone()).or_insert_with(|| living.clone());
            new
        });
        self.living(key).unwrap_or_else(|| living.clone())
    }

    /// The session under `living` ended: whoever asks for its broadcast is no longer sent there.
    pub fn unlead(&self, living: &StreamKey) {
        if self.elsewhere.load().values().any(|named| named == living) {
            self.elsewhere.rcu(|old| {
                let mut new = HashMap::clone(old);
                new.retain(|_, named| named != living);
                new
            });
        }
    }

    /// Remembers that `number` (an id or an infohash, whichever parameter carried it) names `infohash`; the infohash
    /// is remembered as naming itself, so that `id=<infohash>` is known at once.
    ///
    /// A full bucket is emptied first: what is in use is learned again with the next request, at the cost of one
    /// resolve each.
    pub fn learn(&self, number: Hex40, infohash: Hex40) {
        for (from, to) in [(number, infohash), (infohash, infohash)] {
            let bucket = self.bucket(from);
            if bucket.load().get(&from) == Some(&to) {
                continue;
            }
            bucket.rcu(|old| {
                let mut new =
                    if old.len() >= ALIASES_MAX / BUCKETS { HashMap::new() } else { HashMap::clone(old) };
                new.insert(from, to);
                Arc::new(new)
            });
        }
    }

    /// Replaces the numbers that must not be played: ids and infohashes alike.
    pub fn block(&self, numbers: HashSet<Hex40>) {
        self.blocked.store(Arc::new(numbers));
    }

    /// Whether a play of `key`, asked for as `asked`, must be refused.
    pub fn is_blocked(&self, asked: Hex40, key: &StreamKey) -> bool {
        let blocked = self.blocked.load();
        if blocked.is_empty() {
            return false;
        }
        let canonical = self.bucket(asked).load().get(&asked).copied();
        [Some(asked), key.infohash(), Some(key.selector().value()), canonical]
            .into_iter()
            .flatten()
            .any(|number| blocked.contains(&number))
    }

    /// Aliases known now; for metrics.
    pub fn len(&self) -> usize {
        self.buckets.iter().map(|bucket| bucket.load().len()).sum()
    }

    /// Whether nothing has been learned yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The key to use when no engine could tell which broadcast an alias names.
pub fn unresolved(alias: &Alias) -> StreamKey {
    StreamKey { name: StreamName::Unresolved(alias.selector), options: Options::clone(&alias.options) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(n: u8) -> Hex40 {
        Hex40::from_bytes([n; 20])
    }

    fn alias(selector: Selector) -> Alias {
        Alias { selector, options: Options::default() }
    }

    #[test]
    fn every_way_of_asking_leads_to_one_key() {
        let directory = Directory::default();
        let (id, infohash) = (number(1), number(2));
        assert_eq!(directory.find(&alias(Selector::ContentId(id))), None);
        directory.learn(id, infohash);
        let key = directory.find(&alias(Selector::Infohash(infohash))).unwrap();
        for selector in [Selector::ContentId(id), Selector::ContentId(infohash), Selector::Infohash(id)] {
            assert_eq!(directory.find(&alias(selector)).as_ref(), Some(&key));
        }
    }

    #[test]
    fn a_broadcast_that_plays_under_another_key_is_found_there_while_it_plays() {
        let directory = Directory::default();
        let (id, infohash) = (number(1), number(2));
        let living = unresolved(&alias(Selector::ContentId(id)));
        let canonical = directory.find(&alias(Selector::Infohash(infohash))).unwrap();
        directory.learn(id, infohash);
        assert_eq!(directory.lead(&canonical, &living), living);
        let second = unresolved(&alias(Selector::ContentId(number(3))));
        assert_eq!(directory.lead(&canonical, &second), living, "the first session stays the one");
        for selector in [Selector::ContentId(id), Selector::Infohash(infohash)] {
            assert_eq!(directory.find(&alias(selector)), Some(living.clone()));
        }
        directory.unlead(&second);
        assert_eq!(directory.living(&canonical), Some(living.clone()));
        directory.unlead(&living);
        assert_eq!(directory.find(&alias(Selector::ContentId(id))), Some(canonical));
    }

    /// Guards: a broadcast that is blocked is blocked under every name that is known for it, and under no other.
    #[test]
    fn a_blocked_broadcast_is_blocked_under_every_name() {
        let directory = Directory::default();
        let (id, infohash) = (number(1), number(2));
        directory.learn(id, infohash);
        let canonical = directory.find(&alias(Selector::ContentId(id))).unwrap();
        let stand_in = unresolved(&alias(Selector::ContentId(id)));
        let other = unresolved(&alias(Selector::ContentId(number(3))));
        assert!(!directory.is_blocked(id, &canonical));
        for blocked in [id, infohash] {
            directory.block([blocked].into());
            assert!(directory.is_blocked(id, &canonical));
            assert!(directory.is_blocked(id, &stand_in));
            assert!(!directory.is_blocked(number(3), &other));
        }
        assert!(directory.is_blocked(infohash, &canonical));
        directory.block(HashSet::new());
        assert!(!directory.is_blocked(id, &canonical));
    }

    #[test]
    fn the_directory_is_bounded() {
        let directory = Directory::default();
        for n in 0..200_000u32 {
            let mut bytes = [0; 20];
            bytes[16..].copy_from_slice(&n.to_be_bytes());
            directory.learn(Hex40::from_bytes(bytes), number(9));
        }
        assert!(directory.len() <= ALIASES_MAX, "{} aliases", directory.len());
    }
}
