//! zstd frames as a test wants them (RFC 8878, section 3.1.1): of raw and repeated bytes, so that they do not
//! depend on any compressor, and with whatever in the header.

use std::hash::Hasher as _;

use twox_hash::XxHash64;

/// A frame whose parts need not agree.
#[derive(Debug, Clone)]
pub struct Frame {
    /// The descriptor of its window; without one, it is a single segment.
    pub window: Option<u8>,
    /// How long the header says the content is.
    pub content_size: Option<u32>,
    /// The last byte of the id of a dictionary.
    pub dictionary: Option<u8>,
    /// The lower half of xxHash64 of the content, or anything else.
    pub checksum: Option<u32>,
    /// The blocks.
    pub blocks: Vec<Block>,
}

/// A block.
#[derive(Debug, Clone)]
pub enum Block {
    /// Bytes as they are.
    Raw(Vec<u8>),
    /// So many times this byte.
    Repeated(u8, usize),
}

/// The descriptor of the largest window that an archive may have, 4 MiB.
pub const LARGEST_WINDOW: u8 = 12 << 3;

/// The longest block of a frame (RFC 8878, section 3.1.1.2.4).
pub const BLOCK_MAX: usize = 128 << 10;

impl Frame {
    /// The frame that an archive may have, of these blocks.
    pub fn of(blocks: Vec<Block>) -> Self {
        let content: Vec<u8> = blocks.iter().flat_map(Block::content).collect();
        Self {
            window: (content.len() > 4 << 20).then_some(LARGEST_WINDOW),
            content_size: Some(content.len().try_into().unwrap()),
            dictionary: None,
            checksum: Some(checksum(&content)),
            blocks,
        }
    }

    /// The same, of these bytes.
    pub fn raw(bytes: &[u8]) -> Self {
        Self::of(raw(bytes))
    }

    /// The frame's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut frame = 0xfd2f_b528_u32.to_le_bytes().to_vec();
        frame.push(
            u8::from(self.content_size.is_some()) << 7
                | u8::from(self.window.is_none()) << 5
                | u8::from(self.checksum.is_some()) << 2
                | u8::from(self.dictionary.is_some()),
        );
        frame.extend(self.window);
        frame.extend(self.dictionary);
        frame.extend(self.content_size.iter().flat_map(|size| size.to_le_bytes()));
        for (number, block) in self.blocks.iter().enumerate() {
            let is_last = number + 1 == self.blocks.len();
            frame.extend(block.encode(is_last));
        }
        frame.extend(self.checksum.iter().flat_map(|sum| sum.to_le_bytes()));
        frame
    }
}

impl Block {
    fn content(&self) -> Vec<u8> {
        match self {
            Self::Raw(bytes) => bytes.clone(),
            Self::Repeated(byte, count) => vec![*byte; *count],
        }
    }

    fn encode(&self, is_last: bool) -> Vec<u8> {
        let (kind, size, bytes) = match self {
            Self::Raw(bytes) => (0, bytes.len(), bytes.clone()),
            Self::Repeated(byte, count) => (1, *count, vec![*byte]),
        };
        let header = u32::from(is_last) | kind << 1 | u32::try_from(size).unwrap() << 3;
        [&header.to_le_bytes()[..3], &bytes].concat()
    }
}

/// These bytes in blocks, as they are.
pub fn raw(bytes: &[u8]) -> Vec<Block> {
    if bytes.is_empty() {
        return vec![Block::Raw(Vec::new())];
    }
    let blocks = bytes.chunks(BLOCK_MAX);
    blocks.map(|block| Block::Raw(block.to_vec())).collect()
}

/// So many zeros in blocks.
pub fn zeros(count: usize) -> Vec<Block> {
    let lengths = (0..count)
        .step_by(BLOCK_MAX)
        .map(|at| BLOCK_MAX.min(count - at));
    lengths.map(|len| Block::Repeated(0, len)).collect()
}

/// The lower half of xxHash64, which stands at the end of a frame.
pub fn checksum(content: &[u8]) -> u32 {
    let mut hash = XxHash64::with_seed(0);
    hash.write(content);
    let [a, b, c, d, ..] = hash.finish().to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// A skippable frame of four bytes.
pub fn skippable() -> Vec<u8> {
    [0x184d_2a50_u32.to_le_bytes(), 4_u32.to_le_bytes(), *b"skip"].concat()
}
