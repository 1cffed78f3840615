//! The fleet against a Docker of a few lines: containers that take time to start, daemons that go away, engines that
//! die, players that come and go.

use super::*;
use crate::docker::Network;
use crate::engines::recipe::{Recipe, Site, Tags, Variant};
use proptest::prelude::*;

mod by_hand;
mod pitfalls;

const START: Duration = Duration::from_secs(8);

fn limits() -> FleetLimits {
    FleetLimits {
        min: 2,
        max: 6,
        surge: 0,
        min_free: 1,
        streams_per_engine: 3,
        is_auto_delete: true,
        grace: Duration::from_secs(30),
        startup: Duration::from_secs(60),
        concurrent_max: 5,
        interval: Duration::ZERO,
        unhealthy_grace: Duration::from_secs(60),
        cooldown: Duration::from_secs(60),
        list_interval: Duration::from_secs(10),
        breaker: BreakerLimits { threshold: 3, recovery: Duration::from_secs(300) },
        replacement_breaker: BreakerLimits { threshold: 3, recovery: Duration::from_secs(180) },
    }
}

fn ground(instance: &str) -> Ground {
    Ground {
        recipe: Recipe::of(Variant::KrinkutoAmd64, &Tags::default()),
        site: Site {
            label: "ondemand.app=myservice".parse().unwrap(),
            instance: instance.to_owned(),
            network: Network::Bridge,
            publish: [127, 0, 0, 1].into(),
            has_https_mapped: false,
            memory_bytes: None,
            folders: Vec::new(),
        },
        reach: Reach::Published("127.0.0.1".to_owned()),
    }
}

/// What happens to the next containers that are made.
#[derive(Clone, Debug, PartialEq)]
enum Fate {
    Works,
    Fails(Error),
    Exits,
    Hangs,
    /// Its image serves another port.
    Elsewhere,
}

/// A container and what the engine in it does.
#[derive(Clone, Debug)]
struct Made {
    container: Container,
    answers_at: Option<Instant>,
    streams: usize,
    /// Streams of other proxies.
    others: usize,
    is_down: bool,
}

struct World {
    now: Instant,
    fleet: Fleet,
    containers: BTreeMap<String, Made>,
    fate: Fate,
    is_away: bool,
    waiting: usize,
    /// The engine somebody drained.
    drained: Option<String>,
    /// A port some other program has, and how often it was asked for.
    taken: Option<u16>,
    refused: usize,
    made: usize,
    most: usize,
    created_at: Vec<Instant>,
    removed_at: Vec<Instant>,
    ids: u64,
}

impl World {
    fn new(limits: FleetLimits) -> Self {
        let now = Instant::now();
        let ranges = Ranges {
            host: PortRange::new(19000, 19999).unwrap(),
            https: PortRange::new(45000, 49999).unwrap(),
            p2p: None,
        };
        let mut fleet = Fleet::new(now, limits, ranges);
        fleet.surveyed(ground("one"));
        Self {
            now,
            fleet,
            containers: BTreeMap::new(),
            fate: Fate::Works,
            is_away: false,
            waiting: 0,
            drained: None,
            taken: None,
            refused: 0,
            made: 0,
            most: 0,
            created_at: Vec::new(),
            removed_at: Vec::new(),
            ids: 0,
        }
    }

    fn away() -> Error {
        Error::Unreachable { at: "here".to_owned(), reason: "connection refused".to_owned() }
    }

    fn view(&self) -> View {
        let health = |made: &Made| match made.answers_at {
            _ if made.is_down || made.container.state != State::Running => Health::Down,
            Some(at) if at <= self.now => Health::Healthy,
            _ => Health::Unknown,
        };
        let known = self.fleet.engines();
        let loads = self.containers.values().filter_map(|made| {
            let id = EngineId(made.container.id.0.clone());
            let is_known = known.iter().any(|engine| engine.id == id);
            let is_drained = self.drained.as_ref() == Some(&made.container.name);
            is_known.then(|| {
                let is_deserted = self.fate == Fate::Elsewhere;
                let (leases, others, health) = (made.streams, made.others, health(made));
                (id, Load { leases, others, health, is_deserted, is_drained })
            })
        });
        let loads: HashMap<EngineId, Load> = loads.collect();
        // What is known and not down may come to serve whoever waits.
        let places: usize = known
            .iter()
            .filter(|engine| !engine.is_draining)
            .filter_map(|engine| loads.get(&engine.id).map(|load| (engine, load)))
            .filter(|(engine, load)| engine.is_starting || load.health != Health::Down)
            .map(|(_, load)| 3usize.saturating_sub(load.streams()))
            .sum();
        View { loads, unplaced: self.waiting.saturating_sub(places) }
    }

