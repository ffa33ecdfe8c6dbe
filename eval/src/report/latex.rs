//! The report as LaTeX: a `table` for each of ours, with the rules of the package booktabs.

use super::Report;
use super::sheet::Sheet;
use super::tables;
use crate::table::Align;

/// Tables to be included into a paper; they need `booktabs` and, being wide, `adjustbox`.
pub fn latex(report: &Report) -> String {
    let mut out = String::from("% \\usepackage{booktabs,adjustbox}\n");
    for run in &report.runs {
        for sheet in tables::main_tables(run).iter().chain(&tables::comparisons(run)) {
            out.push('\n');
            out += &table(sheet, &run.suite);
        }
        out += &format!("% result digest of all models {}\n", run.digest);
    }
    out
}

fn table(sheet: &Sheet, suite: &str) -> String {
    let letters: String =
        sheet.header.iter().map(|(_, align)| if *align == Align::Left { 'l' } else { 'r' }).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let cells: Vec<String> = cells.map(|text| escape(text.trim())).collect();
        format!("    {} \\\\\n", cells.join(" & "))
    };
    let caption = format!("{} ({suite}). {}", sheet.title, sheet.note.replace('\n', " "));
    let mut out = format!(
        "\\begin{{table}}\n  \\centering\n  \\caption{{{}}}\n  \\begin{{adjustbox}}{{max width=\\textwidth}}\n  \
         \\begin{{tabular}}{{@{{}}{letters}@{{}}}}\n    \\toprule\n",
        escape(caption.trim())
    );
    out += &line(&mut sheet.header.iter().map(|(title, _)| title.as_str()));
    out += "    \\midrule\n";
    for row in &sheet.rows {
        out += &line(&mut row.iter().map(|cell| cell.text.as_str()));
    }
    out += "    \\bottomrule\n  \\end{tabular}\n  \\end{adjustbox}\n\\end{table}\n";
    out
}

/// Names are free text.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => out.extend(['\\', c]),
            '\\' => out += "\\textbackslash{}",
            // After the end of a row it would begin an optional argument.
            '[' => out += "{[}",
            '~' => out += "\\textasciitilde{}",
            '^' => out += "\\textasciicircum{}",
            '<' | '>' => out += &format!("${c}$"),
            '±' => out += "$\\pm$",
            '×' => out += "$\\times$",
            '≤' => out += "$\\le$",
            '≥' => out += "$\\ge$",
            '↑' => out += "$\\uparrow$",
            '↓' => out += "$\\downarrow$",
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sheet::Cell;

    #[test]
    fn what_latex_would_take_for_a_command_is_escaped() {
        let mut sheet = Sheet::new("100 % & more");
        sheet.column("model", Align::Left);
        sheet.column("a_b", Align::Right);
        sheet.rows.push(vec!["[\\input{x}".into(), Cell::number("1.0 ± 0.1", 1.0)]);
        insta::assert_snapshot!(table(&sheet, "desk"), @r"
        \begin{table}
          \centering
          \caption{100 \% \& more (desk).}
          \begin{adjustbox}{max width=\textwidth}
          \begin{tabular}{@{}lr@{}}
            \toprule
            model & a\_b \\
            \midrule
            {[}\textbackslash{}input\{x\} & 1.0 $\pm$ 0.1 \\
            \bottomrule
          \end{tabular}
          \end{adjustbox}
        \end{table}
        ");
    }
}
