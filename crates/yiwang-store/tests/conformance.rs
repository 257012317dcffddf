//! One suite over both engines: what a caller of the store may rely on, whichever it is.
#![expect(clippy::unwrap_used, reason = "a failed call is a failed test")]

mod support;

mod suite;

macro_rules! conformance {
    ($engine:ident: $($group:ident :: $test:ident,)+) => {
        mod $engine {
            use super::{suite, support};

            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                suite::$group::$test(&support::$engine().await).await;
            })+
        }
    };
}

macro_rules! on_both {
    ($($tests:tt)+) => {
        conformance!(sqlite: $($tests)+);
        #[cfg(feature = "postgres-tests")]
        conformance!(postgres: $($tests)+);
    };
}

on_both!(
    writes::effects_and_position_come_together,
    writes::nothing_of_a_dropped_transaction_stays,
    writes::a_broken_transaction_cannot_commit,
    writes::a_signal_is_stored_once,
    writes::a_change_is_made_from_the_version_it_saw,
    writes::one_live_lead_at_most,
    writes::a_position_never_moves_backwards,
    writes::numbers_of_incidents_have_no_gap,
    writes::many_rows_at_once_come_back_as_given,
    writes::the_ledger_counts_what_is_there,
    writes::alarms_are_cleared_up_to_their_time,
    writes::texts_with_nul_do_not_poison,
    writes::audit_rows_stay,
    order::outbox_numbers_are_in_the_order_of_commits,
    order::old_changes_go_from_the_front,
    leases::a_stale_holder_is_fenced,
    leases::a_lease_is_taken_over_when_it_has_run_out,
    leases::a_takeover_waits_for_the_open_transaction,
    reads::lists_are_cut_by_scope_before_the_page,
    reads::a_unit_that_left_sees_nothing,
    reads::filters_of_lists,
    reads::cases_come_whole,
    reads::clocks_come_when_due,
    reads::known_and_standing_signals,
    reads::cursors_move_forward,
    reads::tokens_open_until_revoked,
    reads::everything_survives_a_reopen,
);
