//! `lodgectl delete`, `lodgectl rename` and `lodgectl clone`.

use clap::Args;

use super::{Result, context::Context, error, long};
use crate::manager::clone;

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

#[derive(Debug, Args)]
pub(super) struct Clone {
    /// The guest
    name: String,
    /// The copy's name
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

impl Clone {
    pub async fn run(self, context: &Context) -> Result {
        let name = context.library().resolve(&self.name)?;
        let (paths, original, new_name) = (context.paths().clone(), name.clone(), self.new_name);
        let made = long::run("Copying", move |watch| clone::clone(&paths, &original, &new_name, watch)).await?;
        context.output.line(format!("Cloned \"{name}\" to \"{}\" ({})", made.name, made.uuid))?;
        for tap in made.networks.iter().filter_map(|network| network.tap.as_deref()) {
            error::say("warning", format!("both use the interface {tap}: only one of them can run at a time"));
        }
        Ok(())
    }
}