    /// Lets the fleet act until it has nothing more to do at this instant.
    fn settle(&mut self) {
        for _ in 0..64 {
            self.place();
            let view = self.view();
            let actions = self.fleet.advance(self.now, &view);
            if actions.is_empty() {
                break;
            }
            for action in actions {
                self.perform(action);
            }
            self.most = self.most.max(self.containers.len());
        }
    }

    fn perform(&mut self, action: Action) {
        let begun = self.now;
        match action {
            Action::List => {
                let list = self.containers.values().map(|made| made.container.clone()).collect();
                // What was done at this very instant was done before the list was asked for.
                self.now += Duration::from_millis(1);
                let begun = begun + Duration::from_millis(1);
                self.fleet.listed(self.now, begun, if self.is_away { Err(Self::away()) } else { Ok(list) });
            }
            Action::Provision(spec) => {
                let outcome = self.make(&spec);
                self.fleet.provisioned(self.now, &spec.name, outcome);
            }
            Action::Remove { name, .. } => {
                if self.is_away {
                    return self.fleet.removed(self.now, &name, Err(Self::away()));
                }
                let gone = self.containers.remove(&name);
                assert!(
                    gone.is_none_or(|made| made.streams == 0
                        || made.is_down
                        || made.container.state != State::Running),
                    "{name} went with streams"
                );
                self.removed_at.push(self.now);
                self.fleet.removed(self.now, &name, Ok(()));
            }
        }
    }

    fn make(&mut self, spec: &ContainerSpec) -> Result<ContainerId, Error> {
        if self.is_away {
            return Err(Self::away());
        }
        if let Fate::Fails(error) = &self.fate {
            return Err(error.clone());
        }
        if spec.ports.iter().any(|port| Some(port.host_port) == self.taken) {
            self.refused += 1;
            return Err(Error::PortTaken { reason: "address already in use".to_owned() });
        }
        assert!(!self.containers.contains_key(&spec.name), "the name {} was given out twice", spec.name);
        self.ids += 1;
        self.made += 1;
        self.created_at.push(self.now);
        let id = ContainerId(format!("{:064x}", self.ids).into());
        let state = if self.fate == Fate::Exits { State::Restarting } else { State::Running };
        let container = Container {
            id: id.clone(),
            name: spec.name.clone(),
            image: spec.image.clone(),
            state,
            labels: spec.labels.clone(),
            addresses: BTreeMap::new(),
            host_ports: spec.ports.iter().map(|port| port.host_port).collect(),
        };
        let ports: Vec<u16> =
            self.containers.values().flat_map(|made| made.container.host_ports.clone()).collect();
        assert!(container.host_ports.iter().all(|port| !ports.contains(port)), "a port was given out twice");
        let answers_at = (self.fate == Fate::Works).then_some(self.now + START);
        let made = Made { container, answers_at, streams: 0, others: 0, is_down: false };
        self.containers.insert(spec.name.clone(), made);
        Ok(id)
    }

    /// Gives whoever waits a place on the engine with the fewest streams.
    fn place(&mut self) {
        while self.waiting > 0 {
            let ready: Vec<EngineId> = self
                .fleet
                .engines()
                .into_iter()
                .filter(|e| !e.is_draining && !e.is_starting)
                .map(|e| e.id)
                .collect();
            let now = self.now;
            let best = self
                .containers
                .values_mut()
                .filter(|made| ready.contains(&EngineId(made.container.id.0.clone())) && !made.is_down)
                .filter(|made| made.streams + made.others < 3 && made.answers_at.is_some_and(|at| at <= now))
                .min_by_key(|made| made.streams);
            let Some(made) = best else { return };
            made.streams += 1;
            self.waiting -= 1;
        }
    }

