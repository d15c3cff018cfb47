//! `lodgectl edit`: a definition in the person's editor, checked before it is taken.

use std::{
    env, fs,
    io::{self, IsTerminal, Write},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process::Command,
};

use clap::Args;
use uuid::Uuid;

use super::{CliError, Result, context::Context, error};
use crate::manager::{
    definition::{self, Definition},
    editing::{self, Effects, Saved},
    library::{LibraryError, Revision},
};

#[derive(Debug, Args)]
#[command(after_long_help = format!("What a definition can have; most can be left out:\n\n{}", definition::EXAMPLE))]
pub(super) struct Edit {
    /// The guest
    name: String,
}

impl Edit {
    pub async fn run(self, context: &Context) -> Result {
        let name = context.library().resolve(&self.name)?;
        let revision = context.library().read(&name)?;
        let draft = Draft::new(&revision)?;
        loop {
            edit(&draft.file)?;
            let text = fs::read_to_string(&draft.file).map_err(draft.io_error())?;
            if text == revision.text() {
                draft.discard();
                return context.output.line(format!("\"{name}\" is unchanged"));
            }
            let before = context.library().load(&name).ok().map(|stored| stored.definition);
            let runs = before.as_ref().and_then(|before| context.library().running(before).ok()?);
            match save(context, &name, text, &revision).await {
                Ok(saved) => {
                    draft.discard();
                    let running = context.library().is_running(&name)?;
                    let when = if running { applies(runs.as_ref().zip(before.as_ref()), &saved) } else { "" };
                    return context.output.line(format!("Changed \"{name}\"{when}"));
                }
                Err(error) if again(&error) => {}
                Err(error) => {
                    // What was written is work.
                    let draft = draft.file.display();
                    return Err(CliError::Other(format!("{error}. What you wrote is kept in {draft}")));
                }
            }
        }
    }
}

/// Makes the text the guest's definition, also in the running guest as far as that can be.
async fn save(context: &Context, name: &str, text: String, revision: &Revision) -> Result<Saved> {
    let wrong = |source| LibraryError::Definition { name: name.to_owned(), source };
    let definition = Definition::from_toml(&text, name).map_err(wrong)?;
    Ok(editing::save(&context.supervisor, definition, Some(text), revision.clone()).await?)
}

/// When a change of a running guest applies.
fn applies(before: Option<(&Definition, &Definition)>, saved: &Saved) -> &'static str {
    let effects = before.map(|(running, before)| Effects::of(running, before, &saved.stored.definition));
    let next_start = effects.as_ref().is_none_or(|effects| effects.next_start)
        || saved.applied.no_clipboard
        || saved.applied.not_shown;
    let at_once = effects.is_some_and(|effects| effects.at_once());
    match (at_once, next_start) {
        (true, true) => {
            "; connections, limits, ports, the clipboard and viewers on the network apply at once if they can, the rest from its \
             next start"
        }
        (true, false) => "; it applies at once",
        (false, true) => "; it applies from its next start",
        (false, false) => "",
    }
}

/// Shows what is wrong and asks whether to go on. Without a terminal there is nobody to ask.
fn again(problem: &dyn std::error::Error) -> bool {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return false;
    }
    error::say("error", problem);
    let mut answer = String::new();
    let asked = write!(io::stderr(), "Edit again? [Y/n] ").and_then(|()| io::stdin().read_line(&mut answer));
    asked.is_ok_and(|length| length > 0) && !answer.trim().to_lowercase().starts_with('n')
}

/// Runs the editor as git does: `$VISUAL` or `$EDITOR`, which may have arguments.
fn edit(file: &Path) -> Result {
    let chosen = ["VISUAL", "EDITOR"].into_iter().find_map(|name| env::var(name).ok().filter(|text| !text.is_empty()));
    let editor = chosen.unwrap_or_else(|| "vi".to_owned());
    let mend = "Set EDITOR to an editor that is installed";
    let status = Command::new("sh")
        .args(["-c", &format!("{editor} \"$1\""), "lodgectl"])
        .arg(file)
        .status()
        .map_err(CliError::io(&editor, mend))?;
    if status.success() {
        return Ok(());
    }
    Err(CliError::Other(format!("the editor \"{editor}\" ended with {status}, and nothing was changed. {mend}")))
}

/// The text while it is edited, in a folder that nobody else can enter.
struct Draft {
    folder: PathBuf,
    file: PathBuf,
}

impl Draft {
    fn new(revision: &Revision) -> Result<Self> {
        let folder = env::temp_dir().join(format!("lodgectl-{}", Uuid::new_v4()));
        let draft = Self { file: folder.join("guest.toml"), folder };
        fs::DirBuilder::new().mode(0o700).create(&draft.folder).map_err(draft.io_error())?;
        fs::write(&draft.file, revision.text()).map_err(draft.io_error())?;
        Ok(draft)
    }

    fn io_error(&self) -> impl FnOnce(io::Error) -> CliError + use<> {
        CliError::io(self.file.display().to_string(), "Make room there, or choose another place with TMPDIR")
    }

    fn discard(&self) {
        // It is in a folder for what is temporary.
        let _ = fs::remove_dir_all(&self.folder);
    }
}
