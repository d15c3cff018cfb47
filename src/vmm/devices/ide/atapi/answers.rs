//! What a CD-ROM drive answers to questions about itself and its medium. Numbers are big-endian.

#![forbid(unsafe_code)]

use super::{
    super::tray::{MediaEvent, Tray},
    Answer, Packet, Reply, Sense,
};

/// More blocks than these (80 minutes) are on DVDs only.
const CD_BLOCKS: u32 = 80 * 60 * 75;
/// Profiles (MMC-5, section 5.3.1).
const PROFILE_CD: u16 = 0x0008;
const PROFILE_DVD: u16 = 0x0010;

/// Where the lead-out is in the table of contents.
const LEAD_OUT: u8 = 0xaa;
/// A data track, its address in the table's own mode.
const DATA_TRACK: u8 = 0x14;

/// The time from the beginning of the disc, as minutes, seconds and frames: 75 in a second, 150 before the first block.
fn time(block: u32) -> [u8; 4] {
    let frames = block.saturating_add(150);
    // A DVD is longer than can be said.
    let minutes = (frames / 75 / 60).min(255) as u8;
    [0, minutes, (frames / 75 % 60) as u8, (frames % 75) as u8]
}

fn address(block: u32, as_time: bool) -> [u8; 4] {
    if as_time { time(block) } else { block.to_be_bytes() }
}

/// Puts the length of what follows in front.
fn with_length(body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes(), body].concat()
}

/// INQUIRY (SPC-4, section 6.6).
pub fn inquiry(packet: &Packet) -> Answer {
    const VITAL_PRODUCT_DATA: u8 = 1;
    if packet.byte(1) & VITAL_PRODUCT_DATA != 0 || packet.byte(2) != 0 {
        return Err(Sense::BAD_FIELD);
    }
    // A CD-ROM drive, removable medium, ATAPI, response format 2, then 31 bytes.
    let mut data = vec![0x05, 0x80, 0x00, 0x21, 31, 0, 0, 0];
    data.extend(b"LODGE   CD-ROM          ");
    data.extend(format!("{:4.4}", env!("CARGO_PKG_VERSION")).bytes());
    Ok(Reply::Data(data, packet.byte(4).into()))
}

/// GET EVENT STATUS NOTIFICATION (MMC-5, section 6.6), of media events.
pub fn event_status(packet: &Packet, tray: &Tray) -> Answer {
    const POLLED: u8 = 1;
    const MEDIA: u8 = 4;
    const NO_EVENT: u8 = 1 << 7;
    if packet.byte(1) & POLLED == 0 {
        return Err(Sense::BAD_FIELD);
    }
    let limit = packet.word(7).into();
    if packet.byte(4) & (1 << MEDIA) == 0 {
        return Ok(Reply::Data(vec![0, 2, NO_EVENT, 1 << MEDIA], limit));
    }
    let event = match tray.take_event() {
        MediaEvent::Nothing => 0,
        MediaEvent::EjectRequest => 1,
        MediaEvent::NewMedia => 2,
        MediaEvent::Removal => 3,
    };
    let info = tray.info();
    let status = u8::from(info.open) | u8::from(info.capacity.is_some()) << 1;
    Ok(Reply::Data(vec![0, 6, MEDIA, 1 << MEDIA, event, status, 0, 0], limit))
}

/// The current profile.
fn profile(blocks: Option<u32>) -> u16 {
    match blocks {
        None => 0,
        Some(blocks) if blocks > CD_BLOCKS => PROFILE_DVD,
        Some(_) => PROFILE_CD,
    }
}

