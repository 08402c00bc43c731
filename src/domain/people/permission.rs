//! What a caller may do. One table decides which role may do what.

use crate::domain::vocabulary::vocabulary;

vocabulary! {
    /// A permission by its name.
    // Handlers name the one they need; API tokens carry a list of them. In the order in which they are shown.
    #[schemars(rename = "PermissionName")]
    wire pub enum Permission {
        // Seeing hosts, enrollments, tokens and secrets.
        AgentRead = "agent.read",
        // Asking whether a certificate is a live agent's.
        AgentVouch = "agent.vouch",
        // Join tokens, and revoking identities.
        AgentWrite = "agent.write",
        // Seeing the audit trail.
        AuditRead = "audit.read",
        // Decommissioning, re-enabling and deleting hosts.
        HostWrite = "host.write",
        // Enrollment secrets.
        SecretWrite = "secret.write",
        // People, as far as one may oneself.
        UserWrite = "user.write",
        // API tokens.
        TokenWrite = "token.write",
        // Webhooks.
        WebhookWrite = "webhook.write",
        // Tenants.
        TenantWrite = "tenant.write",
    }
}
