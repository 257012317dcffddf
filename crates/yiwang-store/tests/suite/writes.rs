//! What a transaction promises.

use yiwang_core::incident::{AlarmCleared, Changes, TaskRole, TaskState, Upsert};
use yiwang_store::{Action, Error, IncidentFilter, Position, Scope};

use crate::support::rows::{dispatched, everything, merge};
use crate::support::{NUMBERING, Place, write};

const FIRST: Position = Position { epoch: 1, partition: 3, seq: 256 };

pub async fn effects_and_position_come_together(place: &Place) {
    let store = place.open().await;
    let changes = dispatched(1, 1, "town-3", "village-7");
    let mut tx = store.begin(None).await.unwrap();
    tx.apply(&changes, &NUMBERING).await.unwrap();
    tx.set_position("signals", FIRST).await.unwrap();
    assert!(store.positions("signals").await.unwrap().is_empty(), "seen before the commit");
    tx.commit().await.unwrap();
    assert_eq!(store.positions("signals").await.unwrap(), [FIRST]);
    assert_eq!(store.count(&Scope::All, &IncidentFilter::default()).await.unwrap(), 1);
}

pub async fn nothing_of_a_dropped_transaction_stays(place: &Place) {
    let store = place.open().await;
    for seed in 0..3 {
        let mut tx = store.begin(None).await.unwrap();
        tx.apply(&everything(seed), &NUMBERING).await.unwrap();
        tx.set_position("signals", FIRST).await.unwrap();
        if seed == 1 {
            tx.rollback().await.unwrap();
        }
    }
    assert!(store.positions("signals").await.unwrap().is_empty());
    assert_eq!(store.count(&Scope::All, &IncidentFilter::default()).await.unwrap(), 0);
    assert_eq!(store.ledger().await.unwrap(), []);
    assert_eq!(store.outbox_span().await.unwrap().head, 0);
    let applied = write(&store, &everything(9)).await.unwrap();
    assert_eq!(applied.first_seq, 1, "numbers of a rollback are given again");
}

pub async fn a_broken_transaction_cannot_commit(place: &Place) {
    let store = place.open().await;
    let changes = dispatched(1, 1, "town-3", "village-7");
    write(&store, &changes).await.unwrap();
    let mut tx = store.begin(None).await.unwrap();
    tx.set_position("signals", FIRST).await.unwrap();
    assert!(tx.apply(&changes, &NUMBERING).await.is_err());
    assert!(matches!(tx.set_position("signals", FIRST).await, Err(Error::Broken)));
    assert!(matches!(tx.commit().await, Err(Error::Broken)));
    assert!(store.positions("signals").await.unwrap().is_empty());
    let again = dispatched(1, 2, "town-3", "village-7");
    write(&store, &again).await.unwrap();
}

pub async fn a_signal_is_stored_once(place: &Place) {
    let store = place.open().await;
    let changes = dispatched(1, 1, "town-3", "village-7");
    write(&store, &changes).await.unwrap();
    let again = Changes { signals: changes.signals, ..Changes::default() };
    let error = write(&store, &again).await.unwrap_err();
    assert!(matches!(error, Error::Conflict { .. }), "{error}");
    let commands = Changes { commands: everything(5).commands, ..Changes::default() };
    write(&store, &commands).await.unwrap();
    let error = write(&store, &commands).await.unwrap_err();
    assert_eq!(error.action(), Action::Halt, "{error}");
    let changes = Changes { outbox: changes.outbox, ..Changes::default() };
    let error = write(&store, &changes).await.unwrap_err();
    assert!(matches!(error, Error::Conflict { .. }), "{error}");
    assert_eq!(store.outbox_span().await.unwrap().head, 4);
}

pub async fn a_change_is_made_from_the_version_it_saw(place: &Place) {
    let store = place.open().await;
    let opened = dispatched(1, 1, "town-3", "village-7");
    write(&store, &opened).await.unwrap();
    let mut row = opened.incidents[0].row.clone();
    row.no = "310118-20261124-000001".to_owned();
    row.version = 5;
    let next =
        |base| Changes { incidents: vec![Upsert { base, row: row.clone() }], ..Changes::default() };
    for base in [0, 3, 5] {
        let error = write(&store, &next(base)).await.unwrap_err();
        assert!(matches!(error, Error::Stale { found: 4, .. }), "{error}");
        assert_eq!(error.action(), Action::Fenced);
    }
    write(&store, &next(4)).await.unwrap();
    let stored = store.incident(row.id, &Scope::All).await.unwrap();
    assert_eq!(stored, Some(row));
}

