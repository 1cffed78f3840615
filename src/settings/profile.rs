//! Profiles: one word that chooses several defaults together.
//!
//! A profile never wins over what somebody set: it stands where the table of variables has its own default. The bound of what may wait
//! unsent for a player follows from tick and rate by itself.

/// A set of defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Profile {
    /// Its name; they are the choices of `PROFILE`, in that order.
    pub(super) name: &'static str,
    /// What each variable holds that has another default in it.
    defaults: &'static [(&'static str, &'static str)],
    /// Share of the memory limit that windows may take, in percent.
    pub(super) window_percent: u64,
}

/// Every profile; the first is that of an appliance that was told nothing.
pub(super) const ALL: [Profile; 4] = [
    Profile { name: "balanced", defaults: &[], window_percent: 50 },
    // Long ticks cost less per byte. Sockets need the memory; joiners come in numbers and fetch less each; sessions that come and go
    // are worth keeping.
    Profile {
        name: "many-clients",
        defaults: &[("TICK_MS", "100"), ("JOIN_BEHIND_S", "5"), ("PROXY_GRACE_PERIOD", "15")],
        window_percent: 25,
    },
    // The same tick, whole windows at high rates.
    Profile {
        name: "high-bandwidth",
        defaults: &[("TICK_MS", "100"), ("JOIN_BEHIND_S", "10"), ("PROXY_GRACE_PERIOD", "5")],
        window_percent: 65,
    },
    // As near to live as a player can follow; an engine that fails is then seen.
    Profile {
        name: "low-latency",
        defaults: &[("TICK_MS", "20"), ("JOIN_BEHIND_S", "1"), ("PROXY_GRACE_PERIOD", "5")],
        window_percent: 25,
    },
];

impl Profile {
    /// Its default of a variable, where it has one.
    pub(super) fn default_of(&self, name: &str) -> Option<&'static str> {
        self.defaults.iter().find(|(own, _)| *own == name).map(|(_, text)| *text)
    }
}

#[cfg(test)]
mod tests {
    use super::super::names::{self, Kind};
    use super::*;

    /// Guards: the choices of the variable are these profiles, and each changes variables that exist.
    #[test]
    fn the_variable_names_these_profiles() {
        let Kind::Choice(words) = names::PROFILE.kind else { panic!("PROFILE is a choice") };
        assert_eq!(words, ALL.map(|profile| profile.name));
        for (name, _) in ALL.iter().flat_map(|profile| profile.defaults) {
            assert!(names::ALL.iter().any(|variable| variable.name == *name), "{name}");
        }
    }
}
