//! Limits that hold over all shards: connections, players, players per address, new plays per address and second.
//!
//! A place is claimed before anything is done for a client and is freed by dropping its [`Guard`], wherever that
//! happens. No lock: totals are atomics, and addresses live in copy-on-write buckets that are read with one atomic
//! load; an address is written only when it is new.

use arc_swap::ArcSwap;
use sluice_contract::{Guard, Refusal, RefusalCode};
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const BUCKETS: usize = 256;
/// Plays of one address that come at the same moment on several shards are counted in any order, each with the time its
/// shard read: by so much, or half a play's interval, a later one may seem to come before an earlier one.
const DISORDER: Duration = Duration::from_millis(50);
/// Addresses kept per bucket before those without a player and with a rested rate are dropped.
const BUCKET_LEN_MAX: usize = 64;

/// The limits; `None` is no limit.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Connections of any kind.
    pub connections_max: u32,
    /// Players in all.
    pub clients_max: Option<u32>,
    /// Players of one address.
    pub address_clients_max: Option<u32>,
    /// New plays of one address.
    pub address_plays: Option<PlayRate>,
}

impl Bounds {
    /// Whether addresses are told apart.
    fn are_by_address(&self) -> bool {
        self.address_clients_max.is_some() || self.address_plays.is_some()
    }
}

/// A rate with a burst.
#[derive(Clone, Copy, Debug)]
pub struct PlayRate {
    /// Plays per second in the long run.
    pub per_second: f64,
    /// Plays at once.
    pub burst: u32,
}

#[derive(Debug, Default)]
struct Address {
    clients: AtomicU32,
    /// When the next play would be due at the long-run rate, microseconds since the start: a leaky bucket in one word.
    due: AtomicU64,
}

type Bucket = HashMap<IpAddr, Arc<Address>>;

/// The process's admission desk.
pub struct Admission {
    bounds: ArcSwap<Bounds>,
    begun: Instant,
    connections: Arc<AtomicU32>,
    clients: Arc<AtomicU32>,
    hasher: RandomState,
    addresses: Vec<ArcSwap<Bucket>>,
}

