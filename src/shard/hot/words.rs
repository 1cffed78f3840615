//! What shards say to each other about a session that several of them serve.
//!
//! Between two shards words keep their order, which is what the rest relies on: players come before the word that there
//! are no more of them, and a copy has what a player that comes is to be sent next. A full inbox is no end: what cannot be
//! sent waits here and is sent again, and of what would only say more of the same one is kept. So what waits is bounded by
//! the players and sessions there are.

use super::Shard;
use crate::client::ClientState;
use crate::session::{Growth, Opening, Title};
use monoio::time::sleep;
use sluice_contract::link::{self, Receiver, Rejected, Sender};
use sluice_contract::{EndReason, Guard, ShardId, StreamKey};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

/// Words that wait for a shard: a second of growth of a hundred sessions.
const INBOX: usize = 1024;
/// Between two tries with a full inbox.
const AGAIN: Duration = Duration::from_millis(5);

/// A player on its way to another shard.
pub(super) struct Moving {
    pub(super) fd: OwnedFd,
    pub(super) state: ClientState,
    pub(super) guards: [Guard; 2],
}

/// One word.
pub(super) enum Word {
    /// To a shard that is to serve a session too.
    Open(Box<Opening>),
    /// More has come.
    Growth {
        /// Of which session.
        serial: u64,
        /// What.
        growth: Box<Growth>,
    },
    /// Players to serve.
    Players {
        /// Of which session.
        serial: u64,
        /// Whose session that is.
        owner: ShardId,
        /// What it is known by.
        title: Title,
        /// The players.
        players: Vec<Moving>,
    },
    /// Some players are to be served elsewhere.
    Recall {
        /// Of which session.
        serial: u64,
        /// How many.
        count: usize,
    },
    /// All of them are, and the session no more here.
    Close {
        /// Which session.
        serial: u64,
    },
    /// The session ends.
    End {
        /// Which session.
        serial: u64,
        /// Why, for its players too.
        reason: EndReason,
    },
    /// Players that come back.
    Back {
        /// Of which session.
        serial: u64,
        /// From whom.
        from: ShardId,
        /// What the session is known by.
        title: Title,
        /// The players.
        players: Vec<Moving>,
    },
    /// Players have left.
    Left {
        /// Which session.
        serial: u64,
        /// The same by its key.
        key: StreamKey,
        /// From whom.
        from: ShardId,
        /// How many.
        count: usize,
    },
    /// How a shard stands with a session it serves.
    Stands {
        /// Which session.
        serial: u64,
        /// The same by its key.
        key: StreamKey,
        /// Who says it.
        from: ShardId,
        /// Where its window begins.
        tail: u64,
        /// Where its hindmost player stands.
        hindmost: u64,
    },
    /// A session is served no more.
    Closed {
        /// Which session.
        serial: u64,
        /// The same by its key.
        key: StreamKey,
        /// By whom.
        from: ShardId,
    },
}

impl Word {
    fn serial(&self) -> u64 {
        match self {
            Self::Open(opening) => opening.serial,
            Self::Growth { serial, .. }
            | Self::Players { serial, .. }
            | Self::Recall { serial, .. }
            | Self::Close { serial }
            | Self::End { serial, .. }
            | Self::Back { serial, .. }
            | Self::Left { serial, .. }
            | Self::Stands { serial, .. }
            | Self::Closed { serial, .. } => *serial,
        }
    }

    /// Whether nothing that comes after it may be said before it.
    fn is_turn(&self) -> bool {
        matches!(self, Self::Open(_) | Self::Close { .. } | Self::End { .. } | Self::Closed { .. })
    }

    /// Takes in a word that only says more of the same; any other comes back.
    fn join(&mut self, newer: Self) -> Result<(), Self> {
        match (self, newer) {
            (Self::Growth { growth, .. }, Self::Growth { growth: newer, .. }) => growth.join(*newer),
            (Self::Left { count, .. }, Self::Left { count: more, .. }) => *count += more,
            (older @ Self::Stands { .. }, newer @ Self::Stands { .. }) => *older = newer,
            (_, newer) => return Err(newer),
        }
        Ok(())
    }
}

/// Puts a word behind those that wait, or into one of them.
fn hold(waiting: &mut VecDeque<Word>, mut word: Word) {
    let serial = word.serial();
    for older in waiting.iter_mut().rev().filter(|older| older.serial() == serial) {
        if older.is_turn() {
            break;
        }
        match older.join(word) {
            Ok(()) => return,
            Err(other) => word = other,
        }
    }
    waiting.push_back(word);
}

/// A shard's ends of the links between shards.
pub struct Peers {
    all: Vec<Sender<Word>>,
    inbox: Receiver<Word>,
}

/// The links between so many shards, in shard order; one shard alone has none.
pub fn peers(count: u16) -> Vec<Option<Peers>> {
    if count < 2 {
        return (0..count).map(|_| None).collect();
    }
    let (all, inboxes): (Vec<_>, Vec<_>) = (0..count).map(|_| link::link(INBOX)).unzip();
    inboxes.into_iter().map(|inbox| Some(Peers { all: all.clone(), inbox })).collect()
}

