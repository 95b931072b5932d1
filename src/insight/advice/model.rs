//! Another embedding model than the tenant's vectors are of.

use crate::insight::advice::history::History;
use crate::insight::advice::{Advice, AdviceCode, Severity, numbers};

/// Nothing can be embedded for the tenant, cached or not.
pub fn changed(history: &History) -> Option<Advice> {
    let (pinned, running) = (&history.pinned_model, &history.running_model);
    if pinned == running {
        return None;
    }
    Some(Advice {
        code: AdviceCode::EmbeddingModelChanged,
        severity: Severity::Critical,
        title: "The embedding model has changed".into(),
        reason: format!(
            "The vectors of this tenant are of {pinned}, and this server runs {running}: they do not compare, so recall and remember are refused."
        ),
        numbers: numbers([]),
        setting: Some("embeddings.model".into()),
        suggestion:
            "Run the model that the tenant was filled with, or export its memories and import them into a new tenant."
                .into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_revision_is_another_model_and_the_same_is_none() {
        let history = |running: &str| History {
            pinned_model: "m@1/384/text1".into(),
            running_model: running.into(),
            ..History::default()
        };
        let advice = changed(&history("m@2/384/text1")).expect("advice");
        assert_eq!((advice.code, advice.severity), (AdviceCode::EmbeddingModelChanged, Severity::Critical));
        assert_eq!(changed(&history("m@1/384/text1")), None);
    }
}
