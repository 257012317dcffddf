//! What a centre owes the log, the clock and its successor.

use crate::support::{
    ASSET, DISTRICT, Hub, OTHER_TOWN, PATIENCE, TOWN, VILLAGE, now, reason, soon, until,
};
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;
use yiwang_centre::Error;
use yiwang_proto::incident::v1;

fn report(request_id: &str) -> v1::ReportRequest {
    v1::ReportRequest {
        request_id: request_id.to_owned(),
        category: "flood.road".to_owned(),
        text: "路面积水".to_owned(),
        place: VILLAGE.to_owned(),
        ..v1::ReportRequest::default()
    }
}

#[tokio::test]
async fn a_report_sent_again_gets_its_first_answer() {
    let hub = Hub::new();
    let centre = hub.start("a").await;
    let desk = centre.desk(TOWN);
    let first = desk.report(report("r-1")).await.unwrap();
    assert_eq!(first.outcome(), v1::Outcome::Opened);
    assert!(!first.repeated_report);
    // Later by the clock of the centre, and the same all the same.
    let at = now();
    until(async || now() > at).await;
    let again = desk.report(report("r-1")).await.unwrap();
    assert!(again.repeated_report);
    assert_eq!(again.incident.unwrap().name, first.incident.unwrap().name);

    let other = v1::ReportRequest { text: "别的事".to_owned(), ..report("r-1") };
    assert_eq!(reason(&desk.report(other).await.unwrap_err()), "COMMAND_ID_REUSED");
    let timed =
        v1::ReportRequest { event_time: Some(yiwang_proto::view::timestamp(at)), ..report("r-1") };
    assert_eq!(reason(&desk.report(timed.clone()).await.unwrap_err()), "COMMAND_ID_REUSED");
    let timed = v1::ReportRequest { request_id: "r-2".to_owned(), ..timed };
    assert!(!desk.report(timed.clone()).await.unwrap().repeated_report);
    assert!(desk.report(timed).await.unwrap().repeated_report);
    // The same id of another unit is another report.
    assert!(!centre.desk(OTHER_TOWN).report(report("r-1")).await.unwrap().repeated_report);
    let unknown = v1::ReportRequest { category: "no.such".to_owned(), ..report("r-3") };
    assert_eq!(desk.report(unknown).await.unwrap_err().code(), tonic::Code::InvalidArgument);
    centre.end().await.unwrap();
}

#[tokio::test]
async fn a_repeated_signal_joins_nothing_twice_and_is_not_read_again() {
    let hub = Hub::new();
    let centre = hub.start("a").await;
    let (first, second) = (hub.signal(Some(ASSET), VILLAGE), hub.signal(Some(ASSET), VILLAGE));
    hub.send(&[first.clone(), first.clone(), second]).await;
    hub.send(&[first]).await;
    until(async || centre.counted("signals").await == 4).await;
    for (name, count) in [("OPENED", 1), ("ATTACHED", 1), ("duplicate", 2)] {
        assert_eq!(centre.counted(name).await, count, "{name}");
    }
    centre.end().await.unwrap();

    // The next centre goes on behind what is committed, with the index as it was.
    let centre = hub.start("b").await;
    hub.send(&[hub.signal(Some(ASSET), VILLAGE)]).await;
    until(async || centre.counted("ATTACHED").await == 2).await;
    assert_eq!(centre.counted("signals").await, 5);
    assert_eq!(centre.counted("duplicate").await, 2);
    let positions = centre.store.positions("signals").await.unwrap();
    assert_eq!(positions.iter().map(|at| at.seq).sum::<u64>(), 5);
    centre.end().await.unwrap();
}

#[tokio::test]
async fn an_incident_that_nobody_takes_climbs_to_the_parent() {
    let hub = Hub::with_ack("1s");
    let centre = hub.start("a").await;
    let mut stream = centre.desk(TOWN).watch("screen-1", b"").await;
    stream.snapshot().await;
    hub.send(&[hub.signal(Some(ASSET), VILLAGE)]).await;
    let sent = stream.reaches(v1::State::Dispatched).await;
    assert_eq!(sent.incident.unwrap().lead.unwrap().id, TOWN);
    let climbed = loop {
        let change = stream.change().await;
        if change.transition == "T11" {
            break change.incident.unwrap();
        }
    };
    assert_eq!(climbed.lead.unwrap().id, DISTRICT);
    centre.end().await.unwrap();
}

