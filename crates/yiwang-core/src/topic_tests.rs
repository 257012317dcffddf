//! Topics: the table of the access standard, and properties against a naive model.

use proptest::prelude::*;

use super::*;

fn radar() -> Identity {
    Identity::from_client_id("wl-radar-01.R-0001").unwrap()
}

#[test]
fn client_id_splits_at_first_dot() {
    let identity = Identity::from_client_id("wl-radar-01.R.00:01@a").unwrap();
    assert_eq!(identity.device(), "wl-radar-01/R.00:01@a");
    assert_eq!(identity.product(), "wl-radar-01");
    for bad in ["", "wl-radar-01", ".R-1", "a.", "a.provision", "a b.c", "a.b/c", "a.b+", "ä.b"] {
        assert!(Identity::from_client_id(bad).is_err(), "{bad}");
    }
    assert!(Identity::new(&"a".repeat(32), &"b".repeat(64)).is_ok());
    assert!(Identity::new(&"a".repeat(33), "b").is_err());
    assert!(Identity::new("a", &"b".repeat(65)).is_err());
}

#[test]
fn own_upward_topics() {
    let up = |path: &str| {
        radar().publish(&format!("iot/v1/wl-radar-01/R-0001/up/{path}")).map(|u| u.kind)
    };
    assert_eq!(up("property"), Ok(BodyKind::Property));
    assert_eq!(up("event/tamper"), Ok(BodyKind::Event));
    assert_eq!(up("raw"), Ok(BodyKind::Raw));
    for other in ["status", "topo", "pack", "get", "reply"] {
        assert_eq!(up(other), Ok(BodyKind::Other));
    }
    assert_eq!(up("event/"), Err(Refusal::BadCharacter));
    assert_eq!(up("event/a+"), Err(Refusal::BadCharacter));
    assert_eq!(up("event/a/b"), Err(Refusal::NotAllowed));
    assert_eq!(up("properties"), Err(Refusal::NotAllowed));
    assert_eq!(up(""), Err(Refusal::NotAllowed));
    assert_eq!(up(&format!("event/{}", "x".repeat(250))), Err(Refusal::TooLong));
}

#[test]
fn foreign_topics_are_told_apart() {
    let publish = |topic: &str| radar().publish(topic).map(|u| u.kind);
    let foreign = [
        "iot/v1/wl-radar-01/R-0002/up/property",
        "iot/v1/wl-radar-01/R-00011/up/property",
        "iot/v1/wl-radar-01/R-0001/down/property/set",
        "iot/v1/wl-radar-01/r-0001/up/property",
    ];
    for topic in foreign {
        assert_eq!(publish(topic), Err(Refusal::ForeignIdentity), "{topic}");
    }
    assert_eq!(publish("iot/v1/wl-radar-01/+/up/property"), Err(Refusal::BadCharacter));
    assert_eq!(publish("$SYS/broker"), Err(Refusal::NotNative));
    assert_eq!(publish(""), Err(Refusal::NotNative));
    assert_eq!(publish("a/b/c/d/e/f/g/h/i"), Err(Refusal::TooLong));
}

#[test]
fn filters_inside_own_down() {
    let own = "iot/v1/wl-radar-01/R-0001/";
    for good in ["down/#", "down/+", "down/property/set", "down/+/set", "down/service/+"] {
        assert_eq!(radar().subscribe(&format!("{own}{good}")), Ok(()), "{good}");
    }
    for bad in ["down", "down/", "up/#", "#", "+/#", "down/#/a", "down/a#", "down/a+/b"] {
        assert!(radar().subscribe(&format!("{own}{bad}")).is_err(), "{bad}");
    }
    for bad in ["#", "iot/v1/#", "iot/v1/+/R-0001/down/#", "iot/v1/wl-radar-01/+/down/#"] {
        assert!(radar().subscribe(bad).is_err(), "{bad}");
    }
    assert!(radar().subscribe("$share/g/iot/v1/wl-radar-01/R-0001/down/#").is_err());
    assert!(radar().subscribe(&format!("{own}down/a/b/c/d")).is_err(), "nine levels");
}

#[test]
fn topic_as_identity() {
    let native = parse_up("iot/v1/smoke-01/S-0007/up/event/tamper").unwrap();
    assert_eq!((native.product, native.name), ("smoke-01", "S-0007"));
    assert_eq!(native.device, "smoke-01/S-0007");
    assert_eq!(native.up, Up { kind: BodyKind::Event, path: "event/tamper" });
    assert!(parse_up("iot/v1/smoke-01/S-0007/down/raw").is_err());
    assert!(parse_up("iot/v1/smoke-01/provision/request").is_err());
    assert_eq!(parse_device_key("smoke-01/S-0007"), Ok(("smoke-01", "S-0007")));
    assert!(parse_device_key("smoke-01").is_err());
    assert!(parse_device_key("smoke-01/a/b").is_err());
}

