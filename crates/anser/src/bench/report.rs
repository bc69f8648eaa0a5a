//! What a bench prints and writes: one JSON object of flat keys, and the same as lines for people.

use std::{path::Path, time::Duration};

use anyhow::Context as _;
use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

/// Figures by key, in the order they were set.
#[derive(Default)]
pub(super) struct Report(Map<String, Value>);

/// Latencies in microseconds, up to a minute, three digits.
pub(super) struct Latencies(Histogram<u64>);

impl Report {
    pub(super) fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.0.insert(key.to_owned(), value.into());
    }

    pub(super) fn merge(&mut self, other: Self) {
        for (key, value) in other.0 {
            self.0.entry(key).or_insert(value);
        }
    }

    /// What was set; null when nothing was.
    pub(super) fn value(&self, key: &str) -> Value {
        self.0.get(key).cloned().unwrap_or_default()
    }

    pub(super) fn number(&self, key: &str) -> f64 {
        self.0.get(key).and_then(Value::as_f64).unwrap_or(0.0)
    }

    /// Sets `<key>` to the percentiles in milliseconds.
    pub(super) fn set_latencies(&mut self, key: &str, latencies: &Latencies) {
        self.set(key, latencies.milliseconds());
    }

    /// Prints the report for people, and writes it as JSON where asked.
    ///
    /// # Errors
    /// The file can not be written.
    pub(super) fn finish(&self, file: Option<&Path>) -> anyhow::Result<()> {
        for (key, value) in &self.0 {
            println!("{key:<28} {value}");
        }
        if let Some(file) = file {
            let text = serde_json::to_string_pretty(&self.0)? + "\n";
            std::fs::write(file, text).with_context(|| format!("writing {}", file.display()))?;
        }
        Ok(())
    }
}

impl Latencies {
    pub(super) fn new() -> Self {
        Self(Histogram::new_with_max(60_000_000, 3).expect("constant bounds are valid"))
    }

    pub(super) fn record(&mut self, latency: Duration) {
        self.0.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("all histograms have the same bounds");
    }

    pub(super) fn milliseconds(&self) -> Value {
        let at = |quantile| self.0.value_at_quantile(quantile) as f64 / 1000.0;
        json!({ "p50": at(0.5), "p99": at(0.99), "p999": at(0.999) })
    }
}

/// A rate rounded to whole numbers: more digits are noise.
pub(super) fn per_second(count: u64, over: Duration) -> f64 {
    (count as f64 / over.as_secs_f64()).round()
}

/// Two decimals are more than any of these figures is worth.
pub(super) fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
