//! Births, sequence, gaps, deaths and rebirths of an edge node.

use super::super::testing::{birth, message};
use super::*;

const NODE: &str = "spBv1.0/g/NBIRTH/e";
const DEVICE: &str = "spBv1.0/g/DBIRTH/e/d";
const DATA: &str = "spBv1.0/g/DDATA/e/d";

fn observe(session: &mut Session, topic: &str, bytes: &[u8], now: Millis) -> Standing {
    let payload = Payload::read(bytes).unwrap();
    session.observe(&Topic::parse(topic).unwrap(), &payload, now).unwrap()
}

fn learn(session: &mut Session, topic: &str, bytes: &[u8]) -> Result<(), Refused> {
    session.learn(&Topic::parse(topic).unwrap(), &Payload::read(bytes).unwrap())
}

fn data(session: &mut Session, seq: u64, now: Millis) -> Standing {
    observe(session, DATA, &message(5, Some(seq), &[]), now)
}

fn counted(boot: u64, seq: u64, gap: bool) -> Standing {
    Standing::Counted { boot, seq, gap }
}

fn born(bd_seq: u64, timestamp: u64, seq: u64) -> Vec<u8> {
    birth(timestamp, seq, Some(bd_seq), &[("cpu", 1, 9)])
}

#[test]
fn the_sequence_does_not_wrap_and_goes_on_over_rebirths() {
    let mut session = Session::new();
    assert_eq!(observe(&mut session, NODE, &born(7, 100, 0), 0), counted(7, 0, false));
    for seq in 1..=300_u64 {
        assert_eq!(data(&mut session, seq % 256, 0), counted(7, seq, false));
    }
    // Asked for its births, a node counts from 0 again in the same connection.
    assert_eq!(observe(&mut session, NODE, &born(7, 200, 0), 0), counted(7, 512, false));
    assert_eq!(observe(&mut session, NODE, &born(7, 200, 0), 0), counted(7, 512, false));
    assert_eq!(data(&mut session, 1, 0), counted(7, 513, false));
    // From before the birth: the aliases it speaks of are gone.
    assert_eq!(data(&mut session, 250, 0), Standing::Stale);
    // A new connection; then a node that counts its connections from 0 again.
    assert_eq!(observe(&mut session, NODE, &born(8, 300, 0), 0), counted(8, 0, false));
    assert_eq!(observe(&mut session, NODE, &born(0, 400, 0), 0), counted(9, 0, false));
    assert_eq!(observe(&mut session, NODE, &born(1, 500, 0), 0), counted(10, 0, false));
}

#[test]
fn a_gap_is_seen_and_closed_by_what_comes_late() {
    let mut session = Session::new();
    observe(&mut session, NODE, &born(0, 100, 0), 0);
    assert_eq!(data(&mut session, 4, 1_000), counted(0, 4, true));
    assert!(!session.ask(2_999), "the window for what comes late is open");
    for late in [2, 1, 3] {
        assert_eq!(data(&mut session, late, 1_500), counted(0, late, false));
    }
    assert!(!session.ask(9_000), "nothing is missing");
    assert_eq!(data(&mut session, 3, 9_000), counted(0, 3, false), "a duplicate keeps its place");
    assert_eq!(data(&mut session, 6, 10_000), counted(0, 6, true));
    assert_eq!(data(&mut session, 8, 11_500), counted(0, 8, true));
    assert!(session.ask(12_000), "the first gap is two seconds old");
    assert!(!session.ask(71_999) && session.ask(72_000), "once a minute");
    observe(&mut session, NODE, &born(0, 200, 0), 72_500);
    assert!(!session.ask(200_000), "births close every gap");
}

