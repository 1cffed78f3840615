//! How long a tick is: short while there is room, longer as the shard fills.
//!
//! What a shard does for each tick, for each client and for each source, costs the same however much there is to send. So
//! a longer tick is what a shard has to spare, and players see of it gaps as long as the tick. What counts is all the work
//! of the shard's thread: with hundreds of broadcasts most of it is reading them, not serving clients.
//!
//! Once each visit gives a client so much that its bytes are most of what it costs, a longer tick saves little more and is
//! not taken: whatever delays a shard that is nearly full adds to the tick, and players see the sum.
//!
//! Pure.

use crate::settings::Tick;
use std::time::Duration;

/// The share of its time that a shard may be at work before the tick is stretched.
const WORK_SHARE_MAX: f64 = 0.3;
/// And below which it is shortened again, at once by as much as leaves no more than the next one even where all of the work
/// is by the tick: players who come in numbers fill a shard for a moment only.
const WORK_SHARE_MIN: f64 = 0.24;
const WORK_SHARE_SHORT: f64 = 0.27;
const STRETCH: f64 = 1.25;
/// Bytes of a visit beyond which a longer tick saves little: a thousand players of 8 Mbit/s take a seventh less CPU per byte at
/// 200 ms than at 100, and 8,000 no less in the few runs there are.
const VISIT_BYTES_ENOUGH: f64 = 100_000.0;
/// A tick that a shard's clients have outgrown by less stays: their rates vary.
const OUTGROWN: f64 = 1.1;
/// Walks that are looked at together: single ones vary.
const WALKS: u32 = 8;

const _: () = assert!(WORK_SHARE_MIN < WORK_SHARE_SHORT && WORK_SHARE_SHORT < WORK_SHARE_MAX);
const _: () = assert!(WORK_SHARE_MIN <= WORK_SHARE_MAX / STRETCH);

/// A walk that is over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Walk {
    /// How long it took.
    pub took: Duration,
    /// How long the shard was at work meanwhile.
    pub work: Duration,
    /// Bytes sent to players.
    pub sent: u64,
    /// Those who were met.
    pub clients: usize,
}

/// See the module text.
#[derive(Debug)]
pub(super) struct Tempo {
    setting: Tick,
    tick: Duration,
    walks: u32,
    took: Duration,
    work: Duration,
    /// Bytes per client.
    sent: f64,
}

impl Tempo {
    pub(super) fn new(setting: Tick) -> Self {
        let tick = match setting {
            Tick::Adaptive => Tick::ADAPTIVE_MIN,
            Tick::Fixed(tick) => tick,
        };
        Self { setting, tick, walks: 0, took: Duration::ZERO, work: Duration::ZERO, sent: 0.0 }
    }

    /// The time in which every client is met once.
    pub(super) fn tick(&self) -> Duration {
        self.tick
    }

