//! Every stream that plays or played a short while ago, whoever plays it: our own sessions, and those that other proxies
//! report. Figures of each, second by second; finding streams that are dead or loop.
//!
//! [`book`] is what is known and [`tally`] what it comes to, [`follow`] tells it what the board shows of our own sessions, [`report`] what other proxies
//! say, [`poll`] asks engines about the latter's figures on connections that [`idle`] keeps, [`stale`] and [`looping`] find what does not go on, and [`service`]
//! ties them together. The book, like everything that decides, is pure. Nothing here keeps an answer waiting: whoever asks
//! is answered from the book, and the book is locked for as long as a look or one change takes.
//!
//! Invariants: a stream of our own session starts and ends with it and is ended by nobody else's event; ids are never given
//! to another stream; what the store has of a stream is what the book had when it last changed.

mod aggregate;
mod book;
mod follow;
mod history;
mod idle;
pub(crate) mod looping;
mod poll;
pub(crate) mod remote;
mod report;
mod sample;
mod service;
mod stale;
mod stream;
mod tally;
mod turns;

pub(crate) use book::Filter;
pub(crate) use report::{EndReport, Report};
pub(crate) use sample::{LivePos, Sample};
pub(crate) use service::{Handle, Settings, Sources, StopError, Sums, start};
pub(crate) use stream::{KeyType, Shown, State};
pub(crate) use tally::{Moved, Playing, Reported};
