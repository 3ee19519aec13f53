//! Buffers that are lent while bytes are there, so that an idle connection owns none.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut, Range};
use std::rc::Rc;

/// Holds whole heads and bodies of usual size.
const USUAL_SIZE: usize = 64 * 1024;
/// For a body that fills the usual ones: a quarter of the system calls. What the kernel holds for such a transfer is more.
const BULK_SIZE: usize = 4 * USUAL_SIZE;
/// Bytes in buffers that are kept for the next borrower; the rest goes back to the allocator.
const KEPT_BYTES: usize = 2 * 1024 * 1024;

/// A worker's stock of read buffers of one size.
#[derive(Clone)]
pub struct Buffers(Rc<Stock>);

struct Stock {
    kept: RefCell<Vec<Box<[u8]>>>,
    size: usize,
}

impl Buffers {
    pub(super) fn usual() -> Self {
        Self::of(USUAL_SIZE)
    }

    pub(super) fn bulk() -> Self {
        Self::of(BULK_SIZE)
    }

    fn of(size: usize) -> Self {
        Buffers(Rc::new(Stock { kept: RefCell::default(), size }))
    }

    pub fn lend(&self) -> Buffer {
        let memory = self.0.kept.borrow_mut().pop().unwrap_or_else(|| vec![0; self.0.size].into_boxed_slice());
        Buffer { memory: Some(memory), start: 0, end: 0, owner: self.clone() }
    }
}

/// Bytes read and not used yet, in memory that goes back to its worker when dropped.
pub struct Buffer {
    memory: Option<Box<[u8]>>,
    /// Four bytes each, for what a tunnel at rest keeps room for.
    start: u32,
    end: u32,
    owner: Buffers,
}

impl Buffer {
    /// Bytes that were read and not consumed.
    pub fn bytes(&self) -> &[u8] {
        &self.memory()[self.filled()]
    }

    /// The same, for a decoder that moves data together in place.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let filled = self.filled();
        &mut self.memory_mut()[filled]
    }

    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Whether the last read took all the room that there was.
    pub fn is_full(&self) -> bool {
        self.filled().end == self.memory().len()
    }

    pub fn consume(&mut self, count: usize) {
        let filled = self.filled();
        debug_assert!(count <= filled.len());
        self.set_filled(if count == filled.len() { 0..0 } else { filled.start + count..filled.end });
    }

    /// Room behind the filled bytes, which move to the front when there is none. Empty only when
    /// the whole buffer is filled.
    pub fn room(&mut self) -> &mut [u8] {
        let filled = self.filled();
        if filled.end == self.memory().len() && filled.start > 0 {
            self.memory_mut().copy_within(filled.clone(), 0);
            self.set_filled(0..filled.len());
        }
        let end = self.filled().end;
        &mut self.memory_mut()[end..]
    }

    /// Says that `count` bytes of [`room`](Self::room) are filled now.
    pub fn add(&mut self, count: usize) {
        let filled = self.filled();
        debug_assert!(count <= self.memory().len() - filled.end);
        self.set_filled(filled.start..filled.end + count);
    }

    /// Makes room for heads up to `size` bytes, for limits above the usual.
    pub fn reserve(&mut self, size: usize) {
        if self.memory().len() < size {
            let mut larger = vec![0; size].into_boxed_slice();
            let bytes = self.bytes();
            let length = bytes.len();
            larger[..length].copy_from_slice(bytes);
            self.memory = Some(larger);
            self.set_filled(0..length);
        }
    }

    fn filled(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    fn set_filled(&mut self, filled: Range<usize>) {
        // No buffer is as large as 4 GiB.
        (self.start, self.end) = (filled.start as u32, filled.end as u32);
    }

    fn memory(&self) -> &[u8] {
        self.memory.as_deref().expect("memory leaves only in drop")
    }

    fn memory_mut(&mut self) -> &mut [u8] {
        self.memory.as_deref_mut().expect("memory leaves only in drop")
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let Stock { kept, size } = &*self.owner.0;
        let mut kept = kept.borrow_mut();
        if let Some(memory) = self.memory.take()
            && kept.len() < KEPT_BYTES / size
            && memory.len() == *size
        {
            kept.push(memory);
        }
    }
}

/// A worker's stock of growing byte strings for heads on their way out.
#[derive(Default, Clone)]
pub struct Scratch(Rc<RefCell<Vec<Vec<u8>>>>);

/// A stream under way holds two, and for a moment a third.
const SCRATCH_KEPT: usize = 1024;
/// Heads larger than this are rare; their memory is not worth keeping.
const SCRATCH_KEPT_SIZE: usize = 4 * 1024;

impl Scratch {
    pub fn lend(&self) -> ScratchVec {
        let bytes = self.0.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(1024));
        ScratchVec { bytes, owner: self.clone() }
    }
}

/// A `Vec<u8>` that goes back to its worker when dropped.
pub struct ScratchVec {
    bytes: Vec<u8>,
    owner: Scratch,
}

impl Deref for ScratchVec {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.bytes
    }
}

impl DerefMut for ScratchVec {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

impl Drop for ScratchVec {
    fn drop(&mut self) {
        let mut kept = self.owner.0.borrow_mut();
        if kept.len() < SCRATCH_KEPT && self.bytes.capacity() <= SCRATCH_KEPT_SIZE {
            let mut bytes = std::mem::take(&mut self.bytes);
            bytes.clear();
            kept.push(bytes);
        }
    }
}
