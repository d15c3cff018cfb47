//! `lodgectl delete` and `lodgectl rename`.

use clap::Args;

use super::{Result, context::Context};

#[derive(Debug, Args)]
pub(super) struct Delete {
    /// The guest
    name: String,
    /// Delete its disk images, too, unless another guest uses them
    #[arg(long)]
    disks: bool,
}

#[derive(Debug, Args)]
pub(super) struct Rename {
    /// The guest
    name: String,
    /// Its new name
    #[arg(value_name = "NEW")]
    new_name: String,
}

impl Delete {
    pub fn run(self, context: &Context) -> Result {
        let name = context.library().resolve(&self.name)?;
        let deleted = context.library().delete(&name, self.disks)?;
        context.output.line(format!("Deleted \"{name}\""))?;
        for path in deleted.removed {
            context.output.line(format!("Deleted {}", path.display()))?;
        }
        for (path, reason) in deleted.kept {
            context.output.line(format!("Kept {}: {reason}", path.display()))?;
        }
        Ok(())
    }
}

impl Rename {
    pub fn run(self, context: &Context) -> Result {
        let name = context.library().resolve(&self.name)?;
        context.library().rename(&name, &self.new_name)?;
        context.output.line(format!("Renamed \"{name}\" to \"{}\"", self.new_name))
    }
}
