//! The saved state of the GPU.

#![forbid(unsafe_code)]

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    MAX_PIECES,
    protocol::Piece,
    resource::{Backing, Format, Resource},
    scene::{CURSOR_SIZE, MAX_RESOURCES, MAX_SIZE, Scanout, Scene, cursor, is_possible_size},
};
use crate::{
    screen::Rect,
    vmm::{
        device::{StateError, restore_state, save_state},
        hex::HexBytes,
        memory::GuestMemory,
    },
};

const STATE_VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct State {
    resources: Vec<ResourceState>,
    scanout: Option<ScanoutState>,
    cursor: CursorState,
    preferred_size: (u32, u32),
    events: u32,
}

#[derive(Serialize, Deserialize)]
struct ResourceState {
    id: u32,
    format: u32,
    width: u32,
    height: u32,
    /// Addresses and lengths.
    backing: Option<Vec<(u64, u32)>>,
    kept: Option<HexBytes>,
}

#[derive(Serialize, Deserialize)]
struct ScanoutState {
    resource: u32,
    x: u32,
    y: u32,
    width: u32,
    height: u32,
}

#[derive(Default, Serialize, Deserialize)]
struct CursorState {
    /// None when there is no pointer.
    pixels: Vec<u32>,
    x: i32,
    y: i32,
    #[serde(default)]
    hot_spot: (u32, u32),
}

/// Packs what the driver has set up.
pub fn save(label: &str, scene: &Scene) -> Result<Value, StateError> {
    let resources = scene.resources.iter().map(|(&id, resource)| ResourceState {
        id,
        format: resource.format.number(),
        width: resource.width,
        height: resource.height,
        backing: resource
            .backing
            .as_ref()
            .map(|backing| backing.pieces().map(|piece| (piece.address, piece.len)).collect()),
        kept: resource.kept.as_ref().map(|kept| HexBytes(kept.to_vec())),
    });
    let state = State {
        resources: resources.collect(),
        scanout: scene.scanout.map(|Scanout { resource, rect: Rect { x, y, width, height } }| ScanoutState {
            resource,
            x,
            y,
            width,
            height,
        }),
        cursor: scene.cursor.as_ref().map_or_else(CursorState::default, |cursor| CursorState {
            pixels: cursor.image.pixels.clone(),
            x: cursor.x,
            y: cursor.y,
            hot_spot: cursor.image.hot_spot,
        }),
        preferred_size: scene.preferred_size,
        events: scene.events,
    };
    save_state(label, STATE_VERSION, state)
}

/// Sets up what was saved, checked as if a driver asked for it.
pub fn restore(label: &str, scene: &mut Scene, state: Value) -> Result<(), StateError> {
    scene.reset();
    let state: State = restore_state(label, STATE_VERSION, state)?;
    let damaged = |reason| StateError::damaged(label, reason);
    let (count, pieces) =
        (state.resources.len(), state.resources.iter().filter_map(|resource| resource.backing.as_ref()));
    if count > MAX_RESOURCES || pieces.map(Vec::len).sum::<usize>() > MAX_PIECES {
        return Err(damaged("it has more resources than a driver can make"));
    }
    let mut resources = BTreeMap::new();
    for saved in state.resources {
        let id = saved.id;
        let resource = resource(saved, scene.memory()).ok_or_else(|| damaged("a resource is impossible"))?;
        if id == 0 || resources.insert(id, resource).is_some() {
            return Err(damaged("two resources have the same number"));
        }
    }
    let scanout = state
        .scanout
        .map(|ScanoutState { resource, x, y, width, height }| Scanout { resource, rect: Rect { x, y, width, height } });
    let is_sound =
        |scanout: Scanout| resources.get(&scanout.resource).is_some_and(|shown| shown.contains(scanout.rect));
    if !scanout.is_none_or(is_sound) {
        return Err(damaged("what it shows is not in a resource"));
    }
    if ![0, (CURSOR_SIZE * CURSOR_SIZE) as usize].contains(&state.cursor.pixels.len()) {
        return Err(damaged("its pointer has a wrong size"));
    }
    let (width, height) = state.preferred_size;
    if width > MAX_SIZE || height > MAX_SIZE {
        return Err(damaged("its preferred size is larger than any"));
    }
    scene.resources = resources;
    scene.scanout = scanout;
    let CursorState { pixels, x, y, hot_spot } = state.cursor;
    scene.cursor = (!pixels.is_empty()).then(|| cursor(pixels, hot_spot, x, y));
    scene.preferred_size = state.preferred_size;
    scene.events = state.events;
    Ok(())
}

fn resource(saved: ResourceState, memory: &GuestMemory) -> Option<Resource> {
    let pieces = |pieces: Vec<(u64, u32)>| -> Vec<Piece> {
        pieces.into_iter().map(|(address, len)| Piece { address, len }).collect()
    };
    let backing = match saved.backing {
        Some(saved) => Some(Arc::new(Backing::new(&pieces(saved), memory)?)),
        None => None,
    };
    let resource = Resource {
        format: Format::new(saved.format)?,
        width: saved.width,
        height: saved.height,
        backing,
        kept: saved.kept.map(|HexBytes(kept)| Arc::new(kept)),
    };
    let kept_size = resource.kept.as_ref().map_or(resource.size(), |kept| kept.len() as u64);
    (is_possible_size(resource.width, resource.height) && kept_size == resource.size()).then_some(resource)
}
