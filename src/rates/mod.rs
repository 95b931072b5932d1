//! How much may be asked for in a time, by a tenant and by each of its principals: requests, requests at once, tokens
//! to embed. Redis keeps the counts that all instances share; while it is away each instance keeps to its share of
//! every limit. Says who may go on and never what is answered.

mod bucket;
mod instances;
mod meter;
mod metrics;
mod refusals;
mod rule;
mod standing;
mod tool;

pub use instances::BEAT;
pub use meter::Permit;
pub use refusals::Refusal;
pub use rule::{Allowance, Budget, Payer, Resource};
pub use standing::Standing;
pub use tool::{Admission, Caller, Rates};
