//! The reasons of refusals in the audit trail: the one table.

use crate::domain::code::Code;
use crate::domain::vocabulary::vocabulary;

vocabulary! {
    /// Why something was refused, with the truth that the caller may not learn. Where the caller does learn it, the
    /// word is the code of the answer.
    pub enum AuditReason {
        BadChain = Code::BadChain.as_str(),
        BadCsr = Code::BadCsr.as_str(),
        BadProof = Code::BadProof.as_str(),
        HostDecommissioned = Code::HostDecommissioned.as_str(),
        IdentityRevoked = Code::IdentityRevoked.as_str(),
        PermissionDenied = Code::PermissionDenied.as_str(),
        /// Another request took the last use while this one's certificate was being signed.
        SecretExhausted = Code::SecretExhausted.as_str(),
        SvidExpired = Code::SvidExpired.as_str(),
        TokenExpired = Code::TokenExpired.as_str(),
        TokenUsed = Code::TokenUsed.as_str(),
        TokenVoided = Code::TokenVoided.as_str(),
        UnknownSerial = Code::UnknownSerial.as_str(),
        WrongPassword = Code::WrongPassword.as_str(),

        /// An enrollment secret without a use left.
        Exhausted = "exhausted",
        Expired = "expired",
        KeyReused = "key_reused",
        KeyTaken = "key_taken",
        /// Who made an API token is gone or disabled, or a token that it goes back to has ended.
        MakerGone = "maker_gone",
        MalformedCredential = "malformed_credential",
        MalformedToken = "malformed_token",
        /// A secret was shown from a network that it does not let in from.
        OtherNetwork = "other_network",
        Revoked = "revoked",
        /// After a restore nobody has said yet that it is still good.
        Suspended = "suspended",
        TooOften = "too_often",
        UnknownCredential = "unknown_credential",
        UnknownSession = "unknown_session",
        UnknownToken = "unknown_token",
        WrongCredentials = "wrong_credentials",
        WrongSecret = "wrong_secret",
    }
}
