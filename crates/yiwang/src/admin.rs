//! The administration service: what the commands of this machine's engineers ask of a running hub, whose data folder
//! is locked. It opens to the key in DATA/keys/admin only.

use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;
use tonic::{Request, Response, Status};
use yiwang_core::ledger::Stage;
use yiwang_log::{Log, Scan};
use yiwang_proto::admin::v1;
use yiwang_proto::admin::v1::admin_service_server::{AdminService, AdminServiceServer};
use yiwang_router::trace::Wanted;

use crate::keys::{self, Keys};
use crate::ledger::Sources;
use crate::readiness::Readiness;
use crate::reload::{Reload, Told};
use crate::{alarm, logs, settings, trace};

/// Records that wait for the reader.
const QUEUE_MAX: usize = 1_024;
/// Traces at a time: each replays a partition.
const TRACES_MAX: usize = 1;

/// The service as routes of the gRPC server.
pub fn routes(
    log: Log,
    sources: Sources,
    readiness: Arc<Readiness>,
    reload: Arc<Reload>,
    keys: &Keys,
) -> Routes {
    let token = format!("Bearer {}", keys::to_hex(&keys.admin));
    let started_at = jiff::Timestamp::now().as_millisecond();
    let traces = Semaphore::new(TRACES_MAX);
    let service = Service { log, sources, readiness, reload, traces, token, started_at };
    Routes::new(AdminServiceServer::new(service))
}

struct Service {
    log: Log,
    sources: Sources,
    readiness: Arc<Readiness>,
    reload: Arc<Reload>,
    traces: Semaphore,
    token: String,
    started_at: i64,
}

impl Service {
    fn check<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let given =
            request.metadata().get("authorization").map(tonic::metadata::MetadataValue::as_bytes);
        // Equal hashes, not equal bytes: the time of the comparison says nothing of the key.
        let same =
            given.is_some_and(|given| blake3::hash(given) == blake3::hash(self.token.as_bytes()));
        same.then_some(()).ok_or_else(|| {
            let text = "not the administration key: run the command on the hub's machine with its --data folder";
            yiwang_proto::status::status(tonic::Code::Unauthenticated, "TOKEN_UNKNOWN", text, &[])
        })
    }
}

#[tonic::async_trait]
impl AdminService for Service {
    type ReadLogStream = Pin<Box<dyn Stream<Item = Result<v1::ReadLogResponse, Status>> + Send>>;

    async fn get_ledger(
        &self,
        request: Request<v1::GetLedgerRequest>,
    ) -> Result<Response<v1::GetLedgerResponse>, Status> {
        self.check(&request)?;
        let counters = self.sources.counters().await.map_err(internal)?;
        let int = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let mut rows = Vec::new();
        for stage in Stage::ALL {
            let (left, right) = stage.equation();
            let fates: Vec<_> = counters
                .iter()
                .filter(|(of, row, _, _)| *of == stage && !left.contains(row))
                .map(|(_, row, reason, count)| v1::LedgerFate {
                    name: if reason.is_empty() {
                        row.to_owned()
                    } else {
                        format!("{row}:{reason}")
                    },
                    count: int(count),
                })
                .collect();
            if fates.is_empty() {
                continue;
            }
            rows.push(v1::LedgerRow {
                stage: stage.as_str().to_owned(),
                equation: format!("{} = {}", left.join(" + "), right.join(" + ")),
                total: int(left.iter().map(|row| counters.row(stage, row)).sum()),
                fates,
                imbalance: i64::try_from(counters.imbalance(stage)).unwrap_or(i64::MAX),
            });
        }
        Ok(Response::new(v1::GetLedgerResponse { rows }))
    }

    async fn get_health(
        &self,
        request: Request<v1::GetHealthRequest>,
    ) -> Result<Response<v1::GetHealthResponse>, Status> {
        self.check(&request)?;
        let missing = self.readiness.missing();
        let parts = missing.iter().map(|reason| {
            let (name, detail) = reason.split_once(": ").unwrap_or((reason, ""));
            v1::Part { name: name.to_owned(), ok: false, detail: detail.to_owned() }
        });
        Ok(Response::new(v1::GetHealthResponse {
            build: settings::BUILD.to_owned(),
            start_time: Some(yiwang_proto::view::timestamp(self.started_at)),
            ready: missing.is_empty(),
            parts: parts.collect(),
        }))
    }

