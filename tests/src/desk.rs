//! A duty desk as a partner's program has it: the hub's gRPC services with the token of one unit.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Runtime;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use yiwang_proto::incident::v1;
use yiwang_proto::incident::v1::act_request::Action;
use yiwang_proto::incident::v1::incident_service_client::IncidentServiceClient;
use yiwang_proto::incident::v1::watch_response::Item;
use yiwang_proto::incident::v1::watch_service_client::WatchServiceClient;

use crate::wait::until;

/// Incidents of one page.
const PAGE: i32 = 200;

/// The services in the name of one unit.
pub struct Desk {
    runtime: Arc<Runtime>,
    channel: Channel,
    token: String,
}

/// What a stream has brought so far, and how it ended.
#[derive(Default)]
struct Brought {
    items: Vec<Item>,
    ended: Option<Status>,
}

/// An open stream.
pub struct Watch {
    brought: Arc<Mutex<Brought>>,
    reading: tokio::task::JoinHandle<()>,
    /// The stream may outlive the desk that opened it.
    _runtime: Arc<Runtime>,
}

impl Desk {
    /// Connects when first used.
    #[must_use]
    pub fn new(address: SocketAddr, token: &str) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = Arc::new(runtime.expect("a runtime for a client"));
        let channel = runtime.block_on(async {
            let endpoint = Endpoint::from_shared(format!("http://{address}"));
            endpoint
                .expect("an address makes a URL")
                .timeout(Duration::from_secs(30))
                .connect_lazy()
        });
        Self { runtime, channel, token: token.to_owned() }
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let token = MetadataValue::try_from(format!("Bearer {}", self.token));
        request.metadata_mut().insert("authorization", token.expect("a token is ASCII"));
        request
    }

    fn incidents(&self) -> IncidentServiceClient<Channel> {
        IncidentServiceClient::new(self.channel.clone())
    }

    /// Opens a stream; what it brings is collected from now on.
    ///
    /// # Errors
    /// The hub's refusal.
    pub fn watch(&self, consumer: &str, token: &[u8]) -> Result<Watch, Status> {
        // A stream has no deadline, so it has a connection of its own.
        let mut client = WatchServiceClient::new(self.channel.clone());
        let message = v1::WatchRequest {
            consumer: consumer.to_owned(),
            token: token.to_vec(),
            ..v1::WatchRequest::default()
        };
        let opened = self.runtime.block_on(client.watch(self.request(message)))?;
        let mut stream = opened.into_inner();
        let brought = Arc::<Mutex<Brought>>::default();
        let into = Arc::clone(&brought);
        let reading = self.runtime.spawn(async move {
            loop {
                let next = stream.message().await;
                let mut brought = into.lock().unwrap_or_else(PoisonError::into_inner);
                match next {
                    Ok(Some(response)) => brought.items.extend(response.item),
                    Ok(None) => break,
                    Err(status) => {
                        brought.ended = Some(status);
                        break;
                    }
                }
            }
        });
        Ok(Watch { brought, reading, _runtime: Arc::clone(&self.runtime) })
    }

    /// Lets a person of this unit act.
    ///
    /// # Errors
    /// The hub's refusal.
    pub fn act(
        &self,
        name: &str,
        request_id: &str,
        person: &str,
        action: Action,
    ) -> Result<v1::Incident, Status> {
        self.act_seen(name, request_id, person, "", action)
    }

    /// The same on the version that the person has seen.
    ///
    /// # Errors
    /// The hub's refusal.
    pub fn act_seen(
        &self,
        name: &str,
        request_id: &str,
        person: &str,
        etag: &str,
        action: Action,
    ) -> Result<v1::Incident, Status> {
        let message = v1::ActRequest {
            name: name.to_owned(),
            request_id: request_id.to_owned(),
            etag: etag.to_owned(),
            person: person.to_owned(),
            unit: String::new(),
            action: Some(action),
        };
        let answer = self.runtime.block_on(self.incidents().act(self.request(message)))?;
        Ok(answer.into_inner().incident.unwrap_or_default())
    }

    /// One incident with its history.
    ///
    /// # Errors
    /// The hub's refusal.
    pub fn get(&self, name: &str) -> Result<v1::GetIncidentResponse, Status> {
        let message = v1::GetIncidentRequest { name: name.to_owned() };
        let answer = self.runtime.block_on(self.incidents().get_incident(self.request(message)))?;
        Ok(answer.into_inner())
    }

    /// Reports something.
    ///
    /// # Errors
    /// The hub's refusal.
    pub fn report(&self, message: v1::ReportRequest) -> Result<v1::ReportResponse, Status> {
        let answer = self.runtime.block_on(self.incidents().report(self.request(message)))?;
        Ok(answer.into_inner())
    }

    /// Every incident in sight in one of these states.
    ///
    /// # Errors
    /// The hub's refusal.
    pub fn list(&self, states: &[v1::State]) -> Result<Vec<v1::Incident>, Status> {
        let filter = v1::Filter {
            states: states.iter().map(|&state| state.into()).collect(),
            ..v1::Filter::default()
        };
        let (mut all, mut page_token) = (Vec::new(), String::new());
        loop {
            let message = v1::ListIncidentsRequest {
                filter: Some(filter.clone()),
                page_size: PAGE,
                page_token,
            };
            let answer =
                self.runtime.block_on(self.incidents().list_incidents(self.request(message)))?;
            let page = answer.into_inner();
            all.extend(page.incidents);
            if page.next_page_token.is_empty() {
                return Ok(all);
            }
            page_token = page.next_page_token;
        }
    }
}