    fn pass(&mut self, length: Duration) {
        let end = self.now + length;
        while self.now < end {
            self.settle();
            let answers =
                self.containers.values().filter_map(|made| made.answers_at).filter(|at| *at > self.now);
            let wake = self.fleet.next_wake(self.now).into_iter().chain(answers).chain([end]).min();
            self.now = wake
                .unwrap_or(end)
                .max(self.now + Duration::from_millis(1))
                .min(end.max(self.now + Duration::from_millis(1)));
        }
        self.settle();
    }

    fn ready(&self) -> usize {
        self.fleet
            .members
            .values()
            .filter(|member| member.phase == Phase::Ready && member.down_since.is_none())
            .count()
    }

    fn held_ports(&self) -> usize {
        self.fleet.host_ports.held()
    }
}

/// Guards the start: the minimum is there after one start's time, all at once, with the lowest names.
#[test]
fn the_minimum_is_started_in_parallel() {
    let mut world = World::new(FleetLimits { min: 5, ..limits() });
    world.pass(START + Duration::from_secs(1));
    assert_eq!((world.ready(), world.made), (5, 5));
    assert_eq!(world.containers.keys().next().unwrap(), "acestream-1");
    world.pass(Duration::from_secs(3600));
    assert_eq!((world.ready(), world.made), (5, 5), "an idle fleet is not left alone");
}

/// Guards demand: whoever waits brings engines at once, as many as needed and no more than allowed.
#[test]
fn waiting_players_bring_engines() {
    let mut world = World::new(limits());
    world.pass(Duration::from_secs(20));
    world.waiting = 9;
    world.pass(START + Duration::from_secs(1));
    assert_eq!(world.waiting, 0);
    // Nine streams fill three engines, and one place is kept ahead.
    assert_eq!(
        world.ready() + world.fleet.members.values().filter(|m| m.phase == Phase::Starting).count(),
        4
    );
    world.waiting = 100;
    world.pass(Duration::from_secs(600));
    assert_eq!((world.ready(), world.most), (6, 6), "MAX_REPLICAS holds");
    assert_eq!(world.fleet.blocked(world.now), Some(Blocked::MaxCapacity));
}

/// Guards one stream per engine, where counting layers started engines for ever.
#[test]
fn one_stream_per_engine_does_not_run_away() {
    let mut world =
        World::new(FleetLimits { streams_per_engine: 1, max: 50, min: 1, min_free: 0, ..limits() });
    world.pass(Duration::from_secs(20));
    world.containers.values_mut().for_each(|made| made.streams = 1);
    world.pass(Duration::from_secs(600));
    assert_eq!(world.made, 2, "one in use, one ahead");
}

/// Guards idle deletion: down to the floors, after the grace period, never an engine that plays.
#[test]
fn spare_engines_go_after_their_grace() {
    let mut world = World::new(limits());
    world.pass(Duration::from_secs(20));
    world.waiting = 12;
    world.pass(Duration::from_secs(30));
    let most = world.containers.len();
    assert!(most >= 5, "{most}");
    world.containers.values_mut().for_each(|made| made.streams = 0);
    let end = world.now;
    world.pass(Duration::from_secs(29));
    assert_eq!(world.containers.len(), most, "removed before the grace period was over");
    world.pass(Duration::from_secs(600));
    assert_eq!(world.containers.len(), 2, "MIN_REPLICAS stay");
    assert!(world.removed_at.iter().all(|at| *at >= end + Duration::from_secs(30)));
    assert_eq!(world.held_ports(), 2, "ports of removed engines are given back");
}

