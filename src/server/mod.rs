//! The server put together: what starts in which order, who hears of what, and how it all ends.

mod agent_answers;
mod agent_trust;
mod background;
mod backups;
mod expiries;
pub mod own_certificate;
mod prepare;
mod renewal;
mod serve;
mod start_error;
mod webhooks;

pub(crate) use prepare::{
    FIND_THE_ENVELOPE, envelope_for_new_keys, envelope_settings, has_agent_ca, open_app, prepare_data_dir,
    reach, secret_files,
};
pub use serve::Server;
pub use start_error::StartError;
