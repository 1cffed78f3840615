//! The plan with engines of the fleet: they come, drain and go, and control may have restarted in between.

use super::*;
use sluice_contract::{EngineFault, Options, StreamKey, StreamName};

const WAIT: Duration = Duration::from_secs(45);

fn plan(now: Instant) -> Plan {
    let limits = Limits {
        epoch: Epoch(1),
        shards: 1,
        streams_per_engine: None,
        engine_starts_max: 2,
        no_response_timeout: Duration::from_secs(3),
        engine_wait: WAIT,
        fleet_streams: 2,
        selection: Selection::default(),
    };
    let mut plan = Plan::new(now, limits, Vec::new(), None, Jitter::new(1));
    plan.holdings(ShardId(0), Epoch(1), Vec::new());
    plan.set_outlook(Some(Outlook { is_hopeful: true, refusal: None }));
    plan
}

fn engine(name: &str) -> FleetEngine {
    FleetEngine {
        id: EngineId(name.into()),
        authority: "127.0.0.1:19000".parse().unwrap(),
        is_draining: false,
        is_starting: false,
        is_forwarded: false,
    }
}

fn broadcast(stream: u8) -> Hex40 {
    Hex40::from_bytes([stream; 20])
}

fn ask(plan: &mut Plan, now: Instant, ticket: u64, stream: u8) {
    let stream = StreamKey { name: StreamName::Infohash(broadcast(stream)), options: Options::default() };
    let infohash = stream.number();
    let deadline = now + 2 * WAIT;
    let request = LeaseRequest {
        ticket: Ticket(ticket),
        shard: ShardId(0),
        stream,
        avoid: Vec::new(),
        wanted: None,
        deadline,
    };
    plan.request(now, request, infohash);
}

fn well(plan: &mut Plan, now: Instant, name: &str) {
    plan.checked(now, &EngineId(name.into()), Ok(([127, 0, 0, 1], 19000).into()));
}

fn leases(actions: &[Action]) -> Vec<Lease> {
    let granted = |action: &Action| match action {
        Action::Answer { answer: Ok(lease), .. } => Some(lease.clone()),
        _ => None,
    };
    actions.iter().filter_map(granted).collect()
}

fn refusals(actions: &[Action]) -> Vec<Refusal> {
    let refused = |action: &Action| match action {
        Action::Answer { answer: Err(refusal), .. } => Some(refusal.clone()),
        _ => None,
    };
    actions.iter().filter_map(refused).collect()
}

/// Guards demand: who waits without a place is counted, an engine that is starting is a place, and the first to come is
/// the first served.
#[test]
fn waiting_requests_are_demand() {
    let now = Instant::now();
    let mut plan = plan(now);
    (1..=3).for_each(|n| ask(&mut plan, now, n.into(), n));
    assert!(plan.advance(now).is_empty());
    assert_eq!(plan.unplaced(), 3);
    plan.set_fleet(now, vec![FleetEngine { is_starting: true, ..engine("a") }]);
    assert_eq!(plan.unplaced(), 1, "two places are on their way");
    assert!(leases(&plan.advance(now)).is_empty(), "an engine that has not answered was granted");
    plan.set_fleet(now, vec![engine("a")]);
    well(&mut plan, now, "a");
    let actions = plan.advance(now);
    let tickets: Vec<u64> = actions
        .iter()
        .filter_map(|action| match action {
            Action::Answer { ticket, answer: Ok(_), .. } => Some(ticket.0),
            _ => None,
        })
        .collect();
    assert_eq!(tickets, [1, 2]);
    assert_eq!((plan.unplaced(), plan.loads()[&EngineId("a".into())].leases), (1, 2));
    plan.abandon(ShardId(0), Ticket(3));
    assert_eq!(plan.unplaced(), 0, "who left is no demand");
}

