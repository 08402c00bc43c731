//! Answers, made from what the use cases return.

mod audit;
mod authority;
mod credentials;
mod enroll;
mod events;
mod hosts;
mod overview;
mod people;
mod webhooks;
