//! What a member of a circle may do there.

use serde::Serialize;
use utoipa::ToSchema;

use crate::error::{Code, Error, Invalid, Result};

crate::from_json_string!(Role);

/// What a member may do in its circle. Each role may do what the ones before it may.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    sqlx::Type,
    ToSchema,
    strum::EnumString,
    strum::IntoStaticStr,
)]
#[serde(rename_all = "lowercase")]
#[sqlx(type_name = "text", rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Role {
    /// Recalls what is shared, and reads the circle's context.
    Reader,
    /// Shares, unshares what it shared, and works on tasks.
    Editor,
    /// Manages members, settings and anybody's shares; approves and rejects tasks.
    Owner,
}

impl Role {
    pub fn name(self) -> &'static str {
        self.into()
    }

    pub fn parse(name: &str) -> Result<Self, Invalid> {
        name.parse().map_err(|_| Invalid::new(Code::InvalidValue, "must be owner, editor or reader"))
    }

    /// Refuses a member of a lower role.
    pub fn require(self, least: Self) -> Result<()> {
        if self >= least {
            return Ok(());
        }
        let detail = format!("your role in this circle is {}; this takes {}", self.name(), least.name());
        Err(Error::refused(Code::RoleRequired, detail))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_may_do_what_the_ones_before_it_may() {
        assert!(Role::Owner.require(Role::Editor).is_ok() && Role::Editor.require(Role::Editor).is_ok());
        let refused = Role::Reader.require(Role::Editor).expect_err("too low");
        assert_eq!(refused.code(), Code::RoleRequired);
        assert_eq!(Role::parse("owner"), Ok(Role::Owner));
        assert!(Role::parse("Owner").is_err());
    }
}
