//! What findings are called: the one list, which programs, alert rules and webhooks key on.

use crate::domain::vocabulary::vocabulary;

vocabulary! {
    /// What a finding is called. It never changes; `docs/findings.md` has a row for each.
    pub enum FindingCode {
        NoAgentCa = "no_agent_ca",
        IntermediateExpiry = "intermediate_expiry",
        RootExpiry = "root_expiry",
        RootListMissing = "root_list_missing",
        RootListWaiting = "root_list_waiting",
        RootKeyOnDisk = "root_key_on_disk",
        ServerCertificateExpiry = "server_certificate_expiry",
        ServerCertificateNames = "server_certificate_names",
        EnvelopeBesideData = "envelope_beside_data",
        StoreDamaged = "store_damaged",
        ChainBroken = "chain_broken",
        CommitFailed = "commit_failed",
        // What no other finding explains.
        NotReady = "not_ready",
        RolledBack = "rolled_back",
        Suspended = "suspended",
        Restored = "restored",
        BackupMissing = "backup_missing",
        BackupSameDisk = "backup_same_disk",
        BackupFailed = "backup_failed",
        ReplicaBehind = "replica_behind",
        UnsafeReplica = "unsafe_replica",
        Clock = "clock",
        Disk = "disk",
        FileMode = "file_mode",
        AgentsOverdue = "agents_overdue",
        HostsNeverReported = "hosts_never_reported",
        HostsSilent = "hosts_silent",
        PossibleClones = "possible_clones",
        PossibleDuplicates = "possible_duplicates",
        AgentsWithoutDnsName = "agents_without_dns_name",
        WebhookFailing = "webhook_failing",
    }
}
