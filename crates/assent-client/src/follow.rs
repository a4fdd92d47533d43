//! Following a transaction through its tiers.

use std::time::Duration;

use assent_core::TransactionId;
use assent_proto::v1::{self as proto, Tier, TierStatus};
use tokio::sync::mpsc;
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::Code;

use crate::{Client, ClientError};

/// How often the sequencer is asked whether the batch is sealed, until the prover knows it.
const POLL: Duration = Duration::from_millis(100);
/// Pause before the prover is asked again after its stream broke.
const RECONNECT: Duration = Duration::from_millis(500);

impl Client {
    /// Every change of a transaction's tier, the present one first: what only the sequencer knows (`SEQUENCED`, `SEALED`),
    /// then what the prover tells. A reorganisation of the base chain takes a tier back. The stream goes on over restarts of
    /// the prover, and ends only with an error or when it is dropped.
    ///
    /// # Errors
    /// [`ClientError`] where the sequencer does not know the transaction.
    pub async fn follow(
        &self,
        id: TransactionId,
    ) -> Result<impl Stream<Item = Result<TierStatus, ClientError>> + use<>, ClientError> {
        let (sender, receiver) = mpsc::channel(16);
        let client = self.clone();
        let (first, _, sealed) = match self.transaction(id).await {
            Ok(found) => found,
            // Whoever may only submit hears of the tiers all the same, from the prover.
            Err(ClientError::Node(status)) if status.code() == Code::PermissionDenied => {
                tokio::spawn(async move {
                    let _ = client.tell(id, None, &sender).await;
                });
                return Ok(ReceiverStream::new(receiver));
            }
            Err(error) => return Err(error),
        };
        tokio::spawn(async move {
            let status = |tier: Tier| TierStatus {
                tier: tier as i32,
                sequence: first.receipt.entry.sequence,
                batch_number: first.receipt.batch_number,
                ..TierStatus::default()
            };
            // Nobody listens any more where sending fails; the task ends then.
            let _ = client.tell(id, Some((sealed, &status)), &sender).await;
        });
        Ok(ReceiverStream::new(receiver))
    }

    async fn tell(
        &self,
        id: TransactionId,
        known: Option<(bool, &(dyn Fn(Tier) -> TierStatus + Sync))>,
        sender: &mpsc::Sender<Result<TierStatus, ClientError>>,
    ) -> Result<(), mpsc::error::SendError<Result<TierStatus, ClientError>>> {
        let mut waiting = known.filter(|(sealed, _)| !sealed).map(|(_, status)| status);
        if let Some((sealed, status)) = known {
            sender.send(Ok(status(if sealed { Tier::Sealed } else { Tier::Sequenced }))).await?;
        }
        let mut last: Option<TierStatus> = None;
        while !sender.is_closed() {
            let request = proto::WatchTierRequest { transaction_id: id.0.to_vec() };
            let request = match self.ask("/assent.v1.ProverService/WatchTier", request) {
                Ok(request) => request,
                Err(error) => return sender.send(Err(error)).await,
            };
            let mut stream = match self.prover.clone().watch_tier(request).await {
                Ok(response) => response.into_inner(),
                Err(status) if matches!(status.code(), Code::PermissionDenied | Code::Unauthenticated) => {
                    return sender.send(Err(status.into())).await;
                }
                Err(_) => {
                    tokio::time::sleep(RECONNECT).await;
                    continue;
                }
            };
            loop {
                tokio::select! {
                    message = stream.message() => match message {
                        Ok(Some(proto::WatchTierResponse { status: Some(now) })) => {
                            waiting = None;
                            if last.as_ref() != Some(&now) {
                                last = Some(now.clone());
                                sender.send(Ok(now)).await?;
                            }
                        }
                        Ok(Some(_)) => {}
                        Ok(None) | Err(_) => break,
                    },
                    () = tokio::time::sleep(POLL), if waiting.is_some() => match self.transaction(id).await {
                        Ok((_, _, true)) => {
                            if let Some(status) = waiting.take() {
                                sender.send(Ok(status(Tier::Sealed))).await?;
                            }
                        }
                        Ok(_) => {}
                        Err(error) => return sender.send(Err(error)).await,
                    },
                    () = sender.closed() => return Ok(()),
                }
            }
            tokio::time::sleep(RECONNECT).await;
        }
        Ok(())
    }
}
