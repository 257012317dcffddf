//! The hierarchy, which is no secret: who may call may read it.

use tonic::{Request, Response, Status};
use yiwang_core::district::{District, Tier, Unit, UnitKind};
use yiwang_proto::incident::v1;
use yiwang_proto::incident::v1::unit_service_server::UnitService;

use super::Shared;
use crate::caller;

const PAGE_DEFAULT: usize = 500;
const PAGE_MAX: usize = 1_000;

pub(crate) struct Service(pub(crate) Shared);

#[tonic::async_trait]
impl UnitService for Service {
    async fn get_unit(
        &self,
        request: Request<v1::GetUnitRequest>,
    ) -> Result<Response<v1::GetUnitResponse>, Status> {
        self.0.caller(request.metadata()).await?;
        let district = self.0.parts.district();
        let name = request.into_inner().name;
        let id = name.strip_prefix("units/").unwrap_or(&name);
        let unit = district.unit(id).ok_or_else(no_unit)?;
        let unit = Some(message(&district, unit, self.0.writer.now()));
        Ok(Response::new(v1::GetUnitResponse { unit }))
    }

    async fn list_units(
        &self,
        request: Request<v1::ListUnitsRequest>,
    ) -> Result<Response<v1::ListUnitsResponse>, Status> {
        self.0.caller(request.metadata()).await?;
        let request = request.into_inner();
        let district = self.0.parts.district();
        if !request.root.is_empty() && district.unit(&request.root).is_none() {
            return Err(no_unit());
        }
        let size = match usize::try_from(request.page_size) {
            Ok(0) => PAGE_DEFAULT,
            Ok(size) => size.min(PAGE_MAX),
            Err(_) => return Err(caller::bad_argument("page_size", "it is negative")),
        };
        let now = self.0.writer.now();
        // Units keep their order; the token is the last id of the page before.
        let mut units: Vec<_> = district
            .units()
            .filter(|unit| request.root.is_empty() || district.in_subtree(&unit.id, &request.root))
            .filter(|unit| *unit.id > *request.page_token)
            .collect();
        units.sort_by(|a, b| a.id.cmp(&b.id));
        let more = units.len() > size;
        units.truncate(size);
        let next_page_token = units.last().filter(|_| more).map(|unit| unit.id.to_string());
        Ok(Response::new(v1::ListUnitsResponse {
            units: units.into_iter().map(|unit| message(&district, unit, now)).collect(),
            next_page_token: next_page_token.unwrap_or_default(),
        }))
    }
}

fn message(district: &District, unit: &Unit, now: i64) -> v1::Unit {
    let name = |id: &str| format!("units/{id}");
    v1::Unit {
        name: name(&unit.id),
        display_name: unit.name.clone(),
        kind: kind(unit.kind).into(),
        parent: unit.parent.as_deref().map(name).unwrap_or_default(),
        point: unit.point.map(|point| v1::Point { lon_e6: point.lon_e6, lat_e6: point.lat_e6 }),
        on_duty: district.on_duty(&unit.id, now),
        synthetic: unit.is_synthetic(),
    }
}

fn kind(kind: UnitKind) -> v1::UnitKind {
    match kind {
        UnitKind::Tree(Tier::District) => v1::UnitKind::District,
        UnitKind::Tree(Tier::Town) => v1::UnitKind::Town,
        UnitKind::Tree(Tier::Station) => v1::UnitKind::Station,
        UnitKind::Tree(Tier::Village) => v1::UnitKind::Village,
        UnitKind::Tree(Tier::Microgrid) => v1::UnitKind::Microgrid,
        UnitKind::Department => v1::UnitKind::Department,
        UnitKind::Company => v1::UnitKind::Company,
    }
}

fn no_unit() -> Status {
    caller::status(tonic::Code::NotFound, "NOT_FOUND", "no such unit")
}
