//! What went wrong with programs before this one, each as a test that fails without its guard.

use super::*;
use crate::engines::breaker::BreakerState;
use crate::engines::fleet::hand::{HandTicket, Outcome, Wish};

fn ports_of(spec: &ContainerSpec) -> Vec<u16> {
    spec.ports.iter().map(|port| port.host_port).collect()
}

/// Lets the fleet list what there is, and act once more on it; answers what it then wants made, without making it.
fn begin(world: &mut World) -> Vec<ContainerSpec> {
    let mut begun = Vec::new();
    for _ in 0..4 {
        let view = world.view();
        for action in world.fleet.advance(world.now, &view) {
            match action {
                Action::Provision(spec) => begun.push(*spec),
                other => world.perform(other),
            }
        }
    }
    begun
}

/// Guards names: a number left by an engine that went is used again, and one that anybody's container has, running or not,
/// is never given out. Counting engines and adding one gave out names that were taken.
#[test]
fn names_fill_gaps_and_are_never_counted() {
    let mut world = World::new(FleetLimits { min: 3, ..limits() });
    world.pass(Duration::from_secs(20));
    let mut foreign = world.containers["acestream-2"].clone();
    foreign.container.id = ContainerId("f".repeat(64).into());
    foreign.container.labels.clear();
    foreign.container.host_ports.clear();
    foreign.container.state = State::Exited;
    foreign.container.name = "acestream-4".to_owned();
    world.containers.insert("acestream-4".to_owned(), foreign);
    world.containers.remove("acestream-2");
    world.fleet.noticed(world.now);
    world.pass(Duration::from_secs(20));
    world.fleet.scale_by_hand(4);
    world.pass(Duration::from_secs(20));
    let names: Vec<&String> = world.containers.keys().collect();
    assert_eq!(names, ["acestream-1", "acestream-2", "acestream-3", "acestream-4", "acestream-5"]);
    assert_eq!(world.ready(), 4);
}

/// Guards one unit of a range per engine: a range of as many ports as engines is enough, with HTTPS taken elsewhere.
#[test]
fn an_engine_costs_one_port_of_its_range() {
    let mut world = World::new(FleetLimits { min: 6, ..limits() });
    world.fleet.host_ports = Pool::new("PORT_RANGE_HOST", PortRange::new(19000, 19005).unwrap());
    world.pass(Duration::from_secs(20));
    assert_eq!((world.ready(), world.held_ports(), world.fleet.https_ports.held()), (6, 6, 6));
}

/// Guards ports on every way an engine goes (idle, by hand, removed by somebody else, ended, down, never started, made
/// anew): with not one port to spare the fleet is whole again each time.
#[test]
fn every_way_out_gives_its_ports_back() {
    let mut world = World::new(FleetLimits { min: 2, max: 4, min_free: 0, ..limits() });
    world.fleet.host_ports = Pool::new("PORT_RANGE_HOST", PortRange::new(19000, 19003).unwrap());
    world.fleet.https_ports = Pool::new("ACE_HTTPS_RANGE", PortRange::new(45000, 45003).unwrap());
    world.pass(Duration::from_secs(20));
    for round in 0..3 {
        for way in ["idle", "by hand", "gone", "ended", "down", "failed", "anew"] {
            let first = world.containers.keys().next().unwrap().clone();
            match way {
                "idle" => drop(world.fleet.scale_by_hand(4)),
                "by hand" => world.fleet.remove_by_hand(world.now, &first, HandTicket(1)).unwrap(),
                "gone" => drop(world.containers.remove(&first)),
                "ended" => world.containers.get_mut(&first).unwrap().container.state = State::Exited,
                "down" => world.containers.get_mut(&first).unwrap().is_down = true,
                "failed" => {
                    world.fate = Fate::Fails(Error::DiskFull { reason: String::new() });
                    world.fleet.scale_by_hand(4);
                    world.pass(Duration::from_secs(5));
                    world.fate = Fate::Works;
                }
                _ => drop(world.fleet.rework(world.now).unwrap()),
            }
            world.fleet.noticed(world.now);
            world.pass(Duration::from_secs(900));
            let held = (world.ready(), world.containers.len(), world.held_ports());
            assert_eq!(held, (2, 2, 2), "round {round}, {way}: {:?}", world.fleet.trouble);
            assert_eq!(world.fleet.https_ports.held(), 2, "round {round}, {way}");
        }
    }
}

