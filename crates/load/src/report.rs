//! What was measured, as a table, as JSON and as a chart. Called by the command line at the end. Measures nothing.

/// One measured value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Figure {
    pub(crate) name: String,
    /// `ms`, `us`; empty for counts.
    pub(crate) unit: &'static str,
    /// None: it could not be measured, such as CPU time of a server elsewhere.
    pub(crate) value: Option<f64>,
}

pub(crate) fn figure(name: impl Into<String>, unit: &'static str, value: Option<f64>) -> Figure {
    Figure { name: name.into(), unit, value: value.filter(|value| value.is_finite()) }
}

/// Values of one figure over all runs.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    name: String,
    unit: &'static str,
    values: Vec<f64>,
}

/// All runs of one workload.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) workload: String,
    /// Name and value of each parameter; what reads as a number is written as one.
    pub(crate) parameters: Vec<(String, String)>,
    pub(crate) runs: usize,
    pub(crate) rows: Vec<Row>,
}

impl Report {
    pub(crate) fn new(workload: &str, parameters: Vec<(String, String)>) -> Self {
        Self { workload: workload.to_owned(), parameters, runs: 0, rows: Vec::new() }
    }

    pub(crate) fn add(&mut self, figures: Vec<Figure>) {
        self.runs += 1;
        for figure in figures {
            let place = self.rows.iter().position(|row| row.name == figure.name).unwrap_or_else(|| {
                self.rows.push(Row { name: figure.name, unit: figure.unit, values: Vec::new() });
                self.rows.len() - 1
            });
            self.rows[place].values.extend(figure.value);
        }
    }

    /// A figure's worst value over all runs, such as what was lost.
    pub(crate) fn worst(&self, name: &str) -> Option<f64> {
        self.rows.iter().find(|row| row.name == name)?.max()
    }

    /// For people.
    pub(crate) fn table(&self) -> String {
        let mut lines = vec![format!("{}, {} run{}", self.workload, self.runs, if self.runs == 1 { "" } else { "s" })];
        let name = |row: &Row| row.name.replace('_', " ");
        let width = self.rows.iter().map(|row| row.name.len()).max().unwrap_or_default();
        for row in &self.rows {
            let value = row.median().map_or("unknown".to_owned(), |value| format!("{} {}", short(value), row.unit));
            let range = match (row.min(), row.max()) {
                (Some(min), Some(max)) if self.runs > 1 => format!("  ({} to {})", short(min), short(max)),
                _ => String::new(),
            };
            lines.push(format!("  {:width$}  {value:>16}{range}", name(row)).trim_end().to_owned());
        }
        lines.join("\n") + "\n"
    }

    /// One object with all parameters and figures.
    pub(crate) fn json(&self) -> String {
        let mut out = format!("{{\"workload\":{},\"runs\":{},\"parameters\":{{", json_text(&self.workload), self.runs);
        let parameters: Vec<String> = self
            .parameters
            .iter()
            .map(|(name, value)| {
                let number = value.parse::<f64>().is_ok_and(f64::is_finite)
                    && value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
                    && !value.starts_with('.')
                    && !value.ends_with('.');
                format!("{}:{}", json_text(name), if number { value.clone() } else { json_text(value) })
            })
            .collect();
        out += &parameters.join(",");
        out += "},\"results\":{";
        let number = |value: Option<f64>| value.map_or("null".to_owned(), |value| value.to_string());
        let results: Vec<String> = self
            .rows
            .iter()
            .map(|row| {
                let values: Vec<String> = row.values.iter().map(f64::to_string).collect();
                format!(
                    "{}:{{\"unit\":{},\"median\":{},\"min\":{},\"max\":{},\"values\":[{}]}}",
                    json_text(&row.name),
                    json_text(row.unit),
                    number(row.median()),
                    number(row.min()),
                    number(row.max()),
                    values.join(",")
                )
            })
            .collect();
        out += &results.join(",");
        out + "}}\n"
    }

