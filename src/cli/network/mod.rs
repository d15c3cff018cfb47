//! `lodgectl network`: the networks that guests can be on, the host's ports that lead into them, and what cards may carry.

mod attach;
mod forward;
mod host;
mod limit;

use clap::Subcommand;

use super::{Result, context::Context};

#[derive(Debug, Subcommand)]
pub(super) enum NetworkVerb {
    /// List the networks that guests can be on
    #[command(alias = "ls")]
    List(host::List),
    /// Show a network of the host, with the addresses that guests on it have
    Info(host::Info),
    /// Write a network of the host down: a bridge with addresses by DHCP and a way to the world. Only root can do that
    #[command(alias = "define")]
    Create(host::Create),
    /// Make what networks of the host consist of. Only root can do that
    Start(host::Start),
    /// Take away what networks of the host consist of. Only root can do that
    #[command(alias = "destroy")]
    Stop(host::Stop),
    /// Have the host start networks together with itself, or no longer. Only root can do that
    Autostart(host::Autostart),
    /// Forget networks of the host that are stopped. Only root can do that
    #[command(alias = "undefine")]
    Delete(host::Names),
    /// Connect a guest's network card to another network, at once and from its next start
    Attach(attach::Attach),
    /// Lead ports of the host into a guest whose network is address translation, at once and from its next start
    #[command(subcommand)]
    Forward(forward::ForwardVerb),
    /// Show or change how much a guest's network card may carry, at once and from its next start
    Limit(limit::Limit),
}

impl NetworkVerb {
    pub async fn run(self, context: &Context) -> Result {
        match self {
            Self::List(verb) => verb.run(context),
            Self::Info(verb) => verb.run(context),
            Self::Create(verb) => verb.run(context),
            Self::Start(verb) => verb.run(context),
            Self::Autostart(verb) => verb.run(context),
            Self::Stop(verb) => verb.run(context),
            Self::Delete(names) => names.delete(context),
            Self::Attach(verb) => verb.run(context).await,
            Self::Forward(verb) => verb.run(context).await,
            Self::Limit(limit) => limit.run(context).await,
        }
    }
}