/// Guards adoption: engines found are taken with names and ports, those of the former program too, those of another
/// appliance never.
#[test]
fn engines_found_are_adopted() {
    let mut former = World::new(limits());
    former.pass(Duration::from_secs(20));
    let mut world = World::new(limits());
    world.containers = former.containers.clone();
    world.now = former.now;
    let mut names = world.containers.values_mut();
    // One carries what v1.5.1 wrote: no appliance.
    let unclaimed = names.next().unwrap();
    unclaimed.container.labels.remove(recipe::LABEL_INSTANCE);
    let mut strange = unclaimed.clone();
    strange.container.id = ContainerId("f".repeat(64).into());
    strange.container.name = "acestream-3".to_owned();
    strange.container.host_ports = vec![19_002];
    strange.container.labels.insert(recipe::LABEL_INSTANCE.to_owned(), "two".to_owned());
    world.containers.insert("acestream-3".to_owned(), strange);
    world.pass(Duration::from_secs(60));
    assert_eq!((world.made, world.ready()), (0, 2));
    assert_eq!(world.fleet.standing(world.now).counts.adopted, 2);
    // The next one avoids every name and port that is taken.
    world.waiting = 7;
    world.pass(Duration::from_secs(60));
    assert!(world.containers.contains_key("acestream-4"));
    assert!(world.containers["acestream-4"].container.host_ports[0] != 19_002);
    world.containers.values_mut().for_each(|made| made.streams = 0);
    world.pass(Duration::from_secs(600));
    assert!(world.containers.contains_key("acestream-3"), "another appliance's engine was touched");
}

/// Guards stopped containers: ours are removed, names and ports of others' are left alone.
#[test]
fn stopped_containers_are_accounted_for() {
    let mut world = World::new(limits());
    world.pass(Duration::from_secs(20));
    world.containers.get_mut("acestream-1").unwrap().container.state = State::Exited;
    world.fleet.noticed(world.now);
    world.pass(Duration::from_secs(30));
    assert_eq!((world.ready(), world.containers.len()), (2, 2));
    assert!(world.containers.values().all(|made| made.container.state == State::Running));
    let mut left = world.containers["acestream-2"].clone();
    left.container.id = ContainerId("e".repeat(64).into());
    left.container.name = "acestream-9".to_owned();
    left.container.state = State::Exited;
    left.container.labels.remove(recipe::LABEL_INSTANCE);
    // Docker shows no ports of a container that does not run; its labels name the one it comes back with.
    left.container.labels.insert(recipe::LABEL_HOST_HTTP.to_owned(), "19011".to_owned());
    left.container.host_ports.clear();
    world.containers.insert("acestream-9".to_owned(), left);
    world.fleet.host_ports = Pool::new("PORT_RANGE_HOST", PortRange::new(19010, 19012).unwrap());
    world.pass(Duration::from_secs(60));
    world.fleet.scale_by_hand(4);
    world.pass(Duration::from_secs(60));
    let ports = world.containers.values().flat_map(|made| made.container.host_ports.clone());
    let mut new: Vec<u16> = ports.filter(|port| *port >= 19_010).collect();
    new.sort_unstable();
    assert_eq!(new, [19_010, 19_012]);
    assert!(world.containers.contains_key("acestream-9"));
}

/// Guards Docker's absence: nothing follows from it, and nothing is removed or made twice when it comes back.
#[test]
fn a_daemon_that_goes_away_takes_nothing_along() {
    let mut world = World::new(limits());
    world.pass(Duration::from_secs(20));
    world.is_away = true;
    world.waiting = 8;
    world.pass(Duration::from_secs(120));
    assert_eq!((world.containers.len(), world.fleet.engines().len()), (2, 2));
    assert!(matches!(world.fleet.blocked(world.now), Some(Blocked::NoDocker { .. })));
    assert!(!world.fleet.is_hopeful(world.now, Duration::from_secs(45)));
    assert_eq!(world.fleet.breaker.failures(), 0, "an absence is no failure");
    world.is_away = false;
    world.pass(Duration::from_secs(60));
    assert_eq!((world.waiting, world.fleet.blocked(world.now)), (0, None));
}

