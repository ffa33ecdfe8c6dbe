//! What to know before an output is used: what it is not, and who will not read it.

use b158_checkpoint::{Architecture, ModelConfig, TensorType, gguf::metadata};

use crate::{
    Format, Report, Scheme,
    format::Container,
    job::Job,
    plan::{Content, Step},
};

/// One sentence for each.
pub(crate) fn warnings(job: &Job, report: &Report) -> Vec<String> {
    let config = job.checkpoint.config();
    let mut out = job.checkpoint.notes().to_vec();
    let mut warn = |text: &str| out.push(text.to_owned());

    let ternarized = report.tensors.iter().any(|t| t.ternarized);
    if ternarized && config.ternary_linears && job.scheme != Scheme::Absmean {
        warn(&format!(
            "this model ternarizes its weights itself, by absmean: with codes by {} it is another model",
            job.scheme
        ));
    }
    if !job.masters && job.options.scheme.is_some_and(|scheme| scheme != Scheme::None) {
        warn("the scheme is not used: the weights are ternary already");
    }
    if let Some(error) = report.relative_error {
        warn(&format!(
            "this model was not trained with ternary weights: its codes differ from its weights by {:.0} % of their norm. Ternarized afterwards, a model usually loses most of its quality: evaluate it before use",
            100.0 * error
        ));
    }
    if rounds_masters(job) {
        warn(&format!(
            "master weights rounded to {} may have other codes than the source's when they are ternarized: f32, or the source's own type, keeps them",
            job.options.format
        ));
    }
    match job.container {
        Container::Gguf => out.extend(refused_by(config, job.options.format)),
        Container::HuggingFace => {
            if config.architecture == Architecture::BitNet1bitLlm {
                warn(
                    "transformers has no class for 1bitLLM's layout: it takes the folder for a LLaMA and drops the inner norms",
                );
            }
            if config.ternary_linears && !job.options.format.is_packed() && !report.tensors.is_empty() {
                warn(
                    "transformers ternarizes these weights once more when it runs them, with their mean as scale, which the zeros among them make smaller: for transformers, convert to hf",
                );
            }
        }
    }
    out
}

/// Whether master weights of a ternary model lose digits. (Codes and their one magnitude are another matter:
/// they have a scale, whose change is reported.)
fn rounds_masters(job: &Job) -> bool {
    let target = job.options.format.tensor_type();
    let exact = |source: TensorType| source == target || target == TensorType::F32;
    let rounds = |step: &Step| {
        let source = job.checkpoint.tensor(step.id).map(|tensor| tensor.dtype);
        matches!(step.content, Content::Linear { .. })
            && source.is_ok_and(|source| source.is_full_precision() && !exact(source))
    };
    job.checkpoint.config().ternary_linears
        && !job.options.format.is_packed()
        && job.options.scheme() == Scheme::None
        && job.masters
        && job.steps.iter().any(rounds)
}

/// Who refuses a GGUF file, where that is not plain from its format.
fn refused_by(config: &ModelConfig, format: Format) -> Option<String> {
    let name = metadata::architecture_name(config);
    let bitnet_cpp = matches!(format, Format::Blocks(blocks) if !blocks.block_scales());
    let reason = match name {
        "bitnet-b1.58" if !bitnet_cpp => "llama.cpp does not compute squared ReLU",
        name if !name.starts_with("b158-") => return None,
        _ if config.linear_norm_eps.is_some() => {
            "llama.cpp and bitnet.cpp know no norms inside linear layers"
        }
        _ if config.architecture == Architecture::Llama => {
            "llama.cpp and bitnet.cpp compute LLaMA with SiLU only"
        }
        _ => {
            "llama.cpp and bitnet.cpp take a BitNet's embedding for its output head, and this model has a head of its own"
        }
    };
    Some(format!("{reason}; the file names its architecture `{name}`, which makes them refuse it"))
}
