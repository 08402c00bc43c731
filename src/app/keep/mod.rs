//! The deployment itself: its CA, backups, restores, checks, and the work that nobody asks for.

pub mod agent_ca;
pub mod backup;
pub mod housekeeping;
pub mod jwt_keys;
pub mod old_keys;
pub mod outages;
pub mod recovery;
pub mod replicas;
pub mod reseal;
pub mod restore;
pub mod retention;
pub mod revocation_lists;
pub mod revoke_intermediate;
pub mod root;
pub mod scrub;
pub mod verify_replica;
