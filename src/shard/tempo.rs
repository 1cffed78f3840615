//! How long a tick is: short while there is room, longer as the shard fills.
//!
//! What a shard does for each tick, for each client and for each source, costs the same however much there is to send. So
//! a longer tick is what a shard has to spare, and players see of it gaps as long as the tick. What counts is all the work
//! of the shard's thread: with hundreds of broadcasts most of it is reading them, not serving clients.
//!
//! Pure.

use crate::settings::Tick;
use std::time::Duration;

/// The share of its time that a shard may be at work before the tick is stretched.
const WORK_SHARE_MAX: f64 = 0.45;
/// And below which it is shortened again, at once by as much as leaves no more than the next one even where all of the work
/// is by the tick: players who come in numbers fill a shard for a moment only.
const WORK_SHARE_MIN: f64 = 0.36;
const WORK_SHARE_SHORT: f64 = 0.4;
const STRETCH: f64 = 1.25;
/// Walks that are looked at together: single ones vary.
const WALKS: u32 = 8;

const _: () = assert!(WORK_SHARE_MIN < WORK_SHARE_SHORT && WORK_SHARE_SHORT < WORK_SHARE_MAX);
const _: () = assert!(WORK_SHARE_MIN <= WORK_SHARE_MAX / STRETCH);

/// See the module text.
#[derive(Debug)]
pub(super) struct Tempo {
    setting: Tick,
    tick: Duration,
    walks: u32,
    took: Duration,
    work: Duration,
}

impl Tempo {
    pub(super) fn new(setting: Tick) -> Self {
        let tick = match setting {
            Tick::Adaptive => Tick::ADAPTIVE_MIN,
            Tick::Fixed(tick) => tick,
        };
        Self { setting, tick, walks: 0, took: Duration::ZERO, work: Duration::ZERO }
    }

    /// The time in which every client is met once.
    pub(super) fn tick(&self) -> Duration {
        self.tick
    }

    /// A walk is over that took so long, in which the shard was at work for so long. What is set may have changed.
    pub(super) fn walked(&mut self, setting: Tick, took: Duration, work: Duration) {
        if self.setting != setting {
            *self = Self::new(setting);
        }
        if setting != Tick::Adaptive {
            return;
        }
        self.walks += 1;
        self.took += took;
        self.work += work;
        if self.walks < WALKS {
            return;
        }
        let share = self.work.as_secs_f64() / self.took.as_secs_f64().max(1e-9);
        (self.walks, self.took, self.work) = (0, Duration::ZERO, Duration::ZERO);
        if share > WORK_SHARE_MAX {
            self.tick = self.tick.mul_f64(STRETCH).min(Tick::ADAPTIVE_MAX);
        } else if share < WORK_SHARE_MIN {
            self.tick = self.tick.mul_f64(share / WORK_SHARE_SHORT).max(Tick::ADAPTIVE_MIN);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shard whose work is partly by the second and partly by the tick, until the tick rests.
    fn settled(tempo: &mut Tempo, by_second: f64, by_tick: Duration) -> Duration {
        let mut before = Vec::new();
        for _ in 0..100 * WALKS {
            let tick = tempo.tick();
            tempo.walked(Tick::Adaptive, tick, (tick.mul_f64(by_second) + by_tick).min(tick));
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
        assert_eq!(settled(&mut tempo, 0.2, ms(9)), Tick::ADAPTIVE_MIN);
        for by_tick in 11..40 {
            let tick = settled(&mut tempo, 0.2, ms(by_tick));
            let share = 0.2 + by_tick as f64 / tick.as_secs_f64() / 1000.0;
            assert!(share <= WORK_SHARE_MAX || tick == Tick::ADAPTIVE_MAX, "{share} with {tick:?}");
        }
        assert_eq!(settled(&mut tempo, 0.9, ms(10)), Tick::ADAPTIVE_MAX);
        // Once a crowd has joined it is short again with the next look.
        (0..WALKS).for_each(|_| tempo.walked(Tick::Adaptive, ms(200), ms(20)));
        assert_eq!(tempo.tick(), Tick::ADAPTIVE_MIN);
        assert_eq!(settled(&mut tempo, 0.1, ms(5)), Tick::ADAPTIVE_MIN);
    }

    /// Guards: one slow walk does not stretch it, and what is set holds at once.
    #[test]
    fn single_walks_and_settings() {
        let ms = Duration::from_millis;
        let mut tempo = Tempo::new(Tick::Adaptive);
        for walk in 0..10 * WALKS {
            let work = if walk % WALKS == 3 { ms(50) } else { ms(10) };
            tempo.walked(Tick::Adaptive, ms(50), work);
        }
        assert_eq!(tempo.tick(), Tick::ADAPTIVE_MIN);
        tempo.walked(Tick::Fixed(ms(20)), ms(50), ms(50));
        assert_eq!(tempo.tick(), ms(20));
        (0..10 * WALKS).for_each(|_| tempo.walked(Tick::Fixed(ms(20)), ms(20), ms(20)));
        assert_eq!(tempo.tick(), ms(20));
        tempo.walked(Tick::Adaptive, ms(20), ms(0));
        assert_eq!(tempo.tick(), Tick::ADAPTIVE_MIN);
    }
}
