//! Reading and writing tar archives, bounded.
