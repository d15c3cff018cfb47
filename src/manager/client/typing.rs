//! The guest's keyboard: keys that are pressed together, and text that is typed.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Client, ClientError, ErrorClass};
use crate::{
    input::{Key, keys},
    manager::storage::progress::Watch,
};

/// How long a key is held when typing, in milliseconds: long enough for a guest that polls its keyboard.
const HOLD: u64 = 20;
/// The time from one typed stroke to the next.
pub const TYPING_INTERVAL: Duration = Duration::from_millis(30);

impl Client {
    /// Presses keys together and lets them go (`send-key`).
    pub async fn send_keys(&self, keys: &[Key]) -> Result<(), ClientError> {
        self.press(keys, None).await
    }

    /// Types a text, as on a US keyboard. Characters that such a keyboard lacks are refused before anything is typed. See
    /// [`Self::type_strokes`] for `watch` and what is returned.
    pub async fn type_text(&self, text: &str, watch: Watch<'_>) -> Result<bool, ClientError> {
        let (strokes, lacking) = keys::us_strokes(text);
        if !lacking.is_empty() {
            let description = not_on_the_keyboard(&lacking);
            return Err(ClientError::Refused { class: ErrorClass::GenericError, description });
        }
        self.type_strokes(&strokes, watch).await
    }

    /// Presses one stroke after the other: keys that go down together, and up again. `watch` is told how many of how many are done;
    /// whether it was never told to stop is returned.
    pub async fn type_strokes(&self, strokes: &[Vec<Key>], watch: Watch<'_>) -> Result<bool, ClientError> {
        let total = strokes.len() as u64;
        for (done, keys) in (0..).zip(strokes) {
            if !watch(done, total) {
                return Ok(false);
            }
            self.press(keys, Some(HOLD)).await?;
            // One at a time, so that nothing waits anywhere when it is stopped and the keyboard's queue is never full.
            tokio::time::sleep(TYPING_INTERVAL).await;
        }
        Ok(true)
    }

    /// Lets go of the keys that make others mean something else, should the guest believe them to be down.
    pub async fn lift_modifiers(&self) -> Result<(), ClientError> {
        let key =
            |name: &str| json!({ "type": "key", "data": { "down": false, "key": { "type": "qcode", "data": name } } });
        let events: Vec<Value> = keys::MODIFIERS.into_iter().filter_map(keys::qcode).map(key).collect();
        self.execute("input-send-event", json!({ "events": events })).await.map(drop)
    }

    async fn press(&self, keys: &[Key], hold: Option<u64>) -> Result<(), ClientError> {
        let keys: Vec<Value> = keys
            .iter()
            .filter_map(|&key| keys::qcode(key))
            .map(|name| json!({ "type": "qcode", "data": name }))
            .collect();
        let mut arguments = json!({ "keys": keys });
        if let Some(hold) = hold {
            arguments["hold-time"] = hold.into();
        }
        self.execute("send-key", arguments).await.map(drop)
    }
}

fn not_on_the_keyboard(characters: &[char]) -> String {
    let named: Vec<_> = characters.iter().map(|character| format!("{character:?}")).collect();
    match named.as_slice() {
        [one] => format!("{one} is on no key of a US keyboard. Leave it out"),
        several => format!("{} are on no key of a US keyboard. Leave them out", several.join(", ")),
    }
}
