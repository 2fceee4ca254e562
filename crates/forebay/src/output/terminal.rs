//! Rows for a person: as an aligned table that fits the terminal, one value a line, or as Markdown.
//!
//! Holds at most [`TABLE_ROWS_MAX`] rows; the formats that stream are in [`super`].

use std::io::IsTerminal;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::SchemaRef;
use arrow::util::display::ArrayFormatter;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use forebay_core::Result;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::visible::{visible_line, visible_text};
use super::{failed, options, unwritten};

/// Rows that are kept and shown; the rest is counted.
pub(super) const TABLE_ROWS_MAX: usize = 1_000;

/// Narrowest column before columns are left out.
const COLUMN_WIDTH_MIN: usize = 12;

/// Width of a terminal that does not tell its own.
const TERMINAL_WIDTH: usize = 80;

/// Placeholder of a missing value.
pub(super) const NULL: &str = "NULL";

/// How rows are laid out for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// A table that is at most this many columns of characters wide; `None`: as wide as its values.
    Grid {
        width: Option<usize>,
    },
    /// One line a value, as `\x` of psql.
    Expanded,
    Markdown,
}

impl Layout {
    /// A grid as wide as the terminal, where stdout is one.
    pub(crate) fn grid() -> Self {
        let size = terminal_size::terminal_size_of(std::io::stdout());
        let width = size.map(|(width, _)| usize::from(width.0));
        let is_terminal = std::io::stdout().is_terminal();
        Self::Grid {
            width: width.or_else(|| is_terminal.then_some(TERMINAL_WIDTH)),
        }
    }

    /// Whether the answer is for a terminal. Only its shell has the expanded layout.
    pub(super) fn is_on_terminal(self) -> bool {
        match self {
            Self::Grid { width } => width.is_some(),
            Self::Expanded => std::io::stdout().is_terminal(),
            Self::Markdown => false,
        }
    }
}

/// The text of some rows and how many of the columns it shows.
pub(super) struct Rendered {
    pub(super) text: String,
    pub(super) hidden_columns: usize,
    pub(super) is_cut: bool,
}

pub(super) fn render(
    schema: &SchemaRef,
    batches: &[RecordBatch],
    layout: Layout,
) -> Result<Rendered> {
    if is_plan(schema) && layout != Layout::Markdown {
        return Ok(whole(plan_text(batches)));
    }
    let cells = Cells::read(schema, batches)?;
    Ok(match layout {
        Layout::Grid { width } => cells.grid(width),
        Layout::Expanded => whole(cells.expanded()),
        Layout::Markdown => whole(cells.markdown()),
    })
}

/// Whether this is the answer to `EXPLAIN`.
fn is_plan(schema: &SchemaRef) -> bool {
    let names: Vec<&str> = schema
        .fields()
        .iter()
        .map(|field| field.name().as_str())
        .collect();
    names == ["plan_type", "plan"]
}

/// A plan is a text of several lines, which a table would tear apart.
fn plan_text(batches: &[RecordBatch]) -> String {
    let mut lines = Vec::new();
    for batch in batches {
        let (Some(kinds), Some(plans)) = (
            batch.column(0).as_string_opt::<i32>(),
            batch.column(1).as_string_opt::<i32>(),
        ) else {
            continue;
        };
        for (kind, plan) in kinds.iter().zip(plans.iter()) {
            lines.push(format!("-- {}", kind.unwrap_or_default().replace('_', " ")));
            lines.push(visible_text(plan.unwrap_or_default()).trim_end().to_owned());
        }
    }
    lines.join("\n")
}

fn whole(text: String) -> Rendered {
    Rendered {
        text,
        hidden_columns: 0,
        is_cut: false,
    }
}

/// Names and values as text that is safe to print.
struct Cells {
    names: Vec<String>,
    is_number: Vec<bool>,
    rows: Vec<Vec<String>>,
}

