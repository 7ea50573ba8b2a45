//! Removing and measuring trees.