/// What a shard has to say to the others.
#[derive(Default)]
pub(super) struct Post {
    to: Vec<Sender<Word>>,
    waiting: RefCell<Vec<VecDeque<Word>>>,
    is_trying: Cell<bool>,
}

impl Post {
    pub(super) fn new(peers: Option<Peers>) -> (Self, Option<Receiver<Word>>) {
        let Some(Peers { all, inbox }) = peers else { return (Self::default(), None) };
        let waiting = RefCell::new(all.iter().map(|_| VecDeque::new()).collect());
        (Self { to: all, waiting, is_trying: Cell::new(false) }, Some(inbox))
    }

    /// How many shards there are besides this one.
    pub(super) fn others(&self) -> usize {
        self.to.len().saturating_sub(1)
    }

    /// Whether a shard has been sent everything.
    pub(super) fn is_clear(&self, to: ShardId) -> bool {
        self.waiting.borrow().get(usize::from(to.0)).is_none_or(VecDeque::is_empty)
    }

    /// Whether everything has been sent.
    pub(super) fn is_sent(&self) -> bool {
        self.waiting.borrow().iter().all(VecDeque::is_empty)
    }

    /// Sends what waits, as far as there is room; what nobody will ever hear comes back.
    fn try_all(&self) -> Vec<Word> {
        let mut unheard = Vec::new();
        for (to, waiting) in self.to.iter().zip(self.waiting.borrow_mut().iter_mut()) {
            while let Some(word) = waiting.pop_front() {
                match to.send(word) {
                    Ok(()) => {}
                    Err(Rejected::Full(word)) => {
                        waiting.push_front(word);
                        break;
                    }
                    Err(Rejected::Closed(word)) => unheard.push(word),
                }
            }
        }
        unheard
    }
}

/// Says a word to another shard. Never waits.
pub(super) fn say(shard: &Rc<Shard>, to: ShardId, word: Word) {
    let post = &shard.hot.post;
    let rejected = {
        let mut waiting = post.waiting.borrow_mut();
        let waiting = &mut waiting[usize::from(to.0)];
        if waiting.is_empty() {
            match post.to[usize::from(to.0)].send(word) {
                Ok(()) => return,
                Err(Rejected::Full(word)) => {
                    hold(waiting, word);
                    None
                }
                Err(Rejected::Closed(word)) => Some(word),
            }
        } else {
            hold(waiting, word);
            None
        }
    };
    if let Some(word) = rejected {
        return super::unheard(shard, word);
    }
    shard.counters.words_held.add(1);
    if !post.is_trying.replace(true) {
        let shard = shard.clone();
        shard.clone().spawn(async move {
            while !shard.hot.post.is_sent() {
                sleep(AGAIN).await;
                let unheard = shard.hot.post.try_all();
                unheard.into_iter().for_each(|word| super::unheard(&shard, word));
            }
            shard.hot.post.is_trying.set(false);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_contract::StreamName;

    fn key() -> StreamKey {
        let infohash = "00112233445566778899aabbccddeeff00112233".parse().unwrap();
        StreamKey { name: StreamName::Infohash(infohash), options: Default::default() }
    }

    fn left(serial: u64, count: usize) -> Word {
        Word::Left { serial, key: key(), from: ShardId(1), count }
    }

    fn stands(serial: u64, tail: u64) -> Word {
        Word::Stands { serial, key: key(), from: ShardId(1), tail, hindmost: tail }
    }

    fn told(waiting: &VecDeque<Word>) -> Vec<String> {
        let one = |word: &Word| match word {
            Word::Left { serial, count, .. } => format!("{serial} left {count}"),
            Word::Stands { serial, tail, .. } => format!("{serial} at {tail}"),
            Word::Closed { serial, .. } => format!("{serial} closed"),
            Word::Recall { serial, count } => format!("{serial} recall {count}"),
            _ => "another".to_owned(),
        };
        waiting.iter().map(one).collect()
    }

    /// Guards: what waits for a full inbox is bounded by what there is to say: more of the same goes into what waits, of each
    /// session by itself, and never before a word that changes what it means.
    #[test]
    fn what_waits_is_said_once() {
        let mut waiting = VecDeque::new();
        let closed = Word::Closed { serial: 1, key: key(), from: ShardId(1) };
        let words = [
            left(1, 1),
            stands(1, 10),
            left(2, 5),
            left(1, 2),
            stands(1, 20),
            Word::Recall { serial: 1, count: 3 },
            Word::Recall { serial: 1, count: 4 },
            closed,
            left(1, 7),
            left(1, 8),
        ];
        words.into_iter().for_each(|word| hold(&mut waiting, word));
        assert_eq!(
            told(&waiting),
            ["1 left 3", "1 at 20", "2 left 5", "1 recall 3", "1 recall 4", "1 closed", "1 left 15"]
        );
    }

    /// Guards: one shard alone has no links.
    #[test]
    fn one_shard_has_nobody_to_talk_to() {
        assert!(peers(1)[0].is_none());
        let mut three = peers(3);
        let (post, inbox) = Post::new(three.remove(0));
        assert_eq!((post.others(), inbox.is_some(), post.is_sent()), (2, true, true));
    }
}