pub async fn one_live_lead_at_most(place: &Place) {
    let store = place.open().await;
    let opened = dispatched(1, 1, "town-3", "village-7");
    write(&store, &opened).await.unwrap();
    let old = opened.tasks[0].clone();
    let mut new = old.clone();
    new.number = 9;
    let tasks = |tasks| Changes { tasks, ..Changes::default() };
    let error = write(&store, &tasks(vec![new.clone()])).await.unwrap_err();
    assert!(matches!(error, Error::Conflict { .. }), "{error}");
    let mut withdrawn = old;
    withdrawn.state = TaskState::Withdrawn;
    write(&store, &tasks(vec![new, withdrawn])).await.unwrap();
    let case = store.cases(&[opened.incidents[0].row.id]).await.unwrap().pop().unwrap();
    let leads = case.tasks.iter().filter(|t| t.role == TaskRole::Lead && t.state.is_live());
    assert_eq!(leads.map(|task| task.number).collect::<Vec<_>>(), [9]);
}

pub async fn a_position_never_moves_backwards(place: &Place) {
    let store = place.open().await;
    let set = async |position| {
        let mut tx = store.begin(None).await?;
        tx.set_position("signals", position).await?;
        tx.commit().await
    };
    set(FIRST).await.unwrap();
    set(FIRST).await.unwrap();
    set(Position { partition: 4, seq: 1, ..FIRST }).await.unwrap();
    let error = set(Position { seq: 255, ..FIRST }).await.unwrap_err();
    assert!(matches!(error, Error::Backwards { seq: 255, .. }), "{error}");
    let next = Position { epoch: 2, partition: 3, seq: 0 };
    set(next).await.unwrap();
    assert!(set(FIRST).await.is_err(), "an older epoch");
    assert_eq!(store.positions("signals").await.unwrap()[0], next);
}

pub async fn numbers_of_incidents_have_no_gap(place: &Place) {
    let store = place.open().await;
    let mut changes = Changes::default();
    for number in 0..70 {
        merge(&mut changes, dispatched(1, number, "town-3", "village-7"));
    }
    let applied = write(&store, &changes).await.unwrap();
    assert_eq!(applied.first_seq, 1);
    for (upsert, number) in changes.incidents.iter().zip(1..) {
        let no = format!("310118-20261124-{number:06}");
        assert_eq!(applied.numbers.get(&upsert.row.id), Some(&no));
        let stored = store.incident_by_no(&no).await.unwrap().unwrap();
        assert_eq!(stored.id, upsert.row.id);
    }
    let views = store.outbox_after(0, 1000).await.unwrap();
    assert_eq!(views.len(), 280);
    for (entry, given) in views.iter().zip(&changes.outbox) {
        assert_eq!(entry.row.view.no, applied.numbers[&given.incident]);
    }
}

/// A batch as large as the centre's goes by other statements than a single row, and one of new
/// incidents by others than one that changes some.
pub async fn many_rows_at_once_come_back_as_given(place: &Place) {
    const NEW: u64 = 75;
    let store = place.open().await;
    let mut first = Changes::default();
    for number in 0..NEW {
        merge(&mut first, dispatched(1, number, "town-3", "village-7"));
    }
    let numbers = write(&store, &first).await.unwrap().numbers;
    let mut mixed = dispatched(1, NEW, "town-4", "village-9");
    for upsert in &mut first.incidents {
        upsert.row.no.clone_from(&numbers[&upsert.row.id]);
        let mut row = upsert.row.clone();
        row.version = 5;
        row.text = "again".to_owned();
        mixed.incidents.push(Upsert { base: 4, row: row.clone() });
        upsert.row = row;
    }
    for task in &mut first.tasks {
        task.note.push('!');
        mixed.tasks.push(task.clone());
    }
    write(&store, &mixed).await.unwrap();
    for Upsert { row, .. } in &first.incidents {
        let case = store.cases(&[row.id]).await.unwrap().pop().unwrap();
        assert_eq!(case.incident, *row);
        let tasks: Vec<_> = first.tasks.iter().filter(|task| task.incident == row.id).collect();
        assert_eq!(case.tasks.iter().collect::<Vec<_>>(), tasks);
        let mut clocks = first.clocks.iter().filter(|clock| clock.incident == row.id);
        assert!(clocks.all(|clock| case.clocks.contains(clock)));
        let history: Vec<_> = first.history.iter().filter(|h| h.incident == row.id).collect();
        let stored = store.history(row.id, 0, 100).await.unwrap();
        assert_eq!(stored.iter().collect::<Vec<_>>(), history);
        let signal = first.signals.iter().find(|signal| signal.incident == Some(row.id)).unwrap();
        let key = (signal.signal.source.as_str(), signal.signal.event_id.as_str());
        assert_eq!(store.known_signals(&[key]).await.unwrap().pop().as_ref(), Some(signal));
    }
    let audit = store.audit_after(i64::MIN, 1_000).await.unwrap();
    assert!(first.audit.iter().chain(&mixed.audit).all(|row| audit.contains(row)));
    let seen = Scope::Unit("village-7".into());
    assert_eq!(store.count(&seen, &IncidentFilter::default()).await.unwrap(), NEW);
    assert_eq!(store.ledger().await.unwrap(), store.recount().await.unwrap());
}