impl Cells {
    fn read(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<Self> {
        let mut rows = Vec::new();
        for batch in batches {
            let options = options().with_null(NULL);
            let columns = batch
                .columns()
                .iter()
                .map(|column| ArrayFormatter::try_new(column, &options))
                .collect::<std::result::Result<Vec<_>, _>>()
                .map_err(failed)?;
            for row in 0..batch.num_rows() {
                let mut cells = Vec::with_capacity(columns.len());
                for column in &columns {
                    let text = column.value(row).try_to_string().map_err(unwritten)?;
                    cells.push(visible_line(&text).into_owned());
                }
                rows.push(cells);
            }
        }
        let fields = schema.fields().iter();
        Ok(Self {
            names: fields
                .clone()
                .map(|field| visible_line(field.name()).into_owned())
                .collect(),
            is_number: fields.map(|field| field.data_type().is_numeric()).collect(),
            rows,
        })
    }

    fn grid(&self, width: Option<usize>) -> Rendered {
        let fit = Fit::of(&self.widths(), width);
        let mut table = self.table(&fit.columns);
        table.load_preset(presets::UTF8_FULL_CONDENSED);
        let mut is_cut = false;
        let mut header = Vec::with_capacity(fit.columns.len());
        for column in &fit.columns {
            header.push(cut(&self.names[*column], fit.width_max, &mut is_cut));
        }
        table.set_header(header);
        for row in &self.rows {
            let mut cells = Vec::with_capacity(fit.columns.len());
            for column in &fit.columns {
                cells.push(cut(&row[*column], fit.width_max, &mut is_cut));
            }
            table.add_row(cells);
        }
        self.align(&mut table, &fit.columns);
        Rendered {
            text: table.to_string(),
            hidden_columns: self.names.len() - fit.columns.len(),
            is_cut,
        }
    }

    fn markdown(&self) -> String {
        let all: Vec<usize> = (0..self.names.len()).collect();
        let mut table = self.table(&all);
        table.load_preset(presets::ASCII_MARKDOWN);
        table.set_header(self.names.iter().map(|name| escape_markdown(name)));
        for row in &self.rows {
            table.add_row(row.iter().map(|cell| escape_markdown(cell)));
        }
        self.align(&mut table, &all);
        table.to_string()
    }

    fn expanded(&self) -> String {
        let label = self
            .names
            .iter()
            .map(|name| name.width())
            .max()
            .unwrap_or(0);
        let mut lines = Vec::new();
        for (number, row) in self.rows.iter().enumerate() {
            lines.push(format!("─[ row {} ]─", number + 1));
            for (name, cell) in self.names.iter().zip(row) {
                let padding = " ".repeat(label - name.width());
                lines.push(format!("{name}{padding} │ {cell}"));
            }
        }
        lines.join("\n")
    }

    fn table(&self, columns: &[usize]) -> Table {
        debug_assert!(columns.len() <= self.names.len());
        let mut table = Table::new();
        table.set_content_arrangement(ContentArrangement::Disabled);
        table
    }

    fn align(&self, table: &mut Table, columns: &[usize]) {
        for (position, column) in columns.iter().enumerate() {
            if self.is_number[*column]
                && let Some(column) = table.column_mut(position)
            {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
    }

    /// The widest text of each column.
    fn widths(&self) -> Vec<usize> {
        let mut widths: Vec<usize> = self.names.iter().map(|name| name.width()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.width());
            }
        }
        widths
    }
}

/// Which columns are shown, and how wide the widest may be.
struct Fit {
    columns: Vec<usize>,
    width_max: usize,
}

impl Fit {
    /// All columns, cut to the greatest common width that fits; where even [`COLUMN_WIDTH_MIN`] does not, the first ones.
    fn of(widths: &[usize], width: Option<usize>) -> Self {
        let all: Vec<usize> = (0..widths.len()).collect();
        let unbounded = Self {
            columns: all.clone(),
            width_max: usize::MAX,
        };
        let Some(room) = width else { return unbounded };
        let natural = widths.iter().copied().max().unwrap_or(0);
        if total_width(widths, natural) <= room {
            return unbounded;
        }
        if total_width(widths, COLUMN_WIDTH_MIN) <= room {
            let mut low = COLUMN_WIDTH_MIN;
            let mut high = natural;
            while low + 1 < high {
                let middle = usize::midpoint(low, high);
                if total_width(widths, middle) <= room {
                    low = middle;
                } else {
                    high = middle;
                }
            }
            return Self {
                columns: all,
                width_max: low,
            };
        }
        let mut shown = widths.len();
        while shown > 1 && total_width(&widths[..shown], COLUMN_WIDTH_MIN) > room {
            shown -= 1;
        }
        Self {
            columns: (0..shown).collect(),
            width_max: COLUMN_WIDTH_MIN,
        }
    }
}

/// Width of a table whose columns are at most `width_max` wide: two blanks and a border each.
fn total_width(widths: &[usize], width_max: usize) -> usize {
    widths
        .iter()
        .map(|width| width.min(&width_max) + 3)
        .sum::<usize>()
        + 1
}

/// The text, or as much of it as fits with an ellipsis.
fn cut(text: &str, width_max: usize, is_cut: &mut bool) -> String {
    if text.width() <= width_max {
        return text.to_owned();
    }
    *is_cut = true;
    let mut kept = String::new();
    let mut width = 0;
    for c in text.chars() {
        width += c.width().unwrap_or(0);
        if width >= width_max {
            break;
        }
        kept.push(c);
    }
    kept.push('…');
    kept
}

/// `|` would end the cell, a backslash would escape the next character.
fn escape_markdown(text: &str) -> String {
    text.replace('\\', "\\\\").replace('|', "\\|")
}