impl Watch {
    /// Waits for the first item that fits.
    ///
    /// # Errors
    /// What came instead, after `limit`.
    pub fn wait_for<T>(
        &self,
        what: &str,
        limit: Duration,
        mut fits: impl FnMut(&Item) -> Option<T>,
    ) -> Result<T, String> {
        until(what, limit, || {
            let brought = self.brought.lock().unwrap_or_else(PoisonError::into_inner);
            brought
                .items
                .iter()
                .find_map(&mut fits)
                .ok_or_else(|| format!("{} items, ended: {:?}", brought.items.len(), brought.ended))
        })
    }

    /// Waits for the change by which an incident of this device came into this state.
    ///
    /// # Errors
    /// After `limit`.
    pub fn incident(
        &self,
        device: &str,
        state: v1::State,
        limit: Duration,
    ) -> Result<v1::Incident, String> {
        let source = format!("device/{device}");
        self.wait_for(&format!("an incident of {device} in {state:?}"), limit, |item| {
            let incident = match item {
                Item::SnapshotItem(item) => item.incident.as_ref(),
                Item::Change(change) => change.incident.as_ref(),
                _ => None,
            };
            incident.filter(|it| it.source == source && it.state() == state).cloned()
        })
    }

    /// Sources of all incidents seen so far.
    #[must_use]
    pub fn sources(&self) -> Vec<String> {
        let brought = self.brought.lock().unwrap_or_else(PoisonError::into_inner);
        let incidents = brought.items.iter().filter_map(|item| match item {
            Item::SnapshotItem(item) => item.incident.as_ref(),
            Item::Change(change) => change.incident.as_ref(),
            _ => None,
        });
        incidents.map(|incident| incident.source.clone()).collect()
    }

    /// The token of the last item that carries one.
    #[must_use]
    pub fn token(&self) -> Vec<u8> {
        let brought = self.brought.lock().unwrap_or_else(PoisonError::into_inner);
        let tokens = brought.items.iter().rev().filter_map(|item| match item {
            Item::SnapshotEnd(end) => Some(&end.token),
            Item::Change(change) => Some(&change.token),
            Item::LeftScope(left) => Some(&left.token),
            _ => None,
        });
        tokens.into_iter().next().cloned().unwrap_or_default()
    }

    /// (incident, version) of every change seen, in order.
    #[must_use]
    pub fn versions(&self) -> Vec<(String, i64)> {
        let brought = self.brought.lock().unwrap_or_else(PoisonError::into_inner);
        let changes = brought.items.iter().filter_map(|item| match item {
            Item::Change(change) => change.incident.as_ref(),
            _ => None,
        });
        changes.map(|incident| (incident.name.clone(), incident.version)).collect()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

/// The stable reason of a refusal.
#[must_use]
pub fn reason(status: &Status) -> String {
    yiwang_proto::status::reason(status).map_or_else(|| format!("{status:?}"), |(reason, _)| reason)
}
