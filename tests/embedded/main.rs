//! The real binary over the Postgres and Redis that it keeps itself: how it starts, what survives a
//! crash, what it leaves behind, and what an operator is told. Needs `make runtime`.

mod balancer;
mod bench;
mod chaos;
mod folder;
mod life;
mod listener;
mod log;
mod provider;
mod rolling;
mod settings;
mod site;
mod stop;
mod traces;
mod verbs;
