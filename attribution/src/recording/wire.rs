// SPDX-License-Identifier: Apache-2.0
//! Numbers, texts and lists as bytes, and back: owns how each is written and that a hostile byte costs nothing.
//!
//! Whatever is read is checked before anything is kept for it: a length against what is left, a list against a budget of
//! memory. Nothing here knows what the numbers mean.

use super::fault::Garbled;
use super::names::Names;
use std::sync::Arc;
use std::time::Duration;

/// Longest text that is written; what is longer is cut. Paths and image names have 4 KiB at most.
pub(super) const LONGEST_TEXT: usize = 4096;
/// Most memory that the entries of one frame may take when they are read.
const BUDGET: usize = 64 << 20;
/// What a text costs beside its bytes: the allocation that holds it.
const TEXT_COST: usize = 32;

/// Bytes being written.
#[derive(Debug, Default)]
pub(super) struct Out {
    pub(super) bytes: Vec<u8>,
    pub(super) names: Names,
}

/// Bytes being read.
pub(super) struct In<'a> {
    bytes: &'a [u8],
    pub(super) names: &'a mut Names,
    budget: &'a mut usize,
}

/// Something that is written the same way wherever it stands.
pub(super) trait Code: Sized {
    /// Writes it.
    fn put(&self, to: &mut Out);
    /// Reads it.
    fn take(from: &mut In<'_>) -> Result<Self, Garbled>;
}

impl Out {
    /// One byte.
    pub(super) fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    /// A number in groups of seven bits, the lowest first; the highest bit of a byte says that more follow.
    pub(super) fn number(&mut self, mut number: u64) {
        loop {
            #[expect(clippy::cast_possible_truncation, reason = "the lowest byte is what is meant")]
            let low = number as u8 & 0x7f;
            number >>= 7;
            if number == 0 {
                return self.byte(low);
            }
            self.byte(low | 0x80);
        }
    }

    /// How far `now` is from `before`, up or down: small numbers for small steps of either direction.
    pub(super) fn step(&mut self, now: u64, before: u64) {
        let step = now.wrapping_sub(before).cast_signed();
        self.number((step << 1 ^ step >> 63).cast_unsigned());
    }

    /// A count or an index.
    pub(super) fn count(&mut self, count: usize) {
        self.number(u64::try_from(count).unwrap_or(u64::MAX));
    }

    /// A text, cut at a character when it is too long.
    pub(super) fn text(&mut self, text: &str) {
        let mut end = text.len().min(LONGEST_TEXT);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let bytes = text.as_bytes().get(..end).unwrap_or_default();
        self.count(bytes.len());
        self.bytes.extend_from_slice(bytes);
    }

    /// A list.
    pub(super) fn list<T: Code>(&mut self, list: &[T]) {
        self.count(list.len());
        list.iter().for_each(|item| item.put(self));
    }
}

/// The budget for one frame.
pub(super) const fn budget() -> usize {
    BUDGET
}

impl<'a> In<'a> {
    /// Reads `bytes`.
    pub(super) const fn new(bytes: &'a [u8], names: &'a mut Names, budget: &'a mut usize) -> Self {
        Self { bytes, names, budget }
    }

    /// What was not read yet.
    pub(super) const fn left(&self) -> usize {
        self.bytes.len()
    }

    /// What is left of the budget.
    pub(super) const fn memory(&self) -> usize {
        *self.budget
    }

    /// Takes memory out of the budget.
    pub(super) fn spend(&mut self, memory: usize) -> Result<(), Garbled> {
        *self.budget = self
            .budget
            .checked_sub(memory)
            .ok_or(Garbled("more in one frame than any node says"))?;
        Ok(())
    }

    /// One byte.
    pub(super) fn byte(&mut self) -> Result<u8, Garbled> {
        let (first, rest) = self
            .bytes
            .split_first()
            .ok_or(Garbled("an entry without its end"))?;
        self.bytes = rest;
        Ok(*first)
    }

