//! Names for guests, made from those of files and volumes.

use lodge::manager::definition::NAME_MAX_CHARACTERS;

/// Whether a volume's label says nothing about what is on it.
pub fn is_generic(label: &str) -> bool {
    let words = ["cdrom", "iso", "isoimage", "image", "disc", "disk", "new", "untitled", "volume"];
    label.len() < 3 || words.contains(&label.to_lowercase().as_str())
}

/// A file's or volume's name as a guest's: no underscores, no leading dots, not too long.
pub fn tidy(name: &str) -> String {
    let words: Vec<_> = name.split(|c: char| c == '_' || c == '/' || c.is_whitespace() || c.is_control()).collect();
    let name = words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    let name: String = name.trim_start_matches(['.', '-', ' ']).chars().take(NAME_MAX_CHARACTERS - 8).collect();
    name.trim_end().to_owned()
}
