//! What readers of hostile input are tried with: mutations of good input, the same ones at every run.

/// A small generator with a fixed seed, so that a failure can be seen again.
#[derive(Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    /// The same seed rolls the same.
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `sides`.
    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides.max(1)
    }

    /// Flips, cuts, takes out, doubles or replaces something, up to three times.
    pub(crate) fn mutate(&mut self, original: &[u8]) -> Vec<u8> {
        let mut octets = original.to_vec();
        for _ in 0..=self.roll(3) {
            self.mutate_once(&mut octets);
        }
        octets
    }

    fn mutate_once(&mut self, octets: &mut Vec<u8>) {
        if octets.is_empty() {
            return;
        }
        let at = self.roll(octets.len());
        let length = self.roll(octets.len() - at);
        match self.roll(6) {
            0 => octets[at] ^= 1 << self.roll(8),
            1 => octets.truncate(at.max(1)),
            2 => drop(octets.drain(at..at + length)),
            3 => octets.splice(at..at, octets[at..at + length].to_vec()).for_each(drop),
            4 => octets[at] = [0x00, 0x7f, 0x80, 0xff][self.roll(4)],
            _ => {
                let other = self.roll(octets.len());
                octets.swap(at, other);
            }
        }
    }

    /// The same for text.
    pub(crate) fn mutate_text(&mut self, original: &str) -> String {
        String::from_utf8_lossy(&self.mutate(original.as_bytes())).into_owned()
    }
}
