//! mica-monitor: the small process that stands beside every running container.

fn main() {}
