//! `muster replica`

use std::process::ExitCode;
use std::sync::Arc;

use clap::Subcommand;
use jiff::Timestamp;
use serde_json::json;

use crate::api::encoding::word::Word;
use crate::api::local::ReplicaItem;
use crate::app::keep::verify_replica::{VerifiedReplica, VerifyReplicaError, verify_replica};
use crate::ca::envelope::Envelope;
use crate::cli::Global;
use crate::cli::control::{Call, Control};
use crate::cli::output::error::CliError;
use crate::cli::output::table::{column, print_table};
use crate::cli::output::values::{print, print_json};
use crate::config::Config;
use crate::domain::replicas::{ReplicaSettings, ReplicaState};
use crate::error_chain::chain;
use crate::replica::data_key::DataKeyError;
use crate::replica::history::{HistoryError, ReplicaHistory};
use crate::replica::place::OpenPlace;
use crate::server::{self, StartError};

/// Copies of every change, in a folder or an object store
#[derive(Debug, Subcommand)]
pub(crate) enum ReplicaCommand {
    /// Show how each replica stands
    ///
    /// Exit status 0: each takes what is written. 4: one is behind. 1: nothing is written to one.
    #[command(after_help = "Examples:\n  muster replica status\n  muster replica status --json")]
    Status,
    /// Read all of a replica and say what can be restored from it, without a server and without restoring it
    ///
    /// Every segment must open with the envelope and follow the one before, every frame must follow the one before or a snapshot
    /// that stands for what is missing, and every snapshot must be whole. Exit status 0: it is as it was written.
    #[command(after_help = "Examples:\n  muster replica verify
  muster replica verify file:///mnt/nas/muster
  MUSTER_ENVELOPE_KEY_FILE=recovery.key muster replica verify s3://bucket/muster --json")]
    Verify {
        /// Its address as in the settings, or all of its entry as in MUSTER_REPLICAS; without it, all that are set
        replica: Option<String>,
    },
}

impl ReplicaCommand {
    pub(crate) async fn run(self, global: &Global) -> Result<ExitCode, CliError> {
        match self {
            Self::Status => status(global).await,
            Self::Verify { replica } => verify(global, replica).await.map(|()| ExitCode::SUCCESS),
        }
    }
}

async fn standing(global: &Global) -> Result<Vec<ReplicaItem>, CliError> {
    Control::open_local(global).await?.call(Call::get("/local/replicas")).await?.read()
}

async fn status(global: &Global) -> Result<ExitCode, CliError> {
    let items = standing(global).await?;
    let is = |item: &ReplicaItem, wanted: fn(ReplicaState) -> bool| match &item.state {
        Some(Word::Known(state)) => wanted(*state),
        Some(_) | None => false,
    };
    if global.json {
        print_json(&json!({ "items": items }))?;
    } else {
        let columns = [
            column("REPLICA", |item: &ReplicaItem| &item.url),
            column("STATE", |item| &item.state),
            column("LAST CHANGE", |item| &item.last_frame_at),
            column("UNSENT", |item| &item.unsent),
            column("SNAPSHOT", |item| &item.snapshot_at),
        ];
        print_table(&items, &columns, "No replicas are set: 'replicas' in muster.yml (MUSTER_REPLICAS).")?;
        if items.iter().any(|item| item.state.is_none()) {
            eprintln!("No server runs that would write there.");
        }
        for item in &items {
            if let Some(why) = &item.why {
                eprintln!("{}: {why}", item.url);
            }
        }
    }
    Ok(if items.iter().any(|item| is(item, ReplicaState::is_final)) {
        ExitCode::FAILURE
    } else if items.iter().any(|item| is(item, |state| state == ReplicaState::Behind)) {
        ExitCode::from(4)
    } else {
        ExitCode::SUCCESS
    })
}

/// The settings of a replica that somebody names: one that is set, by its address, or any other.
pub(super) fn named(text: &str, config: &Config) -> Result<ReplicaSettings, CliError> {
    let wrong = |error: crate::domain::replicas::NotReplicas| {
        CliError::usage(format!("'{text}' is no replica: {error}"))
            .hint("such as file:///mnt/nas/muster, s3://bucket/prefix, or url=s3://bucket/prefix,endpoint=https://HOST")
    };
    if text.contains("url=") {
        return ReplicaSettings::read(text)
            .map_err(wrong)?
            .pop()
            .ok_or_else(|| CliError::usage("no replica"));
    }
    let asked = ReplicaSettings::at(text).map_err(wrong)?;
    let set = config.replicas.iter().find(|set| set.place == asked.place);
    Ok(set.cloned().unwrap_or(asked))
}

