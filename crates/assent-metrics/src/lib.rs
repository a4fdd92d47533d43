//! The metrics of all roles, in one place, so that the list in `docs/operations.md` can be held to them.
//!
//! Names follow [Prometheus' conventions]: base units (seconds, bytes), `_total` for what only grows. A process exposes
//! those of the roles that it runs. No label holds an id of an account, a transaction or a consent, a code, or anything else
//! of what a client submitted: labels are method names, reasons and stages, of which there are few.
//!
//! [Prometheus' conventions]: https://prometheus.io/docs/practices/naming/

mod follower;
mod gate;
mod pace;
mod process;
mod sequencer;
mod trace;

use std::{fmt, sync::Arc, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder, text::encode},
    metrics::{family::Family, histogram::Histogram, info::Info},
    registry::Registry,
};

pub use follower::{Follower, Tier};
pub use gate::{Gate, REFUSED_CALLS};
pub use pace::Pace;
pub use prometheus_client::{collector::Collector, encoding::DescriptorEncoder};
pub use sequencer::{Decision, Sequencer, Submission};
pub use trace::transaction_span;

/// Media type of what [`Metrics::encode`] gives (OpenMetrics 1.0).
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Bounds of the histograms of durations, in seconds: from a tenth of a millisecond, which one fsync of a good disk takes, to
/// ten minutes, which an anchor may.
const SECONDS: [f64; 21] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0, 30.0, 60.0, 150.0, 300.0, 600.0,
];

/// Transactions of one group, by powers of two.
const GROUPS: [f64; 13] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0];

/// One stage of a transaction's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Sequencer: from its arrival until its signature was checked.
    Admit,
    /// Sequencer: from then until its execution begins.
    Queue,
    /// Sequencer: execution of one group.
    Execute,
    /// Sequencer: the synced write of one group.
    Sync,
    /// Sequencer: hashing and storing one batch.
    Seal,
    /// Prover, validator: executing one batch again, signatures included.
    Reexecute,
    /// Prover, validator: bringing one batch into the state tree.
    StateTree,
    /// Prover, validator: history tree, signature and synced write of one batch.
    Checkpoint,
    /// Prover: from a batch's time until an anchor over it is in a base block.
    Anchor,
}

impl Stage {
    /// All stages, in the order of the way.
    pub const ALL: [Self; 9] = [
        Self::Admit,
        Self::Queue,
        Self::Execute,
        Self::Sync,
        Self::Seal,
        Self::Reexecute,
        Self::StateTree,
        Self::Checkpoint,
        Self::Anchor,
    ];

    /// As the label says it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Admit => "admit",
            Self::Queue => "queue",
            Self::Execute => "execute",
            Self::Sync => "sync",
            Self::Seal => "seal",
            Self::Reexecute => "re_execute",
            Self::StateTree => "state_tree",
            Self::Checkpoint => "checkpoint",
            Self::Anchor => "anchor",
        }
    }
}

impl EncodeLabelValue for Stage {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        self.name().encode(encoder)
    }
}

/// Label of the stage histograms.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StageLabel {
    stage: Stage,
}

/// Label of everything that is counted by a reason, a result or a kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ReasonLabel {
    pub(crate) reason: &'static str,
}

/// Durations of stages. Clones share them.
#[derive(Clone)]
pub struct Stages(Vec<Histogram>);

impl Stages {
    fn register(registry: &mut Registry) -> Self {
        let family: Family<StageLabel, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(SECONDS));
        let stages = Stage::ALL.map(|stage| family.get_or_create(&StageLabel { stage }).clone());
        registry.register("assent_stage_seconds", "Time that one stage of a transaction's way takes", family);
        Self(stages.to_vec())
    }

    /// A stage took so long.
    pub fn observe(&self, stage: Stage, took: Duration) {
        if let Some(histogram) = self.0.get(stage as usize) {
            histogram.observe(took.as_secs_f64());
        }
    }
}

/// All metrics of one process.
pub struct Metrics {
    registry: Registry,
    /// Of the gate that every call passes.
    pub gate: Arc<Gate>,
    /// Of a sequencer, where the process runs one.
    pub sequencer: Arc<Sequencer>,
    /// Of a prover or validator, where the process runs one.
    pub follower: Arc<Follower>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new(true, true)
    }
}

impl Metrics {
    /// Those of the gate and of the process itself, of a sequencer, and of a prover or validator.
    #[must_use]
    pub fn new(sequencer: bool, follower: bool) -> Self {
        let mut registry = Registry::default();
        let version = vec![("version", env!("CARGO_PKG_VERSION"))];
        registry.register("assent_build", "The program", Info::new(version));
        registry.register_collector(Box::new(process::Process));
        let stages = Stages::register(&mut registry);
        // What is not registered is counted by nobody's scrape, and costs nothing.
        let mut unseen = Registry::default();
        let gate = Arc::new(Gate::register(&mut registry));
        let part = if sequencer { &mut registry } else { &mut unseen };
        let sequencer = Arc::new(Sequencer::register(part, stages.clone()));
        let part = if follower { &mut registry } else { &mut unseen };
        let follower = Arc::new(Follower::register(part, stages));
        Self { registry, gate, sequencer, follower }
    }

    /// Adds what is read only when somebody looks.
    pub fn collect(&mut self, collector: Box<dyn Collector>) {
        self.registry.register_collector(collector);
    }

    /// The text that Prometheus reads.
    ///
    /// # Errors
    /// None that a string gives.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_has_a_histogram_and_every_metric_a_name_by_the_conventions() {
        let metrics = Metrics::default();
        for stage in Stage::ALL {
            metrics.sequencer.stages.observe(stage, Duration::from_millis(3));
        }
        let text = metrics.encode().unwrap();
        for stage in Stage::ALL {
            let line = format!("assent_stage_seconds_count{{stage=\"{}\"}} 1", stage.name());
            assert!(text.contains(&line), "{line} is not in\n{text}");
        }
        for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
            let (name, kind) = line.split_once(' ').unwrap();
            assert!(name.starts_with("assent_") || name.starts_with("process_"), "{name}");
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name}");
            // The encoder adds _total to what only grows.
            assert!(!name.ends_with("_total"), "{kind} {name}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn a_process_shows_only_what_it_runs() {
        let text = Metrics::new(true, false).encode().unwrap();
        assert!(text.contains("assent_queue_depth") && !text.contains("assent_base_height"));
        let text = Metrics::new(false, true).encode().unwrap();
        assert!(!text.contains("assent_queue_depth") && text.contains("assent_base_height"));
    }
}
