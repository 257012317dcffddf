//! Opens streams and keeps what their readers acknowledge.

use std::pin::Pin;
use std::sync::{Arc, PoisonError};

use futures::StreamExt;
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status};
use yiwang_core::incident::UnitId;
use yiwang_proto::incident::v1;
use yiwang_proto::incident::v1::watch_service_server::WatchService;
use yiwang_store::Cursor;

use super::Shared;
use crate::token::Audience;
use crate::watch::{Filter, Item, Queued, Stream};
use crate::{caller, metrics};

/// Longest name of a consumer, in bytes.
const NAME_BYTES_MAX: usize = 64;

pub(crate) struct Service(pub(crate) Shared);

/// A consumer of a unit with its filter.
struct Consumer {
    /// Unit and name: unique in the store.
    id: String,
    audience: Audience,
}

impl Consumer {
    fn new(unit: &str, name: &str, filter: Option<&v1::Filter>) -> Result<Self, Status> {
        let word = |c: char| c.is_ascii_alphanumeric() || "-_.:@".contains(c);
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(word) {
            return Err(caller::bad_argument(
                "consumer",
                "give a name of 1 to 64 letters, digits, - _ . : @",
            ));
        }
        let filter = filter.map(Message::encode_to_vec).unwrap_or_default();
        let audience = Audience::new(unit, name, &filter);
        Ok(Self { id: format!("{unit}/{name}"), audience })
    }
}

#[tonic::async_trait]
impl WatchService for Service {
    type WatchStream = Pin<Box<dyn futures::Stream<Item = Item> + Send>>;

    async fn watch(
        &self,
        request: Request<v1::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let who = self.0.caller(request.metadata()).await?;
        let request = request.into_inner();
        let unit = self.look_as(&who.unit, &request.unit)?;
        let consumer = Consumer::new(&unit, &request.consumer, request.filter.as_ref())?;
        let limit = self.0.config.unsent_changes_max;
        let wanted = usize::try_from(request.unsent_max)
            .map_err(|_| caller::bad_argument("unsent_max", "it is negative"))?;
        let (out, queue) = mpsc::channel(if wanted == 0 { limit } else { wanted.min(limit) });
        let queued = Arc::new(Queued::default());
        let taken_over = CancellationToken::new();
        let mut stream = Stream {
            shared: self.0.clone(),
            caller: who,
            unit,
            consumer: consumer.id.clone(),
            audience: consumer.audience,
            filter: Filter::read(request.filter.unwrap_or_default(), &self.0.parts.district())?,
            out,
            queued: Arc::clone(&queued),
            taken_over: taken_over.clone(),
            sent: 0,
            acked: 0,
        };
        let snapshot = request.token.is_empty();
        if !snapshot {
            stream.resume(&request.token).await?;
        }
        self.take_place(&consumer.id, &taken_over)?;
        let streams = Arc::clone(&self.0.streams);
        let stop = self.0.stop.clone();
        tokio::spawn(async move {
            stream.run(snapshot, stop).await;
            let mut streams = streams.lock().unwrap_or_else(PoisonError::into_inner);
            // A newer stream of the same consumer has its own entry by now.
            if !taken_over.is_cancelled() {
                streams.remove(&consumer.id);
            }
            metrics::record_streams(streams.len());
        });
        let counts = Arc::clone(&queued);
        let items = ReceiverStream::new(queue).inspect(move |item| counts.sent(item));
        let last = futures::stream::once(async move { queued.take_end() });
        let items = items.chain(last.filter_map(async |end| end.map(Err)));
        Ok(Response::new(Box::pin(items)))
    }

    async fn ack(
        &self,
        request: Request<v1::AckRequest>,
    ) -> Result<Response<v1::AckResponse>, Status> {
        let who = self.0.caller(request.metadata()).await?;
        let request = request.into_inner();
        let unit = self.look_as(&who.unit, &request.unit)?;
        let consumer = Consumer::new(&unit, &request.consumer, None)?;
        let opened =
            caller::open_token(&self.0.signer, consumer.audience.consumer, &request.token)?;
        let place = opened.place;
        let cursor = Cursor {
            consumer: consumer.id,
            unit,
            scope: opened.audience.view.to_string(),
            epoch: place.log_epoch,
            seq: u64::try_from(place.seq).unwrap_or_default(),
            seen_at: self.0.writer.now(),
        };
        self.0.parts.store.set_cursor(&cursor).await.map_err(caller::store_failed)?;
        Ok(Response::new(v1::AckResponse {}))
    }
}

impl Service {
    /// The unit whose sight is asked for: the caller's own, or one in its subtree.
    fn look_as(&self, own: &UnitId, asked: &str) -> Result<UnitId, Status> {
        if asked.is_empty() || *asked == **own {
            return Ok(Arc::clone(own));
        }
        let district = self.0.parts.district();
        let unit = district.unit(asked).filter(|unit| district.in_subtree(&unit.id, own));
        let unit = unit.ok_or_else(|| {
            caller::status(
                Code::PermissionDenied,
                "NOT_YOURS",
                "unit: not in the subtree of the token's unit",
            )
        })?;
        Ok(Arc::clone(&unit.id))
    }

    /// The newest stream of a consumer wins; one stream too many in all is refused.
    fn take_place(&self, id: &str, taken_over: &CancellationToken) -> Result<(), Status> {
        let mut streams = self.0.streams.lock().unwrap_or_else(PoisonError::into_inner);
        if streams.len() >= self.0.config.streams_max && !streams.contains_key(id) {
            let text = "centre.streams_max streams are open; close one";
            return Err(caller::status(Code::ResourceExhausted, "STREAMS_MAX", text));
        }
        if let Some(older) = streams.insert(id.to_owned(), taken_over.clone()) {
            older.cancel();
        }
        metrics::record_streams(streams.len());
        Ok(())
    }
}
