//! What the verbs work with.

use super::{CliError, Result, output::Output};
use crate::manager::{
    client::{Client, ClientError},
    library::Library,
    paths::Paths,
    pool::Pool,
    supervisor::Supervisor,
};

/// See the module.
pub(super) struct Context {
    pub output: Output,
    pub supervisor: Supervisor,
}

impl Context {
    pub fn new(output: Output) -> Result<Self> {
        Ok(Self { output, supervisor: Supervisor::new(Paths::from_environment()?) })
    }

    pub fn paths(&self) -> &Paths {
        self.supervisor.paths()
    }

    pub fn library(&self) -> &Library {
        self.supervisor.library()
    }

    pub fn pool(&self) -> Pool {
        Pool::default_pool(self.paths())
    }

    /// The guest that is meant by `word`, and a connection to its worker.
    pub async fn attach(&self, word: &str) -> Result<Guest> {
        let name = self.library().resolve(word)?;
        let client = self.supervisor.attach(&name).await?;
        Ok(Guest { name, client })
    }
}

/// A running guest.
pub(super) struct Guest {
    pub name: String,
    pub client: Client,
}

impl Guest {
    /// Adds the guest's name to what its worker said.
    pub fn told<T>(&self, result: std::result::Result<T, ClientError>) -> Result<T> {
        result.map_err(|source| CliError::Client { name: self.name.clone(), source })
    }
}
