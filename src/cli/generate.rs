//! `lodgectl generate`: what a package installs beside the program. The build of a package runs it; people need it rarely.

use clap::{CommandFactory, Subcommand};
use clap_complete::Shell;

use super::{Cli, CliError, Result, output::Output};

#[derive(Debug, Subcommand)]
pub(super) enum Generate {
    /// Shell completions
    Completions {
        /// For which shell
        shell: Shell,
    },
    /// The manual page of lodgectl, or of one of its verbs
    Man {
        /// The verb, like create
        verb: Option<String>,
    },
    /// The systemd unit that starts the host's networks, those of "lodgectl network autostart", together with the host
    NetworksService,
}

/// The unit, for a program where packages install it.
const NETWORKS_SERVICE: &str = include_str!("../../resources/lodge-networks.service");
const PACKAGED: &str = "/usr/bin/lodgectl";

impl Generate {
    pub fn run(&self, output: &Output) -> Result {
        let mut command = Cli::command();
        let mut written = Vec::new();
        match self {
            Self::Completions { shell } => clap_complete::generate(*shell, &mut command, "lodgectl", &mut written),
            Self::Man { verb } => {
                let (page, title) = match verb {
                    None => (command, "lodgectl".to_owned()),
                    Some(verb) => {
                        let unknown =
                            || CliError::Other(format!("there is no verb \"{verb}\". See \"lodgectl --help\""));
                        (command.find_subcommand(verb).ok_or_else(unknown)?.clone(), format!("lodgectl-{verb}"))
                    }
                };
                clap_mangen::Man::new(page)
                    .title(title)
                    .render(&mut written)
                    .map_err(CliError::io("the manual page", "Try again"))?;
            }
            Self::NetworksService => {
                let here = std::env::current_exe().map_err(CliError::io(
                    "where this program is",
                    "Write its path into resources/lodge-networks.service",
                ))?;
                written = NETWORKS_SERVICE.replace(PACKAGED, &here.display().to_string()).into_bytes();
            }
        }
        output.bytes(&written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completions_and_pages_know_the_verbs() {
        let mut command = Cli::command();
        let mut completions = Vec::new();

        clap_complete::generate(Shell::Bash, &mut command, "lodgectl", &mut completions);

        let completions = String::from_utf8(completions).unwrap();
        assert!(completions.contains("screenshot") && completions.contains("--testcard"));
    }
}
