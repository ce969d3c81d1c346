//! The counts by which a model file is checked before anything is allocated.

use burn::module::Module;
use burn::tensor::Device;
use shenbi_models::encoder::text::{TextConfig, TextEncoder};
use shenbi_models::text_to_image::brush::{BrushConfig, Generator};
use shenbi_nn::Init;

#[test]
fn counts_are_those_of_the_networks() {
    let brush = BrushConfig {
        size: [48, 96],
        channels: 4,
        noise: 7,
        sentence: 12,
        generator_width: 5,
        refine_width: 3,
        discriminator_width: 4,
        features: 9,
    };
    let mut init = Init::zeros(&Device::flex());
    let generator = Generator::new(&brush, &mut init).unwrap();
    assert_eq!(brush.parameters().unwrap(), generator.num_params());
    let text = TextConfig { width: 16, layers: 3, heads: 2, sentence: 12, ..TextConfig::default() };
    assert_eq!(text.parameters(300), TextEncoder::new(&text, 300, &mut init).num_params());
}
