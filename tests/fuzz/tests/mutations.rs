//! Every target over the inputs that are kept and over what comes of them by a seeded generator: part of every test run.

use yiwang_fuzz::{Mutator, TARGETS, found, samples};

/// Edited inputs of each target.
const CASES: usize = 30_000;
const SEED: u64 = 1;

fn run(name: &str) {
    let target = yiwang_fuzz::target(name).expect("a target");
    let mut inputs = samples(name).expect("inputs that people chose");
    let found = found(name).expect("inputs that fuzzing found");
    assert!(!inputs.is_empty() && !found.is_empty(), "{name}: nothing is kept");
    inputs.extend(found);
    let mut check = (target.make)();
    check(&[]);
    inputs.iter().for_each(|input| check(input));
    let mut mutator = Mutator::new(SEED);
    for _ in 0..CASES {
        check(&mutator.next(&inputs));
    }
}

macro_rules! tests {
    ($($name:ident),*) => {
        $(#[test]
        fn $name() {
            run(stringify!($name));
        })*

        #[test]
        fn every_target_is_run() {
            let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(names, [$(stringify!($name)),*]);
        }
    };
}

tests!(
    native, mapped, binary, protobuf, sparkplug, pack, snapshot, publish, record, lifecycle,
    folding
);