/// Guards reservations while an engine is being made: lists that cannot show it yet take nothing away from it, and nobody
/// else is given its name or its ports.
#[test]
fn a_list_during_a_start_takes_nothing_away() {
    let mut world = World::new(FleetLimits { min: 1, ..limits() });
    let begun = begin(&mut world);
    let [first] = &begun[..] else { panic!("{} engines were begun", begun.len()) };
    for _ in 0..5 {
        world.now += Duration::from_secs(11);
        assert!(begin(&mut world).is_empty(), "an engine that is being made was forgotten");
    }
    assert_eq!(world.held_ports(), 1);
    world.fleet.scale_by_hand(3);
    let more = begin(&mut world);
    assert_eq!(more.len(), 2);
    for spec in &more {
        assert!(
            spec.name != first.name && ports_of(spec) != ports_of(first),
            "{} was given out twice",
            spec.name
        );
    }
    let outcome = world.make(first);
    world.fleet.provisioned(world.now, &first.name, outcome);
    world.pass(START + Duration::from_secs(2));
    assert_eq!(world.fleet.members[&first.name].phase, Phase::Ready);
}

/// Guards that a start counts from the moment it is decided: asked again before Docker has said anything, by every one who
/// may ask, no more are begun than are wanted, and never more than allowed.
#[test]
fn starts_under_way_count_at_once() {
    let mut world = World::new(FleetLimits { min: 2, max: 4, concurrent_max: 100, ..limits() });
    assert_eq!(begin(&mut world).len(), 2);
    assert_eq!(begin(&mut world).len(), 0, "what is being made was not counted");
    // Players wait, an operator scales and asks for one more, and all are to be made anew: all in one moment.
    world.waiting = 50;
    world.fleet.scale_by_hand(4);
    let now = world.now;
    world.fleet.wish(now, Wish { ticket: Some(HandTicket(1)), ..Wish::default() }).unwrap();
    assert_eq!(world.fleet.rework(now), Ok(2));
    assert_eq!(begin(&mut world).len(), 2, "MAX_REPLICAS is four");
    let refused = world.fleet.outcomes();
    let is_refused = |outcome: &Outcome| matches!(outcome, Outcome::Made(HandTicket(1), Err(_)));
    assert!(refused.is_empty() || refused.iter().all(is_refused), "{refused:?}");
}

/// Guards that a start that failed is no longer counted: nothing is held back for it when the next is due.
#[test]
fn a_failed_start_is_no_longer_counted() {
    let breaker = BreakerLimits { threshold: 100, recovery: Duration::from_secs(300) };
    let mut world = World::new(FleetLimits { min: 2, max: 2, breaker, ..limits() });
    world.fate = Fate::Fails(Error::DiskFull { reason: String::new() });
    world.pass(Duration::from_secs(40));
    assert_eq!((world.fleet.members.len(), world.held_ports()), (0, 0));
    world.fate = Fate::Works;
    world.pass(Duration::from_secs(60));
    assert_eq!(world.ready(), 2);
}

