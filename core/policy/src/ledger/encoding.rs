//! Three ways to write down runs in few bytes. The done map takes the shortest.
//!
//! | tag | encoding      | good when                                              |
//! |-----|---------------|--------------------------------------------------------|
//! | 1   | byte varints  | runs are long: a few slow messages among thousands     |
//! | 2   | nibble varints | runs are mostly of 1 to 64: many handlers, some slower |
//! | 3   | bitset        | nearly every second one is done                        |
//!
//! Runs are lengths: open, done, open, done, ..., beginning with the first open offset and ending
//! with a done run. A length is never zero, so what is written is the length less one. Byte varints
//! are LEB128; nibble varints are the same with three bits and a continuation bit, the lower half of a
//! byte first. An upper half
//! at the very end that begins a number is padding.
//!
//! Reading is bounded by what is read, never by the numbers in it: a length is two numbers in
//! memory however large it says it is.

const BYTES: u8 = 1;
const NIBBLES: u8 = 2;
const BITSET: u8 = 3;

/// Writes lengths in the shortest way, tag first. `limit` is the room in bytes; `None`: too long.
pub(super) fn encode(lengths: &[u64], limit: usize) -> Option<Vec<u8>> {
    debug_assert!(lengths.len().is_multiple_of(2) && lengths.iter().all(|&length| length > 0));
    [Some(bytes(lengths)), Some(nibbles(lengths)), bitset(lengths, limit)]
        .into_iter()
        .flatten()
        .min_by_key(Vec::len)
        .filter(|shortest| shortest.len() <= limit)
}

/// What bounds the size of lengths whose open offsets may become done.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Growth {
    nibbles: usize,
    bytes: usize,
}

impl Growth {
    pub(super) fn of(lengths: &[u64]) -> Self {
        Self { nibbles: nibbles(lengths).len(), bytes: bytes(lengths).len() }
    }

    /// How many bytes it can take at most, whichever of `open` offsets become done, where all known
    /// offsets span so many.
    ///
    /// However a length of n is divided, its parts take n nibbles, or n bytes, at most; and what has
    /// been done grows, by n, by no more than those. A bitset takes what its span takes.
    pub(super) fn at_most(self, open: usize, span: u64) -> usize {
        let nibbles = self.nibbles.saturating_add(open.div_ceil(2));
        let bytes = self.bytes.saturating_add(open);
        let bitset = usize::try_from(span.div_ceil(8)).unwrap_or(usize::MAX).saturating_add(1);
        nibbles.min(bytes).min(bitset)
    }
}

/// Reads lengths back. `None` for anything that [`encode`] cannot have written.
pub(super) fn decode(raw: &[u8]) -> Option<Vec<u64>> {
    let (&tag, raw) = raw.split_first()?;
    let lengths = match tag {
        BYTES => read_bytes(raw)?,
        NIBBLES => read_nibbles(raw)?,
        BITSET => read_bitset(raw),
        _ => return None,
    };
    lengths.len().is_multiple_of(2).then_some(lengths)
}

