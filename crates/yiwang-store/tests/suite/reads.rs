//! What can be asked, and by whom.

use std::sync::Arc;

use yiwang_core::incident::{Changes, Incident, State, UnitId};
use yiwang_core::record::AlarmSeverity;
use yiwang_store::{
    AlarmRef, Cursor, IncidentFilter, ListAfter, Scope, Store, TokenHash, UnitToken,
};

use crate::support::rows::{START, clock, dispatched, everything, merge};
use crate::support::{Place, write};

fn unit(name: &str) -> Scope {
    Scope::Unit(Arc::from(name))
}

/// Thirty incidents of three towns in turns.
async fn three_towns(place: &Place) -> (Store, Vec<Incident>) {
    let store = place.open().await;
    let mut changes = Changes::default();
    for number in 0..30 {
        let town = format!("town-{}", number % 3);
        merge(&mut changes, dispatched(1, number, &town, &format!("{town}-village")));
    }
    write(&store, &changes).await.unwrap();
    let rows = changes.incidents.into_iter().map(|upsert| upsert.row).collect();
    (store, rows)
}

async fn all_pages(store: &Store, scope: &Scope, filter: &IncidentFilter) -> Vec<Incident> {
    let mut all: Vec<Incident> = Vec::new();
    loop {
        let after = all.last().map(|row| ListAfter { reported_at: row.reported_at, id: row.id });
        let page = store.list(scope, filter, after, 4).await.unwrap();
        assert!(page.len() <= 4);
        if page.is_empty() {
            return all;
        }
        all.extend(page);
    }
}

pub async fn lists_are_cut_by_scope_before_the_page(place: &Place) {
    let (store, rows) = three_towns(place).await;
    for open_only in [false, true] {
        let filter = IncidentFilter { open_only, ..IncidentFilter::default() };
        for (scope, town, expected) in [
            (Scope::All, None, 30),
            (unit("310118"), None, 30),
            (unit("dept-water"), None, 30),
            (unit("town-1"), Some("town-1"), 10),
            (unit("town-1-s1"), Some("town-1"), 10),
            (unit("town-1-village"), Some("town-1"), 10),
            (unit("town-9"), None, 0),
            (unit(""), None, 0),
        ] {
            let listed = all_pages(&store, &scope, &filter).await;
            assert_eq!(listed.len(), expected, "{scope:?}");
            assert_eq!(store.count(&scope, &filter).await.unwrap(), expected as u64);
            assert!(listed.iter().all(|row| town.is_none() || row.town.as_deref() == town));
            let times: Vec<_> = listed.iter().map(|row| row.reported_at).collect();
            assert!(times.is_sorted_by(|a, b| a > b), "newest first, each once");
            let full = store.list(&scope, &filter, None, 4).await.unwrap();
            assert_eq!(full.len(), expected.min(4), "a page of a small scope is full");
        }
    }
    let foreign = rows.iter().find(|row| row.town.as_deref() == Some("town-2")).unwrap();
    assert_eq!(store.incident(foreign.id, &unit("town-1")).await.unwrap(), None);
    assert!(store.incident(foreign.id, &unit("town-2")).await.unwrap().is_some());
}

pub async fn a_unit_that_left_sees_nothing(place: &Place) {
    let (store, rows) = three_towns(place).await;
    let row = rows.iter().find(|row| row.town.as_deref() == Some("town-1")).unwrap();
    let mut moved = dispatched(1, 1, "town-1", "town-1-village").outbox.remove(0);
    assert_eq!(moved.incident, row.id);
    let away: UnitId = Arc::from("town-1");
    moved.version = 5;
    moved.audience.retain(|unit| *unit != away);
    moved.audience.push(Arc::from("town-2"));
    moved.left = vec![away];
    write(&store, &Changes { outbox: vec![moved], ..Changes::default() }).await.unwrap();
    assert_eq!(store.incident(row.id, &unit("town-1")).await.unwrap(), None);
    assert!(store.incident(row.id, &unit("town-2")).await.unwrap().is_some());
    let filter = IncidentFilter::default();
    assert_eq!(store.count(&unit("town-1"), &filter).await.unwrap(), 9);
    assert_eq!(store.count(&unit("town-2"), &filter).await.unwrap(), 11);
}