/// Guards the doubt after a lost answer, as of a daemon that restarts meanwhile: a container that was made after all is kept, one
/// that was not is forgotten, and one that was made and never started is removed and another made.
#[test]
fn a_lost_answer_is_cleared_up_by_the_list() {
    for (is_made, is_started) in [(true, true), (true, false), (false, false)] {
        let mut world = World::new(FleetLimits { min: 1, ..limits() });
        let view = world.view();
        let actions = world.fleet.advance(world.now, &view);
        actions.into_iter().for_each(|action| world.perform(action));
        let view = world.view();
        let actions = world.fleet.advance(world.now, &view);
        let Some(Action::Provision(spec)) = actions.into_iter().next() else {
            panic!("nothing is provisioned")
        };
        if is_made {
            world.make(&spec).unwrap();
        }
        if let (Some(made), false) = (world.containers.get_mut(&spec.name), is_started) {
            made.container.state = State::Created;
        }
        let late = Error::Late { call: "create", after: START };
        world.fleet.provisioned(world.now, &spec.name, Err(late.clone()));
        let standing = world.fleet.standing(world.now);
        let blocked = standing.blocked.as_ref().map(Blocked::text).unwrap_or_default();
        assert!(blocked.contains(&late.to_string()) && blocked.contains(late.remedy()), "{blocked}");
        let trouble = standing.trouble.unwrap();
        assert_eq!(
            (trouble.code, trouble.remedy),
            (late.code(), late.remedy()),
            "it is forgotten with the absence"
        );
        assert_eq!(world.held_ports(), 1, "the reservation stays while nobody knows");
        world.pass(Duration::from_secs(30));
        let made = if is_made && !is_started { 2 } else { 1 };
        assert_eq!(
            (world.ready(), world.made, world.containers.len()),
            (1, made, 1),
            "{is_made} {is_started}"
        );
        assert_eq!(world.held_ports(), 1);
        assert_eq!(world.fleet.standing(world.now).counts.failed, 0, "an absence is no failed start");
    }
}

/// Guards every way a start fails: typed, visible, reservations returned, no orphan, the breaker in the end.
#[test]
fn failed_starts_leave_nothing() {
    let image = || "a:b".to_owned();
    let reason = || "x".to_owned();
    for (fate, code) in [
        (Fate::Fails(Error::NoImage { image: image() }), "image_missing"),
        (Fate::Fails(Error::Pull { image: image(), reason: reason() }), "pull_refused"),
        (Fate::Fails(Error::DiskFull { reason: reason() }), "disk_full"),
        (Fate::Fails(Error::NoNetwork { reason: reason() }), "no_network"),
        (Fate::Exits, "engine_exited"),
        (Fate::Hangs, "engine_never_ready"),
        (Fate::Elsewhere, "engine_port_closed"),
    ] {
        let mut world = World::new(FleetLimits { startup: Duration::from_secs(10), ..limits() });
        world.fate = fate.clone();
        world.pass(Duration::from_secs(120));
        let standing = world.fleet.standing(world.now);
        let trouble = standing.trouble.as_ref().unwrap();
        assert_eq!(trouble.code, code, "{fate:?}");
        assert!(!trouble.remedy.is_empty() && !trouble.text.is_empty(), "{trouble:?}");
        let blocked = standing.blocked.as_ref().map(Blocked::text).unwrap_or_default();
        assert!(blocked.contains(&trouble.text) && blocked.contains(trouble.remedy), "{blocked}");
        assert_eq!(standing.breaker.state, crate::engines::breaker::BreakerState::Open, "{fate:?}");
        assert!(matches!(standing.blocked, Some(Blocked::CircuitBreaker { .. })), "{fate:?}");
        assert_eq!(
            (world.containers.len(), world.held_ports(), world.fleet.members.len()),
            (0, 0, 0),
            "{fate:?}"
        );
        // A trial later it works again.
        world.fate = Fate::Works;
        world.pass(Duration::from_secs(400));
        assert_eq!((world.ready(), world.fleet.blocked(world.now)), (2, None), "{fate:?}");
    }
}

/// Guards an engine that ends as soon as it starts: Docker tells of the end before its lists show it, and starts the
/// process again soon, so that one look right after the event is not enough.
#[test]
fn a_crash_loop_is_seen() {
    let mut world = World::new(FleetLimits { min: 1, ..limits() });
    world.fate = Fate::Hangs;
    world.pass(Duration::from_millis(200));
    world.fleet.noticed(world.now);
    world.pass(Duration::from_millis(500));
    world.containers.get_mut("acestream-1").unwrap().container.state = State::Restarting;
    world.pass(Duration::from_secs(1));
    let trouble = world.fleet.standing(world.now).trouble.map(|trouble| trouble.code);
    assert_eq!(trouble, Some("engine_exited"));
}

