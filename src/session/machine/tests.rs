//! Each turn of a session's life that players notice, one by one.

use super::*;
use crate::session::model::{fault, lease, unknown};

const SECOND: Duration = Duration::from_secs(1);

struct Life {
    machine: Machine,
    start: Instant,
    now: Instant,
}

impl Life {
    /// A session that one player has joined.
    fn joined() -> Self {
        let now = Instant::now();
        let mut life = Self { machine: Machine::new(Limits::default(), now, 1), start: now, now };
        assert_eq!(life.on(Event::Join), [avoiding(&[])]);
        life
    }

    /// One whose first source has been opened on the first engine.
    fn opened() -> Self {
        let mut life = Self::joined();
        assert_eq!(life.on(Event::Granted(lease(0, 0))), [open(0, 0, 0, Ask::Own)]);
        assert_eq!(life.on(Event::Opened(SourceId(0))), []);
        life
    }

    /// One that plays.
    fn playing() -> Self {
        let mut life = Self::opened();
        assert_eq!(life.on(Event::Media(SourceId(0))), [Action::Admit]);
        life
    }

    fn on(&mut self, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        self.machine.on(self.now, event, &mut actions);
        actions
    }

    fn after(&mut self, wait: Duration, event: Event) -> Vec<Action> {
        self.now += wait;
        self.on(event)
    }

    /// What the next deadline brings, and when it came, from the beginning.
    fn next_deadline(&mut self) -> (Duration, Vec<Action>) {
        self.now = self.machine.deadline().expect("a deadline is pending");
        let actions = self.on(Event::Tick);
        (self.now - self.start, actions)
    }

    /// A second source is granted, opened, and has sent something.
    fn follow(&mut self) {
        assert_eq!(self.on(Event::Granted(lease(1, 1))), [open(1, 1, 1, Ask::Own)]);
        assert_eq!(self.on(Event::Opened(SourceId(1))), []);
        assert_eq!(self.on(Event::Media(SourceId(1))), []);
    }

    fn fails(&mut self, source: u32, kind: EngineFault) -> Vec<Action> {
        self.on(Event::Failed(SourceId(source), fault(kind, true)))
    }

    fn closes(&mut self, source: u32) -> Vec<Action> {
        self.on(Event::Closed(SourceId(source)))
    }
}

fn open(source: u32, id: u64, engine: u32, selector: Ask) -> Action {
    Action::Open { source: SourceId(source), lease: lease(id, engine), entry: 0, selector }
}

fn close(source: u32) -> Action {
    Action::Close(SourceId(source))
}

fn back(id: u64, fault: Option<EngineFault>) -> Action {
    Action::ReturnLease { lease: LeaseId(id), fault }
}

fn avoiding(engines: &[u32]) -> Action {
    let avoid = engines.iter().map(|engine| lease(0, *engine).engine).collect();
    Action::RequestLease { entry: 0, avoid, wanted: None }
}

fn silent(id: u64, is_silent: bool) -> Action {
    Action::Silent { lease: LeaseId(id), is_silent }
}

fn reason(actions: &[Action]) -> Option<EndReason> {
    actions.iter().find_map(|action| match action {
        Action::Ending(reason) => Some(*reason),
        _ => None,
    })
}

/// Guards: a source that comes in whole segments and says so is not taken for silent in between.
#[test]
fn a_source_of_segments_may_pause_for_one() {
    let mut life = Life::opened();
    assert_eq!(life.on(Event::Pauses(SourceId(0), 6 * SECOND)), []);
    assert_eq!(life.on(Event::Media(SourceId(0))), [Action::Admit]);
    assert_eq!(life.after(7 * SECOND, Event::Media(SourceId(0))), []);
    let (at, actions) = life.next_deadline();
    assert!(at > 16 * SECOND && actions.contains(&silent(0, true)), "{at:?} {actions:?}");
}

/// Guards: a body that ends is asked for again on its engine, after the old engine session has closed; the second end
/// in a row leads to another engine.
#[test]
fn an_ended_body_is_opened_again_once_then_elsewhere() {
    let mut life = Life::playing();
    assert_eq!(life.fails(0, EngineFault::EndOfStream), [close(0)]);
    assert_eq!(life.closes(0), [open(1, 0, 0, Ask::Own)]);
    life.on(Event::Opened(SourceId(1)));
    assert_eq!(life.on(Event::Media(SourceId(1))), [Action::Admit]);
    assert_eq!(life.fails(1, EngineFault::EndOfStream), [close(1), avoiding(&[0])]);
    assert_eq!(life.on(Event::Granted(lease(1, 1))), [open(2, 1, 1, Ask::Own)]);
    assert_eq!(life.closes(1), [back(0, Some(EngineFault::EndOfStream))]);
}

