//! Real containers under real monitors, with the embedded runtime and with runc.
//!
//! Every test makes its own bundle from the static busybox of the machine and looks at effects: bytes, statuses, files,
//! mounts, processes and control groups. Without root, busybox or runc a test says so and passes.

mod entering;
mod fixture;
mod isolation;
mod lifecycle;
mod streams;
