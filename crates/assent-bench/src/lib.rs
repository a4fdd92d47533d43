//! Load and limits: what a node does under a hospital's day, and what the machine that it runs on could do at most.
//!
//! [`run`] loads any node over its public services: parties and acts from a seed ([`workload`]), everything signed before the
//! measured time, at a fixed rate with latencies from the moments at which sending was meant (so that a stall counts for all
//! who would have waited in it), or as fast as answers come. Every receipt is checked as the SDK checks it.
//! [`limits::measure`] finds the costs that no design avoids, and the rate that follows from them.

mod codec;
pub mod drive;
mod echo;
pub mod ledger;
pub mod limits;
pub mod processes;
pub mod random;
pub mod report;
pub mod tiers;
pub mod workload;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use assent_client::{Client, ClientConfig, ClientError, Dial, ReceiptChecker};
use assent_core::{AccountId, TransactionId};
use thiserror::Error;

use crate::{
    drive::{Counters, Mode, Run, Sample, Shape},
    processes::Watched,
    report::Report,
    tiers::{Tiers, Watch},
    workload::{Found, Lanes, Mix, PopulationSize, Workload},
};

/// Transactions that are signed and kept in memory before the measured time, where half of what is free has room for them: five
/// minutes at 50 thousand a second.
pub const MAX_PREPARED: usize = 15_000_000;
/// Bytes that one takes until its answer has been counted.
const PREPARED_BYTES: u64 = 700;
/// Transactions a second for which the warm-up is prepared; what it reaches decides how many the measured time gets.
const WARM_UP_RATE: f64 = 60_000.0;
/// How much more is prepared than the warm-up's rate would use.
const HEADROOM: f64 = 1.4;
/// How long the prover may take to catch up after the measured time.
const CATCH_UP: Duration = Duration::from_secs(120);
/// The population is set up with so many transactions under way.
const SET_UP_CONCURRENCY: usize = 4_096;
/// Connections at most: so many lanes share out the population.
pub const MAX_CONNECTIONS: u16 = 256;
/// Accounts that are looked up at once.
const LOOK_UPS: usize = 256;
/// Prepared transactions expire so long after they are signed.
const VALIDITY: Duration = Duration::from_secs(12 * 3600);

/// What is to be measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The node.
    pub client: ClientConfig,
    /// Who there is.
    pub population: PopulationSize,
    /// What they do.
    pub mix: Mix,
    /// Of parties and acts.
    pub seed: u64,
    /// How it is sent.
    pub shape: Shape,
    /// Time before the measured time.
    pub warm_up: Duration,
    /// The measured time.
    pub duration: Duration,
    /// Processes to look at.
    pub processes: Vec<Watched>,
}

/// Why there is no measurement.
#[derive(Debug, Error)]
pub enum BenchError {
    /// The node.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Too many to prepare.
    #[error(
        "{wanted} transactions would have to be prepared, at most {most}, for which half of the free memory has room; take a \
         lower rate or a shorter time"
    )]
    TooMany {
        /// How many.
        wanted: usize,
        /// For how many there is room.
        most: usize,
    },
    /// Nothing was sequenced in the warm-up.
    #[error("the node sequenced nothing in the warm-up: {0}")]
    Nothing(String),
    /// The population could not be set up.
    #[error("the population could not be set up: {0}")]
    SetUp(String),
    /// What was granted could not be revoked.
    #[error("it could not be revoked: {0}")]
    PutBack(String),
    /// A stage of the limits.
    #[error("measuring the limits: {0}")]
    Limits(String),
}

/// Where progress is told: a line that replaces the one before.
pub type Progress<'a> = &'a (dyn Fn(&str) + Sync);

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

struct Bench<'a> {
    plan: &'a Plan,
    dial: Dial,
    receipts: ReceiptChecker,
    tell: Progress<'a>,
}

/// What one phase gave.
struct Phase {
    samples: Vec<Sample>,
    counters: Arc<Counters>,
    sending: Duration,
}

impl Phase {
    /// What went wrong and stays so, by its name: not a clinic that an earlier run opened, and no connection that broke, which was
    /// made again.
    fn lasting_errors(&self) -> Option<String> {
        let errors = self.counters.errors.lock().map(|errors| errors.clone()).unwrap_or_default();
        let passes = ["ACCOUNT_EXISTS", "Unavailable", "Unknown", "STOPPING"];
        let lasting = errors.iter().filter(|(name, _)| !passes.contains(&name.as_str()));
        let told: Vec<String> = lasting.map(|(name, count)| format!("{name} {count} times")).collect();
        (!told.is_empty()).then(|| told.join(", "))
    }
}

