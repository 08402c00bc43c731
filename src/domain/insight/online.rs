//! How many hosts were online, looked at every five minutes and kept for a week.

use jiff::Timestamp;

/// How far samples are apart, in seconds: 288 a day.
const EVERY: i64 = 300;
/// So many are kept: a week.
pub const SAMPLES_KEPT: u32 = 7 * 288;

/// A tenant's hosts at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OnlineSample {
    /// Of those in service.
    pub online: u32,
    /// In service.
    pub in_service: u32,
}

/// The place of a moment among the samples.
pub fn place_of(at: Timestamp) -> u32 {
    u32::try_from(at.as_second().div_euclid(EVERY)).unwrap_or(0)
}

/// The first moment of a place.
pub fn start_of(place: u32) -> Timestamp {
    Timestamp::from_second(i64::from(place) * EVERY).unwrap_or(Timestamp::MAX)
}

/// So many samples become one point of a drawing: half an hour.
const POINT: u32 = 6;

/// The samples of half an hour each as the one with the fewest online: a dip is what matters, however short. By the place of the
/// first.
pub fn lowest(samples: impl IntoIterator<Item = (u32, OnlineSample)>) -> Vec<(u32, OnlineSample)> {
    let mut points: Vec<(u32, OnlineSample)> = Vec::new();
    for (place, sample) in samples {
        let begins = place / POINT * POINT;
        match points.last_mut() {
            Some((last, point)) if *last == begins => {
                if sample.online < point.online {
                    *point = sample;
                }
            }
            _ => points.push((begins, sample)),
        }
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_has_288_places_and_half_an_hour_its_lowest() {
        let at = |text: &str| place_of(text.parse().unwrap());
        let midnight = at("2026-11-28T00:00:00Z");
        assert_eq!(at("2026-11-29T00:00:00Z") - midnight, 288);
        assert_eq!(at("2026-11-28T00:04:59Z"), midnight);
        assert_eq!(start_of(midnight), "2026-11-28T00:00:00Z".parse().unwrap());
        let sample = |online| OnlineSample { online, in_service: 9 };
        let samples =
            [(0, 9), (1, 2), (5, 8), (6, 7), (13, 4)].map(|(at, online)| (midnight + at, sample(online)));
        let points = [(0, 2), (6, 7), (12, 4)].map(|(at, online)| (midnight + at, sample(online)));
        assert_eq!(lowest(samples), points);
        assert_eq!(lowest([]), []);
    }
}
