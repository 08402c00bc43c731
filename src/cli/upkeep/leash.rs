//! The leash of a server that another program has started: it ends when that program does, however that ended.

use std::io;

use clap::Args;
use tokio_util::sync::CancellationToken;

/// For programs and not for people, so no help shows it.
#[derive(Debug, Args)]
pub(crate) struct Leash {
    /// End when standard input does, whose other end the program that started this one holds
    #[arg(long, hide = true)]
    until_stdin_ends: bool,
}

impl Leash {
    pub(crate) fn hold(&self, stop: &CancellationToken) {
        if !self.until_stdin_ends {
            return;
        }
        let stop = stop.clone();
        // A read can't be taken back, so the thread is nobody's to wait for.
        std::thread::spawn(move || {
            // An input that can't be read has no other end either.
            let _ = io::copy(&mut io::stdin(), &mut io::sink());
            stop.cancel();
        });
    }
}
