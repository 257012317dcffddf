//! Once a second: a tick on every partition of the raw log, and a look at whether the log has room.
//!
//! Invariant: a tick is appended whether or not anything is received; a slow log delays ticks and never queues more
//! than one round of them.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use yiwang_log::Writer;

use crate::intake::Intake;
use crate::pipeline::{Door, Pipeline, Step};
use crate::record;
use crate::stats::Stats;

/// Time between two ticks.
const PERIOD: Duration = Duration::from_secs(1);

/// Appends ticks until stopped.
pub(crate) async fn run(
    intake: Arc<Intake>,
    stats: Arc<Stats>,
    origin: String,
    partitions: u16,
    stop: CancellationToken,
) {
    let writer: Writer = intake.writer.clone();
    let mut pipeline = Pipeline::<()>::new(Door::Straight(writer));
    let mut timer = interval(PERIOD);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            step = pipeline.next() => match step {
                Ok(Step::Room) => intake.set_waiting(false),
                Ok(Step::Safe(())) => stats.ticked(),
                Err(halt) => return intake.halted.set(halt),
            },
            _ = timer.tick() => {
                if !pipeline.idle() {
                    intake.set_waiting(pipeline.busy());
                    continue;
                }
                let mut batch = intake.writer.spare();
                record::push_ticks(&mut batch, intake.raw, partitions, &origin, intake.now());
                pipeline.append(batch, ());
            }
        }
    }
}
