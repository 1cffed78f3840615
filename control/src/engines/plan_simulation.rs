//! Seeded simulation of the plan against shards that ask, give back, give up, restart and lose messages, and engines
//! that come and go. The model keeps its own books, so that a double grant or a lost answer cannot hide.

use super::*;
use proptest::prelude::*;
use sluice_contract::{EngineFault, Options, StreamKey, StreamName};

const SHARDS: u16 = 3;
const STREAMS: u8 = 6;
const DEADLINE: Duration = Duration::from_secs(8);

/// One thing that happens.
#[derive(Clone, Debug)]
enum Step {
    Ask { shard: u16, stream: u8, avoid: u8 },
    Return { pick: usize, fault: Option<EngineFault> },
    ReturnTwice { pick: usize },
    Abandon { pick: usize },
    Checked { engine: usize, is_well: bool },
    Playing { pick: usize },
    LoseNextAnswer,
    ShardRestarts { shard: u16 },
    ControlRestarts,
    Pass { millis: u64 },
}

fn fault() -> impl Strategy<Value = Option<EngineFault>> {
    prop_oneof![
        3 => Just(None),
        1 => Just(Some(EngineFault::Unreachable)),
        1 => Just(Some(EngineFault::Hung)),
        1 => Just(Some(EngineFault::EndOfStream)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..SHARDS, 0..STREAMS, any::<u8>()).prop_map(|(shard, stream, avoid)| Step::Ask { shard, stream, avoid }),
        6 => (any::<usize>(), fault()).prop_map(|(pick, fault)| Step::Return { pick, fault }),
        1 => any::<usize>().prop_map(|pick| Step::ReturnTwice { pick }),
        2 => any::<usize>().prop_map(|pick| Step::Abandon { pick }),
        6 => (0..4usize, prop::bool::weighted(0.8)).prop_map(|(engine, is_well)| Step::Checked { engine, is_well }),
        2 => any::<usize>().prop_map(|pick| Step::Playing { pick }),
        1 => Just(Step::LoseNextAnswer),
        1 => (0..SHARDS).prop_map(|shard| Step::ShardRestarts { shard }),
        1 => Just(Step::ControlRestarts),
        6 => (1..4000u64).prop_map(|millis| Step::Pass { millis }),
    ]
}

fn key(stream: u8) -> StreamKey {
    StreamKey { name: StreamName::Infohash(Hex40::from_bytes([stream; 20])), options: Options::default() }
}

fn authority(n: usize) -> Authority {
    format!("engine-{n}:6878").parse().unwrap()
}

/// What the shards know: the truth the plan's books are compared with.
struct Model {
    now: Instant,
    epoch: u64,
    engines: usize,
    has_fallback: bool,
    streams_per_engine: Option<u32>,
    starts_max: usize,
    held: Vec<(Lease, ShardId, u8, Option<Instant>)>,
    given_back: Vec<LeaseId>,
    ever: HashSet<LeaseId>,
    open: HashMap<(ShardId, Ticket), (u8, Instant)>,
    next_ticket: u64,
    loses_next: bool,
}

impl Model {
    fn plan(&self) -> Plan {
        let limits = Limits {
            epoch: Epoch(self.epoch),
            shards: usize::from(SHARDS),
            streams_per_engine: self.streams_per_engine,
            engine_starts_max: self.starts_max,
            no_response_timeout: Duration::from_secs(3),
            engine_wait: Duration::from_secs(600),
            fleet_streams: 1,
            selection: Selection::default(),
        };
        let fallback = self.has_fallback.then(|| authority(self.engines));
        Plan::new(
            self.now,
            limits,
            (0..self.engines).map(|n| authority(n).into()).collect(),
            fallback,
            Jitter::new(self.epoch),
        )
    }

    /// What a shard reports.
    fn report(&self, plan: &mut Plan, shard: ShardId) {
        let mine = self.held.iter().filter(|(_, holder, ..)| *holder == shard);
        let leases = mine.map(|(lease, _, stream, _)| (lease.clone(), Hex40::from_bytes([*stream; 20])));
        plan.holdings(shard, Epoch(self.epoch), leases.collect());
    }