/// The consents that a patient has in force; `None` without an account.
async fn consents_of(client: Client, patient: AccountId) -> Result<Option<Vec<TransactionId>>, ClientError> {
    match client.account(patient).await {
        Ok(account) => {
            let ids = account.active_consents.iter().filter_map(|id| id.as_slice().try_into().ok());
            Ok(Some(ids.map(TransactionId).collect()))
        }
        Err(ClientError::Node(status)) if status.code() == tonic::Code::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl Bench<'_> {
    /// Sends, tells how it goes, and stops sending after `time`.
    async fn phase(
        &self,
        what: &str,
        lanes: Lanes,
        shape: Shape,
        time: Duration,
        begun: Instant,
    ) -> Result<Phase, ClientError> {
        let (over, counters) = (Arc::new(AtomicBool::new(false)), Arc::new(Counters::default()));
        let run = Run {
            shape,
            dial: self.dial.clone(),
            receipts: self.receipts.clone(),
            begun,
            over: over.clone(),
            counters: counters.clone(),
        };
        let total = lanes.count();
        let sending = tokio::spawn(async move { run.send(lanes).await });
        tokio::pin!(sending);
        let mut second = tokio::time::interval(Duration::from_secs(1));
        let (mut then, mut sent_until) = (0, None);
        let samples = loop {
            let left = time.saturating_sub(begun.elapsed());
            tokio::select! {
                done = &mut sending => match done {
                    Ok(samples) => break samples?,
                    Err(panic) => std::panic::resume_unwind(panic.into_panic()),
                },
                () = tokio::time::sleep(left), if sent_until.is_none() => {
                    over.store(true, Ordering::Relaxed);
                    sent_until = Some(begun.elapsed());
                }
                _ = second.tick() => {
                    let receipts = counters.receipts.load(Ordering::Relaxed);
                    (self.tell)(&format!(
                        "{what}: {:.0} s, {receipts} of {total} receipts, {} in the last second, {} under way, {} errors",
                        begun.elapsed().as_secs_f64(),
                        receipts - then,
                        counters.under_way.load(Ordering::Relaxed),
                        counters.all_errors(),
                    ));
                    then = receipts;
                }
            }
        };
        Ok(Phase { samples, counters, sending: sent_until.unwrap_or_else(|| begun.elapsed()) })
    }

    /// The consents in force of some patients, in their order.
    async fn consents(
        &self,
        what: &str,
        client: &Client,
        patients: &[AccountId],
    ) -> Result<Vec<Option<Vec<TransactionId>>>, ClientError> {
        let mut found = Vec::with_capacity(patients.len());
        for part in patients.chunks(LOOK_UPS) {
            let asked: Vec<_> =
                part.iter().map(|id| tokio::spawn(consents_of(client.clone(), *id))).collect();
            for answer in asked {
                found.push(
                    answer.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?,
                );
            }
            (self.tell)(&format!("{what}: {} of {} patients", found.len(), patients.len()));
        }
        Ok(found)
    }

    /// What an earlier run left of some patients, in their order.
    async fn find(&self, client: &Client, patients: &[AccountId]) -> Result<Found, ClientError> {
        let found = self.consents("looking what is there", client, patients).await?;
        let count = |ids: Vec<TransactionId>| u32::try_from(ids.len()).unwrap_or(u32::MAX);
        Ok(Found(found.into_iter().map(|ids| ids.map(count)).collect()))
    }

    /// Revokes what the run granted and is in force still: the next run finds the population as it was.
    async fn put_back(&self, client: &Client, workload: &mut Workload) -> Result<(), BenchError> {
        let patients = workload.granting_patients();
        let in_force = self.consents("looking what was granted", client, &patients).await?;
        let in_force: Vec<_> = in_force.into_iter().map(Option::unwrap_or_default).collect();
        let shape =
            Shape { mode: Mode::Stream, concurrency: SET_UP_CONCURRENCY, rate: None, ..self.plan.shape };
        let lanes = workload.revocations(&in_force, shape.connections);
        let phase =
            self.phase("revoking what was granted", lanes, shape, Duration::MAX, Instant::now()).await?;
        phase.lasting_errors().map_or(Ok(()), |errors| Err(BenchError::PutBack(errors)))
    }

    /// Opens the accounts and grants the consents that are not there yet. Gives the rate, or `None` where nothing was missing.
    async fn set_up(&self, client: &Client, workload: &mut Workload) -> Result<Option<f64>, BenchError> {
        let patients = workload.patients();
        let wanted = Some(self.plan.population.consents);
        // Each lane sets up its patients in order, so where the last ones are whole, all are.
        let last = &patients[patients.len().saturating_sub(MAX_CONNECTIONS.into())..];
        if self.find(client, last).await?.0.iter().all(|consents| *consents >= wanted) {
            return Ok(None);
        }
        let begun_with = &patients[..patients.len().min(MAX_CONNECTIONS.into())];
        let there = if self.find(client, begun_with).await?.0.iter().any(Option::is_some) {
            self.find(client, patients).await?
        } else {
            Found::default()
        };
        let shape =
            Shape { mode: Mode::Stream, concurrency: SET_UP_CONCURRENCY, rate: None, ..self.plan.shape };
        let lanes = workload.population(shape.connections, &there, |done, of| {
            (self.tell)(&format!("signing the population: {done} of {of}"));
        });
        let count = lanes.count();
        let begun = Instant::now();
        let phase = self.phase("setting up the population", lanes, shape, Duration::MAX, begun).await?;
        if let Some(errors) = phase.lasting_errors() {
            return Err(BenchError::SetUp(errors));
        }
        Ok(Some(count as f64 / begun.elapsed().as_secs_f64()))
    }
}

/// Transactions that can be prepared.
fn most_prepared() -> usize {
    let room = processes::available_memory().map_or(u64::MAX, |bytes| bytes / 2 / PREPARED_BYTES);
    usize::try_from(room).map_or(MAX_PREPARED, |room| room.min(MAX_PREPARED))
}

/// How many transactions a time takes: at the rate that was asked for, or else at one that is assumed.
fn count(rate: Option<f64>, assumed: f64, time: Duration) -> Result<usize, BenchError> {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "bounded by the arguments of the command"
    )]
    let wanted = (rate.unwrap_or(assumed) * time.as_secs_f64()).ceil() as usize;
    let most = most_prepared();
    match rate {
        Some(_) if wanted > most => Err(BenchError::TooMany { wanted, most }),
        // As fast as answers come, a run ends earlier where all are sent.
        _ => Ok(wanted.min(most)),
    }
}