/// GET CONFIGURATION (MMC-5, section 6.5): profiles, and the features that every drive has.
pub fn configuration(packet: &Packet, blocks: Option<u32>) -> Answer {
    const CURRENT: u8 = 1;
    const PERSISTENT: u8 = 2;
    let current = profile(blocks);
    let (wanted, first) = (packet.byte(1) & 3, packet.word(2));
    let is_current = |profile: u16| u8::from(profile == current);
    let has_medium = u8::from(blocks.is_some());
    let [[dvd_high, dvd_low], [cd_high, cd_low]] = [PROFILE_DVD.to_be_bytes(), PROFILE_CD.to_be_bytes()];
    // Number, flags (version, persistent, current), data.
    let features: [(u16, u8, Vec<u8>); 7] = [
        // The list of profiles.
        (
            0x0000,
            PERSISTENT | CURRENT,
            vec![dvd_high, dvd_low, is_current(PROFILE_DVD), 0, cd_high, cd_low, is_current(PROFILE_CD), 0],
        ),
        // Core: the physical interface is ATAPI; device busy events.
        (0x0001, 2 << 2 | PERSISTENT | CURRENT, vec![0, 0, 0, 2, 1, 0, 0, 0]),
        // Morphing: nothing but polled events.
        (0x0002, 1 << 2 | PERSISTENT | CURRENT, vec![0x02, 0, 0, 0]),
        // Removable medium: a tray that can be locked and ejects.
        (0x0003, PERSISTENT | CURRENT, vec![0b0010_1001, 0, 0, 0]),
        // Random readable: blocks of 2,048 bytes, one at a time.
        (0x0010, has_medium, vec![0, 0, 0x08, 0, 0, 1, 0, 0]),
        // CD read, DVD read.
        (0x001e, 2 << 2 | is_current(PROFILE_CD), vec![0, 0, 0, 0]),
        (0x001f, is_current(PROFILE_DVD), Vec::new()),
    ];
    let mut body = vec![0, 0];
    body.extend(current.to_be_bytes());
    for (number, flags, data) in features {
        let belongs = match wanted {
            0 => number >= first,
            1 => number >= first && flags & CURRENT != 0,
            2 => number == first,
            _ => return Err(Sense::BAD_FIELD),
        };
        if belongs {
            body.extend(number.to_be_bytes());
            body.extend([flags, data.len() as u8]);
            body.extend(data);
        }
    }
    let length = (body.len() as u32).to_be_bytes();
    Ok(Reply::Data([&length[..], &body].concat(), packet.word(7).into()))
}

/// READ TOC/PMA/ATIP (MMC-5, section 6.25): one track of data, and the lead-out.
pub fn table_of_contents(packet: &Packet, blocks: u32) -> Answer {
    let as_time = packet.byte(1) & 2 != 0;
    let (first, limit) = (packet.byte(6), packet.word(7).into());
    // Old software says it where others have the control byte.
    let format = match packet.byte(2) & 0x0f {
        0 => packet.byte(9) >> 6,
        format => format,
    };
    let body = match format {
        0 if first > 1 && first != LEAD_OUT => return Err(Sense::BAD_FIELD),
        0 => {
            let mut body = vec![1, 1];
            for (track, block) in [(1, 0), (LEAD_OUT, blocks)] {
                if track >= first {
                    body.extend([0, DATA_TRACK, track, 0]);
                    body.extend(address(block, as_time));
                }
            }
            body
        }
        // Sessions: one.
        1 => [&[1, 1, 0, DATA_TRACK, 1, 0][..], &address(0, as_time)].concat(),
        // Everything: first track, last track, lead-out, track 1.
        2 => {
            let mut body = vec![1, 1];
            for (point, place) in [(0xa0, [0, 1, 0, 0]), (0xa1, [0, 1, 0, 0]), (0xa2, time(blocks)), (1, time(0))] {
                let [_, minutes, seconds, frames] = place;
                body.extend([1, DATA_TRACK, 0, point, 0, 0, 0, 0, minutes, seconds, frames]);
            }
            body
        }
        _ => return Err(Sense::BAD_FIELD),
    };
    Ok(Reply::Data(with_length(&body), limit))
}

/// READ DISC INFORMATION (MMC-5, section 6.22): complete, one session, one track.
pub fn disc_information(packet: &Packet, _blocks: u32) -> Answer {
    if packet.byte(1) & 7 != 0 {
        return Err(Sense::BAD_FIELD);
    }
    let mut body = [0; 32];
    // Finalized, last session complete.
    body[0] = 0x0e;
    // First track; sessions, first and last track of the last session.
    body[1..5].copy_from_slice(&[1, 1, 1, 1]);
    // Unrestricted use.
    body[5] = 0x20;
    Ok(Reply::Data(with_length(&body), packet.word(7).into()))
}