    async fn read_log(
        &self,
        request: Request<v1::ReadLogRequest>,
    ) -> Result<Response<Self::ReadLogStream>, Status> {
        self.check(&request)?;
        let asked = request.into_inner();
        if self.log.topic(&asked.topic).is_none() {
            return Err(Status::invalid_argument(format!(
                "no topic {}; see `yiwang log read --help`",
                asked.topic
            )));
        }
        let scan = logs::scan(&self.log, &asked.topic).await.map_err(internal)?;
        let (sender, receiver) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(async move {
            if let Err(error) = send_records(scan, &asked, &sender).await {
                // A reader that has gone needs no answer.
                let _ = sender.send(Err(internal(error))).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn trace(
        &self,
        request: Request<v1::TraceRequest>,
    ) -> Result<Response<v1::TraceResponse>, Status> {
        self.check(&request)?;
        let wanted = Wanted::parse(&request.into_inner().id).ok_or_else(|| {
            Status::invalid_argument("an id is 32 hexadecimal digits, or raw/PARTITION/SEQ")
        })?;
        let _only = self.traces.try_acquire().map_err(|_| {
            Status::resource_exhausted("another trace is being told; ask again after it")
        })?;
        let bundle = self.reload.bundle();
        let told = yiwang_router::trace::trace(&self.log, &bundle.router, wanted).await;
        let told = told.map_err(|error| internal(error.into()))?;
        let told = told.ok_or_else(|| Status::not_found("nothing that is kept is it"))?;
        let mut told = trace::to_json(&told);
        if let Some(store) = self.sources.store() {
            trace::add_outcomes(&store, &mut told).await.map_err(|error| internal(error.into()))?;
        }
        Ok(Response::new(v1::TraceResponse { json: told.to_string() }))
    }

    async fn reload(
        &self,
        request: Request<v1::ReloadRequest>,
    ) -> Result<Response<v1::ReloadResponse>, Status> {
        self.check(&request)?;
        let Told { taken, epoch, roles, problems, .. } = self.reload.reload().await;
        let roles = roles.into_iter().map(str::to_owned).collect();
        let configuration = epoch.to_string();
        Ok(Response::new(v1::ReloadResponse { taken, configuration, roles, problems }))
    }

    async fn clear_alarm(
        &self,
        request: Request<v1::ClearAlarmRequest>,
    ) -> Result<Response<v1::ClearAlarmResponse>, Status> {
        self.check(&request)?;
        let asked = request.into_inner();
        let bundle = self.reload.bundle();
        alarm::check(&bundle, &asked)?;
        Ok(Response::new(alarm::append(&self.log, &bundle.registry, &asked).await?))
    }
}

async fn send_records(
    mut scan: Scan,
    asked: &v1::ReadLogRequest,
    out: &mpsc::Sender<Result<v1::ReadLogResponse, Status>>,
) -> anyhow::Result<()> {
    let mut left = if asked.records_max == 0 { u64::MAX } else { asked.records_max };
    while let Some(records) = scan.next().await? {
        let wanted: Vec<_> = scan
            .of(&records)
            .filter(|record| {
                record.seq >= asked.from_seq && (asked.key.is_empty() || asked.key == record.key)
            })
            .map(|record| v1::ReadLogResponse {
                partition: u32::from(records.partition),
                seq: record.seq,
                key: record.key.to_vec().into(),
                value: record.value.to_vec().into(),
            })
            .collect();
        for response in wanted {
            if left == 0 || out.send(Ok(response)).await.is_err() {
                return Ok(());
            }
            left -= 1;
        }
    }
    Ok(())
}

fn internal(error: anyhow::Error) -> Status {
    tracing::warn!(error = format!("{error:#}"), "an administration call failed");
    Status::internal(format!("{error:#}"))
}
