//! Log position: how far the store's file has come with its change log. It is part of every checkpoint.

use redb::{ReadableDatabase, TableDefinition, TableError, WriteTransaction};

use super::frame::{FrameDigest, LogId};
use crate::domain::sha256::sha256;
use crate::store::ReadError;

/// Apart from the tables of rows: it says something of this file, and so is in no backup.
const TABLE: TableDefinition<'static, &'static str, &'static [u8]> = TableDefinition::new(NAME);
pub(crate) const NAME: &str = "change_log_v1";
const KEY: &str = "position";

/// What the file holds of its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogPosition {
    pub(crate) log: LogId,
    /// The number of the last frame before this log.
    pub(crate) begun_after: u64,
    /// The last frame that is in the file.
    pub(crate) number: u64,
    pub(crate) digest: FrameDigest,
    /// Whether there may be more in the log: not where the store was closed.
    pub(crate) in_use: bool,
}

impl LogPosition {
    /// Of a store that has never had a log.
    pub(crate) const NONE: Self =
        Self { log: LogId([0; 16]), begun_after: 0, number: 0, digest: FrameDigest::NONE, in_use: false };

    fn encode(&self) -> Vec<u8> {
        let numbers = [self.begun_after.to_be_bytes(), self.number.to_be_bytes()].concat();
        let octets = [self.log.0.as_slice(), &numbers, &self.digest.0, &[u8::from(self.in_use)]].concat();
        [octets.as_slice(), &sha256(&[&octets])[..8]].concat()
    }

    fn decode(octets: &[u8]) -> Option<Self> {
        let (octets, sum) = octets.split_last_chunk::<8>()?;
        if sha256(&[octets])[..8] != *sum {
            return None;
        }
        let (log, octets) = octets.split_first_chunk()?;
        let (begun_after, octets) = octets.split_first_chunk()?;
        let (number, octets) = octets.split_first_chunk()?;
        let (digest, octets) = octets.split_first_chunk()?;
        let in_use = match octets {
            [0] => false,
            [1] => true,
            _ => return None,
        };
        let (begun_after, number) = (u64::from_be_bytes(*begun_after), u64::from_be_bytes(*number));
        Some(Self { log: LogId(*log), begun_after, number, digest: FrameDigest(*digest), in_use })
    }
}

/// Where a store's file stands.
pub(crate) fn of(database: &impl ReadableDatabase) -> Result<LogPosition, ReadError> {
    let error = |source: redb::Error| ReadError::Table { table: NAME, source: Box::new(source) };
    let transaction = database.begin_read().map_err(|e| error(e.into()))?;
    let table = match transaction.open_table(TABLE) {
        Ok(table) => table,
        // A store of before.
        Err(TableError::TableDoesNotExist(_)) => return Ok(LogPosition::NONE),
        Err(other) => return Err(error(other.into())),
    };
    match table.get(KEY).map_err(|e| error(e.into()))? {
        None => Ok(LogPosition::NONE),
        Some(value) => LogPosition::decode(value.value()).ok_or(ReadError::Checksum { table: NAME }),
    }
}

/// Puts it into the transaction that brings the file there.
pub(crate) fn put(transaction: &WriteTransaction, position: &LogPosition) -> Result<(), redb::Error> {
    transaction.open_table(TABLE)?.insert(KEY, position.encode().as_slice())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read_as_it_was_written_or_not_at_all() {
        let position = LogPosition {
            log: LogId([1; 16]),
            begun_after: 2,
            number: 1 << 40,
            digest: FrameDigest([4; 32]),
            in_use: true,
        };
        let octets = position.encode();
        assert_eq!(LogPosition::decode(&octets), Some(position));
        for bit in 0..octets.len() * 8 {
            let mut damaged = octets.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(LogPosition::decode(&damaged), None, "bit {bit}");
        }
    }
}
