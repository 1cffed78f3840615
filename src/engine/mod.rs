//! Speaking to one engine over HTTP: start, play, ask for figures, stop.
//!
//! Which engine, and what a failure means for the session, is not decided here. Every call has a deadline, every
//! answer a byte cap; nothing an engine sends is trusted. All calls are cancel safe in that a dropped call closes its
//! connection; whether the engine acted on it is then unknown, and for [`start`] that means a session may exist.
//!
//! Engines are peculiar: redirects without framing, errors with status 200, links that name hosts only they can see,
//! no header before the first media. The habits that follow from it: own connection per request, identity encoding,
//! the authority of every returned link replaced by the one we connected to, redirect bodies never read.

mod body;
mod exchange;
mod media;
mod segments;
mod start;
mod stat;

pub use body::{Body, State as BodyState};
pub(crate) use exchange::clip;
pub use exchange::{Endpoint, Error};
pub use media::{Came, Media};
pub use start::{Form, Started, probe, start, stop};
pub use stat::{fetch as fetch_stat, progress};
