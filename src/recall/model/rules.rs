//! The rules of ranking, and switching them off to see what each is worth.

use std::collections::BTreeSet;

use serde::Serialize;
use strum::{EnumIter, EnumString, IntoStaticStr, VariantNames};
use utoipa::ToSchema;

use crate::error::{Code, Invalid, Result};
use crate::json::{Fields, FromJson, Json, wrong_type};

crate::from_json_string!(Rule);

/// What ranking does beside measuring meaning and words.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    ToSchema,
    VariantNames,
    EnumIter,
    EnumString,
    IntoStaticStr,
)]
#[serde(rename_all = "lowercase")]
#[schema(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Rule {
    /// A memory is also found by the words said around it.
    Neighbours,
    /// A question that asks when, or how many, looks for what tells that.
    Kinds,
    /// A memory is the better for another one of its thread that fits.
    Thread,
    /// What is said by whom the question names.
    Speaker,
    /// What happened near the time that the question names.
    Date,
    /// What says the same as a better one comes last.
    Duplicates,
    Recency,
    Importance,
    /// The best candidates are put in order once more, by the reranker, where the settings name one.
    Rerank,
}

impl Rule {
    fn parse(name: &str) -> Result<Self, Invalid> {
        let names = Self::VARIANTS.join(", ");
        name.parse().map_err(|_| Invalid::new(Code::InvalidValue, format!("must be one of {names}")))
    }
}

/// Whether to say how each score came about, and which rules to leave out to see what they do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Explaining {
    Plain(bool),
    /// True as well.
    Without {
        without: BTreeSet<Rule>,
    },
}

impl Default for Explaining {
    fn default() -> Self {
        Self::Plain(false)
    }
}

impl Explaining {
    pub fn is_wanted(&self) -> bool {
        *self != Self::Plain(false)
    }

    pub fn applies(&self, rule: Rule) -> bool {
        match self {
            Self::Plain(_) => true,
            Self::Without { without } => !without.contains(&rule),
        }
    }
}

impl FromJson for Explaining {
    fn from_json(json: &Json<'_>) -> Result<Self, Vec<Invalid>> {
        match json {
            Json::Bool(wanted) => Ok(Self::Plain(*wanted)),
            Json::Object(_) => {
                let mut fields = Fields::of(json)?;
                let without = fields.required::<Vec<Rule>>("without");
                let without = without.map(BTreeSet::from_iter);
                fields.finish(|| match without? {
                    // To leave nothing out is to explain, and has one name in the cache.
                    nothing if nothing.is_empty() => Some(Self::Plain(true)),
                    without => Some(Self::Without { without }),
                })
            }
            other => Err(wrong_type(other, "a boolean or {\"without\": [..]}").into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{MAX_DEPTH, parse};

    fn read(text: &str) -> Result<Explaining, Vec<Invalid>> {
        Explaining::from_json(&parse(text.as_bytes(), MAX_DEPTH).expect("JSON"))
    }

    #[test]
    fn rules_are_left_out_by_name() {
        let some = read(r#"{"without": ["thread", "date", "thread"]}"#).expect("rules");
        assert!(some.is_wanted() && !some.applies(Rule::Thread) && !some.applies(Rule::Date));
        assert!(some.applies(Rule::Speaker));
        assert_eq!(serde_json::to_string(&some).expect("JSON"), r#"{"without":["thread","date"]}"#);
        assert_eq!(read(r#"{"without": []}"#).expect("rules"), Explaining::Plain(true));
        assert!(!read("false").expect("a boolean").is_wanted());
    }

    #[test]
    fn an_unknown_rule_is_refused_with_the_list_of_those_there_are() {
        let invalids = read(r#"{"without": ["luck"]}"#).expect_err("refused");
        assert!(invalids[0].detail.contains("neighbours, kinds, thread"), "{}", invalids[0].detail);
        assert!(read(r#""yes""#).is_err() && read("{}").is_err());
    }
}
