//! Report, read, act.

use std::sync::Arc;

use prost::Message as _;
use tonic::{Code, Request, Response, Status};
use yiwang_core::access::Authorizer;
use yiwang_core::district::District;
use yiwang_core::ids::Id;
use yiwang_core::incident::{Case, Command, UnitId, Verb};
use yiwang_proto::incident::v1;
use yiwang_proto::incident::v1::act_request::Action;
use yiwang_proto::incident::v1::incident_service_server::IncidentService;
use yiwang_proto::view::{self, Shown};
use yiwang_store::{ListAfter, Scope};

use super::Shared;
use crate::auth::Caller;
use crate::token::{Audience, hex, unhex};
use crate::watch::Filter;
use crate::{Error, caller, metrics, reports};

const PAGE_DEFAULT: u32 = 50;
const PAGE_MAX: u32 = 200;
/// Longest id of a command, in bytes.
const REQUEST_ID_BYTES_MAX: usize = 128;
/// Versions shown of one incident.
const HISTORY_MAX: u32 = 1_000;

pub(crate) struct Service(pub(crate) Shared);

#[tonic::async_trait]
impl IncidentService for Service {
    async fn report(
        &self,
        request: Request<v1::ReportRequest>,
    ) -> Result<Response<v1::ReportResponse>, Status> {
        let who = self.0.caller(request.metadata()).await?;
        let district = self.0.parts.district();
        let now = self.0.writer.now();
        let signal = reports::to_signal(request.into_inner(), &who.unit, &district, now)?;
        // A caller who hangs up does not interrupt a transaction.
        let writer = Arc::clone(&self.0.writer);
        let answer = finish(async move { writer.report(&signal).await }).await?;
        let answer = answer.map_err(|refusal| caller::refused(&refusal))?;
        let case = match answer.incident {
            Some(id) => self.case(id).await?,
            None => None,
        };
        // It may have joined a case that its reporter has no sight of.
        let authorizer = Authorizer::new(&district);
        let case = case.filter(|case| authorizer.may_read(&who.unit, &case.incident, &case.tasks));
        Ok(Response::new(v1::ReportResponse {
            outcome: v1::Outcome::from(answer.outcome).into(),
            incident: case.map(|case| message(&district, &case)),
            repeated_report: answer.duplicate,
        }))
    }

    async fn get_incident(
        &self,
        request: Request<v1::GetIncidentRequest>,
    ) -> Result<Response<v1::GetIncidentResponse>, Status> {
        let who = self.0.caller(request.metadata()).await?;
        let case = self.in_sight(&who, &request.into_inner().name).await?;
        let store = &self.0.parts.store;
        let history =
            store.history(case.incident.id, 0, HISTORY_MAX).await.map_err(caller::store_failed)?;
        let district = self.0.parts.district();
        Ok(Response::new(v1::GetIncidentResponse {
            incident: Some(message(&district, &case)),
            history: history.iter().map(|row| view::history(row, &district)).collect(),
        }))
    }

    async fn list_incidents(
        &self,
        request: Request<v1::ListIncidentsRequest>,
    ) -> Result<Response<v1::ListIncidentsResponse>, Status> {
        let who = self.0.caller(request.metadata()).await?;
        let request = request.into_inner();
        let filter = request.filter.unwrap_or_default();
        let view = Audience::new(&who.unit, "", &filter.encode_to_vec()).view;
        let filter = Filter::read(filter, &self.0.parts.district())?;
        let size = match u32::try_from(request.page_size) {
            Ok(0) => PAGE_DEFAULT,
            Ok(size) => size.min(PAGE_MAX),
            Err(_) => return Err(caller::bad_argument("page_size", "it is negative")),
        };
        let after = match request.page_token.as_str() {
            "" => None,
            token => Some(self.page_after(view, token)?),
        };
        let store = &self.0.parts.store;
        let scope = Scope::Unit(Arc::clone(&who.unit));
        let page = store
            .list(&scope, &filter.for_store(), after, size)
            .await
            .map_err(caller::store_failed)?;
        let last = page.last().filter(|_| page.len() == size as usize);
        let next_page_token =
            last.map(|last| hex(&self.0.signer.sign_page(view, (last.reported_at, last.id))));
        let ids: Vec<_> = page.iter().filter(|row| filter.lists(row)).map(|row| row.id).collect();
        let mut cases = store.cases(&ids).await.map_err(caller::store_failed)?;
        cases.sort_by_key(|case| ids.iter().position(|id| *id == case.incident.id));
        let district = self.0.parts.district();
        // Between the two reads one may have left.
        let authorizer = Authorizer::new(&district);
        cases.retain(|case| authorizer.may_read(&who.unit, &case.incident, &case.tasks));
        let incidents = cases.iter().map(|case| message(&district, case)).collect();
        let next_page_token = next_page_token.unwrap_or_default();
        Ok(Response::new(v1::ListIncidentsResponse { incidents, next_page_token }))
    }