    fn perform(&mut self, plan: &mut Plan, actions: Vec<Action>) -> Result<(), TestCaseError> {
        for action in actions {
            let Action::Answer { shard, ticket, answer } = action else { continue };
            let Some((stream, deadline)) = self.open.remove(&(shard, ticket)) else {
                return Err(TestCaseError::fail(format!(
                    "{ticket:?} was answered twice, or after it was abandoned"
                )));
            };
            if std::mem::take(&mut self.loses_next) {
                plan.undelivered(answer);
                continue;
            }
            let Ok(lease) = answer else { continue };
            prop_assert!(self.now < deadline, "granted too late");
            prop_assert_eq!(lease.epoch, Epoch(self.epoch));
            prop_assert!(self.ever.insert(lease.id), "{:?} was granted twice", lease.id);
            self.held.push((lease, shard, stream, Some(self.now + START_SLOT_MAX)));
            self.check_last_grant()?;
        }
        Ok(())
    }

    /// The books must have allowed the newest grant.
    fn check_last_grant(&self) -> Result<(), TestCaseError> {
        let (lease, _, stream, _) = self.held.last().expect("a grant was just written down");
        let on_engine = || self.held.iter().filter(|(other, ..)| other.engine == lease.engine);
        let leases = on_engine().count();
        if let Some(most) = self.streams_per_engine {
            prop_assert!(leases <= most as usize, "{leases} leases on {}", lease.engine);
        }
        prop_assert_eq!(
            on_engine().filter(|(_, _, other, _)| other == stream).count(),
            1,
            "one broadcast twice"
        );
        let starts = on_engine().filter(|(.., until)| until.is_some_and(|until| until > self.now)).count();
        prop_assert!(starts <= self.starts_max, "{starts} starts on {}", lease.engine);
        Ok(())
    }

    fn apply(&mut self, plan: &mut Plan, step: &Step) -> Result<(), TestCaseError> {
        match *step {
            Step::Ask { shard, stream, avoid } => {
                self.next_ticket += 1;
                let (shard, ticket, deadline) =
                    (ShardId(shard), Ticket(self.next_ticket), self.now + DEADLINE);
                let all = (0..self.engines + 1).filter(|n| avoid >> n & 1 == 1);
                let avoid = all.map(|n| EngineId(authority(n).as_str().clone())).collect();
                self.open.insert((shard, ticket), (stream, deadline));
                let request =
                    LeaseRequest { ticket, shard, stream: key(stream), avoid, wanted: None, deadline };
                plan.request(self.now, request, Hex40::from_bytes([stream; 20]));
            }
            Step::Return { pick, fault } if !self.held.is_empty() => {
                let (lease, ..) = self.held.swap_remove(pick % self.held.len());
                self.given_back.push(lease.id);
                plan.give_back(self.now, LeaseReturn { id: lease.id, fault });
            }
            Step::ReturnTwice { pick } if !self.given_back.is_empty() => {
                let id = self.given_back[pick % self.given_back.len()];
                plan.give_back(self.now, LeaseReturn { id, fault: None });
            }
            Step::Abandon { pick } if !self.open.is_empty() => {
                let (shard, ticket) = *self.open.keys().nth(pick % self.open.len()).expect("it is not empty");
                self.open.remove(&(shard, ticket));
                plan.abandon(shard, ticket);
            }
            Step::Checked { engine, is_well } if engine <= self.engines => {
                let address = ([127, 0, 0, 1], 6878).into();
                let outcome = if is_well { Ok(address) } else { Err(CheckFault::Late(address)) };
                plan.checked(self.now, &EngineId(authority(engine).as_str().clone()), outcome);
            }
            Step::Playing { pick } if !self.held.is_empty() => {
                let index = pick % self.held.len();
                let (lease, _, stream, until) = &mut self.held[index];
                *until = None;
                plan.opened(&lease.engine, Hex40::from_bytes([*stream; 20]));
            }
            Step::LoseNextAnswer => self.loses_next = true,
            Step::ShardRestarts { shard } => {
                self.held.retain(|(_, holder, ..)| *holder != ShardId(shard));
                self.report(plan, ShardId(shard));
                // A report says nothing of starts, so the survivors of a restart count as playing.
            }
            Step::ControlRestarts => {
                let refusals = plan.refuse_all();
                self.perform(plan, refusals)?;
                prop_assert!(self.open.is_empty(), "control stopped without answering");
                self.epoch += 1;
                self.held.iter_mut().for_each(|(.., until)| *until = None);
                let stale = plan.limits.epoch;
                *plan = self.plan();
                // A report that answers the previous generation must not count.
                plan.holdings(ShardId(0), stale, Vec::new());
                prop_assert!(!plan.reported.contains(&ShardId(0)));
                (0..SHARDS).for_each(|shard| self.report(plan, ShardId(shard)));
            }
            _ => {}
        }
        Ok(())
    }

