//! `muster agent-ca`, one file per step of the agent CA's life

mod change;
mod command;
mod create;
mod offline;
mod renew;
mod reseal;
mod root_key;
mod show;

pub(crate) use command::AgentCaCommand;
