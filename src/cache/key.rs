//! What a cached thing is called: a readable namespace, so that an operator can count and clear, and a keyed hash
//! of the rest, if there is more to it, so that nobody can read or guess what was asked.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;

use crate::cache::Kind;
use crate::ids::{ScopeId, TenantId};

/// Names one cached thing within its tenant, and says what it is.
pub trait Key {
    const KIND: Kind;
    /// What is kept under such a key.
    type Value: Value;

    /// The readable part, as `rag:agent:ada:`.
    fn namespace(&self) -> String;

    /// Everything else that tells it from others, in one order: what differs here is a different thing. Empty where
    /// the namespace says all.
    fn identity(&self) -> &[u8];
}

/// What can be kept.
pub trait Value: Sized {
    fn pack(&self) -> Bytes;

    /// None for what was not packed by this release.
    fn unpack(packed: &Bytes) -> Option<Self>;
}

/// A body, kept as it is sent.
impl Value for Bytes {
    fn pack(&self) -> Bytes {
        self.clone()
    }

    fn unpack(packed: &Bytes) -> Option<Self> {
        Some(packed.clone())
    }
}

/// The keyed hash of a key. It is made with a secret of the tenant, and so differs between tenants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub(super) [u8; 24]);

impl Digest {
    pub fn parse(text: &str) -> Option<Self> {
        URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok().map(Self)
    }

    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    pub fn bytes(&self) -> &[u8; 24] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

/// The name of an entry in Redis; without a digest, the namespace is all of it.
pub(super) fn name(prefix: &str, tenant: TenantId, namespace: &str, digest: Option<Digest>) -> String {
    match digest {
        Some(digest) => format!("{prefix}{tenant}:{namespace}{digest}"),
        None => format!("{prefix}{tenant}:{namespace}"),
    }
}

/// The name of the index of what depends on a scope.
pub(super) fn index(prefix: &str, tenant: TenantId, scope: ScopeId) -> String {
    format!("{prefix}{tenant}:idx:{scope}")
}