    /// `length` bytes.
    pub(super) fn bytes(&mut self, length: usize) -> Result<&'a [u8], Garbled> {
        let (first, rest) = self
            .bytes
            .split_at_checked(length)
            .ok_or(Garbled("a length beyond the end"))?;
        self.bytes = rest;
        Ok(first)
    }

    /// See [`Out::number`].
    pub(super) fn number(&mut self) -> Result<u64, Garbled> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                break;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Garbled("a number of more than 64 bits"))
    }

    /// A number that must fit a smaller type.
    pub(super) fn small<T: TryFrom<u64>>(&mut self) -> Result<T, Garbled> {
        T::try_from(self.number()?).map_err(|_beyond| Garbled("a number out of its range"))
    }

    /// See [`Out::step`].
    pub(super) fn step(&mut self, before: u64) -> Result<u64, Garbled> {
        let step = self.number()?;
        let step = step >> 1 ^ (step & 1).wrapping_neg();
        Ok(before.wrapping_add(step))
    }

    /// A step to a number that must fit a smaller type.
    pub(super) fn small_step<T: TryFrom<u64>>(&mut self, before: u64) -> Result<T, Garbled> {
        T::try_from(self.step(before)?).map_err(|_beyond| Garbled("a number out of its range"))
    }

    /// A text.
    pub(super) fn text(&mut self) -> Result<&'a str, Garbled> {
        let length: usize = self.small()?;
        if length > LONGEST_TEXT {
            return Err(Garbled("a text longer than any that is written"));
        }
        let bytes = self.bytes(length)?;
        self.spend(length + TEXT_COST)?;
        str::from_utf8(bytes).map_err(|_not_text| Garbled("a text that is no UTF-8"))
    }

    /// How many items follow, each of at least one byte, and each of `size` bytes in memory.
    pub(super) fn items(&mut self, size: usize) -> Result<usize, Garbled> {
        let count: usize = self.small()?;
        if count > self.left() {
            return Err(Garbled("a list beyond the end"));
        }
        self.spend(count.saturating_mul(size))?;
        Ok(count)
    }

    /// A list.
    pub(super) fn list<T: Code>(&mut self) -> Result<Vec<T>, Garbled> {
        let count = self.items(size_of::<T>().max(1))?;
        let mut list = Vec::with_capacity(count);
        for _ in 0..count {
            list.push(T::take(self)?);
        }
        Ok(list)
    }
}

impl Code for u64 {
    fn put(&self, to: &mut Out) {
        to.number(*self);
    }

    fn take(from: &mut In<'_>) -> Result<Self, Garbled> {
        from.number()
    }
}

impl Code for u32 {
    fn put(&self, to: &mut Out) {
        to.number(u64::from(*self));
    }

    fn take(from: &mut In<'_>) -> Result<Self, Garbled> {
        from.small()
    }
}

impl Code for u16 {
    fn put(&self, to: &mut Out) {
        to.number(u64::from(*self));
    }

    fn take(from: &mut In<'_>) -> Result<Self, Garbled> {
        from.small()
    }
}

impl Code for bool {
    fn put(&self, to: &mut Out) {
        to.byte(u8::from(*self));
    }

    fn take(from: &mut In<'_>) -> Result<Self, Garbled> {
        match from.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Garbled("neither yes nor no")),
        }
    }
}

impl Code for String {
    fn put(&self, to: &mut Out) {
        to.text(self);
    }

    fn take(from: &mut In<'_>) -> Result<Self, Garbled> {
        from.text().map(str::to_owned)
    }
}

impl Code for Arc<str> {
    fn put(&self, to: &mut Out) {
        to.text(self);
    }

    fn take(from: &mut In<'_>) -> Result<Self, Garbled> {
        from.text().map(Self::from)
    }
}

/// A word out of a small fixed list, such as the name of a probe.
impl Code for &'static str {
    fn put(&self, to: &mut Out) {
        let Out { bytes, names } = to;
        names.put(self, bytes);
    }

    fn take(from: &mut In<'_>) -> Result<Self, Garbled> {
        let known = from.small()?;
        if let Some(name) = from.names.get(known)? {
            return Ok(name);
        }
        let text = from.text()?;
        from.names.enter(text)
    }
}