/// Guards labels found at adoption, such as the VPN container of an engine of the former program: no later list takes them
/// away.
#[test]
fn labels_survive_every_list() {
    let mut former = World::new(limits());
    former.pass(Duration::from_secs(20));
    let mut world = World::new(limits());
    world.now = former.now;
    world.containers = former.containers;
    for made in world.containers.values_mut() {
        made.container.labels.remove(recipe::LABEL_INSTANCE);
        made.container.labels.insert(recipe::LABEL_VPN.to_owned(), "gluetun".to_owned());
    }
    for _ in 0..3 {
        world.pass(Duration::from_secs(60));
        world.fleet.noticed(world.now);
        let standing = world.fleet.standing(world.now);
        assert_eq!(standing.members.len(), 2);
        assert!(standing.members.iter().all(|member| member.labels[recipe::LABEL_VPN] == "gluetun"));
    }
    assert_eq!(world.made, 0);
}

/// Guards the forwarded port of a VPN, of which there is one: of engines that claim it only one is believed, and the same one
/// in every list, however many there were when nobody had written the first down yet; another VPN has one of its own.
#[test]
fn one_engine_of_a_vpn_is_believed_to_be_forwarded() {
    let mut former = World::new(FleetLimits { min: 4, ..limits() });
    former.pass(Duration::from_secs(20));
    let mut world = World::new(FleetLimits { min: 4, ..limits() });
    world.now = former.now;
    world.containers = former.containers;
    for (made, vpn) in world.containers.values_mut().zip(["one", "one", "two", "one"]) {
        let labels = &mut made.container.labels;
        labels.remove(recipe::LABEL_INSTANCE);
        labels.insert(recipe::LABEL_VPN.to_owned(), vpn.to_owned());
        labels.insert(recipe::LABEL_FORWARDED.to_owned(), "true".to_owned());
    }
    for _ in 0..3 {
        world.pass(Duration::from_secs(30));
        let forwarded: Vec<bool> = world.fleet.engines().iter().map(|engine| engine.is_forwarded).collect();
        assert_eq!(forwarded, [true, false, true, false]);
    }
}

/// Guards replacements whose successors never come up: the engine that is down stays for as long, and starts are bounded
/// by the breaker and not one for each turn.
#[test]
fn a_replacement_that_cannot_be_had_is_not_tried_for_ever() {
    let mut world = World::new(FleetLimits { min_free: 0, startup: Duration::from_secs(10), ..limits() });
    world.pass(Duration::from_secs(20));
    world.created_at.clear();
    world.fate = Fate::Hangs;
    world.containers.get_mut("acestream-1").unwrap().is_down = true;
    world.pass(Duration::from_secs(3600));
    assert_eq!(world.ready(), 1, "the one that is well was touched");
    assert!(world.containers.contains_key("acestream-1"), "the sick one went without a successor");
    // Three until the breaker opens, then one trial each 300 s.
    assert!(world.created_at.len() <= 3 + 3600 / 300 + 1, "{} were made", world.created_at.len());
    assert!(world.most <= 3, "{} containers at once", world.most);
    world.fate = Fate::Works;
    world.pass(Duration::from_secs(900));
    assert_eq!((world.ready(), world.containers.len()), (2, 2));
}

/// Guards that capacity never drops while there is room: whoever replaces an engine that is down has as many ready ones
/// before the old one goes.
#[test]
fn a_successor_is_ready_before_the_old_one_goes() {
    let mut world = World::new(FleetLimits { min_free: 0, ..limits() });
    world.pass(Duration::from_secs(20));
    world.containers.get_mut("acestream-1").unwrap().is_down = true;
    for _ in 0..2000 {
        world.pass(Duration::from_millis(100));
        if !world.containers.contains_key("acestream-1") {
            assert_eq!(world.ready(), 2, "it went before its successor was ready");
            return;
        }
    }
    panic!("it was never replaced");
}

