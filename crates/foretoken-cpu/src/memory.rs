//! Aligned memory that the threads of the pool fill in disjoint parts.
//!
//! It knows nothing of who writes what: [`Memory::part`] hands out the promise to the caller.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut, Range};
use std::ptr::NonNull;

use bytemuck::Pod;

use crate::os;

/// A cache line, and the widest vector.
const LINE: usize = 64;
/// A huge page; allocations of at least two are aligned to it.
const HUGE: usize = 2 << 20;

/// A zeroed array of `T`, aligned to a cache line, or to a huge page when it is large.
#[derive(Debug)]
pub(crate) struct Memory<T> {
    start: NonNull<T>,
    len: usize,
    raw: NonNull<u8>,
    layout: Layout,
    owns: PhantomData<T>,
}

// SAFETY: a `Memory` owns its allocation as a `Box<[T]>` does, and `T: Pod` holds plain values.
unsafe impl<T: Pod + Send> Send for Memory<T> {}
// SAFETY: shared access reads plain values; writes through `part` are disjoint by its contract.
unsafe impl<T: Pod + Sync> Sync for Memory<T> {}

impl<T: Pod> Memory<T> {
    /// `len` zeros.
    ///
    /// # Panics
    /// If the size overflows the address space, as `Vec` does.
    pub(crate) fn zeroed(len: usize) -> Self {
        let bytes = len.checked_mul(size_of::<T>()).expect("allocation fits the address space");
        let align = if bytes >= 2 * HUGE { HUGE } else { LINE };
        // Over-allocating and aligning by hand keeps the allocator's lazily zeroed pages: an aligned
        // zeroed request is cleared by the caller, which places every page on its NUMA node.
        let layout = bytes
            .checked_add(align)
            .and_then(|size| Layout::from_size_align(size, align_of::<u128>()).ok())
            .expect("allocation fits the address space");
        // SAFETY: the layout's size is at least `align`, so not zero.
        let Some(raw) = NonNull::new(unsafe { alloc_zeroed(layout) }) else {
            handle_alloc_error(layout)
        };
        let offset = raw.align_offset(align);
        // SAFETY: aligning moves by less than `align`, so `bytes` remain behind the result; `T: Pod`
        // is valid when zeroed and aligned to at most a cache line.
        let start = unsafe { raw.add(offset) }.cast();
        let mut memory = Self { start, len, raw, layout, owns: PhantomData };
        if align == HUGE {
            os::advise_huge_pages(bytemuck::cast_slice_mut(&mut memory));
        }
        memory
    }

    /// A part to write, from a shared reference.
    ///
    /// # Safety
    /// While the result lives, no other reference to any of its elements is used, on any thread.
    ///
    /// # Panics
    /// If the range is out of bounds.
    #[expect(clippy::mut_from_ref, reason = "that is its purpose; the contract excludes aliases")]
    pub(crate) unsafe fn part(&self, range: Range<usize>) -> &mut [T] {
        assert!(range.start <= range.end && range.end <= self.len, "part within the memory");
        // SAFETY: the range lies within the allocation; exclusivity is the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr().add(range.start), range.len()) }
    }

    /// A part to read while others write elsewhere.
    ///
    /// # Safety
    /// While the result lives, no element of the range is written.
    ///
    /// # Panics
    /// If the range is out of bounds.
    pub(crate) unsafe fn view(&self, range: Range<usize>) -> &[T] {
        assert!(range.start <= range.end && range.end <= self.len, "view within the memory");
        // SAFETY: the range lies within the allocation; the caller promises that nobody writes it.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().add(range.start), range.len()) }
    }

    /// Replaces the memory by zeros if it is shorter than `len`.
    pub(crate) fn reserve(&mut self, len: usize) {
        if self.len < len {
            *self = Self::zeroed(len);
        }
    }
}

impl<T> Drop for Memory<T> {
    fn drop(&mut self) {
        // SAFETY: `raw` came from this layout and is freed once; `T: Pod` needs no drop.
        unsafe { dealloc(self.raw.as_ptr(), self.layout) };
    }
}

impl<T: Pod> Deref for Memory<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `len` valid elements from `start`; writers through `part` exclude this use.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl<T: Pod> DerefMut for Memory<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`, and `&mut self` excludes everyone else.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_zeroed_and_aligned() {
        for len in [0, 1, 17, 4096, 3 << 20] {
            let memory = Memory::<u16>::zeroed(len);
            assert_eq!(memory.len(), len);
            assert_eq!(memory.as_ptr().align_offset(LINE), 0);
            assert!(memory.iter().all(|v| *v == 0));
        }
        assert_eq!(Memory::<u8>::zeroed(3 * HUGE).as_ptr().align_offset(HUGE), 0);
    }
}
