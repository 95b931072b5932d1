//! What a warm-up comes down to: one answer after the other, each for a place.

use crate::app::App;
use crate::auth::Place;
use crate::error::Result;
use crate::ids::TenantId;
use crate::recall::RecallRequest;
use crate::warmups::model::Target;
use crate::warmups::service::top::top;

/// One answer to be made ready.
pub struct Item {
    /// Where it stands in the warm-up, for the report.
    pub name: String,
    pub place: Place,
    pub wanted: Wanted,
}

pub enum Wanted {
    Recall(Box<RecallRequest>),
    Context,
    /// It cannot be asked for, for this reason.
    Nothing(String),
}

/// Everything that these targets ask for, in their order.
pub async fn items(app: &App, tenant: TenantId, targets: &[Target]) -> Result<Vec<Item>> {
    let mut items = Vec::new();
    for (index, target) in targets.iter().enumerate() {
        let Some(place) = target.place() else { continue };
        let at = format!("/targets/{index}");
        let item = |name, wanted| Item { name, place: place.clone(), wanted };
        for (index, query) in target.queries.iter().enumerate() {
            let request = Box::new(RecallRequest::plain(query.clone()));
            items.push(item(format!("{at}/queries/{index}"), Wanted::Recall(request)));
        }
        if let Some(most) = target.top_queries {
            let at = format!("{at}/top_queries");
            items.extend(top(app, tenant, &place, most).await?.into_iter().map(|wanted| item(at.clone(), wanted)));
        }
        if target.context {
            items.push(item(format!("{at}/context"), Wanted::Context));
        }
    }
    Ok(items)
}