    /// Lets time pass as the driver does: advance now, and whenever the plan asks for it.
    fn run_until(&mut self, plan: &mut Plan, until: Instant) -> Result<(), TestCaseError> {
        const WAKES_MAX: usize = 1000;
        for _ in 0..WAKES_MAX {
            let actions = plan.advance(self.now);
            self.perform(plan, actions)?;
            match plan.next_wake(self.now).filter(|wake| *wake < until) {
                Some(wake) => self.now = self.now.max(wake),
                None if self.now < until => self.now = until,
                None => return Ok(()),
            }
        }
        Err(TestCaseError::fail("the plan keeps its driver busy"))
    }
}

fn simulate(
    engines: usize,
    has_fallback: bool,
    streams_per_engine: Option<u32>,
    steps: &[Step],
) -> Result<(), TestCaseError> {
    let mut model = Model {
        now: Instant::now(),
        epoch: 1,
        engines,
        has_fallback,
        streams_per_engine,
        starts_max: 2,
        held: Vec::new(),
        given_back: Vec::new(),
        ever: HashSet::new(),
        open: HashMap::new(),
        next_ticket: 0,
        loses_next: false,
    };
    let mut plan = model.plan();
    (0..SHARDS).for_each(|shard| model.report(&mut plan, ShardId(shard)));
    for step in steps {
        model.apply(&mut plan, step)?;
        let until = match step {
            Step::Pass { millis } => model.now + Duration::from_millis(*millis),
            _ => model.now,
        };
        model.run_until(&mut plan, until)?;
        for (ticket, (_, deadline)) in &model.open {
            prop_assert!(*deadline > model.now, "{ticket:?} waits past its deadline");
        }
        let on_books: usize = plan.engines.values().map(|engine| engine.leases.len()).sum();
        prop_assert_eq!(on_books, model.held.len(), "the books are wrong");
        prop_assert_eq!(plan.home.len(), model.held.len());
        prop_assert_eq!(plan.waiting.len(), model.open.len());
    }
    // Everybody who still waits is answered when time runs out.
    model.loses_next = false;
    let end = model.now + DEADLINE;
    model.run_until(&mut plan, end)?;
    prop_assert!(model.open.is_empty(), "{} requests were never answered", model.open.len());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Never over capacity, never one broadcast twice on one engine, every request answered once and in time, books
    /// equal to what the shards hold: over thousands of random lives of shards, engines and control.
    #[test]
    fn the_books_always_agree_with_the_shards(
        engines in 1..4usize,
        has_fallback: bool,
        streams_per_engine in prop::option::of(1..4u32),
        steps in prop::collection::vec(step(), 1..120),
    ) {
        simulate(engines, has_fallback, streams_per_engine, &steps)?;
    }
}

/// A plan with one engine that is well, its one shard reported.
fn one_engine(now: Instant, starts_max: usize) -> Plan {
    let limits = Limits {
        epoch: Epoch(1),
        shards: 1,
        streams_per_engine: None,
        engine_starts_max: starts_max,
        no_response_timeout: DEADLINE,
        engine_wait: Duration::from_secs(600),
        fleet_streams: 1,
        selection: Selection::default(),
    };
    let mut plan = Plan::new(now, limits, vec![authority(0).into()], None, Jitter::new(1));
    plan.holdings(ShardId(0), Epoch(1), Vec::new());
    plan.checked(now, &EngineId(authority(0).as_str().clone()), Ok(([127, 0, 0, 1], 6878).into()));
    plan
}