/// Sets up the population where it is not there yet, warms up, and measures.
///
/// # Errors
/// [`BenchError`].
pub async fn run(plan: &Plan, tell: Progress<'_>) -> Result<Report, BenchError> {
    for time in [plan.warm_up, plan.duration] {
        count(plan.shape.rate, WARM_UP_RATE, time)?;
    }
    let client = Client::connect(plan.client.clone()).await?;
    let dial = Dial::new(plan.client.sequencer.clone(), plan.client.credentials.clone());
    let prover = Dial::new(plan.client.prover.clone(), plan.client.credentials.clone());
    let bench = Bench { plan, dial, receipts: ReceiptChecker::new(client.manifest()), tell };
    let expires = now_ms() + u64::try_from(VALIDITY.as_millis()).unwrap_or(u64::MAX);
    let mut workload =
        Workload::new(client.chain_id(), plan.seed, plan.population, plan.mix, now_ms(), expires);
    let set_up_rate = bench.set_up(&client, &mut workload).await?;

    let shape = plan.shape;
    let prepare = |workload: &mut Workload, what: &str, rate: f64, time: Duration| {
        let count = count(shape.rate, rate, time)?;
        Ok::<_, BenchError>(workload.day(count.max(shape.connections), shape.connections, |done, of| {
            tell(&format!("signing {what}: {done} of {of}"));
        }))
    };
    let lanes = prepare(&mut workload, "the warm-up", WARM_UP_RATE, plan.warm_up)?;
    let begun = Instant::now();
    let warm_up = bench.phase("warming up", lanes, shape, plan.warm_up, begun).await?;
    let warm_up_rate = warm_up.samples.len() as f64 / begun.elapsed().as_secs_f64();
    if warm_up.samples.is_empty() && !plan.warm_up.is_zero() {
        let errors = warm_up.counters.errors.lock().map(|errors| format!("{errors:?}")).unwrap_or_default();
        return Err(BenchError::Nothing(errors));
    }

    let rate = (warm_up_rate * HEADROOM).max(1_000.0);
    let lanes = prepare(&mut workload, "the measured transactions", rate, plan.duration)?;
    let before: Vec<_> = plan.processes.iter().map(|watched| processes::of(watched.pid)).collect();
    let begun = Instant::now();
    let stop = Arc::new(AtomicBool::new(false));
    let watch = Watch::new(&bench.dial, &prover, begun).await?;
    let watching = tokio::spawn(watch.run(stop.clone(), CATCH_UP));
    let measured = bench.phase("measuring", lanes, shape, plan.duration, begun).await?;
    stop.store(true, Ordering::Relaxed);
    tell("waiting for the prover to come in step");
    let tiers: Tiers = match watching.await {
        Ok(tiers) => tiers,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    };
    let used = plan.processes.iter().zip(&before).filter_map(|(watched, before)| {
        let after = processes::of(watched.pid)?;
        Some((watched.name.clone(), processes::between(before.as_ref()?, &after)))
    });
    let used: Vec<_> = used.collect();
    let still_granted = bench.put_back(&client, &mut workload).await.err().map(|error| error.to_string());
    let errors = measured.counters.errors.lock().map(|errors| errors.clone()).unwrap_or_default();
    Ok(Report::new(report::Measured {
        plan,
        chain: client.chain_id(),
        set_up_rate,
        warm_up_rate,
        samples: &measured.samples,
        sending: measured.sending,
        errors,
        reconnects: measured.counters.reconnects.load(Ordering::Relaxed),
        tiers: &tiers,
        used,
        still_granted,
    }))
}
