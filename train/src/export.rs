//! A trained twin as a Hugging Face folder: F16 weights, config, tokenizer, and the recipe that made it.
//!
//! ```text
//!   fp16                       LLaMA, as it is
//!   b1.58                      the latent weights: whoever runs them makes them ternary by the mean
//!   b1.58-absmedian, bitnet    the quantized weights, code times scale: one magnitude in a tensor, which b158 takes
//!                              as the codes that they are (the mean would be another scale)
//!   bnn, bitnet in groups      the latent weights, with a quantization that every reader refuses: nothing executes
//!                              signs of activations, or several scales in a tensor
//! ```

use std::path::Path;

use b158_checkpoint::{
    ModelConfig, OutputFolder, TensorInfo, TensorType,
    safetensors::{SafetensorsPlan, SafetensorsWriter},
};
use half::f16;
use serde_json::json;

use crate::{
    Error, Scheme,
    held_out::HeldOut,
    parameters::Parameter,
    recipe::{RecipeFile, Twin},
    tokenizer::Vocabulary,
};

/// What goes into the folder besides weights.
pub struct Export<'a> {
    /// The recipe.
    pub recipe: &'a RecipeFile,
    /// The twin.
    pub twin: &'a Twin,
    /// Its config, with its tokens.
    pub config: &'a ModelConfig,
    /// Its tokenizer.
    pub vocabulary: &'a Vocabulary,
    /// Digest of the text.
    pub data: &'a str,
    /// The last measurement.
    pub held_out: HeldOut,
}

impl Export<'_> {
    /// Writes the folder, whole or not at all.
    ///
    /// # Errors
    /// A folder that is not ours or cannot be written; a weight that is not finite, or beyond what F16 holds.
    pub fn write(&self, path: &Path, parameters: &[Parameter]) -> Result<(), Error> {
        let folder = OutputFolder::create(path)?;
        let name = |parameter: &Parameter| parameter.id.hugging_face_name(self.config.architecture);
        let infos = parameters
            .iter()
            .map(|p| TensorInfo { name: name(p), dtype: TensorType::F16, shape: p.shape.clone() })
            .collect();
        let plan = SafetensorsPlan::new(infos, None)?;
        let mut writer = SafetensorsWriter::new(&plan, |file| folder.file(file).map_err(|e| e.source))
            .map_err(|e| folder.error(e))?;
        for parameter in parameters {
            let values = self.values(parameter)?;
            let values: Vec<f16> = values.into_iter().map(f16::from_f32).collect();
            if !values.iter().all(|v| v.is_finite()) {
                return Err(Error::NotFinite);
            }
            let bytes: Vec<u8> = values.into_iter().flat_map(f16::to_le_bytes).collect();
            writer.write_tensor(&name(parameter), &bytes).map_err(|e| folder.error(e))?;
        }
        writer.finish().map_err(|e| folder.error(e))?;
        folder.write("config.json", self.config_json().as_bytes())?;
        folder.write("generation_config.json", self.generation_config_json().as_bytes())?;
        folder.write("tokenizer.json", self.vocabulary.json.as_bytes())?;
        let tokenizer = self.vocabulary.config_json(self.config.context_length);
        folder.write("tokenizer_config.json", tokenizer.as_bytes())?;
        let recipe = serde_json::to_string_pretty(&self.recipe.recipe).expect("a recipe is data");
        folder.write("recipe.json", format!("{recipe}\n").as_bytes())?;
        Ok(folder.commit()?)
    }

    fn values(&self, parameter: &Parameter) -> Result<Vec<f32>, Error> {
        let quantized =
            matches!(self.twin.scheme, Scheme::B158Absmedian | Scheme::BitNet) && self.twin.groups == 1;
        if quantized && parameter.id.is_linear() {
            self.twin.scheme.weights(&parameter.values, 1)
        } else {
            Ok(parameter.values.clone())
        }
    }

    fn config_json(&self) -> String {
        let text = self.config.to_json(TensorType::F16, None);
        let mut config: serde_json::Value = serde_json::from_str(&text).expect("our own JSON");
        if self.twin.scheme == Scheme::Bnn || self.twin.groups > 1 {
            let method = if self.twin.groups > 1 { "b158-bitnet-groups" } else { "b158-bnn" };
            config["quantization_config"] = json!({"quant_method": method});
        }
        let recipe = &self.recipe.recipe;
        config["b158"] = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "recipe": recipe.recipe,
            "recipe_sha256": recipe.digest(),
            "data_sha256": self.data,
            "twin": self.twin.name,
            "scheme": self.twin.scheme.name(),
            "steps": recipe.steps,
            "tokens": recipe.tokens(),
            "held_out_perplexity": self.held_out.perplexity,
        });
        format!("{config:#}\n")
    }

    fn generation_config_json(&self) -> String {
        let end = self.config.eos_tokens.first();
        let config = json!({"bos_token_id": self.config.bos_token, "eos_token_id": end, "do_sample": false});
        format!("{config:#}\n")
    }
}
