//! Finds where the JSON values of a byte stream begin and end.
//!
//! QMP does not separate messages: values may follow each other directly, be spread over lines and come in pieces of any
//! size. [`Scanner`] looks at each byte once and knows only what it needs for that: strings, brackets and the blanks
//! around numbers and words. Whether a value is good JSON is for the parser to say.

/// The deepest nesting of arrays and objects that is taken: what serde_json takes.
pub const DEPTH_LIMIT: u32 = 127;

/// What a byte means for the value that is being collected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// A blank between values.
    Outside,
    /// The byte belongs to the value.
    Inside,
    /// The byte is the value's last.
    Last,
    /// The byte ends a number or a word and must be looked at again, as what follows.
    EndedBefore,
    /// The byte can be nowhere here. What was collected is to be thrown away; the next byte begins anew.
    Fault(Fault),
}

/// Why a byte can be nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// A closing bracket, comma or colon outside of any value, or a closing bracket of the other kind.
    Stray(u8),
    /// A control character in a string.
    ControlCharacter,
    /// A byte that UTF-8 never has. Clients send 0xFF on purpose, to have what came before forgotten.
    NotUtf8(u8),
    /// Deeper than [`DEPTH_LIMIT`].
    TooDeep,
}

/// Where in a value the scanner stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Outside,
    /// In a number or a word (`true`) that stands by itself.
    Word,
    Nested,
    String {
        escaped: bool,
    },
}

/// The scanner; see the module.
#[derive(Debug)]
pub(super) struct Scanner {
    place: Place,
    /// The open brackets, a bit each, the innermost in bit 0; 1 is a brace.
    braces: u128,
    depth: u32,
}

impl Scanner {
    pub(super) fn new() -> Self {
        Self { place: Place::Outside, braces: 0, depth: 0 }
    }

    /// Takes the next byte.
    pub(super) fn step(&mut self, byte: u8) -> Step {
        if matches!(byte, 0xC0 | 0xC1 | 0xF5..) {
            return self.fault(Fault::NotUtf8(byte));
        }
        match self.place {
            Place::String { escaped: true } => self.go(Place::String { escaped: false }, Step::Inside),
            Place::String { escaped: false } => match byte {
                b'\\' => self.go(Place::String { escaped: true }, Step::Inside),
                b'"' if self.depth == 0 => self.go(Place::Outside, Step::Last),
                b'"' => self.go(Place::Nested, Step::Inside),
                0..0x20 => self.fault(Fault::ControlCharacter),
                _ => Step::Inside,
            },
            Place::Word => match byte {
                b' ' | b'\t' | b'\r' | b'\n' | b'{' | b'}' | b'[' | b']' | b',' | b':' | b'"' => {
                    self.go(Place::Outside, Step::EndedBefore)
                }
                _ => Step::Inside,
            },
            Place::Outside => match byte {
                b' ' | b'\t' | b'\r' | b'\n' => Step::Outside,
                b'{' | b'[' => self.open(byte),
                b'"' => self.go(Place::String { escaped: false }, Step::Inside),
                b'}' | b']' | b',' | b':' => self.fault(Fault::Stray(byte)),
                _ => self.go(Place::Word, Step::Inside),
            },
            Place::Nested => match byte {
                b'{' | b'[' => self.open(byte),
                b'}' | b']' => self.close(byte),
                b'"' => self.go(Place::String { escaped: false }, Step::Inside),
                _ => Step::Inside,
            },
        }
    }

    fn go(&mut self, place: Place, step: Step) -> Step {
        self.place = place;
        step
    }

    fn fault(&mut self, fault: Fault) -> Step {
        *self = Self::new();
        Step::Fault(fault)
    }

    fn open(&mut self, byte: u8) -> Step {
        if self.depth == DEPTH_LIMIT {
            return self.fault(Fault::TooDeep);
        }
        self.depth += 1;
        self.braces = self.braces << 1 | u128::from(byte == b'{');
        self.go(Place::Nested, Step::Inside)
    }

    fn close(&mut self, byte: u8) -> Step {
        if (self.braces & 1 == 1) != (byte == b'}') {
            return self.fault(Fault::Stray(byte));
        }
        self.depth -= 1;
        self.braces >>= 1;
        if self.depth == 0 { self.go(Place::Outside, Step::Last) } else { Step::Inside }
    }
}