fn ask(plan: &mut Plan, now: Instant, ticket: u64, stream: u8) {
    let request = LeaseRequest {
        ticket: Ticket(ticket),
        shard: ShardId(0),
        stream: key(stream),
        avoid: Vec::new(),
        wanted: None,
        deadline: now + 10 * START_SLOT_MAX,
    };
    plan.request(now, request, Hex40::from_bytes([stream; 20]));
}

fn granted(actions: &[Action]) -> Vec<u64> {
    let tickets = actions.iter().filter_map(|action| match action {
        Action::Answer { ticket, answer: Ok(_), .. } => Some(ticket.0),
        _ => None,
    });
    tickets.collect()
}

#[test]
fn who_asked_first_is_served_first() {
    let now = Instant::now();
    let mut plan = one_engine(now, 1);
    for ticket in 1..=3 {
        ask(&mut plan, now, ticket, ticket as u8);
    }
    assert_eq!(granted(&plan.advance(now)), [1]);
    for (stream, next) in [(1, 2), (2, 3)] {
        plan.opened(&EngineId(authority(0).as_str().clone()), Hex40::from_bytes([stream; 20]));
        assert_eq!(granted(&plan.advance(now)), [next]);
    }
}

#[test]
fn a_start_that_never_shows_media_frees_its_slot_and_the_plan_wakes_for_it() {
    let now = Instant::now();
    let mut plan = one_engine(now, 1);
    ask(&mut plan, now, 1, 1);
    ask(&mut plan, now, 2, 2);
    assert_eq!(granted(&plan.advance(now)), [1]);
    let mut at = now;
    while at < now + START_SLOT_MAX {
        at = plan.next_wake(at).expect("somebody waits").max(at + Duration::from_millis(1));
        if granted(&plan.advance(at)) == [2] {
            assert!(at >= now + START_SLOT_MAX);
            return;
        }
        plan.checked(at, &EngineId(authority(0).as_str().clone()), Ok(([127, 0, 0, 1], 6878).into()));
    }
    panic!("the slot was never freed");
}

#[test]
fn a_number_that_turns_out_to_name_a_broadcast_blocks_its_engine_for_it() {
    let now = Instant::now();
    let mut plan = one_engine(now, 8);
    ask(&mut plan, now, 1, 1);
    assert_eq!(granted(&plan.advance(now)), [1]);
    plan.learned(Hex40::from_bytes([1; 20]), Hex40::from_bytes([2; 20]));
    ask(&mut plan, now, 2, 2);
    assert_eq!(granted(&plan.advance(now)), [0u64; 0], "two sessions of one broadcast share an engine");
}

#[test]
fn nothing_is_granted_before_the_shards_have_reported() {
    let now = Instant::now();
    let limits = Limits {
        epoch: Epoch(7),
        shards: 2,
        streams_per_engine: Some(1),
        engine_starts_max: 2,
        no_response_timeout: DEADLINE,
        engine_wait: Duration::from_secs(600),
        fleet_streams: 1,
        selection: Selection::default(),
    };
    let mut plan = Plan::new(now, limits, vec![authority(0).into()], None, Jitter::new(1));
    plan.checked(now, &EngineId(authority(0).as_str().clone()), Ok(([127, 0, 0, 1], 6878).into()));
    ask(&mut plan, now, 1, 1);
    assert_eq!(
        granted(&plan.advance(now + 2 * REPORT_GRACE)),
        [0u64; 0],
        "granted to a shard that may hold leases"
    );
    let mut plan = Plan { report_until: now + REPORT_GRACE, ..plan };
    plan.holdings(ShardId(0), Epoch(7), Vec::new());
    assert_eq!(granted(&plan.advance(now)), [0u64; 0], "the other shard may hold the engine");
    assert_eq!(granted(&plan.advance(now + REPORT_GRACE)), [1], "a dead shard blocks the others");
}

