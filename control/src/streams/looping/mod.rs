//! Live streams that do not go on: finding them ([`detector`]) and not playing them for a while ([`list`]). Pure.

mod detector;
mod list;

pub(crate) use detector::{Detector, Found, Repeats};
pub(crate) use list::{Entry, List};

use std::time::Duration;

/// How loops are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whether they are looked for at all.
    pub is_enabled: bool,
    /// How long nothing new may come.
    pub threshold: Duration,
    /// Between two checks.
    pub check_interval: Duration,
    /// How long a broadcast stays on the list after it was last found; zero is for ever.
    pub retention: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            is_enabled: false,
            threshold: Duration::from_secs(3600),
            check_interval: Duration::from_secs(10),
            retention: Duration::ZERO,
        }
    }
}
