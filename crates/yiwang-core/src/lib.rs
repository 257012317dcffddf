//! All meaning of yiwang: hierarchy, thing models, codecs, validation, rules, routing, incidents, clocks, policy
//! and the authorisation decision.
//!
//! Everything here is synchronous, deterministic and total. This crate refuses to do I/O, to read a clock, to draw
//! random numbers, to log and to spawn; time comes in with the record, randomness as a seed.

// What the tests of the crate share with those beside it names it from outside.
#[cfg(test)]
extern crate self as yiwang_core;

pub mod access;
pub mod calendar;
pub mod category;
pub mod codec;
pub mod district;
pub mod ids;
pub mod incident;
pub mod ledger;
pub mod maintenance;
pub mod outage;
pub mod policy;
pub mod problem;
pub mod record;
pub mod registry;
pub mod route;
pub mod routes;
pub mod rules;
pub mod sample;
pub mod short;
pub mod storms;
pub mod tenants;
pub mod thing;
pub mod topic;
mod validate;
