//! A restore epoch for a store that is older than it was.
