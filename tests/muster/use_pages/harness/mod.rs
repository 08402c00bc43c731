//! What runs a page: the page itself, a machine for it, and who knocks at its door.

mod anybody;
pub mod attack;
pub mod backend;
pub mod beside;
pub mod cast;
pub mod door;
pub mod entrance;
mod http2;
pub mod machine;
pub mod outputs;
pub mod page;
pub mod posing;
pub mod programs;
pub mod stage;
pub mod unit;
