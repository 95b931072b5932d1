//! What is measured of an agent of many circles and of one of a single circle, in turns.

use std::sync::Arc;

use crate::auth;
use crate::cli::bench::circles::Size;
use crate::cli::bench::circles::fill::{self, MANY, ONE};
use crate::cli::bench::generator::{Address, Bodies, Call, Case, Target};
use crate::cli::bench::site::Site;
use crate::cli::bench::words::Vocabulary;
use crate::error::Error;
use crate::ids::ExternalId;

/// The same of both agents.
#[derive(Clone, Copy)]
pub struct Seen {
    pub many: &'static str,
    pub one: &'static str,
}

pub const HIT: Seen = Seen { many: "recall, many circles: hit, local", one: "recall, one circle: hit, local" };
/// The question was embedded before.
pub const COMPUTED: Seen = Seen { many: "recall, many circles: computed", one: "recall, one circle: computed" };
/// A question that nobody has asked before.
pub const MISS: Seen = Seen { many: "recall, many circles: miss", one: "recall, one circle: miss" };
pub const GATE: Seen = Seen { many: "gate, many circles, in process", one: "gate, one circle, in process" };
pub const CONTEXT_HIT: &str = "context: hit, local";
const CONTEXT_COMPUTED: &str = "context: computed";

/// As spread as questions usually are.
const EXPONENT: f64 = 1.0;
/// No agent is asked a new question of the other's.
const NEW: u64 = 1 << 32;

pub struct Cases<'a> {
    site: &'a Site,
    size: Size,
    vocabulary: Arc<Vocabulary>,
    address: Address,
    /// Asked again and again; once `warm`, the answers are cached.
    known: Arc<Bodies>,
}

impl<'a> Cases<'a> {
    pub fn new(site: &'a Site, size: Size) -> anyhow::Result<Self> {
        let vocabulary = Arc::new(Vocabulary::large());
        let known = Arc::new(Bodies::questions(&vocabulary, 0, size.questions, EXPONENT, "use"));
        Ok(Self { address: site.instance.address(&site.tenant.key)?, site, size, vocabulary, known })
    }

    /// Both agents ask every known question once.
    pub async fn warm(&self) -> anyhow::Result<()> {
        let mut connection = self.address.connect().await?;
        for agent in [MANY, ONE] {
            let recall = recall(agent)?;
            for body in self.known.all() {
                connection.call(&recall, body.clone()).await?;
            }
        }
        Ok(())
    }

    pub fn all(&self) -> anyhow::Result<Vec<Case>> {
        let bypassing = Bodies::questions(&self.vocabulary, 0, self.size.questions, EXPONENT, "bypass");
        let (bypassing, nothing) = (Arc::new(bypassing), Arc::new(Bodies::Empty));
        let new = |half| Arc::new(Bodies::new_questions(self.vocabulary.clone(), NEW + half * NEW / 2));
        let context = format!("/v1/circles/{}/context", fill::name(1));
        Ok(vec![
            (HIT.many, self.http(recall(MANY)?, &self.known)),
            (HIT.one, self.http(recall(ONE)?, &self.known)),
            (COMPUTED.many, self.http(recall(MANY)?, &bypassing)),
            (COMPUTED.one, self.http(recall(ONE)?, &bypassing)),
            (MISS.many, self.http(recall(MANY)?, &new(0))),
            (MISS.one, self.http(recall(ONE)?, &new(1))),
            (GATE.many, self.gate(MANY)?),
            (GATE.one, self.gate(ONE)?),
            (CONTEXT_HIT, self.http(Call::get(&context, 200)?, &nothing)),
            (CONTEXT_COMPUTED, self.http(Call::get(&format!("{context}?cache=bypass"), 200)?, &nothing)),
        ])
    }

    fn http(&self, call: Call, bodies: &Arc<Bodies>) -> Target {
        Target::Http { address: self.address.clone(), call, bodies: bodies.clone() }
    }

    /// The question that a recall of this agent comes with.
    fn gate(&self, agent: &str) -> anyhow::Result<Target> {
        let subject = Some(ExternalId::parse(agent).map_err(Error::from)?);
        let question = auth::Question { key: Some(self.site.tenant.key_id), subject, ..auth::Question::default() };
        Ok(Target::Gate { db: self.site.instance.app.db.clone(), gate: None, question })
    }
}

fn recall(agent: &str) -> anyhow::Result<Call> {
    Call::post(&format!("/v1/agents/{agent}/recall"), 200)
}