/// Guards the word that nothing can be played: it is said of engines that were looked at and are all down, not of one that is
/// being started or was not looked at yet, and what drains is no comfort.
#[test]
fn nothing_can_be_played_where_every_engine_is_down() {
    let now = Instant::now();
    let mut plan = plan(now);
    let down = |plan: &mut Plan, name: &str| {
        let fault = CheckFault::Refused(([127, 0, 0, 1], 19000).into());
        plan.checked(now, &EngineId(name.into()), Err(fault));
    };
    assert!(!plan.is_lifeless(), "the fleet has not begun");
    plan.set_fleet(now, vec![FleetEngine { is_starting: true, ..engine("a") }]);
    down(&mut plan, "a");
    assert!(!plan.is_lifeless(), "it is being started");
    plan.set_fleet(now, vec![engine("a"), engine("b")]);
    assert!(!plan.is_lifeless(), "nobody has looked at one of them");
    down(&mut plan, "b");
    assert!(plan.is_lifeless());
    well(&mut plan, now, "b");
    assert!(!plan.is_lifeless());
    plan.set_fleet(now, vec![engine("a"), FleetEngine { is_draining: true, ..engine("b") }]);
    assert!(plan.is_lifeless(), "what is left is about to go");
    plan.set_fleet(now, Vec::new());
    assert!(!plan.is_lifeless(), "one is made when somebody wants to play");
    plan.set_outlook(None);
    assert!(plan.is_lifeless() && plan.is_empty());
}

/// Guards the wait: it ends after `ENGINE_WAIT_S` with the cause the fleet names and its hint, and at once when nothing
/// can come.
#[test]
fn a_wait_ends_with_the_cause() {
    let now = Instant::now();
    let mut plan = plan(now);
    let refusal = Refusal::new(RefusalCode::CircuitBreaker, "too many failed").retry_after(77);
    ask(&mut plan, now, 1, 1);
    plan.set_outlook(Some(Outlook { is_hopeful: true, refusal: Some(refusal.clone()) }));
    assert!(plan.advance(now + WAIT - Duration::from_secs(1)).is_empty());
    assert_eq!(refusals(&plan.advance(now + WAIT)), std::slice::from_ref(&refusal));
    ask(&mut plan, now, 2, 2);
    plan.set_outlook(Some(Outlook { is_hopeful: false, refusal: Some(refusal.clone()) }));
    assert_eq!(refusals(&plan.advance(now)), [refusal]);
}

/// Guards draining: nothing more is granted, and the sessions there are asked to move, once.
#[test]
fn a_draining_engine_is_emptied() {
    let now = Instant::now();
    let mut plan = plan(now);
    plan.set_fleet(now, vec![engine("a")]);
    well(&mut plan, now, "a");
    ask(&mut plan, now, 1, 1);
    let held = leases(&plan.advance(now));
    let draining = || vec![FleetEngine { is_draining: true, ..engine("a") }];
    plan.set_fleet(now, draining());
    plan.set_fleet(now, draining());
    ask(&mut plan, now, 2, 2);
    let actions = plan.advance(now);
    let withdrawn = actions.iter().filter(|action| matches!(action, Action::Withdraw { .. })).count();
    assert_eq!((withdrawn, leases(&actions).len(), plan.unplaced()), (1, 0, 1));
    plan.give_back(now, LeaseReturn { id: held[0].id, fault: None });
    assert_eq!(plan.loads()[&EngineId("a".into())].leases, 0);
    plan.set_fleet(now, Vec::new());
    assert!(plan.loads().is_empty());
}

