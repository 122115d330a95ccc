//! A block of bf16 elements as words of two: those of even index are the lower halves, those of odd index the upper ones.
//!
//! Elements and f32 are then of one width, and instruction sets need not rearrange lanes to get from one to the other.

use super::BLOCK;

const WORDS: usize = BLOCK / 2;

/// Decodes up to [`BLOCK`] bf16 elements: those of even index into the first half of `out`, those of odd index into the second;
/// what is missing is 0.
#[inline(always)]
pub(crate) fn decode_bf16_halves(bytes: &[u8], out: &mut [f32; BLOCK]) {
    let (even, odd) = out.split_at_mut(WORDS);
    let (words, rest) = bytes.as_chunks();
    if words.len() < WORDS {
        even.fill(0.0);
        odd.fill(0.0);
    }
    for ((even, odd), raw) in even.iter_mut().zip(odd.iter_mut()).zip(words) {
        let word = u32::from_le_bytes(*raw);
        *even = f32::from_bits(word << 16);
        *odd = f32::from_bits(word & 0xffff_0000);
    }
    if let [low, high] = *rest {
        even[words.len()] = f32::from_bits(u32::from(u16::from_le_bytes([low, high])) << 16);
    }
}

/// Writes up to [`BLOCK`] elements that are f32 bits without a lower half, in the order of [`decode_bf16_halves`].
#[inline(always)]
pub(crate) fn encode_bf16_halves(bits: &[u32; BLOCK], out: &mut [u8]) {
    let (even, odd) = bits.split_at(WORDS);
    let (words, rest) = out.as_chunks_mut();
    let count = words.len();
    for ((raw, even), odd) in words.iter_mut().zip(even).zip(odd) {
        *raw = (even >> 16 | odd).to_le_bytes();
    }
    if let [low, high] = rest {
        [*low, *high] = ((even[count] >> 16) as u16).to_le_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_come_back_whatever_their_number() {
        for count in [0, 1, 2, 3, BLOCK - 1, BLOCK] {
            let elements: Vec<u16> = (0..count).map(|i| (i as u16).wrapping_mul(40_503)).collect();
            let bytes: Vec<u8> = elements.iter().flat_map(|bits| bits.to_le_bytes()).collect();
            let mut values = [1.0; BLOCK];
            decode_bf16_halves(&bytes, &mut values);
            for (index, bits) in elements.iter().enumerate() {
                assert_eq!(values[index % 2 * WORDS + index / 2].to_bits(), u32::from(*bits) << 16);
            }
            assert_eq!(
                values.iter().filter(|value| value.to_bits() == 0).count(),
                BLOCK - count + usize::from(count > 0)
            );
            let mut out = vec![0; bytes.len()];
            encode_bf16_halves(&values.map(f32::to_bits), &mut out);
            assert_eq!(out, bytes);
        }
    }
}
