//! A fuzzer's bytes, taken from the front: for targets whose input is more than one byte string.

/// What is left of the input. Where it ends, numbers are 0 and slices shorter than asked for, so that
/// every byte string is an input.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    /// Begins at the front.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether everything was taken.
    pub const fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The next `len` bytes, or as many as there are.
    pub fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    /// The next two bytes as a number, little-endian.
    pub fn word(&mut self) -> usize {
        usize::from(u16::from_le_bytes([self.byte(), self.byte()]))
    }

    /// All bytes up to the next NUL, which is passed over, or to the end.
    pub fn text(&mut self) -> &'a [u8] {
        let end = self.0.iter().position(|byte| *byte == 0);
        let text = self.take(end.unwrap_or(self.0.len()));
        self.take(1);
        text
    }

    /// All that is left.
    pub const fn rest(self) -> &'a [u8] {
        self.0
    }
}

/// Changes bytes here and there: up to `most` times, as the input says where and how.
pub fn touch(input: &mut Input<'_>, bytes: &mut [u8], most: u8) {
    for _ in 0..input.byte().min(most) {
        let (at, mask) = (input.word(), input.byte());
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= mask;
        }
    }
}