/// Guards an engine that somebody drained, kept or named: nothing more is granted, its streams are asked to move, those that could
/// not are asked again, it stays drained when the fleet speaks of it, and taking it back has it used again.
#[test]
fn a_drained_engine_is_left_alone_until_that_is_taken_back() {
    let now = Instant::now();
    let mut plan = plan(now);
    let a = EngineId("a".into());
    plan.set_fleet(now, vec![engine("a")]);
    well(&mut plan, now, "a");
    ask(&mut plan, now, 1, 1);
    let held = leases(&plan.advance(now));
    assert_eq!(plan.drain(now, &EngineId("b".into()), true), None);
    let withdrawn = |actions: &[Action]| {
        actions.iter().filter(|action| matches!(action, Action::Withdraw { .. })).count()
    };
    assert_eq!((plan.drain(now, &a, true), plan.drain(now, &a, true)), (Some(1), Some(1)));
    plan.set_fleet(now, vec![engine("a")]);
    ask(&mut plan, now, 2, 2);
    let actions = plan.advance(now);
    assert_eq!((withdrawn(&actions), leases(&actions).len(), plan.unplaced()), (1, 0, 1));
    assert!(plan.loads()[&a].is_drained && plan.standing(now).engines[0].is_drained);
    assert!(plan.next_wake(now).is_some_and(|at| at <= now + DRAIN_AGAIN));
    assert_eq!(
        withdrawn(&plan.advance(now + DRAIN_AGAIN)),
        1,
        "the stream that could not move is not asked again"
    );
    plan.give_back(now, LeaseReturn { id: held[0].id, fault: None });
    assert_eq!(withdrawn(&plan.advance(now + 3 * DRAIN_AGAIN)), 0);
    assert_eq!(plan.drain(now, &a, false), Some(0));
    assert_eq!(leases(&plan.advance(now + DRAIN_AGAIN)).len(), 1, "it is not used again");
}

/// Guards an engine that loses its VPN's forwarded port: its sessions are asked once to go elsewhere, and may stay.
#[test]
fn sessions_on_an_engine_that_lost_its_port_may_move() {
    let now = Instant::now();
    let mut plan = plan(now);
    let forwarded = || vec![FleetEngine { is_forwarded: true, ..engine("a") }];
    plan.set_fleet(now, forwarded());
    well(&mut plan, now, "a");
    ask(&mut plan, now, 1, 1);
    let held = leases(&plan.advance(now));
    plan.set_fleet(now, forwarded());
    plan.set_fleet(now, vec![engine("a")]);
    plan.set_fleet(now, vec![engine("a")]);
    let actions = plan.advance(now);
    let [Action::Withdraw { lease, reason: MoveReason::PortChanged, .. }] = actions[..] else {
        panic!("{actions:?}")
    };
    assert!(lease == held[0].id && !MoveReason::PortChanged.is_final());
}

/// Guards sessions that leave a group of engines together: the second waits until the start of the first is over on the engine that
/// is well, and does not go back to one that is not; for a while, and only where there is something to wait for.
#[test]
fn who_would_get_an_engine_that_is_not_well_waits_for_a_start_to_be_over() {
    let now = Instant::now();
    let began = |is_over: bool| {
        let mut plan = plan(now);
        plan.limits.engine_starts_max = 1;
        plan.set_fleet(now, vec![engine("a"), engine("b")]);
        well(&mut plan, now, "a");
        well(&mut plan, now, "b");
        plan.connected(&EngineId("a".into()), Some(false));
        assert_eq!(chosen(&mut plan, now, 1).as_deref(), Some("b"));
        if is_over {
            plan.opened(&EngineId("b".into()), broadcast(1));
        }
        ask(&mut plan, now, 2, 2);
        let first: Vec<String> =
            leases(&plan.advance(now)).iter().map(|lease| lease.engine.0.to_string()).collect();
        (plan, first)
    };
    let (mut plan, first) = began(true);
    assert_eq!(first, ["b"]);
    assert_eq!(chosen(&mut plan, now, 3).as_deref(), Some("a"), "b is full, which lasts");
    let (mut plan, first) = began(false);
    assert!(first.is_empty(), "{first:?}");
    plan.opened(&EngineId("b".into()), broadcast(1));
    assert_eq!(leases(&plan.advance(now + Duration::from_secs(1)))[0].engine.0.as_ref(), "b");
    let (mut plan, first) = began(false);
    assert!(first.is_empty() && leases(&plan.advance(now + Duration::from_secs(2))).is_empty());
    let later = now + POOR_PATIENCE;
    assert_eq!(leases(&plan.advance(later))[0].engine.0.as_ref(), "a", "it has waited long enough");
}