#[tokio::test]
async fn a_second_centre_waits_and_takes_over() {
    let hub = Hub::new();
    let first = hub.start("a").await;
    hub.send(&[hub.signal(Some(ASSET), VILLAGE)]).await;
    until(async || first.counted("OPENED").await == 1).await;
    let mut second = hub.begin("b", |_| {}).await;
    hub.send(&[hub.signal(Some(ASSET), VILLAGE)]).await;
    until(async || first.counted("ATTACHED").await == 1).await;
    second.ready.try_recv().expect_err("two centres are active");
    first.end().await.unwrap();
    soon(&mut second.ready).await.unwrap();
    hub.send(&[hub.signal(Some(ASSET), VILLAGE)]).await;
    until(async || second.counted("ATTACHED").await == 2).await;
    assert_eq!(second.counted("duplicate").await, 0);
    second.end().await.unwrap();
}

#[tokio::test]
async fn a_waiting_centre_says_that_it_is_not_active() {
    let hub = Hub::new();
    let first = hub.start("a").await;
    let second = hub.begin("b", |_| {}).await;
    let health = |service: &str| second.health(service.to_owned());
    for service in ["", "yiwang.incident.v1.WatchService", "yiwang.incident.v1.UnitService"] {
        assert_eq!(health(service).await, Ok(ServingStatus::NotServing), "{service}");
    }
    let desk = second.desk(TOWN);
    let refused = desk.report(report("r-1")).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unavailable, "NOT_ACTIVE"));
    let watch = v1::WatchRequest { consumer: "screen-1".to_owned(), ..Default::default() };
    let refused = desk.open(watch).await.err().unwrap();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unavailable, "NOT_ACTIVE"));
    assert_eq!(
        desk.list(v1::ListIncidentsRequest::default()).await.unwrap_err().code(),
        Code::Unavailable
    );
    // The same port takes calls as soon as it is its turn, from those who had asked before too.
    first.end().await.unwrap();
    until(async || health("").await == Ok(ServingStatus::Serving)).await;
    desk.report(report("r-1")).await.unwrap();
    second.end().await.unwrap();
}

#[tokio::test]
async fn a_waiting_centre_stops_when_told() {
    let hub = Hub::new();
    let first = hub.start("a").await;
    let second = hub.begin("b", |_| {}).await;
    second.end().await.unwrap();
    first.end().await.unwrap();
}

#[tokio::test]
async fn a_fenced_centre_writes_nothing_and_ends() {
    let hub = Hub::new();
    let centre = hub.start("a").await;
    let store = hub.store().await;
    // The same name takes the lease at once, as a process does that was started again.
    let lease = store.acquire_lease("centre", "a", PATIENCE).await.unwrap().unwrap();
    hub.send(&[hub.signal(Some(ASSET), VILLAGE)]).await;
    let ended = soon(centre.running).await.unwrap();
    assert!(matches!(ended, Err(Error::Fenced)), "{ended:?}");
    assert_eq!(store.positions("signals").await.unwrap(), []);
    assert_eq!(store.outbox_span().await.unwrap().head, 0);
    store.renew_lease(&lease, PATIENCE).await.unwrap();
}

#[tokio::test]
async fn a_store_that_is_away_is_waited_for() {
    let hub = Hub::new();
    let centre = hub.start("a").await;
    let desk = centre.desk(TOWN);
    let mut stream = desk.watch("screen-1", b"").await;
    stream.snapshot().await;
    // Somebody else holds the file: no write of the centre gets through.
    let other = hub.store().await;
    let tx = other.begin(None).await.unwrap();
    hub.send(&[hub.signal(Some(ASSET), VILLAGE)]).await;
    let refused = desk.report(report("r-1")).await.unwrap_err();
    assert!(["STORE_UNAVAILABLE", "BUSY"].contains(&reason(&refused).as_str()), "{refused:?}");
    // The stream lives on.
    stream.heartbeat().await;
    tx.rollback().await.unwrap();
    stream.reaches(v1::State::Dispatched).await;
    let done = desk.report(report("r-1")).await.unwrap();
    assert!(!done.repeated_report);
    assert_eq!(centre.counted("duplicate").await, 0);
    centre.end().await.unwrap();
}
