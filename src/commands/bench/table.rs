//! The result as text: a row for each number, a column for each format, and how many times ternary wins, as in the
//! tables of the b1.58 paper.

use b158_runner::bench::{Column, Decode, Energy, Measured, Prefill};

/// Which of two numbers is better.
#[derive(Clone, Copy)]
enum Better {
    /// Rates.
    More,
    /// Times, bytes and joules.
    Less,
    /// Neither, or one of the two is always 0.
    None,
}

const LABEL: usize = 38;
const CELL: usize = 15;

pub(super) fn text(m: &Measured) -> String {
    let threads = if m.threads == 1 { "1 thread".to_owned() } else { format!("{} threads", m.threads) };
    let mut out = format!("{}, {threads}, {}", m.model, m.isa);
    if let Some(column) = m.formats.first() {
        let bandwidth = column.measurement.read_bandwidth_bytes_per_second;
        out += &format!(", memory read at {:.1} GB/s", bandwidth / 1e9);
    }
    out.push('\n');
    if let (Some(bytes), Some(bits)) = (m.file_bytes, m.bits_per_weight) {
        out += &format!("file {:.2} MB, {bits:.4} bits a weight in linear layers\n", bytes as f64 / 1e6);
    }
    let mut table = Table { out, columns: &m.formats };
    table.head();
    rows(&mut table, m.file_bytes.is_some());
    let mut out = table.out;
    for left_out in &m.left_out {
        out += &format!("\n{}: {}", left_out.what, left_out.reason);
    }
    out
}

fn rows(table: &mut Table, from_file: bool) {
    use Better::{Less, More};
    table.row(if from_file { "load, s" } else { "making, s" }, Better::None, 2, |c| Some(c.load_seconds));
    table.row("first token, s", if from_file { Less } else { Better::None }, 2, |c| {
        Some(c.first_token_seconds)
    });

    let first = table.columns.first().map(|c| &c.measurement);
    for i in 0..first.map_or(0, |m| m.prefill.len()) {
        let get = move |c: &Column| c.measurement.prefill.get(i).copied();
        table.of("prefill", get, |p: &Prefill| p.tokens);
        table.row("  tokens/s", More, 2, |c| Some(get(c)?.tokens_per_second));
    }
    for i in 0..first.map_or(0, |m| m.decode.len()) {
        let get = move |c: &Column| c.measurement.decode.get(i).copied();
        table.of("decode behind", get, |d: &Decode| d.depth_tokens);
        table.row("  tokens/s", More, 2, |c| Some(get(c)?.tokens_per_second));
        table.row("  latency, p50, ms", Less, 2, |c| Some(get(c)?.latency_p50_ms));
        table.row("  latency, p95, ms", Less, 2, |c| Some(get(c)?.latency_p95_ms));
        table.row("  bytes read per token, MB", Less, 2, |c| Some(get(c)?.bytes_read_per_token as f64 / 1e6));
        table.row("  share of read bandwidth, %", Better::None, 1, |c| {
            Some(get(c)?.read_bandwidth_share * 1e2)
        });
        table.row("  KV cache, MB", Better::None, 2, |c| Some(get(c)?.cache_bytes as f64 / 1e6));
    }

    table.section("memory, MB");
    let megabytes = |bytes: u64| Some(bytes as f64 / 1e6);
    table.row("  ternary weights", Better::None, 2, |c| megabytes(c.measurement.memory.ternary_bytes));
    table.row("  full-precision linear layers", Better::None, 2, |c| {
        megabytes(c.measurement.memory.dense_bytes)
    });
    table.row("  embedding and head", Better::None, 2, |c| {
        megabytes(c.measurement.memory.embedding_bytes + c.measurement.memory.head_bytes)
    });
    table.row("  norms", Better::None, 2, |c| megabytes(c.measurement.memory.norm_bytes));
    table.row("  all weights", Less, 2, |c| megabytes(c.measurement.memory.weight_bytes()));
    table.row("    of which mapped from the file", Better::None, 2, |c| {
        megabytes(c.measurement.memory.mapped_bytes)
    });
    table.row("  buffers (computed)", Better::None, 2, |c| megabytes(c.measurement.buffer_bytes));
    table.row("  peak resident", Less, 2, |c| megabytes(c.measurement.peak_resident_bytes?));

    table.section("energy of matrix products (modelled), mJ/token");
    for i in 0..first.map_or(0, |m| m.energy_modelled.len()) {
        let get = move |c: &Column| c.measurement.energy_modelled.get(i).copied();
        let Some(nm) = table.columns.first().and_then(get).map(|e: Energy| e.process_nm) else { continue };
        table
            .row(&format!("  linear layers, {nm} nm"), Less, 4, |c| Some(get(c)?.linear_layers_mj_per_token));
        table.row(&format!("  with the FP16 head, {nm} nm"), Less, 4, |c| {
            get(c).map(|e| e.linear_layers_mj_per_token + e.output_head_mj_per_token)
        });
    }
    table.section("energy of the processor (measured), mJ/token");
    for i in 0..first.map_or(0, |m| m.decode.len()) {
        let get = move |c: &Column| c.measurement.decode.get(i).copied();
        let Some(depth) = table.columns.first().and_then(get).map(|d| d.depth_tokens) else { continue };
        let joules = move |c: &Column| get(c)?.measured_mj_per_token;
        table.row_or(&format!("  decode behind {depth} tokens"), Less, 1, joules, "not readable");
    }
}

/// Lines so far.
struct Table<'m> {
    out: String,
    columns: &'m [Column],
}

impl Table<'_> {
    fn head(&mut self) {
        self.out += &format!("\n{:LABEL$}", "");
        for column in self.columns {
            self.out += &format!("{:>CELL$}", column.format);
        }
        if self.columns.len() == 2 {
            self.out += &format!("{:>CELL$}", "ternary wins");
        }
        self.out.push('\n');
    }

    fn section(&mut self, title: &str) {
        self.out += &format!("{title}\n");
    }

    /// The title of a block of rows about some tokens: those of the first column.
    fn of<T>(&mut self, title: &str, get: impl Fn(&Column) -> Option<T>, tokens: impl Fn(&T) -> usize) {
        if let Some(found) = self.columns.first().and_then(get) {
            self.section(&format!("{title} {} tokens", tokens(&found)));
        }
    }

    fn row(&mut self, label: &str, better: Better, digits: usize, value: impl Fn(&Column) -> Option<f64>) {
        self.row_or(label, better, digits, value, "unknown");
    }

    fn row_or(
        &mut self,
        label: &str,
        better: Better,
        digits: usize,
        value: impl Fn(&Column) -> Option<f64>,
        absent: &str,
    ) {
        let values: Vec<_> = self.columns.iter().map(value).collect();
        self.out += &format!("{label:LABEL$}");
        for value in &values {
            match value {
                Some(value) => self.out += &format!("{value:>CELL$.digits$}"),
                None => self.out += &format!("{absent:>CELL$}"),
            }
        }
        if let [Some(ternary), Some(full)] = values[..] {
            let ratio = match better {
                Better::More => Some(ternary / full),
                Better::Less => Some(full / ternary),
                Better::None => None,
            };
            self.out += &ratio.map_or(String::new(), |ratio| format!("{:>CELL$}", format!("{ratio:.2}x")));
        }
        self.out.push('\n');
    }
}