/// Guards the end of a process: with its code, told apart from one the kernel killed for its memory, which is said with
/// what to do about it; of which two messages come.
#[test]
fn ends_of_processes_are_known() {
    let mut world = World::new(limits());
    world.pass(Duration::from_secs(20));
    let id = |world: &World, name: &str| world.containers[name].container.id.clone();
    let (one, two) = (id(&world, "acestream-1"), id(&world, "acestream-2"));
    let now = world.now;
    world.fleet.ended(now, &one, Some(1));
    world.fleet.out_of_memory(now, &two);
    world.fleet.ended(now + Duration::from_secs(1), &two, Some(137));
    world.fleet.ended(now, &ContainerId("stranger".into()), Some(3));
    let ends = |world: &World| {
        let standing = world.fleet.standing(world.now);
        let ends = standing.members.iter().map(|m| m.end.map(|end| (end.exit_code, end.is_out_of_memory)));
        ends.collect::<Vec<_>>()
    };
    assert_eq!(ends(&world), [Some((Some(1), false)), Some((Some(137), true))]);
    let standing = world.fleet.standing(now);
    assert_eq!(standing.counts.out_of_memory, 1);
    let trouble = standing.trouble.unwrap();
    assert!(
        trouble.text.contains("acestream-2") && trouble.remedy.contains("ENGINE_MEMORY_LIMIT"),
        "{trouble:?}"
    );
    // The next end is another one.
    world.fleet.ended(now + Duration::from_secs(60), &two, Some(0));
    assert_eq!(ends(&world)[1], Some((Some(0), false)));
    world.containers.get_mut("acestream-1").unwrap().container.state = State::Restarting;
    world.fleet.noticed(world.now);
    world.pass(Duration::from_secs(2));
    assert!(world.fleet.standing(world.now).members[0].is_restarting);
}

/// Guards ports of other programs and names of other containers: the next ones are tried, and nothing counts as failed.
#[test]
fn taken_ports_and_names_are_passed_over() {
    for error in [
        Error::PortTaken { reason: "port is already allocated".to_owned() },
        Error::NameTaken { name: "acestream-1".to_owned() },
    ] {
        let mut world = World::new(FleetLimits { min: 1, interval: Duration::from_millis(100), ..limits() });
        world.fate = Fate::Fails(error.clone());
        world.pass(Duration::from_millis(50));
        assert_eq!((world.made, world.fleet.breaker.failures()), (0, 0), "{error}");
        let trouble = world.fleet.standing(world.now).trouble.unwrap();
        assert_eq!((trouble.code, trouble.remedy), (error.code(), error.remedy()));
        world.fate = Fate::Works;
        world.pass(Duration::from_secs(30));
        assert_eq!(world.ready(), 1, "{error}");
        if let Error::PortTaken { .. } = error {
            assert_ne!(world.containers.values().next().unwrap().container.host_ports, [19_000]);
        }
    }
}

/// Guards a port that another program keeps: it is asked for once and then left alone for a while, also where the range has no
/// other left, which is said.
#[test]
fn a_port_of_another_program_is_left_alone() {
    let mut world = World::new(FleetLimits { min: 2, ..limits() });
    world.fleet.host_ports = Pool::new("PORT_RANGE_HOST", PortRange::new(19000, 19001).unwrap());
    world.taken = Some(19_000);
    world.pass(Duration::from_secs(20));
    assert_eq!((world.ready(), world.refused), (1, 1));
    let trouble = world.fleet.standing(world.now).trouble.unwrap();
    assert!(
        trouble.code == "port_range_exhausted" && trouble.text.contains("1 taken by other programs"),
        "{trouble:?}"
    );
    world.taken = None;
    world.pass(Duration::from_secs(600));
    assert_eq!(world.ready(), 2, "it is never tried again");
}

/// Guards a container that somebody removed by hand: forgotten, its reservations returned, replaced.
#[test]
fn a_container_removed_by_hand_is_replaced() {
    let mut world = World::new(limits());
    world.pass(Duration::from_secs(20));
    world.containers.remove("acestream-1");
    world.fleet.noticed(world.now);
    world.pass(START + Duration::from_secs(2));
    assert_eq!((world.ready(), world.held_ports()), (2, 2));
    let standing = world.fleet.standing(world.now);
    assert_eq!(standing.counts.lost, 1);
    let trouble = standing.trouble.unwrap();
    assert_eq!(trouble.code, "removed_by_others");
    assert!(
        trouble.text.contains("acestream-1") && trouble.remedy.contains("another is made"),
        "{trouble:?}"
    );
}

