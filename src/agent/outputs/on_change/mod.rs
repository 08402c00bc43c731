//! What is run after a change: when (`pace`), and how (`command`).

pub(crate) mod command;
pub(crate) mod pace;
