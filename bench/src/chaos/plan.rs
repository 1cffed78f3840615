//! What goes wrong, and when: a schedule that follows from a seed. Pure.
//!
//! One thing goes wrong at a time and is over before the next, so that with two engines or more one is always well.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

/// Ways in which a source is spoiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Trouble {
    /// The engine dies and is replaced by a new one at the same address.
    Kill,
    /// The body is reset.
    Reset,
    /// The body ends.
    Eof,
    /// The body stands still, everything else answers.
    Silence,
    /// The engine answers nothing any more and its bodies stand still.
    Wedge,
    /// A byte a second, and every answer late.
    Slow,
    /// An operator moves the session to another engine.
    Move,
    /// The appliance is upgraded, to the program that lies where it was started from.
    Upgrade,
}

impl Trouble {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Kill,
        Self::Reset,
        Self::Eof,
        Self::Silence,
        Self::Wedge,
        Self::Slow,
        Self::Move,
        Self::Upgrade,
    ];

    /// Whether an engine in this trouble cannot be told to stop a session.
    pub(super) fn is_out_of_reach(self) -> bool {
        matches!(self, Self::Kill | Self::Wedge)
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kill => "kill",
            Self::Reset => "reset",
            Self::Eof => "eof",
            Self::Silence => "silence",
            Self::Wedge => "wedge",
            Self::Slow => "slow",
            Self::Move => "move",
            Self::Upgrade => "upgrade",
        })
    }
}

/// One thing that goes wrong, at the engine that serves a channel then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Time since the beginning.
    pub at: Duration,
    /// How long it lasts.
    pub lasts: Duration,
    /// What.
    pub trouble: Trouble,
    /// To which channel's source.
    pub channel: u32,
}

/// How much goes wrong.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How long all of it takes.
    pub duration: Duration,
    /// How long one thing lasts, about: a quarter of it to twice as long.
    pub lasts: Duration,
    /// How much later the next begins, about: half of it to one and a half times as long.
    pub pause: Duration,
}

/// The schedule that follows from a seed: every kind of trouble in a random order before one comes again.
pub fn schedule(seed: u64, channels: u32, pace: Pace) -> Vec<Step> {
    let mut random = Random(seed);
    let mut steps = Vec::new();
    let mut at = pace.pause / 2;
    let mut round: Vec<Trouble> = Vec::new();
    loop {
        if round.is_empty() {
            round.extend(Trouble::ALL);
        }
        let trouble = round.swap_remove(random.below(round.len() as u64) as usize);
        let lasts = random.share(pace.lasts, 25, 200);
        if at + lasts > pace.duration {
            return steps;
        }
        let channel = random.below(u64::from(channels.max(1))) as u32;
        steps.push(Step { at, lasts, trouble, channel });
        at += lasts + random.share(pace.pause, 50, 150);
    }
}

/// SplitMix64: every seed gives another sequence, neighbouring ones too.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// Between `least` and `most` hundredths of a time.
    fn share(&mut self, time: Duration, least: u64, most: u64) -> Duration {
        time.mul_f64((least + self.below(most - least + 1)) as f64 / 100.0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const PACE: Pace = Pace {
        duration: Duration::from_secs(600),
        lasts: Duration::from_secs(4),
        pause: Duration::from_secs(3),
    };

    /// Guards that a seed means one schedule, that nothing overlaps or outlives the run, and that all happens.
    #[test]
    fn a_seed_means_one_schedule_in_which_one_thing_goes_wrong_at_a_time() {
        let steps = schedule(7, 4, PACE);
        assert_eq!(steps, schedule(7, 4, PACE));
        assert_ne!(steps, schedule(8, 4, PACE));
        for pair in steps.windows(2) {
            assert!(pair[0].at + pair[0].lasts + PACE.pause / 2 <= pair[1].at, "{pair:?}");
        }
        let last = steps.last().expect("ten minutes are enough");
        assert!(last.at + last.lasts <= PACE.duration);
        let kinds: HashSet<Trouble> = steps.iter().map(|step| step.trouble).collect();
        assert_eq!(kinds.len(), Trouble::ALL.len());
        assert!(steps.iter().all(|step| step.channel < 4) && steps.iter().any(|step| step.channel == 3));
    }
}
