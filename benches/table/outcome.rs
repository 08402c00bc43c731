//! What came of a scenario: the figures of each round, and over the rounds their medians with the least and the most.

use serde::Serialize;

use crate::load::account::Run;
use crate::scenario::Scenario;

/// One server in one scenario of one round. Costs are those of one operation.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Figures {
    pub operations: usize,
    pub elapsed_s: f64,
    pub rate_per_s: f64,
    pub server_cpu_ms: f64,
    pub client_cpu_ms: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
    pub flushes: Option<f64>,
    pub device_kib: Option<f64>,
}

impl Figures {
    pub fn of(run: &Run) -> Self {
        let Run { spent, written, times } = run;
        let count = times.count();
        let each = |cpu: std::time::Duration| cpu.as_secs_f64() * 1e3 / count as f64;
        Self {
            operations: count,
            elapsed_s: spent.elapsed.as_secs_f64(),
            rate_per_s: spent.rate(count),
            server_cpu_ms: each(spent.server_cpu),
            client_cpu_ms: each(spent.client_cpu),
            p50_ms: times.at(50),
            p99_ms: times.at(99),
            max_ms: times.at(100),
            flushes: written.map(|written| written.flushes),
            device_kib: written.map(|written| written.kib),
        }
    }
}

/// Both servers, one after the other.
#[derive(Debug, Serialize)]
pub struct Round {
    pub bare: Option<Figures>,
    pub muster: Figures,
}

/// One figure over the rounds.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    /// None where no round has it.
    fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<_> = values.into_iter().filter(|value| value.is_finite()).collect();
        values.sort_unstable_by(f64::total_cmp);
        let (&min, &max) = (values.first()?, values.last()?);
        let half = values.len() / 2;
        // Of an even number of rounds, halfway between the two in the middle.
        let median = f64::midpoint(values[half], values[(values.len() - 1) / 2]);
        Some(Self { median, min, max })
    }
}

/// One server over all rounds.
#[derive(Debug, Serialize)]
pub struct Summary {
    pub rate_per_s: Option<Spread>,
    pub server_cpu_ms: Option<Spread>,
    pub client_cpu_ms: Option<Spread>,
    pub p50_ms: Option<Spread>,
    pub p99_ms: Option<Spread>,
    pub flushes: Option<Spread>,
    pub device_kib: Option<Spread>,
}

impl Summary {
    fn of(rounds: &[Figures]) -> Self {
        let over = |figure: fn(&Figures) -> Option<f64>| Spread::of(rounds.iter().filter_map(figure));
        Self {
            rate_per_s: over(|it| Some(it.rate_per_s)),
            server_cpu_ms: over(|it| Some(it.server_cpu_ms)),
            client_cpu_ms: over(|it| Some(it.client_cpu_ms)),
            p50_ms: over(|it| Some(it.p50_ms)),
            p99_ms: over(|it| Some(it.p99_ms)),
            flushes: over(|it| it.flushes),
            device_kib: over(|it| it.device_kib),
        }
    }
}

/// The product's figure divided by `bare`'s of the same round.
#[derive(Debug, Serialize)]
pub struct Ratios {
    pub rate: Option<Spread>,
    pub server_cpu: Option<Spread>,
}

/// One row of the table.
#[derive(Debug, Serialize)]
pub struct Outcome {
    pub scenario: &'static str,
    pub bare: Option<Summary>,
    pub muster: Summary,
    pub muster_to_bare: Option<Ratios>,
    pub rounds: Vec<Round>,
}

impl Outcome {
    pub fn of(scenario: Scenario, rounds: Vec<Round>) -> Self {
        let pairs: Vec<_> = rounds.iter().filter_map(|round| Some((round.bare?, round.muster))).collect();
        let ratio = |figure: fn(&Figures) -> f64| {
            Spread::of(pairs.iter().map(|(bare, muster)| figure(muster) / figure(bare)))
        };
        let ratios = Ratios { rate: ratio(|it| it.rate_per_s), server_cpu: ratio(|it| it.server_cpu_ms) };
        let (bare, muster): (Vec<_>, Vec<_>) =
            (pairs.iter().map(|pair| pair.0).collect(), rounds.iter().map(|round| round.muster).collect());
        let has_bare = !bare.is_empty();
        Self {
            scenario: scenario.title(),
            bare: has_bare.then(|| Summary::of(&bare)),
            muster: Summary::of(&muster),
            muster_to_bare: has_bare.then_some(ratios),
            rounds,
        }
    }
}