/// Guards: players do not wait when engines are lost one after another that had played well; sources that end as soon as
/// they have begun are asked for ever more slowly.
#[test]
fn only_sources_that_came_to_nothing_delay_the_next_one() {
    for (played_for, is_at_once) in [(3 * SECOND, true), (SECOND, false)] {
        let mut life = Life::playing();
        for source in 0..3 {
            life.now += played_for;
            let actions = life.fails(source, EngineFault::Unreachable);
            let is_asked = actions.iter().any(|action| matches!(action, Action::RequestLease { .. }));
            assert_eq!(is_asked, is_at_once || source < 2, "{source} after {played_for:?}: {actions:?}");
            life.closes(source);
            if is_asked {
                life.on(Event::Granted(lease(source.into(), source + 1)));
                life.on(Event::Opened(SourceId(source + 1)));
                assert_eq!(life.on(Event::Media(SourceId(source + 1))), [Action::Admit]);
            }
        }
    }
}

/// Guards: an engine that hangs or sends nonsense is left at once.
#[test]
fn a_sick_engine_is_left_at_once() {
    for kind in [EngineFault::Hung, EngineFault::Unreachable, EngineFault::NotMpegTs, EngineFault::Protocol] {
        let mut life = Life::playing();
        assert_eq!(life.fails(0, kind), [close(0), avoiding(&[0])], "{kind:?}");
        assert_eq!(life.on(Event::Granted(lease(1, 1))), [open(1, 1, 1, Ask::Own)]);
        assert_eq!(life.closes(0), [back(0, Some(kind))]);
    }
}

/// Guards: with a single engine a new engine session waits until the old one has closed.
#[test]
fn one_engine_never_holds_two_sources() {
    let mut life = Life::playing();
    life.fails(0, EngineFault::Hung);
    assert_eq!(life.on(Event::Granted(lease(1, 0))), []);
    assert_eq!(life.closes(0), [back(0, Some(EngineFault::Hung)), open(1, 1, 0, Ask::Own)]);
}

/// Guards: content that an engine does not know is asked for once under the other parameter, on the same engine.
#[test]
fn unknown_content_is_asked_for_under_the_other_name_once() {
    let mut life = Life::joined();
    life.on(Event::Granted(lease(0, 0)));
    assert_eq!(life.on(Event::Unknown(SourceId(0), unknown())), [close(0)]);
    assert_eq!(life.closes(0), [open(1, 0, 0, Ask::Other)]);
    let actions = life.on(Event::Unknown(SourceId(1), unknown()));
    assert_eq!(actions[0], close(1));
    assert!(matches!(&actions[1], Action::Refuse(refusal) if refusal.code == RefusalCode::ContentNotFound));
    assert_eq!(actions[2..], [Action::Ending(EndReason::StartFailed)]);
    assert_eq!(life.closes(1), [back(0, Some(EngineFault::Error)), Action::Ended(EndReason::StartFailed)]);
}

/// Guards: the parameter under which the content was found is the one that later engines are asked with.
#[test]
fn failover_asks_under_the_name_that_worked() {
    let mut life = Life::joined();
    life.on(Event::Granted(lease(0, 0)));
    life.on(Event::Unknown(SourceId(0), unknown()));
    life.closes(0);
    life.on(Event::Opened(SourceId(1)));
    life.on(Event::Media(SourceId(1)));
    life.fails(1, EngineFault::Hung);
    assert_eq!(life.on(Event::Granted(lease(1, 1))), [open(2, 1, 1, Ask::Other)]);
}

/// Guards: a start that nobody waits for goes on while the engine's answer is awaited, and a player that comes back
/// meanwhile gets it; once the engine has answered, the abandoned start ends.
#[test]
fn an_abandoned_start_waits_for_the_engines_answer() {
    let mut life = Life::joined();
    life.on(Event::Granted(lease(0, 0)));
    assert_eq!(life.on(Event::Leave), []);
    assert_eq!(life.after(10 * SECOND, Event::Tick), []);
    assert_eq!(life.on(Event::Join), []);
    assert_eq!(life.after(SECOND, Event::Opened(SourceId(0))), []);
    assert_eq!(life.on(Event::Media(SourceId(0))), [Action::Admit]);

    let mut life = Life::joined();
    life.on(Event::Granted(lease(0, 0)));
    life.on(Event::Leave);
    let actions = life.after(10 * SECOND, Event::Opened(SourceId(0)));
    assert_eq!((reason(&actions), actions.last()), (Some(EndReason::Abandoned), Some(&close(0))));
    assert_eq!(life.closes(0), [back(0, None), Action::Ended(EndReason::Abandoned)]);
}

/// Guards: while control is asked, an abandoned start ends after a second and the request is taken back.
#[test]
fn an_abandoned_request_is_taken_back() {
    let mut life = Life::joined();
    life.on(Event::Leave);
    let (at, actions) = life.next_deadline();
    assert_eq!((at, actions.first()), (SECOND, Some(&Action::AbandonLease)));
    assert_eq!(actions.last(), Some(&Action::Ended(EndReason::Abandoned)));
    assert_eq!(life.on(Event::Granted(lease(0, 0))), [back(0, None)], "a grant that crossed the end");
}

