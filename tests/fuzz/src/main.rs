//! The entry of libFuzzer, which has a `main` of its own; `YIWANG_FUZZ_TARGET` names the target.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
mod entry {
    use std::cell::RefCell;

    use yiwang_fuzz::{Check, target};

    thread_local! {
        static CHECK: RefCell<Check> = RefCell::new(chosen());
    }

    fn chosen() -> Check {
        let name = std::env::var("YIWANG_FUZZ_TARGET").unwrap_or_default();
        (target(&name).expect("YIWANG_FUZZ_TARGET names a target").make)()
    }

    libfuzzer_sys::fuzz_target!(|data: &[u8]| CHECK.with_borrow_mut(|check| check(data)));
}

#[cfg(not(fuzzing))]
fn main() -> std::process::ExitCode {
    eprintln!("error: built without coverage; run `cargo xtask fuzz TARGET`");
    for target in &yiwang_fuzz::TARGETS {
        eprintln!("  {}", target.name);
    }
    std::process::ExitCode::FAILURE
}