impl Code for Duration {
    fn put(&self, to: &mut Out) {
        to.number(u64::try_from(self.as_nanos()).unwrap_or(u64::MAX));
    }

    fn take(from: &mut In<'_>) -> Result<Self, Garbled> {
        from.number().map(Self::from_nanos)
    }
}

impl<T: Code> Code for Option<T> {
    fn put(&self, to: &mut Out) {
        self.is_some().put(to);
        if let Some(value) = self {
            value.put(to);
        }
    }

    fn take(from: &mut In<'_>) -> Result<Self, Garbled> {
        Ok(match bool::take(from)? {
            true => Some(T::take(from)?),
            false => None,
        })
    }
}

impl<T: Code> Code for Vec<T> {
    fn put(&self, to: &mut Out) {
        to.list(self);
    }

    fn take(from: &mut In<'_>) -> Result<Self, Garbled> {
        from.list()
    }
}

impl<T: Code> Code for Arc<T> {
    fn put(&self, to: &mut Out) {
        self.as_ref().put(to);
    }

    fn take(from: &mut In<'_>) -> Result<Self, Garbled> {
        T::take(from).map(Self::new)
    }
}

impl<A: Code, B: Code> Code for (A, B) {
    fn put(&self, to: &mut Out) {
        self.0.put(to);
        self.1.put(to);
    }

    fn take(from: &mut In<'_>) -> Result<Self, Garbled> {
        Ok((A::take(from)?, B::take(from)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read<T>(bytes: &[u8], read: impl FnOnce(&mut In<'_>) -> Result<T, Garbled>) -> Result<T, Garbled> {
        read(&mut In::new(bytes, &mut Names::default(), &mut budget()))
    }

    #[test]
    fn a_number_takes_a_byte_for_seven_bits_and_never_more_than_64() {
        for (number, bytes) in [
            (0, vec![0]),
            (127, vec![127]),
            (128, vec![0x80, 1]),
            (300, vec![0xac, 2]),
            (u64::MAX, [vec![0xff; 9], vec![1]].concat()),
        ] {
            let mut out = Out::default();
            out.number(number);
            assert_eq!(out.bytes, bytes);
            assert_eq!(read(&bytes, |from| from.number()), Ok(number));
        }
        for wrong in [
            vec![0xff; 10],
            [vec![0xff; 9], vec![2]].concat(),
            vec![0x80],
            vec![],
        ] {
            assert!(read(&wrong, |from| from.number()).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_text_that_is_too_long_is_cut_at_a_character() {
        let mut out = Out::default();
        out.text(&"ä".repeat(LONGEST_TEXT));
        out.text(&format!("x{}", "ä".repeat(LONGEST_TEXT)));
        let lengths = read(&out.bytes, |from| Ok([from.text()?.len(), from.text()?.len()]));
        assert_eq!(lengths, Ok([LONGEST_TEXT, LONGEST_TEXT - 1]));
    }

    #[test]
    fn a_list_costs_its_memory_before_it_is_made() {
        // A million items of one byte each would be 24 MB of texts; four of them are beyond the budget.
        let mut bytes = Vec::new();
        for _ in 0..4 {
            let mut out = Out::default();
            out.count(1_000_000);
            bytes.extend(out.bytes);
            bytes.extend(std::iter::repeat_n(0, 1_000_000));
        }
        let lists = read(&bytes, |from| {
            (0..4)
                .map(|_| from.list::<String>())
                .collect::<Result<Vec<_>, _>>()
        });
        assert!(lists.is_err());
        let beyond = read(&[0xff, 0xff, 0xff, 0x7f, 0, 0], |from| from.list::<u64>());
        assert_eq!(beyond, Err(Garbled("a list beyond the end")));
    }

    proptest! {
        #[test]
        fn steps_and_texts_come_back(now: u64, before: u64, text in ".{0,40}") {
            let mut out = Out::default();
            out.step(now, before);
            out.text(&text);
            let back = read(&out.bytes, |from| Ok((from.step(before)?, from.text()?.to_owned(), from.left())));
            prop_assert_eq!(back, Ok((now, text, 0)));
        }
    }
}
