//! What a Linux kernel says at its console when each line begins with its level (`console_msg_format=syslog`).

/// The level of warnings. Lower ones are worse.
const WARNING: u8 = 4;

/// A kernel's log, from its first line to the last that is wanted.
pub struct KernelLog {
    text: String,
    lines: Vec<Line>,
}

struct Line {
    level: u8,
    /// Without level and time.
    text: String,
}

impl KernelLog {
    /// The log in `console`, up to the line with `end`. What is there before it is firmware's.
    pub fn new(console: &str, end: &str) -> Self {
        let text = console.find("<5>").map_or(console, |begin| &console[begin..]).replace('\r', "");
        let mut lines = Vec::new();
        for line in text.lines() {
            let parsed = Line::parse(line).unwrap_or_else(|| panic!("a line without a level: {line:?}\n{text}"));
            let is_last = parsed.text.contains(end);
            lines.push(parsed);
            if is_last {
                return Self { text, lines };
            }
        }
        panic!("{end:?} is missing: {text}");
    }

    /// The first line that begins with `begin`, without that.
    #[track_caller]
    pub fn after(&self, begin: &str) -> &str {
        match self.all_after(begin).first() {
            Some(rest) => rest,
            None => panic!("no line begins with {begin:?}: {}", self.text),
        }
    }

    /// Every line that begins with `begin`, without that.
    pub fn all_after(&self, begin: &str) -> Vec<&str> {
        self.lines.iter().filter_map(|line| line.text.strip_prefix(begin)).collect()
    }

    /// Fails when the kernel warns of something that is not `known`: beginnings of lines, each with the reason for it.
    #[track_caller]
    pub fn assert_calm(&self, known: &[(&str, &str)]) {
        let is_known = |line: &&Line| known.iter().any(|(begin, _)| line.text.starts_with(begin));
        let warnings = self.lines.iter().filter(|line| line.level <= WARNING && !is_known(line));
        let warnings: Vec<_> = warnings.map(|line| line.text.as_str()).collect();
        assert!(warnings.is_empty(), "the kernel warns: {warnings:#?}\n{}", self.text);
    }
}

impl Line {
    /// `<6>[    1.234567] text`, where the time may be missing.
    fn parse(line: &str) -> Option<Self> {
        let (level, text) = line.strip_prefix('<')?.split_once('>')?;
        let text = match text.strip_prefix('[').and_then(|text| text.split_once("] ")) {
            Some((time, text)) if time.trim().parse::<f64>().is_ok() => text,
            _ => text,
        };
        Some(Self { level: level.parse().ok()?, text: text.to_owned() })
    }
}
