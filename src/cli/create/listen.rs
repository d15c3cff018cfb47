//! What `--vnc` says: where viewers on a network come in, and how.

use std::{path::PathBuf, str::FromStr};

use super::arguments::Settings;
use crate::{
    cli::{
        CliError, Result,
        vnc::{Listen, password_in},
    },
    manager::definition::ListenDefinition,
    rfb::gate::Password,
};

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenArgument {
    listen: ListenDefinition,
    password: PasswordSource,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum PasswordSource {
    Random,
    File(PathBuf),
    Nothing,
}

impl FromStr for ListenArgument {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        const HOW: &str = "Write like 5901 or 0.0.0.0:5901,password-file=FILE,view-only";
        let mut parts = text.split(',');
        let Listen(address) = parts.next().unwrap_or_default().parse()?;
        let mut settings = Settings::read(parts, HOW)?;
        let password = match (settings.take("password-file"), settings.take("no-password")) {
            (Some(file), None) if !file.is_empty() => PasswordSource::File(file.into()),
            (None, Some("")) => PasswordSource::Nothing,
            (None, None) => PasswordSource::Random,
            _ => return Err(format!("say either password-file=FILE or no-password. {HOW}")),
        };
        let mut flag = |name| match settings.take(name) {
            None => Ok(false),
            Some("") => Ok(true),
            Some(value) => Err(format!("{name} has no value like \"{value}\". {HOW}")),
        };
        let (plain, websocket, view_only) = (flag("no-tls")?, flag("websocket")?, flag("view-only")?);
        settings.finish()?;
        let listen = ListenDefinition { tls: !plain, websocket, view_only, ..ListenDefinition::at(address) };
        Ok(Self { listen, password })
    }
}

impl ListenArgument {
    /// What the definition says of it. A password is made if none is named.
    pub fn definition(self) -> Result<ListenDefinition> {
        let password = match self.password {
            PasswordSource::Random => {
                let (_, text) = Password::random().map_err(|error| CliError::Other(error.to_string()))?;
                Some(text)
            }
            PasswordSource::File(file) => Some(password_in(&file)?.1),
            PasswordSource::Nothing => None,
        };
        Ok(ListenDefinition { password, ..self.listen })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn parse(text: &str) -> std::result::Result<ListenDefinition, String> {
        text.parse::<ListenArgument>()?.definition().map_err(|error| error.to_string())
    }

    #[test]
    fn a_port_alone_is_for_this_computer_over_tls_with_a_new_password() {
        let listen = parse("5901").unwrap();

        assert_eq!(listen.socket_address(), "127.0.0.1:5901".parse().unwrap());
        assert_eq!(listen.password.map(|password| password.len()), Some(8));
        assert!(listen.tls && !listen.websocket && !listen.view_only);
    }

    #[test]
    fn everything_can_be_said() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        fs::write(&file, "secret\nmore").unwrap();

        let listen = parse(&format!("[::]:0,password-file={},websocket,view-only", file.display())).unwrap();
        let plain = parse("0,no-password,no-tls").unwrap();

        assert_eq!((listen.socket_address(), listen.password.as_deref()), ("[::]:0".parse().unwrap(), Some("secret")));
        assert!(listen.websocket && listen.view_only && listen.tls);
        assert_eq!((plain.password, plain.tls), (None, false));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_the_way_to_write_it() {
        for text in ["", "vnc", "1,password-file=a,no-password", "1,password-file=", "1,tls=off", "1,view-only=no"] {
            let error = parse(text).unwrap_err();
            assert!(error.contains("rite"), "{text}: {error}");
        }
    }
}
