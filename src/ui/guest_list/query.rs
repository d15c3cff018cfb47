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

    /// How it differs from `before`.
    pub fn change(&self, before: &Self) -> Option<gtk::FilterChange> {
        let same_tags = self.tags == before.tags;
        match (self.name.starts_with(&before.name), before.name.starts_with(&self.name)) {
            _ if !same_tags => Some(gtk::FilterChange::Different),
            (true, true) => None,
            (true, false) => Some(gtk::FilterChange::MoreStrict),
            (false, true) => Some(gtk::FilterChange::LessStrict),
            (false, false) => Some(gtk::FilterChange::Different),
        }
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
    fn a_longer_text_is_stricter_and_another_tag_is_different() {
        let change = |before: &str, after: &str| Query::parse(after).change(&Query::parse(before));

        assert_eq!(change("we", "web"), Some(gtk::FilterChange::MoreStrict));
        assert_eq!(change("web", "we"), Some(gtk::FilterChange::LessStrict));
        assert_eq!(change("web", "mail"), Some(gtk::FilterChange::Different));
        assert_eq!(change("tag:a", "tag:ab"), Some(gtk::FilterChange::Different));
        assert_eq!(change("web", "web "), None);
    }
}
