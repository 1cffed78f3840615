//! Players on several cores. Each thread plays with a crowd of its own; between two runs all of them belong to the caller, so
//! nothing is shared while they play, and nothing is locked.

use std::io;
use std::panic::resume_unwind;
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use super::Error;
use super::churn::{Churn, Passed};
use super::client::{Client, Kind};
use super::crowd::{Crowd, Habits};
use crate::report::Times;
use crate::sys;

/// Lets each part play on its core, all at the same time, and waits for them. A single part plays on the calling thread.
///
/// # Errors
/// The first failure of any; the others have ended as well.
pub(super) fn on_each<T: Send>(
    parts: &mut [T],
    cores: &[usize],
    play: impl Fn(&mut T) -> io::Result<()> + Sync,
) -> io::Result<()> {
    if let [only] = parts {
        return play(only);
    }
    let play = &play;
    thread::scope(|scope| {
        let started = parts.iter_mut().zip(cores).map(|(part, core)| {
            thread::Builder::new().name("players".to_owned()).spawn_scoped(scope, move || {
                sys::pin(*core)?;
                play(part)
            })
        });
        let started = started.collect::<io::Result<Vec<_>>>()?;
        let ended: Vec<_> = started.into_iter().map(ScopedJoinHandle::join).collect();
        ended.into_iter().try_for_each(|ended| ended.unwrap_or_else(|panic| resume_unwind(panic)))
    })
}

/// Keeps this thread on the only core there is to play on; of several it looks whether all are there.
pub(super) fn pin(cores: &[usize]) -> Result<(), Error> {
    let pinned = match cores {
        [] => Ok(()),
        [only] => sys::pin(*only),
        several => on_each(&mut vec![(); several.len()], several, |()| Ok(())),
    };
    pinned.map_err(|cause| Error::System { what: "pinning to the core", cause })
}

/// All players: a crowd for each core.
pub(super) struct Crowds {
    crowds: Vec<Crowd>,
    cores: Vec<usize>,
}

/// Who was there at a moment.
pub(super) struct Mark(Vec<usize>);

impl Crowds {
    /// Without cores, one crowd wherever the kernel runs it.
    pub(super) fn new(habits: &Habits, cores: &[usize]) -> io::Result<Self> {
        let crowds = (0..cores.len().max(1)).map(|_| Crowd::new(habits.clone()));
        Ok(Self { crowds: crowds.collect::<io::Result<_>>()?, cores: cores.to_owned() })
    }

    /// Adds players that connect one after the other within `ramp`, channels in turn.
    pub(super) fn add(&mut self, kinds: &[Kind], ramp: Duration) {
        let (now, before, count) = (Instant::now(), self.clients().count(), self.crowds.len());
        // Each core gets as many of each kind: one that checks packets costs what hundreds cost that do not.
        let mut turns = [0; Kind::COUNT];
        for (place, kind) in kinds.iter().enumerate() {
            let due = now + ramp.mul_f64(place as f64 / kinds.len() as f64);
            let turn = &mut turns[*kind as usize];
            self.crowds[*turn % count].add(*kind, before + place, due);
            *turn += 1;
        }
    }

    /// Adds players that come one after the other, so many a second, stay for the given time each, and come again.
    pub(super) fn add_passing(&mut self, per_second: f64, stay: Duration) {
        let count = ((per_second * stay.as_secs_f64()).round() as usize).max(1);
        self.crowds.iter_mut().for_each(|crowd| crowd.churn = Some(Churn::new(stay)));
        self.add(&vec![Kind::Passing; count], stay);
    }

    /// Lets the players that stall go, at once. They are forgotten as far as they are the last that were added.
    pub(super) fn dismiss_stalled(&mut self) {
        self.crowds.iter_mut().for_each(Crowd::dismiss_stalled);
    }

    /// Remembers who is there.
    pub(super) fn mark(&self) -> Mark {
        Mark(self.crowds.iter().map(|crowd| crowd.clients.len()).collect())
    }

    /// Those who were there.
    pub(super) fn before(&self, mark: &Mark) -> impl Iterator<Item = &Client> + Clone {
        self.crowds.iter().zip(&mark.0).flat_map(|(crowd, len)| &crowd.clients[..*len])
    }

    /// Those who came after.
    pub(super) fn since(&self, mark: &Mark) -> impl Iterator<Item = &Client> + Clone {
        self.crowds.iter().zip(&mark.0).flat_map(|(crowd, len)| &crowd.clients[*len..])
    }

    /// Lets those who came after go, and forgets them. None of them reads at the stream's rate.
    pub(super) fn dismiss_since(&mut self, mark: &Mark) {
        self.crowds.iter_mut().zip(&mark.0).for_each(|(crowd, len)| crowd.dismiss_from(*len));
    }

    /// Every player of every core.
    pub(super) fn clients(&self) -> impl Iterator<Item = &Client> + Clone {
        self.crowds.iter().flat_map(|crowd| &crowd.clients)
    }

