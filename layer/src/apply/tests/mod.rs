//! Tests of apply, one file for each thing it promises.

mod fidelity;
mod hostile;
mod independence;
mod whiteouts;
