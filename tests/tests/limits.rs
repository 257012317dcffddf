//! What the machine runs out of, against the real binary (delivery contract, section 11): the bytes that a topic may keep
//! and the disk under the data folder (F18), time to route under a flood, and so memory (F19). Nothing acknowledged is
//! lost, what waits says so, and the hub goes on, or is started again, once there is room.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use yiwang_tests::demo::{client_id, connect, property_topic, secret};
use yiwang_tests::files::Files;
use yiwang_tests::hub::{Hub, PATIENCE, Plan, binary, get, run};
use yiwang_tests::mqtt::{Connection, Incoming, Load, LoadClient, Version};
use yiwang_tests::settle::{drain, has_raw, routed, routes_more, settle, under_load};
use yiwang_tests::wait::until;

const DEVICES: u64 = 8;
const ALARM_EVERY: u64 = 40;

fn plan(files: &Files, data: &Path) -> Plan {
    files.quick_alarms();
    let plan = files.plan(Plan::embedded(data));
    plan.with("intake.listen.messages_per_second_max=0").with("log.partitions=1")
}

fn start(plan: Plan) -> (Hub, String) {
    let hub = plan.start().expect("the hub starts");
    let district = hub.token("310118").expect("a token of the district");
    (hub, district)
}

/// Bytes that a topic may keep: less than is sent, more than the readings of it.
const TOPIC_BYTES_MAX: usize = 2 << 20;
const SHED_AFTER_MS: u64 = 100;
const QOS0_DEVICE: &str = "wl-radar-01/R-0010";
/// While the topic is full, devices say little.
const ALARM_EVERY_FEW: u64 = 8;
const QOS0_AT_ONCE: usize = 8;
const PADDED_BYTES: usize = 8_000;
const PING: [u8; 2] = [0xC0, 0];
const PONG: Incoming = Incoming::Other(13);

#[test]
fn a_full_topic_holds_devices_up_and_nothing_is_lost() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let plan = plan(&Files::copy(folder.path()), folder.path())
        .with(&format!("log.retention_bytes_max={TOPIC_BYTES_MAX}"))
        .with(&format!("intake.listen.shed_after_ms={SHED_AFTER_MS}"))
        // What the router has read is freed by its snapshots.
        .with("router.snapshot_seconds=1");
    let (mut hub, district) = start(slow_router(plan, 1));
    let flood = flood(&hub, 150);
    let (mut sent, mut waiting) = (0, connect(&hub, QOS0_DEVICE, Version::V311));
    let devices = under_load(hub.mqtt(), 2, ALARM_EVERY_FEW, || {
        let acknowledged = std::thread::scope(|scope| {
            let flooding = scope.spawn(|| flood.run(&flooded::<PADDED_BYTES>));
            until("it to say what it waits for", PATIENCE, || {
                match get(hub.http("all"), "/readyz")? {
                    (503, body) if body.contains("no room in raw") => Ok(()),
                    other => Err(format!("{other:?}")),
                }
            })
            .expect("the topic is full");
            sent = until_shed(&hub, &mut waiting);
            flooding.join().expect("no panic")
        });
        let acknowledged = acknowledged.expect("every message is acknowledged").messages;
        assert!(acknowledged as usize * PADDED_BYTES > 2 * TOPIC_BYTES_MAX, "it was full");
        sent += acknowledged;
        // More than lay before the router: the devices of the books are served again.
        routes_more(&hub, 500.0);
    });
    drain(&hub);
    sent += devices.iter().map(|device| device.attempted).sum::<u64>();
    let shed = every_fate(&hub, sent);
    hub.wait_ready().expect("there is room again");
    settle(&mut hub, &devices, &district, &format!("F18 budget shed={shed}"));
}

/// A router that does few records at a time, one batch after the other.
fn slow_router(plan: Plan, records: usize) -> Plan {
    plan.with("router.workers=1")
        .with(&format!("router.batch_records_max={records}"))
        .with("router.inflight_batches_max=1")
}

/// Devices that send as fast as they are acknowledged, many messages at once.
fn flood(hub: &Hub, messages: u64) -> Load {
    let client = |number| {
        let key = format!("wl-radar-01/R-{number:04}");
        let (id, topic) = (client_id(&key), property_topic(&key));
        LoadClient { id, password: Some(secret(&key)), topic }
    };
    let clients = (1..=FLOODING).map(client).collect();
    Load { address: hub.mqtt(), clients, window: FLOOD_WINDOW, messages, rate: 0.0 }
}