pub async fn filters_of_lists(place: &Place) {
    let (store, rows) = three_towns(place).await;
    let mut closed = rows[4].clone();
    closed.no = "310118-20261124-000005".to_owned();
    closed.version = 5;
    closed.state = State::Closed;
    closed.closed_at = Some(START + 100);
    closed.category = Arc::from("fire.alarm");
    let upsert = yiwang_core::incident::Upsert { base: 4, row: closed };
    write(&store, &Changes { incidents: vec![upsert], ..Changes::default() }).await.unwrap();
    let count = async |filter: IncidentFilter| {
        let listed = all_pages(&store, &unit("310118"), &filter).await.len() as u64;
        assert_eq!(store.count(&unit("310118"), &filter).await.unwrap(), listed);
        assert_eq!(store.count(&Scope::All, &filter).await.unwrap(), listed);
        listed
    };
    let any = IncidentFilter::default;
    assert_eq!(count(IncidentFilter { open_only: true, ..any() }).await, 29);
    let states = vec![State::Closed, State::Handling];
    assert_eq!(count(IncidentFilter { states, ..any() }).await, 1);
    let category = |text: &str| IncidentFilter { category: Some(text.to_owned()), ..any() };
    assert_eq!(count(category("flood")).await, 29);
    assert_eq!(count(category("flood.road")).await, 29);
    assert_eq!(count(category("flo")).await, 0);
    assert_eq!(count(category("flood.road.x")).await, 0);
    let under = |text: &str| IncidentFilter { under: Some(Arc::from(text)), ..any() };
    assert_eq!(count(under("town-1")).await, 10);
    assert_eq!(count(under("310118")).await, 30);
    assert_eq!(count(under("town-1-village")).await, 10);
    let severe = rows.iter().filter(|row| row.severity >= AlarmSeverity::Major).count() as u64;
    let severity_min = Some(AlarmSeverity::Major);
    assert_eq!(count(IncidentFilter { severity_min, ..any() }).await, severe);
    let joint = rows.iter().filter(|row| row.joint_duty).count() as u64;
    assert_eq!(count(IncidentFilter { joint_duty: Some(true), ..any() }).await, joint);
    assert_eq!(count(IncidentFilter { drill: Some(true), ..any() }).await, 0);
    assert_eq!(store.closed_since(START, 10).await.unwrap().len(), 1);
    assert_eq!(store.closed_since(START + 101, 10).await.unwrap().len(), 0);
}

pub async fn cases_come_whole(place: &Place) {
    let store = place.open().await;
    let one = everything(1);
    let two = dispatched(1, 2, "town-3", "village-7");
    write(&store, &one).await.unwrap();
    write(&store, &two).await.unwrap();
    let (first, second) = (one.incidents[0].row.id, two.incidents[0].row.id);
    let unknown = yiwang_core::ids::Id(7);
    let cases = store.cases(&[first, second, unknown]).await.unwrap();
    assert_eq!(cases.len(), 2);
    let case = cases.into_iter().find(|case| case.incident.id == first).unwrap();
    assert_eq!(case.incident, one.incidents[0].row);
    assert_eq!(case.tasks, one.tasks);
    assert_eq!(case.clocks.len(), one.clocks.len());
    assert!(one.clocks.iter().all(|clock| case.clocks.contains(clock)));
    assert_eq!(case.requests.len(), one.requests.len());
    assert_eq!(store.history(first, 0, 100).await.unwrap(), one.history);
    assert_eq!(store.history(first, 2, 2).await.unwrap(), one.history[2..4]);
    let segments = store.segments(first).await.unwrap();
    assert!(one.segments.iter().all(|segment| segments.contains(segment)));
    let policies = store.policies().await.unwrap();
    assert!(one.policies.iter().all(|policy| policies.contains(policy)));
    let outbox = store.outbox_of(first).await.unwrap();
    assert_eq!(outbox, one.outbox);
}

pub async fn clocks_come_when_due(place: &Place) {
    let store = place.open().await;
    let mut changes = dispatched(1, 1, "town-3", "village-7");
    let id = changes.incidents[0].row.id;
    let mut r = crate::support::rows::Rng(3);
    changes.clocks = [Some(30), None, Some(10), Some(20)]
        .map(|fire_at| yiwang_core::incident::Clock { fire_at, ..clock(&mut r, id) })
        .to_vec();
    write(&store, &changes).await.unwrap();
    let due = async |now, limit| {
        let clocks = store.due_clocks(now, limit).await.unwrap();
        clocks.into_iter().map(|clock| clock.fire_at.unwrap()).collect::<Vec<_>>()
    };
    assert!(due(9, 10).await.is_empty());
    assert_eq!(due(20, 10).await, [10, 20]);
    assert_eq!(due(99, 2).await, [10, 20]);
    assert_eq!(store.next_fire_at().await.unwrap(), Some(10));
    changes.clocks[2].fire_at = None;
    let clocks = vec![changes.clocks[2].clone()];
    write(&store, &Changes { clocks, ..Changes::default() }).await.unwrap();
    assert_eq!(due(99, 10).await, [20, 30]);
}