/// Guards: a player that comes back within the grace period finds the source at work; after it the session ends.
#[test]
fn a_rejoin_within_grace_finds_the_source_at_work() {
    let mut life = Life::playing();
    life.on(Event::Leave);
    assert_eq!(life.after(2 * SECOND, Event::Join), []);
    assert_eq!(life.after(SECOND / 2, Event::Media(SourceId(0))), []);
    life.on(Event::Leave);
    for _ in 0..4 {
        assert_eq!(life.after(SECOND, Event::Media(SourceId(0))), []);
    }
    let (at, actions) = life.next_deadline();
    assert_eq!((at, reason(&actions)), (15 * SECOND / 2, Some(EndReason::ClientLeft)));
    assert_eq!(life.closes(0), [back(0, None), Action::Ended(EndReason::ClientLeft)]);
}

/// Guards: the engine of a lease that control wants back plays on until another one has caught up; a lease that only waits
/// to be opened again is given up at once.
#[test]
fn a_withdrawn_lease_is_left_for_another_engine() {
    let mut life = Life::playing();
    assert_eq!(life.on(Event::Withdrawn(LeaseId(0))), [avoiding(&[0])]);
    life.follow();
    assert_eq!(life.on(Event::CaughtUp(SourceId(1))), [close(0), Action::Promote(SourceId(1))]);
    assert_eq!(life.closes(0), [back(0, None)]);
    assert_eq!(life.on(Event::Media(SourceId(1))), []);

    let mut life = Life::playing();
    life.fails(0, EngineFault::EndOfStream);
    assert_eq!(life.on(Event::Withdrawn(LeaseId(0))), [avoiding(&[0])]);
    assert_eq!(life.closes(0), [back(0, Some(EngineFault::EndOfStream))]);

    let mut life = Life::playing();
    life.fails(0, EngineFault::Hung);
    life.on(Event::Granted(lease(1, 0)));
    assert_eq!(life.on(Event::Withdrawn(LeaseId(1))), [back(1, None), avoiding(&[0])]);
    assert_eq!(life.on(Event::Withdrawn(LeaseId(9))), [], "a lease that is not ours");
}

/// Guards: a lease that control wants back is given back in the end even if no other engine can be had.
#[test]
fn a_withdrawn_lease_goes_back_in_time() {
    let mut life = Life::playing();
    life.on(Event::Withdrawn(LeaseId(0)));
    for _ in 0..19 {
        assert_eq!(life.after(SECOND, Event::Media(SourceId(0))), []);
    }
    assert_eq!(life.after(SECOND, Event::Tick), [close(0)]);
    assert_eq!(life.closes(0), [back(0, None)]);
    assert_eq!(life.on(Event::Granted(lease(1, 1))), [open(1, 1, 1, Ask::Own)]);
}

/// Guards: three seconds of silence open a second engine beside the first; the stream goes on with it once it has
/// caught up, and the first is blamed for its silence.
#[test]
fn a_silent_source_is_followed_by_a_second_one() {
    let mut life = Life::playing();
    assert_eq!(life.next_deadline(), (3 * SECOND, vec![silent(0, true), avoiding(&[0])]));
    life.follow();
    let expected = [silent(0, false), close(0), Action::Promote(SourceId(1))];
    assert_eq!(life.on(Event::CaughtUp(SourceId(1))), expected);
    assert_eq!(life.closes(0), [back(0, Some(EngineFault::Silent))]);
}

/// Guards: a source that comes back before the second one has caught up stays, and the second one is closed once.
#[test]
fn a_source_that_comes_back_stays() {
    let mut life = Life::playing();
    life.next_deadline();
    life.follow();
    assert_eq!(life.on(Event::Media(SourceId(0))), [silent(0, false), close(1)]);
    assert_eq!(life.on(Event::CaughtUp(SourceId(1))), [], "too late");
    assert_eq!(life.closes(1), [back(1, None)]);
    let mut life = Life::playing();
    life.next_deadline();
    assert_eq!(life.on(Event::Media(SourceId(0))), [silent(0, false), Action::AbandonLease]);
}

/// Guards: a second source that is at hand when the first one fails takes over at once, wherever it has come to.
#[test]
fn a_second_source_inherits_the_stream() {
    let mut life = Life::playing();
    life.next_deadline();
    life.follow();
    let actions = life.fails(0, EngineFault::EndOfStream);
    assert_eq!(actions, [silent(0, false), close(0), Action::Promote(SourceId(1))]);
    assert_eq!(life.on(Event::Media(SourceId(1))), [Action::Admit]);
}

/// Guards: an engine that went silent and no longer answers questions either is blamed for that, and left at once when
/// its time is over even if control has found no other one so far.
#[test]
fn a_silent_engine_that_answers_nothing_is_left() {
    let mut life = Life::playing();
    life.after(SECOND, Event::Answered(SourceId(0)));
    life.next_deadline();
    assert_eq!(life.next_deadline(), (8 * SECOND, vec![silent(0, false), close(0)]));
    assert_eq!(life.closes(0), [back(0, Some(EngineFault::Hung))]);
    assert_eq!(life.on(Event::Granted(lease(1, 1))), [open(1, 1, 1, Ask::Own)]);
}

