//! `lodgectl qmp`: any command, for what has no verb of its own.

use clap::Args;
use serde_json::Value;

use super::{CliError, Result, context::Context};

#[derive(Debug, Args)]
pub(super) struct Qmp {
    /// The guest
    name: String,
    /// The command, like query-status
    command: String,
    /// Its arguments, a JSON object
    #[arg(value_name = "JSON")]
    arguments: Option<String>,
}

impl Qmp {
    pub async fn run(self, context: &Context) -> Result {
        let arguments = match &self.arguments {
            None => Value::Null,
            Some(text) => match serde_json::from_str(text) {
                Ok(arguments @ Value::Object(_)) => arguments,
                Ok(_) => return Err(bad_arguments("they are no object")),
                Err(error) => return Err(bad_arguments(&error.to_string())),
            },
        };
        let guest = context.attach(&self.name).await?;
        let answer = guest.told(guest.client.execute(&self.command, arguments).await)?;
        context.output.json(&answer)
    }
}

fn bad_arguments(reason: &str) -> CliError {
    CliError::Other(format!("the arguments are not understood: {reason}. Write a JSON object like '{{\"id\": 1}}'"))
}
