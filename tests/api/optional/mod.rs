//! What the server depends on may be missing, slow or wrong at every moment. Without Redis everything is right and
//! only slower; without Postgres nothing is answered; without the embedding provider what is answered is not kept.

mod load;
mod log;
mod peak;
mod postgres;
mod scene;
mod server;
mod trial;
mod way;