fn bytes(lengths: &[u64]) -> Vec<u8> {
    let mut out = vec![BYTES];
    for length in lengths {
        let mut rest = length - 1;
        while rest > 0x7f {
            out.push((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        out.push(rest as u8);
    }
    out
}

fn read_bytes(raw: &[u8]) -> Option<Vec<u64>> {
    let mut digits = Digits::<7>::default();
    let lengths =
        raw.iter().filter_map(|byte| digits.next(byte & 0x7f, byte & 0x80 != 0)).collect();
    (digits.finished() && !digits.overflown).then_some(lengths)
}

fn nibbles(lengths: &[u64]) -> Vec<u8> {
    let mut out = vec![NIBBLES];
    let mut half = None;
    let mut push = |nibble: u8| match half.take() {
        None => half = Some(nibble),
        Some(low) => out.push(low | nibble << 4),
    };
    for length in lengths {
        let mut rest = length - 1;
        while rest > 0x7 {
            push((rest & 0x7) as u8 | 0x8);
            rest >>= 3;
        }
        push(rest as u8);
    }
    if let Some(low) = half {
        out.push(low | 0x80);
    }
    out
}

fn read_nibbles(raw: &[u8]) -> Option<Vec<u64>> {
    let mut digits = Digits::<3>::default();
    let mut lengths = Vec::with_capacity(raw.len());
    for (i, byte) in raw.iter().enumerate() {
        lengths.extend(digits.next(byte & 0x7, byte & 0x8 != 0));
        let padding = i + 1 == raw.len() && byte >> 4 == 0x8 && digits.finished();
        if !padding {
            lengths.extend(digits.next(byte >> 4 & 0x7, byte & 0x80 != 0));
        }
    }
    (digits.finished() && !digits.overflown).then_some(lengths)
}

/// A bit for each offset, 1 when it is done; the lowest bit first. The last byte is not zero.
fn bitset(lengths: &[u64], limit: usize) -> Option<Vec<u8>> {
    let span = lengths.iter().try_fold(0u64, |sum, &length| sum.checked_add(length))?;
    let span = usize::try_from(span).ok().filter(|span| span / 8 < limit)?;
    let mut out = vec![0; 1 + span.div_ceil(8)];
    out[0] = BITSET;
    let mut at = 0;
    for (i, &length) in lengths.iter().enumerate() {
        let end = at + length as usize;
        if i % 2 == 1 {
            (at..end).for_each(|bit| out[1 + bit / 8] |= 1 << (bit % 8));
        }
        at = end;
    }
    Some(out)
}

fn read_bitset(raw: &[u8]) -> Vec<u64> {
    let mut lengths = Vec::new();
    let (mut length, mut was_done) = (0, false);
    for bit in 0..raw.len() * 8 {
        let done = raw[bit / 8] & 1 << (bit % 8) != 0;
        if done != was_done {
            lengths.push(length);
            (length, was_done) = (0, done);
        }
        length += 1;
    }
    // What is open at the end is not part of the map: everything behind it is open as well.
    if was_done {
        lengths.push(length);
    }
    // The first offset is open by definition; if it is not, a zero here says so to the caller.
    lengths
}

/// Puts numbers together from groups of `BITS` bits, lowest first.
#[derive(Default)]
struct Digits<const BITS: u32> {
    value: u64,
    shift: u32,
    overflown: bool,
}

impl<const BITS: u32> Digits<BITS> {
    /// One more group; the number's length, if it is the last one.
    fn next(&mut self, group: u8, more: bool) -> Option<u64> {
        let group = u64::from(group);
        if self.shift >= u64::BITS || group << self.shift >> self.shift != group {
            self.overflown = true;
            return None;
        }
        self.value |= group << self.shift;
        if more {
            self.shift += BITS;
            return None;
        }
        let length = self.value.checked_add(1);
        self.overflown |= length.is_none();
        (self.value, self.shift) = (0, 0);
        length
    }

    /// Whether no number is half read.
    fn finished(&self) -> bool {
        self.shift == 0 && self.value == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMIT: usize = 3_000;

    /// Lengths of all sizes, an even number of them.
    fn lengths() -> impl Strategy<Value = Vec<u64>> {
        let length = prop_oneof![
            8 => 1u64..4,
            4 => 1u64..100,
            1 => 1u64..1_000_000,
            1 => any::<u64>().prop_map(|n| n.max(1)),
        ];
        prop::collection::vec((length.clone(), length), 0..100)
            .prop_map(|pairs| pairs.into_iter().flat_map(|(open, done)| [open, done]).collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn every_encoding_reads_back(lengths in lengths()) {
            let ways = [Some(bytes(&lengths)), Some(nibbles(&lengths)), bitset(&lengths, LIMIT)];
            let shortest = encode(&lengths, LIMIT);
            for written in ways.into_iter().chain([shortest]).flatten() {
                prop_assert_eq!(decode(&written), Some(lengths.clone()), "tag {}", written[0]);
            }
        }

        #[test]
        fn reading_anything_is_bounded(raw in prop::collection::vec(any::<u8>(), 0..300), tag in 0u8..5) {
            let raw: Vec<u8> = std::iter::once(tag).chain(raw).collect();
            if let Some(lengths) = decode(&raw) {
                prop_assert!(lengths.len() <= 8 * raw.len());
            }
        }
    }

    #[test]
    fn each_encoding_wins_where_it_is_said_to() {
        let tag = |lengths: &[u64]| encode(lengths, LIMIT).map(|raw| raw[0]);
        assert_eq!(tag(&[1, 1000, 1, 2000, 1, 1500]), Some(NIBBLES));
        assert_eq!(tag(&[1, 100_000, 120, 100, 100_000, 120]), Some(BYTES));
        assert_eq!(tag(&[1, 20, 3, 7, 8, 20].repeat(20)), Some(NIBBLES));
        assert_eq!(tag(&[1, 1, 2, 1, 1, 2].repeat(20)), Some(BITSET));
    }

    #[test]
    fn a_number_too_large_is_refused() {
        for raw in [vec![0xff; 11], [vec![0xff; 9], vec![0x02]].concat(), vec![0x80]] {
            assert_eq!(decode(&[vec![BYTES], raw.clone()].concat()), None, "{raw:x?}");
        }
        assert_eq!(decode(&[vec![NIBBLES], vec![0xff; 40]].concat()), None);
    }

    #[test]
    fn what_has_no_room_is_not_written() {
        assert_eq!(encode(&[1, 1].repeat(2 * 8 * LIMIT), LIMIT), None);
    }

    /// A lower half of 8 begins a number; only an upper half can be padding.
    #[test]
    fn a_number_that_begins_in_the_last_byte_is_no_padding() {
        for lengths in [[1, 9], [9, 1], [9, 9]] {
            assert_eq!(decode(&nibbles(&lengths)), Some(lengths.to_vec()));
        }
    }
}
