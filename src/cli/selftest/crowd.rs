//! Many agents that do the same, so many at a time.

use tokio::task::JoinSet;

use crate::cli::output::error::CliError;
use crate::cli::output::values::Progress;

/// Does something with each item, and shows how far that has come. What is under way ends when this is dropped.
pub(crate) async fn crowd<T, R, W>(
    what: &'static str,
    at_a_time: usize,
    items: Vec<T>,
    work: impl Fn(T) -> W,
) -> Result<Vec<R>, CliError>
where
    R: Send + 'static,
    W: Future<Output = R> + Send + 'static,
{
    let mut progress = Progress::new(what);
    let (total, mut done) = (items.len(), Vec::with_capacity(items.len()));
    let (mut items, mut working) = (items.into_iter(), JoinSet::new());
    loop {
        while working.len() < at_a_time {
            let Some(item) = items.next() else { break };
            working.spawn(work(item));
        }
        let Some(finished) = working.join_next().await else { return Ok(done) };
        done.push(finished?);
        progress.show(|| format!("{} of {total}", done.len()));
    }
}