/// Guards an engine whose process somebody ended: its successor is begun as soon as a list shows that, and lists come quickly
/// until one does; where most end at once, as with a daemon that is about to restart, nothing is made before that is certain.
#[test]
fn an_engine_that_ended_is_made_up_for_at_once() {
    for (ended, is_at_once) in [(1, true), (2, true), (3, false)] {
        let mut world = World::new(FleetLimits { min: 4, max: 9, min_free: 0, ..limits() });
        world.pass(Duration::from_secs(20));
        let names: Vec<String> = world.containers.keys().take(ended).cloned().collect();
        for name in &names {
            let id = world.containers[name].container.id.clone();
            world.fleet.noticed(world.now);
            world.fleet.ended(world.now, &id, Some(137));
        }
        // Lists show it a moment after the event.
        world.pass(Duration::from_millis(250));
        names.iter().for_each(|name| {
            world.containers.get_mut(name).unwrap().container.state = State::Exited;
        });
        world.pass(Duration::from_millis(300));
        assert_eq!(world.made, if is_at_once { 4 + ended } else { 4 }, "{ended} ended");
        world.pass(START + Duration::from_secs(2));
        assert_eq!((world.ready(), world.containers.len(), world.made), (4, 4, 4 + ended), "{ended} ended");
    }
}

/// Guards replacement of an engine that hangs: another one first where there is room, and at `MAX_REPLICAS` the old one
/// stops first, so that the bound holds; `MAX_SURGE` allows the other order there too.
#[test]
fn a_sick_engine_is_replaced_within_the_bounds() {
    for (max, surge, most) in [(6, 0, 3), (2, 0, 2), (2, 1, 3)] {
        let mut world = World::new(FleetLimits { max, surge, min_free: 0, ..limits() });
        world.pass(Duration::from_secs(20));
        world.containers.get_mut("acestream-1").unwrap().is_down = true;
        world.pass(Duration::from_secs(200));
        assert_eq!((world.ready(), world.containers.len()), (2, 2), "max {max}, surge {surge}");
        assert!(world.containers.values().all(|made| !made.is_down), "max {max}, surge {surge}");
        assert_eq!(world.most, most, "max {max}, surge {surge}");
        assert_eq!(world.fleet.standing(world.now).counts.replaced, 1);
    }
}

/// Guards the pace: no more containers are made at once than allowed, and starts keep their distance.
#[test]
fn starts_keep_their_distance() {
    let interval = Duration::from_millis(500);
    let mut world = World::new(FleetLimits { min: 6, interval, ..limits() });
    world.pass(Duration::from_secs(30));
    assert_eq!(world.ready(), 6);
    assert!(world.created_at.windows(2).all(|pair| pair[1] - pair[0] >= interval - Duration::from_millis(2)));
}

/// Guards a range that runs dry, the first of those an engine needs or a later one: a typed fault with its remedy, and everything
/// given back.
#[test]
fn an_exhausted_range_is_said() {
    let three = |setting, first| Pool::new(setting, PortRange::new(first, first + 2).unwrap());
    for setting in ["PORT_RANGE_HOST", "ACE_HTTPS_RANGE", "P2P_PORT_RANGE"] {
        let mut world = World::new(FleetLimits { min: 4, ..limits() });
        match setting {
            "PORT_RANGE_HOST" => world.fleet.host_ports = three(setting, 19_000),
            "ACE_HTTPS_RANGE" => world.fleet.https_ports = three(setting, 45_000),
            _ => world.fleet.p2p_ports = Some(three(setting, 6_000)),
        }
        world.pass(Duration::from_secs(60));
        assert_eq!(world.ready(), 3);
        let trouble = world.fleet.standing(world.now).trouble.unwrap();
        assert!(trouble.code == "port_range_exhausted" && trouble.text.contains(setting), "{trouble:?}");
        assert!(trouble.remedy.contains("widen"));
        let told = world.fleet.take_happenings();
        let told = told
            .iter()
            .filter(|told| matches!(&told.what, What::Failed { code, .. } if *code == trouble.code));
        assert_eq!(told.count(), 1, "{setting}: it is told each time it is tried");
        let held = (world.held_ports(), world.fleet.https_ports.held());
        assert_eq!(held, (3, 3), "{setting}: half a reservation was kept");
    }
}