/// Guards the breaker's trial: with nothing missing, so that the fleet itself tries nothing, somebody's request by hand is
/// the trial; while it is open the request is refused with the time that is left.
#[test]
fn a_half_open_breaker_lets_anybody_try() {
    let mut world = World::new(FleetLimits { min: 1, min_free: 0, ..limits() });
    world.pass(Duration::from_secs(20));
    world.fate = Fate::Fails(Error::DiskFull { reason: String::new() });
    for _ in 0..3 {
        world.fleet.scale_by_hand(2);
        world.pass(Duration::from_secs(40));
    }
    let asked = |ticket| Wish { ticket: Some(HandTicket(ticket)), ..Wish::default() };
    assert_eq!(world.fleet.breaker.state(world.now), BreakerState::Open);
    assert!(world.fleet.wish(world.now, asked(1)).is_err());
    world.fate = Fate::Works;
    world.pass(Duration::from_secs(600));
    assert_eq!(world.fleet.breaker.state(world.now), BreakerState::HalfOpen, "nothing was missing");
    world.fleet.outcomes();
    world.fleet.wish(world.now, asked(2)).unwrap();
    world.settle();
    let outcomes = world.fleet.outcomes();
    assert!(matches!(outcomes[..], [Outcome::Made(HandTicket(2), Ok(_))]), "{outcomes:?}");
    world.pass(START + Duration::from_secs(2));
    assert_eq!(world.fleet.breaker.state(world.now), BreakerState::Closed);
}

/// Guards an engine whose removal fails: lists that go on showing it do not bring it back into service, and the removal is
/// tried again until Docker confirms it.
#[test]
fn a_removal_that_fails_is_not_undone_by_a_list() {
    let mut world = World::new(FleetLimits { min: 1, ..limits() });
    world.pass(Duration::from_secs(20));
    let id = world.containers["acestream-1"].container.id.clone();
    let engine = EngineId(id.0.clone());
    world.fleet.remove_by_hand(world.now, "acestream-1", HandTicket(1)).unwrap();
    let mut tries = 0;
    for _ in 0..200 {
        world.now += Duration::from_millis(500);
        let view = world.view();
        for action in world.fleet.advance(world.now, &view) {
            match action {
                Action::Remove { name, .. } if name == "acestream-1" && tries < 3 => {
                    tries += 1;
                    let busy = Error::Refused { call: "remove", status: 500, reason: "busy".to_owned() };
                    world.fleet.removed(world.now, &name, Err(busy));
                }
                other => world.perform(other),
            }
        }
        let known = world.fleet.engines().into_iter().find(|known| known.id == engine);
        assert!(known.is_none_or(|known| known.is_draining), "it is given streams again");
    }
    assert_eq!(tries, 3);
    assert!(world.containers.values().all(|made| made.container.id != id), "it was never removed");
    assert_eq!(world.ready(), 1);
}

/// Guards a list that was asked for before a removal and arrives after it: what it still shows does not come back.
#[test]
fn a_late_list_does_not_bring_back_what_is_gone() {
    let mut world = World::new(FleetLimits { min: 0, ..limits() });
    world.fleet.scale_by_hand(2);
    world.pass(Duration::from_secs(20));
    let asked_at = world.now;
    let list: Vec<Container> = world.containers.values().map(|made| made.container.clone()).collect();
    assert_eq!(list.len(), 2);
    world.now += Duration::from_millis(10);
    world.fleet.collect();
    world.settle();
    let left = world.fleet.members.len();
    assert!(left < 2, "nothing was removed");
    world.fleet.listed(world.now, asked_at, Ok(list));
    assert_eq!(world.fleet.members.len(), left, "an engine that is gone was adopted");
    assert_eq!(world.fleet.standing(world.now).counts.adopted, 0);
}

/// Guards stops: engines that are no longer needed are stopped beside each other, not one after the other.
#[test]
fn engines_are_stopped_together() {
    let mut world = World::new(FleetLimits { min: 1, min_free: 0, ..limits() });
    world.pass(Duration::from_secs(20));
    world.fleet.scale_by_hand(6);
    world.pass(Duration::from_secs(20));
    assert_eq!(world.ready(), 6);
    world.removed_at.clear();
    world.fleet.collect();
    let view = world.view();
    let mut stopped = 0;
    // Nothing is confirmed in between: a stop that waits for the one before would never be asked for.
    for _ in 0..3 {
        let actions = world.fleet.advance(world.now, &view);
        stopped += actions.iter().filter(|action| matches!(action, Action::Remove { .. })).count();
    }
    assert_eq!(stopped, 5);
}

