//! Fixed subdirectories of a driver root.