    /// A walk is over. What is set may have changed.
    pub(super) fn walked(&mut self, setting: Tick, walk: Walk) {
        if self.setting != setting {
            *self = Self::new(setting);
        }
        if setting != Tick::Adaptive {
            return;
        }
        self.walks += 1;
        self.took += walk.took;
        self.work += walk.work;
        self.sent += walk.sent as f64 / walk.clients.max(1) as f64;
        if self.walks < WALKS {
            return;
        }
        let took = self.took.as_secs_f64().max(1e-9);
        let (share, rate) = (self.work.as_secs_f64() / took, self.sent / took);
        (self.walks, self.took, self.work, self.sent) = (0, Duration::ZERO, Duration::ZERO, 0.0);
        let longest = Duration::from_millis((1000.0 * VISIT_BYTES_ENOUGH / rate).round() as u64);
        let longest = longest.clamp(Tick::ADAPTIVE_MIN, Tick::ADAPTIVE_MAX);
        if share < WORK_SHARE_MIN {
            self.tick = self.tick.mul_f64(share / WORK_SHARE_SHORT).max(Tick::ADAPTIVE_MIN);
        } else if self.tick > longest.mul_f64(OUTGROWN) {
            self.tick = longest;
        } else if share > WORK_SHARE_MAX {
            self.tick = self.tick.mul_f64(STRETCH).min(longest).max(self.tick);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENTS: usize = 100;

    fn walk(took: Duration, work: Duration, rate: u64) -> Walk {
        let sent = (rate as f64 * took.as_secs_f64()) as u64 * CLIENTS as u64;
        Walk { took, work, sent, clients: CLIENTS }
    }

    /// A shard whose work is partly by the second and partly by the tick, and whose clients take so many bytes a second, until
    /// the tick rests.
    fn settled(tempo: &mut Tempo, by_second: f64, by_tick: Duration, rate: u64) -> Duration {
        let mut before = Vec::new();
        for _ in 0..100 * WALKS {
            let tick = tempo.tick();
            tempo.walked(Tick::Adaptive, walk(tick, (tick.mul_f64(by_second) + by_tick).min(tick), rate));
            before.push(tick);
        }
        let last = &before[before.len() - 20 * WALKS as usize..];
        assert!(last.iter().all(|tick| *tick == last[0]), "it goes to and fro: {last:?}");
        last[0]
    }

    /// Guards: the tick is short while there is room, rests wherever the work leaves it, goes to its bounds and back.
    #[test]
    fn the_tick_follows_the_work() {
        let ms = Duration::from_millis;
        let mut tempo = Tempo::new(Tick::Adaptive);
        assert_eq!(settled(&mut tempo, 0.1, ms(9), 0), Tick::ADAPTIVE_MIN);
        for by_tick in 11..40 {
            let tick = settled(&mut tempo, 0.1, ms(by_tick), 250_000);
            let share = 0.1 + by_tick as f64 / tick.as_secs_f64() / 1000.0;
            assert!(share <= WORK_SHARE_MAX || tick == Tick::ADAPTIVE_MAX, "{share} with {tick:?}");
        }
        assert_eq!(settled(&mut tempo, 0.9, ms(10), 500_000), Tick::ADAPTIVE_MAX);
        // Once a crowd has joined it is short again with the next look.
        (0..WALKS).for_each(|_| tempo.walked(Tick::Adaptive, walk(ms(200), ms(13), 0)));
        assert_eq!(tempo.tick(), Tick::ADAPTIVE_MIN);
        assert_eq!(settled(&mut tempo, 0.1, ms(5), 0), Tick::ADAPTIVE_MIN);
    }

    /// Guards: however full the shard is, a tick is not longer than it takes for a visit to be worth it, with overloads that make
    /// walks late as with those that do not; and it follows the rate.
    #[test]
    fn a_visit_that_is_worth_it_ends_the_stretch() {
        let ms = Duration::from_millis;
        let mut tempo = Tempo::new(Tick::Adaptive);
        assert_eq!(settled(&mut tempo, 0.9, ms(10), 1_000_000), ms(100));
        assert_eq!(settled(&mut tempo, 0.9, ms(10), 1_050_000), ms(100), "a rate that varies");
        assert_eq!(settled(&mut tempo, 0.9, ms(10), 10_000_000), Tick::ADAPTIVE_MIN);
        assert_eq!(settled(&mut tempo, 0.9, ms(10), 500_000), Tick::ADAPTIVE_MAX);
        assert_eq!(settled(&mut tempo, 0.9, ms(10), 1_250_000), ms(80));
        for _ in 0..10 * WALKS {
            let took = tempo.tick() * 3;
            tempo.walked(Tick::Adaptive, walk(took, took, 1_000_000));
        }
        assert_eq!(tempo.tick(), ms(100), "walks that are late");
    }

    /// Guards: one slow walk does not stretch it, and what is set holds at once.
    #[test]
    fn single_walks_and_settings() {
        let ms = Duration::from_millis;
        let mut tempo = Tempo::new(Tick::Adaptive);
        for at in 0..10 * WALKS {
            let work = if at % WALKS == 3 { ms(50) } else { ms(10) };
            tempo.walked(Tick::Adaptive, walk(ms(50), work, 0));
        }
        assert_eq!(tempo.tick(), Tick::ADAPTIVE_MIN);
        tempo.walked(Tick::Fixed(ms(20)), walk(ms(50), ms(50), 0));
        assert_eq!(tempo.tick(), ms(20));
        (0..10 * WALKS).for_each(|_| tempo.walked(Tick::Fixed(ms(20)), walk(ms(20), ms(20), 0)));
        assert_eq!(tempo.tick(), ms(20));
        tempo.walked(Tick::Adaptive, walk(ms(20), ms(0), 0));
        assert_eq!(tempo.tick(), Tick::ADAPTIVE_MIN);
    }
}
