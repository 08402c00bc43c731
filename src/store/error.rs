//! Why a read of the store fails.

/// A record could not be read. The store may be damaged; nothing was guessed in its place.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// redb could not open the table or walk it.
    #[error("cannot read table {table}")]
    Table {
        /// The table's name in the file.
        table: &'static str,
        /// The disk's error, or what is wrong with the file.
        source: Box<redb::Error>,
    },
    /// The checksum covers table, key and content, so a row that stands in the wrong place is found, too.
    #[error("a record in table {table} does not match its checksum: the store is damaged")]
    Checksum {
        /// The table's name in the file.
        table: &'static str,
    },
    /// The checksum is right, but this version of muster knows no such content.
    #[error("a record in table {table} cannot be understood")]
    Record {
        /// The table's name in the file.
        table: &'static str,
        /// Where its JSON is not what was expected.
        source: serde_json::Error,
    },
    /// It passes, unless the disk stays as it is: the file is tried again every second.
    #[error("the store is being opened anew after a failed commit")]
    Reopening,
    /// An index, or a row that names another, leads nowhere.
    #[error("table {table} names a record that is missing from {missing_from}")]
    Dangling {
        /// Where the name stands.
        table: &'static str,
        /// Where the record should be.
        missing_from: &'static str,
    },
}
