//! SHA-256 for the reader, written from FIPS 180-4: the constants are made from the first
//! primes, as chapters 4.2.2 and 5.3.3 there say where they come from.
#![allow(clippy::big_endian_bytes, reason = "SHA-256 is")]

/// The hash of a message, as 64 lower-case hexadecimal digits.
pub(crate) fn sha_256(message: &[u8]) -> Vec<u8> {
    let primes: Vec<u128> = (2_u128..).filter(|n| (2..*n).all(|d| n % d != 0)).take(64).collect();
    // The first 32 bits behind the point of square and cube roots.
    let mut hash: Vec<u32> = primes[..8].iter().map(|prime| root(prime << 64, 2) as u32).collect();
    let constants: Vec<u32> = primes.iter().map(|prime| root(prime << 96, 3) as u32).collect();
    let mut padded = message.to_vec();
    padded.push(0x80);
    padded.resize((padded.len() + 8).next_multiple_of(64) - 8, 0);
    padded.extend_from_slice(&(8 * message.len() as u64).to_be_bytes());
    for block in padded.chunks_exact(64) {
        let word = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().unwrap());
        let mut schedule: Vec<u32> = block.chunks_exact(4).map(word).collect();
        for t in 16..64 {
            let [w2, w15] = [schedule[t - 2], schedule[t - 15]];
            let s0 = w15.rotate_right(7) ^ w15.rotate_right(18) ^ w15 >> 3;
            let s1 = w2.rotate_right(17) ^ w2.rotate_right(19) ^ w2 >> 10;
            let sum = s1.wrapping_add(schedule[t - 7]).wrapping_add(s0);
            schedule.push(sum.wrapping_add(schedule[t - 16]));
        }
        let mut v = hash.clone();
        for (constant, word) in constants.iter().zip(&schedule) {
            let s1 = v[4].rotate_right(6) ^ v[4].rotate_right(11) ^ v[4].rotate_right(25);
            let choice = v[4] & v[5] ^ !v[4] & v[6];
            let t1 = [s1, choice, *constant, *word].iter().fold(v[7], |a, b| a.wrapping_add(*b));
            let s0 = v[0].rotate_right(2) ^ v[0].rotate_right(13) ^ v[0].rotate_right(22);
            let majority = v[0] & v[1] ^ v[0] & v[2] ^ v[1] & v[2];
            v.rotate_right(1);
            v[4] = v[4].wrapping_add(t1);
            v[0] = t1.wrapping_add(s0).wrapping_add(majority);
        }
        for (sum, more) in hash.iter_mut().zip(v) {
            *sum = sum.wrapping_add(more);
        }
    }
    hash.iter().flat_map(|word| format!("{word:08x}").into_bytes()).collect()
}

/// The whole part of a root.
fn root(of: u128, degree: u32) -> u128 {
    let (mut low, mut high) = (0u128, 1 << 36);
    while high - low > 1 {
        let middle = (low + high) / 2;
        let fits = middle.checked_pow(degree).is_some_and(|power| power <= of);
        *if fits { &mut low } else { &mut high } = middle;
    }
    low
}
