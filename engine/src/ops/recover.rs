//! Recovery of containers whose monitor died, and of what cut-off commands left.
