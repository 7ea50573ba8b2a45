//! Packet rules: what they are made of ([`expression`]) and how the kernel gets them ([`message`]).

pub mod expression;
pub mod message;

pub use message::{Attributes, Batch, Chain, Family, Hook, Lifetime};