/// Guards streams on an engine that goes down: they are asked at once, and once, to go elsewhere, which they may decline; not for one
/// late answer, and not where nobody else could serve them.
#[test]
fn streams_on_an_engine_that_goes_down_move_at_once() {
    let now = Instant::now();
    let at = ([127, 0, 0, 1], 19000).into();
    for (has_other, faults, is_asked) in [
        (true, vec![CheckFault::Refused(at), CheckFault::Refused(at)], true),
        (true, vec![CheckFault::Late(at), CheckFault::Late(at), CheckFault::Late(at)], true),
        (true, vec![CheckFault::Late(at), CheckFault::Late(at)], false),
        (false, vec![CheckFault::Refused(at)], false),
    ] {
        let mut plan = plan(now);
        plan.set_fleet(now, vec![engine("a"), engine("b")]);
        well(&mut plan, now, "a");
        (1..=2).for_each(|n| ask(&mut plan, now, n.into(), n));
        let held = leases(&plan.advance(now));
        assert_eq!(held.len(), 2);
        if has_other {
            well(&mut plan, now, "b");
        }
        for fault in &faults {
            plan.checked(now, &EngineId("a".into()), Err(fault.clone()));
        }
        let actions = plan.advance(now);
        let asked: HashSet<(LeaseId, MoveReason)> = actions
            .iter()
            .filter_map(|action| match action {
                Action::Withdraw { lease, reason, .. } => Some((*lease, *reason)),
                _ => None,
            })
            .collect();
        let expected = held.iter().map(|lease| (lease.id, MoveReason::EngineDown)).filter(|_| is_asked);
        assert_eq!(asked, expected.collect(), "{faults:?}, another: {has_other}");
        assert!(!MoveReason::EngineDown.is_final());
    }
}

/// Guards an engine that vanishes: its sessions are told, and a late return of its lease breaks nothing.
#[test]
fn sessions_on_an_engine_that_is_gone_are_told() {
    let now = Instant::now();
    let mut plan = plan(now);
    plan.set_fleet(now, vec![engine("a")]);
    well(&mut plan, now, "a");
    ask(&mut plan, now, 1, 1);
    let held = leases(&plan.advance(now));
    plan.set_fleet(now, Vec::new());
    let actions = plan.advance(now);
    assert!(matches!(actions[..], [Action::Withdraw { lease, .. }] if lease == held[0].id), "{actions:?}");
    plan.give_back(now, LeaseReturn { id: held[0].id, fault: Some(EngineFault::Unreachable) });
}

/// Guards a restart of control: leases shards hold on engines that were not found yet count as soon as they are, so that
/// an engine in use is neither overbooked nor taken for idle.
#[test]
fn leases_on_engines_not_found_yet_count_later() {
    let now = Instant::now();
    let mut plan = plan(now);
    let lease = |id: u64| Lease {
        id: LeaseId(id),
        epoch: Epoch(0),
        engine: EngineId("a".into()),
        address: ([127, 0, 0, 1], 19000).into(),
        authority: "127.0.0.1:19000".into(),
        group: None,
    };
    let held = vec![(lease(1), broadcast(1)), (lease(2), broadcast(2)), (lease(3), broadcast(3))];
    plan.holdings(ShardId(0), Epoch(1), held);
    plan.give_back(now, LeaseReturn { id: LeaseId(3), fault: None });
    plan.set_fleet(now, vec![engine("a")]);
    well(&mut plan, now, "a");
    ask(&mut plan, now, 1, 9);
    assert!(leases(&plan.advance(now)).is_empty(), "a full engine was granted");
    assert_eq!(plan.loads()[&EngineId("a".into())].leases, 2);
    plan.give_back(now, LeaseReturn { id: LeaseId(1), fault: None });
    assert_eq!(leases(&plan.advance(now)).len(), 1);
}

/// Guards the engine that is assumed while there is no Docker: it is used at once then, leases shards report on it count,
/// and it goes when Docker has come and its last stream has left.
#[test]
fn an_assumed_engine_serves_until_docker_comes() {
    let now = Instant::now();
    let mut plan = plan(now);
    let usual: Authority = "localhost:6878".parse().unwrap();
    plan.set_assumed(now, &usual, true);
    plan.set_outlook(None);
    well(&mut plan, now, "localhost:6878");
    ask(&mut plan, now, 1, 1);
    let held = leases(&plan.advance(now));
    assert_eq!(held.len(), 1, "it was waited for");
    plan.set_outlook(Some(Outlook { is_hopeful: true, refusal: None }));
    plan.set_assumed(now, &usual, false);
    assert_eq!(plan.standing(now).engines.len(), 1, "it was taken from under its stream");
    plan.give_back(now, LeaseReturn { id: held[0].id, fault: None });
    plan.set_assumed(now, &usual, false);
    assert_eq!(plan.standing(now).engines.len(), 0);
}

