//! The form of `benches/results/<gpu>.json`, as `benches/peers/compare.py` writes it.
use serde::Deserialize;

#[derive(Debug, Deserialize)]
pub struct Results {
    pub gpu: String,
    /// One for each model and format.
    pub runs: Vec<Run>,
}

#[derive(Debug, Deserialize)]
pub struct Run {
    pub model: String,
    /// Of the weights.
    pub format: String,
    pub parameters: f64,
    pub weights: String,
    pub date: String,
    pub driver: Option<String>,
    pub peaks: Peaks,
    pub rows: Vec<Row>,
    /// What a reader must know beside the figures.
    #[serde(default)]
    pub note: String,
}

#[derive(Debug, Deserialize)]
pub struct Peaks {
    pub gb_s: f64,
    pub tflop_s: f64,
}

/// One program's time of one piece of work.
#[derive(Debug, Deserialize)]
pub struct Row {
    pub program: String,
    #[serde(flatten)]
    pub work: Work,
    /// By the device's clock.
    pub ms: Option<f64>,
    /// By the host's clock, of the prompt or of one decode step.
    pub host_ms: f64,
    /// Of the time by the device's clock.
    pub percent_of_peak: Option<f64>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(tag = "work", rename_all = "lowercase")]
pub enum Work {
    Prefill { tokens: u32 },
    Decode { batch: u32, depth: u32 },
}

impl Results {
    pub fn read(text: &str) -> Results {
        serde_json::from_str(text).expect("the results have the form that compare.py writes")
    }
}

impl Run {
    /// What was timed, in the order of the rows.
    pub fn works(&self) -> Vec<Work> {
        distinct(self.rows.iter().map(|row| row.work.clone()))
    }

    /// Who was timed: nemotron first.
    pub fn programs(&self) -> Vec<String> {
        let mut programs = distinct(self.rows.iter().map(|row| row.program.clone()));
        programs.sort_by_key(|program| !program.starts_with("nemotron"));
        programs
    }

    pub fn row(&self, work: &Work, program: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.work == *work && row.program == program)
    }

    /// The row of nemotron.
    pub fn own(&self, work: &Work) -> Option<&Row> {
        self.rows.iter().find(|row| row.work == *work && row.program.starts_with("nemotron"))
    }
}

impl Row {
    /// The share of the peaks that this work would have if it took `milliseconds`.
    pub fn percent_at(&self, milliseconds: f64) -> Option<f64> {
        Some(self.percent_of_peak? * self.ms? / milliseconds)
    }

    /// Milliseconds of a prompt, tokens per second of a decode.
    pub fn figure(&self) -> String {
        match self.work {
            Work::Prefill { .. } => format!("{} ms", digits(self.host_ms)),
            Work::Decode { batch, .. } => format!("{} tok/s", digits(f64::from(batch) * 1e3 / self.host_ms)),
        }
    }
}

/// Three digits, or all in front of the point.
fn digits(value: f64) -> String {
    let behind = if value >= 99.95 {
        0
    } else if value >= 9.995 {
        1
    } else {
        2
    };
    format!("{value:.behind$}")
}

fn distinct<T: PartialEq>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut seen = Vec::new();
    values.for_each(|value| {
        if !seen.contains(&value) {
            seen.push(value);
        }
    });
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits_and_shares_follow_the_clock() {
        assert_eq!([1.234, 12.34, 123.4, 9.999].map(digits), ["1.23", "12.3", "123", "10.0"]);
        let work = Work::Decode { batch: 8, depth: 0 };
        let row = Row { program: "x".into(), work, ms: Some(2.0), host_ms: 4.0, percent_of_peak: Some(50.0) };
        assert_eq!((row.figure().as_str(), row.percent_at(4.0)), ("2000 tok/s", Some(25.0)));
    }
}