#[test]
fn filter_matching() {
    for (filter, topic, expected) in [
        ("a/b", "a/b", true),
        ("a/+", "a/b", true),
        ("a/+", "a/b/c", false),
        ("a/#", "a", true),
        ("a/#", "a/b/c", true),
        ("#", "$SYS/x", false),
        ("+/x", "$SYS/x", false),
        ("$SYS/#", "$SYS/x", true),
        ("a", "a/b", false),
        ("a/b", "a", false),
    ] {
        assert_eq!(matches(filter, topic), expected, "{filter} {topic}");
    }
}

fn node() -> Identity {
    Identity::new("p", "d").unwrap().as_node("g.e")
}

#[test]
fn an_edge_node_publishes_its_own_and_is_told_its_own() {
    for kind in ["NBIRTH/e", "NDATA/e", "NDEATH/e", "DBIRTH/e/d1", "DDATA/e/d1", "DDEATH/e/d1"] {
        let topic = format!("spBv1.0/g/{kind}");
        assert_eq!(node().publish(&topic), Ok(Up { kind: BodyKind::Raw, path: &topic }));
        assert_eq!(radar().publish(&topic), Err(Refusal::NotNative), "no dialect, no topic");
        let foreign = topic.replace("/e", "/f");
        assert_eq!(node().publish(&foreign), Err(Refusal::ForeignIdentity));
    }
    for not_its in ["g/NCMD/e", "g/DCMD/e/d1", "STATE/host", "g/NBIRTH/e/d1", "g/NDATA/+", ""] {
        let topic = format!("spBv1.0/{not_its}");
        assert_eq!(node().publish(&topic), Err(Refusal::NotAllowed), "{topic}");
    }
    let long = format!("spBv1.0/g/DDATA/e/{}", "d".repeat(250));
    assert_eq!(node().publish(&long), Err(Refusal::TooLong));
    for told in ["g/NCMD/e", "g/NCMD/e/#", "g/DCMD/e/#", "g/DCMD/e/+", "STATE/h", "STATE/+"] {
        let filter = format!("spBv1.0/{told}");
        assert_eq!(node().subscribe(&filter), Ok(()), "{filter}");
        assert_eq!(radar().subscribe(&filter), Err(Refusal::NotNative), "{filter}");
    }
    let wild = Identity::new("p", "d").unwrap().as_node("+.e");
    assert_eq!(wild.subscribe("spBv1.0/+/NCMD/e"), Err(Refusal::NotNative), "no name of a node");
    for foreign in ["#", "+/NCMD/e", "g/NCMD/#", "g/NCMD/+", "g/+/e", "g/NDATA/e", "g/DCMD/f/#"] {
        assert!(node().subscribe(&format!("spBv1.0/{foreign}")).is_err(), "{foreign}");
    }
}

/// MQTT matching, written down as the standard says it, level by level.
fn naive_matches(filter: &[&str], topic: &[&str]) -> bool {
    match (filter.split_first(), topic.split_first()) {
        (Some((&"#", [])), _) => true,
        (Some((want, filter)), Some((level, topic))) => {
            (*want == "+" || want == level) && naive_matches(filter, topic)
        }
        (None, None) => true,
        _ => false,
    }
}

fn naive_valid_filter(filter: &str) -> bool {
    let levels: Vec<&str> = filter.split('/').collect();
    let last = levels.len() - 1;
    !filter.is_empty()
        && levels.iter().enumerate().all(|(i, level)| match *level {
            "#" => i == last,
            "+" => true,
            text => !text.contains(['+', '#', '\0']),
        })
}

fn word() -> impl Strategy<Value = String> {
    let words = [
        "iot", "v1", "p", "q", "d", "e", "up", "down", "property", "raw", "event", "set", "+", "#",
        "$", "", "a#", "spBv1.0", "g", "NCMD", "DCMD", "NDATA", "DBIRTH", "STATE",
    ];
    proptest::sample::select(words.to_vec()).prop_map(str::to_owned)
}

