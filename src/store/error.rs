//! Why a read of the store fails.

/// A record could not be read. The store may be damaged; nothing was guessed in its place.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("cannot read table {table}")]
    Table { table: &'static str, source: Box<redb::Error> },
    #[error("a record in table {table} does not match its checksum: the store is damaged")]
    Checksum { table: &'static str },
    #[error("a record in table {table} cannot be understood")]
    Record { table: &'static str, source: serde_json::Error },
    #[error("the store is being opened anew after a failed commit")]
    Reopening,
    #[error("table {table} names a record that is missing from {missing_from}")]
    Dangling { table: &'static str, missing_from: &'static str },
}
