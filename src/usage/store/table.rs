//! The tables of counts, and the lists of columns that statements about any of them are made of.

use crate::usage::{AgentUse, Grain, KindUse, LayerUse, ScopeUse};

/// A table with rows of a tenant, a grain, a moment and these keys.
pub struct Table {
    pub name: &'static str,
    /// Names and types.
    pub keys: &'static [(&'static str, &'static str)],
    pub sums: &'static [&'static str],
    pub most: &'static [&'static str],
    /// The most keys of an hour or a day that are told apart, by what, and as what the others are counted.
    pub bound: Option<Bound>,
}

pub struct Bound {
    pub most: i64,
    pub by: &'static str,
}

pub const LAYERS: Table = Table {
    name: "usage_layers",
    keys: &[("kind", "text"), ("layer", "text")],
    sums: LayerUse::SUMS,
    most: LayerUse::MOST,
    bound: None,
};
pub const KINDS: Table =
    Table { name: "usage_kinds", keys: &[("kind", "text")], sums: KindUse::SUMS, most: KindUse::MOST, bound: None };
pub const AGENTS: Table = Table {
    name: "usage_agents",
    keys: &[("agent_uid", "uuid")],
    sums: AgentUse::SUMS,
    most: AgentUse::MOST,
    bound: Some(Bound { most: 1_000, by: "recalls" }),
};
pub const SCOPES: Table = Table {
    name: "usage_scopes",
    keys: &[("scope_id", "uuid")],
    sums: ScopeUse::SUMS,
    most: ScopeUse::MOST,
    bound: Some(Bound { most: 200, by: "entries" }),
};
pub const TABLES: [&Table; 4] = [&LAYERS, &KINDS, &AGENTS, &SCOPES];

impl Table {
    pub fn keys(&self) -> String {
        self.keys.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    }

    pub fn columns(&self) -> String {
        self.each(|column, _| column.to_owned())
    }

    /// The columns of a JSON row.
    pub fn typed(&self) -> String {
        let keys = self.keys.iter().map(|(name, of)| format!("{name} {of}"));
        keys.chain([self.each(|column, _| format!("{column} bigint"))]).collect::<Vec<_>>().join(", ")
    }

    /// The columns of many rows as one.
    pub fn summed(&self) -> String {
        self.each(|column, is_sum| match is_sum {
            true => format!("sum({column})::bigint AS {column}"),
            false => format!("max({column}) AS {column}"),
        })
    }

    /// The columns of a row `u` with those of another one added.
    pub fn grown(&self) -> String {
        self.each(|column, is_sum| match is_sum {
            true => format!("{column} = u.{column} + excluded.{column}"),
            false => format!("{column} = greatest(u.{column}, excluded.{column})"),
        })
    }

    /// The columns of another row in place of these.
    pub fn replaced(&self) -> String {
        self.each(|column, _| format!("{column} = excluded.{column}"))
    }

    fn each(&self, write: impl Fn(&str, bool) -> String) -> String {
        let sums = self.sums.iter().map(|column| write(column, true));
        sums.chain(self.most.iter().map(|column| write(column, false))).collect::<Vec<_>>().join(", ")
    }

    /// Which rows of `u` to read, each moment once: the coarsest as far as there are any, then finer ones. Whatever is
    /// finer than the last row of a coarser grain is part of it, or was not there.
    pub fn once(&self, coarsest: Grain) -> String {
        let end = |grain: &str| {
            format!(
                "coalesce((SELECT max(at) + interval '1 {grain}' FROM {} WHERE tenant_id = $1 AND grain = '{grain}'), '-infinity')",
                self.name
            )
        };
        let (day, hour) = (end("day"), end("hour"));
        match coarsest {
            Grain::Minute => "u.grain = 'minute'".into(),
            Grain::Hour => format!("(u.grain = 'hour' OR u.grain = 'minute' AND u.at >= {hour})"),
            Grain::Day => format!(
                "(u.grain = 'day' OR u.grain = 'hour' AND u.at >= {day} OR u.grain = 'minute' AND u.at >= greatest({day}, {hour}))"
            ),
        }
    }
}
