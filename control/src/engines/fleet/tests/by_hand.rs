//! What is asked for by hand.

use super::*;
use crate::engines::fleet::hand::{HandError, HandTicket, Outcome, Wish};

const TICKET: HandTicket = HandTicket(7);

fn wish(world: &mut World, wish: Wish) -> Vec<Outcome> {
    let now = world.now;
    match world.fleet.wish(now, Wish { ticket: Some(TICKET), ..wish }) {
        Ok(()) => {
            world.settle();
            world.fleet.outcomes()
        }
        Err(error) => vec![Outcome::Made(TICKET, Err(error))],
    }
}

fn made(outcomes: &[Outcome]) -> (&str, u16, u16) {
    match outcomes {
        [Outcome::Made(TICKET, Ok(made))] => (&made.name, made.http, made.second),
        other => panic!("no engine was made: {other:?}"),
    }
}

/// Guards an engine asked for: it is made at once with the labels and ports asked for, reserved labels win, a port of
/// another engine is refused, and `MAX_REPLICAS` holds.
#[test]
fn an_engine_asked_for_is_made_as_asked() {
    let mut world = World::new(FleetLimits { max: 4, ..limits() });
    world.pass(Duration::from_secs(20));
    let labels = [("mine", "yes"), ("host.http_port", "1")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    let outcomes = wish(&mut world, Wish { labels: labels.into(), ..Wish::default() });
    let (name, http, _) = made(&outcomes);
    let container = &world.containers[name].container;
    assert_eq!(container.labels["mine"], "yes");
    assert_eq!(container.labels["host.http_port"], http.to_string());
    let conf = "--http-port=20001\n--https-port=20002\n--bind-all".to_owned();
    let env = || BTreeMap::from([("CONF".to_owned(), conf.clone())]);
    let outcomes = wish(&mut world, Wish { env: env(), http_port: Some(19500), ..Wish::default() });
    let (_, http, https) = made(&outcomes);
    assert_eq!((http, https), (20001, 20002), "the caller's own CONF names the ports");
    let outcomes = wish(&mut world, Wish::default());
    assert_eq!(outcomes, [Outcome::Made(TICKET, Err(HandError::Blocked(Blocked::MaxCapacity)))]);
    assert_eq!(world.most, 4);
    let gone = world.containers.keys().next().unwrap().clone();
    let now = world.now;
    world.fleet.remove_by_hand(now, &gone, TICKET).unwrap();
    world.settle();
    world.fleet.outcomes();
    let outcomes = wish(&mut world, Wish { http_port: Some(20001), ..Wish::default() });
    assert!(
        matches!(&outcomes[..], [Outcome::Made(TICKET, Err(HandError::PortHeld { port: 20001, .. }))]),
        "{outcomes:?}"
    );
}

/// Guards what fails: whoever asked is told why, and nothing stays reserved.
#[test]
fn a_start_that_fails_is_told() {
    let mut world = World::new(limits());
    world.pass(Duration::from_secs(20));
    let held = world.held_ports();
    world.fate = Fate::Fails(Error::DiskFull { reason: "no space left on device".to_owned() });
    let outcomes = wish(&mut world, Wish::default());
    assert!(
        matches!(&outcomes[..], [Outcome::Made(TICKET, Err(HandError::Failed { code: "disk_full", .. }))]),
        "{outcomes:?}"
    );
    assert_eq!(world.held_ports(), held);
    world.is_away = true;
    world.fleet.noticed(world.now);
    world.pass(Duration::from_secs(2));
    let outcomes = wish(&mut world, Wish::default());
    let blocked = |outcome: &Outcome| {
        matches!(outcome, Outcome::Made(_, Err(HandError::Blocked(Blocked::NoDocker { .. }))))
    };
    assert!(outcomes.len() == 1 && outcomes.iter().all(blocked), "{outcomes:?}");
}

/// Guards a removal: by name or the beginning of an id, told when the container is gone; the minimum is filled up again,
/// and what is no engine is nobody's.
#[test]
fn an_engine_is_removed_by_hand() {
    let mut world = World::new(limits());
    world.pass(Duration::from_secs(20));
    let now = world.now;
    let id = world.containers["acestream-2"].container.id.clone();
    for unknown in ["acestream-9", "", "00", &id.0[..8]] {
        assert!(world.fleet.remove_by_hand(now, unknown, TICKET).is_err(), "{unknown:?} was taken");
    }
    // The ids of this Docker differ at their end only.
    world.fleet.remove_by_hand(now, &id.0, TICKET).unwrap();
    world.settle();
    assert_eq!(world.fleet.outcomes(), [Outcome::Removed(TICKET, Ok(id.clone()))]);
    assert!(world.containers.values().all(|made| made.container.id != id));
    world.pass(Duration::from_secs(20));
    assert_eq!(world.ready(), 2);
}

/// Guards scaling by hand: within the limits, up at once, down by what nobody uses and not below what is kept free.
#[test]
fn a_number_of_engines_is_asked_for() {
    let mut world = World::new(FleetLimits { is_auto_delete: false, ..limits() });
    world.pass(Duration::from_secs(20));
    assert_eq!(world.fleet.scale_by_hand(100), 6);
    world.pass(START + Duration::from_secs(1));
    assert_eq!((world.ready(), world.most), (6, 6));
    for made in world.containers.values_mut().take(4) {
        made.streams = 1;
    }
    assert_eq!(world.fleet.scale_by_hand(0), 2);
    world.pass(Duration::from_secs(5));
    assert_eq!(world.ready(), 5, "four play and one is kept free");
    world.containers.values_mut().for_each(|made| made.streams = 0);
    world.fleet.collect();
    world.pass(Duration::from_secs(5));
    assert_eq!(world.ready(), 2);
}

/// Lets streams leave engines that drain, as the data plane does.
fn move_streams(world: &mut World) {
    let draining: Vec<EngineId> = world
        .fleet
        .engines()
        .into_iter()
        .filter(|engine| engine.is_draining)
        .map(|engine| engine.id)
        .collect();
    for made in world.containers.values_mut() {
        if draining.contains(&EngineId(made.container.id.0.clone())) {
            world.waiting += std::mem::take(&mut made.streams);
        }
    }
}

/// Runs until all engines are new; the least that were ready and the most that there were.
fn rework(world: &mut World) -> (usize, usize) {
    let now = world.now;
    world.fleet.rework(now).unwrap();
    assert_eq!(world.fleet.rework(now), Err(HandError::Busy));
    let mut least = usize::MAX;
    world.most = 0;
    for _ in 0..4000 {
        world.pass(Duration::from_millis(100));
        move_streams(world);
        least = least.min(world.ready());
        if world.fleet.progress().unwrap().rework.is_over {
            return (least, world.most);
        }
    }
    panic!("it never ends: {:?}", world.fleet.progress());
}

/// Guards making all engines anew: every one is another afterwards, new ones come before old ones go as far as there is
/// room, the limit holds, what played is served again, and the progress tells what really happened.
#[test]
fn all_engines_are_made_anew_without_a_hole() {
    for (max, least, most) in [(8, 4, 8), (4, 3, 4)] {
        let mut world = World::new(FleetLimits { min: 4, max, ..limits() });
        world.pass(Duration::from_secs(20));
        world.waiting = 3;
        world.pass(Duration::from_secs(1));
        let old: Vec<ContainerId> = world.containers.values().map(|made| made.container.id.clone()).collect();
        let (was_least, was_most) = rework(&mut world);
        assert!(was_least >= least && was_most <= most, "{was_least} to {was_most} with {max}");
        assert!(world.containers.values().all(|made| !old.contains(&made.container.id)));
        let progress = world.fleet.progress().unwrap();
        assert_eq!((progress.rework.total, progress.stopped, progress.provisioned), (4, 4, 4));
        assert_eq!(progress.rework.fault, None);
        world.pass(Duration::from_secs(1));
        assert_eq!(world.waiting, 0);
    }
}

/// Guards making all engines anew when none can be made: it is given up with the reason, and the old ones stay.
#[test]
fn engines_that_cannot_be_made_anew_stay() {
    let mut world = World::new(FleetLimits { min: 4, max: 6, ..limits() });
    world.pass(Duration::from_secs(20));
    world.fate = Fate::Fails(Error::NoImage { image: "jopsis/acestream:x64".to_owned() });
    let (least, _) = rework(&mut world);
    assert_eq!((least, world.ready()), (4, 4));
    let fault = world.fleet.progress().unwrap().rework.fault.unwrap();
    assert!(fault.contains("jopsis/acestream:x64"), "{fault}");
}

/// Guards an engine that was drained: another takes its place among those that are kept, nobody removes it for being idle, also
/// not when fewer are asked for, and when it is used again there is one too many.
#[test]
fn a_drained_engine_is_kept_and_made_up_for() {
    let mut world = World::new(limits());
    world.pass(Duration::from_secs(20));
    assert_eq!(world.containers.len(), 2);
    world.drained = Some("acestream-1".to_owned());
    world.pass(Duration::from_secs(600));
    assert_eq!(world.containers.len(), 3, "nothing stands in for it");
    world.fleet.scale_by_hand(2);
    world.pass(Duration::from_secs(600));
    assert!(world.containers.contains_key("acestream-1") && world.containers.len() == 3);
    world.drained = None;
    world.pass(Duration::from_secs(600));
    assert_eq!(world.containers.len(), 2);
}
