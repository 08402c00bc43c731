//! `bare`: the ceiling. The least that a server must do which answers durably with a certificate.

mod issuer;
mod process;
mod server;
mod writer;

pub use process::Bare;
pub use server::serve;