/// Holds one place in a count.
struct Place(Arc<AtomicU32>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

struct AddressPlace(Arc<Address>);

impl Drop for AddressPlace {
    fn drop(&mut self) {
        self.0.clients.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Admission {
    /// A desk with nobody admitted.
    pub fn new(bounds: Bounds) -> Arc<Self> {
        Arc::new(Self {
            bounds: ArcSwap::from_pointee(bounds),
            begun: Instant::now(),
            connections: Arc::default(),
            clients: Arc::default(),
            hasher: RandomState::new(),
            addresses: (0..BUCKETS).map(|_| ArcSwap::default()).collect(),
        })
    }

    /// Other limits from now on. Who is there stays, and counts; by address only who came while addresses were counted.
    pub fn set_bounds(&self, bounds: Bounds) {
        self.bounds.store(Arc::new(bounds));
    }

    /// Claims a place for a connection; `None` when all are taken.
    pub fn connection(&self) -> Option<Guard> {
        claim(&self.connections, Some(self.bounds.load().connections_max)).map(Guard::new)
    }

    /// Claims a place for a player from this address.
    ///
    /// # Errors
    /// Which limit was reached.
    pub fn client(&self, address: IpAddr, now: Instant) -> Result<Guard, Refusal> {
        let bounds = self.bounds.load();
        let place = claim(&self.clients, bounds.clients_max).ok_or_else(|| {
            Refusal::new(RefusalCode::ClientsMax, "all places for players are taken").retry_after(10)
        })?;
        if !bounds.are_by_address() {
            return Ok(Guard::new(place));
        }
        let entry = self.address(address, now);
        if let Some(rate) = bounds.address_plays {
            self.pace(&entry, rate, now)?;
        }
        let taken = take(&entry.clients, bounds.address_clients_max);
        if !taken {
            let detail = "this address has as many players as it may";
            return Err(Refusal::new(RefusalCode::AddressClientsMax, detail).retry_after(10));
        }
        Ok(Guard::new((place, AddressPlace(entry))))
    }

    /// A place for a connection that is there already, whatever the limit.
    pub fn adopt_connection(&self) -> Guard {
        self.connections.fetch_add(1, Ordering::AcqRel);
        Guard::new(Place(self.connections.clone()))
    }

    /// A place for a player that is there already, whatever the limits.
    pub fn adopt_client(&self, address: IpAddr, now: Instant) -> Guard {
        self.clients.fetch_add(1, Ordering::AcqRel);
        let place = Place(self.clients.clone());
        if !self.bounds.load().are_by_address() {
            return Guard::new(place);
        }
        let entry = self.address(address, now);
        entry.clients.fetch_add(1, Ordering::AcqRel);
        Guard::new((place, AddressPlace(entry)))
    }

    /// Players now.
    pub fn clients(&self) -> u32 {
        self.clients.load(Ordering::Relaxed)
    }

    fn pace(&self, entry: &Address, rate: PlayRate, now: Instant) -> Result<(), Refusal> {
        let now = now.saturating_duration_since(self.begun).as_micros() as u64;
        let interval = (1e6 / rate.per_second) as u64;
        let disorder = (DISORDER.as_micros() as u64).min(interval / 2);
        let ahead_max = interval.saturating_mul(u64::from(rate.burst.max(1)) - 1) + disorder;
        let step = |due: u64| {
            let due = due.max(now);
            (due - now <= ahead_max).then(|| due.saturating_add(interval))
        };
        match entry.due.fetch_update(Ordering::AcqRel, Ordering::Acquire, step) {
            Ok(_) => Ok(()),
            Err(due) => {
                let wait = Duration::from_micros(due.saturating_sub(now + ahead_max));
                let detail = "too many new plays from this address";
                Err(Refusal::new(RefusalCode::AddressRate, detail).retry_after(wait.as_secs() as u32 + 1))
            }
        }
    }

    fn address(&self, address: IpAddr, now: Instant) -> Arc<Address> {
        let bucket = &self.addresses[self.hasher.hash_one(address) as usize % BUCKETS];
        if let Some(entry) = bucket.load().get(&address) {
            return entry.clone();
        }
        let rested = now.saturating_duration_since(self.begun).as_micros() as u64;
        let fresh = Arc::new(Address::default());
        bucket.rcu(|old| {
            let mut new = Bucket::clone(old);
            if new.len() >= BUCKET_LEN_MAX {
                // An entry somebody holds outside of the map, by a place or a look-up under way, stays.
                new.retain(|_, entry| {
                    entry.clients.load(Ordering::Acquire) > 0
                        || entry.due.load(Ordering::Acquire) > rested
                        || Arc::strong_count(entry) > 2
                });
            }
            new.entry(address).or_insert_with(|| fresh.clone());
            Arc::new(new)
        });
        bucket.load().get(&address).cloned().unwrap_or(fresh)
    }
}

fn take(count: &AtomicU32, max: Option<u32>) -> bool {
    let max = max.unwrap_or(u32::MAX);
    count
        .fetch_update(Ordering::AcqRel, Ordering::Acquire, |taken| (taken < max).then_some(taken + 1))
        .is_ok()
}

fn claim(count: &Arc<AtomicU32>, max: Option<u32>) -> Option<Place> {
    take(count, max).then(|| Place(count.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desk(change: impl FnOnce(&mut Bounds)) -> Arc<Admission> {
        let mut bounds =
            Bounds { connections_max: 4, clients_max: None, address_clients_max: None, address_plays: None };
        change(&mut bounds);
        Admission::new(bounds)
    }

    fn address(n: u32) -> IpAddr {
        IpAddr::from(n.to_be_bytes())
    }

    /// Guards: other limits hold at once, for who comes then; who is there stays and counts.
    #[test]
    fn limits_are_changed_while_players_are_there() {
        let desk = desk(|bounds| bounds.clients_max = Some(3));
        let now = Instant::now();
        let there: Vec<_> = (0..3).map(|n| desk.client(address(n), now).unwrap()).collect();
        let bounds = |clients_max, address_clients_max| Bounds {
            connections_max: 4,
            clients_max,
            address_clients_max,
            address_plays: None,
        };
        desk.set_bounds(bounds(Some(1), None));
        assert_eq!(desk.client(address(9), now).unwrap_err().code, RefusalCode::ClientsMax);
        desk.set_bounds(bounds(None, Some(1)));
        let _one = desk.client(address(9), now).unwrap();
        assert_eq!(desk.client(address(9), now).unwrap_err().code, RefusalCode::AddressClientsMax);
        assert_eq!(desk.clients() as usize, there.len() + 1);
    }

    #[test]
    fn places_are_bounded_and_come_back() {
        let desk = desk(|bounds| {
            bounds.clients_max = Some(3);
            bounds.address_clients_max = Some(2);
        });
        let now = Instant::now();
        let one = desk.client(address(1), now).unwrap();
        let _two = desk.client(address(1), now).unwrap();
        assert_eq!(desk.client(address(1), now).unwrap_err().code, RefusalCode::AddressClientsMax);
        assert_eq!(desk.clients(), 2, "a refusal kept its place");
        let _three = desk.client(address(2), now).unwrap();
        assert_eq!(desk.client(address(3), now).unwrap_err().code, RefusalCode::ClientsMax);
        drop(one);
        desk.client(address(1), now).unwrap();
        let connections: Vec<_> = (0..5).map(|_| desk.connection()).collect();
        assert_eq!(connections.iter().flatten().count(), 4);
    }

    #[test]
    fn plays_are_paced_with_a_burst() {
        let desk = desk(|bounds| bounds.address_plays = Some(PlayRate { per_second: 2.0, burst: 3 }));
        let now = Instant::now();
        for _ in 0..3 {
            desk.client(address(1), now).unwrap();
        }
        let refused = desk.client(address(1), now).unwrap_err();
        assert_eq!((refused.code, refused.retry_after_s), (RefusalCode::AddressRate, Some(1)));
        desk.client(address(2), now).unwrap();
        desk.client(address(1), now + Duration::from_millis(500)).unwrap();
        desk.client(address(1), now + Duration::from_millis(500)).unwrap_err();
    }

    #[test]
    fn a_burst_that_is_counted_out_of_order_is_let_in_whole() {
        let desk = desk(|bounds| bounds.address_plays = Some(PlayRate { per_second: 0.05, burst: 3 }));
        let begun = Instant::now();
        for after in [40, 20, 0] {
            desk.client(address(1), begun + Duration::from_millis(after)).unwrap();
        }
        desk.client(address(1), begun + Duration::from_millis(100)).unwrap_err();
    }

    #[test]
    fn idle_addresses_are_forgotten() {
        let desk = desk(|bounds| bounds.address_clients_max = Some(1));
        for n in 0..200_000 {
            drop(desk.client(address(n), Instant::now()).unwrap());
        }
        let kept: usize = desk.addresses.iter().map(|bucket| bucket.load().len()).sum();
        assert!(kept <= BUCKETS * BUCKET_LEN_MAX, "{kept} addresses kept");
    }
}
