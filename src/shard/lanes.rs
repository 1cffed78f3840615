//! Who may send a piece of a segment now: a few at a time, in the order they came.
//!
//! Hundreds of segments may be on their way at once, each by the task of its connection. Without this, all of them would
//! send between two looks at the sockets, and a playlist would wait for the whole round. Owner: the shard.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// Pieces sent in one turn: a quarter of a millisecond or so.
const LANES: usize = 4;

/// The lanes of a shard.
pub(super) struct Lanes(RefCell<State>);

struct State {
    free: usize,
    next: u64,
    /// Who waits, by number.
    waiting: VecDeque<(u64, Waker)>,
}

impl Default for Lanes {
    fn default() -> Self {
        Self(RefCell::new(State { free: LANES, next: 0, waiting: VecDeque::new() }))
    }
}

impl Lanes {
    /// Waits for a lane, which is free again once dropped. Cancel safe.
    pub(super) async fn enter(&self) -> Lane<'_> {
        let mut place = Place { lanes: self, number: None };
        poll_fn(|cx| place.poll(cx.waker())).await;
        Lane(self)
    }

    fn wake_next(&self) {
        let state = self.0.borrow();
        if let Some((_, waker)) = state.waiting.front().filter(|_| state.free > 0) {
            waker.wake_by_ref();
        }
    }
}

/// The right to send one piece.
pub(super) struct Lane<'a>(&'a Lanes);

impl Drop for Lane<'_> {
    fn drop(&mut self) {
        self.0.0.borrow_mut().free += 1;
        self.0.wake_next();
    }
}

/// A place in the queue, given up when dropped.
struct Place<'a> {
    lanes: &'a Lanes,
    number: Option<u64>,
}

impl Place<'_> {
    fn poll(&mut self, waker: &Waker) -> Poll<()> {
        let mut state = self.lanes.0.borrow_mut();
        let is_first = match self.number {
            Some(own) => state.waiting.front().is_some_and(|(number, _)| *number == own),
            None => state.waiting.is_empty(),
        };
        if is_first && state.free > 0 {
            state.free -= 1;
            if self.number.take().is_some() {
                state.waiting.pop_front();
            }
            drop(state);
            self.lanes.wake_next();
            return Poll::Ready(());
        }
        match self.number {
            Some(own) => {
                if let Some((_, known)) = state.waiting.iter_mut().find(|(number, _)| *number == own) {
                    known.clone_from(waker);
                }
            }
            None => {
                let number = state.next;
                state.next += 1;
                state.waiting.push_back((number, waker.clone()));
                self.number = Some(number);
            }
        }
        Poll::Pending
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let Some(own) = self.number else { return };
        self.lanes.0.borrow_mut().waiting.retain(|(number, _)| *number != own);
        self.lanes.wake_next();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    /// Guards: so many at a time and no more, the others in the order they came, and one that gives up holds nobody up.
    #[test]
    fn lanes_are_given_in_order() {
        let lanes = Lanes::default();
        let mut taken: Vec<Lane<'_>> =
            (0..LANES).map(|_| lanes.enter().now_or_never().expect("a free lane")).collect();
        let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(lanes.enter())).collect();
        assert!(waiting.iter_mut().all(|one| one.now_or_never().is_none()));
        taken.pop();
        assert!(lanes.enter().now_or_never().is_none(), "who comes later does not overtake");
        assert!(waiting[1].as_mut().now_or_never().is_none());
        drop(waiting.remove(0));
        let second = waiting.remove(0).now_or_never().expect("its turn");
        assert!(waiting[0].as_mut().now_or_never().is_none());
        drop(second);
        let third = waiting.remove(0).now_or_never().expect("its turn");
        drop((taken, third));
        assert_eq!((lanes.0.borrow().free, lanes.0.borrow().waiting.len()), (LANES, 0));
    }
}
