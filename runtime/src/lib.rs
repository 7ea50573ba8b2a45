//! OCI bundle to process: the client side and mica-monitor