/// Guards against flapping over a simulated day: a load curve with noise, players that stay for minutes.
#[test]
fn a_day_passes_without_flapping() {
    let grace = Duration::from_secs(30);
    for seed in 1..4u64 {
        let mut jitter = crate::engines::jitter::Jitter::new(seed);
        let list_interval = Duration::from_secs(60);
        let mut world = World::new(FleetLimits { max: 40, list_interval, ..limits() });
        world.pass(Duration::from_secs(20));
        world.created_at.clear();
        let (mut rises, mut highest_before) = (0.0f64, 0.0f64);
        for minute in 0..24 * 60u32 {
            // From 4 streams at night to 60 in the evening, and one or two that come and go.
            let phase = f64::from(minute) / (24.0 * 60.0) * std::f64::consts::TAU;
            let noise = f64::from(u32::try_from(jitter.bits() % 3).unwrap());
            let curve = 32.0 - 28.0 * phase.cos();
            // What comes and goes within minutes is no rise: it is what flapping would follow.
            rises += (curve - highest_before).max(0.0);
            highest_before = curve;
            let wanted = curve + noise;
            let playing: usize = world.containers.values().map(|made| made.streams).sum();
            let wanted = wanted as usize;
            if wanted > playing {
                world.waiting = wanted - playing;
            }
            for _ in wanted..playing {
                let busy: Vec<String> = world
                    .containers
                    .iter()
                    .filter(|(_, made)| made.streams > 0)
                    .map(|(name, _)| name.clone())
                    .collect();
                let at = usize::try_from(jitter.bits()).unwrap_or_default() % busy.len();
                world.containers.get_mut(&busy[at]).unwrap().streams -= 1;
            }
            world.pass(Duration::from_secs(60));
            assert_eq!(world.waiting, 0, "seed {seed}, minute {minute}: somebody waits for a whole minute");
        }
        for created in &world.created_at {
            let close = world.removed_at.iter().find(|at| **at <= *created && *created < **at + grace);
            assert!(close.is_none(), "seed {seed}: an engine was made right after an idle one went");
        }
        let engines = world.created_at.len() as f64;
        assert!(engines <= 1.2 * rises / 3.0, "seed {seed}: {engines} made for rises of {rises} streams");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Guards the invariants under any order of faults: the bound, unique names and ports, no orphan and no lost
    /// reservation once the world is calm again.
    #[test]
    fn any_order_of_faults_ends_well(steps in prop::collection::vec((0u8..9, 1u64..40), 1..60)) {
        let mut world = World::new(FleetLimits { startup: Duration::from_secs(20), ..limits() });
        for (step, seconds) in steps {
            let name = world.containers.keys().nth(usize::try_from(seconds).unwrap() % world.containers.len().max(1)).cloned();
            match (step, name) {
                (0, _) => world.is_away = !world.is_away,
                (1, _) => world.waiting = (world.waiting + 2).min(20),
                (2, Some(name)) => { world.containers.remove(&name); }
                (3, Some(name)) => {
                    let made = world.containers.get_mut(&name).unwrap();
                    (made.container.state, made.streams) = (State::Exited, 0);
                }
                (4, Some(name)) => world.containers.get_mut(&name).unwrap().is_down = true,
                (5, Some(name)) => world.containers.get_mut(&name).unwrap().streams = 0,
                (6, _) => world.fate = Fate::Exits,
                (7, _) => world.fate = Fate::Fails(Error::DiskFull { reason: String::new() }),
                _ => world.fate = Fate::Works,
            }
            world.pass(Duration::from_secs(seconds));
            prop_assert!(world.most <= 6);
        }
        world.is_away = false;
        world.fate = Fate::Works;
        world.waiting = 0;
        world.containers.values_mut().for_each(|made| made.streams = 0);
        world.pass(Duration::from_secs(3600));
        let ours = world.containers.len();
        prop_assert_eq!((world.ready(), ours, world.held_ports(), world.fleet.members.len()), (2, 2, 2, 2));
    }
}
