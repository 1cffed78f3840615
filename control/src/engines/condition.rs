//! What is the matter with an engine, told apart by what to do about it. Pure: reads what checks, streams and Docker said.

use super::check::CheckFault;
use super::fleet::MemberStanding;
use super::health::State;
use super::plan::EngineStanding;

/// What is the matter with an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// It was not looked at yet.
    Unknown,
    /// Its container runs and it has not answered yet.
    Starting,
    /// Nothing.
    Well,
    /// It answered late once or twice.
    Slow,
    /// It takes connections and never answers.
    Hung,
    /// A stream failed on it, or somebody else's check is awaited.
    Doubted,
    /// Nothing listens where it should: its process ended, or its host is away.
    Dead,
    /// The kernel killed it for its memory.
    OutOfMemory,
    /// Its process ended and Docker starts it again.
    Restarting,
    /// It answers, and reaches no other peers.
    Disconnected,
    /// Its name has no address.
    Unresolved,
    /// Something else answers there.
    NoEngine,
}

impl Condition {
    /// Stable machine-readable name.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Starting => "starting",
            Self::Well => "well",
            Self::Slow => "slow",
            Self::Hung => "hung",
            Self::Doubted => "doubted",
            Self::Dead => "dead",
            Self::OutOfMemory => "out_of_memory",
            Self::Restarting => "restarting",
            Self::Disconnected => "disconnected",
            Self::Unresolved => "unresolved",
            Self::NoEngine => "no_engine",
        }
    }

    /// Whether it is a reason to look after the engine.
    pub(crate) const fn is_ill(self) -> bool {
        !matches!(self, Self::Unknown | Self::Starting | Self::Well | Self::Slow | Self::Doubted)
    }
}

/// What is the matter with an engine, and what was seen.
pub(crate) fn condition(
    engine: &EngineStanding,
    member: Option<&MemberStanding>,
) -> (Condition, Option<String>) {
    let is_down = engine.state == State::Down;
    let end = member.and_then(|member| member.end).filter(|_| engine.state != State::Healthy);
    let seen = engine.fault.as_ref().map(ToString::to_string);
    if let Some(end) = end
        && (end.is_out_of_memory || is_down)
    {
        let code = end.exit_code.map_or_else(String::new, |code| format!(" with {code}"));
        return match (end.is_out_of_memory, member.is_some_and(|member| member.is_restarting)) {
            (true, _) => {
                (Condition::OutOfMemory, Some(format!("its process ended{code}, killed for its memory")))
            }
            (false, true) => {
                (Condition::Restarting, Some(format!("its process ended{code} and is started again")))
            }
            (false, false) => (Condition::Dead, Some(format!("its process ended{code}"))),
        };
    }
    let condition = match &engine.fault {
        _ if is_down && member.is_some_and(|member| member.is_restarting) => Condition::Restarting,
        Some(_) if engine.kind.is_starting() => Condition::Starting,
        Some(CheckFault::Late(_)) if is_down => Condition::Hung,
        Some(CheckFault::Late(_)) => Condition::Slow,
        Some(CheckFault::Refused(_) | CheckFault::Closed(_) | CheckFault::Unconnected(_)) => Condition::Dead,
        Some(CheckFault::Name { .. }) => Condition::Unresolved,
        Some(CheckFault::Answer { .. }) => Condition::NoEngine,
        None => match engine.state {
            State::Unknown if engine.kind.is_starting() => Condition::Starting,
            State::Unknown => Condition::Unknown,
            State::Suspect | State::Down => Condition::Doubted,
            State::Healthy if engine.is_connected == Some(false) => {
                return (Condition::Disconnected, Some("it says that it reaches no other peers".to_owned()));
            }
            State::Healthy => Condition::Well,
        },
    };
    (condition, seen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engines::fleet::{End, Phase};
    use crate::engines::plan::Kind;
    use std::sync::Arc;
    use std::time::Instant;

    fn engine(state: State, fault: Option<CheckFault>) -> EngineStanding {
        EngineStanding {
            authority: "127.0.0.1:19000".into(),
            fault,
            kind: Kind::Fleet { is_starting: false, is_draining: false },
            is_connected: Some(true),
            ..EngineStanding::named("a", state)
        }
    }

    fn member(end: Option<(i64, bool)>, is_restarting: bool) -> MemberStanding {
        let end = end.map(|(code, is_out_of_memory)| End {
            at: Instant::now(),
            exit_code: Some(code),
            is_out_of_memory,
        });
        MemberStanding {
            name: "acestream-1".into(),
            id: None,
            phase: Phase::Ready,
            port: 19000,
            variant: "x".into(),
            labels: Arc::default(),
            is_outdated: false,
            end,
            is_restarting,
            cache: None,
        }
    }

    /// Guards the kinds of trouble: each is told by its own name, whatever it has in common with others, and with what was
    /// seen.
    #[test]
    fn kinds_of_trouble_are_told_apart() {
        let address = ([127, 0, 0, 1], 19000).into();
        let (late, refused) = (CheckFault::Late(address), CheckFault::Refused(address));
        let (none, alive) = (None, Some(member(None, false)));
        let killed = Some(member(Some((137, true)), false));
        let crashed = Some(member(Some((1, false)), false));
        let crashing = Some(member(Some((1, false)), true));
        for (engine, member, expected, says) in [
            (engine(State::Healthy, None), &alive, Condition::Well, ""),
            (engine(State::Healthy, None), &crashed, Condition::Well, ""),
            (engine(State::Unknown, None), &none, Condition::Unknown, ""),
            (engine(State::Suspect, Some(late.clone())), &alive, Condition::Slow, "takes connections"),
            (engine(State::Down, Some(late.clone())), &alive, Condition::Hung, "takes connections"),
            (engine(State::Suspect, None), &alive, Condition::Doubted, ""),
            (engine(State::Down, Some(refused.clone())), &alive, Condition::Dead, "refuses"),
            (
                engine(State::Down, Some(CheckFault::Unconnected(address))),
                &none,
                Condition::Dead,
                "connected to",
            ),
            (engine(State::Down, Some(refused.clone())), &crashed, Condition::Dead, "ended with 1"),
            (engine(State::Down, Some(refused.clone())), &crashing, Condition::Restarting, "started again"),
            (engine(State::Down, Some(refused.clone())), &killed, Condition::OutOfMemory, "memory"),
            (engine(State::Suspect, Some(late)), &killed, Condition::OutOfMemory, "memory"),
            (
                engine(State::Down, Some(CheckFault::Name { host: "x".to_owned(), reason: "y".to_owned() })),
                &none,
                Condition::Unresolved,
                "cannot resolve",
            ),
            (
                engine(State::Down, Some(CheckFault::Answer { address, reason: "a page".to_owned() })),
                &none,
                Condition::NoEngine,
                "a page",
            ),
        ] {
            let (found, seen) = condition(&engine, member.as_ref());
            assert_eq!(found, expected);
            assert!(seen.unwrap_or_default().contains(says), "{expected:?}");
        }
        let cut_off = EngineStanding { is_connected: Some(false), ..engine(State::Healthy, None) };
        assert_eq!(condition(&cut_off, None).0, Condition::Disconnected);
        let kind = Kind::Fleet { is_starting: true, is_draining: false };
        let starting = EngineStanding { kind, ..engine(State::Down, Some(refused)) };
        assert_eq!(condition(&starting, alive.as_ref()).0, Condition::Starting);
        assert!(Condition::Hung.is_ill() && !Condition::Starting.is_ill());
    }
}
