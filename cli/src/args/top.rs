//! `top`.

use clap::Args;

/// List the processes of a container.
#[derive(Debug, Args)]
pub struct Top {
    /// The container, then options of ps(1)
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_names = ["CONTAINER", "PS-OPTION"])]
    pub words: Vec<String>,
}