#[test]
fn the_queue_of_waiting_requests_is_bounded() {
    let now = Instant::now();
    let mut plan = one_engine(now, 1);
    for ticket in 0..=WAITING_MAX as u64 + 1 {
        ask(&mut plan, now, ticket, 1);
    }
    let actions = plan.advance(now);
    let refused =
        actions.iter().filter(|action| matches!(action, Action::Answer { answer: Err(_), .. })).count();
    assert_eq!(refused, 2, "the queue took more than its bound");
    assert_eq!(granted(&actions), [0]);
}

/// A plan with two engines of one group that are well, each with a lease of its own broadcast.
fn two_of_a_group(now: Instant) -> (Plan, Vec<LeaseId>) {
    let mut plan = one_engine(now, 8);
    let second = Plan::new(now, plan.limits.clone(), vec![authority(1).into()], None, Jitter::new(1));
    plan.engines.extend(second.engines);
    plan.engines.values_mut().for_each(|engine| engine.group = Some("vpn-1".into()));
    plan.checked(now, &EngineId(authority(1).as_str().clone()), Ok(([127, 0, 0, 1], 6879).into()));
    ask(&mut plan, now, 1, 1);
    ask(&mut plan, now, 2, 2);
    let leases = plan.advance(now).into_iter().filter_map(|action| match action {
        Action::Answer { answer: Ok(lease), .. } => {
            assert_eq!(lease.group.as_deref(), Some("vpn-1"));
            Some(lease.id)
        }
        _ => None,
    });
    let leases = leases.collect();
    (plan, leases)
}

/// Guards: engines of one group that fall silent one after the other are known as that when the last one does, once, and
/// no more when one comes back or is given back.
#[test]
fn a_group_that_falls_silent_as_a_whole_is_known() {
    let now = Instant::now();
    let (mut plan, leases) = two_of_a_group(now);
    assert_eq!(leases.len(), 2);
    assert_eq!(plan.silence(now, leases[0], true), Vec::<Arc<str>>::new());
    assert_eq!(plan.silence(now, leases[1], true), [Arc::from("vpn-1")]);
    assert_eq!(plan.silence(now, leases[1], true), Vec::<Arc<str>>::new(), "told twice");
    assert_eq!(plan.standing(now).silent_groups, [Arc::from("vpn-1")]);
    plan.silence(now, leases[0], false);
    assert_eq!(plan.standing(now).silent_groups, Vec::<Arc<str>>::new());
    plan.silence(now, leases[0], true);
    plan.give_back(now, LeaseReturn { id: leases[0], fault: None });
    assert_eq!(plan.standing(now).silent_groups, Vec::<Arc<str>>::new(), "one engine alone says little");
    assert_eq!(plan.silence(now, LeaseId(99), true), Vec::<Arc<str>>::new(), "a lease that is not out");
}

/// Guards: when a whole group is silent, its sessions are asked to go elsewhere, if there is an engine elsewhere that could
/// serve, and no engine of the group is chosen while another one does.
#[test]
fn a_silent_group_is_left_for_another() {
    let now = Instant::now();
    let elsewhere = |plan: &Plan| {
        let pooled = vec![Pooled { authority: authority(2), group: Some("vpn-2".into()) }];
        Plan::new(now, plan.limits.clone(), pooled, None, Jitter::new(1)).engines
    };
    let withdrawn = |actions: &[Action]| -> Vec<LeaseId> {
        let of = |action: &Action| match action {
            Action::Withdraw { lease, reason: MoveReason::VpnDegraded, .. } => Some(*lease),
            _ => None,
        };
        let mut leases: Vec<LeaseId> = actions.iter().filter_map(of).collect();
        leases.sort();
        leases
    };
    for (has_another, is_well) in [(false, false), (true, false), (true, true)] {
        let (mut plan, mut leases) = two_of_a_group(now);
        leases.sort();
        if has_another {
            plan.engines.extend(elsewhere(&plan));
        }
        if is_well {
            let id = EngineId(authority(2).as_str().clone());
            plan.checked(now, &id, Ok(([127, 0, 0, 2], 6880).into()));
        }
        plan.silence(now, leases[0], true);
        assert_eq!(withdrawn(&plan.advance(now)), []);
        plan.silence(now, leases[1], true);
        let expected = if is_well { leases.clone() } else { Vec::new() };
        assert_eq!(withdrawn(&plan.advance(now)), expected, "{has_another} {is_well}");
        if is_well {
            // Four streams later the engine elsewhere is by far the fuller one.
            for n in 3..7 {
                ask(&mut plan, now, n, n as u8);
                let actions = plan.advance(now);
                let is_elsewhere = |action: &Action| matches!(action, Action::Answer { answer: Ok(lease), .. } if lease.group.as_deref() == Some("vpn-2"));
                assert!(actions.iter().any(is_elsewhere), "{actions:?}");
            }
        }
    }
}

