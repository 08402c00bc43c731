//! What lets a machine in, and the record that it came.

pub mod credential;
pub mod enrollment;
pub mod enrollment_secret;
pub mod join_lines;
pub mod join_link;
pub mod join_token;
