//! What a job does.

use uuid::Uuid;

use crate::ids::JobId;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A tenant's: asks beforehand what will be asked.
    WarmUp,
    /// The installation's own.
    Chore(Chore),
}

/// What keeps an installation in order. There is one job of each, and it belongs to the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::EnumString, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Chore {
    /// Memories that have expired.
    PurgeMemories,
    /// What is known of memories that left a scope.
    PurgeRemovals,
    /// What writes with an `Idempotency-Key` came to.
    PurgeReceipts,
    /// Runs of jobs.
    PurgeRuns,
    /// Keys that sign tokens no more, and whose tokens have ended.
    PurgeSigningKeys,
    /// Recalls and events of circles, minute by minute.
    PurgeCircleFigures,
    /// Hours and days of usage, from its minutes.
    RollUpUsage,
    /// Usage that is older than anybody can ask for.
    PurgeUsage,
    /// What was asked most, made ready for a release that answers otherwise than the one before.
    RewarmRelease,
    /// Indexes of scopes with very many memories: built, and dropped.
    IndexScopes,
}

impl Kind {
    pub fn all() -> impl Iterator<Item = Self> {
        Chore::ALL.iter().copied().map(Self::Chore).chain([Self::WarmUp])
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::WarmUp => "warm_up",
            Self::Chore(chore) => chore.name(),
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "warm_up" => Some(Self::WarmUp),
            chore => chore.parse().ok().map(Self::Chore),
        }
    }
}

/// Only jobs of kinds that this version knows are looked for, so one that it does not is a bug.
impl TryFrom<String> for Kind {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        Self::parse(&name).ok_or_else(|| format!("unknown kind of job {name:?}"))
    }
}

impl Chore {
    pub const ALL: &[Self] = <Self as strum::VariantArray>::VARIANTS;

    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The same in every installation.
    pub fn id(self) -> JobId {
        JobId::from_uuid(Uuid::from_u128(0x6a6f_6273_0000_8000_8000_0000_0000_0000 + 1 + self as u128))
    }

    /// When it is due, in UTC. Each at a minute of its own.
    pub fn cron(self) -> &'static str {
        match self {
            Self::PurgeMemories => "*/5 * * * *",
            Self::PurgeRemovals => "17 * * * *",
            Self::PurgeReceipts => "37 * * * *",
            Self::PurgeRuns => "7 3 * * *",
            Self::PurgeSigningKeys => "22 3 * * *",
            Self::PurgeCircleFigures => "42 3 * * *",
            Self::RollUpUsage => "4,34 * * * *",
            Self::PurgeUsage => "52 3 * * *",
            // By itself never: whoever starts a release asks for it. Leap days have to be named.
            Self::RewarmRelease => "57 3 29 2 *",
            Self::IndexScopes => "11,26,41,56 * * * *",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::Schedule;

    #[test]
    fn every_kind_is_read_as_it_is_written() {
        for kind in Kind::all() {
            assert_eq!(Kind::parse(kind.name()), Some(kind));
        }
        assert_eq!(Kind::parse("purge_everything"), None);
    }

    #[test]
    fn chores_keep_their_ids_and_can_be_planned() {
        let ids: Vec<String> = Chore::ALL.iter().map(|chore| chore.id().to_string()).collect();
        assert_eq!(ids[0], "6a6f6273-0000-8000-8000-000000000001");
        assert_eq!(Chore::PurgeCircleFigures.id().to_string(), "6a6f6273-0000-8000-8000-000000000006");
        for chore in Chore::ALL {
            Schedule::parse(chore.cron(), "UTC").unwrap_or_else(|invalid| panic!("{chore:?}: {invalid:?}"));
        }
    }
}
