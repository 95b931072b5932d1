//! A body that holds on to something until it is sent.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::ServiceResponse;
use bytes::Bytes;

struct Held<T> {
    body: BoxBody,
    /// Dropped with the body, whether it was sent or not.
    _held: T,
}

impl<T: Unpin> MessageBody for Held<T> {
    type Error = Box<dyn Error>;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        self.body.as_pin_mut().poll_next(context)
    }
}

/// Keeps what is held until the last byte of the answer, or until nobody waits for it any more.
pub fn hold<T: Unpin + 'static>(response: ServiceResponse<BoxBody>, held: T) -> ServiceResponse<BoxBody> {
    response.map_body(|_, body| BoxBody::new(Held { body, _held: held }))
}