    async fn act(
        &self,
        request: Request<v1::ActRequest>,
    ) -> Result<Response<v1::ActResponse>, Status> {
        let who = self.0.caller(request.metadata()).await?;
        let request = request.into_inner();
        if request.request_id.len() > REQUEST_ID_BYTES_MAX {
            return Err(caller::bad_argument("request_id", "more than 128 bytes"));
        }
        let case = self.in_sight(&who, &request.name).await?;
        let command = self.command(&who, request, &case)?;
        let writer = Arc::clone(&self.0.writer);
        let done = finish(async move { writer.command(&command).await }).await?;
        metrics::record_command(match &done {
            Ok(_) => "OK",
            Err(refusal) => refusal.code.as_str(),
        });
        let done = done.map_err(|refusal| caller::refused(&refusal))?;
        let case = self.case(done.incident).await?.ok_or_else(caller::not_found)?;
        let district = self.0.parts.district();
        let incident = Some(message(&district, &case));
        Ok(Response::new(v1::ActResponse { incident, repeated_command: done.repeat }))
    }
}

impl Service {
    async fn case(&self, id: Id) -> Result<Option<Case>, Status> {
        self.0.writer.case(id).await.map_err(|error| caller::failed(&error))
    }

    /// The row after which a page begins, if the token is this caller's and this filter's.
    fn page_after(&self, view: Id, token: &str) -> Result<ListAfter, Status> {
        let forged = || caller::status(Code::InvalidArgument, "TOKEN_BAD", "the token is not ours");
        let token = unhex(token).ok_or_else(forged)?;
        let (made_for, (reported_at, id)) =
            self.0.signer.read_page(&token).map_err(|_| forged())?;
        if made_for != view {
            let text = "the page token is another caller's or another filter's";
            return Err(caller::status(Code::PermissionDenied, "TOKEN_FOREIGN", text));
        }
        Ok(ListAfter { reported_at, id })
    }

    /// A case by id or number, if the caller sees it.
    async fn in_sight(&self, who: &Caller, name: &str) -> Result<Case, Status> {
        let id = match view::incident_id(name) {
            Some(id) => Some(id),
            None => {
                let found =
                    self.0.parts.store.incident_by_no(name).await.map_err(caller::store_failed)?;
                found.map(|incident| incident.id)
            }
        };
        let case = match id {
            Some(id) => self.case(id).await?,
            None => None,
        };
        let district = self.0.parts.district();
        let authorizer = Authorizer::new(&district);
        case.filter(|case| authorizer.may_read(&who.unit, &case.incident, &case.tasks))
            .ok_or_else(caller::not_found)
    }

    fn command(
        &self,
        who: &Caller,
        request: v1::ActRequest,
        case: &Case,
    ) -> Result<Command, Status> {
        let unit: UnitId = match request.unit.as_str() {
            "" => Arc::clone(&who.unit),
            unit if *unit == *who.unit => Arc::clone(&who.unit),
            _ => {
                let text = "unit: a token acts for its own unit; use that unit's token";
                return Err(caller::status(Code::PermissionDenied, "NOT_YOURS", text));
            }
        };
        let etag = match request.etag.as_str() {
            "" => case.incident.version,
            etag => etag
                .parse()
                .map_err(|_| caller::bad_argument("etag", "send it as it was received"))?,
        };
        let action =
            request.action.ok_or_else(|| caller::bad_argument("action", "say what to do"))?;
        let (verb, note, evidence) = self.verb(action, case)?;
        Ok(Command {
            request_id: request.request_id,
            incident: case.incident.id,
            etag,
            unit,
            person: request.person,
            note,
            evidence,
            verb,
        })
    }

