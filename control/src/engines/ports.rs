//! Ports of one range: who holds which. Pure.
//!
//! Every port has an owner, so that forgetting an engine gives back exactly what it held, and rebuilding the books from
//! a list of containers cannot take away what an engine that is just being made has been given.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

/// How long a port that turned out to be somebody else's is left alone.
const SHUN: Duration = Duration::from_secs(60);

/// A range of ports, both ends inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    first: u16,
    last: u16,
}

/// Why a range is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{first}-{last} is no range of ports: both ends are from 1 to 65535, the lower one first")]
pub struct RangeError {
    first: u16,
    last: u16,
}

impl PortRange {
    /// The range from `first` to `last`.
    ///
    /// # Errors
    /// When it is empty or begins with 0.
    pub const fn new(first: u16, last: u16) -> Result<Self, RangeError> {
        if first == 0 || first > last { Err(RangeError { first, last }) } else { Ok(Self { first, last }) }
    }

    /// The lowest port.
    pub const fn first(self) -> u16 {
        self.first
    }

    /// The highest port.
    pub const fn last(self) -> u16 {
        self.last
    }

    /// How many there are.
    pub const fn count(self) -> usize {
        (self.last - self.first) as usize + 1
    }

    /// Whether a port is in it.
    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }

    const fn after(self, port: u16) -> u16 {
        if port >= self.last { self.first } else { port + 1 }
    }
}

impl std::fmt::Display for PortRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// All ports of a range are held.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no free port left in {setting} ({range}): {held} held, {shunned} taken by other programs")]
pub struct Exhausted {
    /// Which setting names the range.
    pub setting: &'static str,
    /// The range.
    pub range: String,
    /// Ports held by engines.
    pub held: usize,
    /// Ports left alone for now.
    pub shunned: usize,
}

/// Who holds which port of a range. An owner is any name that is unique while it holds something.
#[derive(Clone, Debug)]
pub struct Ports {
    setting: &'static str,
    range: PortRange,
    next: u16,
    held: BTreeMap<u16, String>,
    shunned: HashMap<u16, Instant>,
}

impl Ports {
    /// All of a range, free. `setting` is named when it runs out.
    pub fn new(setting: &'static str, range: PortRange) -> Self {
        Self { setting, range, next: range.first, held: BTreeMap::new(), shunned: HashMap::new() }
    }

    /// Takes the next free port for an owner. Ports go round, so that one just given back rests.
    ///
    /// # Errors
    /// [`Exhausted`] when none is free.
    pub fn take(&mut self, now: Instant, owner: &str) -> Result<u16, Exhausted> {
        self.shunned.retain(|_, until| *until > now);
        let mut port = self.next;
        for _ in 0..self.range.count() {
            if !self.held.contains_key(&port) && !self.shunned.contains_key(&port) {
                self.held.insert(port, owner.to_owned());
                self.next = self.range.after(port);
                return Ok(port);
            }
            port = self.range.after(port);
        }
        Err(Exhausted {
            setting: self.setting,
            range: self.range.to_string(),
            held: self.held.len(),
            shunned: self.shunned.len(),
        })
    }

    /// Notes that an owner holds a port; one outside the range, or held by another owner, is not noted.
    pub fn hold(&mut self, port: u16, owner: &str) {
        if self.range.contains(port) {
            self.held.entry(port).or_insert_with(|| owner.to_owned());
        }
    }

    /// Gives back everything an owner holds.
    pub fn release(&mut self, owner: &str) {
        self.held.retain(|_, holder| holder != owner);
    }

    /// Leaves a port alone for a while: another program has it.
    pub fn shun(&mut self, now: Instant, port: u16) {
        if self.range.contains(port) {
            self.shunned.insert(port, now + SHUN);
        }
    }

    /// Who holds a port.
    pub fn holder(&self, port: u16) -> Option<&str> {
        self.held.get(&port).map(String::as_str)
    }

    /// Ports held.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// The range.
    pub fn range(&self) -> PortRange {
        self.range
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(first: u16, last: u16) -> Ports {
        Ports::new("PORT_RANGE_HOST", PortRange::new(first, last).unwrap())
    }

    /// Guards the rolling order: a port just given back is not handed out again while others are free.
    #[test]
    fn ports_go_round() {
        let (mut ports, now) = (ports(19000, 19002), Instant::now());
        assert_eq!(ports.take(now, "a"), Ok(19000));
        ports.release("a");
        assert_eq!(ports.take(now, "b"), Ok(19001));
        assert_eq!(ports.take(now, "c"), Ok(19002));
        assert_eq!(ports.take(now, "d"), Ok(19000));
        let exhausted = ports.take(now, "e").unwrap_err();
        assert!(exhausted.to_string().contains("PORT_RANGE_HOST (19000-19002): 3 held"), "{exhausted}");
        ports.release("c");
        assert_eq!(ports.take(now, "e"), Ok(19002));
    }

    /// Guards that forgetting one engine takes nothing from another, and that one port has one owner.
    #[test]
    fn every_port_has_one_owner() {
        let (mut ports, now) = (ports(1, 4), Instant::now());
        ports.hold(2, "adopted");
        ports.hold(2, "impostor");
        ports.hold(9, "outside");
        assert_eq!((ports.holder(2), ports.held()), (Some("adopted"), 1));
        assert_eq!(ports.take(now, "new"), Ok(1));
        assert_eq!(ports.take(now, "new"), Ok(3));
        ports.release("impostor");
        assert_eq!(ports.held(), 3);
        ports.release("new");
        assert_eq!((ports.holder(2), ports.held()), (Some("adopted"), 1));
    }

    /// Guards that a port of another program is left alone, and not for ever.
    #[test]
    fn a_shunned_port_comes_back() {
        let (mut ports, now) = (ports(7, 8), Instant::now());
        ports.shun(now, 7);
        assert_eq!(ports.take(now, "a"), Ok(8));
        assert!(ports.take(now, "b").is_err());
        assert_eq!(ports.take(now + SHUN + Duration::from_secs(1), "b"), Ok(7));
    }

    /// Guards the edges of the number space.
    #[test]
    fn ranges_have_two_ends() {
        assert!(PortRange::new(0, 5).is_err() && PortRange::new(6, 5).is_err());
        let all = PortRange::new(1, 65_535).unwrap();
        assert_eq!((all.count(), all.after(65_535), all.contains(65_535)), (65_535, 1, true));
    }
}