/// Guards a move to one engine: that it has to wait is no demand for another.
#[test]
fn who_wants_one_engine_is_no_demand_for_others() {
    let now = Instant::now();
    let mut plan = plan(now);
    plan.set_fleet(now, vec![engine("a")]);
    well(&mut plan, now, "a");
    (1..=2).for_each(|n| ask(&mut plan, now, n.into(), n));
    assert_eq!(leases(&plan.advance(now)).len(), 2);
    let stream = StreamKey { name: StreamName::Infohash(broadcast(3)), options: Options::default() };
    let request = LeaseRequest {
        ticket: Ticket(3),
        shard: ShardId(0),
        stream,
        avoid: Vec::new(),
        wanted: Some(EngineId("a".into())),
        deadline: now + WAIT,
    };
    plan.request(now, request, broadcast(3));
    plan.advance(now);
    assert_eq!(plan.unplaced(), 0);
}

/// The engine a request is given, if one is.
fn chosen(plan: &mut Plan, now: Instant, stream: u8) -> Option<String> {
    ask(plan, now, stream.into(), stream);
    leases(&plan.advance(now)).first().map(|lease| lease.engine.to_string())
}

/// Guards who is a candidate: an engine that is down, drains, rests or is full gets nothing, even where it would win by
/// every weight.
#[test]
fn who_cannot_serve_is_no_candidate() {
    let now = Instant::now();
    for why in ["down", "draining", "full", "starting", "resting"] {
        let mut plan = plan(now);
        let best = || FleetEngine { is_forwarded: true, ..engine("best") };
        let others = |best| vec![best, engine("other")];
        plan.set_fleet(now, others(best()));
        well(&mut plan, now, "other");
        if why != "starting" {
            well(&mut plan, now, "best");
        }
        match why {
            "down" => {
                let refused = CheckFault::Refused(([127, 0, 0, 1], 19000).into());
                plan.checked(now, &EngineId("best".into()), Err(refused));
            }
            "draining" => plan.set_fleet(now, others(FleetEngine { is_draining: true, ..best() })),
            "full" => {
                assert_eq!(chosen(&mut plan, now, 1).as_deref(), Some("best"));
                assert_eq!(chosen(&mut plan, now, 2).as_deref(), Some("best"), "two streams fit on it");
            }
            "resting" => {
                ask(&mut plan, now, 1, 1);
                let held = leases(&plan.advance(now));
                let fault = Some(EngineFault::Hung);
                plan.give_back(now, LeaseReturn { id: held[0].id, fault });
            }
            _ => {}
        }
        assert_eq!(chosen(&mut plan, now, 9).as_deref(), Some("other"), "{why}");
    }
}

/// Guards the choice among engines that could all serve: by score the forwarded one is filled first, spread over all of
/// them streams go where there are fewest; among equals the one goes first that was not given anything for longest.
#[test]
fn the_choice_is_the_operators() {
    let now = Instant::now();
    for (selection, expected) in [
        (Selection::default(), ["b", "b", "a", "c", "a", "c"]),
        (Selection::Spread, ["b", "a", "c", "b", "a", "c"]),
        (Selection::Score { forwarded_bonus: 15, stream_cost: 10 }, ["b", "b", "a", "c", "a", "c"]),
        (Selection::Score { forwarded_bonus: 0, stream_cost: 10 }, ["a", "b", "c", "a", "b", "c"]),
    ] {
        let mut plan = plan(now);
        plan.limits.selection = selection;
        let forwarded = FleetEngine { is_forwarded: true, ..engine("b") };
        plan.set_fleet(now, vec![engine("a"), forwarded, engine("c")]);
        ["a", "b", "c"].iter().for_each(|name| well(&mut plan, now, name));
        let mut given = Vec::new();
        for stream in 1..=6 {
            given.extend(chosen(&mut plan, now, stream));
            // Their starts are over, or the third would have to wait for that.
            ["a", "b", "c"].iter().for_each(|name| plan.opened(&EngineId((*name).into()), broadcast(stream)));
        }
        assert_eq!(given, expected, "{selection:?}");
    }
}