/// Guards an engine that serves somebody: no floor, grace period or limit takes it away.
#[test]
fn an_engine_in_use_is_never_spare() {
    let mut world = World::new(FleetLimits { min: 0, min_free: 0, ..limits() });
    world.fleet.scale_by_hand(3);
    world.pass(Duration::from_secs(20));
    let busy = world.containers.keys().next().unwrap().clone();
    world.containers.get_mut(&busy).unwrap().streams = 1;
    world.fleet.scale_by_hand(0);
    world.fleet.collect();
    world.pass(Duration::from_secs(3600));
    assert!(world.containers.contains_key(&busy), "an engine with a stream was removed");
    // A maximum below what plays waits for the streams to end.
    world.fleet.scale_by_hand(3);
    world.pass(Duration::from_secs(20));
    world.containers.values_mut().for_each(|made| made.streams = 1);
    world.fleet.set_limits(FleetLimits { min: 0, max: 1, min_free: 0, ..limits() });
    world.pass(Duration::from_secs(600));
    assert_eq!(world.containers.len(), 3, "a lower maximum took engines with streams away");
    world.containers.values_mut().for_each(|made| made.streams = 0);
    world.pass(Duration::from_secs(60));
    assert!(world.containers.len() <= 1);
}

/// Guards an engine that only another proxy uses: it is not idle however long that lasts, it counts as taken when places are
/// counted, and whoever asks for its removal need not wait for what nobody here can move.
#[test]
fn what_other_proxies_play_keeps_an_engine() {
    let mut world = World::new(FleetLimits { min: 0, min_free: 0, ..limits() });
    world.fleet.scale_by_hand(3);
    world.pass(Duration::from_secs(20));
    let busy = world.containers.keys().next().unwrap().clone();
    world.containers.get_mut(&busy).unwrap().others = 1;
    world.fleet.collect();
    world.pass(Duration::from_secs(3600));
    assert_eq!(world.containers.keys().collect::<Vec<_>>(), [&busy]);
    // Full, it is no longer the place that is kept ahead.
    world.containers.get_mut(&busy).unwrap().others = 3;
    world.pass(Duration::from_secs(60));
    assert_eq!(world.ready(), 2);
    world.fleet.remove_by_hand(world.now, &busy, HandTicket(1)).unwrap();
    world.settle();
    assert!(!world.containers.contains_key(&busy), "streams of others were waited for");
}

/// Guards the return of a daemon, which ends every container and starts it again: players that wait meanwhile bring no
/// engines beside those that are about to be back, and do bring them when those stay away.
#[test]
fn engines_that_come_back_with_the_daemon_are_waited_for() {
    for do_return in [true, false] {
        let mut world = World::new(FleetLimits { min: 3, min_free: 0, ..limits() });
        world.pass(Duration::from_secs(20));
        world.is_away = true;
        world.containers.values_mut().for_each(|made| made.is_down = true);
        world.fleet.noticed(world.now);
        world.pass(Duration::from_secs(5));
        world.waiting = 3;
        world.is_away = false;
        while !world.fleet.docker_state().as_str().eq("up") {
            world.pass(Duration::from_millis(100));
        }
        world.pass(Duration::from_secs(2));
        assert_eq!(world.made, 3, "engines about to be back were made a second time");
        world.containers.values_mut().for_each(|made| made.is_down = !do_return);
        world.pass(Duration::from_secs(10));
        assert_eq!(world.made == 3, do_return, "{} were made", world.made);
    }
}
