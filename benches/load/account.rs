//! The account of one measurement: how long operations took, and what they cost processors and disk.

use std::time::Duration;

use crate::load::device::{Device, Written};
use crate::load::figures::{Spent, Times};
use crate::load::meter::Meter;

/// How it went.
#[derive(Debug)]
pub struct Run {
    pub spent: Spent,
    /// By each operation; none where the store lies on no device.
    pub written: Option<Written>,
    pub times: Times,
}

/// What is being measured.
#[derive(Debug)]
pub struct Account<'d> {
    meter: Meter,
    device: &'d Device,
    before: Option<Written>,
}

impl<'d> Account<'d> {
    /// Counts from now on what a server spends, by its process id, and what that device is given.
    pub fn open(server: u32, device: &'d Device) -> Self {
        Self { before: device.written(), device, meter: Meter::of(server) }
    }

    /// With the operations that it was for.
    pub fn close(self, times: impl IntoIterator<Item = Duration>) -> Run {
        let spent = self.meter.spent();
        let times: Times = times.into_iter().collect();
        let written = self.device.written().zip(self.before);
        let written = written.map(|(now, before)| now.each(before, times.count()));
        Run { spent, written, times }
    }
}
