//! Networks to named tensors and back: the content of checkpoints and model files.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{DType, Tensor, TensorData};

/// A tensor outside any device: shape and values.
#[derive(Clone, Debug, PartialEq)]
pub struct Values {
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// Row-major.
    pub data: Vec<f32>,
}

/// Tensors by name, in alphabetical order.
pub type Named = BTreeMap<String, Values>;

/// Why named tensors do not fit a network.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// A tensor that the network needs is absent.
    #[error("tensor '{0}' is missing")]
    Missing(String),
    /// A tensor has another shape.
    #[error("tensor '{name}' has shape {found:?}, the network needs {expected:?}")]
    Shape {
        /// Its name.
        name: String,
        /// In the file.
        found: Vec<usize>,
        /// In the network.
        expected: Vec<usize>,
    },
}

/// Every parameter and buffer of `module`, named by its path with dots, under `prefix`.
pub fn collect<M: Module>(module: &M, prefix: &str) -> Named {
    let mut visitor = Collect { path: vec![prefix.to_string()], named: Named::new() };
    module.visit(&mut visitor);
    visitor.named
}

/// `module` with the tensors of `named` in place of its own. Every parameter must be there, with its shape.
///
/// # Errors
/// A tensor is missing or has another shape.
pub fn apply<M: Module>(module: M, named: &Named, prefix: &str) -> Result<M, WeightsError> {
    let mut mapper = Apply { path: vec![prefix.to_string()], named, error: None };
    let module = module.map(&mut mapper);
    match mapper.error {
        Some(error) => Err(error),
        None => Ok(module),
    }
}

/// `module` with those tensors of `named` that have the name and the shape of one of its own, and how many of how many
/// these are.
pub fn apply_fitting<M: Module>(module: M, named: &Named, prefix: &str) -> (M, Fitted) {
    let mut mixed = collect(&module, prefix);
    let mut fitted = Fitted { copied: 0, all: mixed.len() };
    for (name, values) in &mut mixed {
        if let Some(given) = named.get(name).filter(|given| given.shape == values.shape) {
            values.clone_from(given);
            fitted.copied += 1;
        }
    }
    // Every name and shape is the module's own.
    let module = apply(module.clone(), &mixed, prefix).unwrap_or(module);
    (module, fitted)
}

/// How many tensors of a network another one could give.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fitted {
    /// So many were copied...
    pub copied: usize,
    /// ...of so many that the network has.
    pub all: usize,
}

fn join(path: &[String]) -> String {
    path.iter().filter(|part| !part.is_empty()).cloned().collect::<Vec<_>>().join(".")
}

/// The values of a tensor, as f32.
pub fn values<const D: usize>(tensor: Tensor<D>) -> Values {
    let shape = tensor.dims().to_vec();
    let data = tensor.without_autodiff().into_data_dtype(DType::F32);
    // The conversion above makes the element type right, so this cannot fail.
    Values { shape, data: data.try_into_vec::<f32>().unwrap_or_default() }
}

/// A step down the path of a parameter. Which variant of an enum a network is, is no part of its parameters' names.
pub(crate) fn enter(path: &mut Vec<String>, name: &str, container_type: &str) {
    if !container_type.starts_with("Enum:") {
        path.push(name.to_string());
    }
}

/// The step back.
pub(crate) fn exit(path: &mut Vec<String>, container_type: &str) {
    if !container_type.starts_with("Enum:") {
        path.pop();
    }
}

struct Collect {
    path: Vec<String>,
    named: Named,
}

impl ModuleVisitor for Collect {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        enter(&mut self.path, name, container_type);
    }

    fn exit_module(&mut self, _name: &str, container_type: &str) {
        exit(&mut self.path, container_type);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.named.insert(join(&self.path), values(param.val()));
    }
}

struct Apply<'a> {
    path: Vec<String>,
    named: &'a Named,
    error: Option<WeightsError>,
}

impl ModuleMapper for Apply<'_> {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        enter(&mut self.path, name, container_type);
    }

    fn exit_module(&mut self, _name: &str, container_type: &str) {
        exit(&mut self.path, container_type);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let name = join(&self.path);
        let Some(values) = self.named.get(&name) else {
            self.error.get_or_insert(WeightsError::Missing(name));
            return param;
        };
        let expected = param.dims().to_vec();
        if values.shape != expected {
            self.error.get_or_insert(WeightsError::Shape { name, found: values.shape.clone(), expected });
            return param;
        }
        let data = TensorData::new(values.data.clone(), values.shape.clone());
        param.map(|old| {
            let requires_grad = old.is_require_grad();
            Tensor::from_data(data, &old.device()).set_require_grad(requires_grad)
        })
    }
}
