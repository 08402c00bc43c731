//! The actions of the audit trail: the one table.

use crate::domain::vocabulary::vocabulary;

vocabulary! {
    /// What was done, as `noun.verb`. It is what gets written; a record that is read may have an action of another
    /// version, so there it is a text.
    pub enum AuditAction {
        AgentCaActivateRoot = "agent_ca.activate_root",
        /// The key of an old intermediate, whose last SVID had expired.
        AgentCaDestroyKey = "agent_ca.destroy_key",
        AgentCaInit = "agent_ca.init",
        AgentCaPrepareRoot = "agent_ca.prepare_root",
        /// A root's revocation list that had waited for agents to rotate.
        AgentCaPublishList = "agent_ca.publish_list",
        AgentCaRenew = "agent_ca.renew",
        /// Something for the root to sign where its key is kept.
        AgentCaRequest = "agent_ca.request",
        /// The CA's key was sealed with another envelope.
        AgentCaReseal = "agent_ca.reseal",
        AgentCaRetireRoot = "agent_ca.retire_root",
        AgentCaRevokeIntermediate = "agent_ca.revoke_intermediate",
        AgentEnroll = "agent.enroll",
        AgentRevoke = "agent.revoke",
        AgentRotate = "agent.rotate",
        ApiTokenCreate = "api_token.create",
        ApiTokenRevoke = "api_token.revoke",
        /// Only refusals: what a token is used for has actions of its own.
        ApiTokenUse = "api_token.use",
        /// Records at the end of the trail were found to be gone.
        AuditRecordsMissing = "audit.records_missing",
        /// An SVID that was on no record was shown while its identity was denied.
        CertificateDeny = "certificate.deny",
        EnrollmentSecretCreate = "enrollment_secret.create",
        EnrollmentSecretRevoke = "enrollment_secret.revoke",
        /// Whoever has the identity opens all that is sealed.
        EnvelopeAddRecovery = "envelope.add_recovery",
        EnvelopeRemoveRecovery = "envelope.remove_recovery",
        HostDecommission = "host.decommission",
        HostDelete = "host.delete",
        /// What people say of a host: its tags, or its note.
        HostChange = "host.change",
        HostPossibleClone = "host.possible_clone",
        HostReEnable = "host.re_enable",
        JoinTokenMint = "join_token.mint",
        JoinTokenVoid = "join_token.void",
        /// A request without the permission for its route.
        RequestDenied = "request.denied",
        /// The server's own certificate was due.
        ServerCertificateRenew = "server_certificate.renew",
        SessionCreate = "session.create",
        SessionEnd = "session.end",
        /// Only refusals: a session that is not there.
        SessionUse = "session.use",
        StoreBackup = "store.backup",
        /// What was suspended after a restore counts again.
        StoreConfirm = "store.confirm",
        /// A restore epoch was begun for a store that was found to be older than it had been.
        StoreDeclare = "store.declare",
        /// Revocations that only the journal knew are in force again.
        StoreReplayRevocations = "store.replay_revocations",
        StoreRestore = "store.restore",
        /// The store was found to be older than it had been.
        StoreRolledBack = "store.rolled_back",
        TenantCreate = "tenant.create",
        UserChange = "user.change",
        UserCreate = "user.create",
        UserPreferences = "user.preferences",
        WebhookCreate = "webhook.create",
        WebhookDelete = "webhook.delete",
    }
}
