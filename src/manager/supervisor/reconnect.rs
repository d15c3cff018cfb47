//! The host's end of a card of a guest that runs: for switching it to another network.

#![forbid(unsafe_code)]

use std::{fs::OpenOptions, io};

use super::{Supervisor, SupervisorError, blocking, carriers};
use crate::{
    manager::{
        client::HostEnd,
        definition::{Definition, NetworkKind, Problem, Problems},
        network,
    },
    nat,
    system_error::words,
};

impl Supervisor {
    /// Opens the host's end of card number `index` as `definition` has it, and starts who carries its frames.
    pub async fn connect(&self, definition: &Definition, index: usize) -> Result<HostEnd, SupervisorError> {
        let name = definition.name.clone();
        let unfit = {
            let name = name.clone();
            move |problem| SupervisorError::Unfit { name: name.clone(), problems: Problems(vec![problem]) }
        };
        let Some(card) = definition.networks.get(index).cloned() else { return Ok(HostEnd::Nothing) };
        let (this, definition, refused) = (self.clone(), definition.clone(), unfit.clone());
        let opened = blocking(move || {
            if let Some(problem) = this.library().address_conflict(&definition)? {
                return Err(refused(problem));
            }
            let wrong =
                |field: &str, message: String| refused(Problem::new(format!("network[{index}].{field}"), message));
            match card.kind {
                NetworkKind::Nat | NetworkKind::Isolated => {
                    // The driver has been told of the network at the guest's start: that may have had the usual packets only.
                    let made = carriers::prepare(this.paths(), &definition, index, &card, nat::USUAL_MTU);
                    let failed = |error: io::Error| {
                        wrong("kind", format!("no sockets could be made: {}. Close other programs", words(&error)))
                    };
                    let (ends, carrier) = made.map_err(failed)?;
                    Ok((HostEnd::Stream { feed: ends.feed, control: ends.control }, Some(carrier)))
                }
                _ => match network::open(&card, &this.root).map_err(|error| wrong(error.field, error.message))? {
                    Some(tap) => Ok((HostEnd::Tap(tap), None)),
                    None => Ok((HostEnd::Nothing, None)),
                },
            }
        });
        let (end, carrier) = opened.await?;
        if let Some(carrier) = carrier {
            let host = |(what, mend)| SupervisorError::Host { name: name.clone(), what, mend };
            let worker = self.worker_program().map_err(host)?;
            let log = OpenOptions::new().append(true).open(self.paths().log(&name));
            let log = log.map_err(|error| {
                host((format!("the log cannot be written: {}", words(&error)), "Make room".to_owned()))
            })?;
            carrier.start(&worker, log).await.map_err(unfit)?;
        }
        Ok(end)
    }
}
