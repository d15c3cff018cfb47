//! `lodgectl network attach`.

use clap::Args;

use crate::{
    cli::{CliError, FROM_NEXT_START, Result, context::Context, create::NetworkArgument},
    manager::editing,
};

#[derive(Debug, Args)]
pub struct Attach {
    /// The guest
    name: String,
    /// The network card, net0 for the first one
    card: String,
    /// The network, as for "lodgectl create --network": nat, isolated=NAME, network=NAME, bridge=NAME, tap=NAME or none
    network: NetworkArgument,
    /// Only until the guest is stopped
    #[arg(long)]
    live: bool,
}

impl Attach {
    pub async fn run(self, context: &Context) -> Result {
        let name = context.library().resolve(&self.name)?;
        let number = self.card.strip_prefix("net").and_then(|number| number.parse().ok());
        let unknown = || CliError::Other(format!("\"{}\" is no network card. Write net0 for the first one", self.card));
        let (number, NetworkArgument(network)) = (number.ok_or_else(unknown)?, self.network);
        let source = network.source();
        let is_done = editing::attach(&context.supervisor, &name, number, network, self.live).await?;
        let when = if is_done { "" } else { FROM_NEXT_START };
        context.output.line(format!("net{number} of \"{name}\" is connected to {source}{when}"))
    }
}
