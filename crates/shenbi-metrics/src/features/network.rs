//! The networks behind one face.

use burn::tensor::Tensor;
use shenbi_models::backbone::{
    GoogLeNet, InceptionV3, ResNet, SqueezeNet, Vgg16, Vit, googlenet, inception, squeezenet,
};

/// One of the networks.
pub enum Network {
    /// Whether logits have the bias.
    Inception(InceptionV3, bool),
    GoogLeNet(GoogLeNet),
    Vgg16(Vgg16),
    ResNet(ResNet),
    SqueezeNet(SqueezeNet),
    Vit(Vit),
}

impl Network {
    /// Numbers in a picture's features.
    pub fn dim(&self) -> usize {
        match self {
            Self::Inception(..) => inception::FEATURES,
            Self::GoogLeNet(_) => googlenet::FEATURES,
            Self::Vgg16(network) => network.dim(),
            Self::ResNet(network) => network.classify.weight.dims()[1],
            Self::SqueezeNet(_) => squeezenet::FEATURES,
            Self::Vit(network) => network.dim(),
        }
    }

    /// Its classes, where it is a classifier.
    pub fn classes(&self) -> Option<usize> {
        match self {
            Self::Inception(network, _) => Some(network.classify.weight.dims()[0]),
            Self::GoogLeNet(network) => Some(network.classify.weight.dims()[0]),
            Self::Vgg16(network) => network.head.get(2).map(|layer| layer.weight.dims()[0]),
            Self::ResNet(network) => Some(network.classify.weight.dims()[0]),
            Self::SqueezeNet(_) => Some(squeezenet::CLASSES),
            Self::Vit(_) => None,
        }
    }

    /// Features, and logits where they are wanted and there are any.
    ///
    /// # Shapes
    /// x: `[b, 3, side, side]` as prepared, returns `[b, dim]` and `[b, classes]`.
    pub fn look(&self, x: Tensor<4>, logits: bool) -> (Tensor<2>, Option<Tensor<2>>) {
        if let Self::SqueezeNet(network) = self
            && logits
        {
            let (features, logits) = network.features_and_logits(x);
            return (features, Some(logits));
        }
        let features = match self {
            Self::Inception(network, _) => network.features(x),
            Self::GoogLeNet(network) => network.features(x),
            Self::Vgg16(network) => network.features(x),
            Self::ResNet(network) => network.features(x),
            Self::SqueezeNet(network) => network.features(x),
            Self::Vit(network) => network.features(x),
        };
        if !logits {
            return (features, None);
        }
        let logits = match self {
            Self::Inception(network, bias) => Some(network.logits(features.clone(), *bias)),
            Self::GoogLeNet(network) => Some(network.logits(features.clone())),
            Self::Vgg16(network) => network.logits(features.clone()),
            Self::ResNet(network) => Some(network.logits(features.clone())),
            Self::SqueezeNet(_) | Self::Vit(_) => None,
        };
        (features, logits)
    }
}