/// Guards: with no other engine a silent source is opened again after 8 s, one whose engine makes progress after 18 s.
#[test]
fn silence_is_borne_longer_when_the_engine_makes_progress() {
    let again = vec![silent(0, false), close(0), Action::AbandonLease];
    let mut life = Life::playing();
    life.next_deadline();
    assert_eq!(life.next_deadline(), (8 * SECOND, again.clone()));
    assert_eq!(life.closes(0), [open(1, 0, 0, Ask::Own)]);

    let mut life = Life::playing();
    for _ in 0..3 {
        life.after(5 * SECOND, Event::Progress(SourceId(0)));
    }
    assert_eq!(life.next_deadline(), (18 * SECOND, again));
}

/// Guards: an engine that hands on a piece every five seconds is not called silent for it, and one whose figures show that
/// it gets media only after 8 s.
#[test]
fn silence_is_judged_by_the_rhythm_and_the_figures() {
    let mut life = Life::playing();
    life.next_deadline();
    life.after(2 * SECOND, Event::Media(SourceId(0)));
    for _ in 0..5 {
        assert_eq!(life.after(5 * SECOND, Event::Media(SourceId(0))), []);
    }
    let (at, actions) = life.next_deadline();
    assert_eq!((at, &actions[0]), (38 * SECOND, &silent(0, true)));

    let mut life = Life::playing();
    for _ in 0..3 {
        assert_eq!(life.after(2 * SECOND, Event::Progress(SourceId(0))), []);
    }
    assert_eq!(life.next_deadline().0, 8 * SECOND);
}

/// Guards: a move opens a second engine while the first plays, and the first is closed without blame.
#[test]
fn a_move_makes_before_it_breaks() {
    let mut life = Life::playing();
    let wanted = Some(lease(0, 2).engine);
    let expected = Action::RequestLease { entry: 0, avoid: vec![lease(0, 0).engine], wanted: wanted.clone() };
    assert_eq!(life.on(Event::Move(wanted)), [expected]);
    life.follow();
    assert_eq!(life.on(Event::Media(SourceId(0))), []);
    let expected = [close(0), Action::Promote(SourceId(1)), Action::Moved(true)];
    assert_eq!(life.on(Event::CaughtUp(SourceId(1))), expected);
    assert_eq!(life.closes(0), [back(0, None)]);
}

/// Guards: a session that falls silent and is asked to move in the same moment, as all behind a VPN node are, asks for one engine and
/// not for two: its own first answer would keep the second from the best there is.
#[test]
fn a_move_goes_on_with_what_silence_asked_for() {
    let mut life = Life::playing();
    assert_eq!(life.next_deadline(), (3 * SECOND, vec![silent(0, true), avoiding(&[0])]));
    assert_eq!(life.on(Event::Move(None)), []);
    life.follow();
    let expected = [silent(0, false), close(0), Action::Promote(SourceId(1)), Action::Moved(true)];
    assert_eq!(life.on(Event::CaughtUp(SourceId(1))), expected);

    // Who wants one engine asks for that one.
    let mut life = Life::playing();
    life.next_deadline();
    let wanted = Some(lease(0, 2).engine);
    let asks = Action::RequestLease { entry: 0, avoid: vec![lease(0, 0).engine], wanted: wanted.clone() };
    assert_eq!(life.on(Event::Move(wanted)), [Action::AbandonLease, asks]);
}

/// Guards: a move that cannot be done leaves the first engine playing; one that cannot even begin is answered at once.
#[test]
fn a_move_that_fails_leaves_the_first_engine_playing() {
    let mut life = Life::playing();
    life.on(Event::Move(None));
    let refusal = Refusal::new(RefusalCode::NoEngine, "there is none");
    assert_eq!(life.on(Event::Refused(refusal)), [Action::Moved(false)]);
    assert_eq!(life.on(Event::Media(SourceId(0))), []);
    assert_eq!(life.on(Event::Move(Some(lease(0, 0).engine))), [Action::Moved(false)], "it plays there");
    assert_eq!(Life::opened().on(Event::Move(None)), [Action::Moved(false)], "nothing plays yet");

    let mut life = Life::playing();
    life.on(Event::Move(None));
    for attempt in 1..=3 {
        life.on(Event::Granted(lease(u64::from(attempt), attempt)));
        let actions = life.fails(attempt, EngineFault::Hung);
        assert_eq!(actions.contains(&Action::Moved(false)), attempt == 3, "{actions:?}");
        life.closes(attempt);
        life.after(SECOND, Event::Media(SourceId(0)));
    }
    assert_eq!(life.machine.current(), Some(SourceId(0)));
}

/// Guards: a source that follows and never comes level takes over when the time for the move is over.
#[test]
fn a_move_changes_over_in_time() {
    let mut life = Life::playing();
    life.on(Event::Move(None));
    life.follow();
    for _ in 0..19 {
        assert_eq!(life.after(SECOND, Event::Media(SourceId(0))), []);
    }
    let expected = [close(0), Action::Promote(SourceId(1)), Action::Moved(true)];
    assert_eq!(life.after(SECOND, Event::Media(SourceId(0))), expected);
}

