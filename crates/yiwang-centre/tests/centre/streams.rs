//! The stream of a desk over real sockets: nothing missing, nothing foreign, never silent about an end.

use crate::support::{
    ASSET, DISTRICT, Hub, OTHER_TOWN, OTHER_VILLAGE, TOWN, VILLAGE, key, now, reason, until,
};
use yiwang_core::record::SignalKind;
use yiwang_proto::incident::v1;
use yiwang_proto::incident::v1::act_request::Action;
use yiwang_proto::incident::v1::watch_response::Item;

#[tokio::test]
async fn a_snapshot_and_then_every_change_resumed_without_gap_or_repeat() {
    let hub = Hub::new();
    let centre = hub.start("a").await;
    let desk = centre.desk(TOWN);
    let mut stream = desk.watch("screen-1", b"").await;
    assert_eq!(stream.snapshot().await.0, []);
    hub.send(&[hub.signal(Some(ASSET), VILLAGE)]).await;
    let opened = stream.change().await;
    assert_eq!(opened.kind(), v1::ChangeKind::Opened);
    let mut seen = vec![key(&opened)];
    let mut token = opened.token;
    drop(stream);

    let mut stream = desk.watch("screen-1", &token).await;
    loop {
        let change = stream.change().await;
        seen.push(key(&change));
        token = change.token;
        if change.incident.unwrap().state() == v1::State::Dispatched {
            break;
        }
    }
    let versions: Vec<i64> = seen.iter().map(|(_, version)| *version).collect();
    assert_eq!(versions, (1..=i64::try_from(seen.len()).unwrap()).collect::<Vec<_>>());

    // While nobody looks something happens; the token leads right behind what was seen.
    drop(stream);
    let incident = desk.get(&seen[0].0).await.unwrap().incident.unwrap();
    let done = desk.act(&incident, "c-1", Action::Acknowledge(v1::Acknowledge::default())).await;
    assert_eq!(done.unwrap().incident.unwrap().state(), v1::State::Handling);
    let mut stream = desk.watch("screen-1", &token).await;
    let change = stream.change().await;
    assert_eq!(key(&change), (incident.name.clone(), incident.version + 1));

    // A snapshot shows it as it stands now.
    let mut fresh = desk.watch("screen-2", b"").await;
    let (incidents, _) = fresh.snapshot().await;
    assert_eq!(incidents.len(), 1);
    assert_eq!(incidents[0].state(), v1::State::Handling);
    centre.end().await.unwrap();
}

#[tokio::test]
async fn tokens_are_refused_with_their_reason() {
    let hub = Hub::new();
    let centre = hub.start("a").await;
    let desk = centre.desk(TOWN);
    let (_, token) = desk.watch("screen-1", b"").await.snapshot().await;
    let watch = |consumer: &str, token: &[u8]| v1::WatchRequest {
        consumer: consumer.to_owned(),
        token: token.to_vec(),
        ..v1::WatchRequest::default()
    };
    let mut forged = token.clone();
    forged[5] ^= 1;
    let refused = |request| async { reason(&desk.open(request).await.err().unwrap()) };
    assert_eq!(refused(watch("screen-1", &forged)).await, "TOKEN_BAD");
    assert_eq!(refused(watch("screen-2", &token)).await, "TOKEN_FOREIGN");
    let filter = Some(v1::Filter { joint_duty: true, ..v1::Filter::default() });
    let filtered = v1::WatchRequest { filter, ..watch("screen-1", &token) };
    assert_eq!(refused(filtered).await, "RESYNC");
    let foreign = centre.desk(OTHER_TOWN).open(watch("screen-1", &token)).await;
    assert_eq!(reason(&foreign.err().unwrap()), "TOKEN_FOREIGN");
    let above = v1::WatchRequest { unit: DISTRICT.to_owned(), ..watch("screen-1", b"") };
    assert_eq!(refused(above).await, "NOT_YOURS");
    let ack = desk.ack("screen-1", &forged).await;
    assert_eq!(reason(&ack.err().unwrap()), "TOKEN_BAD");
    centre.end().await.unwrap();
}

#[tokio::test]
async fn a_slow_reader_is_cut_with_its_place_and_nobody_else_notices() {
    const SIGNALS: usize = 300;
    let hub = Hub::new();
    let centre = hub.start("a").await;
    let desk = centre.desk(TOWN);
    let watch = v1::WatchRequest {
        consumer: "slow".to_owned(),
        unsent_max: 8,
        ..v1::WatchRequest::default()
    };
    let mut slow = desk.open(watch).await.unwrap();
    slow.snapshot().await;
    let mut quick = desk.watch("quick", b"").await;
    quick.snapshot().await;
    for n in 0..SIGNALS {
        let mut signal = hub.signal(None, VILLAGE);
        signal.alarm_key = format!("alarm-{n}");
        signal.text = "水".repeat(1_300);
        hub.send(&[signal]).await;
    }
    let mut all = Vec::new();
    let mut dispatched = 0;
    while dispatched < SIGNALS {
        let change = quick.change().await;
        dispatched +=
            usize::from(change.incident.as_ref().unwrap().state() == v1::State::Dispatched);
        all.push(key(&change));
    }
    let (changes, status) = slow.end().await;
    assert_eq!(reason(&status), "SLOW", "{status:?}");
    let token = yiwang_proto::status::reason(&status).unwrap().1["token"].clone();
    let token: Vec<u8> = (0..token.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&token[at..at + 2], 16).unwrap())
        .collect();
    let mut read: Vec<_> = changes.iter().map(key).collect();
    assert!(read.len() < all.len());
    let mut slow = desk.watch("slow", &token).await;
    while read.len() < all.len() {
        read.push(key(&slow.change().await));
    }
    assert_eq!(read, all);
    centre.end().await.unwrap();
}

