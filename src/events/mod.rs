//! What happened, told to whoever wants to know: in this process through the bus, to the other instances
//! through a relay over Redis. Events carry ids only, and may be lost, repeated or late: no answer rests on
//! one. What they are good for is freeing memory early and keeping statistics honest.

mod bus;
mod event;
mod relay;

pub use bus::{Bus, Delivery, Subscription};
pub use event::{Event, Notice, Origin};
pub use relay::relay;
