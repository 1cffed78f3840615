//! Listening sockets and admission: who may connect, how many at a time, how often.

mod admission;

pub use admission::{Admission, Bounds, PlayRate};
