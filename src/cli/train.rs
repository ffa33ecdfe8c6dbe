//! The verb that trains twins.

use std::path::PathBuf;

use clap::Args;

#[cfg(feature = "train")]
#[derive(Args)]
pub struct TrainArgs {
    /// Recipe file: shape, text, steps and twins
    pub recipe: PathBuf,
    /// Folder for the twins, their loss curves and states to go on from [default: target/b158/train/RECIPE]
    #[arg(short, long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// Where the recipe's text files are [default: beside the recipe]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Go on from the states in the folder, as if the run had not been interrupted
    #[arg(long)]
    pub resume: bool,
    /// Keep the states (latent weights, optimizer) of twins that are done
    #[arg(long)]
    pub keep_states: bool,
    /// Where to compute
    #[arg(long, value_enum, default_value_t)]
    pub device: TrainDevice,
}

/// What `train --device` can ask for.
#[cfg(feature = "train")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum TrainDevice {
    /// The processor, on all threads
    #[default]
    Cpu,
    /// The first CUDA device
    #[cfg(feature = "cuda")]
    Cuda,
}

#[cfg(feature = "train")]
impl TrainDevice {
    /// The device itself.
    #[cfg_attr(not(feature = "cuda"), expect(clippy::unnecessary_wraps, reason = "a CUDA device can fail"))]
    pub fn open(self) -> anyhow::Result<b158_train::Device> {
        match self {
            Self::Cpu => Ok(b158_train::Device::Cpu),
            #[cfg(feature = "cuda")]
            Self::Cuda => Ok(b158_train::Device::new_cuda(0)?),
        }
    }
}