/// The history in a replica that somebody names.
pub(super) async fn history(
    text: &str,
    config: &Config,
    envelope: &Arc<Envelope>,
) -> Result<ReplicaHistory, CliError> {
    let settings = named(text, config)?;
    let place = tokio::task::spawn_blocking(move || OpenPlace::open(&settings, false)).await?;
    let opened =
        ReplicaHistory::open(place.map_err(|error| refused(&error.into()))?, Arc::clone(envelope)).await;
    opened.map_err(|error| refused(&error))
}

fn refused(error: &HistoryError) -> CliError {
    let said = CliError::new(chain(error));
    match advice(error) {
        Some(hint) => said.hint(hint),
        None => said,
    }
}

/// What helps where a replica can't be read.
pub(super) const fn advice(error: &HistoryError) -> Option<&'static str> {
    match error {
        HistoryError::Place(_) => Some(
            "mount it, or give all of its entry as in MUSTER_REPLICAS: url=…,endpoint=…,credentials_file=…",
        ),
        HistoryError::None => Some("check the address; nothing was restored"),
        HistoryError::Key(DataKeyError::Envelope(_)) => Some(
            "segments open with the envelope that the server had when they were written, and with the recovery identities of then",
        ),
        HistoryError::NoSnapshot(_) => Some("'muster replica verify' says from when on it can be restored"),
        _ if error.is_damage() => Some(
            "--at takes a moment before the damage, which 'muster replica verify' names; else take another replica, or a backup",
        ),
        _ => None,
    }
}

async fn verify(global: &Global, replica: Option<String>) -> Result<(), CliError> {
    let config = global.local_config()?;
    global.log_if_asked()?;
    let wanted = match replica {
        Some(replica) => vec![replica],
        None => standing(global).await?.into_iter().map(|item| item.entry).collect(),
    };
    if wanted.is_empty() {
        return Err(CliError::new("no replicas are set")
            .hint("name one: muster replica verify file:///mnt/nas/muster"));
    }
    let envelope = Envelope::find(&server::envelope_settings(&config))?
        .ok_or_else(|| CliError::from(StartError::NoEnvelope).hint(server::FIND_THE_ENVELOPE))?;
    let envelope = Arc::new(envelope);
    let mut documents = Vec::new();
    for text in wanted {
        let history = history(&text, &config, &envelope).await?;
        let url = named(&text, &config)?.place.to_string();
        let verified = verify_replica(&history, &envelope).await.map_err(|error| {
            let said = CliError::new(format!("{url}: {}", chain(&error)));
            match &error {
                VerifyReplicaError::ReplicaHistory(error) => match advice(error) {
                    Some(hint) => said.hint(hint),
                    None => said,
                },
                VerifyReplicaError::Snapshot { .. } | VerifyReplicaError::Failed => said,
            }
        })?;
        if !global.json {
            print(&told(&url, &verified))?;
        }
        documents.push(document(&url, &verified));
    }
    if global.json { print_json(&json!({ "items": documents })) } else { Ok(()) }
}

fn document(url: &str, verified: &VerifiedReplica) -> serde_json::Value {
    json!({
        "replica": url,
        "store": verified.store.to_string(),
        "terms": verified.terms,
        "segments": verified.segments,
        "frames": verified.frames,
        "snapshots": verified.snapshots,
        "restorable_from": verified.from,
        "restorable_until": verified.until,
        "gaps": verified.gaps.iter().map(|(from, until)| json!({ "from": from, "until": until })).collect::<Vec<_>>(),
    })
}

fn told(url: &str, verified: &VerifiedReplica) -> String {
    let time = |at: Option<Timestamp>| at.map_or_else(|| "never".to_owned(), |at| at.to_string());
    let mut text = format!(
        "The replica {url} is as it was written.\n  Restorable       from {} until {}\n  Segments         {}\n  Changes          {}\n  \
         Snapshots        {}\n  Terms            {}\n  Store            {}\n",
        time(verified.from),
        time(verified.until),
        verified.segments,
        verified.frames,
        verified.snapshots,
        verified.terms.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        verified.store,
    );
    for (from, until) in &verified.gaps {
        text.push_str(&format!(
            "  Between          {from} and {until} the server could not write there: no moment of it can be restored\n"
        ));
    }
    text
}