#[test]
fn births_are_wanted_where_nothing_was_told() {
    let mut session = Session::new();
    assert_eq!(data(&mut session, 9, 0), counted(0, 9, false));
    assert!(session.ask(0));
    observe(&mut session, NODE, &born(3, 100, 0), 0);
    assert!(!session.ask(100_000));
    let topic = Topic::parse(DATA).unwrap();
    for seq in [None, Some(256), Some(u64::MAX)] {
        let bytes = message(5, seq, &[]);
        let refused = session.observe(&topic, &Payload::read(&bytes).unwrap(), 0);
        assert_eq!(refused, Err(Refused::Schema("seq of 0 to 255")));
    }
    assert!(session.ask(200_000));
}

#[test]
fn only_the_death_of_the_connection_that_stands_counts() {
    let mut session = Session::new();
    observe(&mut session, NODE, &born(7, 100, 0), 0);
    learn(&mut session, NODE, &born(7, 100, 0)).unwrap();
    let death = |bd_seq| birth(50, 0, Some(bd_seq), &[]);
    assert_eq!(observe(&mut session, "spBv1.0/g/NDEATH/e", &death(6), 0), Standing::Stale);
    assert!(session.metric("", "cpu").is_some());
    assert_eq!(observe(&mut session, "spBv1.0/g/NDEATH/e", &death(7), 0), Standing::Died);
    assert!(session.metric("", "cpu").is_none());
    assert_eq!(observe(&mut session, "spBv1.0/g/NDEATH/e", &death(7), 0), Standing::Stale);
}

#[test]
fn aliases_are_those_of_the_newest_births() {
    let mut session = Session::new();
    let named = |session: &Session, device: &str, alias| {
        let bytes = message(5, Some(1), &[(alias, 1)]);
        let metric = Payload::read(&bytes).unwrap().metrics().next().unwrap().unwrap();
        session.name_of(device, &metric).map(|(name, _)| name.to_owned())
    };
    learn(&mut session, NODE, &born(7, 100, 0)).unwrap();
    learn(&mut session, DEVICE, &birth(1, 1, None, &[("level", 10, 10), ("temp", 11, 1)])).unwrap();
    assert_eq!(named(&session, "d", 10).as_deref(), Some("level"));
    assert_eq!(named(&session, "", 1).as_deref(), Some("cpu"));
    assert_eq!(named(&session, "", 10), None, "it is another device's");
    assert_eq!(named(&session, "d", 99), None);
    // An alias of another device is refused, and nothing is taken.
    let other = "spBv1.0/g/DBIRTH/e/x";
    assert!(
        learn(&mut session, other, &birth(1, 1, None, &[("a", 2, 10), ("b", 10, 10)])).is_err()
    );
    assert_eq!(named(&session, "x", 2), None);
    learn(&mut session, DEVICE, &birth(1, 1, None, &[("temp", 10, 1)])).unwrap();
    assert_eq!(named(&session, "d", 10).as_deref(), Some("temp"));
    session.forget("d");
    assert_eq!(named(&session, "d", 10), None);
    learn(&mut session, NODE, &birth(2, 0, Some(8), &[("mem", 3, 9)])).unwrap();
    assert_eq!((named(&session, "", 1), named(&session, "", 3)), (None, Some("mem".to_owned())));
}

#[test]
fn a_snapshot_is_the_session() {
    let mut session = Session::new();
    observe(&mut session, NODE, &born(7, 100, 0), 5);
    learn(&mut session, NODE, &born(7, 100, 0)).unwrap();
    learn(&mut session, DEVICE, &birth(1, 1, None, &[("level", 10, 10)])).unwrap();
    data(&mut session, 100, 77);
    session.ask(9_999);
    for session in [session, Session::new()] {
        let mut bytes = Writer::default();
        session.encode(&mut bytes);
        let mut from = Reader::new(&bytes.bytes);
        assert_eq!(Session::decode(&mut from).unwrap(), session);
        assert!(from.is_empty());
        for end in 0..bytes.bytes.len() {
            assert!(Session::decode(&mut Reader::new(&bytes.bytes[..end])).is_err());
        }
    }
}
