//! `lodgectl tag`.

use clap::Args;

use super::{CliError, Result, context::Context};
use crate::manager::definition::{check_tag, is_same_tag};

#[derive(Debug, Args)]
pub(super) struct Tag {
    /// The guest
    name: String,
    /// Tags to give it; without any the guest's tags are listed
    tags: Vec<String>,
    /// Take this tag from it
    #[arg(long, value_name = "TAG")]
    remove: Vec<String>,
    /// Write JSON, for programs
    #[arg(long, conflicts_with_all = ["tags", "remove"])]
    json: bool,
}

impl Tag {
    pub fn run(self, context: &Context) -> Result {
        self.tags.iter().try_for_each(|tag| check_tag(tag)).map_err(CliError::Other)?;
        let library = context.library();
        let name = library.resolve(&self.name)?;
        let stored = library.load(&name)?;
        let mut definition = stored.definition;
        if let Some(missing) = self.remove.iter().find(|tag| !definition.has_tag(tag)) {
            let message = format!("\"{name}\" has no tag \"{missing}\". See \"lodgectl tag {name}\"");
            return Err(CliError::Other(message));
        }
        let before = definition.tags.clone();
        definition.tags.retain(|tag| !self.remove.iter().any(|gone| is_same_tag(gone, tag)));
        for tag in self.tags {
            if !definition.has_tag(&tag) {
                definition.tags.push(tag);
            }
        }
        if definition.tags != before {
            library.save(&definition, &stored.revision)?;
        }
        match self.json {
            true => context.output.json(&definition.tags),
            false => definition.tags.iter().try_for_each(|tag| context.output.line(tag)),
        }
    }
}