#[tokio::test]
async fn the_same_consumer_again_ends_the_older_stream() {
    let hub = Hub::new();
    let centre = hub.start("a").await;
    let desk = centre.desk(TOWN);
    let mut older = desk.watch("screen-1", b"").await;
    older.snapshot().await;
    let mut newer = desk.watch("screen-1", b"").await;
    newer.snapshot().await;
    assert_eq!(reason(&older.end().await.1), "TAKEN_OVER");
    newer.heartbeat().await;
    centre.stop.cancel();
    assert_eq!(reason(&newer.end().await.1), "STOPPING");
    centre.end().await.unwrap();
}

#[tokio::test]
async fn heartbeats_tell_what_was_sent_and_acknowledged() {
    let hub = Hub::new();
    let centre = hub.start("a").await;
    let desk = centre.desk(TOWN);
    let mut stream = desk.watch("screen-1", b"").await;
    let (_, start) = stream.snapshot().await;
    let beat = stream.heartbeat().await;
    assert_eq!((beat.sent_seq, beat.acked_seq, beat.build.as_str()), (0, 0, "test"));
    hub.send(&[hub.signal(Some(ASSET), VILLAGE)]).await;
    let change = stream.reaches(v1::State::Dispatched).await;
    desk.ack("screen-1", &change.token).await.unwrap();
    // A lower token is ignored.
    desk.ack("screen-1", &start).await.unwrap();
    loop {
        let beat = stream.heartbeat().await;
        if beat.acked_seq > 0 {
            assert_eq!((beat.acked_seq, beat.head_seq), (beat.sent_seq, beat.sent_seq));
            break;
        }
    }
    centre.end().await.unwrap();
}