/// READ TRACK INFORMATION (MMC-5, section 6.27).
pub fn track_information(packet: &Packet, blocks: u32) -> Answer {
    let asked = packet.long(2);
    let is_track = match packet.byte(1) & 3 {
        0 => asked < blocks,
        1 | 2 => asked == 1,
        _ => false,
    };
    if !is_track {
        return Err(Sense::BAD_FIELD);
    }
    let mut body = [0; 34];
    // Track 1 of session 1: data, recorded without interruption, mode 1.
    body[0..2].copy_from_slice(&[1, 1]);
    body[3..5].copy_from_slice(&[0x04, 0x01]);
    body[22..26].copy_from_slice(&blocks.to_be_bytes());
    Ok(Reply::Data(with_length(&body), packet.word(7).into()))
}

/// READ DISC STRUCTURE (MMC-5, section 6.23), of a DVD: physical format, and that nothing is protected.
pub fn disc_structure(packet: &Packet, blocks: u32) -> Answer {
    /// The first block of data of a DVD by its own counting.
    const FIRST: u32 = 0x3_0000;
    if profile(Some(blocks)) != PROFILE_DVD || packet.byte(1) & 0x0f != 0 || packet.byte(6) != 0 {
        return Err(Sense::BAD_FIELD);
    }
    let body = match packet.byte(7) {
        0x00 => {
            let mut physical = [0; 2050];
            // DVD-ROM of version 1; 120 mm, no minimum rate; one layer, embossed.
            physical[2..5].copy_from_slice(&[0x01, 0x0f, 0x01]);
            physical[6..10].copy_from_slice(&FIRST.to_be_bytes());
            physical[10..14].copy_from_slice(&FIRST.saturating_add(blocks).saturating_sub(1).to_be_bytes());
            physical.to_vec()
        }
        // Copyright.
        0x01 => vec![0; 6],
        _ => return Err(Sense::BAD_FIELD),
    };
    Ok(Reply::Data(with_length(&body), packet.word(8).into()))
}

/// MODE SENSE (10) (MMC-5, section 7): error recovery, and what the drive can do.
pub fn mode_sense(packet: &Packet, tray: &Tray) -> Answer {
    const CURRENT: u8 = 0;
    const CHANGEABLE: u8 = 1;
    const SAVED: u8 = 3;
    const ERROR_RECOVERY: u8 = 0x01;
    const CAPABILITIES: u8 = 0x2a;
    const ALL: u8 = 0x3f;
    let (control, page) = (packet.byte(2) >> 6, packet.byte(2) & 0x3f);
    if control == SAVED {
        return Err(Sense::NOT_SAVED);
    }
    let info = tray.info();
    let medium_type = match (info.open, info.capacity) {
        (true, _) => 0x71,
        (false, None) => 0x70,
        (false, Some(_)) => 0x01,
    };
    let mut pages = Vec::new();
    if page == ERROR_RECOVERY || page == ALL {
        pages.extend([ERROR_RECOVERY, 6, 0, if control == CHANGEABLE { 0 } else { 5 }, 0, 0, 0, 0]);
    }
    if page == CAPABILITIES || page == ALL {
        let mut capabilities = [0; 22];
        capabilities[..2].copy_from_slice(&[CAPABILITIES, 20]);
        if control != CHANGEABLE {
            // Reads CD-R, CD-RW, DVD-ROM; mode 2 of both forms, several sessions; a tray that locks and ejects.
            capabilities[2] = 0x0b;
            capabilities[4] = 0x70;
            let locked = u8::from(info.locked && control == CURRENT) << 1;
            capabilities[6] = 1 << 5 | 1 << 3 | locked | 1;
            // Fastest and current speed: 50 times 176 kB/s. Buffer in KiB.
            capabilities[8..10].copy_from_slice(&8800u16.to_be_bytes());
            capabilities[12..14].copy_from_slice(&512u16.to_be_bytes());
            capabilities[14..16].copy_from_slice(&8800u16.to_be_bytes());
        }
        pages.extend(capabilities);
    }
    if pages.is_empty() {
        return Err(Sense::BAD_FIELD);
    }
    let body = [&[medium_type, 0, 0, 0, 0, 0], &pages[..]].concat();
    Ok(Reply::Data(with_length(&body), packet.word(7).into()))
}

/// MECHANISM STATUS (MMC-5, section 6.12): no changer.
pub fn mechanism_status(packet: &Packet) -> Reply {
    Reply::Data(vec![0, 0, 0, 0, 0, 1, 0, 0], packet.word(8).into())
}
