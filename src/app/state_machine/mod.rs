//! The registry as a state machine: random sequences of what people, agents, time and crashes do to it, driven
//! through the use cases on a real store, and after each step held against a model.
//!
//! `PROPTEST_CASES` asks for more sequences. A failing one is shrunk, printed, and noted by its seed in
//! `proptest-regressions/`, from where it is tried again first.

mod compare;
mod model;
mod sequences;
mod steps;
mod world;
