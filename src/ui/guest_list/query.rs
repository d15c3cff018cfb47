//! What a person searches for: a part of a name, and `tag:` before each tag that the guest must have.

use lodge::manager::definition::Definition;

/// What is before a tag.
const TAG: &str = "tag:";

/// See the module. All of it is in lower case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    name: String,
    tags: Vec<String>,
}

impl Query {
    /// Reads what was entered.
    pub fn parse(text: &str) -> Self {
        let text = text.to_lowercase();
        let (tags, words): (Vec<_>, Vec<_>) = text.split(' ').partition(|word| word.starts_with(TAG));
        // Who has only begun to write a tag still sees every guest.
        let tags = tags.into_iter().filter_map(|tag| tag.strip_prefix(TAG)).filter(|tag| !tag.is_empty());
        Self { tags: tags.map(str::to_owned).collect(), name: words.join(" ").trim().to_owned() }
    }

    /// The text that searches for a tag.
    pub fn text_for(tag: &str) -> String {
        format!("{TAG}{tag}")
    }

    /// Whether it finds the guest of this name (in lower case).
    pub fn finds(&self, name: &str, definition: Option<&Definition>) -> bool {
        let has = |tag: &String| definition.is_some_and(|definition| definition.has_tag(tag));
        name.contains(&self.name) && self.tags.iter().all(has)
    }

    /// Whether it finds every guest.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_must_have_every_tag_and_the_rest_in_its_name() {
        let mut definition = Definition::new("Shop 2");
        definition.tags = vec!["Web".to_owned(), "prod".to_owned()];
        let finds = |text: &str| Query::parse(text).finds("shop 2", Some(&definition));

        for text in ["", " SHOP 2 ", "tag:web", "tag:WEB shop tag:prod", "tag:", "op tag:web"] {
            assert!(finds(text), "{text:?}");
        }
        for text in ["shop 3", "tag:we", "tag:web tag:test", "mail tag:web"] {
            assert!(!finds(text), "{text:?}");
        }
        assert!(!Query::parse("tag:web").finds("shop 2", None));
        assert!(finds(&Query::text_for("web")));
    }

    #[test]
    fn what_finds_every_guest_is_empty() {
        assert!(["", "  ", "tag:"].into_iter().all(|text| Query::parse(text).is_empty()));
        assert!(["a", "tag:a"].into_iter().all(|text| !Query::parse(text).is_empty()));
    }
}
