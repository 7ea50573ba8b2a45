//! The store on real drivers: archives in and out, snapshots, crashes, many processes, hostile input.

mod accounting;
mod builds;
mod check;
mod concurrency;
mod crash;
mod ground;
mod hostile;
mod migration;
mod nothing;
mod round_trip;
mod snapshots;
