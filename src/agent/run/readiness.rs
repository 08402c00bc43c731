//! Signs of life of a run.

/// What a run tells whoever started it, such as a service manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// There is an identity, and it is being kept.
    Ready,
    /// The part that keeps the identity is not stuck. Comes once a minute or more often.
    Alive,
}

/// Who is told.
pub type Notify = fn(Readiness);

/// For runs that nobody supervises.
pub const fn tell_nobody(_: Readiness) {}
