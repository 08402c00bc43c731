//! Doors for the fuzz targets: journal lines, records and frames of the change log, read as the store reads them.

use jiff::Timestamp;

use crate::domain::enroll::enrollment::Enrollment;
use crate::domain::enroll::enrollment_secret::EnrollmentSecret;
use crate::domain::enroll::join_token::JoinToken;
use crate::domain::identity::hierarchy::Hierarchy;
use crate::domain::insight::audit::KnownLoss;
use crate::domain::insight::timeline::HostEvent;
use crate::domain::people::api_token::ApiToken;
use crate::domain::people::tenant::Tenant;
use crate::domain::people::user::User;
use crate::store::journal::line::{Line, sum};
use crate::store::log::frame::{Frame, FrameDigest, LogId, decode_body, encode_body};
use crate::store::record::{
    ClockMarksRecord, DeniedSerialRecord, ReportRecord, SessionRecord, StoredHost, decode,
};
use crate::store::rows::Table;

/// As it is, and as what stands behind a checksum that fits. What is read says the same when it is written again.
pub(crate) fn read_journal_line(data: &[u8]) {
    let _ = Line::read(data);
    let Ok(rest) = std::str::from_utf8(data) else { return };
    let whole = format!("{{\"sum\":\"{}\",{rest}\n", sum(rest));
    if let Ok(written) = Line::read(whole.as_bytes())
        && let Some(line) = written.line
    {
        let again = Line::read(line.to_text(0).as_bytes()).expect("what was written can be read");
        assert_eq!(again.line, Some(line));
    }
}

/// A record of any kind.
pub(crate) fn read_record(data: &[u8]) {
    let Some((kind, content)) = data.split_first() else { return };
    macro_rules! read {
        ($($record:ty),*) => {{
            let mut number = 0;
            $(
                if *kind == number {
                    let _ = decode::<$record>(Table::Meta, content);
                }
                number += 1;
            )*
            let _ = number;
        }};
    }
    read!(
        StoredHost,
        Enrollment,
        JoinToken,
        EnrollmentSecret,
        User,
        SessionRecord,
        ApiToken,
        Tenant,
        HostEvent,
        ReportRecord,
        Hierarchy,
        ClockMarksRecord,
        DeniedSerialRecord,
        KnownLoss
    );
}

/// A frame of the change log: as it is, and as the body of one that is whole. What is read says the same when it is written
/// again.
pub(crate) fn read_change_frame(data: &[u8]) {
    let _ = Frame::decode(data);
    let frame =
        Frame { log: LogId([1; 16]), number: 1, at: Timestamp::UNIX_EPOCH, previous: FrameDigest::NONE };
    let (octets, digest) = frame.encode(data).expect("what is fuzzed is short");
    let found = Frame::decode(&octets).expect("what was written can be read");
    assert_eq!((found.frame, found.digest, found.body), (frame, digest, data));
    if let Some(delta) = decode_body(data) {
        let again = encode_body(&delta).expect("it was as long before");
        assert_eq!(decode_body(&again), Some(delta));
    }
}