pub async fn the_ledger_counts_what_is_there(place: &Place) {
    let store = place.open().await;
    for number in 0..5 {
        write(&store, &dispatched(1, number, "town-3", "village-7")).await.unwrap();
    }
    let mut closed = dispatched(1, 0, "town-3", "village-7").incidents.remove(0);
    closed.base = 4;
    closed.row.no = "310118-20261124-000001".to_owned();
    closed.row.state = yiwang_core::incident::State::Closed;
    let changes = Changes { incidents: vec![closed], ..Changes::default() };
    write(&store, &changes).await.unwrap();
    let ledger = store.ledger().await.unwrap();
    assert_eq!(ledger, store.recount().await.unwrap());
    let mut tx = store.begin(None).await.unwrap();
    tx.count(&[("centre", "duplicate", 2), ("centre", "rejected/source", 0)]).unwrap();
    tx.count(&[("centre", "duplicate", 1)]).unwrap();
    tx.commit().await.unwrap();
    let ledger = store.ledger().await.unwrap();
    let duplicates: Vec<_> = ledger.iter().filter(|count| count.name == "duplicate").collect();
    assert_eq!(duplicates.len(), 1);
    assert_eq!(duplicates[0].value, 3);
    assert!(ledger.iter().all(|count| count.name != "rejected/source"));
}

pub async fn alarms_are_cleared_up_to_their_time(place: &Place) {
    let store = place.open().await;
    let mut changes = dispatched(1, 1, "town-3", "village-7");
    let first = changes.signals[0].clone();
    let mut later = first.clone();
    later.signal.event_id = "later".to_owned();
    later.signal.time += 1000;
    let mut other = first.clone();
    other.signal.event_id = "other".to_owned();
    other.signal.alarm_key = "another rule".to_owned();
    changes.signals.extend([later.clone(), other.clone()]);
    write(&store, &changes).await.unwrap();
    let clear = |until| AlarmCleared {
        source: first.signal.source.clone(),
        alarm_key: first.signal.alarm_key.clone(),
        until,
    };
    let time = first.signal.time;
    let cleared = vec![clear(time - 1), clear(time + 999), clear(time + 5000), clear(time + 9000)];
    write(&store, &Changes { cleared, ..Changes::default() }).await.unwrap();
    let source = first.signal.source.as_str();
    let keys = [&first, &later, &other].map(|row| (source, row.signal.event_id.as_str()));
    let mut stored = store.known_signals(&keys).await.unwrap();
    stored.sort_by_key(|row| (row.signal.alarm_key.clone(), row.signal.time));
    let at: Vec<_> = stored.iter().map(|row| row.cleared_at).collect();
    assert_eq!(at, [Some(time + 999), Some(time + 5000), None]);
}

pub async fn texts_with_nul_do_not_poison(place: &Place) {
    let store = place.open().await;
    let mut changes = dispatched(1, 1, "town-3", "village-7");
    changes.signals[0].signal.text = "a\0b".to_owned();
    changes.signals[0].signal.event_id = "e\0".to_owned();
    changes.incidents[0].row.text = "a\0b".to_owned();
    changes.outbox[0].view.text = "a\0b".to_owned();
    write(&store, &changes).await.unwrap();
    let source = changes.signals[0].signal.source.as_str();
    let stored = store.known_signals(&[(source, "e\0")]).await.unwrap();
    assert_eq!(stored[0].signal.text, "a\u{fffd}b");
    let entry = store.outbox_after(0, 1).await.unwrap().remove(0);
    assert_eq!(entry.row.view.text, "a\u{fffd}b");
}

pub async fn audit_rows_stay(place: &Place) {
    let store = place.open().await;
    let mut changes = Changes { audit: everything(1).audit, ..Changes::default() };
    for row in &mut changes.audit {
        row.refused = Some(yiwang_core::incident::RefusalCode::WrongState);
    }
    write(&store, &changes).await.unwrap();
    write(&store, &changes).await.expect("the same attempt is one row");
    let stored = store.audit_after(i64::MIN, 100).await.unwrap();
    assert_eq!(stored.len(), changes.audit.len());
    assert!(changes.audit.iter().all(|row| stored.contains(row)));
}