    /// A bar for each figure that has a unit, with the range over all runs; figures of one unit share a scale.
    pub(crate) fn svg(&self) -> String {
        const LINE: usize = 24;
        let rows: Vec<&Row> = self.rows.iter().filter(|row| !row.values.is_empty() && !row.unit.is_empty()).collect();
        let height = 64 + rows.len() * LINE;
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 760 {height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
             <rect width=\"760\" height=\"{height}\" fill=\"#fff\"/>\n\
             <text x=\"16\" y=\"28\" font-size=\"16\" font-weight=\"bold\">{} ({} run{}, median; line: min to max)</text>\n",
            xml_text(&self.workload),
            self.runs,
            if self.runs == 1 { "" } else { "s" }
        );
        for (place, row) in rows.iter().enumerate() {
            let y = 48 + place * LINE;
            let same = rows.iter().filter(|other| other.unit == row.unit);
            let scale = same.filter_map(|other| other.max()).fold(f64::MIN_POSITIVE, f64::max);
            let x = |value: Option<f64>| 230.0 + 340.0 * (value.unwrap_or_default() / scale).clamp(0.0, 1.0);
            let (median, min, max) = (x(row.median()), x(row.min()), x(row.max()));
            let middle = y + 9;
            out += &format!(
                "<text x=\"220\" y=\"{}\" text-anchor=\"end\">{}</text>\n\
                 <rect x=\"230\" y=\"{y}\" width=\"{:.1}\" height=\"18\" fill=\"#4a7ebb\"/>\n\
                 <path d=\"M{min:.1} {middle}H{max:.1}\" stroke=\"#1d3557\" stroke-width=\"2\"/>\n\
                 <text x=\"580\" y=\"{}\">{} {}</text>\n",
                y + 14,
                xml_text(&row.name.replace('_', " ")),
                median - 230.0,
                y + 14,
                short(row.median().unwrap_or_default()),
                xml_text(row.unit)
            );
        }
        out + "</svg>\n"
    }
}

impl Row {
    fn median(&self) -> Option<f64> {
        let mut values = self.values.clone();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        match values.len() {
            0 => None,
            length if length % 2 == 1 => Some(values[middle]),
            _ => Some((values[middle - 1] + values[middle]) / 2.0),
        }
    }

    fn min(&self) -> Option<f64> {
        self.values.iter().copied().min_by(f64::total_cmp)
    }

    fn max(&self) -> Option<f64> {
        self.values.iter().copied().max_by(f64::total_cmp)
    }
}

/// Three to four digits that count, thousands set apart.
fn short(value: f64) -> String {
    let decimals = match value.abs() {
        value if value.fract() == 0.0 || value >= 1_000.0 => 0,
        value if value >= 100.0 => 1,
        value if value >= 10.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.decimals$}");
    let (whole, rest) = text.split_once('.').map_or((text.as_str(), String::new()), |(a, b)| (a, format!(".{b}")));
    let mut out = String::new();
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place) % 3 == 0 && digit.is_ascii_digit() && !out.ends_with('-') {
            out.push(',');
        }
        out.push(digit);
    }
    out + &rest
}

fn json_text(text: &str) -> String {
    let mut out = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            control if control < ' ' => out += &format!("\\u{:04x}", control as u32),
            other => out.push(other),
        }
    }
    out + "\""
}

fn xml_text(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let parameters = vec![("rooms".to_owned(), "3".to_owned()), ("url".to_owned(), "ws://\"a\"\n".to_owned())];
        let mut report = Report::new("fanout", parameters);
        for value in [3.0, 1.0, 8.5] {
            report.add(vec![
                figure("p50", "ms", Some(value)),
                figure("cpu", "us", None),
                figure("lost", "", Some(0.0)),
            ]);
        }
        report
    }

    #[test]
    fn json_has_every_value_and_escapes() {
        assert_eq!(
            report().json(),
            "{\"workload\":\"fanout\",\"runs\":3,\"parameters\":{\"rooms\":3,\"url\":\"ws://\\\"a\\\"\\u000a\"},\"results\":{\
             \"p50\":{\"unit\":\"ms\",\"median\":3,\"min\":1,\"max\":8.5,\"values\":[3,1,8.5]},\
             \"cpu\":{\"unit\":\"us\",\"median\":null,\"min\":null,\"max\":null,\"values\":[]},\
             \"lost\":{\"unit\":\"\",\"median\":0,\"min\":0,\"max\":0,\"values\":[0,0,0]}}}\n"
        );
    }

    #[test]
    fn table_and_chart_name_every_figure() {
        let (table, chart) = (report().table(), report().svg());
        assert!(table.contains("p50") && table.contains("(1 to 8.500)") && table.contains("unknown"), "{table}");
        assert!(chart.contains("p50") && !chart.contains("cpu") && chart.ends_with("</svg>\n"), "{chart}");
    }

    #[test]
    fn numbers_for_people() {
        let cases = [
            (0.0, "0"),
            (0.12345, "0.123"),
            (12.345, "12.35"),
            (123.45, "123.5"),
            (1234567.8, "1,234,568"),
            (-1234.0, "-1,234"),
        ];
        for (value, text) in cases {
            assert_eq!(short(value), text);
        }
    }
}
