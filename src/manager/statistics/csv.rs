//! Figures for spreadsheets: comma-separated values (RFC 4180) with a heading.

#![forbid(unsafe_code)]

use std::fmt::{Display, Write as _};

use time::OffsetDateTime;

use super::{Point, host::HostPoint};

/// The columns of every guest. Rates are per second, CPU is in percent of one CPU of the host, memory in bytes.
pub const COLUMNS: [&str; 12] = [
    "time",
    "unix_time",
    "cpu_percent",
    "memory_bytes",
    "guest_memory_bytes",
    "disk_read_bytes",
    "disk_written_bytes",
    "disk_reads",
    "disk_writes",
    "network_received_bytes",
    "network_sent_bytes",
    "exits",
];

/// A whole file of these points, with a column for each virtual CPU where there are several.
pub fn file(points: &[Point]) -> String {
    let vcpus = points.iter().map(|point| point.vcpus.len()).max().unwrap_or(0);
    let heading = COLUMNS.iter().map(|&name| name.to_owned());
    let mut text = line(heading.chain((0..vcpus).map(|index| format!("vcpu{index}_percent"))));
    for point in points {
        let mut loads = point.vcpu_loads().map(|load| load.to_string());
        text.push_str(&line(fields(point).into_iter().chain((0..vcpus).map(|_| loads.next().unwrap_or_default()))));
    }
    text
}

/// The fields of a point, one for each of [`COLUMNS`]. What is not known is empty.
pub fn fields(point: &Point) -> [String; COLUMNS.len()] {
    fn known(figure: Option<impl Display>) -> String {
        figure.map(|figure| figure.to_string()).unwrap_or_default()
    }
    [
        moment(point.time),
        point.time.to_string(),
        format!("{:.1}", point.cpu),
        point.memory.to_string(),
        known(point.guest_memory),
        point.disk_read.to_string(),
        point.disk_written.to_string(),
        point.disk_reads.to_string(),
        point.disk_writes.to_string(),
        point.network_received.to_string(),
        point.network_sent.to_string(),
        known(point.exits),
    ]
}

/// A whole file of these points of the host: CPU is in percent of all of its CPUs, memory in bytes.
pub fn host_file(points: &[HostPoint]) -> String {
    let heading = ["time", "unix_time", "cpu_percent", "guests_cpu_percent", "memory_bytes", "guests_memory_bytes"];
    let mut text = line(heading.into_iter().chain(["swap_bytes", "ksm_saved_bytes"]));
    for point in points {
        let percent = [point.cpu, point.guests_cpu].map(|percent| format!("{percent:.1}"));
        let bytes = [point.memory, point.guests_memory, point.swap, point.saved].map(|bytes| bytes.to_string());
        let fields = [moment(point.time), point.time.to_string()].into_iter().chain(percent).chain(bytes);
        text.push_str(&line(fields));
    }
    text
}

/// A line of these fields.
pub fn line(fields: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let mut line = String::new();
    for (index, field) in fields.into_iter().enumerate() {
        let field = field.as_ref();
        if index > 0 {
            line.push(',');
        }
        if field.contains(['"', ',', '\r', '\n']) {
            // Writing to a string cannot fail.
            let _ = write!(line, "\"{}\"", field.replace('"', "\"\""));
        } else {
            line.push_str(field);
        }
    }
    line.push_str("\r\n");
    line
}

/// A moment (seconds since 1970, UTC) as ISO 8601 has it: `2026-11-21T15:04:05Z`. Empty for one that no calendar has.
fn moment(time: u64) -> String {
    let moment = i64::try_from(time).ok().and_then(|time| OffsetDateTime::from_unix_timestamp(time).ok());
    let text = |moment: OffsetDateTime| {
        let (date, (hour, minute, second)) = (moment.date(), moment.time().as_hms());
        format!("{date}T{hour:02}:{minute:02}:{second:02}Z")
    };
    moment.map(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_a_heading_and_a_line_for_each_point() {
        let point = Point { time: 1_795_273_445, cpu: 12.34, memory: 7, exits: Some(9), ..Point::default() };
        let wide = Point { vcpus: [1, 200].into(), ..point.clone() };

        let text = file(&[point, wide]);

        let lines: Vec<_> = text.split("\r\n").collect();
        assert_eq!(lines[0], format!("{},vcpu0_percent,vcpu1_percent", COLUMNS.join(",")));
        assert_eq!(lines[1], "2026-11-21T15:04:05Z,1795273445,12.3,7,,0,0,0,0,0,0,9,,");
        assert_eq!(lines[2], "2026-11-21T15:04:05Z,1795273445,12.3,7,,0,0,0,0,0,0,9,0.5,100");
        assert_eq!(lines[3..], [""]);
    }

    #[test]
    fn the_hosts_file_has_as_many_fields_as_its_heading() {
        let point = HostPoint { time: 60, cpu: 50.0, saved: 4096, ..HostPoint::default() };

        let text = host_file(&[point]);

        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[1], "1970-01-01T00:01:00Z,60,50.0,0.0,0,0,0,4096");
        assert_eq!(lines[0].split(',').count(), lines[1].split(',').count());
    }

    #[test]
    fn names_with_commas_and_quotes_are_one_field() {
        assert_eq!(line(["a,b", "say \"x\"", "plain"]), "\"a,b\",\"say \"\"x\"\"\",plain\r\n");
    }
}