    fn verb(&self, action: Action, case: &Case) -> Result<(Verb, String, Vec<String>), Status> {
        let plain = |verb: Verb, note: String| Ok((verb, note, Vec::new()));
        match action {
            Action::Accept(accept) => plain(Verb::Accept, accept.note),
            Action::Decline(decline) => plain(Verb::Decline, decline.reason),
            Action::File(file) => plain(Verb::File, file.note),
            Action::Dispatch(to) => {
                let lead = self.unit("dispatch.lead", &to.lead)?;
                plain(Verb::Dispatch { lead }, to.note)
            }
            Action::Acknowledge(ack) => plain(Verb::Acknowledge, ack.note),
            Action::Reassign(to) => {
                let lead = self.unit("reassign.lead", &to.lead)?;
                let lead =
                    lead.ok_or_else(|| caller::bad_argument("reassign.lead", "name a unit"))?;
                plain(Verb::Reassign { lead }, to.reason)
            }
            Action::RequestReturn(ask) => {
                let reason = ask.reason().to_core();
                let reason = reason.ok_or_else(|| {
                    caller::bad_argument("request_return.reason", "say why it is returned")
                })?;
                let proposed = self.unit("request_return.proposed", &ask.proposed)?;
                plain(Verb::RequestReturn { reason, proposed }, ask.note)
            }
            Action::DecideReturn(decided) => match decided.decision() {
                v1::Decision::Approve => {
                    let lead = self.unit("decide_return.lead", &decided.lead)?;
                    plain(Verb::ApproveReturn { lead }, decided.note)
                }
                v1::Decision::Deny => plain(Verb::DenyReturn, decided.note),
                v1::Decision::Unspecified => {
                    Err(caller::bad_argument("decide_return.decision", "approve or deny"))
                }
            },
            Action::FeedBack(back) => Ok((Verb::FeedBack, back.result, back.evidence)),
            Action::StartCheck(check) => plain(Verb::StartCheck, check.note),
            Action::Close(close) => plain(Verb::Close, close.note),
            Action::Rework(rework) => plain(Verb::Rework, rework.reason),
            Action::Comment(comment) => plain(Verb::Comment, comment.text),
            Action::TaskAck(ack) => plain(Verb::TaskAck, ack.note),
            Action::TaskDone(done) => Ok((Verb::TaskDone, done.result, done.evidence)),
            Action::AddAssist(add) => {
                let unit = self.unit("add_assist.unit", &add.unit)?;
                let unit =
                    unit.ok_or_else(|| caller::bad_argument("add_assist.unit", "name a unit"))?;
                plain(Verb::AddAssist { unit, mandatory: add.mandatory }, add.reason)
            }
            Action::WaiveAssist(waive) => {
                let task = case.tasks.iter().find(|task| task.number == waive.task);
                let task = task
                    .ok_or_else(|| caller::bad_argument("waive_assist.task", "no such task"))?
                    .id;
                plain(Verb::WaiveAssist { task }, waive.reason)
            }
        }
    }

    /// A unit named by a caller; none when the field is empty.
    fn unit(&self, field: &str, id: &str) -> Result<Option<UnitId>, Status> {
        if id.is_empty() {
            return Ok(None);
        }
        let district = self.0.parts.district();
        let unit = district.unit(id).ok_or_else(|| caller::bad_argument(field, "no such unit"))?;
        Ok(Some(Arc::clone(&unit.id)))
    }
}

/// Runs to its end whether or not the caller stays.
async fn finish<T: Send + 'static>(
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Status> {
    let ended = tokio::spawn(work).await;
    ended
        .unwrap_or_else(|panic| Err(Error::Halt(format!("a transaction panicked: {panic}"))))
        .map_err(|error| caller::failed(&error))
}

/// An incident with its tasks and clocks.
fn message(district: &District, case: &Case) -> v1::Incident {
    let Case { incident, tasks, clocks, .. } = case;
    view::incident(Shown { incident, tasks, clocks, last: None }, district)
}
