//! NumPy's `RandomState`: the Mersenne twister MT19937 (Matsumoto & Nishimura 1998) behind NumPy's old functions, whose
//! numbers NumPy has frozen (NEP 19). Other tools draw their subsets and splits with it, so their scores can only be
//! repeated with the same draws.

/// Numbers of the state, and the distance of the recurrence.
const N: usize = 624;
const M: usize = 397;
const UPPER: u32 = 0x8000_0000;
const TWIST: u32 = 0x9908_b0df;

/// `numpy.random.RandomState(seed)`.
#[derive(Clone)]
pub struct RandomState {
    state: [u32; N],
    next: usize,
}

impl RandomState {
    /// From a seed as NumPy takes it, below 2³².
    pub fn new(seed: u32) -> Self {
        let mut state = [seed; N];
        for i in 1..N {
            let before = state[i - 1];
            state[i] = 1_812_433_253_u32.wrapping_mul(before ^ (before >> 30)).wrapping_add(i as u32);
        }
        Self { state, next: N }
    }

    /// The next 32 bits.
    fn draw(&mut self) -> u32 {
        if self.next == N {
            for i in 0..N {
                let mixed = (self.state[i] & UPPER) | (self.state[(i + 1) % N] & !UPPER);
                let twist = if mixed & 1 == 1 { TWIST } else { 0 };
                self.state[i] = self.state[(i + M) % N] ^ (mixed >> 1) ^ twist;
            }
            self.next = 0;
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    /// A whole number from 0 to `most`, by refusing what is too large under the smallest mask of ones.
    fn up_to(&mut self, most: u32) -> u32 {
        if most == 0 {
            return 0;
        }
        let mask = u32::MAX >> most.leading_zeros();
        loop {
            let value = self.draw() & mask;
            if value <= most {
                return value;
            }
        }
    }

    /// `permutation(n)`; n below 2³².
    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut places: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            let other = self.up_to(u32::try_from(i).unwrap_or(u32::MAX)) as usize;
            places.swap(i, other);
        }
        places
    }

    /// `choice(n, size, replace=False)`.
    pub fn choice(&mut self, n: usize, size: usize) -> Vec<usize> {
        let mut places = self.permutation(n);
        places.truncate(size);
        places
    }
}