    /// Those that run and are judged.
    pub(super) fn served(&self) -> impl Iterator<Item = &Client> {
        self.clients().filter(|client| client.is_served())
    }

    /// The longest gap that ended since this was last asked.
    pub(super) fn take_gap(&mut self) -> Duration {
        self.crowds.iter_mut().map(Crowd::take_gap).max().unwrap_or_default()
    }

    /// Every player has joined, stalled or gone; those that pass are always on the way.
    pub(super) fn has_joined(&self) -> bool {
        self.crowds.iter().all(Crowd::has_joined)
    }

    /// Bytes of all players since the measurement began, of those who left, too.
    pub(super) fn measured(&self) -> u64 {
        self.crowds.iter().map(Crowd::measured).sum()
    }

    /// Times between reads of players that drain, and of those that pace.
    pub(super) fn gaps(&self) -> (Times, Times) {
        let mut all = (Times::default(), Times::default());
        for crowd in &self.crowds {
            all.0.add_all(&crowd.gaps_drained);
            all.1.add_all(&crowd.gaps_paced);
        }
        all
    }

    /// How those fared that passed, when there are any.
    pub(super) fn passed(&self) -> Option<Passed> {
        let churns: Vec<&Churn> = self.crowds.iter().filter_map(|crowd| crowd.churn.as_ref()).collect();
        (!churns.is_empty()).then(|| Passed::of(&churns))
    }

    /// CPU that the busiest of them used since the measurement began.
    pub(super) fn busiest(&self) -> Duration {
        self.crowds.iter().map(|crowd| crowd.cpu).max().unwrap_or_default()
    }

    /// Starts counting anew.
    pub(super) fn begin_interval(&mut self) {
        self.crowds.iter_mut().for_each(Crowd::begin_interval);
    }

    /// Counts the silence that lasts at this moment, too: who receives nothing any more has no next read.
    pub(super) fn end_interval(&mut self) {
        self.crowds.iter_mut().for_each(Crowd::end_interval);
    }

    /// Plays until the given instant.
    ///
    /// # Errors
    /// The kernel refuses an epoll call, which would be a mistake of ours, or a thread.
    pub(super) fn run(&mut self, until: Instant) -> io::Result<()> {
        on_each(&mut self.crowds, &self.cores, |crowd| crowd.run(until))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::play::Options;

    /// Guards: every core gets as many of each kind, a player's channel and address are those of its place among all, and those
    /// who came last are forgotten on every core, no others.
    #[test]
    fn each_core_has_its_share_of_each_kind() {
        let options = Options::new("127.0.0.1:1".parse().expect("address"), vec!["/".to_owned()]);
        let mut crowds = Crowds::new(&options.habits(), &[0, 0]).expect("epoll");
        let kinds = [Kind::Checked, Kind::Drained, Kind::Checked, Kind::Drained, Kind::Paced, Kind::Paced];
        crowds.add(&kinds.repeat(2), Duration::ZERO);
        let of = |crowd: &Crowd, kind| crowd.clients.iter().filter(|client| client.kind == kind).count();
        for crowd in &crowds.crowds {
            assert_eq!([Kind::Checked, Kind::Drained, Kind::Paced].map(|kind| of(crowd, kind)), [2, 2, 2]);
        }
        let mark = crowds.mark();
        crowds.add(&[Kind::Drained; 3], Duration::ZERO);
        assert_eq!(crowds.crowds.iter().map(|it| it.clients.len()).collect::<Vec<_>>(), [8, 7]);
        let places = |clients: &mut dyn Iterator<Item = &Client>| {
            let mut places: Vec<usize> = clients.map(|client| client.place).collect();
            places.sort_unstable();
            places
        };
        assert_eq!(places(&mut crowds.clients()), (0..15).collect::<Vec<_>>());
        assert_eq!(places(&mut crowds.since(&mark)), [12, 13, 14]);
        crowds.dismiss_since(&mark);
        assert_eq!(places(&mut crowds.clients()), (0..12).collect::<Vec<_>>());
    }

    /// Guards: parts are played with at the same time, and one that fails or has no core fails all of them, after the others ended.
    #[test]
    fn parts_play_at_the_same_time_and_fail_together() {
        let (to_second, at_second) = mpsc::channel();
        let (to_first, at_first) = mpsc::channel();
        // Each waits for a word of the other one's; the second ends in a failure.
        let mut parts =
            [(to_second, at_first, Ok(())), (to_first, at_second, Err(io::ErrorKind::BrokenPipe))];
        let played = on_each(&mut parts, &[0, 0], |(to, at, end)| {
            to.send(()).map_err(|_| io::ErrorKind::NotConnected)?;
            at.recv_timeout(Duration::from_secs(30)).map_err(|_| io::ErrorKind::TimedOut)?;
            end.map_err(io::Error::from)
        });
        assert_eq!(played.map_err(|error| error.kind()), Err(io::ErrorKind::BrokenPipe));
        assert!(pin(&[0, 100_000]).is_err_and(|error| error.to_string().contains("core")));
    }
}
