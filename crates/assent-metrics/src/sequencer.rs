//! Metrics of the sequencer.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use crate::{GROUPS, ReasonLabel, Stages};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ActLabel {
    act: &'static str,
}

/// What was decided about one subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// A request was permitted.
    Permitted,
    /// A request was denied.
    Denied,
    /// A recorded access relies on a permit.
    Covered,
    /// A recorded access relies on nothing.
    Uncovered,
}

/// Metrics of the sequencer.
pub struct Sequencer {
    /// Durations.
    pub stages: Stages,
    submissions: [Counter; 5],
    refusals: Family<ReasonLabel, Counter>,
    decisions: [Counter; 4],
    acts: Family<ActLabel, Counter>,
    /// Transactions of one group.
    pub group: Histogram,
    /// Submissions under way.
    pub queue_depth: Gauge,
    /// Submissions that may be under way.
    pub queue_capacity: Gauge,
    /// Entries so far.
    pub entries: Gauge,
    /// Entries of the open batch.
    pub open_entries: Gauge,
    /// Sealed batches.
    pub sealed_batches: Gauge,
    /// Batches that a prover has reported as checkpointed.
    pub proven_batches: Gauge,
    /// Second, since 1970, of the oldest sealed batch that is not proven; 0 where there is none.
    pub unproven_since: Gauge,
    /// Followers of the batch stream.
    pub followers: Gauge,
}

/// What became of a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Submission {
    /// Sequenced.
    Sequenced,
    /// Sequenced before.
    Duplicate,
    /// Refused by the rules.
    Refused,
    /// Not valid whatever the state.
    Invalid,
    /// Nobody waited for it any more.
    Abandoned,
}

impl Sequencer {
    pub(crate) fn register(registry: &mut Registry, stages: Stages) -> Self {
        let submissions: Family<ResultLabel, Counter> = Family::default();
        let results = ["sequenced", "duplicate", "refused", "invalid", "abandoned"];
        let decisions: Family<OutcomeLabel, Counter> = Family::default();
        let outcomes = ["permitted", "denied", "covered", "uncovered"];
        let sequencer = Self {
            stages,
            submissions: results.map(|result| submissions.get_or_create(&ResultLabel { result }).clone()),
            refusals: Family::default(),
            decisions: outcomes.map(|outcome| decisions.get_or_create(&OutcomeLabel { outcome }).clone()),
            acts: Family::default(),
            group: Histogram::new(GROUPS),
            queue_depth: Gauge::default(),
            queue_capacity: Gauge::default(),
            entries: Gauge::default(),
            open_entries: Gauge::default(),
            sealed_batches: Gauge::default(),
            proven_batches: Gauge::default(),
            unproven_since: Gauge::default(),
            followers: Gauge::default(),
        };
        registry.register("assent_submissions", "Transactions judged, by what became of them", submissions);
        registry.register("assent_refusals", "Signed refusals, by reason", sequencer.refusals.clone());
        registry.register("assent_decisions", "Decisions about one subject each, by outcome", decisions);
        registry.register("assent_entries_by_act", "Entries, by act", sequencer.acts.clone());
        registry.register(
            "assent_group_transactions",
            "Transactions that shared one synced write",
            sequencer.group.clone(),
        );
        for (name, help, gauge) in [
            ("assent_queue_depth", "Submissions under way", &sequencer.queue_depth),
            ("assent_queue_capacity", "Submissions that may be under way", &sequencer.queue_capacity),
            ("assent_entries", "Entries so far", &sequencer.entries),
            ("assent_open_batch_entries", "Entries of the open batch", &sequencer.open_entries),
            ("assent_sealed_batches", "Batches sealed so far", &sequencer.sealed_batches),
            (
                "assent_proven_batches",
                "Batches that the prover has reported as checkpointed",
                &sequencer.proven_batches,
            ),
            (
                "assent_unproven_since_timestamp_seconds",
                "Time of the oldest sealed batch that no prover has checkpointed; 0 where there is none",
                &sequencer.unproven_since,
            ),
            ("assent_batch_followers", "Followers of the batch stream", &sequencer.followers),
        ] {
            registry.register(name, help, gauge.clone());
        }
        sequencer
    }

    /// A transaction was judged.
    pub fn judged(&self, submission: Submission) {
        if let Some(counter) = self.submissions.get(submission as usize) {
            counter.inc();
        }
    }

    /// Begins counting these at 0, so that the first is seen as an increase.
    pub fn begin(&self, refusals: impl IntoIterator<Item = &'static str>) {
        for reason in refusals {
            drop(self.refusals.get_or_create(&ReasonLabel { reason }));
        }
        for act in ["open_account", "grant_consent", "revoke_consent", "request_access", "record_access"] {
            drop(self.acts.get_or_create(&ActLabel { act }));
        }
    }

    /// It was refused.
    pub fn refused(&self, reason: &'static str) {
        self.judged(Submission::Refused);
        self.refusals.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// A decision about one subject.
    pub fn decided(&self, decision: Decision) {
        if let Some(counter) = self.decisions.get(decision as usize) {
            counter.inc();
        }
    }

    /// An entry of this act.
    pub fn act(&self, act: &'static str) {
        self.acts.get_or_create(&ActLabel { act }).inc();
    }
}
