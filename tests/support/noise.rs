//! Bytes without a pattern: no compressor shortens them, and no wrong offset hides in them.

/// xorshift64* (Vigna, 2016): fast, and the same at every run.
#[derive(Debug)]
pub struct Noise(u64);

impl Noise {
    /// Noise of its own for each seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        // No seed may become zero, at which the generator would stand still.
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Fills `bytes`.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for word in bytes.chunks_mut(8) {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            let next = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d);
            word.copy_from_slice(&next.to_le_bytes()[..word.len()]);
        }
    }
}

/// So many bytes of the noise of this seed.
#[must_use]
pub fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; len];
    Noise::new(seed).fill(&mut bytes);
    bytes
}