/// Guards: from so many clients on a second source is kept at hand, follows without taking over, and inherits at once; it is
/// given up when half of them have left.
#[test]
fn a_spare_source_is_kept_while_there_are_clients_enough() {
    let crowd = || {
        let mut life = Life::playing();
        life.machine.limits.spare_clients_min = 4;
        (0..3).for_each(|_| assert_eq!(life.on(Event::Join), []));
        for _ in 0..4 {
            assert_eq!(life.after(SECOND, Event::Media(SourceId(0))), []);
        }
        assert_eq!(life.next_deadline(), (5 * SECOND, vec![avoiding(&[0])]));
        life.follow();
        life.on(Event::Media(SourceId(0)));
        assert_eq!(life.on(Event::CaughtUp(SourceId(1))), []);
        life
    };
    let mut life = crowd();
    assert_eq!(life.fails(0, EngineFault::EndOfStream), [close(0), Action::Promote(SourceId(1))]);
    let mut life = crowd();
    assert_eq!(life.after(2 * SECOND, Event::CaughtUp(SourceId(1)))[1], Action::Promote(SourceId(1)));
    let mut life = crowd();
    assert_eq!(life.on(Event::Leave), []);
    assert_eq!(life.on(Event::Leave), []);
    assert_eq!(life.on(Event::Leave), [close(1)]);
}

/// Guards: a session that nobody watches takes no other engine when its own fails, or falls silent.
#[test]
fn an_unwatched_session_takes_no_other_engine() {
    let mut life = Life::playing();
    life.on(Event::Leave);
    let actions = life.fails(0, EngineFault::EndOfStream);
    assert_eq!(reason(&actions), Some(EndReason::ClientLeft));
    let mut life = Life::playing();
    life.on(Event::Leave);
    assert_eq!(life.next_deadline(), (3 * SECOND, vec![silent(0, true)]));
    assert_eq!(life.on(Event::Join), [avoiding(&[0])], "somebody watches again");
}

/// Guards: refusals while the session recovers are followed by longer and longer waits.
#[test]
fn refusals_are_retried_ever_more_slowly() {
    let mut life = Life::playing();
    life.fails(0, EngineFault::Hung);
    life.closes(0);
    for doublings in 0..6 {
        assert_eq!(life.on(Event::Refused(Refusal::new(RefusalCode::MaxCapacity, "full"))), []);
        let before = life.now;
        assert_eq!(life.next_deadline().1, [avoiding(&[0])]);
        let (wait, base) = (life.now - before, Duration::from_millis(250) * 2u32.pow(doublings));
        assert!((base..=base * 3 / 2).contains(&wait), "{doublings}: {wait:?}");
    }
}

/// Guards: what went wrong before the first media says nothing about how to recover later.
#[test]
fn faults_of_a_start_do_not_count_against_a_recovery() {
    let mut life = Life::joined();
    life.on(Event::Granted(lease(0, 0)));
    life.fails(0, EngineFault::Hung);
    life.on(Event::Granted(lease(1, 1)));
    life.closes(0);
    life.on(Event::Opened(SourceId(1)));
    life.on(Event::Media(SourceId(1)));
    assert_eq!(life.fails(1, EngineFault::EndOfStream), [close(1)]);
    assert_eq!(life.closes(1), [open(2, 1, 1, Ask::Own)], "the first fault of a body");
}

/// Guards: a session ends a minute after its last media, whatever it is waiting for then.
#[test]
fn the_empty_timeout_does_not_wait_for_a_lease() {
    let mut life = Life::playing();
    life.fails(0, EngineFault::Hung);
    life.closes(0);
    // A request that is not answered in time is followed by a retry, and that by another request.
    let ended = (0..10).find_map(|_| {
        let (at, actions) = life.next_deadline();
        reason(&actions).map(|reason| (at, reason))
    });
    assert_eq!(ended, Some((60 * SECOND, EndReason::EmptyTimeout)));
}

/// Guards: half a minute of playing forgives what went before, so that the next fault is the first again.
#[test]
fn stable_playing_forgives() {
    let mut life = Life::playing();
    life.fails(0, EngineFault::Hung);
    life.on(Event::Granted(lease(1, 1)));
    life.closes(0);
    life.on(Event::Opened(SourceId(1)));
    life.on(Event::Media(SourceId(1)));
    for _ in 0..6 {
        life.after(5 * SECOND, Event::Media(SourceId(1)));
    }
    assert_eq!(life.fails(1, EngineFault::EndOfStream), [close(1)]);
    assert_eq!(life.closes(1), [open(2, 1, 1, Ask::Own)]);
}

/// Guards: a refusal is told to those who wait for a start, and retried under those who have been watching.
#[test]
fn a_refusal_ends_a_start_and_delays_a_recovery() {
    let refusal = Refusal::new(RefusalCode::MaxCapacity, "full");
    let mut life = Life::joined();
    let actions = life.on(Event::Refused(refusal.clone()));
    assert_eq!(actions[0], Action::Refuse(refusal.clone()));
    assert_eq!(actions.last(), Some(&Action::Ended(EndReason::StartFailed)));

    let mut life = Life::playing();
    life.fails(0, EngineFault::Hung);
    assert_eq!(life.on(Event::Refused(refusal)), []);
    let (at, actions) = life.next_deadline();
    assert!(at <= SECOND && actions == [avoiding(&[0])], "{at:?} {actions:?}");
}

