//! The mica command line
