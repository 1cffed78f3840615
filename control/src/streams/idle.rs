//! Connections that wait for the next question. Pure.
//!
//! Bounded in number and age. The one that waited least is taken first, so that those nobody needs grow old.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// What waits, by where it leads.
#[derive(Debug)]
pub(super) struct Idle<T> {
    /// Oldest first for each address; no list is empty.
    places: HashMap<SocketAddr, Vec<(Instant, T)>>,
    len: usize,
    len_max: usize,
    keep_for: Duration,
}

impl<T> Idle<T> {
    /// Room for so many, each for so long.
    pub(super) fn new(len_max: usize, keep_for: Duration) -> Self {
        Self { places: HashMap::new(), len: 0, len_max, keep_for }
    }

    /// Keeps one; gives it up when there is no room.
    pub(super) fn put(&mut self, address: SocketAddr, item: T, now: Instant) {
        if self.len < self.len_max {
            self.places.entry(address).or_default().push((now, item));
            self.len += 1;
        }
    }

    /// The one that was put last.
    pub(super) fn take(&mut self, address: SocketAddr) -> Option<T> {
        let place = self.places.get_mut(&address)?;
        let (_, item) = place.pop()?;
        if place.is_empty() {
            self.places.remove(&address);
        }
        self.len -= 1;
        Some(item)
    }

    /// Gives up those whose time is over.
    pub(super) fn expire(&mut self, now: Instant) {
        self.places.retain(|_, place| {
            place.retain(|(since, _)| now.saturating_duration_since(*since) < self.keep_for);
            !place.is_empty()
        });
        self.len = self.places.values().map(Vec::len).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards: what is put comes back for its address alone, newest first, within the bounds of number and age.
    #[test]
    fn what_waits_is_bounded_and_comes_back() {
        let (one, other) = ("127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap());
        let (begun, second) = (Instant::now(), Duration::from_secs(1));
        let mut idle = Idle::new(3, second * 10);
        for (n, address) in [(1, one), (2, one), (3, other), (4, other)] {
            idle.put(address, n, begun + second * n);
        }
        assert_eq!(idle.take(other), Some(3), "there was no room for a fourth");
        assert_eq!(idle.take(other), None);
        idle.put(other, 5, begun + second * 5);
        idle.expire(begun + second * 11);
        assert_eq!((idle.take(one), idle.take(one)), (Some(2), None), "the oldest is given up");
        assert_eq!(idle.take(other), Some(5));
        for n in 0..3 {
            idle.put(one, n, begun);
        }
        idle.expire(begun + second * 10);
        idle.put(one, 9, begun);
        assert_eq!(idle.take(one), Some(9), "room is given back");
    }
}