/// Guards: a start tries three engines, and gives up at once what no engine can do better.
#[test]
fn a_start_tries_three_engines() {
    let mut life = Life::joined();
    for engine in 0..3 {
        life.on(Event::Granted(lease(u64::from(engine), engine)));
        let actions = life.fails(engine, EngineFault::Hung);
        assert_eq!(reason(&actions), (engine == 2).then_some(EndReason::StartFailed), "{actions:?}");
    }
    let mut life = Life::joined();
    life.on(Event::Granted(lease(0, 0)));
    let actions = life.on(Event::Failed(SourceId(0), fault(EngineFault::Silent, false)));
    assert_eq!(reason(&actions), Some(EndReason::StartFailed));
}

/// A session of three ids that one player has joined.
fn channel(races: bool) -> Life {
    let now = Instant::now();
    let machine = Machine::new(Limits::default(), now, 1).with_entries(3, races);
    let mut life = Life { machine, start: now, now };
    assert_eq!(life.on(Event::Join), [avoiding(&[])]);
    life
}

fn asking(entry: u8, engines: &[u32]) -> Action {
    let avoid = engines.iter().map(|engine| lease(0, *engine).engine).collect();
    Action::RequestLease { entry, avoid, wanted: None }
}

fn open_entry(source: u32, id: u64, engine: u32, entry: u8) -> Action {
    Action::Open { source: SourceId(source), lease: lease(id, engine), entry, selector: Ask::Own }
}

fn goes_on_with(from: u8, to: u8, why: &SourceFault) -> Action {
    Action::Entry { from, to, why: Some(why.refusal.clone()) }
}

/// Guards: a start falls back to the next id when no engine would help, or three have failed, and tells those who wait only
/// when the last one has failed too; an id unknown to an engine is asked for in both ways first.
#[test]
fn a_start_falls_back_in_order() {
    let mut life = channel(false);
    life.on(Event::Granted(lease(0, 0)));
    assert_eq!(life.on(Event::Unknown(SourceId(0), unknown())), [close(0)]);
    assert_eq!(life.closes(0).len(), 1, "the other way of asking");
    let actions = life.on(Event::Unknown(SourceId(1), unknown()));
    assert_eq!(actions, [close(1), goes_on_with(0, 1, &unknown()), asking(1, &[0])]);
    for engine in 1..4 {
        life.on(Event::Granted(lease(u64::from(engine), engine)));
        let source = engine + 1;
        let actions = life.fails(source, EngineFault::Hung);
        assert_eq!(actions.iter().any(|action| matches!(action, Action::Entry { .. })), engine == 3);
    }
    assert_eq!(life.machine.entry(), 2);
    life.closes(1);
    assert_eq!(life.on(Event::Granted(lease(9, 0))), [open_entry(5, 9, 0, 2)]);
    let fault = fault(EngineFault::Silent, false);
    let actions = life.on(Event::Failed(SourceId(5), fault.clone()));
    assert_eq!(actions[1..2], [Action::Refuse(fault.refusal)]);
    assert_eq!(reason(&actions), Some(EndReason::StartFailed));
}

/// Guards: a refusal of control that did not come of waiting is followed by the next id; one that did ends the start.
#[test]
fn a_prompt_refusal_is_followed_by_the_next_id() {
    let refusal = Refusal::new(RefusalCode::MaxCapacity, "the only engine plays this already");
    let mut life = channel(false);
    let why = Some(refusal.clone());
    let expected = [Action::Entry { from: 0, to: 1, why }, asking(1, &[])];
    assert_eq!(life.on(Event::Refused(refusal.clone())), expected);
    assert_eq!(reason(&life.after(20 * SECOND, Event::Refused(refusal))), Some(EndReason::StartFailed));
}

/// Guards: an id that is found to loop is left for the next one under those who watch; the session ends when there is none, when
/// nobody watches, and for any other reason at once.
#[test]
fn an_id_that_loops_is_left() {
    let playing = |mut life: Life| {
        life.on(Event::Granted(lease(0, 0)));
        life.on(Event::Opened(SourceId(0)));
        life.on(Event::Media(SourceId(0)));
        life
    };
    let mut life = playing(channel(false));
    let actions = life.on(Event::End(EndReason::Looping));
    let why = Some(Refusal::new(RefusalCode::LoopingStream, "it was found to loop"));
    assert_eq!(actions, [close(0), Action::Entry { from: 0, to: 1, why }, asking(1, &[])]);
    assert_eq!((reason(&actions), life.machine.entry()), (None, 1));
    for other in [EndReason::Stopped, EndReason::Memory] {
        assert_eq!(reason(&playing(channel(false)).on(Event::End(other))), Some(other));
    }
    let mut left = playing(channel(false));
    left.on(Event::Leave);
    assert_eq!(reason(&left.on(Event::End(EndReason::Looping))), Some(EndReason::Looping));
    assert_eq!(reason(&Life::playing().on(Event::End(EndReason::Looping))), Some(EndReason::Looping));
}

