//! What a credential may do. (The API calls these `scopes`; in the code a scope is what a memory is visible in.)

use std::fmt;

use utoipa::ToSchema;

use crate::error::{Code, Invalid, Result};

crate::from_json_string!(Permission);

/// What a credential may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSchema)]
#[schema(as = Scope)]
pub enum Permission {
    #[schema(rename = "memories:read")]
    MemoriesRead,
    #[schema(rename = "memories:write")]
    MemoriesWrite,
    #[schema(rename = "circles:read")]
    CirclesRead,
    #[schema(rename = "circles:manage")]
    CirclesManage,
    #[schema(rename = "cache:read")]
    CacheRead,
    #[schema(rename = "cache:manage")]
    CacheManage,
    #[schema(rename = "jobs:manage")]
    JobsManage,
    #[schema(rename = "keys:manage")]
    KeysManage,
    #[schema(rename = "tenant:admin")]
    TenantAdmin,
    #[schema(rename = "platform")]
    Platform,
}

impl Permission {
    pub const ALL: [Self; 10] = [
        Self::MemoriesRead,
        Self::MemoriesWrite,
        Self::CirclesRead,
        Self::CirclesManage,
        Self::CacheRead,
        Self::CacheManage,
        Self::JobsManage,
        Self::KeysManage,
        Self::TenantAdmin,
        Self::Platform,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::MemoriesRead => "memories:read",
            Self::MemoriesWrite => "memories:write",
            Self::CirclesRead => "circles:read",
            Self::CirclesManage => "circles:manage",
            Self::CacheRead => "cache:read",
            Self::CacheManage => "cache:manage",
            Self::JobsManage => "jobs:manage",
            Self::KeysManage => "keys:manage",
            Self::TenantAdmin => "tenant:admin",
            Self::Platform => "platform",
        }
    }

    pub fn parse(name: &str) -> Result<Self, Invalid> {
        Self::ALL.into_iter().find(|one| one.name() == name).ok_or_else(|| {
            let known: Vec<&str> = Self::ALL.into_iter().map(Self::name).collect();
            Invalid::new(Code::InvalidValue, format!("{name:?} is no scope; known are {}", known.join(", ")))
        })
    }

    fn bit(self) -> u16 {
        1 << self as u16
    }
}

/// A set of permissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Permissions(u16);

impl Permissions {
    /// What `all` means: everything but the platform.
    pub fn all() -> Self {
        let all = Permission::ALL.into_iter().filter(|one| *one != Permission::Platform);
        all.collect()
    }

    pub fn contains(self, permission: Permission) -> bool {
        self.0 & permission.bit() != 0
    }

    /// What both sets allow.
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The first permission that `other` has and this set lacks.
    pub fn lacks(self, other: Self) -> Option<Permission> {
        Permission::ALL.into_iter().find(|one| other.contains(*one) && !self.contains(*one))
    }

    /// Reads `all` or names separated by commas, as the command line takes them.
    pub fn parse(list: &str) -> Result<Self, Invalid> {
        if list.trim() == "all" {
            return Ok(Self::all());
        }
        list.split(',').map(|name| Permission::parse(name.trim())).collect()
    }

    /// What a key's row says. Names that this version does not know grant nothing.
    pub fn from_names(names: &[String]) -> Self {
        names.iter().filter_map(|name| Permission::parse(name).ok()).collect()
    }

    pub fn names(self) -> Vec<&'static str> {
        Permission::ALL.into_iter().filter(|one| self.contains(*one)).map(Permission::name).collect()
    }
}

impl FromIterator<Permission> for Permissions {
    fn from_iter<I: IntoIterator<Item = Permission>>(permissions: I) -> Self {
        Self(permissions.into_iter().fold(0, |set, one| set | one.bit()))
    }
}

impl fmt::Display for Permissions {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.names().join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_everything_but_the_platform() {
        assert_eq!(Permissions::all().names().len(), 9);
        assert!(!Permissions::all().contains(Permission::Platform));
        assert_eq!(Permissions::parse("all"), Ok(Permissions::all()));
    }

    #[test]
    fn an_unknown_scope_is_refused_by_name() {
        let refused = Permissions::parse("memories:read,root").expect_err("unknown");
        assert!(refused.detail.contains("\"root\""));
    }
}