const FLOODING: usize = 8;
const FLOOD_WINDOW: u16 = 100;

/// The body of a flooding device's message: blanks are long on the way in, and nothing in a reading.
fn flooded<const BYTES: usize>(_: usize, number: u64, body: &mut Vec<u8>) {
    let (seq, blanks) = (number + 1, "");
    let text = format!(r#"{{"boot":1,"seq":{seq},{blanks:BYTES$}"params":{{"level":1.0}}}}"#);
    body.extend_from_slice(text.as_bytes());
}

/// Sends at QoS 0 until some of it was dropped, then looks whether the connection lives; gives how many were sent.
fn until_shed(hub: &Hub, connection: &mut Connection) -> u64 {
    let topic = property_topic(QOS0_DEVICE);
    let mut sent = 0;
    until("QoS 0 to be shed", PATIENCE, || {
        for _ in 0..QOS0_AT_ONCE {
            let mut body = Vec::new();
            flooded::<PADDED_BYTES>(0, sent, &mut body);
            connection.publish_qos0(&topic, &body);
            sent += 1;
        }
        connection.flush().map_err(|error| error.to_string())?;
        if shed(hub)? > 0.0 { Ok(()) } else { Err(format!("{sent} sent")) }
    })
    .expect("what has no acknowledgement is dropped");
    connection.send_raw(&PING).expect("the socket takes it");
    let mut answers = Vec::new();
    connection.receive(|packet| answers.push(packet)).expect("an answer comes");
    assert_eq!(answers, [PONG], "a device that waits is not cut off");
    sent
}

fn shed(hub: &Hub) -> Result<f64, String> {
    hub.metric("gateway", "yiwang_gateway_shed_messages_total", "")
}

/// In the process that has a disk of its own: the folder under which it is mounted.
const OWN_DISK: &str = "YIWANG_TEST_OWN_DISK";
const DISK: &str = "size=256m";
const HALT: Option<i32> = Some(5);

#[test]
fn full_disk_ends_the_hub_and_loses_nothing() {
    on_a_small_disk("full_disk_ends_the_hub_and_loses_nothing", fill_disk);
}

/// Runs a test of this file again in a mount namespace of its own, so that root and others alike have a small disk that
/// is gone afterwards.
fn on_a_small_disk(test: &str, work: fn(&Path)) {
    if let Some(folder) = std::env::var_os(OWN_DISK) {
        return work(Path::new(&folder));
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let own = ["-m", "-Urm"].into_iter().find(|flags| {
        run(Command::new("unshare")
            .args([flags, "mount", "-t", "tmpfs", "tmpfs"])
            .arg(folder.path()))
        .is_ok()
    });
    let own =
        own.expect("neither root nor user namespaces are allowed: no small disk can be mounted");
    let again = std::env::current_exe().expect("a test knows its own path");
    let status = Command::new("unshare")
        .arg(own)
        .arg(again)
        .args([test, "--exact", "--nocapture"])
        .env(OWN_DISK, folder.path())
        .env("YIWANG_BIN", binary())
        .status()
        .expect("the test runs again");
    assert!(status.success(), "on a small disk: {status}");
}

/// A folder on the small disk, for data.
fn small_disk(folder: &Path) -> PathBuf {
    let data = folder.join("data");
    std::fs::create_dir(&data).expect("a folder");
    run(Command::new("mount").args(["-t", "tmpfs", "-o", DISK, "tmpfs"]).arg(&data))
        .expect("a small disk is mounted");
    // What the program says must have room.
    std::os::unix::fs::symlink(folder.join("all.log"), data.join("all.log")).expect("a link");
    data
}

fn fill_disk(folder: &Path) {
    let data = small_disk(folder);
    let (mut hub, district) = start(plan(&Files::copy(folder), &data));
    let devices = under_load(hub.mqtt(), DEVICES, ALARM_EVERY, || {
        routes_more(&hub, 500.0);
        let others = data.join("others");
        fill(&others);
        ends_at_full_disk(&mut hub, 0);
        let said = hub.words("all").len();
        hub.revive().expect("it can be tried");
        ends_at_full_disk(&mut hub, said);
        std::fs::remove_file(&others).expect("the disk is freed");
        hub.revive().expect("it can be started again");
        hub.wait_ready().expect("there is room");
        routes_more(&hub, 500.0);
    });
    drain(&hub);
    settle(&mut hub, &devices, &district, "F18 disk");
}

/// The hub ends as when durability is in doubt; every part of it that fails, and the last line, name what they cannot write.
/// What it said before a place does not count.
fn ends_at_full_disk(hub: &mut Hub, said: usize) {
    let ended = hub.wait_end().expect("the hub ends by itself");
    let words = hub.words("all").split_off(said);
    assert_eq!(ended.code(), HALT, "durability is in doubt: {words}");
    let failed = words.lines().filter(|line| line.contains("a part ended with an error"));
    for line in failed.chain(words.lines().last()) {
        let full = ["No space left on device", "disk is full"].iter().any(|it| line.contains(it));
        assert!(full && line.contains(&*hub.data().to_string_lossy()), "{line}");
    }
}

/// Of the small disk, what is left alone.
const RESERVE: u64 = 96 << 20;

#[test]
fn a_disk_that_fills_holds_devices_up_and_nothing_is_lost() {
    on_a_small_disk("a_disk_that_fills_holds_devices_up_and_nothing_is_lost", reach_reserve);
}

/// Someone else's file takes the disk down to the reserve: nothing is acknowledged until it has gone, what was before is
/// finished meanwhile, and the hub is never ended.
fn reach_reserve(folder: &Path) {
    let data = small_disk(folder);
    let plan = plan(&Files::copy(folder), &data)
        .with(&format!("log.disk_reserve_bytes_min={RESERVE}"))
        .with(&format!("intake.listen.shed_after_ms={SHED_AFTER_MS}"));
    let (mut hub, district) = start(plan);
    let mut waiting = connect(&hub, QOS0_DEVICE, Version::V311);
    let mut sent = 0;
    let devices = under_load(hub.mqtt(), DEVICES, ALARM_EVERY_FEW, || {
        routes_more(&hub, 500.0);
        let others = data.join("others");
        take_to(&hub, &others, RESERVE * 3 / 4);
        sent = until_shed(&hub, &mut waiting);
        // What was acknowledged before is finished: below the reserve only the way in is closed.
        let stored = until("what was acknowledged to be routed", PATIENCE, || {
            match (routed(&hub, "pending")?, routed(&hub, "raw")?) {
                (0.0, stored) => Ok(stored),
                (pending, _) => Err(format!("{pending} are not")),
            }
        })
        .expect("the way on is open");
        std::fs::remove_file(&others).expect("the disk is freed");
        hub.wait_ready().expect("there is room again");
        routes_more(&hub, 500.0);
        assert!(routed(&hub, "raw").expect("the ledger can be read") >= stored + 500.0);
    });
    drain(&hub);
    sent += devices.iter().map(|device| device.attempted).sum::<u64>();
    let shed = every_fate(&hub, sent);
    settle(&mut hub, &devices, &district, &format!("F18 reserve shed={shed}"));
}

#[test]
fn a_disk_that_fills_keeps_nobody_from_stopping_it() {
    on_a_small_disk("a_disk_that_fills_keeps_nobody_from_stopping_it", stop_at_reserve);
}

/// What waits for room is let go of when the hub is told to stop: it was not acknowledged, and its device still has it.
fn stop_at_reserve(folder: &Path) {
    let data = small_disk(folder);
    let plan = plan(&Files::copy(folder), &data)
        .with(&format!("log.disk_reserve_bytes_min={RESERVE}"))
        // Longer than the test has patience.
        .with("stop.deadline_seconds=3600");
    let (mut hub, _) = start(plan);
    let others = data.join("others");
    take_to(&hub, &others, RESERVE * 3 / 4);
    let mut device = connect(&hub, QOS0_DEVICE, Version::V311);
    let body = br#"{"boot":1,"seq":1,"params":{"level":1.0}}"#;
    device.publish(&property_topic(QOS0_DEVICE), 7, body);
    device.flush().expect("the socket takes it");
    until("the message to wait", PATIENCE, || {
        match hub.metric("gateway", "yiwang_gateway_in_flight_messages", "lane=\"listen\"")? {
            1.0 => Ok(()),
            other => Err(format!("{other} wait")),
        }
    })
    .expect("it was received");
    let ended = hub.stop().expect("it ends long before its deadline");
    let words = hub.words("all");
    assert_eq!(ended[0].code(), Some(0), "{words}");
    assert!(words.contains("no room in raw"), "{words}");
    std::fs::remove_file(&others).expect("the disk is freed");
    hub.start_again().expect("it starts again");
    hub.wait_ready().expect("there is room");
    // What was let go of was never stored.
    has_raw(&hub, || Ok(0.0));
}

/// Someone else's file takes the disk down to so many free bytes; waits until the hub has noticed.
fn take_to(hub: &Hub, others: &Path, left: u64) {
    let free = until("the free disk to be told", PATIENCE, || {
        let free = hub.metric("all", "yiwang_log_disk_free_bytes", "")? as u64;
        if free > RESERVE { Ok(free) } else { Err(format!("{free} bytes")) }
    })
    .expect("there is room at first");
    let mut file = File::create(others).expect("there is room for a file");
    let most = free - left;
    std::io::copy(&mut std::io::repeat(0).take(most), &mut file).expect("there is room");
    until("it to say what it waits for", PATIENCE, || match get(hub.http("all"), "/readyz")? {
        (503, body) if body.contains("bytes free, its reserve is 100663296") => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .expect("it has noticed");
}

/// Waits until each message was routed or shed; gives how many were shed.
fn every_fate(hub: &Hub, sent: u64) -> f64 {
    let fates = until("each message to have its one fate", PATIENCE, || {
        match (routed(hub, "raw")?, shed(hub)?) {
            (raw, shed) if raw + shed == sent as f64 => Ok(shed),
            (raw, shed) => Err(format!("{raw} routed and {shed} shed of {sent}")),
        }
    });
    fates.expect("none is forgotten")
}

/// Takes every free byte of the disk.
fn fill(path: &Path) {
    let mut file = File::create(path).expect("there is room for a file");
    let mut bytes = &[0; 1 << 20][..];
    while !bytes.is_empty() {
        match file.write_all(bytes) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::StorageFull => {
                bytes = &bytes[bytes.len() / 2 + bytes.len() % 2..]
            }
            Err(error) => panic!("failed to fill the disk: {error}"),
        }
    }
}

/// Memory that the hub may have, at most; less than is sent.
const RESIDENT_BYTES_MAX: u64 = 320 << 20;
const FLOOD_BYTES: usize = 50_000;
/// So many messages lie before the router when it has routed one.
const OVERLOAD: f64 = 2.0;

#[test]
fn overload_stays_within_memory() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let plan = plan(&Files::copy(folder.path()), folder.path());
    let (mut hub, district) = start(slow_router(plan, 32));
    let flood = flood(&hub, 900);
    let mut sent = 0;
    let devices = under_load(hub.mqtt(), DEVICES, ALARM_EVERY, || {
        sent = flood.run(&flooded::<FLOOD_BYTES>).expect("every message is acknowledged").messages;
        let row = |row| routed(&hub, row).expect("the ledger can be read");
        let (done, all) = (row("routed"), row("raw"));
        assert!(all > OVERLOAD * done, "{done} of {all} routed: more is sent than it can");
    });
    assert!(sent * FLOOD_BYTES as u64 > RESIDENT_BYTES_MAX, "memory cannot hold what was sent");
    drain(&hub);
    let raw: u64 = devices.iter().map(|device| device.attempted).sum();
    has_raw(&hub, || Ok((raw + sent) as f64));
    let resident = resident_max(&hub);
    assert!(resident < RESIDENT_BYTES_MAX, "{resident} of {RESIDENT_BYTES_MAX} bytes");
    settle(&mut hub, &devices, &district, &format!("F19 resident={}MiB", resident >> 20));
}

/// The most memory that the process has had.
fn resident_max(hub: &Hub) -> u64 {
    let path = format!("/proc/{}/status", hub.pid("all"));
    let status = std::fs::read_to_string(path).expect("the process lives");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("it is told");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib << 10
}
