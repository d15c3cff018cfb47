//! `lodgectl autostart`.

use clap::Args;

use super::{Result, context::Context, lifecycle::Names};
use crate::manager::definition::Definition;

#[derive(Debug, Args)]
#[command(
    after_help = "There is no daemon: when you log in, your desktop runs \"lodgectl start --autostart\". On a computer without a \
                  desktop have that run by a systemd user service (with \"loginctl enable-linger\") or by cron's @reboot."
)]
pub(super) struct Autostart {
    #[command(flatten)]
    names: Names,
    /// No longer
    #[arg(long, visible_alias = "disable")]
    off: bool,
}

impl Autostart {
    pub async fn run(self, context: &Context) -> Result {
        let Self { names, off } = self;
        let set = async |name: String| {
            let library = context.library();
            let name = library.resolve(&name)?;
            let stored = library.load(&name)?;
            let definition = Definition { autostart: !off, ..stored.definition };
            // Also when it is so already: then what starts it is there, too.
            library.save(&definition, &stored.revision)?;
            context.output.line(match off {
                true => format!("\"{name}\" is no longer started when you log in"),
                false => format!("\"{name}\" is started when you log in"),
            })
        };
        names.each(set).await
    }
}
