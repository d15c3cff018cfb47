//! Words by which a person groups guests.

use super::{Definition, Problem};

/// Most tags of a guest.
pub const MAX_TAGS: usize = 32;
/// Longest tag, in characters.
pub const TAG_MAX_CHARACTERS: usize = 32;

/// Why a word cannot be a tag, and how to mend it.
pub fn check_tag(tag: &str) -> Result<(), String> {
    let fits = |character: char| character.is_alphanumeric() || "-_.".contains(character);
    if tag.is_empty() || !tag.chars().all(fits) {
        return Err(format!("\"{}\" is not a tag. Write letters, digits, -, _ and .", tag.escape_debug()));
    }
    if tag.chars().count() > TAG_MAX_CHARACTERS {
        return Err(format!("\"{tag}\" is too long for a tag. Write at most {TAG_MAX_CHARACTERS} characters"));
    }
    Ok(())
}

/// The tags in a text that has commas or spaces between them, each once.
pub fn parse_tags(text: &str) -> Vec<String> {
    let mut tags: Vec<String> = Vec::new();
    for word in text.split([',', ' ']).filter(|word| !word.is_empty()) {
        if !tags.iter().any(|tag| is_same_tag(tag, word)) {
            tags.push(word.to_owned());
        }
    }
    tags
}

/// Whether two tags mean the same: they do whatever their case.
pub fn is_same_tag(one: &str, other: &str) -> bool {
    one.to_lowercase() == other.to_lowercase()
}

impl Definition {
    /// Whether the guest has this tag.
    pub fn has_tag(&self, tag: &str) -> bool {
        self.tags.iter().any(|own| is_same_tag(own, tag))
    }

    pub(super) fn validate_tags(&self, problems: &mut Vec<Problem>) {
        if let Some(message) = self.tags.iter().find_map(|tag| check_tag(tag).err()) {
            problems.push(Problem::new("tags", message));
        }
        let twice = |(index, tag): (usize, &String)| self.tags[..index].iter().any(|other| is_same_tag(other, tag));
        if let Some((_, tag)) = self.tags.iter().enumerate().find(|&pair| twice(pair)) {
            problems.push(Problem::new("tags", format!("\"{tag}\" is there twice. Remove one of them")));
        }
        if self.tags.len() > MAX_TAGS {
            problems.push(Problem::new("tags", format!("there are too many. Leave at most {MAX_TAGS}")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_words_between_commas_and_spaces() {
        assert_eq!(parse_tags("web, Büro  db,WEB,"), ["web", "Büro", "db"]);
        assert_eq!(parse_tags(" , "), [""; 0]);
    }

    #[test]
    fn what_could_not_be_searched_is_no_tag() {
        for wrong in ["", "a b", "a,b", "tag:web", "a\n", &"x".repeat(33)] {
            assert!(check_tag(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(check_tag("büro-2.x_y"), Ok(()));
    }

    #[test]
    fn a_definition_with_wrong_tags_is_refused_and_one_without_has_none() {
        let read = |tags: &str| {
            let text = Definition::new("web").to_toml();
            assert!(!text.contains("tags"), "{text}");
            Definition::from_toml(&text.replacen("uuid", &format!("{tags}\nuuid"), 1), "web")
        };
        let wrong = |tags: &str| read(tags).unwrap_err().to_string();

        assert_eq!(read("").unwrap().tags, [""; 0]);
        let tagged = read("tags = [\"web\", \"Prod\"]").unwrap();
        assert!(tagged.has_tag("prod") && !tagged.has_tag("pro"));
        assert_eq!(Definition::from_toml(&tagged.to_toml(), "web"), Ok(tagged));
        assert!(wrong("tags = [\"a b\"]").contains("is not a tag"));
        assert!(wrong("tags = [\"web\", \"WEB\"]").contains("twice"));
        assert!(wrong("tags = \"web\"").contains("line"));
    }
}
