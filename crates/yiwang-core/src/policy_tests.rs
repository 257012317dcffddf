//! Policies: budgets, merging, snapshots.