/// Guards an engine that is worked on: it is taken only while nobody has it and nobody waits, and given to nobody until it is
/// let go; whoever comes meanwhile has it then.
#[test]
fn an_engine_that_is_worked_on_is_given_to_nobody() {
    let now = Instant::now();
    let mut plan = plan(now);
    let id = EngineId("a".into());
    plan.set_fleet(now, vec![engine("a")]);
    well(&mut plan, now, "a");
    ask(&mut plan, now, 1, 1);
    assert!(!plan.hold(&id), "somebody waits");
    let held = leases(&plan.advance(now));
    assert!(!plan.hold(&id), "somebody has it");
    plan.give_back(now, LeaseReturn { id: held[0].id, fault: None });
    assert!(plan.hold(&id) && !plan.hold(&EngineId("b".into())));
    ask(&mut plan, now, 2, 2);
    assert!(leases(&plan.advance(now)).is_empty(), "it was given away");
    plan.let_go(&id);
    assert_eq!(leases(&plan.advance(now)).len(), 1);
}

/// Guards streams that other proxies play: they fill an engine, cost it its turn, keep their broadcast from a second session
/// there and its cache from being emptied, as leases do; also when they were reported before the engine was found.
#[test]
fn what_other_proxies_play_is_use() {
    let now = Instant::now();
    let mut plan = plan(now);
    let id = |name: &str| EngineId(name.into());
    let reported = |on: &[(&str, Option<u8>)]| {
        let mut reported = Reported::default();
        on.iter().for_each(|(name, stream)| reported.add(id(name), stream.map(broadcast)));
        reported
    };
    assert_eq!(plan.set_reported(reported(&[("a", Some(1))])), [], "it is not there yet");
    plan.set_fleet(now, vec![engine("a"), engine("b")]);
    ["a", "b"].iter().for_each(|name| well(&mut plan, now, name));
    let load = plan.loads()[&id("a")];
    assert_eq!((load.leases, load.others, load.streams()), (0, 1, 1));
    assert!(!plan.hold(&id("a")), "its cache would be emptied under a stream");
    // The empty one first, then the other, which is full then; nobody asks sessions for room that others have.
    assert_eq!(chosen(&mut plan, now, 2).as_deref(), Some("b"));
    assert_eq!(plan.set_reported(reported(&[("a", Some(1)), ("a", None)])), [id("a")]);
    assert_eq!(chosen(&mut plan, now, 3).as_deref(), Some("b"));
    assert_eq!((chosen(&mut plan, now, 4), plan.unplaced()), (None, 1));
    assert!(plan.wants_room(now).iter().all(|wanted| !wanted.contains(&id("a"))));
    // The same broadcast is not opened there a second time, under whichever number it was reported.
    let mut plan = self::plan(now);
    plan.set_fleet(now, vec![engine("a")]);
    well(&mut plan, now, "a");
    assert_eq!(plan.set_reported(reported(&[("a", Some(7))])), [id("a")]);
    plan.learned(broadcast(7), broadcast(8));
    assert_eq!(chosen(&mut plan, now, 8), None);
    assert_eq!(plan.set_reported(Reported::default()), []);
    assert_eq!(leases(&plan.advance(now)).len(), 1, "it is over and still counts");
}

/// Guards ties: what another proxy plays is a use like any other, so that the engine it chose is no longer the longest unused.
#[test]
fn a_reported_stream_is_the_newest_use() {
    let now = Instant::now();
    let mut plan = plan(now);
    plan.set_fleet(now, vec![engine("a"), engine("b")]);
    ["a", "b"].iter().for_each(|name| well(&mut plan, now, name));
    let mut reported = Reported::default();
    reported.add(EngineId("a".into()), None);
    plan.set_reported(reported);
    plan.set_reported(Reported::default());
    assert_eq!(chosen(&mut plan, now, 1).as_deref(), Some("b"));
}