/// Paths that are often nearly right.
fn path() -> impl Strategy<Value = String> {
    let free = proptest::collection::vec(word(), 1..10);
    let near = (proptest::collection::vec(word(), 0..5)).prop_map(|tail| {
        let mut levels: Vec<String> = ["iot", "v1", "p", "d"].map(str::to_owned).to_vec();
        levels.extend(tail);
        levels
    });
    let tail = proptest::collection::vec(word(), 0..4);
    let node =
        (proptest::sample::select(vec!["g", "STATE", "+"]), tail).prop_map(|(group, tail)| {
            let mut levels: Vec<String> = ["spBv1.0", group].map(str::to_owned).to_vec();
            levels.extend(tail);
            levels
        });
    prop_oneof![free, near, node].prop_map(|levels| levels.join("/"))
}

proptest! {
    #[test]
    fn matcher_equals_naive_model(filter in path(), topic in path()) {
        prop_assert_eq!(is_filter(&filter), naive_valid_filter(&filter));
        if is_filter(&filter) && !topic.starts_with('$') {
            let wanted: Vec<&str> = filter.split('/').collect();
            let levels: Vec<&str> = topic.split('/').collect();
            prop_assert_eq!(matches(&filter, &topic), naive_matches(&wanted, &levels));
        }
    }

    #[test]
    fn accepted_filter_never_leaves_own_down(filter in path(), topic in path()) {
        let own = Identity::new("p", "d").unwrap();
        let inside = topic.starts_with("iot/v1/p/d/down/") || topic == "iot/v1/p/d/down";
        if own.subscribe(&filter).is_ok() && matches(&filter, &topic) {
            prop_assert!(inside, "{} matches {}", filter, topic);
        }
        let levels = filter.split('/').count();
        let expected = levels <= LEVELS_MAX
            && naive_valid_filter(&filter)
            && filter.starts_with("iot/v1/p/d/down/")
            && filter != "iot/v1/p/d/down/";
        prop_assert_eq!(own.subscribe(&filter).is_ok(), expected);
    }

    #[test]
    fn publish_equals_naive_model(topic in path()) {
        let own = Identity::new("p", "d").unwrap();
        let levels: Vec<&str> = topic.split('/').collect();
        let expected = match levels.as_slice() {
            ["iot", "v1", "p", "d", "up", "property" | "raw"] => true,
            ["iot", "v1", "p", "d", "up", "event", event] => {
                !event.is_empty() && !event.contains(['+', '#', '$'])
            }
            _ => false,
        };
        prop_assert_eq!(own.publish(&topic).is_ok(), expected);
        if let Ok(native) = parse_up(&topic) && native.device == "p/d" {
            prop_assert_eq!(own.publish(&topic), Ok(native.up));
        }
        prop_assert_eq!(
            own.publish(&topic).is_ok(),
            parse_up(&topic).is_ok_and(|native| native.device == "p/d")
        );
    }

    #[test]
    fn a_node_is_told_only_what_is_its_own(filter in path(), topic in path()) {
        let levels: Vec<&str> = topic.split('/').collect();
        let told = matches!(
            levels.as_slice(),
            ["spBv1.0", "g", "NCMD", "e", ..] | ["spBv1.0", "g", "DCMD", "e", ..] | ["spBv1.0", "STATE", ..]
        );
        let native = Identity::new("p", "d").unwrap();
        if node().subscribe(&filter).is_ok() && matches(&filter, &topic) {
            prop_assert!(told || native.subscribe(&filter).is_ok(), "{} matches {}", filter, topic);
        }
        if native.subscribe(&filter).is_ok() {
            prop_assert!(node().subscribe(&filter).is_ok());
        }
    }

    #[test]
    fn a_node_tells_only_what_is_its_own(topic in path()) {
        let levels: Vec<&str> = topic.split('/').collect();
        let plain = |name: &str| !name.is_empty() && !name.contains(['+', '#']);
        let tells = match levels.as_slice() {
            ["spBv1.0", "g", "NDATA", "e"] => true,
            ["spBv1.0", "g", "DBIRTH", "e", device] => plain(device),
            _ => false,
        };
        let native = Identity::new("p", "d").unwrap().publish(&topic);
        prop_assert_eq!(node().publish(&topic).is_ok(), tells || native.is_ok());
    }

    #[test]
    fn any_text_is_judged(text in "\\PC{0,300}") {
        let own = Identity::new("p", "d").unwrap();
        let _ = (own.publish(&text), own.subscribe(&text), parse_up(&text), parse_device_key(&text));
        let _ = (Identity::from_client_id(&text), is_filter(&text));
        let below = format!("spBv1.0/{text}");
        let _ = (node().publish(&below), node().subscribe(&below));
    }
}
