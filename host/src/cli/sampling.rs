//! The options that say how tokens are chosen.
use std::str::FromStr;

use clap::Args;

use super::numbers::{self, real, temperature};
use crate::sample::{BIASES, Sampling};

#[derive(Args, Clone, Debug, Default)]
pub struct SamplingArguments {
    /// Divides the logits: 0 always takes the best token, 0.0001 to 100 draw [default: the model's own, else 0; 1 with
    /// --top-k, --top-p or --min-p]
    #[arg(long, value_name = "T", allow_negative_numbers = true, value_parser = temperature)]
    pub temperature: Option<f32>,

    /// Draw among the K best tokens; 0 or -1 for all
    #[arg(long, value_name = "K", allow_negative_numbers = true, value_parser = numbers::top_k)]
    pub top_k: Option<usize>,

    /// Draw among the best tokens that together have this share of the probability, above 0 up to 1
    #[arg(long, value_name = "P", allow_negative_numbers = true, value_parser = numbers::share::<f32>)]
    pub top_p: Option<f32>,

    /// Draw among tokens with at least this share of the best one's probability, 0 to 1
    #[arg(long, value_name = "P", allow_negative_numbers = true, value_parser = real(0.0..=1.0))]
    pub min_p: Option<f32>,

    /// Make tokens of prompt and answer less likely, 0.01 to 100; 1 for none
    #[arg(long, value_name = "X", allow_negative_numbers = true, value_parser = real(0.01..=100.0))]
    pub repeat_penalty: Option<f32>,

    /// Taken from the logits of tokens in the answer, -100 to 100
    #[arg(long, value_name = "X", allow_negative_numbers = true, value_parser = real(-100.0..=100.0))]
    pub presence_penalty: Option<f32>,

    /// Taken from the logits of tokens in the answer once for each time, -100 to 100
    #[arg(long, value_name = "X", allow_negative_numbers = true, value_parser = real(-100.0..=100.0))]
    pub frequency_penalty: Option<f32>,

    /// Names the random numbers: the same seed gives the same text [default: -1, another one each time]
    #[arg(long, short, value_name = "N", allow_negative_numbers = true, value_parser = numbers::seed)]
    pub seed: Option<u64>,

    /// Add to a token's logit, -100 to 100; repeatable
    #[arg(long, value_name = "ID=VALUE")]
    pub logit_bias: Vec<Bias>,
}

/// `ID=VALUE`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bias(pub u32, pub f32);

impl FromStr for Bias {
    type Err = String;

    fn from_str(text: &str) -> Result<Bias, String> {
        let parsed = text.split_once('=').and_then(|(id, value)| Some(Bias(id.parse().ok()?, value.parse().ok()?)));
        let [least, most] = [BIASES.start(), BIASES.end()];
        let expected = || format!("expected a token id and a number from {least} to {most}, as in 42=-1.5");
        parsed.filter(|Bias(_, value)| BIASES.contains(value)).ok_or_else(expected)
    }
}

impl SamplingArguments {
    /// These options, and `defaults` where there is none.
    pub fn over(&self, defaults: &Sampling) -> Sampling {
        let filters = self.top_k.is_some() || self.top_p.is_some() || self.min_p.is_some();
        // Filters say that tokens are to be drawn.
        let drawn = if filters && defaults.temperature == 0.0 { 1.0 } else { defaults.temperature };
        let bias = self.logit_bias.iter().map(|bias| (bias.0, bias.1));
        Sampling {
            temperature: self.temperature.unwrap_or(drawn),
            top_k: self.top_k.unwrap_or(defaults.top_k),
            top_p: self.top_p.unwrap_or(defaults.top_p),
            min_p: self.min_p.unwrap_or(defaults.min_p),
            repeat_penalty: self.repeat_penalty.unwrap_or(defaults.repeat_penalty),
            presence_penalty: self.presence_penalty.unwrap_or(defaults.presence_penalty),
            frequency_penalty: self.frequency_penalty.unwrap_or(defaults.frequency_penalty),
            seed: self.seed.unwrap_or(defaults.seed),
            stream: defaults.stream,
            constraints: defaults.constraints.clone(),
            logit_bias: if self.logit_bias.is_empty() { defaults.logit_bias.clone() } else { bias.collect() },
        }
    }

    /// The options over the model's own values; a seed that nobody chose is another one each time.
    pub fn over_model(&self, defaults: &Sampling) -> Sampling {
        let sampling = self.over(defaults);
        Sampling { seed: self.seed.unwrap_or_else(numbers::chance), ..sampling }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_go_before_the_models_values() {
        let model = Sampling { temperature: 0.6, top_p: 0.95, top_k: 50, ..Sampling::default() };
        let arguments = SamplingArguments { top_p: Some(0.5), seed: Some(3), ..SamplingArguments::default() };
        assert_eq!(arguments.over(&model), Sampling { top_p: 0.5, seed: 3, ..model });
        assert_eq!(arguments.over(&Sampling::default()).temperature, 1.0);
        assert!(SamplingArguments::default().over(&Sampling::default()).is_greedy());
    }

    #[test]
    fn a_bias_is_an_id_and_a_number() {
        assert_eq!("42=-1.5".parse(), Ok(Bias(42, -1.5)));
        assert!(["42", "a=1", "1=x", "1=NaN", "1=101", "-1=1"].iter().all(|wrong| wrong.parse::<Bias>().is_err()));
    }
}