pub async fn known_and_standing_signals(place: &Place) {
    let store = place.open().await;
    let mut changes = Changes::default();
    for number in 0..20 {
        merge(&mut changes, dispatched(1, number, "town-3", "village-7"));
    }
    changes.signals[3].cleared_at = Some(START);
    write(&store, &changes).await.unwrap();
    let keys: Vec<_> = changes
        .signals
        .iter()
        .map(|row| (row.signal.source.as_str(), row.signal.event_id.as_str()))
        .collect();
    let mut asked = keys[2..5].to_vec();
    asked.push((keys[0].0, "unknown"));
    asked.push(("unknown", keys[0].1));
    let mut known = store.known_signals(&asked).await.unwrap();
    known.sort_by(|a, b| a.signal.source.cmp(&b.signal.source));
    assert_eq!(known, changes.signals[2..5]);
    assert_eq!(store.known_signals(&[]).await.unwrap(), []);
    let alarms: Vec<_> = changes.signals[2..5]
        .iter()
        .map(|row| AlarmRef { source: &row.signal.source, alarm_key: &row.signal.alarm_key })
        .collect();
    let standing = store.standing_signals(&alarms).await.unwrap();
    assert_eq!(standing.len(), 2);
    assert!(standing.iter().all(|row| row.cleared_at.is_none()));
    let mut all: Vec<yiwang_store::StandingAlarm> = Vec::new();
    loop {
        let page = store.standing_alarms(all.last(), 7).await.unwrap();
        if page.is_empty() {
            break;
        }
        all.extend(page);
    }
    assert_eq!(all.len(), 19);
    assert!(all.is_sorted_by(|a, b| a.source < b.source));
    assert_eq!(Some(all[0].incident), changes.signals[0].incident);
    let of = store.signals_of(changes.incidents[0].row.id).await.unwrap();
    assert_eq!(of, changes.signals[..1]);
    let commands = everything(4).commands;
    write(&store, &Changes { commands: commands.clone(), ..Changes::default() }).await.unwrap();
    let ids = [commands[0].request_id.as_str(), "unknown"];
    assert_eq!(store.commands(&ids).await.unwrap(), commands[..1]);
    assert_eq!(store.command("unknown").await.unwrap(), None);
}

pub async fn cursors_move_forward(place: &Place) {
    let store = place.open().await;
    let cursor = |scope: &str, seq| Cursor {
        consumer: "town-3/desk-1".to_owned(),
        unit: Arc::from("town-3"),
        scope: scope.to_owned(),
        epoch: 1,
        seq,
        seen_at: START,
    };
    assert_eq!(store.cursor("town-3/desk-1").await.unwrap(), None);
    for (scope, seq, kept) in [("a", 10, 10), ("a", 7, 10), ("a", 12, 12), ("b", 3, 3)] {
        store.set_cursor(&cursor(scope, seq)).await.unwrap();
        let stored = store.cursor("town-3/desk-1").await.unwrap();
        assert_eq!(stored, Some(cursor(scope, kept)));
    }
    assert_eq!(store.cursors().await.unwrap().len(), 1);
}

pub async fn tokens_open_until_revoked(place: &Place) {
    let store = place.open().await;
    let hash = TokenHash::of("yw_secret");
    let token = UnitToken {
        hash,
        unit: Arc::from("town-3"),
        label: "desk".to_owned(),
        created_at: START,
        expires_at: Some(START + 10),
        revoked_at: None,
    };
    store.insert_token(&token).await.unwrap();
    assert!(store.insert_token(&token).await.is_err());
    let found = store.find_token(hash).await.unwrap();
    assert_eq!(found.as_ref(), Some(&token));
    assert!(token.is_valid(START) && !token.is_valid(START + 10));
    assert_eq!(store.find_token(TokenHash::of("yw_other")).await.unwrap(), None);
    assert!(store.revoke_token(hash, START + 1).await.unwrap());
    assert!(!store.revoke_token(hash, START + 2).await.unwrap());
    let found = store.find_token(hash).await.unwrap().unwrap();
    assert_eq!(found.revoked_at, Some(START + 1));
    assert!(!found.is_valid(START));
    assert_eq!(store.tokens().await.unwrap(), [found]);
}

pub async fn everything_survives_a_reopen(place: &Place) {
    let store = place.open().await;
    let changes = everything(1);
    write(&store, &changes).await.unwrap();
    store.close().await;
    let store = place.open().await;
    let case = store.cases(&[changes.incidents[0].row.id]).await.unwrap().remove(0);
    assert_eq!(case.incident, changes.incidents[0].row);
    assert_eq!(store.outbox_span().await.unwrap().head, 5);
    assert_eq!(store.log_epoch(), 1);
}
