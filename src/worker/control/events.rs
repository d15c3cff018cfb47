//! Sends events to every QMP client that has negotiated its capabilities.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde_json::{Map, Value};

use super::outbox::Outbox;
use crate::qmp::{codec, message::Event};

/// The clients that get events. Emitting never waits for any of them.
#[derive(Default)]
pub struct EventHub {
    outboxes: Mutex<Vec<Arc<Outbox>>>,
}

impl EventHub {
    /// From now on the client gets events.
    pub fn subscribe(&self, outbox: &Arc<Outbox>) {
        self.lock().push(Arc::clone(outbox));
    }

    /// The client has gone.
    pub fn unsubscribe(&self, outbox: &Arc<Outbox>) {
        self.lock().retain(|subscribed| !Arc::ptr_eq(subscribed, outbox));
    }

    /// Sends an event without data.
    pub fn emit(&self, name: &str) {
        self.send(name, Map::new());
    }

    /// Sends an event with data, which must serialize to an object.
    pub fn emit_with(&self, name: &str, data: &impl Serialize) {
        match serde_json::to_value(data) {
            Ok(Value::Object(data)) => self.send(name, data),
            other => tracing::error!("the data of the event {name} is no object: {other:?}"),
        }
    }

    fn send(&self, name: &str, data: Map<String, Value>) {
        let outboxes = self.lock();
        if outboxes.is_empty() {
            return;
        }
        let message: Arc<[u8]> = codec::encode(&Event::now(name, data)).into();
        outboxes.iter().for_each(|outbox| outbox.offer(&message));
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Outbox>>> {
        self.outboxes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
