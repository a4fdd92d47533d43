//! Metrics of provers and validators, and of the base chain as they see it.

use std::fmt;

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::Stages;

/// How far batches have come here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tier {
    /// Executed again and committed.
    Executed,
    /// Under a checkpoint of the prover.
    Checkpointed,
    /// On the base chain.
    Anchored,
    /// Deep enough on it.
    Confirmed,
}

impl EncodeLabelValue for Tier {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        let name = match self {
            Self::Executed => "executed",
            Self::Checkpointed => "checkpointed",
            Self::Anchored => "anchored",
            Self::Confirmed => "confirmed",
        };
        name.encode(encoder)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TierLabel {
    tier: Tier,
}

/// Metrics of a prover or validator.
pub struct Follower {
    /// Durations.
    pub stages: Stages,
    tiers: [Gauge; 4],
    since: [Gauge; 4],
    /// Entries executed again.
    pub entries: Gauge,
    /// 1 where it has halted for good.
    pub halted: Gauge,
    /// 1 while it follows the sequencer.
    pub following: Gauge,
    /// Connections to the sequencer that ended.
    pub disconnects: Counter,
    /// Cosignatures taken in or made.
    pub cosignatures: Counter,
    /// State records in the tree.
    pub state_keys: Gauge,
    /// Height of the base chain.
    pub base_height: Gauge,
    /// Reorganisations seen.
    pub base_reorganisations: Counter,
    /// Steps of following the base chain that failed.
    pub base_errors: Counter,
    /// 1 while anchoring waits for somebody to act.
    pub anchoring_stopped: Gauge,
    /// Anchors on the base chain.
    pub anchors: Gauge,
    /// Versions of the anchor under way that were broadcast and are not confirmed.
    pub unconfirmed_anchors: Gauge,
    /// Fee rate of the newest version, in satoshi for 1,000 virtual bytes.
    pub anchor_fee_rate: Gauge,
    /// Fees of the versions made since the start, in satoshi.
    pub anchor_fees: Counter,
    /// 1 while an anchor waits because its fee is at the cap.
    pub fee_capped: Gauge,
    /// What the wallet can spend, in satoshi; -1 without one.
    pub wallet_balance: Gauge,
}

impl Follower {
    pub(crate) fn register(registry: &mut Registry, stages: Stages) -> Self {
        let tiers: Family<TierLabel, Gauge> = Family::default();
        let since: Family<TierLabel, Gauge> = Family::default();
        let each = [Tier::Executed, Tier::Checkpointed, Tier::Anchored, Tier::Confirmed];
        let of = |family: &Family<TierLabel, Gauge>, tier| family.get_or_create(&TierLabel { tier }).clone();
        let follower = Self {
            stages,
            tiers: each.map(|tier| of(&tiers, tier)),
            since: each.map(|tier| of(&since, tier)),
            entries: Gauge::default(),
            halted: Gauge::default(),
            following: Gauge::default(),
            disconnects: Counter::default(),
            cosignatures: Counter::default(),
            state_keys: Gauge::default(),
            base_height: Gauge::default(),
            base_reorganisations: Counter::default(),
            base_errors: Counter::default(),
            anchoring_stopped: Gauge::default(),
            anchors: Gauge::default(),
            unconfirmed_anchors: Gauge::default(),
            anchor_fee_rate: Gauge::default(),
            anchor_fees: Counter::default(),
            fee_capped: Gauge::default(),
            wallet_balance: Gauge::default(),
        };
        registry.register("assent_tier_batches", "Batches that have reached a tier here", tiers);
        registry.register(
            "assent_tier_waiting_since_timestamp_seconds",
            "Time of the oldest batch known here that has not reached a tier; 0 where there is none",
            since,
        );
        for (name, help, gauge) in [
            ("assent_executed_entries", "Entries executed again", &follower.entries),
            ("assent_halted", "1 where it has halted for good", &follower.halted),
            ("assent_following", "1 while it follows the sequencer", &follower.following),
            ("assent_state_keys", "State records in the state tree", &follower.state_keys),
            ("assent_base_height", "Height of the base chain", &follower.base_height),
            (
                "assent_anchoring_stopped",
                "1 while anchoring waits for somebody to act",
                &follower.anchoring_stopped,
            ),
            ("assent_anchors", "Anchors on the base chain", &follower.anchors),
            (
                "assent_anchor_versions_unconfirmed",
                "Broadcast versions of the anchor under way",
                &follower.unconfirmed_anchors,
            ),
            (
                "assent_anchor_fee_rate_satoshi_per_kvb",
                "Fee rate of the newest version of an anchor",
                &follower.anchor_fee_rate,
            ),
            (
                "assent_anchor_fee_capped",
                "1 while an anchor waits because its fee is at the cap",
                &follower.fee_capped,
            ),
            (
                "assent_wallet_balance_satoshi",
                "What the wallet can spend; -1 without one",
                &follower.wallet_balance,
            ),
        ] {
            registry.register(name, help, gauge.clone());
        }
        for (name, help, counter) in [
            ("assent_follow_disconnects", "Connections to the sequencer that ended", &follower.disconnects),
            ("assent_cosignatures", "Cosignatures taken in or made", &follower.cosignatures),
            (
                "assent_base_reorganisations",
                "Reorganisations of the base chain that were seen",
                &follower.base_reorganisations,
            ),
            ("assent_base_errors", "Steps of following the base chain that failed", &follower.base_errors),
            (
                "assent_anchor_fees_satoshi",
                "Fees of the versions of anchors made since the start",
                &follower.anchor_fees,
            ),
        ] {
            registry.register(name, help, counter.clone());
        }
        follower
    }

    /// So many batches have reached a tier; the oldest known one that has not is of this second, or 0.
    pub fn reached(&self, tier: Tier, batches: u64, waiting_since_s: u64) {
        let signed = |value| i64::try_from(value).unwrap_or(i64::MAX);
        if let (Some(gauge), Some(since)) = (self.tiers.get(tier as usize), self.since.get(tier as usize)) {
            gauge.set(signed(batches));
            since.set(signed(waiting_since_s));
        }
    }

    /// Counts up to what somebody else counted.
    pub fn count_to(counter: &Counter, total: u64) {
        counter.inc_by(total.saturating_sub(counter.get()));
    }
}
