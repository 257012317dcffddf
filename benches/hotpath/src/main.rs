//! `yiwang-hotpath PAYLOAD ROUNDS MADE`: makes MADE rounds of messages and routes the first ROUNDS of them, so that two
//! runs that differ in ROUNDS alone differ by nothing but the hot path.

use std::process::ExitCode;

use yiwang_hotpath::{DEVICES, Fleet, PAYLOADS, Router};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<(), String> {
    let [name, rounds, made] = arguments else {
        let names: Vec<&str> = PAYLOADS.iter().map(|payload| payload.name).collect();
        return Err(format!("expected PAYLOAD ROUNDS MADE; payloads: {}", names.join(", ")));
    };
    let payload = PAYLOADS.iter().find(|payload| payload.name == name);
    let payload = payload.ok_or_else(|| format!("no payload is called {name}"))?;
    let number = |text: &str| text.parse::<u64>().map_err(|e| format!("{text}: {e}"));
    let (rounds, made) = (number(rounds)?, number(made)?);
    let fleet = Fleet::new(payload, made)?;
    let mut router = Router::new(&fleet);
    let count = (rounds as usize * DEVICES).min(fleet.len());
    router.route(&fleet, 0..count);
    let counters = router.counters();
    if counters.routed != count as u64 {
        return Err(format!("{} of {count} messages were routed", counters.routed));
    }
    println!("{} messages, {} readings", counters.raw, counters.readings);
    Ok(())
}
