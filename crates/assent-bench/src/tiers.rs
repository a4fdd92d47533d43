//! When batches reached the tiers above a receipt, as a client sees it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use assent_client::{Authorized, ClientError, Dial};
use assent_proto::v1::{
    self as proto, prover_service_client::ProverServiceClient,
    sequencer_service_client::SequencerServiceClient,
};

/// Pause between two looks: the error of what is told of the tiers.
pub const LOOK: Duration = Duration::from_millis(10);

/// A tier above the receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// In a sealed batch.
    Sealed,
    /// Under a checkpoint that the prover signed.
    Checkpointed,
    /// Under an anchor on the base chain.
    Anchored,
}

impl Tier {
    /// All, in order.
    pub const ALL: [Self; 3] = [Self::Sealed, Self::Checkpointed, Self::Anchored];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sealed => "sealed",
            Self::Checkpointed => "checkpointed",
            Self::Anchored => "anchored",
        }
    }
}

/// Numbers of batches, as they were seen to grow.
#[derive(Clone, Debug, Default)]
pub struct Growth {
    /// Microseconds since the run began, and how many batches there were.
    seen: Vec<(u64, u64)>,
}

impl Growth {
    fn note(&mut self, at_us: u64, batches: u64) {
        if self.seen.last().is_none_or(|(_, known)| *known < batches) {
            self.seen.push((at_us, batches));
        }
    }

    /// When the batch with this number was seen; `None` where it was not.
    #[must_use]
    pub fn reached_us(&self, batch: u64) -> Option<u64> {
        let place = self.seen.partition_point(|(_, batches)| *batches <= batch);
        self.seen.get(place).map(|(at, _)| *at)
    }

    /// How many batches had been seen at a moment.
    #[must_use]
    pub fn at(&self, at_us: u64) -> u64 {
        let place = self.seen.partition_point(|(at, _)| *at <= at_us);
        self.seen[..place].last().map_or(0, |(_, batches)| *batches)
    }

    /// How many batches were seen last.
    #[must_use]
    pub fn newest(&self) -> u64 {
        self.seen.last().map_or(0, |(_, batches)| *batches)
    }
}

/// What was seen of the tiers.
#[derive(Clone, Debug, Default)]
pub struct Tiers {
    /// In the order of [`Tier::ALL`].
    pub growth: [Growth; 3],
    /// Why the sequencer or the prover was not asked.
    pub problems: Vec<String>,
}

/// What a status says. A server that lacks a service says nothing beside the code.
fn why(status: &tonic::Status) -> String {
    match (status.code(), status.message()) {
        (tonic::Code::Unimplemented, _) => "there is no such service at that address".into(),
        (code, "") => code.description().into(),
        (_, message) => message.into(),
    }
}

/// Looks at the sequencer and the prover until told to stop, or until `enough` holds of what was seen.
pub struct Watch {
    sequencer: SequencerServiceClient<Authorized>,
    prover: Option<ProverServiceClient<Authorized>>,
    begun: Instant,
    tiers: Tiers,
}

impl Watch {
    /// Connects. The prover is left out where it does not answer, and the tiers say so.
    ///
    /// # Errors
    /// [`ClientError`] where an address cannot be used.
    pub async fn new(sequencer: &Dial, prover: &Dial, begun: Instant) -> Result<Self, ClientError> {
        let mut watch = Self {
            sequencer: SequencerServiceClient::new(sequencer.channel(&sequencer.endpoint()?)?),
            prover: Some(ProverServiceClient::new(prover.channel(&prover.endpoint()?)?)),
            begun,
            tiers: Tiers::default(),
        };
        watch.look(true).await;
        Ok(watch)
    }

    /// Looks once. At the first look, who does not answer is left out from then on.
    async fn look(&mut self, first: bool) {
        let at = u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        match self.sequencer.get_sequencer_status(proto::GetSequencerStatusRequest {}).await {
            Ok(status) => self.tiers.growth[0].note(at, status.into_inner().sealed_batches),
            Err(status) if first => self.tiers.problems.push(format!("sealed: {}", why(&status))),
            Err(_) => {}
        }
        if let Some(prover) = &mut self.prover {
            let answer = prover.get_prover_status(proto::GetProverStatusRequest {}).await;
            let at = u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX);
            match answer {
                Ok(status) => {
                    let status = status.into_inner();
                    self.tiers.growth[1].note(at, status.checkpoint_size);
                    self.tiers.growth[2].note(at, status.anchored_batches);
                }
                Err(status) if first => {
                    self.tiers.problems.push(format!("checkpointed and anchored: {}", why(&status)));
                    self.prover = None;
                }
                Err(_) => {}
            }
        }
    }

    /// Looks until `stop` is set; then until the prover has checkpointed what is sealed, at most for `patience`.
    pub async fn run(mut self, stop: Arc<AtomicBool>, patience: Duration) -> Tiers {
        while !stop.load(Ordering::Relaxed) {
            self.look(false).await;
            tokio::time::sleep(LOOK).await;
        }
        let sealed_soon = Instant::now() + Duration::from_secs(2);
        let given_up = Instant::now() + patience;
        loop {
            self.look(false).await;
            let now = Instant::now();
            let in_step =
                self.prover.is_none() || self.tiers.growth[1].newest() >= self.tiers.growth[0].newest();
            if (now >= sealed_soon && in_step) || now >= given_up {
                return self.tiers;
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_reached_when_there_are_more() {
        let mut growth = Growth::default();
        for (at, batches) in [(10, 0), (20, 1), (30, 1), (40, 4)] {
            growth.note(at, batches);
        }
        assert_eq!([0, 1, 3, 4].map(|batch| growth.reached_us(batch)), [Some(20), Some(40), Some(40), None]);
        assert_eq!(growth.newest(), 4);
    }
}
