//! What a centre answers before it is active: health says NOT_SERVING, every call is UNAVAILABLE with the reason.
//!
//! A centre that waits for the lease of another one holds its port already. It refuses to be silent there: a client
//! that comes to it learns at once that it has to go elsewhere. What else the process serves, it serves from the start.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::marker::PhantomData;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::stream;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::{Code, Status};
use tonic_health::ServingStatus;
use yiwang_proto::incident::v1::incident_service_server::IncidentServiceServer;
use yiwang_proto::incident::v1::unit_service_server::UnitServiceServer;
use yiwang_proto::incident::v1::watch_service_server::WatchServiceServer;

use crate::{Error, caller};

/// Connections that do not end by themselves when the centre becomes active are left after this.
const DRAIN_MAX: Duration = Duration::from_secs(1);

/// Answers for the centre until its turn has come.
pub(crate) async fn serve(
    listener: &TcpListener,
    further: Routes,
    turn: CancellationToken,
) -> Result<(), Error> {
    let (mut reporter, health) = tonic_health::server::health_reporter();
    for name in names() {
        reporter.set_service_status(name, ServingStatus::NotServing).await;
    }
    let routes = further
        .add_service(Inactive::<IncidentServiceServer<()>>(PhantomData))
        .add_service(Inactive::<WatchServiceServer<()>>(PhantomData))
        .add_service(Inactive::<UnitServiceServer<()>>(PhantomData))
        .add_service(health);
    // The listener is only lent: the active centre goes on with it, and no connection is refused in between.
    let incoming = stream::poll_fn(|context| {
        listener.poll_accept(context).map(|accepted| Some(accepted.map(|(socket, _)| socket)))
    });
    let ended = async {
        turn.cancelled().await;
        // A health stream would keep its connection open; its end makes the client look anew.
        for name in names() {
            reporter.clear_service_status(name).await;
        }
    };
    let served = Server::builder().add_routes(routes).serve_with_incoming_shutdown(incoming, ended);
    let late = async {
        turn.cancelled().await;
        tokio::time::sleep(DRAIN_MAX).await;
    };
    tokio::select! {
        served = served => Ok(served?),
        () = late => Ok(()),
    }
}

/// What health is asked for: the whole server, and each service of the centre.
fn names() -> [&'static str; 4] {
    [
        "",
        IncidentServiceServer::<()>::NAME,
        WatchServiceServer::<()>::NAME,
        UnitServiceServer::<()>::NAME,
    ]
}

/// Stands for a service of an active centre.
struct Inactive<S>(PhantomData<fn() -> S>);

impl<S> Clone for Inactive<S> {
    fn clone(&self) -> Self {
        Self(PhantomData)
    }
}

impl<S: NamedService> NamedService for Inactive<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Inactive<S> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Request<Body>) -> Self::Future {
        ready(Ok(inactive().into_http()))
    }
}

fn inactive() -> Status {
    let text = "this centre is not active: another one is, or it still reads the open incidents; \
                connect to the other one, or again";
    caller::status(Code::Unavailable, "NOT_ACTIVE", text)
}
