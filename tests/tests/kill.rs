//! The promise under `kill -9`: processes die at random moments under load, come back on the same data without help,
//! and the accounting of the delivery contract (section 9, fault F01) finds nothing lost, nothing made up, no effect
//! twice. And so it is when the disk refuses to sync (F03): the hub ends, and says why.

use std::path::Path;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use yiwang_tests::hub::{Plan, ROLES};
use yiwang_tests::settle::{drain, quick_alarms, settle, under_load};
#[cfg(feature = "services")]
use {
    std::process::Command, yiwang_tests::hub::PATIENCE, yiwang_tests::settle::routed,
    yiwang_tests::wait::until,
};

/// Devices under load; each alarm is ended by the next message.
const DEVICES: u64 = 8;
const ALARM_EVERY: u64 = 40;
/// Life of a hub between its readiness and its death, ms.
const LIFE_MS: std::ops::Range<u64> = 150..1_500;

#[test]
fn embedded_survives_twenty_kills() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    survive(Plan::embedded(folder.path()), folder.path(), 20, false);
}

#[cfg(feature = "services")]
#[test]
fn distributed_survives_five_kills() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let plan = Plan::distributed(folder.path(), "kill").expect("the services are there");
    survive(plan, folder.path(), 5, true);
}

/// A supervisor would start it again, and so does the test, once the disk is well.
#[cfg(feature = "services")]
#[test]
fn embedded_ends_when_a_sync_fails() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let plan = Plan::embedded(folder.path()).with(&quick_alarms(folder.path()));
    let plan = plan.with("intake.listen.messages_per_second_max=0");
    let mut hub = plan.start().expect("the hub starts");
    let district = hub.token("310118").expect("a token of the district");
    let devices = under_load(hub.mqtt(), DEVICES, ALARM_EVERY, || {
        until("the hub to be at work", PATIENCE, || match routed(&hub, "routed")? {
            routed if routed > 200.0 => Ok(()),
            routed => Err(format!("{routed} routed")),
        })
        .expect("it routes");
        let mut strace = Command::new("strace")
            .args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync,fdatasync"])
            .args(["-e", "inject=fsync,fdatasync:error=EIO", "-p", &hub.pid("all").to_string()])
            .spawn()
            .expect("strace starts");
        let ended = hub.wait_end().expect("the hub ends by itself");
        strace.wait().expect("strace ends with it");
        let words = hub.last_lines("all");
        assert_eq!(ended.code(), Some(5), "durability is in doubt: {words}");
        assert!(words.contains("Input/output error") && words.contains("sync"), "{words}");
        hub.revive().expect("it can be started again");
        hub.wait_ready().expect("the disk is well again");
    });
    drain(&hub);
    settle(&mut hub, &devices, &district, "F03");
}

/// Every round ends the life of one role, chosen at random, or of everything.
fn survive(plan: Plan, folder: &Path, rounds: usize, one_role: bool) {
    let seed = std::env::var("YIWANG_KILL_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    println!("seed {seed}: YIWANG_KILL_SEED={seed} runs the same moments again");
    let mut rng = StdRng::seed_from_u64(seed);
    let plan = plan.with(&quick_alarms(folder));
    let plan =
        plan.with("intake.listen.messages_per_second_max=0").with("router.snapshot_seconds=1");
    let mut hub = plan.start().expect("the hub starts");
    let district = hub.token("310118").expect("a token of the district");
    let devices = under_load(hub.mqtt(), DEVICES, ALARM_EVERY, || {
        for round in 0..rounds {
            std::thread::sleep(Duration::from_millis(rng.random_range(LIFE_MS)));
            let victim = one_role.then(|| ROLES[rng.random_range(0..ROLES.len())]);
            hub.kill(victim);
            let killed = Instant::now();
            hub.start_again().expect("the killed processes start again");
            hub.wait_ready().unwrap_or_else(|error| panic!("round {round}: {error}"));
            println!(
                "round {round}: {} ready after {:?}",
                victim.unwrap_or("all"),
                killed.elapsed()
            );
        }
    });
    drain(&hub);
    settle(&mut hub, &devices, &district, &format!("F01 seed={seed}"));
}
