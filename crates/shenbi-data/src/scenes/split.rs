//! The combinations of colour and shape that training never sees.

use rand_chacha::ChaCha8Rng;

use super::words::{Colour, Shape};
use crate::rng::below;

/// Which combinations of colour and shape appear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Split {
    /// No object is one of [`HELD_OUT`].
    Train,
    /// Every object is one of [`HELD_OUT`] (with two objects: both): what a model paints for these it cannot have
    /// memorised.
    HeldOut,
}

/// 18 of the 120 combinations: every shape and every colour is in one or two of them.
pub const HELD_OUT: [(Colour, Shape); 18] = [
    (Colour::Purple, Shape::Circle),
    (Colour::Orange, Shape::Square),
    (Colour::Blue, Shape::Square),
    (Colour::Yellow, Shape::Triangle),
    (Colour::Green, Shape::Star),
    (Colour::Pink, Shape::Star),
    (Colour::Blue, Shape::Heart),
    (Colour::Brown, Shape::Heart),
    (Colour::Red, Shape::Ring),
    (Colour::Orange, Shape::Cross),
    (Colour::White, Shape::Cross),
    (Colour::Purple, Shape::Crescent),
    (Colour::Green, Shape::Crescent),
    (Colour::Pink, Shape::House),
    (Colour::Red, Shape::Tree),
    (Colour::Yellow, Shape::Fish),
    (Colour::Brown, Shape::Fish),
    (Colour::Black, Shape::Flower),
];

/// Whether training never sees this combination.
#[must_use]
pub fn is_held_out(colour: Colour, shape: Shape) -> bool {
    HELD_OUT.contains(&(colour, shape))
}

/// A combination of `split`, each equally likely.
pub(super) fn combination(rng: &mut ChaCha8Rng, split: Split) -> (Colour, Shape) {
    match split {
        Split::HeldOut => HELD_OUT[below(rng, HELD_OUT.len() as u64) as usize],
        Split::Train => loop {
            let colour = Colour::ALL[below(rng, Colour::ALL.len() as u64) as usize];
            let shape = Shape::ALL[below(rng, Shape::ALL.len() as u64) as usize];
            if !is_held_out(colour, shape) {
                return (colour, shape);
            }
        },
    }
}
