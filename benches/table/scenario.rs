//! The scenarios: what is asked of a server, and over which connections.

use crate::load::closed_loop::Connections;

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    Enrollment(Connections),
    Rotation(Connections),
    /// For which `bare` has no counterpart.
    Renewal,
}

impl Scenario {
    /// In the order in which they are run: who enrolled can rotate.
    pub const ALL: [Self; 5] = [
        Self::Enrollment(Connections::Fresh),
        Self::Enrollment(Connections::Kept),
        Self::Rotation(Connections::Fresh),
        Self::Rotation(Connections::Kept),
        Self::Renewal,
    ];

    pub const fn title(self) -> &'static str {
        match self {
            Self::Enrollment(Connections::Fresh) => "enrollment, fresh TLS",
            Self::Enrollment(Connections::Kept) => "enrollment, kept connection",
            Self::Rotation(Connections::Fresh) => "rotation, fresh TLS",
            Self::Rotation(Connections::Kept) => "rotation, kept connection",
            Self::Renewal => "renewal over the session",
        }
    }
}
