//! The order of rules: as they are written, file by file, but for those that say which one they go before.

use std::collections::HashMap;

use super::Rule;
use super::advice::RulePlace;
use super::mistake::{Mistake, Span};

/// A rule as one file has it.
pub(super) struct Written {
    pub(super) rule: Rule,
    /// The name of the rule that it goes before, and where that is written.
    pub(super) before: Option<(String, Span)>,
    pub(super) place: RulePlace,
}

/// Puts each rule right before the one that it names, several of them in the order in which they are written. A rule that
/// names none that there is, or itself by a detour, is a mistake.
pub(super) fn in_order(rules: Vec<Written>) -> (Vec<(Rule, RulePlace)>, Vec<Mistake>) {
    let mut ahead: HashMap<String, Vec<usize>> = HashMap::new();
    for (index, written) in rules.iter().enumerate() {
        if let Some((target, _)) = &written.before {
            ahead.entry(target.clone()).or_default().push(index);
        }
    }
    let mut order = Vec::new();
    // Last first. A rule that others go before is looked at twice: they come between.
    let mut to_place: Vec<usize> = (0..rules.len()).rev().filter(|&index| rules[index].before.is_none()).collect();
    while let Some(index) = to_place.pop() {
        match ahead.remove(&rules[index].rule.name) {
            Some(others) => {
                to_place.push(index);
                to_place.extend(others.into_iter().rev());
            }
            None => order.push(index),
        }
    }
    let mut mistakes = Vec::new();
    let mut rules: Vec<Option<Written>> = rules.into_iter().map(Some).collect();
    let placed = order.into_iter().filter_map(|index| rules[index].take()).map(|written| (written.rule, written.place)).collect();
    for written in rules.into_iter().flatten() {
        let Some((target, span)) = written.before else { continue };
        let message = format!("no rule `{}` is there to go before", target.escape_debug());
        let help = "write the name of a rule of any of the files, which does not go before this one itself";
        mistakes.push(Mistake::at(span, message, help));
    }
    (placed, mistakes)
}

#[cfg(test)]
mod tests {
    use crate::config::{Action, parse};

    fn names(text: &str) -> Result<Vec<String>, String> {
        let config = parse("test.toml", text).map_err(|report| report.to_string())?;
        assert!(config.policy.rules.iter().all(|rule| rule.action == Action::Deny));
        Ok(config.policy.rules.into_iter().map(|rule| rule.name).collect())
    }

    fn rules(rules: &[(&str, &str)]) -> String {
        let rule = |(name, before): &(&str, &str)| {
            let before = if before.is_empty() { String::new() } else { format!("before = \"{before}\"\n") };
            format!("[[policy.rule]]\nname = \"{name}\"\naction = \"deny\"\n{before}")
        };
        rules.iter().map(rule).collect()
    }

    #[test]
    fn rules_go_where_they_say() {
        for (written, expected) in [
            (&[("a", ""), ("b", ""), ("c", "a"), ("d", "a")][..], "c d a b"),
            (&[("a", ""), ("b", ""), ("c", "b"), ("d", "c")], "a d c b"),
            (&[("d", "c"), ("c", "b"), ("a", ""), ("b", "")], "a d c b"),
            (&[("a", ""), ("b", "a")], "b a"),
        ] {
            assert_eq!(names(&rules(written)).expect("right").join(" "), expected);
        }
    }

    #[test]
    fn a_rule_before_none_is_a_mistake() {
        for written in [&[("a", "x")][..], &[("a", "a")], &[("a", "b"), ("b", "a"), ("c", "")]] {
            let report = names(&rules(written)).expect_err("nowhere to go");
            assert!(report.contains("is there to go before"), "{report}");
        }
    }

    #[test]
    fn a_long_chain_ends() {
        let chain: Vec<(String, String)> = (1..=20_000).map(|number| (format!("r{number}"), format!("r{}", number - 1))).collect();
        let chain: Vec<(&str, &str)> = chain.iter().map(|(name, before)| (name.as_str(), before.as_str())).collect();
        let placed = names(&(rules(&[("r0", "")]) + &rules(&chain))).expect("right");
        assert_eq!((placed.first().map(String::as_str), placed.last().map(String::as_str)), (Some("r20000"), Some("r0")));
    }
}
