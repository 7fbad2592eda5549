//! Why a selection is what it is: for every criterion and every part of it, how many hosts matched. Not the selection: here each
//! part is asked about all hosts, also those that an earlier one ruled out.

use roaring::RoaringBitmap;
use serde::Serialize;

use crate::criterion::Criterion;
use crate::selector::ValidSelector;
use crate::text::print_criterion;

use super::Index;
use super::evaluate::{Lookups, Truths};

/// How the hosts fare with one criterion. The three counts sum to the hosts in the index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CriterionExplanation {
    /// JSON pointer into the canonical form of the selector, such as `/criteria/0/any/1`.
    pub pointer: String,
    /// The criterion in text form.
    pub criterion: String,
    pub matched: u64,
    pub not_matched: u64,
    pub unknown: u64,
}

impl Index {
    /// Explains every criterion of a selector, a compound before its parts. Empty for a selector without criteria.
    #[must_use]
    pub fn explain(
        &self,
        selector: &ValidSelector,
        lookups: &Lookups<'_>,
    ) -> Vec<CriterionExplanation> {
        let mut explanations = Vec::new();
        for (position, criterion) in selector.criteria().iter().enumerate() {
            self.explain_one(
                criterion,
                &format!("/criteria/{position}"),
                lookups,
                &mut explanations,
            );
        }
        explanations
    }

    fn explain_one(
        &self,
        criterion: &Criterion,
        pointer: &str,
        lookups: &Lookups<'_>,
        explanations: &mut Vec<CriterionExplanation>,
    ) -> Truths {
        let place = explanations.len();
        explanations.push(CriterionExplanation {
            pointer: pointer.to_owned(),
            criterion: print_criterion(criterion),
            matched: 0,
            not_matched: 0,
            unknown: 0,
        });
        let live = self.live();
        let truths = match criterion {
            Criterion::Leaf(leaf) => self.evaluate_leaf(leaf, live, lookups),
            Criterion::All(parts) => {
                let parts =
                    self.explain_parts(parts, &format!("{pointer}/all"), lookups, explanations);
                all_of(parts, live)
            }
            Criterion::Any(parts) => {
                let parts =
                    self.explain_parts(parts, &format!("{pointer}/any"), lookups, explanations);
                // One of the parts is true, unless none of them is.
                all_of(
                    parts.into_iter().map(|part| part.negated(live)).collect(),
                    live,
                )
                .negated(live)
            }
            Criterion::Not(part) => self
                .explain_one(part, &format!("{pointer}/not"), lookups, explanations)
                .negated(live),
        };
        if let Some(explanation) = explanations.get_mut(place) {
            explanation.matched = truths.matched.len();
            explanation.unknown = truths.unknown.len();
            explanation.not_matched = live
                .len()
                .saturating_sub(explanation.matched + explanation.unknown);
        }
        truths
    }

    fn explain_parts(
        &self,
        parts: &[Criterion],
        pointer: &str,
        lookups: &Lookups<'_>,
        explanations: &mut Vec<CriterionExplanation>,
    ) -> Vec<Truths> {
        let numbered = parts.iter().enumerate();
        numbered
            .map(|(position, part)| {
                self.explain_one(
                    part,
                    &format!("{pointer}/{position}"),
                    lookups,
                    explanations,
                )
            })
            .collect()
    }
}

fn all_of(parts: Vec<Truths>, live: &RoaringBitmap) -> Truths {
    let mut all = Truths {
        matched: live.clone(),
        unknown: RoaringBitmap::new(),
    };
    for part in parts {
        let possible = (&part.matched | &part.unknown) & (&all.matched | &all.unknown);
        all.matched &= part.matched;
        all.unknown = possible - &all.matched;
    }
    all
}
