//! The gRPC services of the event centre. Each call: who is it, what does it ask, one call of the writer or the store,
//! a view of the result.

mod incidents;
mod units;
mod watches;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::metadata::MetadataMap;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use yiwang_proto::incident::v1::incident_service_server::IncidentServiceServer;
use yiwang_proto::incident::v1::unit_service_server::UnitServiceServer;
use yiwang_proto::incident::v1::watch_service_server::WatchServiceServer;

use crate::auth::{self, Caller};
use crate::feed::Feed;
use crate::token::Signer;
use crate::writer::Writer;
use crate::{Config, Error, Parts};

/// Largest message that is taken.
const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// Streams and calls of one connection.
const CONCURRENT_MAX: u32 = 100;
/// A dead peer is found out after this silence.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Calls that are under way at the end may take this long; a shutdown may hang (hyperium/hyper#4170).
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// What every service holds.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) config: Arc<Config>,
    pub(crate) parts: Parts,
    pub(crate) writer: Arc<Writer>,
    pub(crate) feed: Feed,
    pub(crate) signer: Signer,
    pub(crate) stop: CancellationToken,
    /// The open stream of each consumer.
    pub(crate) streams: Arc<Mutex<HashMap<String, CancellationToken>>>,
}

impl Shared {
    pub(crate) fn new(
        config: Arc<Config>,
        parts: Parts,
        writer: Arc<Writer>,
        feed: Feed,
        stop: CancellationToken,
    ) -> Self {
        let signer = Signer::new(config.token_key);
        Self { config, parts, writer, feed, signer, stop, streams: Arc::default() }
    }

    pub(crate) async fn caller(&self, metadata: &MetadataMap) -> Result<Caller, Status> {
        auth::caller(&self.parts.store, metadata, self.writer.now()).await
    }
}

/// Serves until told to stop.
pub(crate) async fn serve(
    shared: Shared,
    listener: TcpListener,
    further: Routes,
    stop: CancellationToken,
) -> Result<(), Error> {
    let incidents = IncidentServiceServer::new(incidents::Service(shared.clone()))
        .max_decoding_message_size(MESSAGE_BYTES_MAX);
    let watches = WatchServiceServer::new(watches::Service(shared.clone()))
        .max_decoding_message_size(MESSAGE_BYTES_MAX);
    let units =
        UnitServiceServer::new(units::Service(shared)).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_serving::<IncidentServiceServer<incidents::Service>>().await;
    reporter.set_serving::<WatchServiceServer<watches::Service>>().await;
    let described = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(yiwang_proto::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let unfit = |error| Error::Halt(format!("the descriptors cannot be reflected: {error}"));
    let reflection = described().build_v1().map_err(unfit)?;
    // The older name of the same service is the only one that Python's client asks for.
    let reflection_alpha = described().build_v1alpha().map_err(unfit)?;
    let routes = further
        .add_service(incidents)
        .add_service(watches)
        .add_service(units)
        .add_service(health)
        .add_service(reflection)
        .add_service(reflection_alpha);
    let server = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .max_concurrent_streams(Some(CONCURRENT_MAX))
        .add_routes(routes)
        .serve_with_incoming_shutdown(
            TcpIncoming::from(listener).with_nodelay(Some(true)),
            stop.clone().cancelled_owned(),
        );
    let late = async {
        stop.cancelled().await;
        tokio::time::sleep(DRAIN_MAX).await;
    };
    tokio::select! {
        served = server => Ok(served?),
        () = late => Ok(()),
    }
}
