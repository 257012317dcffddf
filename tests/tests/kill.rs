//! The promise under `kill -9`: processes die at random moments under load, come back on the same data without help,
//! and the accounting of the delivery contract (section 9, fault F01) finds nothing lost, nothing made up, no effect
//! twice.

use std::path::Path;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use yiwang_tests::hub::{Plan, ROLES};
use yiwang_tests::settle::{drain, quick_alarms, settle, under_load};

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