#[tokio::test]
async fn what_leaves_the_filter_is_said_once_and_nothing_else_of_it() {
    let hub = Hub::new();
    let centre = hub.start("a").await;
    let desk = centre.desk(TOWN);
    let states = vec![v1::State::Dispatched.into()];
    let watch = v1::WatchRequest {
        consumer: "screen-1".to_owned(),
        filter: Some(v1::Filter { states, ..v1::Filter::default() }),
        ..v1::WatchRequest::default()
    };
    let mut stream = desk.open(watch).await.unwrap();
    stream.snapshot().await;
    hub.send(&[hub.signal(Some(ASSET), VILLAGE)]).await;
    let incident = loop {
        match stream.item().await.unwrap() {
            Item::Change(change) => break change.incident.unwrap(),
            Item::Heartbeat(_) | Item::LeftScope(_) => {}
            other => panic!("{other:?}"),
        }
    };
    desk.act(&incident, "c-1", Action::Acknowledge(v1::Acknowledge::default())).await.unwrap();
    let left = loop {
        match stream.item().await.unwrap() {
            Item::LeftScope(left) => break left,
            Item::Heartbeat(_) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((left.incident, left.version), (incident.name, incident.version + 1));
    assert_eq!(left.reason, "FILTER");
    centre.end().await.unwrap();
}

#[tokio::test]
async fn what_leaves_sight_is_said_and_nothing_else_of_it() {
    let hub = Hub::new();
    let centre = hub.start("a").await;
    let desk = centre.desk(TOWN);
    let mut helper = centre.desk("dept:water").watch("screen-1", b"").await;
    helper.snapshot().await;
    let mut stream = desk.watch("screen-1", b"").await;
    stream.snapshot().await;
    hub.send(&[hub.signal(Some(ASSET), VILLAGE)]).await;
    let incident = stream.reaches(v1::State::Dispatched).await.incident.unwrap();
    let (unit, reason) = ("dept:water".to_owned(), "水泵".to_owned());
    let ask = v1::AddAssist { unit, mandatory: false, reason: reason.clone() };
    let asked = desk.act(&incident, "c-1", Action::AddAssist(ask)).await.unwrap();
    let asked = asked.incident.unwrap();
    let task = asked.tasks.iter().find(|task| task.unit.as_ref().unwrap().id == "dept:water");
    assert_eq!(helper.change().await.incident.unwrap().name, incident.name);
    let waive = v1::WaiveAssist { task: task.unwrap().number, reason };
    desk.act(&asked, "c-2", Action::WaiveAssist(waive)).await.unwrap();
    let left = loop {
        match helper.item().await.unwrap() {
            Item::LeftScope(left) => break left,
            Item::Heartbeat(_) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((left.incident.as_str(), left.reason.as_str()), (incident.name.as_str(), "SIGHT"));
    let gone = centre.desk("dept:water").get(&incident.name).await.unwrap_err();
    assert_eq!(crate::support::reason(&gone), "NOT_FOUND");
    centre.end().await.unwrap();
}

#[tokio::test]
async fn a_town_knows_nothing_of_another_towns_incident() {
    let hub = Hub::new();
    let centre = hub.start("a").await;
    let (desk, other) = (centre.desk(TOWN), centre.desk(OTHER_TOWN));
    let mut stream = desk.watch("screen-1", b"").await;
    let mut foreign = other.watch("screen-1", b"").await;
    foreign.snapshot().await;
    stream.snapshot().await;
    hub.send(&[hub.signal(Some(ASSET), VILLAGE)]).await;
    let incident = stream.reaches(v1::State::Dispatched).await.incident.unwrap();

    assert_eq!(other.list(v1::ListIncidentsRequest::default()).await.unwrap().incidents, []);
    let absent = other.get("incidents/00000000000000000000000000000000").await.unwrap_err();
    for name in [&incident.name, &incident.no] {
        let hidden = other.get(name).await.unwrap_err();
        assert_eq!((hidden.code(), hidden.message()), (absent.code(), absent.message()));
        assert_eq!(reason(&hidden), "NOT_FOUND");
    }
    let comment = Action::Comment(v1::Comment { text: "x".to_owned() });
    let refused = other.act(&incident, "c-1", comment).await.unwrap_err();
    assert_eq!(reason(&refused), "NOT_FOUND");
    // The first thing the other town's stream shows is its own incident.
    hub.send(&[hub.signal(None, OTHER_VILLAGE)]).await;
    let own = foreign.change().await.incident.unwrap();
    assert_eq!(own.place.unwrap().town.unwrap().id, OTHER_TOWN);
    assert_eq!(desk.list(v1::ListIncidentsRequest::default()).await.unwrap().incidents.len(), 1);
    centre.end().await.unwrap();
}

#[tokio::test]
async fn pages_go_on_for_their_caller_and_filter_only() {
    let hub = Hub::new();
    let centre = hub.start("a").await;
    let desk = centre.desk(TOWN);
    let signals: Vec<_> = (0..5).map(|_| hub.signal(None, VILLAGE)).collect();
    hub.send(&signals).await;
    until(async || centre.counted("OPENED").await == 5).await;
    let list = |page_token: &str| v1::ListIncidentsRequest {
        page_size: 2,
        page_token: page_token.to_owned(),
        filter: None,
    };
    let (mut names, mut token) = (Vec::new(), String::new());
    loop {
        let page = desk.list(list(&token)).await.unwrap();
        names.extend(page.incidents.into_iter().map(|incident| incident.name));
        if page.next_page_token.is_empty() {
            break;
        }
        token = page.next_page_token;
    }
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 5);
    let foreign = centre.desk(OTHER_TOWN).list(list(&token)).await.unwrap_err();
    assert_eq!(reason(&foreign), "TOKEN_FOREIGN");
    let filter = Some(v1::Filter { joint_duty: true, ..v1::Filter::default() });
    let filtered = v1::ListIncidentsRequest { filter, ..list(&token) };
    assert_eq!(reason(&desk.list(filtered).await.unwrap_err()), "TOKEN_FOREIGN");
    assert_eq!(reason(&desk.list(list("00ff")).await.unwrap_err()), "TOKEN_BAD");
    centre.end().await.unwrap();
}

#[tokio::test]
async fn a_recovered_alarm_closes_what_was_fed_back() {
    let hub = Hub::new();
    let centre = hub.start("a").await;
    let desk = centre.desk(TOWN);
    let mut stream = desk.watch("screen-1", b"").await;
    let raised = hub.signal(Some(ASSET), VILLAGE);
    hub.send(std::slice::from_ref(&raised)).await;
    stream.snapshot().await;
    let incident = stream.reaches(v1::State::Dispatched).await.incident.unwrap();
    let ack = Action::Acknowledge(v1::Acknowledge::default());
    let incident = desk.act(&incident, "c-1", ack).await.unwrap().incident.unwrap();
    let back = v1::FeedBack { result: "抽干了".to_owned(), evidence: Vec::new() };
    let fed = desk.act(&incident, "c-2", Action::FeedBack(back.clone())).await.unwrap();
    assert_eq!(fed.incident.unwrap().state(), v1::State::FedBack);
    let again = desk.act(&incident, "c-2", Action::FeedBack(back)).await.unwrap();
    assert!(again.repeated_command);

    let mut clear = hub.signal(Some(ASSET), VILLAGE);
    clear.kind = SignalKind::Clear;
    clear.time = now().max(raised.time);
    hub.send(&[clear]).await;
    let closed = stream.reaches(v1::State::Closed).await;
    assert_eq!((closed.transition.as_str(), closed.kind()), ("T15", v1::ChangeKind::Closed));
    assert_eq!(closed.incident.unwrap().close_method(), v1::CloseMethod::Sensor);
    centre.end().await.unwrap();
}