/// Guards: a session that is to move to an engine gets that one or none, and hears at once of one that does not exist.
#[test]
fn a_wanted_engine_is_granted_or_none() {
    let now = Instant::now();
    let (mut plan, _) = two_of_a_group(now);
    let wants = |ticket: u64, engine: usize| LeaseRequest {
        ticket: Ticket(ticket),
        shard: ShardId(0),
        stream: key(3),
        avoid: vec![EngineId(authority(1).as_str().clone())],
        wanted: Some(EngineId(authority(engine).as_str().clone())),
        deadline: now + DEADLINE,
    };
    plan.request(now, wants(3, 1), Hex40::from_bytes([3; 20]));
    let granted: Vec<EngineId> = plan
        .advance(now)
        .into_iter()
        .filter_map(|action| match action {
            Action::Answer { answer: Ok(lease), .. } => Some(lease.engine),
            _ => None,
        })
        .collect();
    assert_eq!(granted, [EngineId(authority(1).as_str().clone())]);
    plan.request(now, wants(4, 1), Hex40::from_bytes([3; 20]));
    plan.request(now, wants(5, 7), Hex40::from_bytes([4; 20]));
    let answers: Vec<(u64, bool)> = plan
        .advance(now)
        .into_iter()
        .filter_map(|action| match action {
            Action::Answer { ticket, answer, .. } => Some((ticket.0, answer.is_ok())),
            _ => None,
        })
        .collect();
    assert_eq!(answers, [(5, false)], "the other one waits for the engine it wants");
}

/// Guards where a spare is: on another VPN node, and else on another host, than the engine that plays; with neither, on any other.
#[test]
fn a_second_engine_is_on_another_node_or_host() {
    let now = Instant::now();
    let id = |n: usize| EngineId(authority(n).as_str().clone());
    // The first plays; of the others one shares its node, one its host.
    let second_of = |places: &[(&str, u8)]| {
        let mut plan = one_engine(now, 8);
        let others = (1..places.len()).map(|n| authority(n).into()).collect();
        plan.engines.extend(Plan::new(now, plan.limits.clone(), others, None, Jitter::new(1)).engines);
        for (n, (group, host)) in places.iter().enumerate() {
            plan.engines.get_mut(&id(n)).expect("it is there").group =
                (!group.is_empty()).then(|| (*group).into());
            plan.checked(now, &id(n), Ok(([10, 0, 0, *host], 6878).into()));
        }
        // Whatever was chosen for the first one, the second request is for the same broadcast.
        for n in 1..places.len() {
            plan.engines.get_mut(&id(n)).expect("it is there").is_held = true;
        }
        ask(&mut plan, now, 1, 1);
        assert_eq!(granted(&plan.advance(now)), [1]);
        plan.engines.values_mut().for_each(|engine| engine.is_held = false);
        ask(&mut plan, now, 2, 1);
        let actions = plan.advance(now);
        actions.into_iter().find_map(|action| match action {
            Action::Answer { answer: Ok(lease), .. } => Some(lease.engine),
            _ => None,
        })
    };
    assert_eq!(second_of(&[("vpn-1", 1), ("vpn-1", 2), ("vpn-2", 3)]), Some(id(2)));
    assert_eq!(second_of(&[("", 1), ("", 1), ("", 2)]), Some(id(2)));
    assert_eq!(second_of(&[("", 1), ("", 1)]), Some(id(1)));
}
