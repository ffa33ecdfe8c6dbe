//! The papers' model of energy: operations of the matrix products times the energy of one operation.
//!
//! BitNet (arXiv 2310.11453, table 1) and b1.58 (arXiv 2402.17764, section 3.2) count the products' arithmetic only,
//! not memory, with figures of Horowitz (ISSCC 2014, 45 nm) and Zhang et al. (2022, 7 nm):
//!
//! ```text
//!   pJ            45 nm    7 nm
//!   FP16 add       0.4     0.16
//!   FP16 multiply  1.1     0.34
//!   INT8 add       0.03    0.007
//! ```
//!
//! A weight in full precision costs a multiplication and an addition, a ternary one an INT8 addition. The head is
//! in full precision in both models. Nothing here is measured.

use b158_checkpoint::ModelConfig;
use serde::{Deserialize, Serialize};

use crate::shapes::linear_weights;

/// Modelled energy of one token.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Energy {
    /// The process that the figures are for.
    pub process_nm: u32,
    /// The linear layers of the blocks.
    pub linear_layers_mj_per_token: f64,
    /// The output head, in FP16.
    pub output_head_mj_per_token: f64,
}

/// Picojoules of an operation.
struct Process {
    nm: u32,
    fp16_add: f64,
    fp16_multiply: f64,
    int8_add: f64,
}

const PROCESSES: [Process; 2] = [
    Process { nm: 45, fp16_add: 0.4, fp16_multiply: 1.1, int8_add: 0.03 },
    Process { nm: 7, fp16_add: 0.16, fp16_multiply: 0.34, int8_add: 0.007 },
];

/// Millijoules a picojoule has.
const MJ_PER_PJ: f64 = 1e-9;

/// The model's figures for each process, 45 nm and 7 nm.
pub fn modelled(config: &ModelConfig, ternary: bool) -> Vec<Energy> {
    let (linear, head) = (linear_weights(config) as f64, (config.vocab_size * config.hidden_size) as f64);
    let energy = |p: &Process| {
        let dense = p.fp16_add + p.fp16_multiply;
        Energy {
            process_nm: p.nm,
            linear_layers_mj_per_token: linear * if ternary { p.int8_add } else { dense } * MJ_PER_PJ,
            output_head_mj_per_token: head * dense * MJ_PER_PJ,
        }
    };
    PROCESSES.iter().map(energy).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Shape, SyntheticFormat};

    /// "71.4 times less arithmetic energy of matrix products on 7 nm chips" (arXiv 2402.17764, section 3.2).
    #[test]
    fn the_ratio_is_the_papers() {
        let config = Shape::named("3B").unwrap().config(SyntheticFormat::Ternary);
        let ratio = |i: usize| {
            modelled(&config, false)[i].linear_layers_mj_per_token
                / modelled(&config, true)[i].linear_layers_mj_per_token
        };
        assert_eq!(modelled(&config, true)[1].process_nm, 7);
        assert!((ratio(1) - 71.4).abs() < 0.05, "{}", ratio(1));
        assert!((ratio(0) - 50.0).abs() < 1e-9, "{}", ratio(0));
    }
}