/// Guards: a channel that leaves an id passes the next one over when control says that it loops, at once, and ends with that when
/// none is left.
#[test]
fn an_id_that_loops_is_not_gone_on_with() {
    let loops = Refusal::new(RefusalCode::LoopingStream, "it was found to loop and is not played");
    let mut life = channel(false);
    life.on(Event::Granted(lease(0, 0)));
    life.on(Event::Opened(SourceId(0)));
    life.on(Event::Media(SourceId(0)));
    life.on(Event::End(EndReason::Looping));
    let why = Some(loops.clone());
    let actions = life.on(Event::Refused(loops.clone()));
    assert_eq!(actions, [Action::Entry { from: 1, to: 2, why }, asking(2, &[])]);
    assert_eq!(reason(&life.on(Event::Refused(loops))), Some(EndReason::Looping));
}

/// Guards: an id that plays is given up when its sources have failed five times, or when nothing of it could be had for
/// twenty seconds, and the next one goes on under the same players; those that were given up are tried again once
/// another has played well, and the end comes only when all are given up.
#[test]
fn an_id_is_given_up_when_its_budget_is_over() {
    let playing = || {
        let mut life = channel(false);
        life.on(Event::Granted(lease(0, 0)));
        life.on(Event::Opened(SourceId(0)));
        assert_eq!(life.on(Event::Media(SourceId(0))), [Action::Admit]);
        life
    };
    let mut life = playing();
    life.fails(0, EngineFault::Hung);
    life.closes(0);
    let mut source = 0;
    for step in 0..50 {
        assert!(step < 49, "it is never given up");
        let actions = if life.on(Event::Granted(lease(step, 1))).contains(&back(step, None)) {
            // Between two tries.
            life.next_deadline().1
        } else {
            source += 1;
            let actions = life.fails(source, EngineFault::Hung);
            life.closes(source);
            actions
        };
        if actions.iter().any(|action| matches!(action, Action::Entry { from: 0, to: 1, why: Some(_) })) {
            break;
        }
        assert_eq!(reason(&actions), None);
    }
    assert_eq!(source, 4);

    let mut life = playing();
    life.fails(0, EngineFault::Hung);
    life.closes(0);
    let (at, actions) = life.next_deadline();
    assert_eq!((at, life.machine.entry()), (20 * SECOND, 1), "{actions:?}");
    assert_eq!(actions[0], Action::AbandonLease);
    assert_eq!(life.on(Event::Granted(lease(1, 1))), [open_entry(1, 1, 1, 1)]);
    life.on(Event::Opened(SourceId(1)));
    assert_eq!(life.on(Event::Media(SourceId(1))), [Action::Admit]);
    for _ in 0..7 {
        life.after(5 * SECOND, Event::Media(SourceId(1)));
    }
    life.fails(1, EngineFault::Hung);
    life.closes(1);
    let mut order = vec![];
    let ended = (0..20).find_map(|_| {
        let (_, actions) = life.next_deadline();
        order.extend(actions.iter().filter_map(|action| match action {
            Action::Entry { to, .. } => Some(*to),
            _ => None,
        }));
        reason(&actions)
    });
    assert_eq!((order, ended), (vec![2, 0], Some(EndReason::EmptyTimeout)));
}

/// Guards: both ids of a race are opened on two engines, whichever has media first plays, and the other one is closed
/// without blame, once.
#[test]
fn the_first_with_media_wins_the_race() {
    use sluice_contract::snapshot::Race;
    for winner in [0, 1] {
        let mut life = channel(true);
        assert_eq!(life.on(Event::Granted(lease(0, 0))), [open_entry(0, 0, 0, 0), asking(1, &[0])]);
        let expected = [Action::Race(Race::Running), open_entry(1, 1, 1, 1)];
        assert_eq!(life.on(Event::Granted(lease(1, 1))), expected);
        assert!(life.machine.contends(SourceId(0)) && life.machine.contends(SourceId(1)));
        life.on(Event::Opened(SourceId(0)));
        life.on(Event::Opened(SourceId(1)));
        let actions = life.on(Event::Media(SourceId(winner)));
        let expected = if winner == 0 {
            vec![close(1), Action::Race(Race::First), Action::Admit]
        } else {
            let entry = Action::Entry { from: 0, to: 1, why: None };
            vec![close(0), entry, Action::Race(Race::Second), Action::Admit]
        };
        assert_eq!(actions, expected);
        assert_eq!(life.machine.current(), Some(SourceId(winner)));
        assert_eq!(life.closes(1 - winner), [back(u64::from(1 - winner), None)]);
        assert_eq!(life.on(Event::Media(SourceId(winner))), []);
        assert!(life.machine.state().is_some());
    }
}

