//! `screendump`: a picture of the guest's screen.
//!
//! QEMU opens the file that is named. The worker opens nothing by name, its sandbox sees to that; of the names that QEMU
//! takes there remains `/dev/fdset/NUMBER`, a file that the client has opened and handed over with `add-fd`.

use std::io::Write;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Error, Session, nothing};
use crate::{
    qmp::{arguments, message::ErrorClass},
    screen::{Screen, Surface},
    system_error::words,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    filename: String,
    device: Option<String>,
    head: Option<i64>,
    format: Option<Format>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    Ppm,
    Png,
}

pub(super) fn screendump(session: &mut Session, arguments: Map<String, Value>) -> Result<Value, Error> {
    let Arguments { filename, device, head, format } = arguments::parse(arguments)?;
    if let Some(device) = device {
        let desc = format!("Device '{device}' not found");
        return Err(Error { class: ErrorClass::DeviceNotFound, desc });
    }
    if head.is_some() {
        return Err(Error::generic("'head' must be specified together with 'device'"));
    }
    let mut file = session.fd_sets().open(&filename, "take the picture with lodgectl screenshot")?;
    let picture = picture(session.screen(), format.unwrap_or(Format::Ppm))?;
    // Written after the screen was let go: the file may be a pipe that nobody reads.
    file.write_all(&picture)
        .map_err(|error| Error::generic(format!("failed to write '{filename}': {}", words(&error))))?;
    nothing()
}

fn picture(screen: &dyn Screen, format: Format) -> Result<Vec<u8>, Error> {
    let mut picture = Err("there is no picture".to_owned());
    screen.attach();
    screen.refresh();
    screen.look(0, &mut |surface, _| picture = encode(surface, format));
    screen.detach();
    picture.map_err(|reason| Error::generic(format!("the screen could not be taken: {reason}")))
}

fn encode(surface: &Surface, format: Format) -> Result<Vec<u8>, String> {
    if surface.bounds().is_none() {
        return Err("it has no size yet".to_owned());
    }
    match format {
        Format::Ppm => Ok(ppm(surface)),
        Format::Png => png(surface).map_err(|error| error.to_string()),
    }
}

/// The bytes red, green, blue of a row's pixels.
fn rgb(row: &[u32]) -> impl Iterator<Item = u8> {
    row.iter().flat_map(|pixel| {
        let [_, red, green, blue] = pixel.to_be_bytes();
        [red, green, blue]
    })
}

fn ppm(surface: &Surface) -> Vec<u8> {
    let mut picture = format!("P6\n{} {}\n255\n", surface.width, surface.height).into_bytes();
    picture.reserve(surface.pixels.len().saturating_mul(3));
    picture.extend(rgb(&surface.pixels));
    picture
}

fn png(surface: &Surface) -> Result<Vec<u8>, png::EncodingError> {
    let mut picture = Vec::new();
    let mut encoder = png::Encoder::new(&mut picture, surface.width, surface.height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Fast);
    let mut writer = encoder.write_header()?;
    let mut stream = writer.stream_writer()?;
    let mut bytes = Vec::with_capacity(surface.width as usize * 3);
    for y in 0..surface.height {
        bytes.clear();
        bytes.extend(rgb(surface.row(y)));
        stream.write_all(&bytes)?;
    }
    stream.finish()?;
    drop(writer);
    Ok(picture)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn surface() -> Surface {
        Surface { width: 3, height: 2, pixels: vec![0xff0000, 0x00ff00, 0x0000ff, 0x010203, 0xffffff, 0] }
    }

    const RGB: [u8; 18] = [255, 0, 0, 0, 255, 0, 0, 0, 255, 1, 2, 3, 255, 255, 255, 0, 0, 0];

    #[test]
    fn a_ppm_holds_every_pixel() {
        let picture = encode(&surface(), Format::Ppm).unwrap();

        assert_eq!(picture, [b"P6\n3 2\n255\n".as_slice(), &RGB].concat());
    }

    #[test]
    fn a_png_holds_every_pixel() {
        let picture = encode(&surface(), Format::Png).unwrap();

        let mut reader = png::Decoder::new(std::io::Cursor::new(picture)).read_info().unwrap();
        let mut pixels = [0; 18];
        reader.next_frame(&mut pixels).unwrap();
        assert_eq!((reader.info().width, reader.info().height), (3, 2));
        assert_eq!(pixels, RGB);
    }

    #[test]
    fn a_screen_without_a_size_is_an_error() {
        assert!(encode(&Surface::default(), Format::Png).is_err());
    }
}