/// Guards: with one engine there is no race, and the start goes on as without one; when either of the two fails, the other
/// one goes on alone.
#[test]
fn a_race_may_be_run_by_one() {
    use sluice_contract::snapshot::Race;
    let started = || {
        let mut life = channel(true);
        life.on(Event::Granted(lease(0, 0)));
        life
    };
    let mut life = started();
    assert_eq!(life.on(Event::Granted(lease(1, 0))), [back(1, None), Action::Race(Race::Alone)]);
    assert_eq!(life.on(Event::Media(SourceId(0))), [Action::Admit]);
    let mut life = started();
    let refusal = Refusal::new(RefusalCode::MaxCapacity, "full");
    assert_eq!(life.on(Event::Refused(refusal)), [Action::Race(Race::Alone)]);
    let mut life = started();
    assert_eq!(life.on(Event::Media(SourceId(0)))[..2], [Action::AbandonLease, Action::Race(Race::First)]);

    let mut life = started();
    life.on(Event::Granted(lease(1, 1)));
    assert_eq!(life.fails(1, EngineFault::Hung), [close(1), Action::Race(Race::Forfeited)]);
    assert_eq!(life.on(Event::Media(SourceId(0))), [Action::Admit]);
    let mut life = started();
    let why = fault(EngineFault::Hung, true);
    let expected = [close(0), Action::Race(Race::Forfeited), goes_on_with(0, 1, &why)];
    assert_eq!(life.fails(0, EngineFault::Hung), expected);
    assert_eq!(life.on(Event::Granted(lease(1, 1))), [open_entry(1, 1, 1, 1)]);
}

/// Guards: whichever id of a race goes on alone has a count of engines of its own, in which the one it raced on is the first: three
/// that failed end its turn, no sooner and no later, whether control had answered for it already or not.
#[test]
fn who_goes_on_alone_has_its_own_count_of_engines() {
    for is_opened in [true, false] {
        let mut life = channel(true);
        life.on(Event::Granted(lease(0, 0)));
        if is_opened {
            life.on(Event::Granted(lease(1, 1)));
        }
        life.fails(0, EngineFault::Hung);
        if !is_opened {
            life.on(Event::Granted(lease(1, 1)));
        }
        assert_eq!(life.machine.entry(), 1);
        for tried in 1..=3 {
            let actions = life.fails(tried, EngineFault::Hung);
            let is_left = actions.iter().any(|action| matches!(action, Action::Entry { from: 1, to: 2, .. }));
            assert_eq!(is_left, tried == 3, "after {tried} engines: {actions:?}");
            life.on(Event::Granted(lease(u64::from(tried) + 1, (tried + 1) % 4)));
        }
    }
}

/// Guards: a session is told only while nothing but what plays is open, and holding it brings that about: the follower is
/// given up, and nothing is opened beside what plays until it may go on.
#[test]
fn only_what_plays_alone_is_told() {
    assert!(Life::joined().machine.state().is_none());
    assert!(Life::opened().machine.state().is_none());
    let mut life = Life::playing();
    assert!(life.machine.state().is_some());
    assert_eq!(life.on(Event::Move(None)), [avoiding(&[0])]);
    assert!(life.machine.state().is_some(), "what is merely looked for is looked for anew");
    life.follow();
    assert!(life.machine.state().is_none());
    assert_eq!(life.on(Event::Hold(true)), [close(1), Action::Moved(false)]);
    assert!(life.machine.state().is_none(), "it is being stopped");
    assert_eq!(life.closes(1), [back(1, None)]);
    assert!(life.machine.state().is_some());
    assert_eq!(life.on(Event::Move(None)), [Action::Moved(false)]);
    assert_eq!(life.on(Event::Hold(false)), []);
    assert_eq!(life.on(Event::Move(None)), [avoiding(&[0])]);
}

/// Guards: another process goes on with what plays under the same numbers, and looks for a source at once where there was
/// none; a session whose players have all left meanwhile ends in its time.
#[test]
fn another_process_goes_on_with_a_session() {
    let told = |life: &Life, clients| {
        let bytes = serde_json::to_vec(&life.machine.state().expect("it is settled")).unwrap();
        let mut machine: Machine = serde_json::from_slice(&bytes).unwrap();
        machine.go_on(Instant::now(), clients);
        Life { machine, start: Instant::now(), now: Instant::now() }
    };
    let mut life = Life::playing();
    let mut next = told(&life, 1);
    assert_eq!(
        next.machine.playing().map(|(id, lease)| (id, lease.clone())),
        Some((SourceId(0), lease(0, 0)))
    );
    assert_eq!(next.on(Event::Media(SourceId(0))), []);
    assert_eq!(reason(&told(&life, 0).after(5 * SECOND, Event::Tick)), Some(EndReason::ClientLeft));
    life.fails(0, EngineFault::Unreachable);
    life.closes(0);
    let mut next = told(&life, 1);
    assert_eq!(next.next_deadline().1, [avoiding(&[0])]);
    assert_eq!(next.on(Event::Granted(lease(1, 1))), [open(1, 1, 1, Ask::Own)]);
}
